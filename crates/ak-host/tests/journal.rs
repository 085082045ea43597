//! The journal under the kernel: group commit, a full disk, a failing one. Faults enter through the `Disk` trait.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use ak_audit::{Disk, DiskError};
use ak_host::ak_kernel::{Code, Failure, Filter, Reply, Request, ak_heap::Content, ak_json::object};
use ak_host::{Connection, FileDisk, Options};

use support::Scratch;

/// What a test does to its disk, and sees of it.
#[derive(Clone, Default)]
struct Faults {
    syncs: Arc<AtomicU64>,
    /// How long a sync takes, in ms.
    sync_ms: Arc<AtomicU64>,
    /// No file grows beyond so many bytes; 0 for as many as there are.
    file_bytes_max: Arc<AtomicU64>,
    sync_fails: Arc<AtomicBool>,
}

#[derive(Clone)]
struct FaultyDisk(FileDisk, Faults);

impl Disk for FaultyDisk {
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
        let max = self.1.file_bytes_max.load(SeqCst);
        let present = self.0.length(name).unwrap_or(0);
        if max > 0 && length > max.max(present) {
            return Err(DiskError::Full);
        }
        self.0.allocate(name, length)
    }

    fn write(&mut self, name: &str, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        let end = offset + bytes.len() as u64;
        assert!(end <= self.0.length(name)?, "{name} is written beyond what was allocated");
        self.0.write(name, offset, bytes)
    }

    fn sync(&mut self, name: &str) -> Result<(), DiskError> {
        self.1.syncs.fetch_add(1, SeqCst);
        thread::sleep(Duration::from_millis(self.1.sync_ms.load(SeqCst)));
        if self.1.sync_fails.load(SeqCst) {
            return Err(DiskError::Failed("the test says so".into()));
        }
        self.0.sync(name)
    }

    fn remove(&mut self, name: &str) -> Result<(), DiskError> {
        self.0.remove(name)
    }

    fn sync_dir(&mut self) -> Result<(), DiskError> {
        self.0.sync_dir()
    }
}

fn open(scratch: &Scratch, faults: &Faults) -> Connection {
    try_open(scratch, faults).unwrap_or_else(|failure| panic!("{failure}"))
}

fn try_open(scratch: &Scratch, faults: &Faults) -> Result<Connection, Failure> {
    let disk = FaultyDisk(FileDisk::new(&scratch.join("journal")).unwrap(), faults.clone());
    let vault = FileDisk::new(&scratch.join("vault")).unwrap();
    Connection::open_on(disk, vault, ak_audit::journal::Options::default(), &Options::default())
}

fn alloc(kernel: &Connection, text: &str) -> Result<(), Code> {
    let content = Content::Json(object! { "text": text });
    let request = Request::Alloc { type_name: "note".into(), content, subject: None };
    kernel.call(request).map(|_| ()).map_err(|failure| failure.code)
}

/// How many notes the owner finds.
fn notes(kernel: &Connection) -> usize {
    let mut found = 0;
    let mut cursor = None;
    loop {
        let mut form = object! { "type": "note", "limit": 100 };
        if let (ak_host::ak_json::Value::Object(form), Some(cursor)) = (&mut form, cursor.take()) {
            form.insert("cursor", cursor);
        }
        let request = Request::Query { form: form.as_object().unwrap().clone() };
        let Ok(Reply::Value(page)) = kernel.call(request) else { panic!("the query failed") };
        found += page.get("objects").unwrap().as_array().unwrap().len();
        match page.get("cursor").filter(|cursor| !cursor.is_null()) {
            Some(next) => cursor = Some(next.clone()),
            None => return found,
        }
    }
}

#[test]
fn many_waiters_share_a_sync() {
    const THREADS: u64 = 32;
    const CALLS: u64 = 8;
    let (scratch, faults) = (Scratch::new("group"), Faults::default());
    let kernel = open(&scratch, &faults);
    faults.sync_ms.store(3, SeqCst);
    let before = faults.syncs.load(SeqCst);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| (0..CALLS).for_each(|_| alloc(&kernel, "x").unwrap()));
        }
    });
    let syncs = faults.syncs.load(SeqCst) - before;
    assert!(syncs >= CALLS, "each call of a thread waits for the one before");
    assert!(syncs <= THREADS * CALLS / 4, "{syncs} syncs for {} calls", THREADS * CALLS);
    kernel.close();
    faults.sync_ms.store(0, SeqCst);
    assert_eq!(notes(&open(&scratch, &faults)), (THREADS * CALLS) as usize);
}

#[test]
fn a_full_disk_refuses_what_is_new_and_lets_the_owner_act() {
    let (scratch, faults) = (Scratch::new("full"), Faults::default());
    faults.file_bytes_max.store(6 << 20, SeqCst);
    let owner = open(&scratch, &faults);
    let agent = owner.agent("worker").unwrap();
    let long = "x".repeat(100_000);
    let mut stored = 0;
    while alloc(&agent, &long).is_ok() {
        stored += 1;
        assert!(stored < 100, "the disk never fills");
    }
    assert!(stored > 10);
    assert_eq!(alloc(&agent, &long), Err(Code::LogFull));
    // The owner can still take something away, from the reserve.
    let policy = |text: &str| Request::PolicyLoad { text: text.into(), base_dir: None };
    owner.call(policy("profiles = []\n")).unwrap();
    // Nothing that was refused was done, and nothing that was done is lost.
    faults.file_bytes_max.store(0, SeqCst);
    owner.call(policy("profiles = [\"baseline\"]\n")).unwrap();
    assert_eq!(notes(&owner), stored);
    alloc(&agent, &long).unwrap();
    owner.close();
    assert_eq!(notes(&open(&scratch, &faults)), stored + 1);
}

#[test]
fn what_is_turned_away_takes_no_room_that_a_full_disk_lacks() {
    let (scratch, faults) = (Scratch::new("turned-away"), Faults::default());
    faults.file_bytes_max.store(6 << 20, SeqCst);
    let owner = open(&scratch, &faults);
    let agent = owner.agent("worker").unwrap();
    while alloc(&agent, &"x".repeat(100_000)).is_ok() {}
    while alloc(&agent, "x").is_ok() {}
    // It is refused as ever, and not even counted: the reserve is the owner's.
    let stranger = agent.present("no token");
    assert_eq!(alloc(&stranger, "x"), Err(Code::CapInvalid));
    faults.file_bytes_max.store(0, SeqCst);
    let throttled = || {
        let filter = Filter { event_type: Some("throttled".into()), ..Filter::default() };
        let Ok(Reply::Value(found)) = owner.call(Request::AuditQuery(filter)) else { panic!("no entries") };
        found.get("entries").unwrap().as_array().unwrap().len()
    };
    assert_eq!(throttled(), 0);
    assert_eq!(alloc(&stranger, "x"), Err(Code::CapInvalid));
    assert_eq!(throttled(), 1);
}

#[test]
fn a_failed_sync_stops_the_kernel_until_it_is_opened_again() {
    let (scratch, faults) = (Scratch::new("sync"), Faults::default());
    let kernel = open(&scratch, &faults);
    alloc(&kernel, "kept").unwrap();
    faults.sync_fails.store(true, SeqCst);
    assert_eq!(alloc(&kernel, "unknown"), Err(Code::UnknownOutcome));
    faults.sync_fails.store(false, SeqCst);
    assert_eq!(alloc(&kernel, "refused"), Err(Code::UnknownOutcome));
    kernel.close();
    let found = notes(&open(&scratch, &faults));
    assert!((1..=2).contains(&found), "what was acknowledged is there, what was refused is not: {found}");
}

#[test]
fn a_journal_has_one_writer() {
    let (scratch, faults) = (Scratch::new("lock"), Faults::default());
    let _first = open(&scratch, &faults);
    let second = try_open(&scratch, &faults);
    assert_eq!(second.err().map(|failure| failure.code), Some(Code::Io));
}

#[test]
fn to_read_a_state_directory_makes_nothing() {
    let scratch = Scratch::new("read-only");
    let options = Options { state_dir: Some(scratch.path().into()), ..Options::default() };
    let kernel = Connection::open(&options).unwrap();
    kernel.call(Request::ToolList).unwrap();
    kernel.close();
    std::fs::remove_dir_all(scratch.join(ak_host::VAULT_DIRECTORY)).unwrap();
    let stored = ak_host::read_journal(scratch.path()).unwrap();
    assert!(stored.records.len() > 1 && stored.records.iter().all(|record| !record.leaf.is_empty()));
    assert!(!scratch.join(ak_host::VAULT_DIRECTORY).exists());
    assert_eq!(ak_host::read_journal(&scratch.join("nowhere")).unwrap_err().code, Code::NotFound);
    assert!(!scratch.join("nowhere").exists());
}
