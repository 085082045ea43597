//! Decisions of an earlier version, read from its journal.

use alloc::{format, string::String};

use ak_audit::{Decision, Entry};
use ak_json::{Digest, Text};

use crate::record::entry::Chain;

/// An earlier version's decision on one input.
#[derive(Clone, Debug)]
pub(crate) struct EarlierDecision {
    pub(crate) decision: Decision,
    pub(crate) code: i32,
    pub(crate) rule: Text,
    /// The hash of the entry.
    pub(crate) hash: Digest,
}

impl EarlierDecision {
    /// Reads the decision from an entry, if it is the next one of this chain.
    ///
    /// # Errors
    /// Why it is not the next entry, as text.
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
