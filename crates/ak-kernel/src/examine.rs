//! Judging a log entry by entry, as far as its bodies are still there.

use alloc::{
    collections::BTreeMap,
    format,
    string::{String, ToString},
    vec::Vec,
};

use ak_audit::{Entry, Kind, Verdict as Ruled};
use ak_json::{Digest, Limits, Value, object};

use crate::{
    kernel::CallId,
    operation::Operation,
    record::{FORMAT_VERSION, SEMANTICS_VERSION},
    replay::{Replay, Tools},
    reply::Outcome,
    subject::SubjectId,
};

/// How one entry of a log stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Standing {
    /// It follows from its input and all that came before; these are the replies it releases.
    Follows(Vec<(CallId, Outcome)>),
    /// It is chained to the entry before, and nothing more can be told: its body, or one before it, was erased or pruned. The
    /// end of the log must explain it: see [`Examination::into_summary`].
    Opaque,
    /// It is chained to the entry before. A version of the kernel before this one wrote it, and a kernel of that version
    /// re-executes it.
    NotReplayed,
    /// It does not follow, and why.
    Wrong(String),
}

/// What is kept of one entry.
#[derive(Clone, Copy, Debug, Default)]
pub struct Kept<'a> {
    /// Its body, unless that was erased.
    pub body: Option<&'a [u8]>,
    /// Whom an erased body was about.
    pub subjects: &'a [SubjectId],
}

impl<'a> Kept<'a> {
    /// An entry with its body.
    pub const fn whole(body: &'a [u8]) -> Kept<'a> {
        Kept { body: Some(body), subjects: &[] }
    }
}

/// Re-executes a log whose bodies may be gone in part.
///
/// From an erased or pruned body on, the state is unknown, and so what follows from it; a snapshot that was kept with a
/// SNAPSHOT entry makes it known again. Give the entries to [`examine`](Self::examine) in order, from the first that is kept,
/// and ask [`into_summary`](Self::into_summary) at the end: what is opaque is accepted only where an erasure that the log
/// records explains it, and only a log whose last state is known is verified.
#[derive(Debug)]
pub struct Examination {
    tools: Tools,
    /// The kernel, while its state is known.
    replay: Option<Replay>,
    first: u64,
    next: u64,
    previous: Option<Digest>,
    /// Whether the entries are of an earlier version yet.
    earlier: bool,
    follows: u64,
    opaque: u64,
    not_replayed: u64,
    /// Bodies that are gone, and whom each was about.
    blank: Vec<(u64, Vec<SubjectId>)>,
    /// Erasures: how many entries went with each subject.
    erased: BTreeMap<SubjectId, Option<u64>>,
    first_wrong: Option<(u64, String)>,
}

impl Examination {
    /// The examination of a log whose first kept entry has this `seq`.
    pub fn new(first: u64, tools: Tools) -> Examination {
        let replay = (first == 0).then(|| Replay::new(tools));
        Examination {
            tools,
            replay,
            first,
            next: first,
            previous: None,
            earlier: false,
            follows: 0,
            opaque: 0,
            not_replayed: 0,
            blank: Vec::new(),
            erased: BTreeMap::new(),
            first_wrong: None,
        }
    }

    /// Judges the next entry. `snapshot` is what was kept with it, if anything was.
    pub fn examine(&mut self, leaf: &[u8], kept: Kept<'_>, snapshot: Option<&[u8]>) -> Standing {
        let seq = self.next;
        let standing = match self.link(leaf) {
            Err(reason) => Standing::Wrong(reason),
            Ok(()) => match self.execute(leaf, kept, snapshot) {
                Standing::Follows(replies) => self.check_snapshot(leaf, kept, snapshot, replies),
                standing => standing,
            },
        };
        self.next = self.next.saturating_add(1);
        self.previous = Some(ak_audit::leaf_hash(leaf).into());
        match &standing {
            Standing::Follows(_) => {
                self.follows += 1;
                self.note_erasure(leaf, kept);
            }
            Standing::Opaque => {
                self.opaque += 1;
                self.note_erasure(leaf, kept);
            }
            Standing::NotReplayed => self.not_replayed += 1,
            Standing::Wrong(reason) => {
                // What was executed is not what was recorded: from here on the state is unknown.
                self.replay = None;
                self.first_wrong.get_or_insert((seq, reason.clone()));
            }
        }
        standing
    }

    /// Whether the entry is the next link of the chain.
    fn link(&self, leaf: &[u8]) -> Result<(), String> {
        let entry = Entry::decode(leaf).map_err(|error| format!("it cannot be read: {error}"))?;
        if entry.seq != self.next {
            return Err(format!("entry {} stands in its place", entry.seq));
        }
        match self.previous {
            Some(previous) if *previous.as_bytes() != entry.previous => {
                Err("it does not follow the entry before it".into())
            }
            Some(_) | None => Ok(()),
        }
    }

    fn execute(&mut self, leaf: &[u8], kept: Kept<'_>, snapshot: Option<&[u8]>) -> Standing {
        if self.next == 0
            && let Some(standing) = self.begin(kept)
        {
            return standing;
        }
        if self.earlier {
            return self.of_earlier_version(leaf, kept, snapshot);
        }
        let Some(body) = kept.body else {
            self.blank.push((self.next, kept.subjects.to_vec()));
            self.replay = None;
            return Standing::Opaque;
        };
        match &mut self.replay {
            Some(replay) => match replay.feed(leaf, body) {
                Ok(followed) => Standing::Follows(followed.replies),
                Err(error) => Standing::Wrong(error.reason),
            },
            None => match snapshot {
                None => Standing::Opaque,
                Some(bytes) => match resume(bytes, self.tools, leaf, body) {
                    Ok((replay, replies)) => {
                        self.replay = Some(replay);
                        Standing::Follows(replies)
                    }
                    Err(reason) => Standing::Wrong(reason),
                },
            },
        }
    }

    /// Looks at the genesis: of which version the log begins.
    fn begin(&mut self, kept: Kept<'_>) -> Option<Standing> {
        let Some(body) = kept.body else {
            return Some(Standing::Wrong("the genesis has no body: it is never erased".into()));
        };
        let body = Value::parse(body, &Limits::default()).ok()?;
        let number = |name| body.get(name).and_then(Value::as_u64);
        let version = number("semantics")?;
        if number("format") == Some(FORMAT_VERSION) && version < SEMANTICS_VERSION {
            self.earlier = true;
            self.replay = None;
            return Some(Standing::NotReplayed);
        }
        None
    }

    /// An entry that an earlier version wrote, or the record by which the log goes on under this one.
    fn of_earlier_version(&mut self, leaf: &[u8], kept: Kept<'_>, snapshot: Option<&[u8]>) -> Standing {
        let upgrades = Entry::decode(leaf).is_ok_and(|entry| entry.operation == Operation::Upgrade.number());
        if !upgrades {
            return Standing::NotReplayed;
        }
        self.earlier = false;
        match (kept.body, snapshot) {
            (Some(body), Some(bytes)) => match resume(bytes, self.tools, leaf, body) {
                Ok((replay, replies)) => {
                    self.replay = Some(replay);
                    Standing::Follows(replies)
                }
                Err(reason) => Standing::Wrong(reason),
            },
            (None, _) => Standing::Wrong("the record of an upgrade has no body: it is never erased".into()),
            // An erasure since then took the snapshot along.
            (Some(_), None) => Standing::Opaque,
        }
    }

    /// A snapshot that comes with an entry must be that of the state which the entry commits to.
    fn check_snapshot(
        &self,
        leaf: &[u8],
        kept: Kept<'_>,
        snapshot: Option<&[u8]>,
        replies: Vec<(CallId, Outcome)>,
    ) -> Standing {
        let Some(bytes) = snapshot else { return Standing::Follows(replies) };
        let belongs = Entry::decode(leaf).is_ok_and(|entry| {
            [Operation::Snapshot, Operation::Upgrade].map(Operation::number).contains(&entry.operation)
        });
        if !belongs {
            return Standing::Wrong("a snapshot stands with an entry that commits to none".into());
        }
        match resume(bytes, self.tools, leaf, kept.body.unwrap_or_default()) {
            Ok(_) => Standing::Follows(replies),
            Err(reason) => Standing::Wrong(reason),
        }
    }

    /// Takes note of an erasure. One whose own state a later erasure took along is believed as far as its body is there.
    fn note_erasure(&mut self, leaf: &[u8], kept: Kept<'_>) {
        let Ok(entry) = Entry::decode(leaf) else { return };
        let ended = entry.kind == Kind::Outcome && entry.code == 0 && entry.decision == Ruled::Permit;
        if !ended || entry.operation != Operation::AuditErase.number() {
            return;
        }
        let body = kept.body.and_then(|body| Value::parse(body, &Limits::default()).ok());
        let told = body.as_ref().and_then(|body| body.get("result")?.get("value"));
        let number = |name| told.and_then(|told| told.get(name)).and_then(Value::as_u64);
        if let Some(subject) = number("subject") {
            self.erased.insert(subject, number("entries"));
        }
    }

    /// What is wrong with the log as a whole, beside single entries: the first entry that is concerned, and why.
    fn unexplained(&self) -> Option<(u64, String)> {
        let mut gone: BTreeMap<SubjectId, (u64, u64)> = BTreeMap::new();
        for (seq, subjects) in &self.blank {
            if !subjects.iter().any(|subject| self.erased.contains_key(subject)) {
                return Some((*seq, "its body is gone, and nobody whom it is about was erased".to_string()));
            }
            for subject in subjects {
                gone.entry(*subject).or_insert((*seq, 0)).1 += 1;
            }
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
        if self.opaque > 0 && self.first == 0 && self.replay.is_none() && !self.earlier {
            return Some((
                self.next.saturating_sub(1),
                "the state at the end of the log is not known".into(),
            ));
        }
        None
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

/// A replay from a snapshot, once its own entry follows from it. The bytes must be the ones that the kernel itself writes.
fn resume(
    bytes: &[u8],
    tools: Tools,
    leaf: &[u8],
    body: &[u8],
) -> Result<(Replay, Vec<(CallId, Outcome)>), String> {
    let mut replay = Replay::resume(bytes, tools).map_err(|error| format!("{error}"))?;
    if replay.snapshot_now().as_deref() != Some(bytes) {
        return Err("the snapshot is not in the form that the kernel writes".into());
    }
    let followed = replay.feed(leaf, body);
    let followed =
        followed.map_err(|error| format!("the snapshot is not the one it commits to: {}", error.reason))?;
    Ok((replay, followed.replies))
}
