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

/// How many entries are hashed at a time when all are verified: as many as stay in a first-level cache.
const VERIFY_TOGETHER: usize = 64;

/// One record: the entry that is proven, and the body whose commitments the entry carries.
///
/// To this crate a body is bytes. Cloning shares both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The entry's bytes.
    pub entry: Arc<[u8]>,
    /// What was committed to.
    pub body: Arc<[u8]>,
}

impl Record {
    /// Bytes held by entry and body together.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entry.len().saturating_add(self.body.len())
    }

    /// Whether it holds no bytes; no record that was ever appended does.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Why a record cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MissingRecord {
    /// It was dropped to make room for newer ones.
    #[error("entry was pruned")]
    Pruned,
    /// The log does not reach so far.
    #[error("no such entry")]
    Absent,
}

/// The result of re-hashing all records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyReport {
    /// Whether everything kept is what was appended.
    pub consistent: bool,
    /// The first entry that is not.
    pub first_bad: Option<u64>,
    /// What is wrong with it.
    pub reason: Option<LogFault>,
    /// Entries below this one are no longer kept; of them only the tree's edge could be checked.
    pub pruned_below: u64,
}

/// What verification found wrong with an entry, or with the root over all entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LogFault {
    /// It does not follow its predecessor.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// Its bytes are not those that stand in the tree.
    #[error("entry has another hash than the tree holds")]
    Leaf,
    /// The entries lead to another root.
    #[error("entries lead to another root")]
    Root,
}

/// An append-only log in memory that keeps its newest records, up to a number of bytes.
///
/// What is dropped stays proven: the chain and the tree go on over it, and every proof about later entries holds.
#[derive(Debug, Clone)]
pub struct Log {
    engine: HashEngine,
    bytes_max: usize,
    bytes: usize,
    /// The chain as it stood before the oldest record kept.
    base: Chain,
    chain: Chain,
    tree: FullTree,
    records: VecDeque<Record>,
}

impl Log {
    /// What the log counts for each record besides its bytes: its hashes and pointers.
    pub const RECORD_OVERHEAD_BYTES: usize = 128;

    /// An empty log that keeps at most `bytes_max` bytes of records (and always the newest one).
    #[must_use]
    pub const fn new(bytes_max: usize) -> Log {
        Log::with_engine(bytes_max, HashEngine::PORTABLE)
    }

    /// [`Log::new`] that computes with `engine`.
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

    /// Appends a record and returns the leaf hash of its entry. The oldest records give way where there is no room.
    ///
    /// # Errors
    /// When the entry is not the one that follows; the log is then as it was.
    pub fn append(&mut self, entry: impl Into<Arc<[u8]>>, body: Arc<[u8]>) -> Result<Hash, ChainError> {
        let record = Record { entry: entry.into(), body };
        let leaf = self.chain.push(&record.entry)?;
        self.keep(leaf, record);
        Ok(leaf)
    }

    /// [`Log::append`] of an entry that need not be decoded or hashed any more.
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
            // No later entry is compared with the time of one that is gone.
            let head = self.tree.leaf(self.base.next).unwrap_or_default();
            self.base = Chain { next: self.base.next.saturating_add(1), head, time_us: 0 };
        }
        self.tree.prune(self.base.next);
    }

    /// The record of entry `seq`.
    ///
    /// # Errors
    /// When it was pruned, or never was.
    pub fn get(&self, seq: u64) -> Result<&Record, MissingRecord> {
        let index = seq.checked_sub(self.base.next).ok_or(MissingRecord::Pruned)?;
        usize::try_from(index).ok().and_then(|index| self.records.get(index)).ok_or(MissingRecord::Absent)
    }

    /// Lets go of the body of entry `seq`, which then is empty. The entry, and all that proves it, stays.
    pub fn erase_body(&mut self, seq: u64) {
        let index = seq.checked_sub(self.base.next).and_then(|index| usize::try_from(index).ok());
        if let Some(record) = index.and_then(|index| self.records.get_mut(index)) {
            self.bytes = self.bytes.saturating_sub(record.body.len());
            record.body = Arc::default();
        }
    }

    /// The records kept with their `seq`, oldest first, and from the other end with `rev`.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (u64, &Record)> {
        self.records
            .iter()
            .enumerate()
            .map(|(index, record)| (self.base.next.saturating_add(index as u64), record))
    }

    /// Number of entries ever appended; the next one has this `seq`.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.chain.next
    }

    /// Whether nothing was ever appended.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.chain.next == 0
    }

    /// The first entry that is kept.
    #[must_use]
    pub const fn pruned_below(&self) -> u64 {
        self.base.next
    }

    /// Leaf hash of the newest entry: what the next one names as `previous`.
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

    /// A checkpoint of the log as it stands, to be signed.
    #[must_use]
    pub fn checkpoint(&self, origin: &str) -> Checkpoint {
        Checkpoint::new(origin, self.len(), self.root())
    }

    /// Proves that entry `seq` stands in the log of the first `size` entries.
    ///
    /// # Errors
    /// When there is no such entry or size, or it was pruned.
    pub fn inclusion_proof(&self, seq: u64, size: u64) -> Result<Vec<Hash>, ProofError> {
        self.tree.inclusion_proof(seq, size)
    }

    /// Proves that the log of `new` entries begins with the log of `old`.
    ///
    /// # Errors
    /// When there are no such sizes, or the hashes needed were pruned.
    pub fn consistency_proof(&self, old: u64, new: u64) -> Result<Vec<Hash>, ProofError> {
        self.tree.consistency_proof(old, new)
    }

    /// Hashes everything kept anew and compares it with the chain, the tree and the root.
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
                // The tree tells a changed entry from its unchanged successor.
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
