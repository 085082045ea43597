//! The iterator that `inference_stream` gives.

use std::{
    sync::{
        Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, channel},
    },
    thread,
    time::Duration,
};

use ak_host::{
    CancellationToken, Connection,
    ak_kernel::{Failure, Request},
};
use pyo3::{prelude::*, types::PyBytes};

use crate::error::raise;

/// How long a Ctrl-C may go unnoticed, in milliseconds.
const SIGNAL_INTERVAL_MS: u64 = 100;

/// The chunks of a model's answer, each a chat-completion chunk as JSON bytes. Closing or dropping the
/// iterator stops the model. A refusal is raised by the first `next`.
#[pyclass(frozen, module = "authority_nanos")]
pub(crate) struct InferenceStream {
    /// Gone once the answer has ended. What waits here is bounded by the longest answer that the kernel takes: a slow reader
    /// keeps no server waiting.
    events: Mutex<Option<Receiver<Result<String, Failure>>>>,
    stop: CancellationToken,
}

impl InferenceStream {
    /// Sends the request from a thread of its own, since a call lasts until the last chunk has come.
    pub(crate) fn start(connection: Connection, request: Request) -> InferenceStream {
        let (sender, events) = channel();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        thread::spawn(move || {
            let mut deliver = |chunk: &str| sender.send(Ok(chunk.to_owned())).is_ok();
            if let Err(failure) = connection.call_until(request, &mut deliver, &stopped) {
                // Nobody listens any more when the iterator is gone.
                let _ = sender.send(Err(failure));
            }
        });
        InferenceStream { events: Mutex::new(Some(events)), stop }
    }

    /// The next event, if there is one within the interval; `None` at the end.
    fn poll(&self) -> Result<Option<Result<String, Failure>>, RecvTimeoutError> {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(receiver) = events.as_ref() else { return Ok(None) };
        match receiver.recv_timeout(Duration::from_millis(SIGNAL_INTERVAL_MS)) {
            Ok(event) => Ok(Some(event)),
            Err(RecvTimeoutError::Disconnected) => {
                *events = None;
                Ok(None)
            }
            Err(RecvTimeoutError::Timeout) => Err(RecvTimeoutError::Timeout),
        }
    }
}

#[pymethods]
impl InferenceStream {
    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        loop {
            py.check_signals()?;
            match py.detach(|| self.poll()) {
                Ok(Some(Ok(chunk))) => return Ok(Some(PyBytes::new(py, chunk.as_bytes()))),
                Ok(Some(Err(failure))) => return Err(raise(py, failure)),
                Ok(None) => return Ok(None),
                Err(_) => {}
            }
        }
    }

    /// Takes no more chunks, and stops the model.
    fn close(&self, py: Python<'_>) {
        self.stop.cancel();
        py.detach(|| *self.events.lock().unwrap_or_else(PoisonError::into_inner) = None);
    }
}

impl Drop for InferenceStream {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
