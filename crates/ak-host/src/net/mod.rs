//! The network as the operator configured it: name resolution, trusted certificates, and a proxy.
//!
//! A name is resolved once, and the connection goes only to one of the permitted addresses. A proxy too is given the
//! address, not the name. No setting comes from the environment.

pub(crate) mod connection;
pub(crate) mod error;
pub(crate) mod head_limit;
pub(crate) mod pool;

use std::{
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    sync::Arc,
    time::Duration,
};

use ak_policy::{CanonicalUrl, HostOrIp, Scheme};
use hickory_resolver::{
    TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolverConfig},
    net::runtime::TokioRuntimeProvider,
};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use crate::{
    config::tables::NetConfig,
    net::connection::HttpConnection,
    net::error::HttpError,
    runtime::{Runtime, WorkKind},
    trusted_file::{self, Trust},
};

/// Maximum time for one address, in milliseconds: connecting, the proxy's answer and the TLS handshake together.
pub const CONNECT_TIMEOUT_MS: u64 = 10_000;
/// Maximum number of addresses of a name that are considered; further ones are ignored.
pub const ADDRESSES_MAX: usize = 64;
/// Maximum time for the answer of one name server, in milliseconds.
const DNS_TIMEOUT_MS: u64 = 5_000;
/// Maximum length of a proxy's answer to CONNECT, in bytes.
const PROXY_HEAD_BYTES_MAX: usize = 8 << 10;

/// Whether a server is reached through the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProxyMode {
    /// Through the configured proxy, if there is one.
    Configured,
    Direct,
}

impl ProxyMode {
    /// The default mode for a configured server: direct for this machine, because the name `localhost` would mean
    /// another machine to the proxy.
    pub(crate) fn default_for(url: &CanonicalUrl) -> ProxyMode {
        let is_here = match url.host() {
            HostOrIp::Ip(ip) => ip.get().to_canonical().is_loopback(),
            HostOrIp::Host(host) => host.as_str() == "localhost",
        };
        if is_here { Self::Direct } else { Self::Configured }
    }
}

/// Resolves names and connects to servers, with the operator's configuration.
pub(crate) struct Net {
    resolver: Option<TokioResolver>,
    proxy: Option<CanonicalUrl>,
    tls: Arc<rustls::ClientConfig>,
}

impl Net {
    /// # Errors
    /// One sentence, when a certificate file or a name server cannot be used.
    pub(crate) fn new(config: NetConfig) -> Result<Net, String> {
        let mut roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        for path in &config.ca {
            let wrong = |error: &dyn std::fmt::Display| format!("[http] ca: {}: {error}", path.display());
            let file = trusted_file::open(path, Trust::Settings).map_err(|error| wrong(&error))?;
            let certificates = CertificateDer::pem_reader_iter(std::io::BufReader::new(file));
            let mut count = 0;
            for certificate in certificates {
                roots.add(certificate.map_err(|error| wrong(&error))?).map_err(|error| wrong(&error))?;
                count += 1;
            }
            if count == 0 {
                return Err(wrong(&"there is no certificate in it"));
            }
        }
        let tls =
            Arc::new(rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth());
        let resolver = match config.dns_servers.as_slice() {
            [] => None,
            servers => Some(resolver(servers).map_err(|error| format!("[dns] servers: {error}"))?),
        };
        Ok(Net { resolver, proxy: config.proxy, tls })
    }

    /// Returns the addresses of a URL's host, at most [`ADDRESSES_MAX`], from a new lookup.
    pub(crate) async fn resolve(&self, url: &CanonicalUrl) -> Result<Vec<IpAddr>, HttpError> {
        let host = match url.host() {
            HostOrIp::Ip(ip) => return Ok(vec![ip.get()]),
            HostOrIp::Host(host) => host.as_str(),
        };
        let unknown = |error: String| HttpError::Connect(format!("{host}: {error}"));
        let mut addresses: Vec<IpAddr> = match &self.resolver {
            // The final dot makes the name absolute: no search domain is appended.
            Some(resolver) => resolver
                .lookup_ip(format!("{host}."))
                .await
                .map_err(|error| unknown(error.to_string()))?
                .iter()
                .collect(),
            None => lookup_by_system(host.to_owned(), url.port())
                .await
                .map_err(|error| unknown(error.to_string()))?,
        };
        let mut seen = std::collections::BTreeSet::new();
        addresses.retain(|address| seen.insert(*address));
        addresses.truncate(ADDRESSES_MAX);
        Ok(addresses)
    }

    /// Connects to the first of these addresses that accepts; `proxy_mode` says whether through the proxy.
    ///
    /// # Errors
    /// [`HttpError::Connect`], when no address accepts; nothing of a request was sent then.
    pub(crate) async fn connect(
        &self,
        url: &CanonicalUrl,
        addresses: &[IpAddr],
        proxy_mode: ProxyMode,
    ) -> Result<HttpConnection, HttpError> {
        let mut refused = String::from("there is none");
        for address in addresses {
            let opened = self.open(url, SocketAddr::new(*address, url.port()), proxy_mode);
            match tokio::time::timeout(Duration::from_millis(CONNECT_TIMEOUT_MS), opened).await {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(error)) => refused = format!("{address}: {error}"),
                Err(_) => refused = format!("{address}: no connection after {CONNECT_TIMEOUT_MS} ms"),
            }
        }
        Err(HttpError::Connect(refused))
    }

    async fn open(
        &self,
        url: &CanonicalUrl,
        address: SocketAddr,
        proxy_mode: ProxyMode,
    ) -> Result<HttpConnection, HttpError> {
        let stream = match self.proxy.as_ref().filter(|_| proxy_mode == ProxyMode::Configured) {
            None => TcpStream::connect(address).await?,
            Some(proxy) => connect_via_proxy(self.connect_to_proxy(proxy).await?, address).await?,
        };
        // Requests are sent as they are written, not delayed for more data.
        stream.set_nodelay(true)?;
        match url.scheme() {
            Scheme::Http => HttpConnection::handshake(stream).await,
            Scheme::Https => {
                let name = match url.host() {
                    HostOrIp::Ip(ip) => ServerName::IpAddress(ip.get().into()),
                    HostOrIp::Host(host) => ServerName::try_from(host.as_str().to_owned())
                        .map_err(|error| HttpError::Request(format!("{host}: {error}")))?,
                };
                HttpConnection::handshake(TlsConnector::from(self.tls.clone()).connect(name, stream).await?)
                    .await
            }
        }
    }

    /// Connects to the proxy. The operator configured it, so the kernel does not decide on its address.
    async fn connect_to_proxy(&self, proxy: &CanonicalUrl) -> Result<TcpStream, HttpError> {
        let mut refused = String::from("it has no address");
        for address in self.resolve(proxy).await? {
            match TcpStream::connect((address, proxy.port())).await {
                Ok(stream) => return Ok(stream),
                Err(error) => refused = error.to_string(),
            }
        }
        Err(HttpError::Connect(format!("the proxy does not answer: {refused}")))
    }
}

impl std::fmt::Debug for Net {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Net").field("proxy", &self.proxy).finish_non_exhaustive()
    }
}

/// Looks up a name with the system's resolver, which may block for long, on a thread for lookups.
async fn lookup_by_system(host: String, port: u16) -> std::io::Result<Vec<IpAddr>> {
    let work = move || Ok((host.as_str(), port).to_socket_addrs()?.map(|address| address.ip()).collect());
    let died = || std::io::Error::other("the lookup died");
    Runtime::get()?.run_blocking(WorkKind::Lookup, work).await.ok_or_else(died)?
}

fn resolver(servers: &[SocketAddr]) -> Result<TokioResolver, String> {
    let server = |address: &SocketAddr| {
        let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
            connection.port = address.port();
            connection
        });
        NameServerConfig::new(address.ip(), true, connections.to_vec())
    };
    let config = ResolverConfig::from_parts(None, Vec::new(), servers.iter().map(server).collect());
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    let options = builder.options_mut();
    // Nothing is cached: each request is decided on with the current addresses.
    options.cache_size = 0;
    options.timeout = Duration::from_millis(DNS_TIMEOUT_MS);
    options.attempts = 2;
    options.use_hosts_file = hickory_resolver::config::ResolveHosts::Never;
    builder.build().map_err(|error| error.to_string())
}

/// Asks a proxy to connect to an address (RFC 9110 §9.3.6).
async fn connect_via_proxy(mut stream: TcpStream, address: SocketAddr) -> Result<TcpStream, HttpError> {
    let refused = |reason: &str| HttpError::Connect(format!("the proxy does not connect: {reason}"));
    stream.write_all(format!("CONNECT {address} HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes()).await?;
    let mut head = Vec::new();
    // Read byte by byte: the bytes after the head come from the server behind the proxy.
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= PROXY_HEAD_BYTES_MAX {
            return Err(refused("its answer is too long"));
        }
        head.push(stream.read_u8().await?);
    }
    let status = head.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    match status {
        [b'2', _, _] => Ok(stream),
        status => Err(refused(&format!("status {}", String::from_utf8_lossy(status)))),
    }
}
