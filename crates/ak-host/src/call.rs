//! A call and its caller: who waits for it and how, where its pieces go, and what becomes of it when nobody waits any more.

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

/// How often a caller that heeds something else looks at it, in milliseconds.
pub const INTERRUPT_POLL_MS: u64 = 20;
/// How long a call that is given up may take to end by itself, in milliseconds. It is left behind then, and ends without its
/// caller.
const CANCEL_GRACE_MS: u64 = 40;

/// Where the pieces of a streamed answer go.
pub(crate) enum ChunkSink<'s> {
    /// Nowhere.
    Discard,
    /// To a function that gives false when it wants no more, on the thread of the caller, who waits: it may do anything, also wait
    /// for a call of its own.
    Callback(Box<dyn FnMut(&str) -> bool + Send + 's>),
    /// Into a channel. A full one holds the stream up; a closed one ends it.
    Channel(mpsc::Sender<String>),
}

impl ChunkSink<'static> {
    pub(crate) fn from_channel(pieces: Option<mpsc::Sender<String>>) -> ChunkSink<'static> {
        pieces.map_or(ChunkSink::Discard, ChunkSink::Channel)
    }
}

/// Where the work of a call is done that cannot wait on the runtime: files, tools, the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallMode {
    /// On the thread of the caller, who waits for nothing else.
    Blocking,
    /// The caller's thread drives the call and looks up now and then: on threads of the runtime, but for the slices of tools.
    Polling,
    /// The call is a task of the runtime: on threads of the runtime.
    Task,
}

impl CallMode {
    /// Does what may wait for the disk for a moment.
    pub(crate) fn block_briefly<T>(self, work: impl FnOnce() -> T) -> T {
        match self {
            Self::Blocking | Self::Polling => work(),
            Self::Task => block_in_place(work),
        }
    }
}

/// How long whoever asked for an effect waits for it, and what is done with what comes of it meanwhile.
pub(crate) struct CallOptions<'s> {
    pub(crate) chunks: ChunkSink<'s>,
    /// Says that nobody waits any more.
    pub(crate) stop: CancellationToken,
    /// When the waiting is over, if ever.
    pub(crate) due: Option<Instant>,
    pub(crate) mode: CallMode,
}

impl CallOptions<'_> {
    /// Of a caller who is gone.
    pub(crate) fn abandoned() -> CallOptions<'static> {
        let stop = CancellationToken::new();
        stop.cancel();
        CallOptions { chunks: ChunkSink::Discard, stop, due: None, mode: CallMode::Task }
    }
}

/// Drives a call on this thread to its end. Every [`INTERRUPT_POLL_MS`] it asks `should_continue` whether to go on, where there is one; when not, the
/// call is given up by `stop`, unless its outcome is there already.
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

/// Drives a future on this thread to its end. Every [`INTERRUPT_POLL_MS`] it asks `should_continue` whether to go on, where there is one; none when not,
/// and it has not ended meanwhile.
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
            // What has come meanwhile is not lost.
            return drive(future, Some(Duration::ZERO));
        }
    }
}

pub(crate) fn abandoned() -> Failure {
    Failure::new(Code::UnknownOutcome, "given up: nobody waits for it any more")
}

/// The outcome of a request that was made without waiting for it. It can be awaited on any runtime. Dropped, it gives the request
/// up, and what was set aside for it is free again.
#[derive(Debug)]
pub struct OutcomeFuture {
    task: Result<JoinHandle<Outcome>, Option<Failure>>,
    _stop: DropGuard,
}

impl OutcomeFuture {
    /// Has the runtime work on a call that `stop` gives up.
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
