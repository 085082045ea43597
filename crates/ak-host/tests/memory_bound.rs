//! The memory of a kernel stays constant once its limits are reached, however many calls follow. `cargo xtask bench
//! scale` checks the same for ten million calls with the limits that a host sets.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering},
};

use ak_host::ak_json::{Value, object};
use ak_host::ak_kernel::{
    Config, HeapRequest, Kernel, Now, Operation, Output, Reply, Request, SessionId, Time,
    ak_audit::Log,
    ak_heap::{BATCH_OPS_MAX, Content, TOMBSTONES_MAX},
};

/// An allocator that counts allocated bytes.
struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);

#[allow(unsafe_code, reason = "an allocator is unsafe; this one hands everything to the system's")]
// SAFETY: every call is passed unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller of this function keeps the allocator's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller of this function keeps the allocator's contract.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const LOG_BYTES_MAX: usize = 1 << 20;
const HISTORY_BYTES_MAX: u64 = 1 << 18;
/// More calls than fill the log and the history.
const CALLS: u64 = 6_000;
/// Maximum growth of the allocated memory after ten times as many calls, in percent.
const GROWTH_PERCENT_MAX: usize = 5;

fn note(number: u64) -> Value {
    object! { "n": number, "text": "as long as an object usually is" }
}

/// A kernel and its log, as in a host without a state directory.
struct Host {
    kernel: Kernel,
    log: Log,
    time_us: u64,
}

impl Host {
    fn call(&mut self, request: Request) -> Reply {
        self.time_us += 10_000;
        let now = Now::steady(Time::from_micros(self.time_us), [7; 32]);
        let call = self.kernel.dispatch(now, SessionId::OWNER, request).unwrap();
        while let Some(record) = self.kernel.poll_record() {
            self.log.append_leaf(record.leaf, record.body).unwrap();
            self.kernel.committed(record.seq);
        }
        let Some(Output::Reply(replied, outcome)) = self.kernel.poll_output() else { panic!("no reply") };
        assert_eq!(replied, call);
        outcome.unwrap()
    }

    /// Deletes more objects than the heap keeps tombstones for.
    fn fill_graveyard(&mut self) {
        for _ in 0..=TOMBSTONES_MAX / BATCH_OPS_MAX {
            let alloc = |number| object! { "op": "alloc", "type": "note", "value": note(number) };
            let born = self.batch((0..BATCH_OPS_MAX as u64).map(alloc).collect());
            let handles = born.get("results").and_then(Value::as_array).cloned().unwrap();
            let delete =
                |born: &Value| object! { "op": "delete", "handle": born.get("handle").unwrap().clone() };
            self.batch(handles.iter().map(delete).collect());
        }
    }

    fn batch(&mut self, ops: Vec<Value>) -> Value {
        let Reply::Value(done) =
            self.call(Request::decode(Operation::Batch, &object! { "ops": ops }).unwrap())
        else {
            panic!("no result")
        };
        done
    }

    /// Makes this many calls, which leave no object behind.
    fn run(&mut self, calls: u64) {
        for number in 0..calls / 3 {
            let content = Content::Json(note(number));
            let request =
                Request::Heap(HeapRequest::Alloc { type_name: "note".into(), content, subject: None });
            let Reply::Handle(handle) = self.call(request) else { panic!("no handle") };
            self.call(Request::Heap(HeapRequest::Read { handle, version: None }));
            self.call(Request::Heap(HeapRequest::Delete { handle, expected_version: None }));
        }
    }
}

#[test]
fn memory_is_flat_once_the_limits_are_reached() {
    let config = Config { history_bytes_max: HISTORY_BYTES_MAX, ..Config::default() };
    let kernel = Kernel::new(Now::steady(Time::from_micros(1), [7; 32]), config);
    let mut host = Host { kernel, log: Log::new(LOG_BYTES_MAX), time_us: 1 };
    host.fill_graveyard();
    host.run(CALLS);
    assert!(host.log.pruned_below() > 0, "the log is full");
    let first = HELD.load(Ordering::Relaxed);
    host.run(9 * CALLS);
    let last = HELD.load(Ordering::Relaxed);
    println!("{first} bytes after {CALLS} calls, {last} after ten times as many");
    assert!(last <= first + first / 100 * GROWTH_PERCENT_MAX, "{first} bytes grew to {last}");
}
