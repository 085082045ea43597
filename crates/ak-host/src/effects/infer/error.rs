//! Why a model call gives no answer.

use ak_kernel::Failure;

use crate::net::error::HttpError;

/// Why a model call gives no answer.
pub(super) enum InferError {
    Http(HttpError),
    /// The server, the host or the kernel refused the request.
    Refused(Failure),
}

impl<E: Into<HttpError>> From<E> for InferError {
    fn from(error: E) -> InferError {
        InferError::Http(error.into())
    }
}

impl InferError {
    /// Whether the error is a failure of the server, as far as can be told; rejecting a request is not a failure.
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
