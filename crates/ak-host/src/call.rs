//! How a caller waits for a call, where pieces of the answer go, and how an abandoned call ends.

use std::{
    future::Future,
    pin::{Pin, pin},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use ak_kernel::{Code, Failure, Outcome};
use tokio::{
    sync::mpsc,
    task::{JoinHandle, block_in_place},
};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::runtime::{Runtime, drive};

/// Interval at which an interruptible wait calls `should_continue`, in milliseconds.
pub const INTERRUPT_POLL_MS: u64 = 20;
/// How long a caller waits for a cancelled call to end, in milliseconds. After that the caller returns, and the call
/// ends on its own.
const CANCEL_GRACE_MS: u64 = 40;

/// Where the pieces of a streamed answer go.
pub(crate) enum ChunkSink<'s> {
    /// Pieces are dropped.
    Discard,
    /// A function that returns false when it wants no more pieces. It runs on the waiting caller's thread, and may
    /// block or make calls of its own.
    Callback(Box<dyn FnMut(&str) -> bool + Send + 's>),
    /// A channel: a full channel pauses the stream, a closed channel ends it.
    Channel(mpsc::Sender<String>),
}

impl ChunkSink<'static> {
    pub(crate) fn from_channel(pieces: Option<mpsc::Sender<String>>) -> ChunkSink<'static> {
        pieces.map_or(ChunkSink::Discard, ChunkSink::Channel)
    }
}

/// How the caller waits; this decides which threads do blocking work (files, tools, the log).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallMode {
    /// The caller's thread only waits for this call, and does the blocking work itself.
    Blocking,
    /// The caller's thread drives the call and polls for interrupts. Threads of the runtime do the blocking work,
    /// except slices of tools, which the caller's thread runs.
    Polling,
    /// The call is a task of the runtime, whose threads do the blocking work.
    Task,
}

impl CallMode {
    /// Runs work that may block briefly on the disk; in a task of the runtime, another thread takes over the worker's
    /// tasks meanwhile.
    pub(crate) fn block_briefly<T>(self, work: impl FnOnce() -> T) -> T {
        match self {
            Self::Blocking | Self::Polling => work(),
            Self::Task => block_in_place(work),
        }
    }
}

/// How a caller waits for an effect, and where pieces of its answer go.
pub(crate) struct CallOptions<'s> {
    pub(crate) chunks: ChunkSink<'s>,
    /// Cancelled when the caller no longer waits.
    pub(crate) stop: CancellationToken,
    /// When the caller stops waiting; `None` for never.
    pub(crate) due: Option<Instant>,
    pub(crate) mode: CallMode,
}

impl CallOptions<'_> {
    /// Options for a call whose caller is gone: cancelled from the start.
    pub(crate) fn abandoned() -> CallOptions<'static> {
        let stop = CancellationToken::new();
        stop.cancel();
        CallOptions { chunks: ChunkSink::Discard, stop, due: None, mode: CallMode::Task }
    }
}

/// Drives a call on this thread to its end. Every [`INTERRUPT_POLL_MS`] milliseconds it calls `should_continue`, if
/// there is one; when that returns false, it cancels the call through `stop`, unless the outcome is already there.
pub(crate) fn wait_for_outcome(
    call: impl Future<Output = Outcome>,
    stop: &CancellationToken,
    should_continue: Option<&mut dyn FnMut() -> bool>,
) -> Outcome {
    let mut call = pin!(call);
    drive_interruptible(call.as_mut(), should_continue).unwrap_or_else(|| {
        stop.cancel();
        let ended = drive(call, Some(Duration::from_millis(CANCEL_GRACE_MS)));
        ended.unwrap_or_else(|| Err(abandoned()))
    })
}

/// Drives a future on this thread to its end and returns its output. Every [`INTERRUPT_POLL_MS`] milliseconds it calls
/// `should_continue`, if there is one; returns `None` when that returned false and the future has not ended.
pub fn drive_interruptible<T>(
    mut future: Pin<&mut impl Future<Output = T>>,
    should_continue: Option<&mut dyn FnMut() -> bool>,
) -> Option<T> {
    let Some(should_continue) = should_continue else { return drive(future, None) };
    loop {
        let ended = drive(future.as_mut(), Some(Duration::from_millis(INTERRUPT_POLL_MS)));
        if ended.is_some() {
            return ended;
        }
        if !should_continue() {
            // The future may have become ready since the last poll.
            return drive(future, Some(Duration::ZERO));
        }
    }
}

pub(crate) fn abandoned() -> Failure {
    Failure::new(Code::UnknownOutcome, "given up: the caller stopped waiting")
}

/// The outcome of a request, as a future that can be awaited on any runtime. Dropping it cancels the request and
/// releases its reservations.
#[derive(Debug)]
pub struct OutcomeFuture {
    task: Result<JoinHandle<Outcome>, Option<Failure>>,
    _stop: DropGuard,
}

impl OutcomeFuture {
    /// Spawns a call on the runtime. Dropping the returned future cancels `stop`.
    pub(crate) fn spawn(
        call: impl Future<Output = Outcome> + Send + 'static,
        stop: CancellationToken,
    ) -> OutcomeFuture {
        let task = match Runtime::get() {
            Ok(runtime) => Ok(runtime.spawn(call)),
            Err(error) => Err(Some(runtime_unavailable(&error))),
        };
        OutcomeFuture { task, _stop: stop.drop_guard() }
    }
}

impl Future for OutcomeFuture {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome> {
        match &mut self.task {
            Ok(task) => Pin::new(task).poll(context).map(|ended| {
                ended.unwrap_or_else(|_| Err(Failure::new(Code::UnknownOutcome, "the request's task died")))
            }),
            Err(failure) => Poll::Ready(Err(failure.take().unwrap_or_else(abandoned))),
        }
    }
}

pub(crate) fn runtime_unavailable(error: &std::io::Error) -> Failure {
    Failure::new(Code::Io, format!("cannot start the runtime's threads: {error}"))
}
