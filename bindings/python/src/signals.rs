//! Waiting with the interpreter released, while the main thread still handles signals.

use std::{
    cell::Cell,
    sync::mpsc::{RecvTimeoutError, channel},
    thread,
    time::Duration,
};

use ak_host::{
    INTERRUPT_POLL_MS, ProcessIdentity,
    ak_kernel::{Code, Failure},
};
use pyo3::{exceptions::PyKeyboardInterrupt, prelude::*};

/// A function called every [`INTERRUPT_POLL_MS`] milliseconds while a thread waits; if it returns false, the wait ends.
/// `None` on threads that handle no signals.
pub(crate) type SignalCheck<'c> = Option<&'c mut dyn FnMut() -> bool>;

/// Runs `work`, which waits, with the interpreter released. On the main thread `work` receives a check that handles
/// signals, and an exception that a handler raises, such as that of Ctrl-C, ends the wait.
///
/// # Errors
/// The exception of the handler. If `work` succeeded nevertheless and the exception is a `KeyboardInterrupt`, the
/// result is returned and the interrupt is raised again afterwards.
pub(crate) fn with_signal_checks<T: Send>(
    py: Python<'_>,
    work: impl FnOnce(SignalCheck<'_>) -> Result<T, Failure> + Send,
) -> PyResult<Result<T, Failure>> {
    if !is_main(py)? {
        return Ok(py.detach(|| work(None)));
    }
    let mut raised = None;
    let done = py.detach(|| {
        let mut check = || match Python::attach(|py| py.check_signals()) {
            Ok(()) => true,
            Err(error) => {
                raised = Some(error);
                false
            }
        };
        work(Some(&mut check))
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

/// Runs `work` that cannot be interrupted: on a thread of its own if there is a check, on this thread if there is none.
/// If the check ends the wait, that thread continues, and its result is passed to `unwanted`.
///
/// # Errors
/// The check ended the wait, the system gives no thread, or `work` panicked on the thread.
pub(crate) fn on_worker_thread<T: Send + 'static>(
    check: SignalCheck<'_>,
    work: impl FnOnce() -> T + Send + 'static,
    unwanted: impl FnOnce(T) + Send + 'static,
) -> Result<T, Failure> {
    let Some(check) = check else { return Ok(work()) };
    let (sender, receiver) = channel();
    let working = move || {
        if let Err(unsent) = sender.send(work()) {
            unwanted(unsent.0);
        }
    };
    let spawned = thread::Builder::new().name("ak-worker".into()).spawn(working);
    spawned.map_err(|error| {
        Failure::new(
            Code::Io,
            format!("the system gives no thread to wait on: {error}; end some, and try again"),
        )
    })?;
    loop {
        match receiver.recv_timeout(Duration::from_millis(INTERRUPT_POLL_MS)) {
            Ok(done) => return Ok(done),
            Err(RecvTimeoutError::Timeout) if check() => {}
            Err(RecvTimeoutError::Timeout) => return receiver.try_recv().map_err(|_| interrupted()),
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Failure::new(Code::Io, "the thread that did it died: open a new session"));
            }
        }
    }
}

/// Whether this is Python's main thread, the only one that handles signals. The answer is kept for each process, since
/// after a fork another thread may be the main one.
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

/// The failure of a call whose wait a signal's handler ended. The exception of the handler is raised instead of it.
pub(crate) fn interrupted() -> Failure {
    Failure::new(Code::UnknownOutcome, "a signal ended the waiting: the call may or may not have happened")
}

/// Borrows a check for one call, so that it can be used again afterwards.
pub(crate) fn reborrow<'c>(check: &'c mut SignalCheck<'_>) -> SignalCheck<'c> {
    match check {
        Some(check) => Some(&mut **check),
        None => None,
    }
}
