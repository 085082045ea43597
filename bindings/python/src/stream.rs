//! The class `InferenceStream`: the iterator that `inference_stream` returns.

use std::{pin::pin, sync::Arc};

use ak_host::{
    CancellationToken, Connection, OutcomeFuture, ProcessIdentity,
    ak_kernel::{Failure, Outcome, Request},
};
use pyo3::{prelude::*, types::PyBytes};
use tokio::sync::{Mutex, mpsc};

use crate::{
    delivery::{deliver, spawn},
    error::raise,
    signals::{interrupted, with_signal_checks},
};

/// The most chunks that a stream buffers for a slow reader. No answer has that many, so the reader never delays
/// the server.
const CHUNKS_BUFFERED_MAX: usize = 1 << 24;

/// The chunks of a model's answer, each a chat-completion chunk as JSON bytes. Closing or dropping the
/// iterator stops the model. A denial is raised by the first `next`.
#[pyclass(frozen, module = "authority_nanos")]
pub(crate) struct InferenceStream {
    origin: ProcessIdentity,
    chunks: Arc<Mutex<Chunks>>,
    stop: CancellationToken,
}

struct Chunks {
    ready: mpsc::Receiver<String>,
    /// The outcome of the request; `None` once it was taken, at the end of the answer.
    answer: Option<OutcomeFuture>,
}

impl Chunks {
    /// The next chunk; `None` at the end of the answer and once `stop` is cancelled.
    async fn next(&mut self, stop: &CancellationToken) -> Result<Option<String>, Failure> {
        stop.run_until_cancelled(self.wait()).await.unwrap_or(Ok(None))
    }

    async fn wait(&mut self) -> Result<Option<String>, Failure> {
        if let Some(chunk) = self.ready.recv().await {
            return Ok(Some(chunk));
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
        let (sender, ready) = mpsc::channel(CHUNKS_BUFFERED_MAX);
        let stop = CancellationToken::new();
        let answer = connection.call_async(request, Some(sender), stop.clone());
        let chunks = Chunks { ready, answer: Some(answer) };
        InferenceStream { origin: ProcessIdentity::current(), chunks: Arc::new(Mutex::new(chunks)), stop }
    }
}

#[pymethods]
impl InferenceStream {
    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        self.origin.check().map_err(|failure| raise(py, failure))?;
        let next = with_signal_checks(py, |check| {
            let mut next = pin!(async { self.chunks.lock().await.next(&self.stop).await });
            // If a signal ends the wait, no chunk is lost: the next call returns it.
            ak_host::drive_interruptible(next.as_mut(), check).unwrap_or_else(|| Err(interrupted()))
        })?;
        let chunk = next.map_err(|failure| raise(py, failure))?;
        Ok(chunk.map(|chunk| PyBytes::new(py, chunk.as_bytes())))
    }

    /// Calls `take(chunk, error)` on the running loop for each chunk as it arrives. `error` is the exception that ended
    /// the answer; both are None at its end.
    fn _pump<'py>(&self, py: Python<'py>, take: Bound<'py, PyAny>) -> PyResult<()> {
        self.origin.check().map_err(|failure| raise(py, failure))?;
        let event_loop = py.import("asyncio")?.call_method0("get_running_loop")?.unbind();
        let callback = Arc::new((event_loop, take.unbind()));
        let (chunks, closed) = (self.chunks.clone(), self.stop.clone());
        spawn(py, async move {
            let mut chunks = chunks.lock().await;
            loop {
                let next = chunks.next(&closed).await;
                let (goes_on, callback) = (matches!(next, Ok(Some(_))), callback.clone());
                deliver(Box::new(move |py| {
                    let event = match next {
                        Ok(Some(chunk)) => {
                            (PyBytes::new(py, chunk.as_bytes()).into_any(), py.None().into_bound(py))
                        }
                        Ok(None) => (py.None().into_bound(py), py.None().into_bound(py)),
                        Err(failure) => (
                            py.None().into_bound(py),
                            raise(py, failure).into_value(py).into_bound(py).into_any(),
                        ),
                    };
                    let (event_loop, take) = &*callback;
                    // An error here means that the loop is closed by now.
                    let _ = event_loop.call_method1(py, "call_soon_threadsafe", (take, event.0, event.1));
                }));
                if !goes_on {
                    return;
                }
            }
        })
    }

    /// Stops the model. No further chunk is returned.
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
