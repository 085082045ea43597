//! The request that follows a redirect, made from the one before.

use alloc::{format, sync::Arc, vec::Vec};

use ak_json::{Text, Value};
use ak_policy::CanonicalUrl;

use crate::api::{
    fields::{FieldError, Fields},
    request::HttpRequest,
};

/// The headers that are kept if a redirect leads to another origin. Any other header might be a credential, so it
/// is dropped.
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
/// Headers that describe a body. They are dropped with the body.
const BODY_HEADERS: [&str; 6] =
    ["content-encoding", "content-language", "content-location", "content-type", "digest", "content-digest"];

/// One HTTP request exactly as the gate decides on it and the host sends it: the first one of an effect, or a
/// redirect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpHop {
    /// The method, such as `GET`.
    pub method: Text,
    /// The URL, in canonical form.
    pub url: CanonicalUrl,
    /// Names and values of the headers, in order. No name occurs twice.
    pub headers: Vec<(Text, Text)>,
    /// The body; `None` sends none.
    pub body: Option<Arc<[u8]>>,
}

impl HttpHop {
    /// The first request of an effect.
    pub(crate) fn first(request: &HttpRequest, url: CanonicalUrl) -> HttpHop {
        let HttpRequest { method, headers, body, .. } = request.clone();
        HttpHop { method, url, headers, body }
    }

    /// The request that follows this one. Headers and body that must not be sent are dropped before the gate
    /// decides.
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

    /// This hop as a request, so that the gate decides on it like on any other.
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
