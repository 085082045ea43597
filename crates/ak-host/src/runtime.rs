//! The one runtime of a process: effects wait on it, and a few of its threads do blocking work.

use std::{
    future::{Future, poll_fn},
    io,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::{Duration, Instant},
};

use tokio::{runtime, sync::Semaphore};

use crate::fork::PerProcess;

/// Threads that drive tasks.
const WORKERS: usize = 2;
/// Threads for name lookups by the system's resolver.
const LOOKUPS: usize = 3;
/// Threads for file effects of calls that are tasks.
const FILES: usize = 3;
/// Threads for running tools of calls that are tasks.
const TOOLS: usize = 2;
/// Threads for proofs and erasures.
const LOG_WORK: usize = 1;
/// Threads for verifying the log.
const VERIFICATIONS: usize = 1;
/// Threads that take over a worker's tasks while it blocks on the disk.
const STAND_INS: usize = 2;
/// Maximum number of threads of the runtime, however many effects wait.
pub const RUNTIME_THREADS_MAX: usize =
    WORKERS + LOOKUPS + FILES + TOOLS + LOG_WORK + VERIFICATIONS + STAND_INS;

/// Kinds of work that block a thread. Each kind has threads of its own, so that no kind delays another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WorkKind {
    Lookup,
    File,
    Tool,
    Log,
    /// Takes minutes on a long log, so it has a thread of its own and does not delay an erasure.
    Verification,
}

/// The runtime of one process.
pub(crate) struct Runtime {
    /// `None` only while the value is dropped.
    inner: Option<runtime::Runtime>,
    handle: runtime::Handle,
    /// Permits for blocking threads, one semaphore per [`WorkKind`], in declaration order.
    permits: [Arc<Semaphore>; 5],
}

impl Runtime {
    /// Returns the runtime of this process, created at first use. It lives as long as the process; a forked child
    /// creates its own.
    ///
    /// # Errors
    /// When the system cannot provide its threads or descriptors.
    pub(crate) fn get() -> io::Result<&'static Runtime> {
        static RUNTIME: PerProcess<Runtime> = PerProcess::new();
        RUNTIME.get(Runtime::new)
    }

    fn new() -> io::Result<Runtime> {
        let mut builder = runtime::Builder::new_multi_thread();
        builder.worker_threads(WORKERS).max_blocking_threads(RUNTIME_THREADS_MAX - WORKERS);
        let runtime = builder.thread_name("ak-runtime").enable_all().build()?;
        let permits = [LOOKUPS, FILES, TOOLS, LOG_WORK, VERIFICATIONS];
        let permits = permits.map(|count| Arc::new(Semaphore::new(count)));
        Ok(Runtime { handle: runtime.handle().clone(), inner: Some(runtime), permits })
    }

    /// Runs blocking work on a thread for its kind, once one is free. Returns `None` when the work panicked.
    pub(crate) async fn run_blocking<T: Send + 'static>(
        &self,
        kind: WorkKind,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let permits = match kind {
            WorkKind::Lookup => &self.permits[0],
            WorkKind::File => &self.permits[1],
            WorkKind::Tool => &self.permits[2],
            WorkKind::Log => &self.permits[3],
            WorkKind::Verification => &self.permits[4],
        };
        let permit = permits.clone().acquire_owned().await.ok()?;
        let done = self.handle.spawn_blocking(move || {
            let done = work();
            // The work keeps its permit until it has ended, even if the caller no longer waits.
            drop(permit);
            done
        });
        done.await.ok()
    }

    pub(crate) fn spawn<F>(&self, task: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.handle.spawn(task)
    }

    /// Runs code in the context of this runtime, so that the timers, sockets and tasks that it creates belong to it.
    pub(crate) fn enter<T>(&self, work: impl FnOnce() -> T) -> T {
        let _entered = self.handle.enter();
        work()
    }

    /// Polls a future so that its timers and sockets belong to this runtime, whichever thread polls it.
    pub(crate) async fn in_context<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        poll_fn(|context| self.enter(|| future.as_mut().poll(context))).await
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        // Does not wait for the threads: a task of another runtime may drop this one, and must not block.
        if let Some(runtime) = self.inner.take() {
            runtime.shutdown_background();
        }
    }
}

/// Spawns a task on the runtime of this process.
///
/// # Errors
/// When the system cannot provide its threads or descriptors.
pub fn spawn(task: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
    Runtime::get().map(|runtime| drop(runtime.spawn(task)))
}

/// Drives a future on this thread for at most `limit` (`None`: without limit). Returns `None` when the future has not
/// ended by then; it can be driven further. May be called on any thread, including a thread that drives a runtime.
pub(crate) fn drive<F: Future + ?Sized>(
    mut future: Pin<&mut F>,
    limit: Option<Duration>,
) -> Option<F::Output> {
    let until = limit.and_then(|limit| Instant::now().checked_add(limit));
    let woken = Arc::new(ThreadWaker { thread: thread::current(), is_woken: AtomicBool::new(false) });
    let waker = Waker::from(woken.clone());
    let mut context = Context::from_waker(&waker);
    loop {
        woken.is_woken.store(false, Ordering::Release);
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return Some(output);
        }
        let is_over = until.is_some_and(|until| Instant::now() >= until);
        match until {
            // The future may have parked this thread for another purpose and consumed the wake-up.
            _ if woken.is_woken.load(Ordering::Acquire) && !is_over => {}
            None => thread::park(),
            Some(until) => match until.saturating_duration_since(Instant::now()) {
                Duration::ZERO => return None,
                left => thread::park_timeout(left),
            },
        }
    }
}

/// Wakes the thread that drives a future.
struct ThreadWaker {
    thread: Thread,
    is_woken: AtomicBool,
}

impl Wake for ThreadWaker {
    fn wake(self: Arc<Self>) {
        self.is_woken.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

/// Yields once to other tasks, and lets the driving thread check its time limit.
pub(crate) async fn yield_once() {
    let mut given = false;
    poll_fn(|context| {
        if std::mem::replace(&mut given, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A future may run code that parks this thread, such as a callback that makes a call of its own, and that consumes
    /// the wake-up meant for the future.
    #[test]
    fn a_wake_up_consumed_by_nested_code_is_not_lost() {
        let (sender, receiver) = std::sync::mpsc::channel();
        thread::spawn(move || {
            let mut polled = 0;
            let future = pin!(poll_fn(move |context| {
                polled += 1;
                if polled > 1 {
                    return Poll::Ready(polled);
                }
                context.waker().wake_by_ref();
                thread::park();
                Poll::Pending
            }));
            sender.send(drive(future, None))
        });
        assert_eq!(receiver.recv_timeout(Duration::from_secs(30)), Ok(Some(2)), "it is polled again");
    }
}
