//! Bounds the bytes that arrive outside of bodies: status line and headers, with all informational responses (1xx)
//! before them, and the bytes between two pieces of a body.
//!
//! hyper only bounds what it holds at a time: a head that arrives in one read passes, and informational responses are
//! forgotten once read.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The number of bytes that may still arrive before the awaited part; shared by a connection and its user.
#[derive(Debug)]
pub(crate) struct HeadLimit {
    /// In bytes; `usize::MAX` while nothing is awaited.
    left: AtomicUsize,
    /// Whether the connection tried to read more bytes than were left.
    is_spent: AtomicBool,
}

impl HeadLimit {
    pub(crate) fn new() -> Arc<HeadLimit> {
        Arc::new(HeadLimit { left: AtomicUsize::new(usize::MAX), is_spent: AtomicBool::new(false) })
    }

    /// Starts the limit: at most `bytes_max` bytes from now on.
    pub(crate) fn begin(&self, bytes_max: usize) {
        self.is_spent.store(false, Ordering::Relaxed);
        self.left.store(bytes_max, Ordering::Relaxed);
    }

    /// Ends the limit: the awaited part arrived, or is no longer awaited.
    pub(crate) fn end(&self) {
        self.left.store(usize::MAX, Ordering::Relaxed);
    }

    /// Whether all permitted bytes arrived and the connection tried to read more.
    pub(crate) fn is_spent(&self) -> bool {
        self.is_spent.load(Ordering::Relaxed)
    }
}

/// A stream that delivers no more bytes than the limit permits.
///
/// [`HeadLimit::end`] wakes no reader: the connection advances whenever its user polls it.
pub(crate) struct LimitedStream<S> {
    stream: S,
    limit: Arc<HeadLimit>,
}

impl<S> LimitedStream<S> {
    pub(crate) const fn new(stream: S, limit: Arc<HeadLimit>) -> LimitedStream<S> {
        LimitedStream { stream, limit }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for LimitedStream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let left = this.limit.left.load(Ordering::Relaxed);
        if left == usize::MAX {
            return Pin::new(&mut this.stream).poll_read(context, buffer);
        }
        if left == 0 {
            this.limit.is_spent.store(true, Ordering::Relaxed);
            return Poll::Pending;
        }
        let size = left.min(buffer.remaining());
        let mut part = ReadBuf::new(buffer.initialize_unfilled_to(size));
        let polled = Pin::new(&mut this.stream).poll_read(context, &mut part);
        let count = part.filled().len();
        buffer.advance(count);
        this.limit.left.store(left.saturating_sub(count), Ordering::Relaxed);
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for LimitedStream<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
