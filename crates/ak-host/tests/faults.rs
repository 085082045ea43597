//! One fault at each disk call of a session's whole life: nothing acknowledged is lost, nothing stops for good, and if
//! the kernel has to be opened again, the failure says so.
//!
//! `AK_FAULTS` sets which calls fail, each in a life of its own: every `AK_FAULTS`th call, from `AK_FAULTS_FROM` on. 1
//! means all calls.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::{Arc, Mutex},
};

use ak_audit::{Disk, DiskError, journal::Options as JournalOptions};
use ak_host::ak_json::{Value, object};
use ak_host::ak_kernel::{
    AdminRequest, AgentRequest, AuditRequest, CapabilitySpec, Code, Failure, FileRequest, HeapRequest,
    Outcome, Reply, Request, ToolsRequest,
    ak_heap::{Content, Handle},
    ak_policy::capability::CapId,
};
use ak_host::{Connection, Options};

use support::{Mount, Scratch};

/// Small, so that many segments begin.
const SMALL: JournalOptions =
    JournalOptions { segment_bytes_max: 12 << 10, allocation_bytes: 4 << 10, reserve_bytes: 256 << 10 };

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Full,
    /// The error of a process without free descriptors.
    NoDescriptor,
    Broken,
}

const FAULTS: [Fault; 3] = [Fault::Full, Fault::NoDescriptor, Fault::Broken];

/// The content of a file, as readers see it and as it is after a power failure.
#[derive(Clone, Default)]
struct Bytes {
    seen: Vec<u8>,
    durable: Vec<u8>,
}

/// Two directories in memory, with the call that is to fail.
#[derive(Clone, Default)]
struct Store {
    files: BTreeMap<(&'static str, String), Bytes>,
    durable_names: BTreeSet<(&'static str, String)>,
    locked: BTreeSet<&'static str>,
    calls: u64,
    fault: Option<(u64, Fault)>,
    failed: Option<&'static str>,
}

impl Store {
    /// Returns what is left after a power failure.
    fn after_power_failure(&self) -> Store {
        let kept = self.files.iter().filter(|(name, _)| self.durable_names.contains(*name));
        let files = kept.map(|(name, bytes)| {
            (name.clone(), Bytes { seen: bytes.durable.clone(), durable: bytes.durable.clone() })
        });
        Store { files: files.collect(), durable_names: self.durable_names.clone(), ..Store::default() }
    }

    /// Returns the same disk without the fault.
    fn healed(&self) -> Store {
        Store { locked: BTreeSet::new(), fault: None, failed: None, calls: 0, ..self.clone() }
    }
}

/// One of the directories.
struct Directory {
    name: &'static str,
    store: Arc<Mutex<Store>>,
    holds_lock: bool,
}

impl Clone for Directory {
    /// Returns another handle; the first handle keeps the lock.
    fn clone(&self) -> Directory {
        Directory { name: self.name, store: self.store.clone(), holds_lock: false }
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if self.holds_lock {
            self.store.lock().unwrap().locked.remove(self.name);
        }
    }
}

impl Directory {
    /// Counts a call, and fails it if it is the chosen one.
    fn call(&self, what: &'static str) -> Result<std::sync::MutexGuard<'_, Store>, DiskError> {
        let mut store = self.store.lock().unwrap();
        store.calls += 1;
        match store.fault {
            Some((at, fault)) if at == store.calls => {
                store.failed = Some(what);
                Err(match fault {
                    Fault::Full => DiskError::Full,
                    Fault::NoDescriptor => DiskError::Failed("Too many open files (os error 24)".into()),
                    Fault::Broken => DiskError::Failed("Input/output error (os error 5)".into()),
                })
            }
            _ => Ok(store),
        }
    }

    fn key(&self, name: &str) -> (&'static str, String) {
        (self.name, name.to_owned())
    }
}

impl Disk for Directory {
    fn lock(&mut self) -> Result<(), DiskError> {
        let taken = self.call("lock")?.locked.insert(self.name);
        if !taken && !self.holds_lock {
            return Err(DiskError::Locked);
        }
        self.holds_lock = true;
        Ok(())
    }

    fn list(&self) -> Result<Vec<String>, DiskError> {
        let store = self.call("list")?;
        let own = store.files.keys().filter(|(directory, _)| *directory == self.name);
        Ok(own.map(|(_, name)| name.clone()).collect())
    }

    fn length(&self, name: &str) -> Result<u64, DiskError> {
        let store = self.call("length")?;
        store.files.get(&self.key(name)).map(|bytes| bytes.seen.len() as u64).ok_or(DiskError::Absent)
    }

    fn read(&self, name: &str, offset: u64, buffer: &mut [u8]) -> Result<usize, DiskError> {
        let store = self.call("read")?;
        let bytes = &store.files.get(&self.key(name)).ok_or(DiskError::Absent)?.seen;
        let rest = bytes.get(offset as usize..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn allocate(&mut self, name: &str, length: u64) -> Result<(), DiskError> {
        let mut store = self.call("allocate")?;
        let bytes = store.files.entry(self.key(name)).or_default();
        let length = bytes.seen.len().max(length as usize);
        bytes.seen.resize(length, 0);
        Ok(())
    }

    fn shrink(&mut self, name: &str, length: u64) -> Result<(), DiskError> {
        let mut store = self.call("shrink")?;
        store.files.get_mut(&self.key(name)).ok_or(DiskError::Absent)?.seen.truncate(length as usize);
        Ok(())
    }

    fn write(&mut self, name: &str, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        let mut store = self.call("write")?;
        let seen = &mut store.files.get_mut(&self.key(name)).ok_or(DiskError::Absent)?.seen;
        seen[offset as usize..offset as usize + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn sync(&mut self, name: &str) -> Result<(), DiskError> {
        let mut store = self.call("sync")?;
        let bytes = store.files.get_mut(&self.key(name)).ok_or(DiskError::Absent)?;
        bytes.durable = bytes.seen.clone();
        Ok(())
    }

    fn remove(&mut self, name: &str) -> Result<(), DiskError> {
        let mut store = self.call("remove")?;
        store.files.remove(&self.key(name)).map(|_| ()).ok_or(DiskError::Absent)
    }

    fn sync_dir(&mut self) -> Result<(), DiskError> {
        let mut store = self.call("sync_dir")?;
        let names = store.files.keys().filter(|(directory, _)| *directory == self.name).cloned();
        let names: Vec<_> = names.collect();
        store.durable_names.retain(|(directory, _)| *directory != self.name);
        store.durable_names.extend(names);
        Ok(())
    }
}

fn open(store: &Arc<Mutex<Store>>) -> Result<Connection, Failure> {
    let directory = |name| Directory { name, store: store.clone(), holds_lock: false };
    Connection::open_with(directory("journal"), directory("vault"), SMALL, &Options::default())
}

/// The acknowledged changes of a life.
#[derive(Default)]
struct Acknowledged {
    notes: Vec<(Handle, String)>,
    granted: Option<CapId>,
    revoked: Option<CapId>,
    person: Option<Handle>,
    is_erased: bool,
    is_erasing: bool,
    /// The failures of refused calls.
    refused: Vec<Failure>,
}

impl Acknowledged {
    /// Returns the reply of a call; notes its failure otherwise.
    fn take(&mut self, outcome: Outcome) -> Option<Reply> {
        outcome.map_err(|failure| self.refused.push(failure)).ok()
    }
}

fn alloc(text: &str, subject: Option<&str>) -> Request {
    let content = Content::Json(object! { "text": text });
    Request::Heap(HeapRequest::Alloc { type_name: "note".into(), content, subject: subject.map(Into::into) })
}

fn capability(reply: &Reply) -> Option<CapId> {
    let Reply::Value(told) = reply else { return None };
    let digits = told.get("capability")?.as_str()?.strip_prefix("0x")?;
    u64::from_str_radix(digits, 16).ok().map(CapId::from_u64)
}

fn grant(kernel: &Connection) -> Outcome {
    let terms = CapabilitySpec { name: Some("fs".into()), ..CapabilitySpec::default() };
    kernel.call(Request::Agent(AgentRequest::CapGrant { agent: "worker".into(), terms }))
}

/// A whole session, from opening to closing; it may read `file`. It continues whatever fails.
fn live(kernel: &Connection, file: &Path, told: &mut Acknowledged) {
    let directory = file.parent().unwrap().display();
    let policy = format!(
        "profiles = [\"baseline\"]\n[fs]\nread = [\"{directory}/**\"]\nwrite = [\"{directory}/**\"]\n"
    );
    told.take(kernel.call(Request::Admin(AdminRequest::PolicyLoad {
        text: policy.into(),
        base_dir: None,
        files: Default::default(),
    })));
    let agent = kernel.agent("worker").map_err(|failure| told.refused.push(failure)).ok();
    let note = |told: &mut Acknowledged, by: &Connection, text: String| {
        if let Some(Reply::Handle(handle)) = told.take(by.call(alloc(&text, None))) {
            told.notes.push((handle, text));
        }
    };
    for round in 0..4 {
        let long = "x".repeat(1_500);
        note(told, kernel, format!("owner {round} {long}"));
        if let Some(agent) = &agent {
            note(told, agent, format!("worker {round} {long}"));
        }
    }
    if let Some((handle, _)) = told.notes.first().cloned() {
        let patch =
            Value::parse(br#"[{"op":"replace","path":"/text","value":"written"}]"#, &Default::default());
        let write =
            Request::Heap(HeapRequest::Write { handle, patch: patch.unwrap(), expected_version: None });
        match kernel.call(write) {
            Ok(_) => told.notes[0].1 = "written".into(),
            Err(failure) => {
                // The change may have been written nevertheless.
                told.notes.remove(0);
                told.refused.push(failure);
            }
        }
    }
    if let Some(granted) = told.take(grant(kernel)).as_ref().and_then(capability) {
        told.granted = Some(granted);
        if told.take(kernel.call(Request::Agent(AgentRequest::CapRevoke { capability: granted }))).is_some() {
            told.revoked = Some(granted);
        }
    }
    let path = file.to_str().unwrap();
    told.take(kernel.call(Request::File(FileRequest::Read { path: path.into(), bytes_max: 1_000 })));
    told.take(
        kernel.call(Request::File(FileRequest::Write { path: path.into(), data: b"written"[..].into() })),
    );
    told.take(kernel.call(Request::Tools(ToolsRequest::Call {
        tool: "add".into(),
        args: object! { "a": 3u64, "b": 5u64 },
    })));
    if let Some(Reply::Handle(handle)) = told.take(kernel.call(alloc("of a person", Some("person")))) {
        told.person = Some(handle);
        told.is_erasing = true;
        told.is_erased = told
            .take(kernel.call(Request::Audit(AuditRequest::Erase { subject: "person".into() })))
            .is_some();
    }
    for round in 0..4 {
        note(told, kernel, format!("later {round}"));
    }
    told.take(kernel.call(Request::Audit(AuditRequest::Checkpoint)));
    told.take(kernel.call(Request::Audit(AuditRequest::Verify { key: None, anchor: None })));
}

/// Checks that everything acknowledged is there, the log verifies, and the kernel can be used.
fn check(kernel: &Connection, told: &Acknowledged, context: &str) {
    for (handle, text) in &told.notes {
        let read = kernel.call(Request::Heap(HeapRequest::Read { handle: *handle, version: None }));
        let Ok(Reply::Content(Content::Json(value))) = read else {
            panic!("{context}: {text:.20}: {read:?}")
        };
        assert_eq!(value.get("text").and_then(Value::as_str), Some(text.as_str()), "{context}");
    }
    if let Some(capability) = told.revoked {
        let token = kernel.call(Request::Agent(AgentRequest::CapToken { capability }));
        assert!(token.is_err(), "{context}: a revoked capability is back: {token:?}");
    }
    if let Some(handle) = told.person {
        let read = kernel.call(Request::Heap(HeapRequest::Read { handle, version: None }));
        match (told.is_erased, told.is_erasing) {
            (true, _) => assert!(read.is_err(), "{context}: what was erased is back"),
            (false, true) => {}
            (false, false) => assert!(read.is_ok(), "{context}: {read:?}"),
        }
    }
    let verified = kernel.call(Request::Audit(AuditRequest::Verify { key: None, anchor: None }));
    let Ok(Reply::Value(verified)) = verified else { panic!("{context}: {verified:?}") };
    assert_eq!(verified.get("consistent").and_then(Value::as_bool), Some(true), "{context}: {verified:?}");
    kernel.call(alloc("goes on", None)).unwrap_or_else(|failure| panic!("{context}: {failure}"));
}

/// Runs one life in which the `at`th call fails. Returns the number of calls, and which one failed.
fn life(scratch: &Scratch, fault: Option<(u64, Fault)>) -> (u64, Option<&'static str>) {
    let file = scratch.join("file");
    fs::write(&file, "content").unwrap();
    let store = Arc::new(Mutex::new(Store { fault, ..Store::default() }));
    let mut told = Acknowledged::default();
    let context = format!("{fault:?}");
    // Closing and opening again are part of the life.
    for session in 0..2 {
        let kernel = match open(&store) {
            Ok(kernel) => kernel,
            Err(failure) => {
                assert!(fault.is_some(), "{failure}");
                break;
            }
        };
        if session == 0 {
            live(&kernel, &file, &mut told);
        }
        let read = kernel.call(Request::Tools(ToolsRequest::List));
        let revoked = told
            .granted
            .map(|capability| kernel.call(Request::Agent(AgentRequest::CapRevoke { capability })));
        for outcome in [Some(read), revoked].into_iter().flatten() {
            let Err(failure) = outcome else { continue };
            // A failure that says that the capability is already revoked is fine.
            let is_answer = matches!(failure.code, Code::CapRevoked | Code::CapMissing | Code::NotFound);
            let says_so = failure.message.contains("open") && failure.message.contains("kernel");
            assert!(is_answer || says_so, "{context}: {failure:?}");
        }
        kernel.close();
    }
    if fault.is_none() {
        assert!(told.refused.is_empty(), "{:?}", told.refused);
        assert!(told.is_erased && told.revoked.is_some() && told.notes.len() == 12);
    }
    let (left, calls, failed) = {
        let store = store.lock().unwrap();
        (store.clone(), store.calls, store.failed)
    };
    for (what, image) in [("healed", left.healed()), ("after a power failure", left.after_power_failure())] {
        let context = format!("{context} at {failed:?}, {what}");
        let kernel = open(&Arc::new(Mutex::new(image)));
        let kernel = kernel.unwrap_or_else(|failure| panic!("{context}: {failure}"));
        check(&kernel, &told, &context);
        kernel.close();
    }
    (calls, failed)
}

#[test]
fn a_fault_at_any_call_loses_nothing_and_stops_nothing_for_good() {
    let number = |name: &str, default| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let (one_in, from) = (number("AK_FAULTS", 41u64), number("AK_FAULTS_FROM", 1u64));
    let scratch = Scratch::new("faults");
    let (calls, _) = life(&scratch, None);
    let (mut lives, mut hit) = (0u64, BTreeMap::<(&str, String), u64>::new());
    let mut number = from;
    while number <= calls * FAULTS.len() as u64 {
        let (at, fault) =
            ((number - 1) / FAULTS.len() as u64 + 1, FAULTS[(number - 1) as usize % FAULTS.len()]);
        let (_, failed) = life(&scratch, Some((at, fault)));
        if let Some(what) = failed {
            *hit.entry((what, format!("{fault:?}"))).or_default() += 1;
        }
        lives += 1;
        number += one_in;
    }
    println!(
        "failed {lives} of {} ({calls} calls, {} faults each): {hit:?}",
        calls * FAULTS.len() as u64,
        FAULTS.len()
    );
    let all = calls * FAULTS.len() as u64;
    assert_eq!(lives, (all + 1).saturating_sub(from).div_ceil(one_in));
    assert!(!hit.is_empty());
}

/// A real file system of 64 MB, if the test may mount one.
#[test]
fn a_full_file_system_stops_nothing() {
    let scratch = Scratch::new("tmpfs");
    let Some(_mount) = Mount::tmpfs(scratch.path(), 64 << 20) else { return };
    // A file that is removed later, to free space.
    let ballast = scratch.join("ballast");
    fs::write(&ballast, vec![1; 8 << 20]).unwrap();
    let state = scratch.join("state");
    let options = Options { state_dir: Some(state), ..Options::default() };
    let owner = Connection::open(&options).unwrap();
    let agent = owner.agent("worker").unwrap();
    let Some(granted) = capability(&grant(&owner).unwrap()) else { panic!("no capability") };
    owner.call(alloc("of a person", Some("person"))).unwrap();
    let mut told = Acknowledged::default();
    let text = |size: usize| "x".repeat(size);
    for size in [1_000_000, 100_000, 3_000, 1] {
        for by in [&agent, &owner] {
            let refused = loop {
                match by.call(alloc(&text(size), None)) {
                    Ok(Reply::Handle(handle)) => told.notes.push((handle, text(size))),
                    Ok(other) => panic!("{other:?}"),
                    Err(failure) => break failure,
                }
                assert!(told.notes.len() < 5_000, "the disk never fills");
            };
            assert_eq!(refused.code, Code::LogFull, "{refused}");
        }
    }
    // Fills the rest of the disk.
    let rest = scratch.join("rest");
    let _ = std::io::Write::write_all(&mut fs::File::create(&rest).unwrap(), &vec![1; 64 << 20]);
    for _ in 0..200 {
        assert_eq!(owner.call(alloc("x", None)).map_err(|failure| failure.code), Err(Code::LogFull));
    }
    owner.call(Request::Agent(AgentRequest::CapRevoke { capability: granted })).unwrap();
    let policy = Request::Admin(AdminRequest::PolicyLoad {
        text: "profiles = [\"baseline\"]\n".into(),
        base_dir: None,
        files: Default::default(),
    });
    owner.call(policy.clone()).unwrap();
    owner.call(Request::Audit(AuditRequest::Verify { key: None, anchor: None })).unwrap();
    // The state is longer than the reserve for its snapshot: nothing is done, and nothing stops.
    let erased = owner.call(Request::Audit(AuditRequest::Erase { subject: "person".into() }));
    assert_eq!(erased.map_err(|failure| failure.code), Err(Code::LogFull));
    owner.close();
    drop((owner, agent));
    let owner = Connection::open(&options).unwrap();
    owner.call(policy).unwrap();
    fs::remove_file(&ballast).unwrap();
    told.revoked = Some(granted);
    owner.call(alloc("there is room again", None)).unwrap();
    told.notes.truncate(20);
    check(&owner, &told, "tmpfs");
}
