//! The victim: another agent, which makes small requests and measures how long it waits.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use ak_host::{
    Connection,
    ak_json::object,
    ak_kernel::{HeapRequest, Reply, Request, ak_heap::Content},
};

/// The pause between two rounds.
const PAUSE: Duration = Duration::from_micros(200);
/// The interval at which the end of a request is checked.
const POLL: Duration = Duration::from_millis(1);

/// A thread that repeatedly creates, reads, describes and deletes an object.
pub(crate) struct Victim(Arc<Shared>);

struct Shared {
    start: Instant,
    /// The time at which the current request was made, in µs since `start`; 0 if there is none.
    asked_us: AtomicU64,
    /// The longest wait so far, in µs.
    longest_us: AtomicU64,
    /// The number of requests so far.
    count: AtomicU64,
}

impl Victim {
    pub(crate) fn start(owner: &Connection) -> Result<Victim, String> {
        let agent = owner.agent("victim").map_err(|failure| failure.message)?;
        let shared = Arc::new(Shared {
            start: Instant::now(),
            asked_us: AtomicU64::new(0),
            longest_us: AtomicU64::new(0),
            count: AtomicU64::new(0),
        });
        let of_thread = shared.clone();
        thread::spawn(move || {
            loop {
                of_thread.round(&agent);
                thread::sleep(PAUSE);
            }
        });
        Ok(Victim(shared))
    }

    /// Returns the longest wait so far and resets it to 0.
    pub(crate) fn restart(&self) -> Duration {
        Duration::from_micros(self.0.longest_us.swap(0, Ordering::Relaxed))
    }

    /// Returns the longest wait. Waits for the current request to end; if that takes until `end`, its time so
    /// far counts.
    pub(crate) fn finish(&self, end: Instant) -> Duration {
        let Shared { start, asked_us, longest_us, count } = &*self.0;
        let before = count.load(Ordering::Relaxed);
        while count.load(Ordering::Relaxed) == before && Instant::now() < end {
            thread::sleep(POLL);
        }
        let waiting = match asked_us.load(Ordering::Relaxed) {
            0 => 0,
            asked => (start.elapsed().as_micros() as u64).saturating_sub(asked),
        };
        Duration::from_micros(longest_us.load(Ordering::Relaxed).max(waiting))
    }
}

impl Shared {
    fn round(&self, agent: &Connection) {
        let content = Content::Json(object! { "note": 1 });
        let made = self.time(
            agent,
            Request::Heap(HeapRequest::Alloc { type_name: "note".into(), content, subject: None }),
        );
        if let Some(Reply::Handle(handle)) = made {
            self.time(agent, Request::Heap(HeapRequest::Read { handle, version: None }));
            self.time(agent, Request::Heap(HeapRequest::Stat { handle }));
            self.time(agent, Request::Heap(HeapRequest::Delete { handle, expected_version: None }));
        }
    }

    /// Makes a request and measures its wait. A refusal counts like any other reply.
    fn time(&self, agent: &Connection, request: Request) -> Option<Reply> {
        let asked = Instant::now();
        let since_start = (asked - self.start).as_micros() as u64;
        self.asked_us.store(since_start.max(1), Ordering::Relaxed);
        let outcome = agent.call(request);
        let wait = asked.elapsed().as_micros() as u64;
        self.longest_us.fetch_max(wait, Ordering::Relaxed);
        self.asked_us.store(0, Ordering::Relaxed);
        self.count.fetch_add(1, Ordering::Relaxed);
        outcome.ok()
    }
}
