//! An HTTP/1.1 connection without a task of its own: the code that waits for a response drives it, and dropping closes
//! it.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http_body_util::Full;
use hyper::{
    Request, Response,
    body::{Body, Bytes, Incoming},
    client::conn::http1,
};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{
    net::error::HttpError,
    net::head_limit::{HeadLimit, LimitedStream},
};

/// Maximum length of the head of a response in bytes: status line and headers, with all informational responses (1xx)
/// before it. The same limit applies to the bytes between two pieces of a body.
pub const HEAD_BYTES_MAX: usize = 64 << 10;
/// Maximum number of headers of a response.
pub const HEADERS_MAX: usize = 256;
/// Maximum time until a reused connection is ready for its next request.
const READY_TIMEOUT: Duration = Duration::from_secs(1);

/// One connection to a server.
pub(crate) struct HttpConnection {
    sender: http1::SendRequest<Full<Bytes>>,
    task: ConnectionTask,
    head_limit: Arc<HeadLimit>,
}

/// The future that transfers bytes; `None` once the connection has ended.
struct ConnectionTask(Option<Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>>);

impl ConnectionTask {
    /// Awaits `work` while driving the connection.
    async fn drive<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        poll_fn(|context| {
            self.advance(context);
            work.as_mut().poll(context)
        })
        .await
    }

    /// Awaits the head of a response, or the next piece of its body. Returns `None` when more than [`HEAD_BYTES_MAX`]
    /// bytes arrived without it.
    async fn drive_within_limit<T>(&mut self, limit: &HeadLimit, work: impl Future<Output = T>) -> Option<T> {
        limit.begin(HEAD_BYTES_MAX);
        let mut work = pin!(work);
        let found = poll_fn(|context| {
            self.advance(context);
            match work.as_mut().poll(context) {
                Poll::Ready(done) => Poll::Ready(Some(done)),
                Poll::Pending if limit.is_spent() => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            }
        })
        .await;
        limit.end();
        if found.is_none() {
            // Later bytes cannot be assigned to a response.
            self.0 = None;
        }
        found
    }

    /// Advances the connection. Its errors appear in the response.
    fn advance(&mut self, context: &mut Context<'_>) {
        if self.0.as_mut().is_some_and(|task| task.as_mut().poll(context).is_ready()) {
            self.0 = None;
        }
    }
}

/// Why a request over a reused connection got no response.
pub(crate) enum SendError {
    /// The server had closed the connection; nothing was sent.
    Unsent(Box<Request<Full<Bytes>>>),
    /// The connection broke after sending began.
    Broken(HttpError),
}

impl HttpConnection {
    /// Starts HTTP/1.1 on a stream.
    pub(crate) async fn handshake<S>(stream: S) -> Result<HttpConnection, HttpError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let mut builder = http1::Builder::new();
        // A head may fill the buffer; a longer head is rejected.
        builder.max_headers(HEADERS_MAX).max_buf_size(HEAD_BYTES_MAX + 1);
        let head_limit = HeadLimit::new();
        let stream = LimitedStream::new(stream, head_limit.clone());
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
        Ok(HttpConnection { sender, task: ConnectionTask(Some(Box::pin(connection))), head_limit })
    }

    /// Sends a request; returns the head of the response, with its body to be read.
    pub(crate) async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, HttpError> {
        let answer = self.task.drive_within_limit(&self.head_limit, self.sender.send_request(request)).await;
        Ok(answer.ok_or_else(head_too_long)??)
    }

    /// Sends a request over a reused connection, which the server may have closed meanwhile. Calls `sending` before
    /// anything is sent.
    pub(crate) async fn send_reused(
        &mut self,
        request: Request<Full<Bytes>>,
        sending: impl FnOnce(),
    ) -> Result<Response<Incoming>, SendError> {
        // The last response was read to its end, so the connection is ready at once, unless the server never read the
        // last request to its end.
        let ready = tokio::time::timeout(READY_TIMEOUT, self.task.drive(self.sender.ready()));
        if !matches!(ready.await, Ok(Ok(()))) {
            return Err(SendError::Unsent(Box::new(request)));
        }
        sending();
        let answer =
            self.task.drive_within_limit(&self.head_limit, self.sender.try_send_request(request)).await;
        answer.ok_or_else(|| SendError::Broken(head_too_long()))?.map_err(|mut error| {
            match error.take_message() {
                Some(unsent) => SendError::Unsent(Box::new(unsent)),
                None => SendError::Broken(error.into_error().into()),
            }
        })
    }

    /// Returns the next piece of a body; `None` at its end. Trailers are skipped.
    pub(crate) async fn next_chunk(&mut self, body: &mut Incoming) -> Result<Option<Bytes>, HttpError> {
        loop {
            let frame = poll_fn(|context| Pin::new(&mut *body).poll_frame(context));
            let frame = self.task.drive_within_limit(&self.head_limit, frame).await.ok_or_else(|| {
                HttpError::BadResponse(format!(
                    "more than {HEAD_BYTES_MAX} bytes came, and nothing of the body"
                ))
            })?;
            let Some(frame) = frame else { return Ok(None) };
            if let Ok(data) = frame?.into_data() {
                return Ok(Some(data));
            }
        }
    }

    /// Returns the next piece of a body if it is already there.
    pub(crate) async fn try_next_ready(&mut self, body: &mut Incoming) -> Result<Option<Bytes>, HttpError> {
        let look = poll_fn(|context| Poll::Ready(Pin::new(&mut *body).poll_frame(context)));
        match self.task.drive(look).await {
            Poll::Ready(Some(frame)) => Ok(frame?.into_data().ok()),
            // A later call of `next_chunk` returns the end again.
            Poll::Ready(None) | Poll::Pending => Ok(None),
        }
    }

    /// Whether the connection is known to be closed. That the server closed it may show only when it is used again.
    pub(crate) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }
}

fn head_too_long() -> HttpError {
    HttpError::BadResponse(format!("the head of the response is longer than {HEAD_BYTES_MAX} bytes"))
}

impl std::fmt::Debug for HttpConnection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpConnection").field("closed", &self.is_closed()).finish_non_exhaustive()
    }
}
