//! Canonical targets: the things that actions act on, in the one form that is checked, used and recorded.
//!
//! A target can only be made by canonicalising a text. So the target that the policy decided on is, by type, the
//! target that the host acts on: no second spelling can slip past a rule.

mod error;
mod host;
mod ip;
mod name;
mod path;
mod readings;
mod resolve;
mod url;

use core::fmt;
use core::net::IpAddr;

use crate::action::TargetKind;

pub use error::TargetError;
pub use host::CanonicalHost;
pub use ip::CanonicalIp;
pub use name::{CanonicalName, CanonicalTool, NAME_BYTES_MAX};
pub use path::{CanonicalPath, PATH_BYTES_MAX};
pub use url::{CanonicalUrl, HostOrIp, Scheme, URL_BYTES_MAX};

pub(crate) use readings::{
    DEEP, PathReading, ReadQuery, Readings, STAR, TooMany, joint_paths, joint_queries,
};
pub(crate) use url::{check_segment, parse_port, write_path_literal, write_query_literal};

use url::split_port;

/// The canonical thing that an action acts on, such as a path, a URL, a tool or a heap object. Its
/// [`Display`](fmt::Display) is the canonical text, which parses back to the same target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A file or directory: `/app/data.txt`.
    Path(CanonicalPath),
    /// A URL: `https://host/path`.
    Url(CanonicalUrl),
    /// A host name: `dns:host`.
    Host(CanonicalHost),
    /// A host name and a port: `dns:host:443`.
    HostPort(CanonicalHost, u16),
    /// An address and a port: `ip:1.2.3.4:443`, `ip:[::1]:8080`.
    Addr(CanonicalIp, u16),
    /// A tool: `tool:name`, `tool:name@version`.
    Tool(CanonicalTool),
    /// A model: `model:name`.
    Model(CanonicalName),
    /// An agent: `agent:crew/writer`.
    Agent(CanonicalName),
    /// A heap object: `heap:0x…`.
    Heap(u64),
    /// A type of heap objects: `type:name`.
    Type(CanonicalName),
    /// An audit event, or the agent whose entries are read: `audit:name`.
    Audit(CanonicalName),
}

impl Target {
    /// A file or directory. See [`CanonicalPath::parse`].
    ///
    /// # Errors
    /// [`TargetError`] when the text has no canonical form.
    pub fn path(text: &str) -> Result<Target, TargetError> {
        CanonicalPath::parse(text).map(Target::Path)
    }

    /// The kind of the target.
    pub fn kind(&self) -> TargetKind {
        match self {
            Self::Path(_) => TargetKind::Path,
            Self::Url(_) => TargetKind::Url,
            Self::Host(_) => TargetKind::Host,
            Self::HostPort(..) | Self::Addr(..) => TargetKind::Endpoint,
            Self::Tool(_) => TargetKind::Tool,
            Self::Model(_) => TargetKind::Model,
            Self::Agent(_) => TargetKind::Agent,
            Self::Heap(_) => TargetKind::Heap,
            Self::Type(_) => TargetKind::Type,
            Self::Audit(_) => TargetKind::Audit,
        }
    }

    /// A URL. See [`CanonicalUrl::parse`].
    ///
    /// # Errors
    /// [`TargetError`] when the text has no canonical form.
    pub fn url(text: &str) -> Result<Target, TargetError> {
        CanonicalUrl::parse(text).map(Target::Url)
    }

    /// A host name.
    ///
    /// # Errors
    /// [`TargetError`] when the text has no canonical form.
    pub fn host(text: &str) -> Result<Target, TargetError> {
        CanonicalHost::parse(text).map(Target::Host)
    }

    /// A host name or address, and a port: `example.com:443`, `1.2.3.4:443`, `[::1]:443`.
    ///
    /// # Errors
    /// [`TargetError`] when the text has no canonical form or names no port.
    pub fn endpoint(text: &str) -> Result<Target, TargetError> {
        let (host, port) = split_port(text)?;
        let port = port.ok_or(TargetError::Port)?;
        Ok(match HostOrIp::parse(host)? {
            HostOrIp::Host(host) => Target::HostPort(host, port),
            HostOrIp::Ip(ip) => Target::Addr(ip, port),
        })
    }

    /// An address and a port.
    pub fn addr(ip: IpAddr, port: u16) -> Target {
        Target::Addr(CanonicalIp::new(ip), port)
    }

    /// A tool: `name` or `name@version`.
    ///
    /// # Errors
    /// [`TargetError`] when the text has no canonical form.
    pub fn tool(text: &str) -> Result<Target, TargetError> {
        CanonicalTool::parse(text).map(Target::Tool)
    }

    /// A model.
    ///
    /// # Errors
    /// [`TargetError`] when the text has no canonical form.
    pub fn model(text: &str) -> Result<Target, TargetError> {
        CanonicalName::parse(text).map(Target::Model)
    }

    /// An agent, by its path of names.
    ///
    /// # Errors
    /// [`TargetError`] when the text has no canonical form, or one of the names is empty.
    pub fn agent(text: &str) -> Result<Target, TargetError> {
        if text.split('/').any(str::is_empty) {
            return Err(TargetError::Empty);
        }
        CanonicalName::parse(text).map(Target::Agent)
    }

    /// A heap object.
    pub fn heap(handle: u64) -> Target {
        Target::Heap(handle)
    }

    /// A type of heap objects.
    ///
    /// # Errors
    /// [`TargetError`] when the text has no canonical form.
    pub fn type_name(text: &str) -> Result<Target, TargetError> {
        CanonicalName::parse(text).map(Target::Type)
    }

    /// An audit event, or the agent whose entries are read.
    ///
    /// # Errors
    /// [`TargetError`] when the text has no canonical form.
    pub fn audit(text: &str) -> Result<Target, TargetError> {
        CanonicalName::parse(text).map(Target::Audit)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.fmt(f),
            Self::Url(url) => url.fmt(f),
            Self::Host(host) => write!(f, "dns:{host}"),
            Self::HostPort(host, port) => write!(f, "dns:{host}:{port}"),
            Self::Addr(ip, port) => write!(f, "ip:{ip}:{port}"),
            Self::Tool(tool) => write!(f, "tool:{tool}"),
            Self::Model(name) => write!(f, "model:{name}"),
            Self::Agent(name) => write!(f, "agent:{name}"),
            Self::Heap(handle) => write!(f, "heap:{handle:#x}"),
            Self::Type(name) => write!(f, "type:{name}"),
            Self::Audit(name) => write!(f, "audit:{name}"),
        }
    }
}
