//! What the host says of its log: that it holds together, what it came to, that an entry stands in it.

use std::{io, path::Path};

use ak_audit::{
    Checkpoint, SigningKey, VerifierKey,
    note::{KeyKind, NoteError},
};
use ak_json::{Value, object};
use ak_kernel::{Code, Examination, Failure, Kept, LogWork, Tools};

use crate::{
    driver::group_commit::{Ledger, SnapshotGone},
    hex::from_hex,
    hex::to_hex,
    random::random_bytes,
    secrets::key_file,
    storage::log::Log,
};

/// The file in the state directory that holds the seed of the key that signs checkpoints.
pub const CHECKPOINT_KEY: &str = "checkpoint.key";

/// Signs checkpoints of one log, whose name the key has.
#[derive(Debug)]
pub(crate) struct Signer(SigningKey);

impl Signer {
    /// The key in the state directory, which is made there at first use; without a directory a key that ends with the
    /// process. `run` is the id of the kernel's log.
    ///
    /// # Errors
    /// When the key cannot be read or made, or others may read it.
    pub(crate) fn open(directory: Option<&Path>, run: &[u8; 16]) -> io::Result<Signer> {
        let seed = match directory {
            None => random_bytes()?,
            Some(directory) => {
                let made = || Ok(to_hex(&random_bytes()?));
                let digits = key_file::read_or_make(&directory.join(CHECKPOINT_KEY), made)?;
                from_hex(digits.trim()).ok_or_else(|| invalid("expected 64 hexadecimal digits"))?
            }
        };
        let key = SigningKey::from_seed(&format!("authority-kernel/{}", to_hex(run)), KeyKind::Log, &seed);
        key.map(Signer).map_err(invalid)
    }

    fn checkpoint(&self, log: &Log) -> Result<String, Failure> {
        let (size, root) = log.tree_head()?;
        let signed = Checkpoint::new(self.0.verifier().name(), size, root).sign(&self.0);
        // A note is text.
        signed.map(|note| String::from_utf8_lossy(&note).into_owned()).map_err(refused("the checkpoint"))
    }
}

/// Does what was permitted with the log, which is not held while anything is executed again.
pub(crate) fn perform(ledger: &Ledger, signer: &Signer, work: LogWork) -> Result<Value, Failure> {
    if let LogWork::Prove { seq, .. } = &work {
        ledger.scrubber.wait_for(*seq);
    }
    if let LogWork::Verify { anchor: Some(_), .. } = &work {
        ledger.scrubber.wait_for(0);
    }
    let log = ledger.log()?;
    match work {
        LogWork::Checkpoint => {
            Ok(object! { "note": signer.checkpoint(&log)?, "key": signer.0.verifier().to_string() })
        }
        LogWork::Prove { seq, with_entry } => {
            let (size, _) = log.tree_head()?;
            let entry = log.entry(seq)?;
            let path: Vec<Value> =
                log.inclusion_proof(seq, size)?.iter().map(|hash| Value::from(to_hex(hash))).collect();
            Ok(object! {
                "seq": seq, "size": size, "leaf_hash": to_hex(&ak_audit::leaf_hash(&entry)), "path": path,
                "entry": with_entry.then(|| to_hex(&entry)), "checkpoint": signer.checkpoint(&log)?,
            })
        }
        LogWork::Erase { .. } => Err(Failure::new(Code::Io, "an erasure needs the whole kernel")),
        LogWork::Verify { key, anchor } => {
            let anchor = Anchor::new(signer, &log, key.as_deref(), anchor.as_deref())?;
            drop(log);
            Ok(anchor.verdict(follow(ledger)?))
        }
    }
}

/// Verifies the log of a kernel that can do nothing else; none where the kernel is stopped for another reason.
pub(crate) fn verify_only(
    ledger: &Ledger,
    signer: &Signer,
    key: Option<&str>,
    note: Option<&str>,
) -> Result<Option<Value>, Failure> {
    let log = ledger.log()?;
    match &*log {
        Log::Damaged { .. } => Ok(Some(log.verdict())),
        Log::ReadOnly(_) => {
            let anchor = Anchor::new(signer, &log, key, note)?;
            drop(log);
            Ok(Some(anchor.verdict(follow(ledger)?)))
        }
        Log::Memory(_) | Log::Durable(_) | Log::Closed => Ok(None),
    }
}

/// What a verification rests on, besides the log itself.
pub(crate) struct Anchor {
    signed_by: Option<String>,
    anchored_at: Option<u64>,
    /// What speaks against the log: from which entry on, if that is known, and why.
    against: Option<(Option<u64>, String)>,
}

impl Anchor {
    /// Nothing.
    pub(crate) const NONE: Anchor = Anchor { signed_by: None, anchored_at: None, against: None };

    fn new(signer: &Signer, log: &Log, key: Option<&str>, note: Option<&str>) -> Result<Anchor, Failure> {
        let own = signer.0.verifier();
        let key = key.map(VerifierKey::parse).transpose().map_err(refused("the key"))?;
        let mut anchor = Anchor::NONE;
        anchor.signed_by = key.as_ref().filter(|key| *key == own).map(|key| key.name().to_owned());
        let Some(note) = note else { return Ok(anchor) };
        let kept = Checkpoint::open(note.as_bytes(), key.as_ref().unwrap_or(own));
        let kept = kept.map_err(refused("the anchor"))?;
        if kept.origin != own.name() {
            return Err(Failure::new(Code::InvalidArgument, "the anchor: it is of another log"));
        }
        anchor.signed_by = key.map(|key| key.name().to_owned());
        let (size, _) = log.tree_head()?;
        if kept.size > size {
            let reason = format!("there were {} entries, and there are {size}: some are gone", kept.size);
            anchor.against = Some((Some(size), reason));
        } else if log.root_at(kept.size)? != kept.root {
            let reason = format!("the first {} entries are not those that the anchor saw", kept.size);
            anchor.against = Some((None, reason));
        } else {
            anchor.anchored_at = Some(kept.size);
        }
        Ok(anchor)
    }

    /// The result of a verification.
    pub(crate) fn verdict(self, followed: Followed) -> Value {
        let against = followed.wrong.map(|(seq, reason)| (Some(seq), reason)).or(self.against);
        let rests_on = match self.anchored_at {
            Some(size) => format!("the first {size} entries are those that the anchor saw"),
            None => String::from("unanchored: whoever holds this log could have rewritten it"),
        };
        object! {
            "consistent": against.is_none(), "first_bad": against.as_ref().and_then(|(seq, _)| *seq),
            "reason": against.map(|(_, reason)| reason), "replayed": followed.replayed,
            "opaque": followed.opaque, "not_replayed": followed.not_replayed, "verified_to": followed.entries,
            "signed_by": self.signed_by, "anchored_at": self.anchored_at,
            "rests_on": rests_on,
        }
    }
}

/// How far a log follows from its inputs.
pub(crate) struct Followed {
    /// Entries that follow.
    pub(crate) replayed: u64,
    /// Entries that could not be executed again, because a body was erased or pruned.
    pub(crate) opaque: u64,
    /// Entries that an earlier version of the kernel wrote, and re-executes.
    pub(crate) not_replayed: u64,
    /// How many entries were looked at, and those before the first that is kept.
    pub(crate) entries: u64,
    /// The first that does not follow, and why.
    pub(crate) wrong: Option<(u64, String)>,
}

impl Followed {
    /// Of a log that cannot be read beyond the entry that a failure names.
    fn damaged(failure: Failure) -> Result<Followed, Failure> {
        let Some(first_bad) = failure.context.get("first_bad").and_then(Value::as_u64) else {
            return Err(failure);
        };
        let wrong = Some((first_bad, failure.message));
        Ok(Followed { replayed: 0, opaque: 0, not_replayed: 0, entries: first_bad, wrong })
    }
}

/// Re-executes the records of a log, tools included, as far as their bodies are there.
fn follow(ledger: &Ledger) -> Result<Followed, Failure> {
    let begin = |pruned| (pruned, Examination::new(pruned, Tools::Rerun));
    let examined = ledger.read(begin, |(_, examination), record, snapshot| {
        let body = Some(&*record.body).filter(|body| !body.is_empty());
        let kept = Kept { body, subjects: &record.subjects };
        // What is not needed is not read: it is as large as the state.
        let snapshot = snapshot.filter(|_| examination.wants_snapshot());
        let snapshot = snapshot.map(|stored| stored.read().ok_or(SnapshotGone)).transpose()?;
        examination.examine(&record.leaf, kept, snapshot.as_ref().map(|bytes| bytes.as_slice()));
        Ok(())
    });
    let (pruned, examination) = match examined {
        // What lies on the disk is not what was written.
        Err(failure) if failure.code == Code::LogCorrupt => return Followed::damaged(failure),
        examined => examined?,
    };
    Ok(Followed {
        replayed: examination.follows(),
        opaque: pruned.saturating_add(examination.opaque()),
        not_replayed: examination.not_replayed(),
        entries: examination.entries(),
        wrong: examination.first_wrong(),
    })
}

fn invalid(error: impl ToString) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{CHECKPOINT_KEY}: {}", error.to_string()))
}

fn refused(what: &'static str) -> impl Fn(NoteError) -> Failure {
    move |error| Failure::new(Code::InvalidArgument, format!("{what}: {error}"))
}
