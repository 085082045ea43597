//! Other requests continue while a snapshot is written, an erasure is pending or the log is verified. They have the
//! same results as otherwise, and a stop at any moment loses nothing.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use std::{
    sync::{Arc, Condvar, Mutex},
    thread,
    time::Duration,
};

use ak_audit::{Disk, DiskError, HashEngine};
use ak_host::ak_json::{Value, object};
use ak_host::ak_kernel::{
    AdminRequest, AuditRequest, Code, HeapRequest, Outcome, Reply, Request, ak_heap::Content,
};
use ak_host::{CancellationToken, Connection, FileDisk, Options};

use support::Scratch;

/// A gate at which disk calls wait while it is shut.
#[derive(Default)]
struct Gate {
    /// Whether the gate is shut, and how many calls wait at it.
    state: Mutex<(bool, usize)>,
    changed: Condvar,
}

impl Gate {
    fn shut(&self, shut: bool) {
        self.state.lock().unwrap().0 = shut;
        self.changed.notify_all();
    }

    fn pass(&self) {
        let mut state = self.state.lock().unwrap();
        state.1 += 1;
        self.changed.notify_all();
        let mut state = self.changed.wait_while(state, |(shut, _)| *shut).unwrap();
        state.1 -= 1;
    }

    /// Waits until a call waits at the gate.
    fn wait(&self) {
        let state = self.state.lock().unwrap();
        drop(self.changed.wait_while(state, |(_, standing)| *standing == 0).unwrap());
    }
}

/// Which calls of a disk wait at a gate.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Gated {
    Snapshots,
    Syncs,
}

/// A disk on which writing snapshots, or every sync, waits at a gate. Snapshots fail on demand.
#[derive(Clone)]
struct GatedDisk(FileDisk, Arc<Gate>, Arc<Mutex<bool>>, Gated);

impl Disk for GatedDisk {
    fn lock(&mut self) -> Result<(), DiskError> {
        self.0.lock()
    }

    fn list(&self) -> Result<Vec<String>, DiskError> {
        self.0.list()
    }

    fn length(&self, name: &str) -> Result<u64, DiskError> {
        self.0.length(name)
    }

    fn read(&self, name: &str, offset: u64, buffer: &mut [u8]) -> Result<usize, DiskError> {
        self.0.read(name, offset, buffer)
    }

    fn allocate(&mut self, name: &str, length: u64) -> Result<(), DiskError> {
        self.0.allocate(name, length)
    }

    fn shrink(&mut self, name: &str, length: u64) -> Result<(), DiskError> {
        self.0.shrink(name, length)
    }

    fn write(&mut self, name: &str, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        if self.3 == Gated::Snapshots && name.starts_with("snapshot-") {
            self.1.pass();
            if *self.2.lock().unwrap() {
                return Err(DiskError::Full);
            }
        }
        self.0.write(name, offset, bytes)
    }

    fn sync(&mut self, name: &str) -> Result<(), DiskError> {
        if self.3 == Gated::Syncs {
            self.1.pass();
        }
        self.0.sync(name)
    }

    fn remove(&mut self, name: &str) -> Result<(), DiskError> {
        self.0.remove(name)
    }

    fn sync_dir(&mut self) -> Result<(), DiskError> {
        self.0.sync_dir()
    }

    fn engine(&self) -> HashEngine {
        self.0.engine()
    }
}

struct World {
    scratch: Scratch,
    gate: Arc<Gate>,
    full: Arc<Mutex<bool>>,
}

impl World {
    fn new(name: &str) -> World {
        World { scratch: Scratch::new(name), gate: Arc::default(), full: Arc::default() }
    }

    fn open(&self) -> Connection {
        let vault = FileDisk::new(&self.scratch.join("vault")).unwrap();
        let vault = GatedDisk(vault, self.gate.clone(), self.full.clone(), Gated::Snapshots);
        let journal = FileDisk::new(&self.scratch.join("journal")).unwrap();
        Connection::open_with(journal, vault, ak_audit::journal::Options::default(), &Options::default())
            .unwrap()
    }

    fn snapshots(&self) -> usize {
        let files = std::fs::read_dir(self.scratch.join("vault")).unwrap();
        files
            .filter(|file| file.as_ref().unwrap().file_name().to_string_lossy().starts_with("snapshot-"))
            .count()
    }
}

fn alloc(text: &str, subject: Option<&str>) -> Request {
    let content = Content::Json(object! { "text": text });
    Request::Heap(HeapRequest::Alloc { type_name: "note".into(), content, subject: subject.map(Into::into) })
}

fn erase(kernel: &Connection, subject: &str) -> Outcome {
    kernel.call(Request::Audit(AuditRequest::Erase { subject: subject.into() }))
}

/// Returns the number of entries that a verification counts as opaque.
fn opaque(kernel: &Connection) -> u64 {
    let Ok(Reply::Value(report)) =
        kernel.call(Request::Audit(AuditRequest::Verify { key: None, anchor: None }))
    else {
        panic!("no verdict")
    };
    assert_eq!(report.get("consistent"), Some(&Value::Bool(true)), "{report}");
    report.get("opaque").and_then(Value::as_u64).unwrap()
}

fn found(kernel: &Connection) -> String {
    match kernel.call(Request::Heap(HeapRequest::Query { form: Default::default() })) {
        Ok(Reply::Value(page)) => page.to_json(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn requests_proceed_while_an_erasure_writes_its_snapshot() {
    let world = World::new("beside");
    let kernel = world.open();
    kernel.call(alloc("of alice", Some("alice"))).unwrap();
    kernel.call(alloc("of bob", Some("bob"))).unwrap();
    world.gate.shut(true);
    thread::scope(|scope| {
        let erasing = scope.spawn(|| erase(&kernel, "alice"));
        world.gate.wait();
        // Every request but another erasure is answered: the heap, proofs, checkpoints, a verification.
        let Ok(Reply::Handle(handle)) = kernel.call(alloc("meanwhile", Some("carol"))) else {
            panic!("no handle")
        };
        assert!(kernel.call(Request::Heap(HeapRequest::Read { handle, version: None })).is_ok());
        assert!(kernel.call(Request::Audit(AuditRequest::Prove { seq: 1 })).is_ok());
        assert!(kernel.call(Request::Audit(AuditRequest::Checkpoint)).is_ok());
        assert_eq!(opaque(&kernel), 0, "it is not erased yet");
        assert!(!found(&kernel).contains("of alice"), "nor shown any more");
        let second = scope.spawn(|| erase(&kernel, "bob"));
        kernel.call(alloc("while both wait", None)).unwrap();
        assert!(!erasing.is_finished() && !second.is_finished());
        world.gate.shut(false);
        erasing.join().unwrap().unwrap();
        second.join().unwrap().unwrap();
    });
    assert!(opaque(&kernel) >= 4);
    let left = found(&kernel);
    assert!(
        left.contains("meanwhile") && left.contains("while both wait") && !left.contains("of bob"),
        "{left}"
    );
    assert_eq!(world.snapshots(), 1);
    kernel.close();
    let kernel = world.open();
    assert_eq!(found(&kernel), left);
    assert!(opaque(&kernel) >= 4);
}

#[test]
fn the_next_opening_resumes_an_erasure_whose_snapshot_found_no_space() {
    let world = World::new("beside-full");
    let kernel = world.open();
    kernel.call(alloc("of alice", Some("alice"))).unwrap();
    *world.full.lock().unwrap() = true;
    let begun = erase(&kernel, "alice").unwrap_err();
    assert_eq!(begun.code, Code::UnknownOutcome);
    assert!(begun.message.contains("open the kernel again"), "{begun}");
    assert_eq!(kernel.call(alloc("new", None)).unwrap_err().code, Code::LogFull);
    kernel.close();
    *world.full.lock().unwrap() = false;
    let kernel = world.open();
    assert!(opaque(&kernel) >= 2, "it is erased");
    assert_eq!(erase(&kernel, "alice").unwrap_err().code, Code::NotFound);
    kernel.call(alloc("new", None)).unwrap();
    assert_eq!(world.snapshots(), 1);
}

#[test]
fn closing_during_an_erasure_releases_the_disk_and_the_next_opening_erases() {
    let world = World::new("beside-closed");
    let kernel = world.open();
    kernel.call(alloc("of alice", Some("alice"))).unwrap();
    world.gate.shut(true);
    thread::scope(|scope| {
        let erasing = scope.spawn(|| erase(&kernel, "alice"));
        world.gate.wait();
        let closing = scope.spawn(|| kernel.close());
        while kernel.call(Request::Admin(AdminRequest::LastError)).is_ok() {
            thread::yield_now();
        }
        world.gate.shut(false);
        assert_eq!(erasing.join().unwrap().unwrap_err().code, Code::UnknownOutcome);
        closing.join().unwrap();
    });
    let kernel = world.open();
    assert!(opaque(&kernel) >= 2, "it is erased");
    assert!(!found(&kernel).contains("of alice"));
}

/// A caller that polls for interrupts may take long to react, and may even wait for the kernel meanwhile.
#[test]
fn an_interruptible_caller_delays_nobody() {
    let world = World::new("beside-heeding");
    let disk = |name| FileDisk::new(&world.scratch.join(name)).unwrap();
    let journal = GatedDisk(disk("journal"), world.gate.clone(), world.full.clone(), Gated::Syncs);
    let options = ak_audit::journal::Options::default();
    let kernel = Connection::open_with(journal, disk("vault"), options, &Options::default()).unwrap();
    world.gate.shut(true);
    let leader = kernel.clone();
    let leading = thread::spawn(move || leader.call(alloc("written first", None)));
    world.gate.wait();
    let (mut leading, mut third) = (Some(leading), None);
    let mut heed = || {
        if let Some(leading) = leading.take() {
            world.gate.shut(false);
            leading.join().unwrap().unwrap();
            let (other, (sender, receiver)) = (kernel.clone(), std::sync::mpsc::channel());
            thread::spawn(move || sender.send(other.call(alloc("written meanwhile", None))));
            third = receiver.recv_timeout(Duration::from_secs(20)).ok();
        }
        true
    };
    let stop = CancellationToken::new();
    let outcome =
        kernel.call_interruptible(alloc("written too", None), &mut |_| true, &stop, Some(&mut heed));
    assert!(outcome.is_ok(), "{outcome:?}");
    assert!(third.expect("nobody waits for the one that looks at something else").is_ok());
}
