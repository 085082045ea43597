//! The iterator that `inference_stream` gives.

use std::{pin::pin, sync::Arc};

use ak_host::{
    CancellationToken, Connection, OutcomeFuture, ProcessIdentity,
    ak_kernel::{Failure, Outcome, Request},
};
use pyo3::{prelude::*, types::PyBytes};
use tokio::sync::{Mutex, mpsc};

use crate::{
    error::raise,
    waiting::{deliver, heeding, interrupted, spawn},
};

/// Pieces of an answer that wait for a slow reader, which keeps no server waiting: more than the longest answer has.
const PIECES_AHEAD: usize = 1 << 24;

/// The chunks of a model's answer, each a chat-completion chunk as JSON bytes. Closing or dropping the
/// iterator stops the model. A refusal is raised by the first `next`.
#[pyclass(frozen, module = "authority_nanos")]
pub(crate) struct InferenceStream {
    origin: ProcessIdentity,
    pieces: Arc<Mutex<Pieces>>,
    stop: CancellationToken,
}

struct Pieces {
    ready: mpsc::Receiver<String>,
    /// Gone once the answer has ended.
    answer: Option<OutcomeFuture>,
}

impl Pieces {
    /// The next piece; none at the end, and once `stop` is cancelled.
    async fn next(&mut self, stop: &CancellationToken) -> Result<Option<String>, Failure> {
        stop.run_until_cancelled(self.wait()).await.unwrap_or(Ok(None))
    }

    async fn wait(&mut self) -> Result<Option<String>, Failure> {
        if let Some(piece) = self.ready.recv().await {
            return Ok(Some(piece));
        }
        match &mut self.answer {
            None => Ok(None),
            Some(answer) => {
                let outcome: Outcome = answer.await;
                self.answer = None;
                outcome.map(|_| None)
            }
        }
    }
}

impl InferenceStream {
    pub(crate) fn start(connection: &Connection, request: Request) -> InferenceStream {
        let (sender, ready) = mpsc::channel(PIECES_AHEAD);
        let stop = CancellationToken::new();
        let answer = connection.call_async(request, Some(sender), stop.clone());
        let pieces = Pieces { ready, answer: Some(answer) };
        InferenceStream { origin: ProcessIdentity::current(), pieces: Arc::new(Mutex::new(pieces)), stop }
    }
}

#[pymethods]
impl InferenceStream {
    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        self.origin.check().map_err(|failure| raise(py, failure))?;
        let next = heeding(py, |heed| {
            let mut next = pin!(async { self.pieces.lock().await.next(&self.stop).await });
            // Interrupted, the piece that comes next is still the next one.
            ak_host::drive_interruptible(next.as_mut(), heed).unwrap_or_else(|| Err(interrupted()))
        })?;
        let piece = next.map_err(|failure| raise(py, failure))?;
        Ok(piece.map(|piece| PyBytes::new(py, piece.as_bytes())))
    }

    /// Has `take` called on the running loop for each chunk as it comes: with the chunk, or an exception, or neither at the end.
    fn _pump<'py>(&self, py: Python<'py>, take: Bound<'py, PyAny>) -> PyResult<()> {
        self.origin.check().map_err(|failure| raise(py, failure))?;
        let event_loop = py.import("asyncio")?.call_method0("get_running_loop")?.unbind();
        let told = Arc::new((event_loop, take.unbind()));
        let (pieces, closed) = (self.pieces.clone(), self.stop.clone());
        spawn(py, async move {
            let mut pieces = pieces.lock().await;
            loop {
                let next = pieces.next(&closed).await;
                let (goes_on, told) = (matches!(next, Ok(Some(_))), told.clone());
                deliver(Box::new(move |py| {
                    let piece = match next {
                        Ok(Some(piece)) => {
                            (PyBytes::new(py, piece.as_bytes()).into_any(), py.None().into_bound(py))
                        }
                        Ok(None) => (py.None().into_bound(py), py.None().into_bound(py)),
                        Err(failure) => (
                            py.None().into_bound(py),
                            raise(py, failure).into_value(py).into_bound(py).into_any(),
                        ),
                    };
                    let (event_loop, take) = &*told;
                    // A loop that is closed meanwhile waits for nothing.
                    let _ = event_loop.call_method1(py, "call_soon_threadsafe", (take, piece.0, piece.1));
                }));
                if !goes_on {
                    return;
                }
            }
        })
    }

    /// Takes no more chunks, and stops the model.
    fn close(&self) {
        self.stop.cancel();
    }
}

impl Drop for InferenceStream {
    fn drop(&mut self) {
        if self.origin.is_current() {
            self.stop.cancel();
        }
    }
}
