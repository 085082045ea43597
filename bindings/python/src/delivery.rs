//! Asyncio results: tasks of the runtime wait for outcomes, and one thread passes them to Python, so no Python
//! thread waits.

use std::{
    future::Future,
    io,
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::Duration,
};

use ak_host::{
    CancellationToken, PerProcess,
    ak_kernel::{Code, Failure, Outcome},
};
use pyo3::prelude::*;

use crate::error::raise;

/// Returns a future of the running event loop, to be resolved with the converted outcome. Cancelling the future
/// cancels the request.
pub(crate) fn future_of<'py>(
    py: Python<'py>,
    outcome: impl Future<Output = Outcome> + Send + 'static,
    stop: CancellationToken,
    convert: impl for<'p> FnOnce(Python<'p>, Outcome) -> PyResult<Bound<'p, PyAny>> + Send + 'static,
) -> PyResult<Bound<'py, PyAny>> {
    let event_loop = py.import("asyncio")?.call_method0("get_running_loop")?;
    let future = event_loop.call_method0("create_future")?;
    future.call_method1("add_done_callback", (CancelOnDone { stop },))?;
    let (event_loop, pending) = (event_loop.unbind(), future.clone().unbind());
    let task = async move {
        let outcome = outcome.await;
        deliver(Box::new(move |py| {
            // An error here means that the loop is closed by now.
            let _ = resolve(py, &event_loop, &pending, convert(py, outcome));
        }));
    };
    spawn(py, task)?;
    Ok(future)
}

/// Spawns a task that delivers its own result.
///
/// # Errors
/// The system gives no threads, or the interpreter is ending and would no longer receive the result.
pub(crate) fn spawn(py: Python<'_>, task: impl Future<Output = ()> + Send + 'static) -> PyResult<()> {
    if ENDING.load(Ordering::Acquire) {
        return Err(raise(py, Failure::new(Code::NotConfigured, "the interpreter is ending")));
    }
    let spawned = start_delivery().and_then(|()| ak_host::spawn(task));
    spawned.map_err(|error| {
        raise(py, Failure::new(Code::Io, format!("cannot start the runtime's threads: {error}")))
    })
}

/// Resolves a future from a thread that is not its loop's.
fn resolve(
    py: Python<'_>,
    event_loop: &Py<PyAny>,
    future: &Py<PyAny>,
    result: PyResult<Bound<'_, PyAny>>,
) -> PyResult<()> {
    let set_result = py.import("authority_nanos.aio")?.getattr("_set_result")?;
    let (value, error) = match result {
        Ok(value) => (value, py.None().into_bound(py)),
        Err(error) => (py.None().into_bound(py), error.into_value(py).into_bound(py).into_any()),
    };
    event_loop.call_method1(py, "call_soon_threadsafe", (set_result, future, value, error))?;
    Ok(())
}

/// The callback of a future that is done. It cancels the request, which has no effect if the request has ended.
#[pyclass(frozen)]
struct CancelOnDone {
    stop: CancellationToken,
}

#[pymethods]
impl CancelOnDone {
    fn __call__(&self, _future: &Bound<'_, PyAny>) {
        self.stop.cancel();
    }
}

type Job = Box<dyn FnOnce(Python<'_>) + Send>;

/// A message to the delivery thread.
enum Message {
    Deliver(Job),
    /// Ends the thread, which first answers on this channel.
    End(Sender<()>),
}

/// The delivery thread of this process. It is read and written with the interpreter attached, as `ENDING` is.
static DELIVERY: PerProcess<Sender<Message>> = PerProcess::new();
/// Whether the interpreter is about to end.
static ENDING: AtomicBool = AtomicBool::new(false);
/// How long the interpreter, when it ends, waits for the delivery thread.
const END_WAIT_MAX: Duration = Duration::from_secs(10);

/// Queues a job for the delivery thread, which runs it with the interpreter attached. A Python thread that holds the
/// interpreter for long thus delays no effect.
pub(crate) fn deliver(job: Job) {
    if let Ok(sender) = DELIVERY.get(|| Err(())) {
        // Sending fails once the thread has ended. The interpreter is ending then and drops the result.
        let _ = sender.send(Message::Deliver(job));
    }
}

/// Starts the delivery thread if this process has none.
fn start_delivery() -> io::Result<()> {
    let started = DELIVERY.get(|| {
        let (sender, messages) = channel();
        thread::Builder::new().name("ak-deliver".into()).spawn(move || run_delivery(&messages))?;
        Ok::<_, io::Error>(sender)
    });
    started.map(|_| ())
}

/// The loop of the delivery thread: handles messages until one ends it, or until the interpreter has ended.
fn run_delivery(messages: &Receiver<Message>) {
    while let Ok(first) = messages.recv() {
        let take_all = |py: Python<'_>| {
            for next in std::iter::once(first).chain(messages.try_iter()) {
                match next {
                    Message::Deliver(job) => job(py),
                    Message::End(done) => return Some(done),
                }
            }
            None
        };
        match Python::try_attach(take_all) {
            Some(None) => {}
            Some(Some(done)) => {
                let _ = done.send(());
                return;
            }
            None => return,
        }
    }
}

/// Registers [`end_delivery`] with `atexit`. Without it the delivery thread might attach after the interpreter has
/// ended, which would end the thread and the process with it.
pub(crate) fn end_delivery_at_exit(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let end = wrap_pyfunction!(end_delivery, module)?;
    module.py().import("atexit")?.call_method1("register", (end,)).map(|_| ())
}

/// Rejects new tasks from now on, and waits until the results that are being delivered have been, at most
/// [`END_WAIT_MAX`].
#[pyfunction]
fn end_delivery(py: Python<'_>) {
    ENDING.store(true, Ordering::Release);
    if let Ok(sender) = DELIVERY.get(|| Err(())) {
        let (done, ended) = channel();
        if sender.send(Message::End(done)).is_ok() {
            // An error here means that the thread has ended already, or took too long.
            let _ = py.detach(move || ended.recv_timeout(END_WAIT_MAX));
        }
    }
}
