//! Why a model gives no answer.

use ak_kernel::Failure;

use crate::net::error::HttpError;

/// Why there is no answer.
pub(super) enum Ended {
    Http(HttpError),
    /// The server answered, and it was no answer.
    Refused(Failure),
}

impl<E: Into<HttpError>> From<E> for Ended {
    fn from(error: E) -> Ended {
        Ended::Http(error.into())
    }
}

impl Ended {
    /// Whether the server failed, as far as anybody can tell: to say that it will not answer this is no failure.
    pub(super) fn is_servers(&self) -> bool {
        match self {
            Self::Refused(_) => false,
            Self::Http(error) => !matches!(
                error,
                HttpError::Request(_)
                    | HttpError::Said(_)
                    | HttpError::Aborted
                    | HttpError::Unwanted
                    | HttpError::TooLong(_)
            ),
        }
    }
}
