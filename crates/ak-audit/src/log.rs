//! A bounded log in memory.

use alloc::{collections::VecDeque, sync::Arc, vec::Vec};

use crate::{
    chain::{Chain, ChainError},
    checkpoint::Checkpoint,
    entry::leaf::Leaf,
    hash::Hash,
    hash_engine::HashEngine,
    merkle::full_tree::FullTree,
    merkle::prover::ProofError,
};

/// Entries hashed together by [`Log::verify`]: as many as fit a first-level cache.
const VERIFY_TOGETHER: usize = 64;

/// One record: an entry, which the tree proves, and its body, to which the entry holds commitments.
///
/// This crate does not interpret bodies. Clones share the bytes of both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The entry's bytes.
    pub entry: Arc<[u8]>,
    /// The body's bytes; empty after [`Log::erase_body`].
    pub body: Arc<[u8]>,
}

impl Record {
    /// Bytes of entry and body together.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entry.len().saturating_add(self.body.len())
    }

    /// Whether the record has no bytes. A record in a log always has some.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Why a record cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MissingRecord {
    /// The entry was dropped to make room for newer ones.
    #[error("entry was pruned")]
    Pruned,
    /// The log has no entry with this number yet.
    #[error("no such entry")]
    Absent,
}

/// The result of re-hashing all records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyReport {
    /// Whether every record that the log keeps is as it was appended.
    pub consistent: bool,
    /// `seq` of the first entry that is not as it was appended, or, for [`LogFault::Root`], of the first entry kept.
    /// `None` if consistent.
    pub first_bad: Option<u64>,
    /// What is wrong with that entry. `None` if consistent.
    pub reason: Option<LogFault>,
    /// `seq` of the first entry that the log keeps. For the entries below it, verification checks only the tree's
    /// edge.
    pub pruned_below: u64,
}

/// What verification found wrong with an entry, or with the root over all entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LogFault {
    /// The entry does not follow its predecessor.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The entry's bytes hash to another leaf than the tree holds.
    #[error("the hash of the entry differs from the tree's leaf")]
    Leaf,
    /// The the root of the entries differs from the tree's root than the tree has.
    #[error("the root of the entries differs from the tree's root")]
    Root,
}

/// An append-only log in memory that keeps its newest records, up to a number of bytes.
///
/// Dropped entries stay proven: chain and tree still cover them, and every proof about later entries holds.
#[derive(Debug, Clone)]
pub struct Log {
    engine: HashEngine,
    bytes_max: usize,
    bytes: usize,
    /// The chain before the oldest record that the log keeps.
    base: Chain,
    chain: Chain,
    tree: FullTree,
    records: VecDeque<Record>,
}

impl Log {
    /// Bytes that the log counts for each record in addition to [`Record::len`]: its hashes and pointers.
    pub const RECORD_OVERHEAD_BYTES: usize = 128;

    /// An empty log that keeps at most `bytes_max` bytes of records, but always the newest record.
    #[must_use]
    pub const fn new(bytes_max: usize) -> Log {
        Log::with_engine(bytes_max, HashEngine::PORTABLE)
    }

    /// [`Log::new`] with `engine` for SHA-256.
    #[must_use]
    pub const fn with_engine(bytes_max: usize, engine: HashEngine) -> Log {
        Log {
            engine,
            bytes_max,
            bytes: 0,
            base: Chain::EMPTY,
            chain: Chain::EMPTY,
            tree: FullTree::new(),
            records: VecDeque::new(),
        }
    }

    /// Appends a record and returns the leaf hash of its entry. Drops the oldest records if the log then exceeds its
    /// limit.
    ///
    /// # Errors
    /// When the bytes are not an entry, or not the next one; the log is then unchanged.
    pub fn append(&mut self, entry: impl Into<Arc<[u8]>>, body: Arc<[u8]>) -> Result<Hash, ChainError> {
        let record = Record { entry: entry.into(), body };
        let leaf = self.chain.push(&record.entry)?;
        self.keep(leaf, record);
        Ok(leaf)
    }

    /// [`Log::append`] of an entry that was already checked and hashed.
    ///
    /// # Errors
    /// As [`Log::append`].
    pub fn append_leaf(&mut self, entry: Leaf, body: Arc<[u8]>) -> Result<(), ChainError> {
        self.chain.push_leaf(&entry)?;
        self.keep(entry.hash(), Record { entry: entry.into(), body });
        Ok(())
    }

    fn keep(&mut self, leaf: Hash, record: Record) {
        self.tree.push_with(leaf, &self.engine);
        self.bytes = self.bytes.saturating_add(Log::cost(&record));
        self.records.push_back(record);
        if self.bytes > self.bytes_max {
            self.prune();
        }
    }

    fn cost(record: &Record) -> usize {
        record.len().saturating_add(Log::RECORD_OVERHEAD_BYTES)
    }

    fn prune(&mut self) {
        while self.bytes > self.bytes_max && self.records.len() > 1 {
            let Some(oldest) = self.records.pop_front() else { break };
            self.bytes = self.bytes.saturating_sub(Log::cost(&oldest));
            // The time is 0 because no later entry is compared with it.
            let head = self.tree.leaf(self.base.next).unwrap_or_default();
            self.base = Chain { next: self.base.next.saturating_add(1), head, time_us: 0 };
        }
        self.tree.prune(self.base.next);
    }

    /// The record of entry `seq`.
    ///
    /// # Errors
    /// [`MissingRecord::Pruned`] when it was dropped, [`MissingRecord::Absent`] when the log is shorter.
    pub fn get(&self, seq: u64) -> Result<&Record, MissingRecord> {
        let index = seq.checked_sub(self.base.next).ok_or(MissingRecord::Pruned)?;
        usize::try_from(index).ok().and_then(|index| self.records.get(index)).ok_or(MissingRecord::Absent)
    }

    /// Drops the body of entry `seq`, which is empty from then on. The entry and all its proofs remain. Does nothing
    /// if the log does not keep the entry.
    pub fn erase_body(&mut self, seq: u64) {
        let index = seq.checked_sub(self.base.next).and_then(|index| usize::try_from(index).ok());
        if let Some(record) = index.and_then(|index| self.records.get_mut(index)) {
            self.bytes = self.bytes.saturating_sub(record.body.len());
            record.body = Arc::default();
        }
    }

    /// Iterates over the records kept, each with its `seq`, oldest first; `rev` gives the newest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (u64, &Record)> {
        self.records
            .iter()
            .enumerate()
            .map(|(index, record)| (self.base.next.saturating_add(index as u64), record))
    }

    /// Number of entries ever appended, dropped ones included, which is the `seq` of the next entry.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.chain.next
    }

    /// Whether no entry was ever appended.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.chain.next == 0
    }

    /// `seq` of the first entry that the log keeps.
    #[must_use]
    pub const fn pruned_below(&self) -> u64 {
        self.base.next
    }

    /// Leaf hash of the newest entry, which the next entry holds as `previous`; [`ZERO_HASH`](crate::ZERO_HASH) if
    /// there is none.
    #[must_use]
    pub const fn head(&self) -> Hash {
        self.chain.head
    }

    /// The root over all entries.
    #[must_use]
    pub fn root(&self) -> Hash {
        self.tree.root()
    }

    /// The tree over all entries, for proofs.
    #[must_use]
    pub const fn tree(&self) -> &FullTree {
        &self.tree
    }

    /// An unsigned checkpoint of the log's present size and root, for the log named `origin`.
    #[must_use]
    pub fn checkpoint(&self, origin: &str) -> Checkpoint {
        Checkpoint::new(origin, self.len(), self.root())
    }

    /// Makes the proof that entry `seq` is in the log of the first `size` entries (RFC 6962 §2.1.1).
    ///
    /// # Errors
    /// When `seq` is not below `size`, the log is smaller than `size`, or the entry was dropped.
    pub fn inclusion_proof(&self, seq: u64, size: u64) -> Result<Vec<Hash>, ProofError> {
        self.tree.inclusion_proof(seq, size)
    }

    /// Makes the proof that the log of `new` entries begins with the log of `old` entries (RFC 6962 §2.1.2).
    ///
    /// # Errors
    /// When `old` is 0 or above `new`, the log is smaller than `new`, or the hashes needed were dropped.
    pub fn consistency_proof(&self, old: u64, new: u64) -> Result<Vec<Hash>, ProofError> {
        self.tree.consistency_proof(old, new)
    }

    /// Hashes every record kept again and compares the results with the chain, the tree and the root.
    #[must_use]
    pub fn verify(&self) -> VerifyReport {
        let fault = self.first_fault();
        VerifyReport {
            consistent: fault.is_none(),
            first_bad: fault.map(|(seq, _)| seq),
            reason: fault.map(|(_, fault)| fault),
            pruned_below: self.base.next,
        }
    }

    fn first_fault(&self) -> Option<(u64, LogFault)> {
        let mut chain = self.base;
        let Ok(mut tree) = self.tree.edge(self.base.next) else {
            return Some((self.base.next, LogFault::Root));
        };
        let mut leaves = Vec::with_capacity(VERIFY_TOGETHER);
        let (older, newer) = self.records.as_slices();
        for records in older.chunks(VERIFY_TOGETHER).chain(newer.chunks(VERIFY_TOGETHER)) {
            leaves.clear();
            self.engine.leaf_hashes(records.iter().map(|record| &*record.entry), &mut leaves);
            for (record, leaf) in records.iter().zip(&leaves) {
                let seq = chain.next;
                // Checked first: a changed entry would otherwise be reported at its unchanged successor, which names
                // another hash.
                if self.tree.kept_leaf(seq) != Some(leaf) {
                    return Some((seq, LogFault::Leaf));
                }
                let followed = chain.check(&record.entry).and_then(|entry| chain.follow(&entry, || *leaf));
                if let Err(error) = followed {
                    return Some((seq, LogFault::Chain(error)));
                }
            }
            tree.extend(&leaves, &self.engine);
        }
        let whole = chain == self.chain && tree.root() == self.root();
        (!whole).then_some((self.base.next, LogFault::Root))
    }
}
