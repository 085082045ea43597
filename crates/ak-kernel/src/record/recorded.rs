//! What an earlier version decided.

use alloc::{format, string::String};

use ak_audit::{Decision, Entry};
use ak_json::{Digest, Text};

use crate::record::entry::Chain;

/// What an earlier version decided about one input.
#[derive(Clone, Debug)]
pub(crate) struct EarlierDecision {
    pub(crate) decision: Decision,
    pub(crate) code: i32,
    pub(crate) rule: Text,
    /// The entry's hash.
    pub(crate) hash: Digest,
}

impl EarlierDecision {
    /// What an entry says, if it is the next of this chain.
    ///
    /// # Errors
    /// Why it is not.
    pub(crate) fn next_of(chain: &Chain, leaf: &[u8]) -> Result<EarlierDecision, String> {
        let entry = Entry::decode(leaf).map_err(|error| format!("it cannot be read: {error}"))?;
        if entry.seq != chain.next_seq() {
            return Err(format!("entry {} stands in its place", entry.seq));
        }
        if entry.previous != *chain.head().as_bytes() {
            return Err("it does not follow the entry before it".into());
        }
        Ok(EarlierDecision {
            decision: entry.decision,
            code: entry.code,
            rule: Text::from(entry.rule),
            hash: ak_audit::leaf_hash(leaf).into(),
        })
    }
}
