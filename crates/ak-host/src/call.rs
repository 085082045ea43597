//! How a caller waits for a call, where pieces of the answer go, and how a call ends that nobody waits for any more.

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

/// How often an interruptible wait asks whether to go on, in milliseconds.
pub const INTERRUPT_POLL_MS: u64 = 20;
/// How long a cancelled call may take to end by itself, in milliseconds. After that its caller returns, and the call ends alone.
const CANCEL_GRACE_MS: u64 = 40;

/// Where the pieces of a streamed answer go.
pub(crate) enum ChunkSink<'s> {
    /// They are dropped.
    Discard,
    /// A function that returns false when it wants no more. It runs on the thread of the caller, who waits, and may block or make
    /// calls of its own.
    Callback(Box<dyn FnMut(&str) -> bool + Send + 's>),
    /// A channel. A full one pauses the stream; a closed one ends it.
    Channel(mpsc::Sender<String>),
}

impl ChunkSink<'static> {
    pub(crate) fn from_channel(pieces: Option<mpsc::Sender<String>>) -> ChunkSink<'static> {
        pieces.map_or(ChunkSink::Discard, ChunkSink::Channel)
    }
}

/// How the caller waits, which decides on which threads blocking work (files, tools, the log) is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallMode {
    /// The caller's thread waits for nothing else and does the blocking work itself.
    Blocking,
    /// The caller's thread drives the call and polls for interrupts: blocking work is done on threads of the runtime, except slices of tools.
    Polling,
    /// The call is a task of the runtime, whose threads do the blocking work.
    Task,
}

impl CallMode {
    /// Runs work that may block briefly on the disk.
    pub(crate) fn block_briefly<T>(self, work: impl FnOnce() -> T) -> T {
        match self {
            Self::Blocking | Self::Polling => work(),
            Self::Task => block_in_place(work),
        }
    }
}

/// How a caller waits for an effect, and what is done with pieces of its answer.
pub(crate) struct CallOptions<'s> {
    pub(crate) chunks: ChunkSink<'s>,
    /// Cancelled when nobody waits any more.
    pub(crate) stop: CancellationToken,
    /// When the caller stops waiting, if ever.
    pub(crate) due: Option<Instant>,
    pub(crate) mode: CallMode,
}

impl CallOptions<'_> {
    /// Options for a call whose caller is gone: it is cancelled from the start.
    pub(crate) fn abandoned() -> CallOptions<'static> {
        let stop = CancellationToken::new();
        stop.cancel();
        CallOptions { chunks: ChunkSink::Discard, stop, due: None, mode: CallMode::Task }
    }
}

/// Drives a call on this thread to its end. Every [`INTERRUPT_POLL_MS`] it asks `should_continue`, where there is one; when that
/// returns false, the call is cancelled through `stop`, unless its outcome is there already.
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

/// Drives a future on this thread to its end. Every [`INTERRUPT_POLL_MS`] it asks `should_continue`, where there is one. Returns
/// `None` when that returned false and the future has not ended.
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
            // It may have ended since it was last polled.
            return drive(future, Some(Duration::ZERO));
        }
    }
}

pub(crate) fn abandoned() -> Failure {
    Failure::new(Code::UnknownOutcome, "given up: nobody waits for it any more")
}

/// The outcome of a request that no thread waits for. It can be awaited on any runtime. Dropping it cancels the request and releases
/// its reservations.
#[derive(Debug)]
pub struct OutcomeFuture {
    task: Result<JoinHandle<Outcome>, Option<Failure>>,
    _stop: DropGuard,
}

impl OutcomeFuture {
    /// Spawns a call on the runtime; `stop` cancels it.
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
    Failure::new(Code::Io, format!("no threads for what waits: {error}"))
}
