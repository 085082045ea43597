//! Judging a log entry by entry, as far as its bodies are still there.

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

/// How one entry of a log stands.
#[derive(Clone, Debug, PartialEq)]
pub enum EntryStatus {
    /// It follows from its input and all that came before; these are the replies it releases.
    Verified(Vec<(CallId, Outcome)>),
    /// It is chained to the entry before, and nothing more can be told: its body, or one before it, was erased or pruned. The
    /// end of the log must explain it: see [`LogVerifier::into_summary`].
    Opaque,
    /// It is chained to the entry before. A version of the kernel before this one wrote it, and a kernel of that version
    /// re-executes it.
    NotReplayed,
    /// It does not follow, and why.
    Invalid(String),
}

/// What is kept of one entry.
#[derive(Clone, Copy, Debug, Default)]
pub struct StoredBody<'a> {
    /// Its body, unless that was erased.
    pub body: Option<&'a [u8]>,
    /// Whom an erased body was about.
    pub subjects: &'a [SubjectId],
}

impl<'a> StoredBody<'a> {
    /// An entry with its body.
    pub const fn whole(body: &'a [u8]) -> StoredBody<'a> {
        StoredBody { body: Some(body), subjects: &[] }
    }
}

/// Re-executes a log whose bodies may be gone in part.
///
/// From an erased or pruned body on, the state is unknown, and so what follows from it; a snapshot that began with a
/// SNAPSHOT entry makes it known again, if a later one holds its digest. Give the entries to [`examine`](Self::examine) in order, from the first that is kept,
/// and ask [`first_wrong`](Self::first_wrong) at the end: what is opaque is accepted only where an erasure that the log records
/// explains it, and only a log whose last state is known is verified.
///
/// # What is proven
///
/// - An entry that follows is, byte for byte, the one that this kernel writes for its input in that state.
/// - An opaque entry, and one of an earlier version, stands in the chain that the next snapshot goes on from, of which the entry
///   that ends the snapshot holds the digest. A body that is left is the one that its entry commits to, under the salt
///   of somebody who is known at the end. (Where so many are known that their sets are too many to try, it is not proven to be.)
///   A body that is gone was about somebody who was erased; how many went so is compared with what the erasure says, as far as
///   the body of its outcome is there itself, and how many entries are about everybody else with what the last state says.
///
/// # What is not
///
/// Everything that is needed to write a log stands in the log: whoever holds it whole can execute other inputs and get
/// another log, which is as good as this one. So can whoever cuts off its end, or repeats or leaves out inputs where the rest
/// follows all the same. Salts stand in bodies (as entropy) and in snapshots, so the same holds for opaque entries once
/// somebody computes their commitments anew, the digest in the snapshot's entry among them. A log of an earlier version that
/// does not go on under this one has no snapshot to be held against: its leaves are proven by their chain alone. And before
/// the first entry of a log that was pruned nothing is known: until a snapshot comes, its entries are opaque without any
/// erasure, and only their chain is checked.
///
/// Each of these leads to another [`head`](Self::head): compare it with one that was kept elsewhere, or with a signed checkpoint.
#[derive(Debug)]
pub struct LogVerifier {
    tools: ToolReplay,
    /// The kernel, while its state is known.
    replay: Option<Replay>,
    first: u64,
    next: u64,
    previous: Option<Digest>,
    /// The log's id, by its first entry.
    run: Option<[u8; 16]>,
    /// While the entries are of an earlier version: which.
    earlier: Option<Earlier>,
    follows: u64,
    opaque: u64,
    not_replayed: u64,
    /// Bodies that are gone, by whom they were about.
    blank: BTreeMap<Vec<SubjectId>, Blank>,
    /// Bodies that are there and were not executed again, and that fit a salt which is to be somebody's at the end.
    fitting: BTreeMap<[u8; 32], Fitting>,
    /// Those among the newest such salts that are tried first.
    recent: VecDeque<[u8; 32]>,
    /// Bodies that are there, were not executed again, and fit no salt that could be guessed.
    unproven: Vec<Unproven>,
    /// What was known when the state became unknown, and whom one met since then.
    before: Option<Box<Before>>,
    /// How many entries that follow are about each subject, or the kernel itself.
    about: BTreeMap<SubjectId, u64>,
    /// Erasures: how many entries went with each subject.
    erased: BTreeMap<SubjectId, Option<u64>>,
    /// The newest erasure that does not say who was erased, or whose own body is gone.
    erased_unnamed: Option<u64>,
    first_wrong: Option<(u64, String)>,
    /// The snapshot that the log went on from, until the entry came that holds its digest.
    unvouched: Option<u64>,
}

/// An earlier version, which the log begins with.
#[derive(Debug)]
struct Earlier {
    version: u64,
    config: Config,
}

/// Bodies that are gone and were about the same subjects.
#[derive(Clone, Copy, Debug)]
struct Blank {
    first: u64,
    count: u64,
    /// The first since the newest erasure that does not say who was erased.
    first_since: u64,
}

/// Bodies that were not executed again, whose entries commit to them with the same salt.
#[derive(Debug)]
struct Fitting {
    count: u64,
    /// The first of them: whose salt it is.
    first: Unproven,
}

/// Where salts are guessed from while the state is unknown. What comes of it counts only once the end of the log bears it out.
#[derive(Debug)]
struct Before {
    subjects: Subjects,
    heap: Heap,
}

/// So many salts are tried for a body beside those of whom it is probably about.
const RECENT_SALTS_MAX: usize = 8;

/// A body that was not executed again: that it is the one its entry commits to shows once somebody's salt is known.
#[derive(Debug)]
struct Unproven {
    seq: u64,
    /// The commitment.
    request: [u8; 32],
    digest: Digest,
    /// Whom it is probably about: its agent, whom the request names, and the owners of the objects that it names.
    agent: Text,
    names: Vec<Text>,
    objects: Vec<Handle>,
}

impl LogVerifier {
    /// The examination of a log whose first kept entry has this `seq`.
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

    /// Judges the next entry. `snapshot` is what was kept with it, if anything was.
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
                // What was executed is not what was recorded: from here on the state is unknown.
                self.replay = None;
                self.first_wrong.get_or_insert((seq, reason.clone()));
            }
        }
        standing
    }

    /// Whether the entry is the next link of the chain.
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
            self.lose_track();
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

    /// From here on the state is unknown.
    fn lose_track(&mut self) {
        let kernel = self.replay.take().and_then(|replay| replay.finish().ok());
        if let Some(Kernel { subjects, heap, .. }) = kernel {
            self.before = Some(Box::new(Before { subjects, heap }));
        }
    }

    /// Goes on from the snapshot that came with an entry.
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

    /// Looks at the genesis: of which version the log begins.
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

    /// An entry that an earlier version wrote, or the record by which the log goes on under this one.
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
            // An erasure since then took the snapshot along.
            None => EntryStatus::Opaque,
        }
    }

    /// Looks at an entry that is not executed again.
    ///
    /// # Errors
    /// What cannot be so, whatever the state was.
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
        // Who opens a session, holds a capability or has a budget.
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

    /// A salt with which an entry commits to its body, of those that can be guessed. A log has many entries and few salts.
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

    /// Takes note of an erasure. One whose own state a later erasure took along is believed as far as its body is there.
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

    /// What is wrong with the log as a whole, beside single entries: the first entry that is concerned, and why.
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
            // The state tells who was erased, whatever is said elsewhere.
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
            // Of whoever was erased every entry is gone, and no other.
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
        // What an erasure that is not over yet takes along may be there or not.
        let kernel = kernel.filter(|_| pending.is_empty())?;
        let mut about = self.about.clone();
        // An earlier version did not count.
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
        // Nor is a body gone about anybody else.
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

    /// Whether the state is unknown, so that a snapshot which came with the next entry would make it known again.
    pub const fn wants_snapshot(&self) -> bool {
        self.replay.is_none()
    }

    /// How many entries there are with those examined.
    pub const fn entries(&self) -> u64 {
        self.next
    }

    /// The leaf hash of the last entry examined.
    pub const fn head(&self) -> Option<Digest> {
        self.previous
    }

    /// How many entries follow.
    pub const fn follows(&self) -> u64 {
        self.follows
    }

    /// How many entries are opaque.
    pub const fn opaque(&self) -> u64 {
        self.opaque
    }

    /// How many entries an earlier version of the kernel wrote.
    pub const fn not_replayed(&self) -> u64 {
        self.not_replayed
    }

    /// Whether every entry was re-executed, from the genesis on.
    pub const fn is_complete(&self) -> bool {
        self.first == 0 && self.opaque == 0 && self.not_replayed == 0
    }

    /// The first entry that is wrong, and why. Ask at the end of the log: only then it is known whether what is opaque has an
    /// explanation.
    pub fn first_wrong(&self) -> Option<(u64, String)> {
        self.first_wrong.clone().or_else(|| self.unexplained())
    }

    /// What it came to: `entries`, `follows`, `opaque`, `not_replayed`, and `head` and `state` as digests, where these are
    /// known.
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

    /// The kernel as it was after the last entry, while that is known.
    pub fn into_replay(self) -> Option<Replay> {
        self.replay
    }
}

impl Unproven {
    /// Sets of whom it is probably about; nobody is the kernel itself.
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

    /// Whose the salt is that `fits` takes.
    fn find(&self, kernel: &Kernel, fits: impl Fn(&[u8; 32]) -> bool) -> Found {
        kernel.subjects.find_salt(&self.likely(&kernel.subjects, &kernel.heap), fits)
    }
}

/// Counts so many more entries for each of these subjects; for the kernel itself where there are none.
fn count(about: &mut BTreeMap<SubjectId, u64>, subjects: &[SubjectId], times: u64) {
    for subject in if subjects.is_empty() { &[0] } else { subjects } {
        *about.entry(*subject).or_default() += times;
    }
}

/// Whom erasures are about that have begun and are not over.
fn erasing(kernel: &Kernel) -> Vec<SubjectId> {
    let erasures = kernel.pending.values().filter_map(PendingEffect::erasing);
    erasures.filter_map(|work| work.erasing().map(|(subject, ..)| subject)).collect()
}

/// What the journal holds was within the kernel's limits when it was written.
const JOURNALLED: Limits =
    Limits { depth_max: 1024, bytes_max: usize::MAX, members_max: usize::MAX, values_max: usize::MAX };

/// Whether a genesis entry commits to its body and has the id that comes of it: all that needs is the body's own entropy.
fn commits_to_genesis(entry: &Entry<'_>, body: &Value) -> bool {
    let entropy =
        Fields::new("genesis", body).ok().and_then(|mut fields| fields.optional_bytes("entropy").ok()?);
    let Some(entropy) = entropy.and_then(|bytes| <[u8; 32]>::try_from(&*bytes).ok()) else { return false };
    let commitment = ak_audit::commitment(&derive(&entropy, "salt", ""), body.digest().as_bytes());
    commitment == entry.request && derive(&entropy, "run", "").starts_with(&entry.run)
}

/// A replay from a snapshot, once the entry that it began with follows from it. The bytes must be the ones that the kernel
/// itself writes.
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

/// Whether these bytes are the snapshot of the state before an entry with which one begins.
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

    /// A log in which alice is met first, and then others, again and again.
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
