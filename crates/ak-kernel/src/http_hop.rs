//! What goes out when a server redirects: a request of its own, made of the one before.

use alloc::{format, string::String, sync::Arc, vec::Vec};

use ak_json::{Text, Value};
use ak_policy::CanonicalUrl;

use crate::{
    fields::{FieldError, Fields},
    request::{HTTP_HEADERS_BYTES_MAX, HTTP_HEADERS_MAX, HttpRequest},
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

impl HttpRequest {
    /// Why its headers are too many or too long, if they are.
    pub(crate) fn has_too_long_headers(&self) -> Option<String> {
        if self.headers.len() > HTTP_HEADERS_MAX {
            return Some(format!("a request has at most {HTTP_HEADERS_MAX} headers"));
        }
        let bytes: usize = self.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        (bytes > HTTP_HEADERS_BYTES_MAX)
            .then(|| format!("the headers of a request have at most {HTTP_HEADERS_BYTES_MAX} bytes"))
    }

    /// Bytes that sending it takes: URL, header names and values, and body.
    pub(crate) fn size(&self) -> u64 {
        let headers: usize =
            self.headers.iter().map(|(name, value)| name.len().saturating_add(value.len())).sum();
        let body = self.body.as_ref().map_or(0, |body| body.len());
        self.url.len().saturating_add(headers).saturating_add(body).saturating_add(self.method.len()) as u64
    }
}

fn is_one_of(name: &str, list: &[&str]) -> bool {
    list.iter().any(|item| name.eq_ignore_ascii_case(item))
}
