//! The journal under the kernel: group commit, a full disk, a failing disk. Faults enter through the `Disk` trait.
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
use ak_host::ak_kernel::{
    AdminRequest, AgentRequest, AuditFilter, AuditRequest, CapabilitySpec, Code, Failure, HeapRequest,
    InferRequest, Reply, Request, ToolsRequest, ak_heap::Content, ak_json::object,
    ak_policy::capability::CapId,
};
use ak_host::{Connection, FileDisk, OWNER_RESERVE_BYTES, Options};

use support::{
    Scratch,
    model::{Then, model},
};

/// The faults that a test causes on its disk, and what it observes.
#[derive(Clone, Default)]
struct Faults {
    syncs: Arc<AtomicU64>,
    /// Duration of a sync in ms.
    sync_ms: Arc<AtomicU64>,
    /// Maximum length of a file in bytes; 0 for no limit.
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
    Connection::open_with(disk, vault, ak_audit::journal::Options::default(), &Options::default())
}

fn alloc(kernel: &Connection, text: &str) -> Result<(), Code> {
    let content = Content::Json(object! { "text": text });
    let request = Request::Heap(HeapRequest::Alloc { type_name: "note".into(), content, subject: None });
    kernel.call(request).map(|_| ()).map_err(|failure| failure.code)
}

/// Returns the number of notes that the owner finds.
fn notes(kernel: &Connection) -> usize {
    let mut found = 0;
    let mut cursor = None;
    loop {
        let mut form = object! { "type": "note", "limit": 100 };
        if let (ak_host::ak_json::Value::Object(form), Some(cursor)) = (&mut form, cursor.take()) {
            form.insert("cursor", cursor);
        }
        let request = Request::Heap(HeapRequest::Query { form: form.as_object().unwrap().clone() });
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
fn a_full_disk_refuses_requests_but_lets_the_owner_act() {
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
    // The owner can still reduce rights, using the reserve.
    let policy = |text: &str| {
        Request::Admin(AdminRequest::PolicyLoad {
            text: text.into(),
            base_dir: None,
            files: Default::default(),
        })
    };
    owner.call(policy("profiles = []\n")).unwrap();
    // No refused change was made, and no acknowledged change is lost.
    faults.file_bytes_max.store(0, SeqCst);
    owner.call(policy("profiles = [\"baseline\"]\n")).unwrap();
    assert_eq!(notes(&owner), stored);
    alloc(&agent, &long).unwrap();
    owner.close();
    assert_eq!(notes(&open(&scratch, &faults)), stored + 1);
}

/// Ordinary requests of the owner take nothing of the reserve. The requests that the reserve is for work until it is
/// used up. Then every request is refused, and nothing stops.
#[test]
fn the_reserve_serves_only_operations_that_reduce_authority() {
    let (scratch, faults) = (Scratch::new("reserve"), Faults::default());
    faults.file_bytes_max.store(6 << 20, SeqCst);
    let owner = open(&scratch, &faults);
    let text = "profiles = [\"baseline\"]\n";
    let policy = || {
        owner.call(Request::Admin(AdminRequest::PolicyLoad {
            text: text.into(),
            base_dir: None,
            files: Default::default(),
        }))
    };
    let grant = owner.call(Request::Agent(AgentRequest::CapGrant {
        agent: "worker".into(),
        terms: CapabilitySpec { name: Some("fs".into()), ..CapabilitySpec::default() },
    }));
    let Ok(Reply::Value(granted)) = grant else { panic!("{grant:?}") };
    owner
        .call(Request::Audit(AuditRequest::Log {
            event: "e".into(),
            details: object! { "x": 1u64 },
            subject: Some("person".into()),
        }))
        .unwrap();
    let stored = fill(&owner);
    // These requests never take anything of the reserve.
    for _ in 0..500 {
        assert_eq!(alloc(&owner, "x"), Err(Code::LogFull));
    }
    let capability = granted.get("capability").and_then(|id| id.as_str()).unwrap();
    let digits = capability.strip_prefix("0x").unwrap();
    let capability = CapId::from_u64(u64::from_str_radix(digits, 16).unwrap());
    owner.call(Request::Agent(AgentRequest::CapRevoke { capability })).unwrap();
    owner.call(Request::Audit(AuditRequest::Erase { subject: "person".into() })).unwrap();
    let verified = owner.call(Request::Audit(AuditRequest::Verify { key: None, anchor: None }));
    assert!(
        matches!(&verified, Ok(Reply::Value(told)) if told.get("first_bad").is_none_or(|bad| bad.is_null()))
    );
    let mut loaded = 0u64;
    let refused = loop {
        match policy() {
            Ok(_) => loaded += 1,
            Err(failure) => break failure.code,
        }
        assert!(loaded < 20_000, "the reserve never ends");
    };
    assert_eq!(refused, Code::LogFull, "nothing stops");
    assert!(loaded * 4 * 1024 > OWNER_RESERVE_BYTES / 8, "{loaded} loads");
    assert_eq!(alloc(&owner, "x"), Err(Code::LogFull));
    // Freed space is used at once.
    faults.file_bytes_max.store(0, SeqCst);
    policy().unwrap();
    alloc(&owner, "x").unwrap();
    owner.close();
    let again = open(&scratch, &faults);
    assert_eq!(notes(&again), stored + 1);
    again.close();
}

/// A stream that does not fit on the disk ends alone, without effect on other requests.
#[test]
fn a_stream_without_log_space_stops_alone() {
    let (scratch, faults) = (Scratch::new("stream"), Faults::default());
    let text = "x".repeat(4_000);
    let chunk = object! { "choices": vec![object! { "index": 0u64, "delta": object! { "content": text } }] };
    let server = model(move |_, _| Then::Endless(format!("data: {}\n\n", chunk.to_json())));
    let route = format!("[[model]]\nmatch = \"*\"\nurl = \"{}\"\n", server.url());
    std::fs::write(scratch.join("host.toml"), route).unwrap();
    let disk = FaultyDisk(FileDisk::new(&scratch.join("journal")).unwrap(), faults.clone());
    let vault = FileDisk::new(&scratch.join("vault")).unwrap();
    let options = Options { host_config: Some(scratch.join("host.toml")), ..Options::default() };
    let owner = Connection::open_on(disk, vault, &options).unwrap();
    let policy = "profiles = [\"baseline\"]\n[infer]\nmodels = [\"*\"]\n";
    let policy = Request::Admin(AdminRequest::PolicyLoad {
        text: policy.into(),
        base_dir: None,
        files: Default::default(),
    });
    owner.call(policy.clone()).unwrap();
    let agent = owner.agent("worker").unwrap();
    // The reservation for the end of the stream fits, and some of its pieces.
    faults.file_bytes_max.store(16 << 20, SeqCst);
    let mut pieces = 0;
    let request = object! { "model": "m", "messages": vec![object! { "role": "user", "content": "go on" }] };
    let request = Request::Infer(InferRequest { request, stream: true, price: None });
    let ended = agent.call_streaming(request, &mut |_| {
        pieces += 1;
        true
    });
    let failure = ended.unwrap_err();
    assert_eq!(failure.code, Code::LogFull, "{failure}");
    assert!(pieces > 10, "{pieces} pieces");
    // The reservation for its end is free again.
    alloc(&agent, "x").unwrap();
    owner.call(policy).unwrap();
    owner.close();
    faults.file_bytes_max.store(0, SeqCst);
    assert_eq!(notes(&open(&scratch, &faults)), 1);
}

/// Opening on a full disk: everything acknowledged is there, and can be removed.
#[test]
fn a_full_disk_can_be_reopened_repeatedly() {
    let (scratch, faults) = (Scratch::new("reopen-full"), Faults::default());
    faults.file_bytes_max.store(6 << 20, SeqCst);
    let owner = open(&scratch, &faults);
    let stored = fill(&owner);
    owner.close();
    drop(owner);
    for _ in 0..20 {
        let owner = open(&scratch, &faults);
        owner
            .call(Request::Admin(AdminRequest::PolicyLoad {
                text: "profiles = [\"baseline\"]\n".into(),
                base_dir: None,
                files: Default::default(),
            }))
            .unwrap();
        assert_eq!(alloc(&owner, "x"), Err(Code::LogFull));
        owner.close();
    }
    faults.file_bytes_max.store(0, SeqCst);
    assert_eq!(notes(&open(&scratch, &faults)), stored);
}

/// Allocates objects until the disk is full. Returns the number of notes.
fn fill(owner: &Connection) -> usize {
    let mut stored = 0;
    for size in [100_000, 4_000, 0] {
        while alloc(owner, &"x".repeat(size)).is_ok() {
            stored += 1;
            assert!(stored < 20_000, "the disk never fills");
        }
    }
    stored
}

#[test]
fn throttled_callers_are_not_recorded_on_a_full_disk() {
    let (scratch, faults) = (Scratch::new("turned-away"), Faults::default());
    faults.file_bytes_max.store(6 << 20, SeqCst);
    let owner = open(&scratch, &faults);
    let agent = owner.agent("worker").unwrap();
    while alloc(&agent, &"x".repeat(100_000)).is_ok() {}
    while alloc(&agent, "x").is_ok() {}
    // The request is rejected as always, but not even counted: the reserve is for the owner.
    let stranger = agent.present("no token");
    assert_eq!(alloc(&stranger, "x"), Err(Code::CapInvalid));
    faults.file_bytes_max.store(0, SeqCst);
    let throttled = || {
        let filter = AuditFilter { event_type: Some("throttled".into()), ..AuditFilter::default() };
        let Ok(Reply::Value(found)) = owner.call(Request::Audit(AuditRequest::Query(filter))) else {
            panic!("no entries")
        };
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
    let stopped = kernel.driver().unwrap().wait_until_stopped();
    assert!(stopped.message.contains("reopen the kernel"), "{stopped}");
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
fn reading_a_state_directory_creates_nothing() {
    let scratch = Scratch::new("read-only");
    let options = Options { state_dir: Some(scratch.path().into()), ..Options::default() };
    let kernel = Connection::open(&options).unwrap();
    kernel.call(Request::Tools(ToolsRequest::List)).unwrap();
    kernel.close();
    std::fs::remove_dir_all(scratch.join(ak_host::VAULT_DIRECTORY)).unwrap();
    let stored = ak_host::read_journal(scratch.path()).unwrap();
    assert!(stored.records.len() > 1 && stored.records.iter().all(|record| !record.leaf.is_empty()));
    assert!(!scratch.join(ak_host::VAULT_DIRECTORY).exists());
    assert_eq!(ak_host::read_journal(&scratch.join("nowhere")).unwrap_err().code, Code::NotFound);
    assert!(!scratch.join("nowhere").exists());
}
