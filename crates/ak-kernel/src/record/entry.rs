//! The records of inputs: entry, leaf and body.

use alloc::{format, string::String, sync::Arc, vec::Vec};

use ak_audit::{CommitmentKey, Decision, Entry, Integrity, Kind, Leaf};
use ak_json::{Digest, Text, Value};
use sha2::{Digest as _, Sha256};

use crate::{
    api::{
        operation::Operation,
        subject::SubjectId,
        time::{Clock, Now},
    },
    codec::input::Input,
    record::subjects::RecordSubjects,
};

/// Version of the kernel's semantics. It is raised when any decision could have another result.
pub const SEMANTICS_VERSION: u64 = 9;
/// Versions whose journals this kernel continues. Their entries are executed with the decisions that they record.
pub const EARLIER_VERSIONS: [u64; 1] = [8];

/// One input with its entry and body. It is durable before anything that follows from it leaves the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The number of the entry, from 0 without gaps.
    pub seq: u64,
    /// The audit entry: digests of input, decision and reply. It contains its own hash, so it need not be hashed
    /// again.
    pub leaf: Leaf,
    /// The leaf's hash.
    pub hash: Digest,
    /// The input, as JSON text.
    pub body: Arc<[u8]>,
    /// The subjects of the body, ascending. The body must become unreadable when one of them is erased. Empty if it
    /// is about the kernel itself, which is never erased.
    pub subjects: Vec<SubjectId>,
}

/// The fields of an entry that do not follow from its input.
pub(crate) struct EntryFields {
    pub(crate) operation: Operation,
    pub(crate) kind: Kind,
    pub(crate) decision: Decision,
    pub(crate) code: i32,
    /// The `seq` of the decision that this entry belongs to; `None` means its own.
    pub(crate) cause: Option<u64>,
    pub(crate) policy: Digest,
    /// The canonical target.
    pub(crate) target: Option<String>,
    /// The digest of the outcome's facts, if there is an outcome.
    pub(crate) reply: Option<Digest>,
    /// The message of a failure, for people. No digest includes it.
    pub(crate) message: Option<String>,
    /// Subjects whose data the reply contains, besides those of the input.
    pub(crate) others: Vec<Text>,
    pub(crate) agent: Text,
    pub(crate) rule: Text,
    /// The event type, if an agent writes the entry itself.
    pub(crate) event: Option<Text>,
}

/// Initial capacity of a short body, in bytes. Measuring a body costs more than letting the buffer grow.
const BODY_BYTES: usize = 512;

/// The end of the chain of leaves.
#[derive(Debug)]
pub(crate) struct Chain {
    run: [u8; 16],
    next_seq: u64,
    previous: Digest,
}

impl Chain {
    pub(crate) fn new(entropy: &[u8; 32]) -> Chain {
        let mut run = [0; 16];
        for (to, from) in run.iter_mut().zip(derive(entropy, "run", "")) {
            *to = from;
        }
        Chain { run, next_seq: 0, previous: Digest::from([0; 32]) }
    }

    /// The chain of the log with the id `run`, after `next_seq` entries.
    pub(crate) const fn resumed(run: [u8; 16], next_seq: u64, previous: Digest) -> Chain {
        Chain { run, next_seq, previous }
    }

    pub(crate) const fn next_seq(&self) -> u64 {
        self.next_seq
    }

    pub(crate) const fn head(&self) -> Digest {
        self.previous
    }

    pub(crate) const fn run(&self) -> &[u8; 16] {
        &self.run
    }

    /// Moves on past an entry that exists already.
    pub(crate) fn follow(&mut self, hash: Digest) {
        self.next_seq += 1;
        self.previous = hash;
    }

    /// Makes the record of one input and moves on past it. The reply is committed to with `reply_salt`, everything
    /// else with the salt of `about`.
    pub(crate) fn record(
        &mut self,
        now: &Now,
        clock: &Clock,
        input: &Input,
        facts: EntryFields,
        about: RecordSubjects,
        reply_salt: &[u8; 32],
    ) -> Record {
        let used_entropy = about.used_entropy || input.draws();
        let body = input.to_value(now, clock.is_new_boot, used_entropy);
        let key = CommitmentKey::new(&about.salt);
        let commit = |key: &CommitmentKey, digest: Option<Digest>| match digest {
            Some(digest) => key.commit(digest.as_bytes()),
            None => [0; 32],
        };
        let reply = match *reply_salt == about.salt {
            true => commit(&key, facts.reply),
            false => commit(&CommitmentKey::new(reply_salt), facts.reply),
        };
        let seq = self.next_seq;
        let entry = Entry {
            seq,
            time_us: clock.wall.as_micros(),
            run: self.run,
            operation: facts.operation.number(),
            kind: facts.kind,
            decision: facts.decision,
            code: facts.code,
            cause: facts.cause.unwrap_or(seq),
            policy: *facts.policy.as_bytes(),
            target: commit(&key, facts.target.map(|target| Value::from(target).digest())),
            request: commit(&key, Some(body.digest())),
            reply,
            previous: *self.previous.as_bytes(),
            integrity: Integrity::Trusted,
            secrecy: Vec::new(),
            agent: &facts.agent,
            rule: clip(&facts.rule),
        };
        // Names are bounded when they enter the kernel, and the rule just above.
        let Ok(leaf) = entry.to_leaf() else { unreachable!("an entry with bounded texts has bytes") };
        let hash = Digest::from(leaf.hash());
        self.next_seq += 1;
        self.previous = hash;
        let bytes = if input.is_long() { body.json_len() } else { BODY_BYTES };
        let mut text = Vec::with_capacity(bytes);
        body.write_json(&mut text);
        Record { seq, leaf, hash, body: text.into(), subjects: about.ids }
    }
}

/// Identifies an entry before it is written: the first 4 bytes of the run id, and its `seq`.
pub(crate) fn trace_id(run: &[u8; 16], seq: u64) -> String {
    let [a, b, c, d, ..] = run;
    format!("{}-{seq}", hex::encode([*a, *b, *c, *d]))
}

/// The first 255 bytes of a rule id, the most that an entry can contain.
fn clip(rule: &str) -> &str {
    let mut end = rule.len().min(usize::from(u8::MAX));
    while !rule.is_char_boundary(end) {
        end -= 1;
    }
    rule.get(..end).unwrap_or_default()
}

/// Derives 32 bytes for one purpose and name from one input's entropy.
pub(crate) fn derive(entropy: &[u8; 32], purpose: &str, name: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(entropy);
    hash.update([u8::try_from(purpose.len()).unwrap_or(u8::MAX)]);
    hash.update(purpose);
    hash.update(name);
    hash.finalize().into()
}
