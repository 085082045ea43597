//! HTTP requests.

use alloc::{format, string::String, sync::Arc, vec::Vec};

use ak_json::{Object, Text, Value};

use crate::api::fields::{FieldError, Fields, base64url, headers_field, insert_some};

/// Most headers of an HTTP request.
pub const HTTP_HEADERS_MAX: usize = 256;
/// Most bytes of an HTTP request's headers, names and values together.
pub const HTTP_HEADERS_BYTES_MAX: usize = 256 << 10;
/// Largest response body that is accepted if the caller sets no limit, in bytes.
pub const RESPONSE_BYTES_MAX: u64 = 10 << 20;
/// Timeout of an HTTP request if the caller sets none, in milliseconds.
pub const HTTP_TIMEOUT_MS: u64 = 30_000;

/// An HTTP request as the agent sends it to the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRequest {
    /// The method, such as `GET`.
    pub method: Text,
    /// Absolute `http` or `https` URL.
    pub url: Text,
    /// Names and values of the headers, in order.
    pub headers: Vec<(Text, Text)>,
    /// The body; `None` sends none.
    pub body: Option<Arc<[u8]>>,
    /// Largest response body that is accepted, in bytes. The kernel lowers it to
    /// [`Config::response_bytes_max`](crate::Config::response_bytes_max).
    pub response_bytes_max: u64,
    /// Time after which the request is given up, in milliseconds. The kernel lowers it to
    /// [`Config::http_timeout_ms_max`](crate::Config::http_timeout_ms_max).
    pub timeout_ms: u64,
}

impl HttpRequest {
    pub(crate) fn to_value(&self) -> Value {
        let headers: Vec<Value> = self
            .headers
            .iter()
            .map(|(name, value)| {
                Value::from(Vec::from([Value::from(name.clone()), Value::from(value.clone())]))
            })
            .collect();
        let mut args = Object::new();
        args.insert("method", self.method.clone());
        args.insert("url", self.url.clone());
        args.insert("headers", headers);
        insert_some(&mut args, "body", self.body.as_deref().map(base64url));
        args.insert("max", self.response_bytes_max);
        args.insert("timeout_ms", self.timeout_ms);
        args.into()
    }

    pub(crate) fn from_fields(fields: &mut Fields<'_>) -> Result<HttpRequest, FieldError> {
        Ok(HttpRequest {
            method: fields.text("method")?,
            url: fields.text("url")?,
            headers: headers_field(fields)?,
            body: fields.optional_bytes("body")?,
            response_bytes_max: fields.optional_u64("max")?.unwrap_or(RESPONSE_BYTES_MAX),
            timeout_ms: fields.optional_u64("timeout_ms")?.unwrap_or(HTTP_TIMEOUT_MS),
        })
    }
}

impl HttpRequest {
    /// Why the headers are too many or too long; `None` if they are within the limits.
    pub(crate) fn has_too_long_headers(&self) -> Option<String> {
        if self.headers.len() > HTTP_HEADERS_MAX {
            return Some(format!("a request has at most {HTTP_HEADERS_MAX} headers"));
        }
        let bytes: usize = self.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        (bytes > HTTP_HEADERS_BYTES_MAX)
            .then(|| format!("the headers of a request have at most {HTTP_HEADERS_BYTES_MAX} bytes"))
    }

    /// Bytes that sending the request takes: method, URL, header names and values, and body.
    pub(crate) fn bytes(&self) -> u64 {
        let headers: usize =
            self.headers.iter().map(|(name, value)| name.len().saturating_add(value.len())).sum();
        let body = self.body.as_ref().map_or(0, |body| body.len());
        self.url.len().saturating_add(headers).saturating_add(body).saturating_add(self.method.len()) as u64
    }
}
