//! Why a text is not a canonical target.

use super::readings::READINGS_MAX;

/// Why a text has no canonical form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// The target, or a name in it, is empty.
    #[error("target is empty")]
    Empty,
    /// The text is longer than a target of its kind may be.
    #[error("target is longer than {bytes_max} bytes")]
    TooLong {
        /// The most bytes allowed.
        bytes_max: usize,
    },
    /// The text contains a NUL byte, plain or escaped.
    #[error("target holds a NUL")]
    Nul,
    /// A file path does not begin with `/`.
    #[error("path is not absolute")]
    NotAbsolute,
    /// A name contains a control character, white space at an end, or an `@` in the wrong place.
    #[error("name contains a control character, outer white space or a misplaced '@'")]
    NameCharacter,
    /// The text is not a host name.
    #[error("not a host name")]
    Host,
    /// The text is not an IP address in its usual spelling.
    #[error("not an IP address in its usual spelling")]
    Address,
    /// The port is missing, or not between 0 and 65535 in plain decimal.
    #[error("port is missing or not a plain number up to 65535")]
    Port,
    /// The scheme is missing, or neither `http` nor `https`.
    #[error("url does not begin with http:// or https://")]
    Scheme,
    /// The URL has a user name or password before the host.
    #[error("url carries credentials")]
    Credentials,
    /// The URL contains a backslash, white space or control character.
    #[error("url holds a backslash or control character")]
    UrlCharacter,
    /// A `%` is not followed by two hexadecimal digits.
    #[error("'%' is not followed by two hexadecimal digits")]
    Escape,
    /// Some programs would read a segment of the path as `.` or `..`.
    #[error("url hides '.' or '..' behind an escape or parameter")]
    HiddenStep,
    /// Because of its escapes, parameters and slashes, servers may read the path or query in more ways than are
    /// examined.
    #[error("url is ambiguous: it has more than {READINGS_MAX} possible readings")]
    TooManyReadings,
    /// The text is not a heap handle.
    #[error("not a heap handle such as 0x100000001")]
    Handle,
    /// The name of the operation is unknown.
    #[error("operation is not known")]
    Operation,
    /// The operation is done to several kinds of targets, and the target's text is of none of them.
    #[error("target is neither an absolute path, a handle such as 0x100000001 nor a URL")]
    Form,
    /// The operation does not act on targets of this kind.
    #[error("the operation does not apply to this kind of target")]
    Kind,
}
