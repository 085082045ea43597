//! The result of a verification of the log, and the anchor with which the log was compared.

use ak_audit::{Checkpoint, SigningKey, VerifierKey, note::NoteError};
use ak_json::{Value, object};
use ak_kernel::{Code, Failure};

use crate::storage::log::Log;

/// The checkpoint with which a verification compares the log, if there is one.
pub(crate) struct Anchor {
    signed_by: Option<String>,
    anchored_at: Option<u64>,
    /// How the log contradicts the anchor: the first such entry, if known, and the reason.
    contradiction: Option<(Option<u64>, String)>,
}

impl Anchor {
    /// A verification without an anchor.
    pub(crate) const NONE: Anchor = Anchor { signed_by: None, anchored_at: None, contradiction: None };

    pub(crate) fn new(
        signer: &SigningKey,
        log: &Log,
        key: Option<&str>,
        note: Option<&str>,
    ) -> Result<Anchor, Failure> {
        let own = signer.verifier();
        let key = key.map(VerifierKey::parse).transpose().map_err(rejected("the key"))?;
        let mut anchor = Anchor::NONE;
        anchor.signed_by = key.as_ref().filter(|key| *key == own).map(|key| key.name().to_owned());
        let Some(note) = note else { return Ok(anchor) };
        let kept = Checkpoint::open(note.as_bytes(), key.as_ref().unwrap_or(own));
        let kept = kept.map_err(rejected("the anchor"))?;
        if kept.origin != own.name() {
            return Err(Failure::new(Code::InvalidArgument, "the anchor: it is of another log"));
        }
        anchor.signed_by = key.map(|key| key.name().to_owned());
        let (size, _) = log.tree_head()?;
        if kept.size > size {
            let reason = format!("there were {} entries, and there are {size}: some are gone", kept.size);
            anchor.contradiction = Some((Some(size), reason));
        } else if log.root_at(kept.size)? != kept.root {
            let reason = format!("the first {} entries are not those that the anchor saw", kept.size);
            anchor.contradiction = Some((None, reason));
        } else {
            anchor.anchored_at = Some(kept.size);
        }
        Ok(anchor)
    }

    /// Returns the result of a verification as an object.
    pub(crate) fn result(self, followed: VerificationSummary) -> Value {
        let contradiction = followed.wrong.map(|(seq, reason)| (Some(seq), reason)).or(self.contradiction);
        let rests_on = match self.anchored_at {
            Some(size) => format!("the first {size} entries are those that the anchor saw"),
            None => String::from("unanchored: whoever holds this log could have rewritten it"),
        };
        object! {
            "consistent": contradiction.is_none(), "first_bad": contradiction.as_ref().and_then(|(seq, _)| *seq),
            "reason": contradiction.map(|(_, reason)| reason), "replayed": followed.replayed,
            "opaque": followed.opaque, "not_replayed": followed.not_replayed, "verified_to": followed.entries,
            "signed_by": self.signed_by, "anchored_at": self.anchored_at,
            "rests_on": rests_on,
        }
    }
}

/// How much of a log was replayed, and the first entry that does not replay.
pub(crate) struct VerificationSummary {
    /// Number of entries that were replayed.
    pub(crate) replayed: u64,
    /// Number of entries that could not be replayed, because a body was erased or pruned.
    pub(crate) opaque: u64,
    /// Number of entries that an earlier version of the kernel wrote, which only that version replays.
    pub(crate) not_replayed: u64,
    /// Number of entries that were verified, including pruned ones before the first that is kept.
    pub(crate) entries: u64,
    /// The first entry that does not replay, and why.
    pub(crate) wrong: Option<(u64, String)>,
}

impl VerificationSummary {
    /// Returns the summary of a log that cannot be read beyond the entry `first_bad` of `failure`.
    pub(crate) fn damaged(failure: Failure) -> Result<VerificationSummary, Failure> {
        let Some(first_bad) = failure.context.get("first_bad").and_then(Value::as_u64) else {
            return Err(failure);
        };
        let wrong = Some((first_bad, failure.message));
        Ok(VerificationSummary { replayed: 0, opaque: 0, not_replayed: 0, entries: first_bad, wrong })
    }
}

pub(crate) fn rejected(what: &'static str) -> impl Fn(NoteError) -> Failure {
    move |error| Failure::new(Code::InvalidArgument, format!("{what}: {error}"))
}
