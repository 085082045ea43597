//! HTTP/1.1 over TCP or TLS, to addresses that the kernel has seen and permitted.

use std::time::Duration;

use ak_json::{Text, object};
use ak_kernel::{Completion, HOPS_SENT, HttpHop, HttpResponse, Step, Verdict};
use ak_policy::CanonicalUrl;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body, Bytes, Incoming},
    header::{CONTENT_ENCODING, HOST, HeaderName, HeaderValue, LOCATION, USER_AGENT},
};

use crate::{
    effects::context::EffectContext,
    net::connection::Line,
    net::error::HttpError,
    net::{Net, Way},
    secrets::redact::Filter,
    secrets::store::{SecretError, Secrets},
};

/// What the host calls itself where the request does not: some servers answer nobody without a name.
const USER: &str = concat!("authority-kernel/", env!("CARGO_PKG_VERSION"));
/// Headers by which a server may be told to answer so that a secret in its answer is not recognised.
const DISGUISES: [&str; 4] = ["accept-encoding", "if-range", "range", "te"];
/// Most redirects that are followed.
pub const REDIRECTS_MAX: usize = 10;

/// Headers that belong to the connection: the host sets them itself.
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

/// One HTTP request as the gate has permitted it.
pub(crate) struct HttpJob {
    /// The request that is sent at the moment.
    pub(crate) hop: HttpHop,
    pub(crate) response_bytes_max: u64,
    pub(crate) timeout_ms: u64,
}

/// What the call rests on.
pub(crate) struct Around<'a> {
    pub(crate) net: &'a Net,
    pub(crate) secrets: &'a Secrets,
    pub(crate) filter: &'a Filter,
}

/// How far a request came.
#[derive(Clone, Copy, Default)]
struct Came {
    /// How many requests servers may have acted on, redirects included.
    hops_sent: u64,
    /// Of the response's body.
    bytes: u64,
}

/// The completion of a request that failed.
fn failed(error: &HttpError, what: &str, came: Came) -> Completion {
    let (code, message) = (error.code(), format!("{what}: {error}"));
    let context = match object! { "sent": came.hops_sent > 0, (HOPS_SENT): came.hops_sent } {
        ak_json::Value::Object(context) => context,
        _ => ak_json::Object::new(),
    };
    Completion::Failed { code, message, context, spent: came.bytes }
}

impl From<SecretError> for HttpError {
    fn from(error: SecretError) -> HttpError {
        HttpError::Secret(error.to_string())
    }
}

/// Performs one request, redirects included.
pub(crate) async fn perform(job: HttpJob, around: &Around<'_>, asker: &impl EffectContext) -> Completion {
    let what = format!("{} {}", &*job.hop.method, job.hop.url);
    let timeout_ms = job.timeout_ms;
    let mut came = Came::default();
    let followed = follow(job, around, asker, &mut came);
    let followed = tokio::time::timeout(Duration::from_millis(timeout_ms), followed);
    match asker.while_wanted(followed).await {
        Some(Ok(Ok(response))) => Completion::Http(response),
        Some(Ok(Err(error))) => failed(&error, &what, came),
        Some(Err(_)) => failed(&HttpError::Timeout(timeout_ms), &what, came),
        None => failed(&HttpError::Unwanted, &what, came),
    }
}

async fn follow(
    mut job: HttpJob,
    around: &Around<'_>,
    asker: &impl EffectContext,
    came: &mut Came,
) -> Result<HttpResponse, HttpError> {
    let Around { net, secrets, filter } = around;
    for followed in 0.. {
        // Before the name is looked up: what must not be sent makes no traffic at all.
        let (request, holds_secret) = request(&job, secrets)?;
        let addresses = net.resolve(&job.hop.url).await?;
        let addresses = match asker.ask(Step::Resolved(addresses)).await {
            Verdict::Connect(addresses) => addresses,
            Verdict::Continue | Verdict::Follow(_) | Verdict::Abort(_) => return Err(HttpError::Aborted),
        };
        let mut line = net.connect(&job.hop.url, &addresses, Way::Configured).await?;
        came.hops_sent += 1;
        let response = line.send(request).await?;
        if holds_secret && is_disguised(&response) {
            let reason =
                "it is encoded or a part, and the request held a secret, which could not be cut from it";
            return Err(HttpError::Answer(format!("the response is not taken: {reason}")));
        }
        match redirect(&job, &response, filter)? {
            None => return collect(&mut line, response, job.response_bytes_max, came).await,
            // Before it is decided, and charged for.
            Some(_) if followed == REDIRECTS_MAX => break,
            Some((method, url)) => {
                job.hop = match asker.ask(Step::Redirect { method, url }).await {
                    Verdict::Follow(hop) => *hop,
                    Verdict::Continue | Verdict::Connect(_) | Verdict::Abort(_) => {
                        return Err(HttpError::Aborted);
                    }
                };
            }
        }
    }
    Err(HttpError::TooManyRedirects(REDIRECTS_MAX))
}

/// Where a redirect leads, and with which method (RFC 9110 §15.4).
fn redirect(
    job: &HttpJob,
    response: &Response<Incoming>,
    filter: &Filter,
) -> Result<Option<(Text, Text)>, HttpError> {
    let see_other = match response.status() {
        StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND => &*job.hop.method == "POST",
        StatusCode::SEE_OTHER => &*job.hop.method != "HEAD",
        StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => false,
        _ => return Ok(None),
    };
    let Some(location) = response.headers().get(LOCATION) else { return Ok(None) };
    let wrong = |reason: String| HttpError::Answer(format!("the redirect's location is wrong: {reason}"));
    let location = std::str::from_utf8(location.as_bytes()).map_err(|error| wrong(error.to_string()))?;
    // It goes into records, and to whoever is asked next.
    if filter.holds_value(location) {
        return Err(wrong("it holds a secret".into()));
    }
    let base = url::Url::parse(job.hop.url.as_str()).map_err(|error| wrong(error.to_string()))?;
    let target = base.join(location).map_err(|error| wrong(error.to_string()))?;
    let method = if see_other { Text::from("GET") } else { job.hop.method.clone() };
    Ok(Some((method, Text::from(target.as_str()))))
}

/// Whether what is in a response could not be recognised by looking at its bytes.
fn is_disguised(response: &Response<Incoming>) -> bool {
    let is_plain = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"identity");
    response.status() == StatusCode::PARTIAL_CONTENT
        || response.headers().get_all(CONTENT_ENCODING).iter().any(|value| !is_plain(value))
}

/// Builds the request, secrets in their places, and says whether there are any. What belongs to the connection is the
/// host's to set.
fn request(job: &HttpJob, secrets: &Secrets) -> Result<(Request<Full<Bytes>>, bool), HttpError> {
    let hop = &job.hop;
    let filled = secrets.fill(&hop.url, &hop.headers, hop.body.as_deref())?;
    let holds_secret = filled.holds_secret();
    if let Some((name, _)) = filled.headers.iter().find(|(name, value)| {
        holds_secret && is_one_of(name, &DISGUISES) && !value.eq_ignore_ascii_case("identity")
    }) {
        return Err(HttpError::Request(format!("header {name:?} may not stand beside a secret")));
    }
    let headers = filled.headers.iter().map(|(name, value)| (&***name, &**value));
    let request = build(&hop.method, &hop.url, headers, filled.body.as_deref().unwrap_or_default());
    // What is wrong with a header is told without its value.
    let request = request
        .map_err(|(what, name)| HttpError::Request(format!("{what} {name:?} may not stand in a request")));
    Ok((request?, holds_secret))
}

/// A request, or what is wrong in it: what it is and its name.
pub(crate) fn build<'h>(
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

/// Takes the body as it comes, and no more of it than is wanted.
async fn collect(
    line: &mut Line,
    response: Response<Incoming>,
    bytes_max: u64,
    came: &mut Came,
) -> Result<HttpResponse, HttpError> {
    let (head, mut body) = response.into_parts();
    if body.size_hint().lower() > bytes_max {
        return Err(HttpError::TooLong(bytes_max));
    }
    let mut bytes = Vec::new();
    while let Some(data) = line.next(&mut body).await? {
        bytes.extend_from_slice(&data);
        came.bytes = bytes.len() as u64;
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
