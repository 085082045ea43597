//! Performs effects on the log itself: checkpoints, proofs and verification.

use ak_audit::{Checkpoint, SigningKey};
use ak_json::{Value, object};
use ak_kernel::{Code, Failure, LogVerifier, LogWork, StoredBody, ToolReplay};

use crate::{
    driver::group_commit::{GroupCommit, SnapshotGone},
    storage::{
        log::Log,
        verify::{Anchor, VerificationSummary, rejected},
    },
};

/// Performs an effect on the log and returns its result. The log is not locked while its records are replayed.
pub(crate) fn perform(
    group_commit: &GroupCommit,
    signer: &SigningKey,
    work: LogWork,
) -> Result<Value, Failure> {
    if let LogWork::Prove { seq, .. } = &work {
        group_commit.scrubber.wait_for(*seq);
    }
    if let LogWork::Verify { anchor: Some(_), .. } = &work {
        group_commit.scrubber.wait_for(0);
    }
    let log = group_commit.log()?;
    match work {
        LogWork::Checkpoint => {
            Ok(object! { "note": checkpoint(signer, &log)?, "key": signer.verifier().to_string() })
        }
        LogWork::Prove { seq, with_entry } => {
            let (size, _) = log.tree_head()?;
            let entry = log.entry(seq)?;
            let path: Vec<Value> =
                log.inclusion_proof(seq, size)?.iter().map(|hash| Value::from(hex::encode(hash))).collect();
            Ok(object! {
                "seq": seq, "size": size, "leaf_hash": hex::encode(ak_audit::leaf_hash(&entry)), "path": path,
                "entry": with_entry.then(|| hex::encode(&entry)), "checkpoint": checkpoint(signer, &log)?,
            })
        }
        LogWork::Erase { .. } => Err(Failure::new(Code::Io, "an erasure needs the whole kernel")),
        LogWork::Verify { key, anchor } => {
            let anchor = Anchor::new(signer, &log, key.as_deref(), anchor.as_deref())?;
            drop(log);
            Ok(anchor.result(replay(group_commit)?))
        }
    }
}

/// Verifies a damaged or read-only log and returns the result; `None` when the log is neither, so the kernel has
/// stopped for another reason.
pub(crate) fn verify_only(
    group_commit: &GroupCommit,
    signer: &SigningKey,
    key: Option<&str>,
    note: Option<&str>,
) -> Result<Option<Value>, Failure> {
    let log = group_commit.log()?;
    match &*log {
        Log::Damaged { .. } => Ok(Some(log.verification_result())),
        Log::ReadOnly(_) => {
            let anchor = Anchor::new(signer, &log, key, note)?;
            drop(log);
            Ok(Some(anchor.result(replay(group_commit)?)))
        }
        Log::Memory(_) | Log::Durable(_) | Log::Closed => Ok(None),
    }
}

/// Returns a signed checkpoint of the log's current tree head, as a C2SP signed note.
fn checkpoint(signer: &SigningKey, log: &Log) -> Result<String, Failure> {
    let (size, root) = log.tree_head()?;
    let signed = Checkpoint::new(signer.verifier().name(), size, root).sign(signer);
    // A signed note is always UTF-8, so nothing is replaced.
    signed.map(|note| String::from_utf8_lossy(&note).into_owned()).map_err(rejected("the checkpoint"))
}

/// Replays the records of a log, including tool runs, as far as their bodies are kept.
fn replay(group_commit: &GroupCommit) -> Result<VerificationSummary, Failure> {
    let begin = |pruned| (pruned, LogVerifier::new(pruned, ToolReplay::Rerun));
    let examined = group_commit.read(begin, |(_, examination), record, snapshot| {
        let body = Some(&*record.body).filter(|body| !body.is_empty());
        let kept = StoredBody { body, subjects: &record.subjects };
        // A snapshot is as large as the state, so it is read only when needed.
        let snapshot = snapshot.filter(|_| examination.wants_snapshot());
        let snapshot = snapshot.map(|stored| stored.read().ok_or(SnapshotGone)).transpose()?;
        examination.examine(&record.leaf, kept, snapshot.as_ref().map(|bytes| bytes.as_slice()));
        Ok(())
    });
    let (pruned, examination) = match examined {
        // The bytes on the disk differ from those that were written.
        Err(failure) if failure.code == Code::LogCorrupt => return VerificationSummary::damaged(failure),
        examined => examined?,
    };
    Ok(VerificationSummary {
        replayed: examination.follows(),
        opaque: pruned.saturating_add(examination.opaque()),
        not_replayed: examination.not_replayed(),
        entries: examination.entries(),
        wrong: examination.first_wrong(),
    })
}
