//! Why a text is not a pattern, and what to write instead.

use super::limits::{DEEP_MAX, PATTERN_BYTES_MAX};
use crate::target::TargetError;

/// Why a text is not a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PatternError {
    #[error("pattern is empty")]
    Empty,
    #[error("pattern is longer than {PATTERN_BYTES_MAX} bytes")]
    TooLong,
    #[error("pattern holds a control character")]
    Control,
    #[error("pattern ends with a lone '\\'")]
    Escape,
    #[error("'**' must be a whole segment")]
    PartialDeep,
    #[error("pattern has more than {DEEP_MAX} '**'")]
    TooManyDeep,
    #[error("pattern is not an absolute path")]
    NotAbsolute,
    #[error("'./' has no directory to start from")]
    NoBase,
    #[error("pattern has an empty, '.' or '..' segment, which never matches")]
    Dots,
    #[error("a host pattern is a name, '*.name' or '*'")]
    HostWildcard,
    #[error("not an address range")]
    Cidr,
    #[error("the address has bits set after its prefix length")]
    CidrHostBits,
    #[error("port is missing, or neither a number, a range nor '*'")]
    Ports,
    #[error("not a url pattern")]
    Url,
    #[error("url pattern holds white space, a control character or a fragment")]
    UrlCharacter,
    #[error("an e-mail pattern has an '@'")]
    Email,
    #[error("the kind of target is ambiguous")]
    Kind,
    #[error(transparent)]
    Target(#[from] TargetError),
}

impl PatternError {
    /// What to write instead; `None` when there is nothing useful to suggest.
    pub(crate) fn hint(self) -> Option<&'static str> {
        match self {
            Self::Escape => Some("write '\\\\' for a backslash"),
            Self::PartialDeep => Some("write '/app/**' for everything below, '/app/x*' within one segment"),
            Self::TooManyDeep => Some("write several patterns, or '*' for a single segment"),
            Self::NotAbsolute => Some("begin with '/', or with './' for the policy file's directory"),
            Self::NoBase => Some("load the policy from a file, or write an absolute path"),
            Self::Dots => Some("write '/app' for the directory, '/app/**' for it and everything below"),
            Self::HostWildcard => Some("write '*.example.com' for every host below example.com"),
            Self::Cidr => Some("write '10.0.0.0/8', '[2001:db8::]/32' or one address"),
            Self::CidrHostBits => Some("write the first address of the range"),
            Self::Ports => Some("write ':443', ':8000-8099' or ':*'"),
            Self::Url | Self::Target(TargetError::Scheme) => {
                Some("write 'https://host/path', or 'https://host/**'")
            }
            Self::Email => Some("write '*@example.com'"),
            Self::Kind => {
                Some("write a prefix: 'tool:', 'model:', 'agent:', 'dns:', 'ip:', 'heap:', 'type:', 'audit:'")
            }
            Self::Target(TargetError::Host) => Some("address ranges stand behind 'ip:'"),
            Self::Empty | Self::TooLong | Self::Control | Self::UrlCharacter | Self::Target(_) => None,
        }
    }
}
