//! Why a text is no canonical target.

use super::readings::READINGS_MAX;

/// Why a text has no canonical form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Nothing stands where a name should.
    #[error("target is empty")]
    Empty,
    /// The text is longer than any target of its kind.
    #[error("target is longer than {bytes_max} bytes")]
    TooLong {
        /// The most bytes that are allowed.
        bytes_max: usize,
    },
    /// A NUL byte, plain or escaped.
    #[error("target holds a NUL")]
    Nul,
    /// A file path that does not begin with `/`.
    #[error("path is not absolute")]
    NotAbsolute,
    /// A name with a control character, white space around it, or an `@` where none belongs.
    #[error("name holds a character that names may not have there")]
    NameCharacter,
    /// The text is no host name.
    #[error("not a host name")]
    Host,
    /// The text is no IP address in its usual spelling.
    #[error("not an IP address in its usual spelling")]
    Address,
    /// No port, or none between 0 and 65535 in plain decimal.
    #[error("port is missing or not a plain number up to 65535")]
    Port,
    /// The scheme is missing, or neither `http` nor `https`.
    #[error("url does not begin with http:// or https://")]
    Scheme,
    /// A user name or password before the host.
    #[error("url carries credentials")]
    Credentials,
    /// A backslash or control character in a URL.
    #[error("url holds a backslash or control character")]
    UrlCharacter,
    /// A `%` without two hexadecimal digits.
    #[error("'%' is not followed by two hexadecimal digits")]
    Escape,
    /// A path segment that some programs read as a step upwards.
    #[error("url hides '.' or '..' behind an escape or parameter")]
    HiddenStep,
    /// A path or query that servers may read in more ways than are looked at, by its escapes, parameters and
    /// slashes.
    #[error("servers may read the url in more than {READINGS_MAX} ways")]
    TooManyReadings,
    /// Not a heap handle.
    #[error("not a heap handle such as 0x100000001")]
    Handle,
    /// The operation's name is unknown.
    #[error("operation is not known")]
    Operation,
    /// The operation is done to several kinds of targets, and the target's text is of none of them.
    #[error("target is neither an absolute path, a handle such as 0x100000001 nor a URL")]
    Form,
    /// The operation is not done to such a target.
    #[error("target is not of the kind that the operation is done to")]
    Kind,
}
