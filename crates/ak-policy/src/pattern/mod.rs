//! Patterns over targets.
//!
//! A pattern is parsed once, into a form whose literal parts are canonical like targets. Matching allocates nothing
//! (except joint readings of a URL and a pattern that each have several) and takes time linear in pattern × target,
//! whatever they contain.

mod cover;
mod error;
mod glob;
mod limits;
mod meter;
mod net;
mod path;
mod reading;
mod url;

use alloc::string::{String, ToString};
use core::cmp::Ordering;
use core::fmt;

pub(crate) use error::PatternError;
pub(crate) use glob::Glob;
pub(crate) use limits::{PATTERN_BYTES_MAX, SEARCHED_BYTES_MIN};
pub(crate) use meter::{
    COMPARED_BYTES_PER_STEP, DECISION_STEPS_MAX, Meter, PATTERN_STEPS_MAX, SEARCHED_BYTES_PER_STEP,
};
pub(crate) use net::{Cidr, EndpointPattern, HostPattern};
pub(crate) use path::{Part, PathGlob};
pub(crate) use reading::Reading;
pub(crate) use url::UrlPattern;

use crate::action::{Action, TargetKind};
use crate::target::{CanonicalPath, CanonicalTool, Target};

/// A pattern over targets of one kind, or over every target.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Pattern {
    /// `*`: every target.
    Any,
    /// Files, by the segments after the leading `/`.
    Path(PathGlob),
    Url(UrlPattern),
    /// Every URL.
    UrlAny,
    Host(HostPattern),
    Endpoint(EndpointPattern),
    /// A tool and, when the pattern names one, its version.
    Tool(Glob, Option<Glob>),
    Model(Glob),
    Agent(PathGlob),
    Heap(u64),
    /// `heap:*`.
    HeapAny,
    Type(Glob),
    Audit(Glob),
    /// `{ literal = "…" }`: exactly this target.
    Literal(LiteralTarget),
}

/// A target that is compared as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LiteralTarget(pub(crate) Target);

/// Orders by canonical text.
impl Ord for LiteralTarget {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.to_string().cmp(&other.0.to_string())
    }
}

impl PartialOrd for LiteralTarget {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Pattern {
    /// Parses a pattern for targets of one kind, with or without the kind's prefix.
    ///
    /// `base` is the absolute directory that `./` stands for.
    pub(crate) fn parse(kind: TargetKind, text: &str, base: Option<&str>) -> Result<Self, PatternError> {
        check_text(text)?;
        let pattern = Self::parse_any(kind, text, base)?;
        // The canonical form can be longer than the text, and must also be a valid pattern.
        if is_longer(&pattern, PATTERN_BYTES_MAX) { Err(PatternError::TooLong) } else { Ok(pattern) }
    }

    fn parse_any(kind: TargetKind, text: &str, base: Option<&str>) -> Result<Self, PatternError> {
        if text == "*" && kind != TargetKind::Path {
            return Ok(Self::any_of(kind));
        }
        let (prefix, rest) = split_prefix(text);
        let own = match prefix {
            Some(prefix) if !prefixes(kind).contains(&prefix) => return Err(PatternError::Kind),
            Some(_) => rest,
            None => text,
        };
        if own.is_empty() {
            return Err(PatternError::Empty);
        }
        match kind {
            TargetKind::Path => parse_path(text, base),
            TargetKind::Url => UrlPattern::parse(text).map(Self::Url),
            TargetKind::Host => HostPattern::parse(own).map(Self::Host),
            TargetKind::Endpoint => match prefix {
                Some("ip") => EndpointPattern::parse_net(own),
                Some(_) => EndpointPattern::parse_host(own),
                None => Err(PatternError::Kind),
            }
            .map(Self::Endpoint),
            TargetKind::Tool => parse_tool(own),
            TargetKind::Model => Glob::parse(own).map(Self::Model),
            TargetKind::Agent => parse_agent(own).map(Self::Agent),
            TargetKind::Heap if own == "*" => Ok(Self::HeapAny),
            TargetKind::Heap => match Target::parse(TargetKind::Heap, own)? {
                Target::Heap(handle) => Ok(Self::Heap(handle)),
                _ => Err(PatternError::Kind),
            },
            TargetKind::Type => Glob::parse(own).map(Self::Type),
            TargetKind::Audit => Glob::parse(own).map(Self::Audit),
        }
    }

    /// The pattern itself, but for `*` the pattern over every target of this kind.
    pub(crate) fn of_kind(self, kind: TargetKind) -> Self {
        if self == Self::Any { Self::any_of(kind) } else { self }
    }

    /// The pattern that matches every target of a kind.
    fn any_of(kind: TargetKind) -> Self {
        match kind {
            TargetKind::Path => Self::Path(PathGlob::deep()),
            TargetKind::Tool => Self::Tool(Glob::any(), None),
            TargetKind::Model => Self::Model(Glob::any()),
            TargetKind::Agent => Self::Agent(PathGlob::deep()),
            TargetKind::Heap => Self::HeapAny,
            TargetKind::Type => Self::Type(Glob::any()),
            TargetKind::Audit => Self::Audit(Glob::any()),
            TargetKind::Host => Self::Host(HostPattern::Any),
            TargetKind::Url => Self::UrlAny,
            TargetKind::Endpoint => Self::Any,
        }
    }

    /// The pattern that matches exactly this target.
    pub(crate) fn literal(target: &Target) -> Self {
        Self::Literal(LiteralTarget(target.clone()))
    }

    /// Whether the pattern can match targets of this kind.
    pub(crate) fn fits(&self, kind: TargetKind) -> bool {
        match self {
            Self::Any => true,
            Self::Path(_) => kind == TargetKind::Path,
            Self::Url(_) | Self::UrlAny => kind == TargetKind::Url,
            Self::Host(_) => kind == TargetKind::Host,
            Self::Endpoint(_) => kind == TargetKind::Endpoint,
            Self::Tool(..) => kind == TargetKind::Tool,
            Self::Model(_) => kind == TargetKind::Model,
            Self::Agent(_) => kind == TargetKind::Agent,
            Self::Heap(_) | Self::HeapAny => kind == TargetKind::Heap,
            Self::Type(_) => kind == TargetKind::Type,
            Self::Audit(_) => kind == TargetKind::Audit,
            Self::Literal(literal) => kind == literal.0.kind(),
        }
    }

    /// Whether the target matches. When matching takes more than [`PATTERN_STEPS_MAX`] steps, a narrow reading does
    /// not match and a wide one does.
    pub(crate) fn matches(&self, action: Action, target: &Target, reading: Reading) -> bool {
        let meter = Meter::of_pattern();
        let matches = self.matches_within(action, target, reading, &meter);
        if meter.is_spent() { reading == Reading::Wide } else { matches }
    }

    /// Like [`matches`](Self::matches), with the steps taken from the meter; once the meter is spent the result is
    /// meaningless.
    pub(crate) fn matches_within(
        &self,
        action: Action,
        target: &Target,
        reading: Reading,
        meter: &Meter,
    ) -> bool {
        match (self, target) {
            // `*` does not permit connections to addresses outside the public internet: these need a pattern over
            // addresses.
            (Self::Any, Target::Addr(ip, _)) => {
                reading == Reading::Wide || action != Action::Connect || ip.is_public()
            }
            (Self::Any, _) => true,
            (Self::Path(glob), Target::Path(path)) => path_matches(glob, path, meter),
            (Self::Url(pattern), Target::Url(url)) => pattern.matches_within(url, reading, meter),
            (Self::Host(pattern), Target::Host(host)) => pattern.matches(host),
            (Self::Endpoint(EndpointPattern::Host(host, ports)), Target::HostPort(name, port)) => {
                ports.contains(*port) && host.matches(name)
            }
            (Self::Endpoint(EndpointPattern::Net(range, ports)), Target::Addr(ip, port)) => {
                ports.contains(*port) && range.contains(*ip)
            }
            (Self::Tool(name, version), Target::Tool(tool)) => {
                name.matches(tool.name()) && version_matches(version.as_ref(), tool, reading)
            }
            (Self::Model(glob), Target::Model(name))
            | (Self::Type(glob), Target::Type(name))
            | (Self::Audit(glob), Target::Audit(name)) => glob.matches(name.as_str()),
            (Self::Agent(glob), Target::Agent(name)) => glob.matches(name.as_str()),
            (Self::Heap(own), Target::Heap(handle)) => own == handle,
            (Self::HeapAny, Target::Heap(_)) => true,
            (Self::UrlAny, Target::Url(_)) => true,
            // A call or a pattern without a version may mean any version.
            (Self::Literal(LiteralTarget(Target::Tool(own))), Target::Tool(tool))
                if reading == Reading::Wide =>
            {
                let either = own.version().is_none() || tool.version().is_none();
                own.name() == tool.name() && (either || own.version() == tool.version())
            }
            (Self::Literal(LiteralTarget(Target::Url(own))), Target::Url(url))
                if reading == Reading::Wide =>
            {
                own.may_be(url)
            }
            (Self::Literal(literal), target) => literal.0 == *target,
            (
                Self::Path(_)
                | Self::Url(_)
                | Self::UrlAny
                | Self::Host(_)
                | Self::Endpoint(_)
                | Self::Tool(..)
                | Self::Model(_)
                | Self::Agent(_)
                | Self::Heap(_)
                | Self::HeapAny
                | Self::Type(_)
                | Self::Audit(_),
                _,
            ) => false,
        }
    }

    /// For a pattern over files, the deepest directory known to hold everything it matches; otherwise `None`.
    pub(crate) fn root(&self) -> Option<String> {
        match self {
            Self::Any => Some("/".into()),
            Self::Path(glob) => Some(glob.root()),
            Self::Literal(LiteralTarget(Target::Path(path))) => {
                let (parent, _) = path.as_str().rsplit_once('/')?;
                Some(if parent.is_empty() { "/".into() } else { parent.into() })
            }
            Self::Literal(_)
            | Self::Url(_)
            | Self::UrlAny
            | Self::Host(_)
            | Self::Endpoint(_)
            | Self::Tool(..)
            | Self::Model(_)
            | Self::Agent(_)
            | Self::Heap(_)
            | Self::HeapAny
            | Self::Type(_)
            | Self::Audit(_) => None,
        }
    }
}

fn path_matches(glob: &PathGlob, path: &CanonicalPath, meter: &Meter) -> bool {
    let path = path.relative();
    let searches = glob.searches() && path.len() >= SEARCHED_BYTES_MIN;
    (!searches || glob.may_match(meter.segments(core::iter::once(path)))) && glob.matches_within(path, meter)
}

fn version_matches(pattern: Option<&Glob>, tool: &CanonicalTool, reading: Reading) -> bool {
    match (pattern, tool.version()) {
        (None, _) => true,
        (Some(pattern), Some(version)) => pattern.matches(version),
        // The call does not say which version will run.
        (Some(_), None) => reading == Reading::Wide,
    }
}

fn check_text(text: &str) -> Result<(), PatternError> {
    match text {
        "" => Err(PatternError::Empty),
        text if text.len() > PATTERN_BYTES_MAX => Err(PatternError::TooLong),
        text if text.contains('\0') => Err(PatternError::Control),
        _ => Ok(()),
    }
}

/// Whether the text of a value has more than `bytes_max` bytes.
fn is_longer(value: &impl fmt::Display, bytes_max: usize) -> bool {
    struct Room(usize);
    impl fmt::Write for Room {
        fn write_str(&mut self, part: &str) -> fmt::Result {
            self.0 = self.0.checked_sub(part.len()).ok_or(fmt::Error)?;
            Ok(())
        }
    }
    fmt::Write::write_fmt(&mut Room(bytes_max), format_args!("{value}")).is_err()
}

fn parse_path(text: &str, base: Option<&str>) -> Result<Pattern, PatternError> {
    let (below, relative) = match (text.strip_prefix("./"), text.strip_prefix('/')) {
        (Some(relative), _) => (Some(base.ok_or(PatternError::NoBase)?), relative),
        (None, Some(relative)) => (None, relative),
        (None, None) => return Err(PatternError::NotAbsolute),
    };
    let glob = PathGlob::parse(relative, |segment| match segment {
        "" | "." | ".." => Err(PatternError::Dots),
        segment => Part::parse(segment),
    })?;
    Ok(Pattern::Path(match below {
        Some(base) => glob.below(CanonicalPath::parse(base)?.relative()),
        None => glob,
    }))
}

fn parse_tool(text: &str) -> Result<Pattern, PatternError> {
    let at = text.char_indices().rfind(|&(at, c)| c == '@' && at > 0).map(|(at, _)| at);
    let (name, version) = match at {
        Some(at) => (text.get(..at).unwrap_or_default(), text.get(at + 1..)),
        None => (text, None),
    };
    if version == Some("") {
        return Err(PatternError::Empty);
    }
    Ok(Pattern::Tool(Glob::parse(name)?, version.map(Glob::parse).transpose()?))
}

/// Parses a pattern over agents; `*` alone matches every agent.
pub(crate) fn parse_agent(text: &str) -> Result<PathGlob, PatternError> {
    check_text(text)?;
    if text == "*" {
        return Ok(PathGlob::deep());
    }
    PathGlob::parse(
        text,
        |segment| if segment.is_empty() { Err(PatternError::Empty) } else { Part::parse(segment) },
    )
}

/// The prefixes that patterns of a kind may carry.
fn prefixes(kind: TargetKind) -> &'static [&'static str] {
    match kind {
        TargetKind::Path | TargetKind::Url => &[],
        TargetKind::Host => &["dns"],
        TargetKind::Endpoint => &["dns", "ip"],
        TargetKind::Tool => &["tool"],
        TargetKind::Model => &["model"],
        TargetKind::Agent => &["agent"],
        TargetKind::Heap => &["heap"],
        TargetKind::Type => &["type"],
        TargetKind::Audit => &["audit"],
    }
}

fn split_prefix(text: &str) -> (Option<&str>, &str) {
    match text.split_once(':') {
        Some((prefix @ ("dns" | "ip" | "tool" | "model" | "agent" | "heap" | "type" | "audit"), rest)) => {
            (Some(prefix), rest)
        }
        _ => (None, text),
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any | Self::UrlAny => f.write_str("*"),
            Self::Path(glob) => {
                f.write_str("/")?;
                glob.fmt(f)
            }
            Self::Url(url) => url.fmt(f),
            Self::Host(host) => write!(f, "dns:{host}"),
            Self::Endpoint(endpoint) => endpoint.fmt(f),
            Self::Tool(name, None) => write!(f, "tool:{name}"),
            Self::Tool(name, Some(version)) => write!(f, "tool:{name}@{version}"),
            Self::Model(glob) => write!(f, "model:{glob}"),
            Self::Agent(glob) => write!(f, "agent:{glob}"),
            Self::Heap(handle) => write!(f, "heap:{handle:#x}"),
            Self::HeapAny => f.write_str("heap:*"),
            Self::Type(glob) => write!(f, "type:{glob}"),
            Self::Audit(glob) => write!(f, "audit:{glob}"),
            Self::Literal(literal) => literal.0.fmt(f),
        }
    }
}
