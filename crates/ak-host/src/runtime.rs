//! The one runtime of a process, on which effects wait, and the few threads on which work is done that cannot wait there.

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

/// Threads that drive what waits.
const WORKERS: usize = 2;
/// Threads on which names are looked up by the system at once.
const LOOKUPS: usize = 3;
/// Threads on which files are read and written at once, for those who wait on the runtime.
const FILES: usize = 3;
/// Threads on which tools run at once, for those who wait on the runtime.
const TOOLS: usize = 2;
/// Threads on which the log is proved or erased from at once.
const LOG_WORK: usize = 1;
/// Threads on which the log is verified at once.
const VERIFICATIONS: usize = 1;
/// Threads that take a worker's permit while it waits for the disk.
const STAND_INS: usize = 2;
/// Most threads of the runtime, however many effects wait.
pub const RUNTIME_THREADS_MAX: usize =
    WORKERS + LOOKUPS + FILES + TOOLS + LOG_WORK + VERIFICATIONS + STAND_INS;

/// WorkKind that holds a thread while it is done. Each kind has threads of its own, so that none keeps another waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WorkKind {
    Lookup,
    File,
    Tool,
    Log,
    /// It takes minutes where the log is long, and keeps no erasure waiting.
    Verification,
}

/// The runtime of one process.
pub(crate) struct Runtime {
    /// None at its end alone.
    inner: Option<runtime::Runtime>,
    handle: runtime::Handle,
    /// By [`WorkKind`], in its order.
    permits: [Arc<Semaphore>; 5],
}

impl Runtime {
    /// The runtime of this process, made at first use. It lives as long as the process: a child that is forked makes its own.
    ///
    /// # Errors
    /// When the system has no threads or descriptors for it.
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

    /// Does the work on a thread of its kind, once one is free. None where the work died.
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
            // Whoever waits for it may be gone: it holds its permit all the same until it has ended.
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

    /// Does what makes timers, sockets or tasks of this runtime.
    pub(crate) fn enter<T>(&self, work: impl FnOnce() -> T) -> T {
        let _entered = self.handle.enter();
        work()
    }

    /// Whoever drives this future, its timers and sockets are those of this runtime.
    pub(crate) async fn in_context<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        poll_fn(|context| self.enter(|| future.as_mut().poll(context))).await
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        // Its threads end by themselves: whoever drops it may be a task of another runtime, which must not wait for them.
        if let Some(runtime) = self.inner.take() {
            runtime.shutdown_background();
        }
    }
}

/// Has the runtime of this process work on a task.
///
/// # Errors
/// When the system has no threads or descriptors for it.
pub fn spawn(task: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
    Runtime::get().map(|runtime| drop(runtime.spawn(task)))
}

/// Drives a future on this thread, for `limit` at most where there is one; none where it has not ended then, and can be driven
/// on. May be called on any thread, also on one that drives a runtime.
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
            // What was polled may have parked this thread for something else, and taken what was to wake it.
            _ if woken.is_woken.load(Ordering::Acquire) && !is_over => {}
            None => thread::park(),
            Some(until) => match until.saturating_duration_since(Instant::now()) {
                Duration::ZERO => return None,
                left => thread::park_timeout(left),
            },
        }
    }
}

/// Whether what a thread drives is to be polled again.
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

/// Lets others have a turn, and whoever drives this look at the time.
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

    /// What a future calls may wait on this very thread, as a caller's callback does that makes a call of its own, and take
    /// what was to wake the thread.
    #[test]
    fn a_wake_that_something_else_takes_from_the_thread_is_not_lost() {
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
