//! HTTP/1.1 over TCP or TLS, to addresses that the kernel has seen and permitted.

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use ak_json::Text;
use ak_kernel::{Code, Completion, HttpResponse, Step, Verdict};
use ak_policy::{CanonicalUrl, HostOrIp, Scheme};
use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1,
    header::{HOST, HeaderName, HeaderValue, LOCATION},
};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use crate::driver::Asker;

/// Most redirects that are followed.
pub const REDIRECTS_MAX: usize = 10;
/// How long connecting and the TLS handshake may take, in milliseconds.
pub const CONNECT_TIMEOUT_MS: u64 = 10_000;

/// Headers that are not sent on when a redirect leads to another origin.
const CREDENTIAL_HEADERS: [&str; 4] = ["authorization", "cookie", "proxy-authorization", "www-authenticate"];
/// Headers that belong to the connection: the host sets them itself.
const CONNECTION_HEADERS: [&str; 8] =
    ["connection", "content-length", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"];

/// One HTTP request as the gate has permitted it.
pub(crate) struct HttpJob {
    pub(crate) method: Text,
    pub(crate) url: CanonicalUrl,
    pub(crate) headers: Vec<(Text, Text)>,
    pub(crate) body: Option<Arc<[u8]>>,
    pub(crate) response_bytes_max: u64,
    pub(crate) timeout_ms: u64,
}

/// Why a request has no response.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("{0}")]
    Protocol(#[from] hyper::Error),
    #[error("no address answered: {0}")]
    Connect(String),
    #[error("{0}")]
    Request(String),
    #[error("the response is longer than {0} bytes")]
    TooLong(u64),
    #[error("more than {REDIRECTS_MAX} redirects")]
    Redirects,
    #[error("not finished after {0} ms")]
    Timeout(u64),
    #[error("stopped by the kernel")]
    Aborted,
}

impl HttpError {
    pub(crate) fn completion(&self, what: &str) -> Completion {
        let code = match self {
            Self::Io(_) | Self::Protocol(_) | Self::Connect(_) | Self::Redirects | Self::Aborted => Code::Io,
            Self::Request(_) => Code::InvalidArgument,
            Self::TooLong(_) => Code::BufferOverflow,
            Self::Timeout(_) => Code::Deadline,
        };
        Completion::failed(code, format!("{what}: {self}"))
    }
}

/// Performs one request, redirects included.
pub(crate) async fn perform(job: HttpJob, asker: &Asker) -> Completion {
    let what = format!("{} {}", &*job.method, job.url);
    let timeout_ms = job.timeout_ms;
    match tokio::time::timeout(Duration::from_millis(timeout_ms), follow(job, asker)).await {
        Ok(Ok(response)) => Completion::Http(response),
        Ok(Err(error)) => error.completion(&what),
        Err(_) => HttpError::Timeout(timeout_ms).completion(&what),
    }
}

async fn follow(mut job: HttpJob, asker: &Asker) -> Result<HttpResponse, HttpError> {
    for _ in 0..=REDIRECTS_MAX {
        let addresses = resolve(&job.url).await?;
        let addresses = match asker.ask(Step::Resolved(addresses)) {
            Verdict::Connect(addresses) => addresses,
            Verdict::Continue | Verdict::Follow(_) | Verdict::Abort(_) => return Err(HttpError::Aborted),
        };
        let request = request(&job.method, &job.url, &job.headers, job.body.as_deref())?;
        let response = send(&job.url, &addresses, request).await?;
        match redirect(&job, &response)? {
            None => return collect(response, job.response_bytes_max).await,
            Some((method, url)) => {
                let step = Step::Redirect { method: method.clone(), url };
                let url = match asker.ask(step) {
                    Verdict::Follow(url) => url,
                    Verdict::Continue | Verdict::Connect(_) | Verdict::Abort(_) => {
                        return Err(HttpError::Aborted);
                    }
                };
                if (url.scheme(), url.host(), url.port())
                    != (job.url.scheme(), job.url.host(), job.url.port())
                {
                    job.headers.retain(|(name, _)| !is_one_of(name, &CREDENTIAL_HEADERS));
                }
                if *method != *job.method {
                    job.body = None;
                }
                job.method = method;
                job.url = url;
            }
        }
    }
    Err(HttpError::Redirects)
}

/// The addresses of a URL's host.
pub(crate) async fn resolve(url: &CanonicalUrl) -> Result<Vec<std::net::IpAddr>, HttpError> {
    match url.host() {
        HostOrIp::Ip(ip) => Ok(vec![ip.get()]),
        HostOrIp::Host(host) => {
            let found = tokio::net::lookup_host((host.as_str(), url.port())).await?;
            let mut addresses: Vec<_> = found.map(|address| address.ip()).collect();
            addresses.dedup();
            Ok(addresses)
        }
    }
}

/// Where a redirect leads, and with which method (RFC 9110 §15.4).
fn redirect(job: &HttpJob, response: &Response<Incoming>) -> Result<Option<(Text, Text)>, HttpError> {
    let see_other = match response.status() {
        StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND => &*job.method == "POST",
        StatusCode::SEE_OTHER => &*job.method != "HEAD",
        StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => false,
        _ => return Ok(None),
    };
    let Some(location) = response.headers().get(LOCATION) else { return Ok(None) };
    let wrong = |reason: String| HttpError::Connect(format!("the redirect's location is wrong: {reason}"));
    let location = location.to_str().map_err(|error| wrong(error.to_string()))?;
    let base = url::Url::parse(job.url.as_str()).map_err(|error| wrong(error.to_string()))?;
    let target = base.join(location).map_err(|error| wrong(error.to_string()))?;
    let method = if see_other { Text::from("GET") } else { job.method.clone() };
    Ok(Some((method, Text::from(target.as_str()))))
}

/// Builds the request. What belongs to the connection is the host's to set.
pub(crate) fn request(
    method: &str,
    url: &CanonicalUrl,
    headers: &[(Text, Text)],
    body: Option<&[u8]>,
) -> Result<Request<Full<Bytes>>, HttpError> {
    let wrong =
        |what: &str, name: &str| HttpError::Request(format!("{what} {name:?} may not stand in a request"));
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| wrong("method", method))?;
    let body = Full::new(Bytes::copy_from_slice(body.unwrap_or_default()));
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = url.path_and_query().parse().map_err(|_| wrong("path", url.path_and_query()))?;
    let host = match (url.host(), url.port() == url.scheme().default_port()) {
        (host, true) => host.to_string(),
        (host, false) => format!("{host}:{}", url.port()),
    };
    request.headers_mut().insert(HOST, HeaderValue::from_str(&host).map_err(|_| wrong("host", &host))?);
    for (name, value) in headers {
        if is_one_of(name, &CONNECTION_HEADERS) {
            return Err(wrong("header", name));
        }
        let parsed = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong("header", name))?;
        let value = HeaderValue::from_str(value).map_err(|_| wrong("the value of header", name))?;
        request.headers_mut().append(parsed, value);
    }
    Ok(request)
}

fn is_one_of(name: &str, list: &[&str]) -> bool {
    list.iter().any(|item| name.eq_ignore_ascii_case(item))
}

/// Connects to the first address that answers, and sends.
pub(crate) async fn send(
    url: &CanonicalUrl,
    addresses: &[std::net::IpAddr],
    request: Request<Full<Bytes>>,
) -> Result<Response<Incoming>, HttpError> {
    let mut refused = String::from("there is none");
    for address in addresses {
        let connect = TcpStream::connect(SocketAddr::new(*address, url.port()));
        match tokio::time::timeout(Duration::from_millis(CONNECT_TIMEOUT_MS), connect).await {
            Ok(Ok(stream)) => {
                return match url.scheme() {
                    Scheme::Http => exchange(stream, request).await,
                    Scheme::Https => exchange(handshake(url, stream).await?, request).await,
                };
            }
            Ok(Err(error)) => refused = format!("{address}: {error}"),
            Err(_) => refused = format!("{address}: no connection after {CONNECT_TIMEOUT_MS} ms"),
        }
    }
    Err(HttpError::Connect(refused))
}

async fn handshake(
    url: &CanonicalUrl,
    stream: TcpStream,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, HttpError> {
    static CONFIG: OnceLock<Arc<rustls::ClientConfig>> = OnceLock::new();
    let config = CONFIG.get_or_init(|| {
        let roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        Arc::new(rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
    });
    let name = match url.host() {
        HostOrIp::Ip(ip) => ServerName::IpAddress(ip.get().into()),
        HostOrIp::Host(host) => ServerName::try_from(host.as_str().to_owned())
            .map_err(|error| HttpError::Request(format!("{host}: {error}")))?,
    };
    Ok(TlsConnector::from(config.clone()).connect(name, stream).await?)
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, HttpError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // The connection ends by itself when response and sender are gone; its error shows in the response.
    tokio::spawn(connection);
    Ok(sender.send_request(request).await?)
}

async fn collect(response: Response<Incoming>, bytes_max: u64) -> Result<HttpResponse, HttpError> {
    let (head, mut body) = response.into_parts();
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            bytes.extend_from_slice(&data);
        }
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
