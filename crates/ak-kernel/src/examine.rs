//! Judging a log entry by entry, as far as its bodies are still there.

use alloc::{string::String, vec::Vec};

use ak_audit::Entry;
use ak_json::{Digest, Value, object};

use crate::{
    kernel::CallId,
    replay::{Replay, Tools},
    reply::Outcome,
};

/// How one entry of a log stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Standing {
    /// It follows from its input and all that came before; these are the replies it releases.
    Follows(Vec<(CallId, Outcome)>),
    /// It is chained to the entry before, and nothing more can be told: its body, or one before it, was erased or pruned.
    Opaque,
    /// It does not follow, and why.
    Wrong(String),
}

/// Re-executes a log whose bodies may be gone in part.
///
/// From an erased or pruned body on, the state is unknown, and so what follows from it; a snapshot that was kept with a
/// SNAPSHOT entry makes it known again. Give the entries to [`examine`](Self::examine) in order, from the first that is kept.
#[derive(Debug)]
pub struct Examination {
    tools: Tools,
    /// The kernel, while its state is known.
    replay: Option<Replay>,
    next: u64,
    previous: Option<Digest>,
    follows: u64,
    opaque: u64,
    first_wrong: Option<(u64, String)>,
}

impl Examination {
    /// The examination of a log whose first kept entry has this `seq`.
    pub fn new(first: u64, tools: Tools) -> Examination {
        let replay = (first == 0).then(|| Replay::new(tools));
        Examination { tools, replay, next: first, previous: None, follows: 0, opaque: 0, first_wrong: None }
    }

    /// Judges the next entry. `body` is none where it was erased; `snapshot` is asked for what was kept with an entry only
    /// where the state is not known.
    pub fn examine<B: AsRef<[u8]>>(
        &mut self,
        leaf: &[u8],
        body: Option<&[u8]>,
        snapshot: impl FnOnce(u64) -> Option<B>,
    ) -> Standing {
        let seq = self.next;
        let standing = match self.broken_link(leaf) {
            Some(reason) => Standing::Wrong(reason),
            None => self.execute(leaf, body, || snapshot(seq)),
        };
        self.next = self.next.saturating_add(1);
        self.previous = Some(ak_audit::leaf_hash(leaf).into());
        match &standing {
            Standing::Follows(_) => self.follows += 1,
            Standing::Opaque => self.opaque += 1,
            Standing::Wrong(reason) => {
                // What was executed is not what was recorded: from here on the state is unknown.
                self.replay = None;
                self.first_wrong.get_or_insert((seq, reason.clone()));
            }
        }
        standing
    }

    /// Why the entry is not the next link of the chain.
    fn broken_link(&self, leaf: &[u8]) -> Option<String> {
        match Entry::decode(leaf) {
            Err(error) => Some(alloc::format!("it cannot be read: {error}")),
            Ok(entry) if entry.seq != self.next => {
                Some(alloc::format!("entry {} stands in its place", entry.seq))
            }
            Ok(entry) => {
                let broken = self.previous.is_some_and(|previous| *previous.as_bytes() != entry.previous);
                broken.then(|| "it does not follow the entry before it".into())
            }
        }
    }

    fn execute<B: AsRef<[u8]>>(
        &mut self,
        leaf: &[u8],
        body: Option<&[u8]>,
        snapshot: impl FnOnce() -> Option<B>,
    ) -> Standing {
        let Some(body) = body else {
            self.replay = None;
            return Standing::Opaque;
        };
        match &mut self.replay {
            Some(replay) => match replay.feed(leaf, body) {
                Ok(followed) => Standing::Follows(followed.replies),
                Err(error) => Standing::Wrong(error.reason),
            },
            None => {
                let resumed = snapshot().and_then(|bytes| Replay::resume(bytes.as_ref(), self.tools).ok());
                // A snapshot that does not make this very entry says nothing about the entry.
                let Some(mut replay) = resumed else { return Standing::Opaque };
                let Ok(followed) = replay.feed(leaf, body) else { return Standing::Opaque };
                self.replay = Some(replay);
                Standing::Follows(followed.replies)
            }
        }
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

    /// The first entry that is wrong, and why.
    pub fn first_wrong(&self) -> Option<(u64, &str)> {
        self.first_wrong.as_ref().map(|(seq, reason)| (*seq, reason.as_str()))
    }

    /// What it came to: `entries`, `follows`, `opaque`, and `head` and `state` as digests, where these are known.
    pub fn into_summary(self) -> Value {
        let (entries, follows, opaque, head) = (self.next, self.follows, self.opaque, self.previous);
        let kernel = self.replay.and_then(|replay| replay.finish().ok());
        let state = kernel.map(|mut kernel| alloc::format!("{}", kernel.state_digest()));
        object! {
            "entries": entries, "follows": follows, "opaque": opaque,
            "head": head.map(|head| alloc::format!("{head}")), "state": state,
        }
    }

    /// The kernel as it was after the last entry, while that is known.
    pub fn into_replay(self) -> Option<Replay> {
        self.replay
    }
}
