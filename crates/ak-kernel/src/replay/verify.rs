//! Verifies a log entry by entry, as far as its bodies are present.

use alloc::{
    boxed::Box,
    collections::{BTreeMap, VecDeque},
    format,
    string::{String, ToString},
    vec::Vec,
};

use ak_audit::{Decision, Entry, Kind};
use ak_heap::{Handle, Heap, HeapConfig};
use ak_json::{Digest, Limits, Text, Value, object};

use crate::{
    api::{
        config::Config, fields::Fields, operation::Operation, reply::Outcome, subject::SubjectId,
        tool_request::ToolRequestKind,
    },
    codec::input::{FORMAT_VERSION, Input},
    effects::pending::PendingEffect,
    record::{
        entry::{SEMANTICS_VERSION, derive},
        subjects::{Found, Subjects},
    },
    replay::reexecute::{Replay, ReplayedEntry, ToolReplay},
    state::{CallId, Kernel},
};

/// The result for one entry of a verification.
#[derive(Clone, Debug, PartialEq)]
pub enum EntryStatus {
    /// The entry follows from its input and everything before it. These are the replies that it releases.
    Verified(Vec<(CallId, Outcome)>),
    /// The entry is chained to the one before; nothing more can be verified, because its body or an earlier one was
    /// erased or pruned. [`LogVerifier::first_wrong`] tells at the end whether the log explains this.
    Opaque,
    /// The entry is chained to the one before. An earlier version of the kernel wrote it, and a kernel of that
    /// version can re-execute it.
    NotReplayed,
    /// The entry is wrong, for this reason.
    Invalid(String),
}

/// The stored body of an entry, or the subjects of an erased one.
#[derive(Clone, Copy, Debug, Default)]
pub struct StoredBody<'a> {
    /// The body; `None` if it was erased.
    pub body: Option<&'a [u8]>,
    /// The subjects of an erased body.
    pub subjects: &'a [SubjectId],
}

impl<'a> StoredBody<'a> {
    /// An entry with its body.
    pub const fn whole(body: &'a [u8]) -> StoredBody<'a> {
        StoredBody { body: Some(body), subjects: &[] }
    }
}

/// Re-executes a log whose bodies may be partly erased, and judges each entry.
///
/// After an erased or pruned body the state is unknown, and so are the results of later inputs. A snapshot that
/// began with a SNAPSHOT entry makes the state known again, if a later entry has its digest. Pass the entries to
/// [`examine`](Self::examine) in order, from the first that is stored, and call [`first_wrong`](Self::first_wrong)
/// at the end: an opaque entry is accepted only if an erasure that the log records explains it, and a log is
/// verified only if its last state is known.
///
/// # What is proven
///
/// - A verified entry is, byte for byte, the one that this kernel writes for its input in that state.
/// - An opaque entry, and one of an earlier version, is part of the chain that the next snapshot continues, whose
///   digest is in the entry that ends the snapshot. If its body is present, the entry commits to it under the salt of
///   subjects that are known at the end. (If there are too many sets of known subjects to try, this is not proven.)
///   If its body is gone, it was about an erased subject: the number of such entries is compared with the one in the
///   erasure's outcome, if that body is present, and the number of entries about all other subjects with the last
///   state.
///
/// # What is not
///
/// The log contains everything that is needed to write it: whoever has all of it can execute other inputs and get
/// another valid log. The same holds for cutting off the end, and for repeating or omitting inputs if the rest
/// still follows. Salts are in bodies (as entropy) and in snapshots, so opaque entries can be replaced too by
/// computing their commitments anew, including the digest in the snapshot's entry. A log of an earlier version that
/// does not continue under this one has no snapshot to compare with: its leaves are proven by their chain only. In
/// a pruned log nothing is known before the first entry: until a snapshot, its entries are opaque without an
/// erasure, and only their chain is checked.
///
/// Each of these changes the [`head`](Self::head): compare it with one that was kept elsewhere, or with a signed
/// checkpoint.
#[derive(Debug)]
pub struct LogVerifier {
    tools: ToolReplay,
    /// The replayed kernel, while its state is known.
    replay: Option<Replay>,
    first: u64,
    next: u64,
    previous: Option<Digest>,
    /// The log's id, from its first entry.
    run: Option<[u8; 16]>,
    /// The earlier version that wrote the current entries, if one did.
    earlier: Option<Earlier>,
    follows: u64,
    opaque: u64,
    not_replayed: u64,
    /// Entries whose bodies are gone, by their subjects.
    blank: BTreeMap<Vec<SubjectId>, Blank>,
    /// Entries with bodies that were not executed, by the salt with which they commit to the body. At the end it
    /// must be the salt of known subjects.
    fitting: BTreeMap<[u8; 32], Fitting>,
    /// The newest of these salts, which are tried first.
    recent: VecDeque<[u8; 32]>,
    /// Entries with bodies that were not executed, for which no salt could be guessed.
    unproven: Vec<Unproven>,
    /// The subjects and heap from when the state became unknown, with new subjects since.
    before: Option<Box<Before>>,
    /// The number of verified entries about each subject, or about the kernel itself.
    about: BTreeMap<SubjectId, u64>,
    /// The erased subjects, with the number of entries that the erasure reports for each.
    erased: BTreeMap<SubjectId, Option<u64>>,
    /// The newest erasure whose subject is unknown, because its outcome does not name it or has no body.
    erased_unnamed: Option<u64>,
    first_wrong: Option<(u64, String)>,
    /// The snapshot from which verification continued, until an entry with its digest is found.
    unvouched: Option<u64>,
}

/// The earlier version that wrote the first entries of the log.
#[derive(Debug)]
struct Earlier {
    version: u64,
    config: Config,
}

/// Entries whose bodies are gone and were about the same subjects.
#[derive(Clone, Copy, Debug)]
struct Blank {
    first: u64,
    count: u64,
    /// The first of them after the newest erasure whose subject is unknown.
    first_since: u64,
}

/// Entries with bodies that were not executed, which commit to them with the same salt.
#[derive(Debug)]
struct Fitting {
    count: u64,
    /// The first of them, for finding the salt's subjects.
    first: Unproven,
}

/// The state from which salts are guessed while the current state is unknown. The guesses are checked at the end of
/// the log.
#[derive(Debug)]
struct Before {
    subjects: Subjects,
    heap: Heap,
}

/// Salts that are tried for a body besides those of its likely subjects.
const RECENT_SALTS_MAX: usize = 8;

/// An entry with a body that was not executed. Whether it commits to that body can be checked once its salt is
/// known.
#[derive(Debug)]
struct Unproven {
    seq: u64,
    /// The entry's commitment to the body.
    request: [u8; 32],
    digest: Digest,
    /// The likely subjects: the agent, those that the request names, and the owners of the objects that it names.
    agent: Text,
    names: Vec<Text>,
    objects: Vec<Handle>,
}

impl LogVerifier {
    /// A verifier for a log whose first stored entry has this `seq`.
    pub fn new(first: u64, tools: ToolReplay) -> LogVerifier {
        let replay = (first == 0).then(|| Replay::new(tools));
        LogVerifier {
            tools,
            replay,
            first,
            next: first,
            previous: None,
            run: None,
            earlier: None,
            follows: 0,
            opaque: 0,
            not_replayed: 0,
            blank: BTreeMap::new(),
            fitting: BTreeMap::new(),
            recent: VecDeque::new(),
            unproven: Vec::new(),
            before: None,
            about: BTreeMap::new(),
            erased: BTreeMap::new(),
            erased_unnamed: None,
            first_wrong: None,
            unvouched: None,
        }
    }

    /// Verifies the next entry. `snapshot` is the one that was stored with it, if any.
    pub fn examine(&mut self, leaf: &[u8], kept: StoredBody<'_>, snapshot: Option<&[u8]>) -> EntryStatus {
        let seq = self.next;
        let standing = match self.link(leaf) {
            Err(reason) => EntryStatus::Invalid(reason),
            Ok(()) => match self.execute(leaf, kept, snapshot) {
                standing @ EntryStatus::Verified(_) => standing,
                standing @ (EntryStatus::Opaque | EntryStatus::NotReplayed) => {
                    match self.look_at(leaf, kept, snapshot, &standing) {
                        Ok(()) => standing,
                        Err(reason) => EntryStatus::Invalid(reason),
                    }
                }
                standing @ EntryStatus::Invalid(_) => standing,
            },
        };
        self.next = self.next.saturating_add(1);
        self.previous = Some(ak_audit::leaf_hash(leaf).into());
        match &standing {
            EntryStatus::Verified(_) => {
                self.follows += 1;
                self.note_erasure(leaf, kept);
            }
            EntryStatus::Opaque => {
                self.opaque += 1;
                self.note_erasure(leaf, kept);
            }
            EntryStatus::NotReplayed => {
                self.not_replayed += 1;
                self.note_erasure(leaf, kept);
            }
            EntryStatus::Invalid(reason) => {
                // The executed input is not the recorded one, so the state is unknown from here on.
                self.replay = None;
                self.first_wrong.get_or_insert((seq, reason.clone()));
            }
        }
        standing
    }

    /// Checks that the entry is the next one of the chain.
    fn link(&mut self, leaf: &[u8]) -> Result<(), String> {
        let entry = Entry::decode(leaf).map_err(|error| format!("it cannot be read: {error}"))?;
        if entry.seq != self.next {
            return Err(format!("entry {} stands in its place", entry.seq));
        }
        if *self.run.get_or_insert(entry.run) != entry.run {
            return Err("it is of another log".into());
        }
        match self.previous {
            Some(previous) if *previous.as_bytes() != entry.previous => {
                Err("it does not follow the entry before it".into())
            }
            Some(_) | None => Ok(()),
        }
    }

    fn execute(&mut self, leaf: &[u8], kept: StoredBody<'_>, snapshot: Option<&[u8]>) -> EntryStatus {
        if self.next == 0
            && let Some(standing) = self.begin(leaf, kept)
        {
            return standing;
        }
        if self.earlier.is_some() {
            return self.of_earlier_version(leaf, kept, snapshot);
        }
        let Some(body) = kept.body else {
            self.lose_state();
            return EntryStatus::Opaque;
        };
        match &mut self.replay {
            Some(replay) => {
                if let Some(bytes) = snapshot
                    && let Err(reason) = belongs(bytes, leaf, replay)
                {
                    return EntryStatus::Invalid(reason);
                }
                match replay.feed(leaf, body) {
                    Ok(followed) => {
                        self.unvouched = self.unvouched.filter(|seq| replay.vouched_for() < Some(*seq));
                        count(&mut self.about, &followed.record.subjects, 1);
                        EntryStatus::Verified(followed.replies)
                    }
                    Err(error) => EntryStatus::Invalid(error.reason),
                }
            }
            None => match snapshot {
                None => EntryStatus::Opaque,
                Some(bytes) => self.resume(bytes, leaf, body),
            },
        }
    }

    /// Records that the state is unknown from here on.
    fn lose_state(&mut self) {
        let kernel = self.replay.take().and_then(|replay| replay.finish().ok());
        if let Some(Kernel { subjects, heap, .. }) = kernel {
            self.before = Some(Box::new(Before { subjects, heap }));
        }
    }

    /// Continues from the snapshot that is stored with an entry.
    fn resume(&mut self, bytes: &[u8], leaf: &[u8], body: &[u8]) -> EntryStatus {
        self.before = None;
        match resume(bytes, self.tools, leaf, body) {
            Ok((replay, followed)) => {
                count(&mut self.about, &followed.record.subjects, 1);
                self.unvouched = Some(self.next).filter(|seq| replay.vouched_for() < Some(*seq));
                self.replay = Some(replay);
                EntryStatus::Verified(followed.replies)
            }
            Err(reason) => EntryStatus::Invalid(reason),
        }
    }

    /// Examines the genesis for the version that began the log. `None` if that is this version.
    fn begin(&mut self, leaf: &[u8], kept: StoredBody<'_>) -> Option<EntryStatus> {
        let Some(body) = kept.body else {
            return Some(EntryStatus::Invalid("the genesis has no body: it is never erased".into()));
        };
        let body = Value::parse(body, &Limits::default()).ok()?;
        let number = |name| body.get(name).and_then(Value::as_u64);
        let version = number("semantics")?;
        if number("format") != Some(FORMAT_VERSION) || version >= SEMANTICS_VERSION {
            return None;
        }
        self.replay = None;
        let is_genesis = Entry::decode(leaf).is_ok_and(|entry| {
            entry.operation == Operation::Genesis.number() && commits_to_genesis(&entry, &body)
        });
        let config = body.get("config").map(Config::from_value);
        match (is_genesis, config) {
            (true, Some(Ok(config))) => {
                self.earlier = Some(Earlier { version, config });
                Some(EntryStatus::NotReplayed)
            }
            _ => Some(EntryStatus::Invalid("the body is not the genesis that the entry is about".into())),
        }
    }

    /// Examines an entry of an earlier version, or the record with which the log continues under this one.
    fn of_earlier_version(
        &mut self,
        leaf: &[u8],
        kept: StoredBody<'_>,
        snapshot: Option<&[u8]>,
    ) -> EntryStatus {
        let upgrades = Entry::decode(leaf).is_ok_and(|entry| entry.operation == Operation::Upgrade.number());
        if !upgrades {
            return EntryStatus::NotReplayed;
        }
        let Some(earlier) = self.earlier.take() else { return EntryStatus::NotReplayed };
        let Some(body) = kept.body else {
            return EntryStatus::Invalid("the record of an upgrade has no body: it is never erased".into());
        };
        let from = Value::parse(body, &Limits::default()).ok().and_then(|body| body.get("from")?.as_u64());
        if from != Some(earlier.version) {
            return EntryStatus::Invalid(format!(
                "the log does not begin with the version that is upgraded: {}",
                earlier.version
            ));
        }
        match snapshot {
            Some(bytes) => self.resume(bytes, leaf, body),
            // A later erasure has deleted the snapshot.
            None => EntryStatus::Opaque,
        }
    }

    /// Checks an entry that is not executed.
    ///
    /// # Errors
    /// Why the entry is wrong in any state.
    fn look_at(
        &mut self,
        leaf: &[u8],
        kept: StoredBody<'_>,
        snapshot: Option<&[u8]>,
        standing: &EntryStatus,
    ) -> Result<(), String> {
        let entry = Entry::decode(leaf).map_err(|error| format!("it cannot be read: {error}"))?;
        let Some(body) = kept.body else {
            if snapshot.is_some() {
                return Err("a snapshot stands with an entry whose body is gone".into());
            }
            self.note_blank(kept.subjects);
            return Ok(());
        };
        let value =
            Value::parse(body, &JOURNALLED).map_err(|error| format!("the body is not JSON: {error}"))?;
        let (_, input) =
            Input::from_value(&value, &[0; 16]).map_err(|error| format!("the body is no input: {error}"))?;
        if *standing == EntryStatus::NotReplayed {
            if value.get("uptime").is_some() {
                return Err("no earlier version writes such a body".into());
            }
            if let (Some(bytes), Some(Earlier { config, .. })) = (snapshot, &self.earlier) {
                let digest = Kernel::digest_of(bytes, config).map_err(|error| format!("{error}"))?;
                if !matches!(input, Input::Snapshot { state } if state == digest) {
                    return Err("the snapshot is not the one it commits to".into());
                }
            }
        }
        // The names that requests contain of agents with sessions, capabilities or budgets.
        let mut names = Vec::new();
        let mut objects = Vec::new();
        if let Input::Dispatch { asked, .. } = &input {
            asked.request.names(&mut names, &mut objects);
        }
        if let Input::HostCall { request, .. } = &input
            && let ToolRequestKind::Request(request) = &request.kind
        {
            request.names(&mut names, &mut objects);
        }
        if value.to_json().as_bytes() != body {
            return Err("the body is not in the form that the kernel writes".into());
        }
        let unproven = Unproven {
            seq: self.next,
            request: entry.request,
            digest: value.digest(),
            agent: Text::from(entry.agent),
            names,
            objects,
        };
        match self.guess(&unproven, &value) {
            Some(salt) => {
                self.fitting.entry(salt).or_insert(Fitting { count: 0, first: unproven }).count += 1;
            }
            None => self.unproven.push(unproven),
        }
        Ok(())
    }

    fn note_blank(&mut self, subjects: &[SubjectId]) {
        let seq = self.next;
        match self.blank.get_mut(subjects) {
            Some(blank) => {
                blank.count += 1;
                if self.erased_unnamed.is_some_and(|erased| erased > blank.first_since) {
                    blank.first_since = seq;
                }
            }
            None => {
                self.blank.insert(subjects.to_vec(), Blank { first: seq, count: 1, first_since: seq });
            }
        }
    }

    /// Guesses the salt with which an entry commits to its body. A log has many entries and few salts.
    fn guess(&mut self, unproven: &Unproven, body: &Value) -> Option<[u8; 32]> {
        if let Some(salt) = self.recent.iter().find(|salt| unproven.fits(salt)) {
            return Some(*salt);
        }
        let before = self.before.get_or_insert_with(|| {
            Box::new(Before { subjects: Subjects::new(), heap: Heap::new(HeapConfig::default()) })
        });
        let entropy = Fields::new("body", body).ok()?.optional_bytes("entropy").ok()?;
        let entropy = entropy.and_then(|bytes| <[u8; 32]>::try_from(&*bytes).ok());
        let likely = unproven.likely(&before.subjects, &before.heap);
        let fits = |salt: &[u8; 32]| unproven.fits(salt);
        let salt = before.subjects.guess_salt(&likely, entropy.as_ref(), fits)?;
        self.recent.push_front(salt);
        self.recent.truncate(RECENT_SALTS_MAX);
        Some(salt)
    }

    /// Stores the facts of an erasure. If the state before it is unknown, its body is trusted as far as it is
    /// present.
    fn note_erasure(&mut self, leaf: &[u8], kept: StoredBody<'_>) {
        let Ok(entry) = Entry::decode(leaf) else { return };
        let ended = entry.kind == Kind::Outcome && entry.code == 0 && entry.decision == Decision::Permit;
        if !ended || entry.operation != Operation::AuditErase.number() {
            return;
        }
        let body = kept.body.and_then(|body| Value::parse(body, &JOURNALLED).ok());
        let told = body.as_ref().and_then(|body| body.get("result")?.get("value"));
        let number = |name| told.and_then(|told| told.get(name)).and_then(Value::as_u64);
        match number("subject") {
            Some(subject) => {
                self.erased.insert(subject, number("entries"));
            }
            None => self.erased_unnamed = Some(entry.seq),
        }
    }

    /// A fault of the log as a whole: the first entry that is concerned, and the reason.
    fn unexplained(&self) -> Option<(u64, String)> {
        if let Some(seq) = self.unvouched {
            return Some((seq, "no entry holds the digest of the snapshot that the log goes on from".into()));
        }
        let kernel = self.replay.as_ref().and_then(Replay::kernel);
        if self.opaque > 0 && self.first == 0 && kernel.is_none() && self.earlier.is_none() {
            return Some((
                self.next.saturating_sub(1),
                "the state at the end of the log is not known".into(),
            ));
        }
        let pending: Vec<SubjectId> = kernel.map(erasing).unwrap_or_default();
        let mut gone: BTreeMap<SubjectId, (u64, u64)> = BTreeMap::new();
        let was_erased = kernel.map(|kernel| kernel.subjects.erasure_outcome());
        let mut unexplained: Option<u64> = None;
        for (subjects, blank) in &self.blank {
            // If the state is known, it alone tells who was erased.
            let seq = match &was_erased {
                Some(was_erased) => {
                    Some(blank.first).filter(|_| !subjects.iter().any(|subject| was_erased(*subject)))
                }
                None if subjects.iter().any(|subject| self.erased.contains_key(subject)) => None,
                None if subjects.is_empty() => Some(blank.first),
                None => {
                    let explained = self.erased_unnamed.is_some_and(|erased| erased > blank.first_since);
                    Some(blank.first_since).filter(|_| !explained)
                }
            };
            unexplained = unexplained.into_iter().chain(seq).min();
            for subject in subjects {
                let (first, count) = gone.entry(*subject).or_insert((blank.first, 0));
                *first = blank.first.min(*first);
                *count += blank.count;
            }
        }
        if let Some(seq) = unexplained {
            return Some((seq, "its body is gone, and nobody whom it is about was erased".to_string()));
        }
        for (subject, (seq, count)) in &gone {
            // All entries about an erased subject must be gone, and no others.
            if let Some(Some(entries)) = self.erased.get(subject)
                && self.first == 0
                && count != entries
            {
                let reason = format!(
                    "{count} bodies about subject {subject} are gone, and its erasure speaks of {entries}"
                );
                return Some((*seq, reason));
            }
        }
        // While an erasure is pending, the bodies about its subject may be present or not.
        let kernel = kernel.filter(|_| pending.is_empty())?;
        let mut about = self.about.clone();
        // Entries of an earlier version were not counted.
        let mut all_told = self.first == 0 && self.not_replayed == 0;
        let fitting = self.fitting.iter().map(|(salt, fitting)| {
            let found = fitting.first.find(kernel, |tried| tried == salt);
            (fitting.first.seq, fitting.count, found)
        });
        let unproven = self.unproven.iter().map(|unproven| {
            let found = unproven.find(kernel, |salt| unproven.fits(salt));
            (unproven.seq, 1, found)
        });
        let mut unfit: Option<u64> = None;
        for (seq, times, found) in fitting.chain(unproven) {
            match found {
                Found::Salt(subjects) => count(&mut about, &subjects, times),
                Found::TooMany => all_told = false,
                Found::None => unfit = unfit.into_iter().chain([seq]).min(),
            }
        }
        if let Some(seq) = unfit {
            return Some((seq, "the body is not the one that the entry commits to".to_string()));
        }
        self.blank.iter().for_each(|(subjects, blank)| count(&mut about, subjects, blank.count));
        // No body about any other subject may be gone.
        let miscounted = kernel
            .subjects
            .counted()
            .find(|(subject, entries)| about.get(subject).copied().unwrap_or_default() != *entries);
        let (subject, entries) = miscounted.filter(|_| all_told)?;
        let found = about.get(&subject).copied().unwrap_or_default();
        let reason =
            format!("{found} entries are about subject {subject}, and the state speaks of {entries}");
        Some((self.next.saturating_sub(1), reason))
    }

    /// Whether the state is unknown, so that a snapshot with the next entry would make it known again.
    pub const fn wants_snapshot(&self) -> bool {
        self.replay.is_none()
    }

    /// The number of entries up to the newest one examined.
    pub const fn entries(&self) -> u64 {
        self.next
    }

    /// The leaf hash of the newest entry examined.
    pub const fn head(&self) -> Option<Digest> {
        self.previous
    }

    /// The number of verified entries.
    pub const fn follows(&self) -> u64 {
        self.follows
    }

    /// The number of opaque entries.
    pub const fn opaque(&self) -> u64 {
        self.opaque
    }

    /// The number of entries that an earlier version of the kernel wrote.
    pub const fn not_replayed(&self) -> u64 {
        self.not_replayed
    }

    /// Whether every entry was re-executed, from the genesis on.
    pub const fn is_complete(&self) -> bool {
        self.first == 0 && self.opaque == 0 && self.not_replayed == 0
    }

    /// The first entry that is wrong, and why. Call it at the end of the log: only then it is known whether the
    /// opaque entries are explained.
    pub fn first_wrong(&self) -> Option<(u64, String)> {
        self.first_wrong.clone().or_else(|| self.unexplained())
    }

    /// A summary of the verification: `entries`, `follows`, `opaque`, `not_replayed`, and `head` and `state` as
    /// digests if they are known.
    pub fn into_summary(self) -> Value {
        let (entries, follows, opaque, head) = (self.next, self.follows, self.opaque, self.previous);
        let not_replayed = self.not_replayed;
        let kernel = self.replay.and_then(|replay| replay.finish().ok());
        let state = kernel.map(|mut kernel| format!("{}", kernel.state_digest()));
        object! {
            "entries": entries, "follows": follows, "opaque": opaque, "not_replayed": not_replayed,
            "head": head.map(|head| format!("{head}")), "state": state,
        }
    }

    /// The replayed kernel after the last entry, if its state is known.
    pub fn into_replay(self) -> Option<Replay> {
        self.replay
    }
}

impl Unproven {
    /// The likely sets of its subjects; an empty set means the kernel itself.
    fn likely(&self, subjects: &Subjects, heap: &Heap) -> [Vec<Text>; 6] {
        let owners = self.objects.iter().filter_map(|handle| subjects.of_object(heap, *handle).cloned());
        let owners: Vec<Text> = owners.collect();
        let with_agent = |names: &[Text]| names.iter().cloned().chain([self.agent.clone()]).collect();
        [
            Vec::from([self.agent.clone()]),
            self.names.clone(),
            Vec::new(),
            with_agent(&self.names),
            owners.clone(),
            with_agent(&owners),
        ]
    }

    /// Whether the entry commits to the body with this salt.
    fn fits(&self, salt: &[u8; 32]) -> bool {
        ak_audit::commitment(salt, self.digest.as_bytes()) == self.request
    }

    /// The subjects whose salt `fits` accepts.
    fn find(&self, kernel: &Kernel, fits: impl Fn(&[u8; 32]) -> bool) -> Found {
        kernel.subjects.find_salt(&self.likely(&kernel.subjects, &kernel.heap), fits)
    }
}

/// Adds `times` entries to the count of each subject; to the kernel's if there are none.
fn count(about: &mut BTreeMap<SubjectId, u64>, subjects: &[SubjectId], times: u64) {
    for subject in if subjects.is_empty() { &[0] } else { subjects } {
        *about.entry(*subject).or_default() += times;
    }
}

/// The subjects of pending erasures.
fn erasing(kernel: &Kernel) -> Vec<SubjectId> {
    let erasures = kernel.pending.values().filter_map(PendingEffect::erasing);
    erasures.filter_map(|work| work.erasing().map(|(subject, ..)| subject)).collect()
}

/// Journalled bodies were within the kernel's limits when they were written.
const JOURNALLED: Limits =
    Limits { depth_max: 1024, bytes_max: usize::MAX, members_max: usize::MAX, values_max: usize::MAX };

/// Whether a genesis entry commits to its body and has the id that follows from the body's entropy.
fn commits_to_genesis(entry: &Entry<'_>, body: &Value) -> bool {
    let entropy =
        Fields::new("genesis", body).ok().and_then(|mut fields| fields.optional_bytes("entropy").ok()?);
    let Some(entropy) = entropy.and_then(|bytes| <[u8; 32]>::try_from(&*bytes).ok()) else { return false };
    let commitment = ak_audit::commitment(&derive(&entropy, "salt", ""), body.digest().as_bytes());
    commitment == entry.request && derive(&entropy, "run", "").starts_with(&entry.run)
}

/// Replays from a snapshot, after checking that the entry with which it began follows, and that the bytes are those
/// that the kernel itself would write.
fn resume(
    bytes: &[u8],
    tools: ToolReplay,
    leaf: &[u8],
    body: &[u8],
) -> Result<(Replay, ReplayedEntry), String> {
    let mut replay = Replay::resume(bytes, tools).map_err(|error| format!("{error}"))?;
    belongs(bytes, leaf, &replay)?;
    let followed = replay.feed(leaf, body);
    let followed =
        followed.map_err(|error| format!("the snapshot is not the one it commits to: {}", error.reason))?;
    Ok((replay, followed))
}

/// Checks that the bytes are the snapshot of the state before an entry with which a snapshot begins.
fn belongs(bytes: &[u8], leaf: &[u8], replay: &Replay) -> Result<(), String> {
    let begins = Entry::decode(leaf).is_ok_and(|entry| {
        [Operation::Snapshot, Operation::Upgrade].map(Operation::number).contains(&entry.operation)
    });
    if !begins {
        return Err("a snapshot stands with an entry that commits to none".into());
    }
    if replay.snapshot_now().as_deref() != Some(bytes) {
        return Err("the snapshot is not that of the state, in the form that the kernel writes".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use ak_heap::Content;

    use super::*;
    use crate::api::request::{AdminRequest, HeapRequest, Request, ToolsRequest};
    use crate::{
        api::{
            session::SessionId,
            time::{Now, Time},
        },
        record::entry::Record,
    };

    const ROUNDS: u64 = 200;

    fn now(number: u64) -> Now {
        let mut entropy = [7; 32];
        entropy.iter_mut().zip(number.to_le_bytes()).for_each(|(to, from)| *to = from);
        Now::steady(Time::from_micros(1_700_000_000_000_000 + number * 50_000), entropy)
    }

    /// A log with one record about alice near its start, and records about other subjects throughout.
    fn log() -> Vec<Record> {
        let mut kernel = Kernel::new(now(0), Config::default());
        let note = |subject: &str| {
            Request::Heap(HeapRequest::Alloc {
                type_name: "note".into(),
                content: Content::Json(object! { "of": subject }),
                subject: Some(subject.into()),
            })
        };
        let requests = (0..ROUNDS).flat_map(|round| {
            let alice = if round == 0 { "alice" } else { "bob" };
            [
                note(alice),
                note("bob"),
                note("carol"),
                Request::Admin(AdminRequest::LastError),
                Request::Tools(ToolsRequest::List),
            ]
        });
        for (number, request) in (1..).zip(requests) {
            kernel.dispatch(now(number), SessionId::OWNER, request).unwrap();
        }
        core::iter::from_fn(|| kernel.poll_record()).collect()
    }

    #[test]
    fn what_is_not_executed_again_is_counted_and_not_listed() {
        let log = log();
        let alice = log.iter().find_map(|record| record.subjects.last().copied()).unwrap();
        let mut examination = LogVerifier::new(0, ToolReplay::Recorded);
        let mut gone = 0;
        for record in &log {
            let is_gone = record.subjects.contains(&alice);
            gone += u64::from(is_gone);
            let kept =
                StoredBody { body: Some(&*record.body).filter(|_| !is_gone), subjects: &record.subjects };
            let standing = examination.examine(&record.leaf, kept, None);
            assert!(!matches!(standing, EntryStatus::Invalid(_)), "{standing:?}");
        }
        assert!(gone > 0 && examination.opaque() > ROUNDS);
        assert_eq!(examination.unproven.len(), 0);
        assert!(examination.fitting.len() <= 4 && examination.blank.len() == 1);
        let fitting: u64 = examination.fitting.values().map(|fitting| fitting.count).sum();
        assert_eq!(fitting + gone, examination.opaque());
    }
}
