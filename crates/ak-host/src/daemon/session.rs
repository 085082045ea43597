//! Serves the requests of one connection. Requests that are not effects are answered in order; each effect is a task of
//! its own.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use ak_json::{Text, Value, object};
use ak_kernel::{
    Code, Failure, Outcome, Request, SessionId,
    frame::{Flags, PAYLOAD_BYTES_MAX},
    outcome_to_value,
};
use tokio::{
    io::BufReader,
    net::unix::{OwnedReadHalf, OwnedWriteHalf},
    sync::mpsc,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{
    call::ChunkSink,
    daemon::limits::{SESSIONS_EFFECTS_MAX, Shared},
    wire::{self, Frame, ReceiveBudget},
};

/// Maximum number of concurrent effects of one connection; further effects are refused with QUOTA.
pub const EFFECTS_MAX: usize = 256;
/// Maximum time for writing one frame to a client, in milliseconds. After that the connection is closed.
pub const WRITE_TIMEOUT_MS: u64 = if cfg!(test) { 100 } else { 30_000 };
/// Maximum time from the first byte of a request to its last, in milliseconds. After that the connection is closed.
pub const REQUEST_TIMEOUT_MS: u64 = if cfg!(test) { 200 } else { 60_000 };
/// Maximum number of pieces of a streamed answer that wait to be written; the stream pauses above that.
const PIECES_AHEAD: usize = 16;

pub(super) type Reader = BufReader<OwnedReadHalf>;

pub(super) fn too_slow(what: &str) -> Failure {
    Failure::new(Code::Io, format!("the client takes too long for {what}"))
}

pub(super) async fn within_write_time(
    write: impl Future<Output = Result<(), Failure>>,
) -> Result<(), Failure> {
    let written = timeout(Duration::from_millis(WRITE_TIMEOUT_MS), write).await;
    written.unwrap_or_else(|_| Err(too_slow("what is written to it")))
}

/// The state that the tasks of one connection share.
pub(super) struct ServedSession {
    pub(super) server: Arc<Shared>,
    pub(super) session: SessionId,
    /// The capability token of the HELLO, presented by every request without a token of its own.
    pub(super) cap: Option<Text>,
    pub(super) is_owner: bool,
    /// `None` once writing a frame failed: the client cannot find the start of a next one.
    pub(super) writer: tokio::sync::Mutex<Option<OwnedWriteHalf>>,
    /// The effects in progress by sequence number, each with the token that cancels it.
    pub(super) in_progress: Mutex<BTreeMap<u64, CancellationToken>>,
    /// Cancelled when writing a frame failed.
    pub(super) broken: CancellationToken,
}

/// Serves requests until the client closes the connection. Each effect becomes a task, so that later requests need not
/// wait for it.
pub(super) async fn requests(
    served: &Arc<ServedSession>,
    stream: &mut Reader,
    mut newest: u64,
) -> Result<(), Failure> {
    while let Some(frame) = served.next_frame(stream).await? {
        let sequence = frame.sequence;
        if frame.flags == Flags::REQUEST.with(Flags::END) {
            served.cancel(sequence);
            continue;
        }
        if sequence <= newest {
            let message = format!("sequence {sequence} does not rise above {newest}");
            served.respond(sequence, &Err(Failure::new(Code::Replay, message))).await?;
            continue;
        }
        newest = sequence;
        if frame.flags != Flags::REQUEST {
            let failure = Failure::new(Code::FrameInvalid, "the frame is not a request");
            served.respond(sequence, &Err(failure)).await?;
            continue;
        }
        match wire::parse_request(&frame.payload) {
            Err(failure) => {
                served.server.kernel.driver.count_throttled(Some(served.session));
                served.respond(sequence, &Err(failure)).await?;
            }
            Ok((request, cap)) if request.is_effect() => served.perform(sequence, request, cap).await?,
            Ok((request, cap)) => {
                let outcome = served.call(request, cap, ChunkSink::Discard, CancellationToken::new()).await;
                served.respond(sequence, &outcome).await?;
            }
        }
    }
    Ok(())
}

impl ServedSession {
    /// Reads the next frame, which may begin at any time and must be complete [`REQUEST_TIMEOUT_MS`] after its first
    /// byte. Every session but the owner's takes the memory for it from a shared budget.
    async fn next_frame(&self, stream: &mut Reader) -> Result<Option<Frame>, Failure> {
        let Some(first) = wire::read_first_byte(stream).await? else { return Ok(None) };
        let mut budget = match self.is_owner {
            true => ReceiveBudget::Bytes(PAYLOAD_BYTES_MAX),
            false => {
                let pieces = self.server.limits.received.free.clone();
                ReceiveBudget::Shared { pieces, has_first_piece: false, permits: Vec::new() }
            }
        };
        let frame = wire::read_rest(stream, first, &mut budget);
        let frame = timeout(Duration::from_millis(REQUEST_TIMEOUT_MS), frame).await;
        frame.map_err(|_| too_slow("a request"))?.map(Some)
    }

    async fn call(
        &self,
        request: Request,
        cap: Option<Text>,
        chunks: ChunkSink<'static>,
        stop: CancellationToken,
    ) -> Outcome {
        let cap = cap.as_ref().or(self.cap.as_ref()).map(|cap| &**cap);
        self.server.kernel.call_on_task(self.session, request, cap, chunks, stop).await
    }

    /// Performs an effect in a task of its own.
    async fn perform(
        self: &Arc<Self>,
        sequence: u64,
        request: Request,
        cap: Option<Text>,
    ) -> Result<(), Failure> {
        let permit = if self.is_owner { None } else { self.server.limits.effects.try_acquire() };
        let stop = CancellationToken::new();
        let full = match self.in_progress.lock() {
            Ok(in_progress) if in_progress.len() >= EFFECTS_MAX => {
                Some(format!("{EFFECTS_MAX} requests of this connection are under way already"))
            }
            Ok(_) if permit.is_none() && !self.is_owner => {
                Some(format!("{SESSIONS_EFFECTS_MAX} requests of all sessions are under way already"))
            }
            Ok(mut in_progress) => {
                in_progress.insert(sequence, stop.clone());
                None
            }
            Err(_) => Some(String::from("a thread died while it held the connection")),
        };
        if let Some(message) = full {
            return self.respond(sequence, &Err(Failure::new(Code::Quota, message))).await;
        }
        let served = self.clone();
        tokio::spawn(async move {
            let outcome = served.stream(sequence, request, cap, stop).await;
            // The write fails when the client is gone, which needs no answer. The effect counts against the limits
            // until its answer is written.
            let _ = served.respond(sequence, &outcome).await;
            served.finished(sequence);
            drop(permit);
        });
        Ok(())
    }

    /// Performs an effect and writes the pieces of its answer as they come. If its task panics, the outcome is unknown.
    async fn stream(
        self: &Arc<Self>,
        sequence: u64,
        request: Request,
        cap: Option<Text>,
        stop: CancellationToken,
    ) -> Outcome {
        let (pieces, mut ready) = mpsc::channel::<String>(PIECES_AHEAD);
        let served = self.clone();
        let call =
            tokio::spawn(async move { served.call(request, cap, ChunkSink::Channel(pieces), stop).await });
        while let Some(piece) = ready.recv().await {
            let flags = Flags::RESPONSE.with(Flags::CHUNK);
            if self.write(flags, sequence, &object! { "data": piece }).await.is_err() {
                break;
            }
        }
        drop(ready);
        let died = |_| Err(Failure::new(Code::UnknownOutcome, "the request's task died"));
        call.await.unwrap_or_else(died)
    }

    async fn respond(&self, sequence: u64, outcome: &Outcome) -> Result<(), Failure> {
        let flags = if outcome.is_ok() { Flags::RESPONSE } else { Flags::RESPONSE.with(Flags::ERROR) };
        match self.write(flags.with(Flags::END), sequence, &outcome_to_value(outcome)).await {
            Err(failure) if failure.code == Code::FrameTooLarge => {
                let flags = Flags::RESPONSE.with(Flags::ERROR).with(Flags::END);
                self.write(flags, sequence, &outcome_to_value(&Err(failure))).await
            }
            written => written,
        }
    }

    async fn write(&self, flags: Flags, sequence: u64, payload: &Value) -> Result<(), Failure> {
        let gone = || Failure::new(Code::Io, "the connection broke");
        let mut writer = self.writer.lock().await;
        let written = match writer.as_mut() {
            Some(stream) => within_write_time(wire::write_frame(stream, flags, sequence, payload)).await,
            None => Err(gone()),
        };
        written.inspect_err(|failure| {
            // No byte of a frame that is too long was written, so the connection stays usable.
            if failure.code == Code::Io {
                *writer = None;
                self.broken.cancel();
            }
        })
    }

    /// Cancels an effect that the client no longer waits for. It counts against the limits until it has ended.
    fn cancel(&self, sequence: u64) {
        if let Ok(in_progress) = self.in_progress.lock()
            && let Some(stop) = in_progress.get(&sequence)
        {
            stop.cancel();
        }
    }

    pub(super) fn cancel_all(&self) {
        if let Ok(in_progress) = self.in_progress.lock() {
            in_progress.values().for_each(CancellationToken::cancel);
        }
    }

    fn finished(&self, sequence: u64) {
        if let Ok(mut in_progress) = self.in_progress.lock() {
            in_progress.remove(&sequence);
        }
    }
}
