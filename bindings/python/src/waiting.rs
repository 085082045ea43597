//! How Python waits: a thread with the interpreter released and its signals heeded, or a future of asyncio's.

use std::{
    cell::Cell,
    future::Future,
    io,
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread,
    time::Duration,
};

use ak_host::{
    CancellationToken, INTERRUPT_POLL_MS, PerProcess, ProcessIdentity,
    ak_kernel::{Code, Failure, Outcome},
};
use pyo3::{exceptions::PyKeyboardInterrupt, prelude::*};

use crate::error::raise;

/// Something that is asked, while one waits, whether to go on.
pub(crate) type Heed<'h> = Option<&'h mut dyn FnMut() -> bool>;

/// Does what waits with the interpreter released. On the main thread signals are handled meanwhile: an exception that a handler
/// raises, Ctrl-C's above all, ends the waiting.
///
/// # Errors
/// That exception. Where the result was there already, a Ctrl-C comes after it.
pub(crate) fn heeding<T: Send>(
    py: Python<'_>,
    work: impl FnOnce(Heed<'_>) -> Result<T, Failure> + Send,
) -> PyResult<Result<T, Failure>> {
    if !is_main(py)? {
        return Ok(py.detach(|| work(None)));
    }
    let mut raised = None;
    let done = py.detach(|| {
        let mut heed = || match Python::attach(|py| py.check_signals()) {
            Ok(()) => true,
            Err(error) => {
                raised = Some(error);
                false
            }
        };
        work(Some(&mut heed))
    });
    match raised {
        None => Ok(done),
        Some(error) if done.is_ok() && error.is_instance_of::<PyKeyboardInterrupt>(py) => {
            py.import("_thread")?.call_method0("interrupt_main")?;
            Ok(done)
        }
        Some(error) => Err(error),
    }
}

/// Does what cannot look up while it works: on a thread of its own where something is heeded, on this one where not. When nobody
/// waits for it any more, the thread goes on, and its result goes to `unwanted`.
///
/// # Errors
/// Where what is heeded says not to go on, or there is no thread.
pub(crate) fn aside<T: Send + 'static>(
    heed: Heed<'_>,
    work: impl FnOnce() -> T + Send + 'static,
    unwanted: impl FnOnce(T) + Send + 'static,
) -> Result<T, Failure> {
    let Some(heed) = heed else { return Ok(work()) };
    let (sender, receiver) = channel();
    let working = move || {
        if let Err(left) = sender.send(work()) {
            unwanted(left.0);
        }
    };
    let spawned = thread::Builder::new().name("ak-aside".into()).spawn(working);
    spawned.map_err(|error| {
        Failure::new(
            Code::Io,
            format!("the system gives no thread to wait on: {error}; end some, and try again"),
        )
    })?;
    loop {
        match receiver.recv_timeout(Duration::from_millis(INTERRUPT_POLL_MS)) {
            Ok(done) => return Ok(done),
            Err(RecvTimeoutError::Timeout) if heed() => {}
            Err(RecvTimeoutError::Timeout) => return receiver.try_recv().map_err(|_| interrupted()),
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Failure::new(Code::Io, "the thread that did it died: open a new session"));
            }
        }
    }
}

/// Whether this is Python's main thread, the only one that handles signals. A fork makes another thread the main one.
fn is_main(py: Python<'_>) -> PyResult<bool> {
    thread_local!(static MAIN: Cell<Option<(ProcessIdentity, bool)>> = const { Cell::new(None) });
    if let Some((_, is_main)) = MAIN.get().filter(|(origin, _)| origin.is_current()) {
        return Ok(is_main);
    }
    let threading = py.import("threading")?;
    let main: u64 = threading.call_method0("main_thread")?.getattr("ident")?.extract()?;
    let own: u64 = threading.call_method0("get_ident")?.extract()?;
    MAIN.set(Some((ProcessIdentity::current(), main == own)));
    Ok(main == own)
}

/// A future of the running loop's, which becomes what `convert` makes of an outcome. Cancelled, it gives the request up.
pub(crate) fn future_of<'py>(
    py: Python<'py>,
    outcome: impl Future<Output = Outcome> + Send + 'static,
    stop: CancellationToken,
    convert: impl for<'p> FnOnce(Python<'p>, Outcome) -> PyResult<Bound<'p, PyAny>> + Send + 'static,
) -> PyResult<Bound<'py, PyAny>> {
    let event_loop = py.import("asyncio")?.call_method0("get_running_loop")?;
    let future = event_loop.call_method0("create_future")?;
    future.call_method1("add_done_callback", (GivesUp { stop },))?;
    let (event_loop, told) = (event_loop.unbind(), future.clone().unbind());
    let task = async move {
        let outcome = outcome.await;
        deliver(Box::new(move |py| {
            // A loop that is closed meanwhile waits for nothing.
            let _ = tell(py, &event_loop, &told, convert(py, outcome));
        }));
    };
    spawn(py, task)?;
    Ok(future)
}

/// Has the runtime work on a task that delivers what it comes to.
///
/// # Errors
/// Where there are no threads, or the interpreter is ending: nobody could deliver anything.
pub(crate) fn spawn(py: Python<'_>, task: impl Future<Output = ()> + Send + 'static) -> PyResult<()> {
    if ENDING.load(Ordering::Acquire) {
        return Err(raise(py, Failure::new(Code::NotConfigured, "the interpreter is ending")));
    }
    let spawned = start_delivery().and_then(|()| ak_host::spawn(task));
    spawned.map_err(|error| raise(py, Failure::new(Code::Io, format!("no threads for what waits: {error}"))))
}

/// What a call comes to whose waiting a signal's handler has ended: the exception is raised in its place.
pub(crate) fn interrupted() -> Failure {
    Failure::new(Code::UnknownOutcome, "a signal ended the waiting: the call may or may not have happened")
}

fn tell(
    py: Python<'_>,
    event_loop: &Py<PyAny>,
    future: &Py<PyAny>,
    result: PyResult<Bound<'_, PyAny>>,
) -> PyResult<()> {
    let settle = py.import("authority_nanos.aio")?.getattr("_settle")?;
    let (value, error) = match result {
        Ok(value) => (value, py.None().into_bound(py)),
        Err(error) => (py.None().into_bound(py), error.into_value(py).into_bound(py).into_any()),
    };
    event_loop.call_method1(py, "call_soon_threadsafe", (settle, future, value, error))?;
    Ok(())
}

/// Called when a future is done: what nobody waits for any more is given up.
#[pyclass(frozen)]
struct GivesUp {
    stop: CancellationToken,
}

#[pymethods]
impl GivesUp {
    fn __call__(&self, _future: &Bound<'_, PyAny>) {
        self.stop.cancel();
    }
}

type Job = Box<dyn FnOnce(Python<'_>) + Send>;

/// What the thread is told that works with the interpreter.
enum Told {
    Do(Job),
    /// To end, and to say so.
    End(Sender<()>),
}

static DELIVERY: PerProcess<Sender<Told>> = PerProcess::new();
/// Whether the interpreter is about to end. Both are read and written by who holds it.
static ENDING: AtomicBool = AtomicBool::new(false);
/// How long the interpreter waits at its end for what is being delivered.
const END_MAX: Duration = Duration::from_secs(10);

/// Has a thread of its own do this with the interpreter: whoever else holds that keeps no effect waiting.
pub(crate) fn deliver(job: Job) {
    if let Ok(sender) = DELIVERY.get(|| Err(())) {
        // Where the thread has ended, nobody waits for it any more.
        let _ = sender.send(Told::Do(job));
    }
}

fn start_delivery() -> io::Result<()> {
    let made = DELIVERY.get(|| {
        let (sender, told) = channel();
        thread::Builder::new().name("ak-deliver".into()).spawn(move || work(&told))?;
        Ok::<_, io::Error>(sender)
    });
    made.map(|_| ())
}

fn work(told: &Receiver<Told>) {
    while let Ok(first) = told.recv() {
        let all = |py: Python<'_>| {
            for next in std::iter::once(first).chain(told.try_iter()) {
                match next {
                    Told::Do(job) => job(py),
                    Told::End(done) => return Some(done),
                }
            }
            None
        };
        match Python::try_attach(all) {
            Some(None) => {}
            Some(Some(done)) => {
                let _ = done.send(());
                return;
            }
            None => return,
        }
    }
}

/// Has the interpreter end what is delivered before it ends itself: a thread that comes back to it later is torn down wherever
/// it stands, and takes the process with it.
pub(crate) fn end_delivery_at_exit(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let end = wrap_pyfunction!(end_delivery, module)?;
    module.py().import("atexit")?.call_method1("register", (end,)).map(|_| ())
}

#[pyfunction]
fn end_delivery(py: Python<'_>) {
    ENDING.store(true, Ordering::Release);
    if let Ok(sender) = DELIVERY.get(|| Err(())) {
        let (done, ended) = channel();
        if sender.send(Told::End(done)).is_ok() {
            // Where it has ended already, the other end is gone.
            let _ = py.detach(move || ended.recv_timeout(END_MAX));
        }
    }
}
