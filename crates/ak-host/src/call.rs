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

use crate::runtime::{Home, drive};

/// How often a caller that heeds something else looks at it, in milliseconds.
pub const HEED_MS: u64 = 20;
/// How long a call that is given up may take to end by itself, in milliseconds. It is left behind then, and ends without its
/// caller.
const GIVE_UP_MS: u64 = 40;

/// Where the pieces of a streamed answer go.
pub(crate) enum Sink<'s> {
    /// Nowhere.
    Nobody,
    /// To a function that gives false when it wants no more, on the thread of the caller, who waits: it may do anything, also wait
    /// for a call of its own.
    Callback(Box<dyn FnMut(&str) -> bool + Send + 's>),
    /// Into a channel. A full one holds the stream up; a closed one ends it.
    Channel(mpsc::Sender<String>),
}

impl Sink<'static> {
    pub(crate) fn of(pieces: Option<mpsc::Sender<String>>) -> Sink<'static> {
        pieces.map_or(Sink::Nobody, Sink::Channel)
    }
}

/// Where the work of a call is done that cannot wait on the runtime: files, tools, the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// On the thread of the caller, who waits for nothing else.
    Caller,
    /// The caller's thread drives the call and looks up now and then: on threads of the runtime, but for the slices of tools.
    Watched,
    /// The call is a task of the runtime: on threads of the runtime.
    Task,
}

impl Place {
    /// Does what may wait for the disk for a moment.
    pub(crate) fn hold_up<T>(self, work: impl FnOnce() -> T) -> T {
        match self {
            Self::Caller | Self::Watched => work(),
            Self::Task => block_in_place(work),
        }
    }
}

/// How long whoever asked for an effect waits for it, and what is done with what comes of it meanwhile.
pub(crate) struct Patience<'s> {
    pub(crate) sink: Sink<'s>,
    /// Says that nobody waits any more.
    pub(crate) stop: CancellationToken,
    /// When the waiting is over, if ever.
    pub(crate) due: Option<Instant>,
    pub(crate) place: Place,
}

impl Patience<'_> {
    /// Of a caller who is gone.
    pub(crate) fn none() -> Patience<'static> {
        let stop = CancellationToken::new();
        stop.cancel();
        Patience { sink: Sink::Nobody, stop, due: None, place: Place::Task }
    }
}

/// Drives a call on this thread to its end. Every [`HEED_MS`] it asks `heed` whether to go on, where there is one; when not, the
/// call is given up by `stop`, unless its outcome is there already.
pub(crate) fn wait(
    call: impl Future<Output = Outcome>,
    stop: &CancellationToken,
    heed: Option<&mut dyn FnMut() -> bool>,
) -> Outcome {
    let mut call = pin!(call);
    heeding(call.as_mut(), heed).unwrap_or_else(|| {
        stop.cancel();
        let ended = drive(call, Some(Duration::from_millis(GIVE_UP_MS)));
        ended.unwrap_or_else(|| Err(given_up()))
    })
}

/// Drives a future on this thread to its end. Every [`HEED_MS`] it asks `heed` whether to go on, where there is one; none when not,
/// and it has not ended meanwhile.
pub fn heeding<T>(
    mut future: Pin<&mut impl Future<Output = T>>,
    heed: Option<&mut dyn FnMut() -> bool>,
) -> Option<T> {
    let Some(heed) = heed else { return drive(future, None) };
    loop {
        let ended = drive(future.as_mut(), Some(Duration::from_millis(HEED_MS)));
        if ended.is_some() {
            return ended;
        }
        if !heed() {
            // What has come meanwhile is not lost.
            return drive(future, Some(Duration::ZERO));
        }
    }
}

pub(crate) fn given_up() -> Failure {
    Failure::new(Code::UnknownOutcome, "given up: nobody waits for it any more")
}

/// The outcome of a request that was made without waiting for it. It can be awaited on any runtime. Dropped, it gives the request
/// up, and what was set aside for it is free again.
#[derive(Debug)]
pub struct Answer {
    task: Result<JoinHandle<Outcome>, Option<Failure>>,
    _stop: DropGuard,
}

impl Answer {
    /// Has the runtime work on a call that `stop` gives up.
    pub(crate) fn of(
        call: impl Future<Output = Outcome> + Send + 'static,
        stop: CancellationToken,
    ) -> Answer {
        let task = match Home::get() {
            Ok(home) => Ok(home.spawn(call)),
            Err(error) => Err(Some(no_runtime(&error))),
        };
        Answer { task, _stop: stop.drop_guard() }
    }
}

impl Future for Answer {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome> {
        match &mut self.task {
            Ok(task) => Pin::new(task).poll(context).map(|ended| {
                ended.unwrap_or_else(|_| Err(Failure::new(Code::UnknownOutcome, "the request's task died")))
            }),
            Err(failure) => Poll::Ready(Err(failure.take().unwrap_or_else(given_up))),
        }
    }
}

pub(crate) fn no_runtime(error: &std::io::Error) -> Failure {
    Failure::new(Code::Io, format!("no threads for what waits: {error}"))
}
