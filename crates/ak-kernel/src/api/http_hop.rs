//! What goes out when a server redirects: a request of its own, made of the one before.

use alloc::{format, sync::Arc, vec::Vec};

use ak_json::{Text, Value};
use ak_policy::CanonicalUrl;

use crate::api::{
    fields::{FieldError, Fields},
    request::HttpRequest,
};

/// The headers that go along when a redirect leads to another origin. Any other header might be a credential, so it is
/// dropped.
const SAFE_HEADERS: [&str; 12] = [
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "cache-control",
    "content-language",
    "content-type",
    "if-modified-since",
    "if-none-match",
    "pragma",
    "range",
    "user-agent",
];
/// Headers that describe a body. They go when it goes.
const BODY_HEADERS: [&str; 6] =
    ["content-encoding", "content-language", "content-location", "content-type", "digest", "content-digest"];

/// One HTTP request exactly as it is decided on and as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpHop {
    /// Method token.
    pub method: Text,
    /// Where to.
    pub url: CanonicalUrl,
    /// Name and value, in order. No name comes twice.
    pub headers: Vec<(Text, Text)>,
    /// The body, if there is one.
    pub body: Option<Arc<[u8]>>,
}

impl HttpHop {
    /// The first request of an effect.
    pub(crate) fn first(request: &HttpRequest, url: CanonicalUrl) -> HttpHop {
        let HttpRequest { method, headers, body, .. } = request.clone();
        HttpHop { method, url, headers, body }
    }

    /// The request that follows this one: what must not go along is dropped before anybody decides about it.
    pub(crate) fn redirected(&self, method: Text, url: CanonicalUrl) -> HttpHop {
        let mut next = HttpHop { method, url, ..self.clone() };
        if next.url.origin() != self.url.origin() {
            next.headers.retain(|(name, _)| is_one_of(name, &SAFE_HEADERS));
        }
        if *next.method != *self.method {
            next.body = None;
            next.headers.retain(|(name, _)| !is_one_of(name, &BODY_HEADERS));
        }
        next
    }

    /// The same as a request, to be decided on as any other.
    pub(crate) fn as_request(&self, like: &HttpRequest) -> HttpRequest {
        HttpRequest {
            method: self.method.clone(),
            url: Text::from(self.url.as_str()),
            headers: self.headers.clone(),
            body: self.body.clone(),
            ..like.clone()
        }
    }

    pub(crate) fn to_value(&self, like: &HttpRequest) -> Value {
        self.as_request(like).to_value()
    }

    pub(crate) fn from_value(value: &Value) -> Result<HttpHop, FieldError> {
        let mut fields = Fields::new("hop", value)?;
        let request = HttpRequest::from_fields(&mut fields)?;
        let url =
            CanonicalUrl::parse(&request.url).map_err(|error| fields.error("url", format!("{error}")))?;
        fields.finish()?;
        Ok(HttpHop::first(&request, url))
    }
}

fn is_one_of(name: &str, list: &[&str]) -> bool {
    list.iter().any(|item| name.eq_ignore_ascii_case(item))
}
