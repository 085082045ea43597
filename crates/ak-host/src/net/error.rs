//! Why an HTTP request has no response, and with which code it fails.

use ak_kernel::Code;

/// Why an HTTP request has no response.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("{}", with_cause(.0))]
    Protocol(#[from] hyper::Error),
    #[error("no address answered: {0}")]
    Connect(String),
    #[error("{0}")]
    BadResponse(String),
    /// The server sent this error message in place of an answer.
    #[error("the server says: {0}")]
    ServerError(String),
    #[error("{0}")]
    Request(String),
    /// The request names a secret that must not be sent to its destination.
    #[error("{0}")]
    Secret(String),
    #[error("the response is longer than {0} bytes")]
    TooLong(u64),
    #[error("more than {0} redirects")]
    TooManyRedirects(usize),
    #[error("not finished after {0} ms")]
    Timeout(u64),
    #[error("stopped by the kernel")]
    Aborted,
    #[error("given up: the caller stopped waiting")]
    Abandoned,
}

/// hyper's message says what it was doing; the cause is its source.
fn with_cause(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

impl HttpError {
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::Io(_)
            | Self::Protocol(_)
            | Self::Connect(_)
            | Self::BadResponse(_)
            | Self::ServerError(_)
            | Self::TooManyRedirects(_)
            | Self::Aborted => Code::Io,
            Self::Request(_) => Code::InvalidArgument,
            Self::Secret(_) => Code::PolicyDeny,
            Self::TooLong(_) => Code::BufferOverflow,
            Self::Timeout(_) => Code::Deadline,
            Self::Abandoned => Code::UnknownOutcome,
        }
    }
}
