//! Builds the request that is sent to a model's server, in the server's format.

use ak_json::{Object, Value, object};
use ak_kernel::OUTGOING_LIMITS;
use http_body_util::Full;
use hyper::{Request, body::Bytes};

use crate::{
    config::tables::ApiFormat,
    effects::{
        http,
        infer::{
            formats::{anthropic, responses},
            routes::Route,
        },
    },
    net::error::HttpError,
};

/// One permitted model request.
pub(crate) struct InferJob {
    pub(crate) request: Value,
    pub(crate) stream: bool,
    pub(crate) response_bytes_max: u64,
}

/// Encodes the request in the route's format.
pub(super) fn outgoing(route: &Route, job: &InferJob, omits_stream_options: bool) -> Result<Vec<u8>, String> {
    let mut chat = job.request.as_object().cloned().unwrap_or_default();
    if let Some(name) = &route.name {
        chat.insert("model", name.clone());
    }
    let mut request: Object = match route.format {
        ApiFormat::Chat => {
            if let Some(name) = &route.limit_name {
                let given = OUTGOING_LIMITS.map(|given| chat.remove(given));
                given.into_iter().flatten().for_each(|limit| drop(chat.insert(*name, limit)));
            }
            chat
        }
        ApiFormat::Responses => responses::request::encode(&chat)?,
        ApiFormat::Anthropic => anthropic::request::encode(&chat)?,
    };
    if job.stream {
        request.insert("stream", true);
        if route.format == ApiFormat::Chat && !omits_stream_options && route.takes_stream_options() {
            request.insert("stream_options", object! { "include_usage": true });
        }
    }
    Ok(Value::from(request).to_json().into_bytes())
}

/// Builds the HTTP request that sends `body` to the route's server with the route's key.
pub(super) fn http_request(route: &Route, body: &[u8]) -> Result<Request<Full<Bytes>>, HttpError> {
    let key = route.key.as_ref().map(|key| key.expose());
    let bearer = key.map(|key| zeroize::Zeroizing::new(format!("Bearer {key}")));
    let mut headers = vec![("content-type", "application/json"), ("accept-encoding", "identity")];
    match (route.format, key, &bearer) {
        (ApiFormat::Anthropic, key, _) => {
            headers.push(("anthropic-version", anthropic::VERSION));
            headers.extend(key.map(|key| ("x-api-key", key)));
        }
        (ApiFormat::Chat | ApiFormat::Responses, _, Some(bearer)) => headers.push(("authorization", bearer)),
        (ApiFormat::Chat | ApiFormat::Responses, _, None) => {}
    }
    http::new_request("POST", &route.url, headers.into_iter(), body)
        .map_err(|(what, name)| HttpError::Request(format!("{what} {name:?} may not stand in a request")))
}
