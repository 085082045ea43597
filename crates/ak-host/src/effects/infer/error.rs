//! Why a model gives no answer.

use ak_kernel::Failure;

use crate::net::error::HttpError;

/// Why there is no answer.
pub(super) enum InferError {
    Http(HttpError),
    /// The server answered, and it was no answer.
    Refused(Failure),
}

impl<E: Into<HttpError>> From<E> for InferError {
    fn from(error: E) -> InferError {
        InferError::Http(error.into())
    }
}

impl InferError {
    /// Whether the server failed, as far as anybody can tell: to say that it will not answer this is no failure.
    pub(super) fn is_server_failure(&self) -> bool {
        match self {
            Self::Refused(_) => false,
            Self::Http(error) => !matches!(
                error,
                HttpError::Request(_)
                    | HttpError::ServerError(_)
                    | HttpError::Aborted
                    | HttpError::Abandoned
                    | HttpError::TooLong(_)
            ),
        }
    }
}
