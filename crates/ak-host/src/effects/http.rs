//! Performs HTTP/1.1 calls over TCP or TLS, to addresses that the kernel has permitted.

use std::time::Duration;

use ak_json::{Object, Text};
use ak_kernel::{Completion, HttpHop, HttpResponse, Spent, Step, StepAnswer};
use ak_policy::CanonicalUrl;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body, Bytes, Incoming},
    header::{CONTENT_ENCODING, HOST, HeaderName, HeaderValue, LOCATION, USER_AGENT},
};

use crate::{
    effects::context::EffectContext,
    net::connection::HttpConnection,
    net::error::HttpError,
    net::{Net, ProxyMode},
    secrets::redact::Redactor,
    secrets::store::{SecretError, Secrets},
};

/// The default `User-Agent`, because some servers reject requests without one.
const USER: &str = concat!("authority-kernel/", env!("CARGO_PKG_VERSION"));
/// Request headers that can make a server encode its response so that a secret in it is not recognised.
const TRANSFORMING_HEADERS: [&str; 4] = ["accept-encoding", "if-range", "range", "te"];
/// Maximum number of redirects that a request follows; the next redirect fails the request.
pub const REDIRECTS_MAX: usize = 10;

/// Headers of the connection; only the host sets them.
const CONNECTION_HEADERS: [&str; 12] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// One permitted HTTP request.
pub(crate) struct HttpJob {
    /// The current request in the chain of redirects.
    pub(crate) hop: HttpHop,
    pub(crate) response_bytes_max: u64,
    pub(crate) timeout_ms: u64,
}

/// The parts of the host that HTTP calls use.
pub(crate) struct HttpContext<'a> {
    pub(crate) net: &'a Net,
    pub(crate) secrets: &'a Secrets,
    pub(crate) redactor: &'a Redactor,
}

/// What a request transferred so far.
#[derive(Clone, Copy, Default)]
struct Transferred {
    /// Number of requests that servers may have acted on, including redirects.
    hops_sent: u64,
    /// Bytes received of the response's body.
    bytes: u64,
}

/// Returns the completion of a failed request.
fn failed(error: &HttpError, what: &str, transferred: Transferred) -> Completion {
    let (code, message) = (error.code(), format!("{what}: {error}"));
    let Transferred { hops_sent, bytes } = transferred;
    let context = Object::from_iter([("sent", hops_sent > 0)]);
    let spent = Spent { hops_sent: Some(hops_sent), ..Spent::from(bytes) };
    Completion::Failed { code, message, context, spent }
}

impl From<SecretError> for HttpError {
    fn from(error: SecretError) -> HttpError {
        HttpError::Secret(error.to_string())
    }
}

/// Performs one request and follows its redirects.
pub(crate) async fn perform(
    job: HttpJob,
    resources: &HttpContext<'_>,
    context: &impl EffectContext,
) -> Completion {
    let what = format!("{} {}", &*job.hop.method, job.hop.url);
    let timeout_ms = job.timeout_ms;
    let mut transferred = Transferred::default();
    let followed = send_following_redirects(job, resources, context, &mut transferred);
    let followed = tokio::time::timeout(Duration::from_millis(timeout_ms), followed);
    match context.while_wanted(followed).await {
        Some(Ok(Ok(response))) => Completion::Http(response),
        Some(Ok(Err(error))) => failed(&error, &what, transferred),
        Some(Err(_)) => failed(&HttpError::Timeout(timeout_ms), &what, transferred),
        None => failed(&HttpError::Abandoned, &what, transferred),
    }
}

async fn send_following_redirects(
    mut job: HttpJob,
    resources: &HttpContext<'_>,
    context: &impl EffectContext,
    transferred: &mut Transferred,
) -> Result<HttpResponse, HttpError> {
    let HttpContext { net, secrets, redactor } = resources;
    for followed in 0.. {
        // The request is built before the name is looked up: a request that must not be sent causes no traffic.
        let (request, holds_secret) = build_request(&job, secrets)?;
        let addresses = net.resolve(&job.hop.url).await?;
        let addresses = match context.ask(Step::Resolved(addresses)).await {
            StepAnswer::Connect(addresses) => addresses,
            StepAnswer::Continue | StepAnswer::Skip | StepAnswer::Follow(_) | StepAnswer::Abort(_) => {
                return Err(HttpError::Aborted);
            }
        };
        let mut connection = net.connect(&job.hop.url, &addresses, ProxyMode::Configured).await?;
        transferred.hops_sent += 1;
        let response = connection.send(request).await?;
        if holds_secret && is_transformed(&response) {
            let reason =
                "it is encoded or a part, and the request held a secret, which could not be cut from it";
            return Err(HttpError::BadResponse(format!("the response is not taken: {reason}")));
        }
        match redirect_target(&job, &response, redactor)? {
            None => return read_body(&mut connection, response, job.response_bytes_max, transferred).await,
            // Stop before the kernel decides on and charges one redirect too many.
            Some(_) if followed == REDIRECTS_MAX => break,
            Some((method, url)) => {
                job.hop = match context.ask(Step::Redirect { method, url }).await {
                    StepAnswer::Follow(hop) => *hop,
                    StepAnswer::Continue
                    | StepAnswer::Skip
                    | StepAnswer::Connect(_)
                    | StepAnswer::Abort(_) => {
                        return Err(HttpError::Aborted);
                    }
                };
            }
        }
    }
    Err(HttpError::TooManyRedirects(REDIRECTS_MAX))
}

/// Returns method and URL of a redirect (RFC 9110 §15.4); `None` when the response is not a redirect.
fn redirect_target(
    job: &HttpJob,
    response: &Response<Incoming>,
    redactor: &Redactor,
) -> Result<Option<(Text, Text)>, HttpError> {
    let see_other = match response.status() {
        StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND => &*job.hop.method == "POST",
        StatusCode::SEE_OTHER => &*job.hop.method != "HEAD",
        StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => false,
        _ => return Ok(None),
    };
    let Some(location) = response.headers().get(LOCATION) else { return Ok(None) };
    let wrong =
        |reason: String| HttpError::BadResponse(format!("the redirect's location is wrong: {reason}"));
    let location = std::str::from_utf8(location.as_bytes()).map_err(|error| wrong(error.to_string()))?;
    // The location is recorded, and shown to approvers, so it must not hold a secret.
    if redactor.holds_value(location) {
        return Err(wrong("it holds a secret".into()));
    }
    let base = url::Url::parse(job.hop.url.as_str()).map_err(|error| wrong(error.to_string()))?;
    let target = base.join(location).map_err(|error| wrong(error.to_string()))?;
    let method = if see_other { Text::from("GET") } else { job.hop.method.clone() };
    Ok(Some((method, Text::from(target.as_str()))))
}

/// Whether the response's body is encoded or partial, so that a secret in it could not be recognised.
fn is_transformed(response: &Response<Incoming>) -> bool {
    let is_plain = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"identity");
    response.status() == StatusCode::PARTIAL_CONTENT
        || response.headers().get_all(CONTENT_ENCODING).iter().any(|value| !is_plain(value))
}

/// Builds the request with its secrets substituted. Returns it, and whether it holds secrets.
fn build_request(job: &HttpJob, secrets: &Secrets) -> Result<(Request<Full<Bytes>>, bool), HttpError> {
    let hop = &job.hop;
    let filled = secrets.substitute(&hop.url, &hop.headers, hop.body.as_deref())?;
    let holds_secret = filled.holds_secret();
    if let Some((name, _)) = filled.headers.iter().find(|(name, value)| {
        holds_secret && is_one_of(name, &TRANSFORMING_HEADERS) && !value.eq_ignore_ascii_case("identity")
    }) {
        return Err(HttpError::Request(format!("header {name:?} is not allowed in a request with a secret")));
    }
    let headers = filled.headers.iter().map(|(name, value)| (&***name, &**value));
    let request = new_request(&hop.method, &hop.url, headers, filled.body.as_deref().unwrap_or_default());
    // The error does not contain the header's value, which may be a secret.
    let request = request
        .map_err(|(what, name)| HttpError::Request(format!("{what} {name:?} may not stand in a request")));
    Ok((request?, holds_secret))
}

/// Builds a request. The error gives the kind and the name of the invalid part.
pub(crate) fn new_request<'h>(
    method: &str,
    url: &CanonicalUrl,
    headers: impl Iterator<Item = (&'h str, &'h str)>,
    body: &[u8],
) -> Result<Request<Full<Bytes>>, (&'static str, String)> {
    let mut request = Request::new(Full::new(Bytes::copy_from_slice(body)));
    *request.method_mut() =
        Method::from_bytes(method.as_bytes()).map_err(|_| ("method", method.to_owned()))?;
    *request.uri_mut() =
        url.path_and_query().parse().map_err(|_| ("path", url.path_and_query().to_owned()))?;
    let host = url.origin().split_once("://").map_or("", |(_, host)| host);
    request.headers_mut().insert(HOST, HeaderValue::from_str(host).map_err(|_| ("host", host.to_owned()))?);
    for (name, value) in headers {
        if is_one_of(name, &CONNECTION_HEADERS) {
            return Err(("header", name.to_owned()));
        }
        let parsed = HeaderName::from_bytes(name.as_bytes()).map_err(|_| ("header", name.to_owned()))?;
        let value = HeaderValue::from_str(value).map_err(|_| ("the value of header", name.to_owned()))?;
        request.headers_mut().try_append(parsed, value).map_err(|_| ("header", name.to_owned()))?;
    }
    if !request.headers().contains_key(USER_AGENT) {
        request.headers_mut().insert(USER_AGENT, HeaderValue::from_static(USER));
    }
    Ok(request)
}

fn is_one_of(name: &str, list: &[&str]) -> bool {
    list.iter().any(|item| name.eq_ignore_ascii_case(item))
}

/// Reads the body of a response; fails with [`HttpError::TooLong`] above `bytes_max` bytes.
async fn read_body(
    connection: &mut HttpConnection,
    response: Response<Incoming>,
    bytes_max: u64,
    transferred: &mut Transferred,
) -> Result<HttpResponse, HttpError> {
    let (head, mut body) = response.into_parts();
    if body.size_hint().lower() > bytes_max {
        return Err(HttpError::TooLong(bytes_max));
    }
    let mut bytes = Vec::new();
    while let Some(data) = connection.next_chunk(&mut body).await? {
        bytes.extend_from_slice(&data);
        transferred.bytes = bytes.len() as u64;
        if bytes.len() as u64 > bytes_max {
            return Err(HttpError::TooLong(bytes_max));
        }
    }
    let header = |(name, value): (&HeaderName, &HeaderValue)| {
        (Text::from(name.as_str()), Text::from(&*String::from_utf8_lossy(value.as_bytes())))
    };
    Ok(HttpResponse {
        status: head.status.as_u16(),
        headers: head.headers.iter().map(header).collect(),
        body: bytes.into(),
    })
}
