//! The sparse index: where blocks of entries start, and what certainly does not stand in them.

use alloc::vec::Vec;

use crate::{entry::Decision, entry::view::View, merkle::tree::TILE_WIDTH};

/// A block ends after this many bytes even if it holds few entries.
const BLOCK_BYTES: u64 = 1 << 20;

/// Consecutive entries of one segment, never across a tile of the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) first: u64,
    /// First entry of the segment it stands in.
    pub(crate) segment: u64,
    /// Where its first frame starts.
    pub(crate) offset: u64,
    pub(crate) time_first_us: u64,
    pub(crate) time_last_us: u64,
    pub(crate) holds: BlockFilter,
}

/// What may stand in a block: a bit that is not set says that it does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct BlockFilter {
    operations: u128,
    agents: u128,
    rules: u128,
    decisions: u8,
}

impl BlockFilter {
    /// Of a block of which nothing is known.
    const ANYTHING: BlockFilter =
        BlockFilter { operations: u128::MAX, agents: u128::MAX, rules: u128::MAX, decisions: u8::MAX };

    fn add(&mut self, entry: &View<'_>) {
        self.operations |= 1 << (entry.operation() % 128);
        self.agents |= text_bit(entry.agent());
        self.rules |= text_bit(entry.rule());
        self.decisions |= entry.decision().map_or(0, |decision| 1 << decision as u8);
    }

    pub(crate) const fn operation(&self, operation: u16) -> bool {
        self.operations >> (operation % 128) & 1 == 1
    }

    pub(crate) fn agent(&self, agent: &str) -> bool {
        self.agents & text_bit(agent.as_bytes()) != 0
    }

    pub(crate) fn rule(&self, rule: &str) -> bool {
        self.rules & text_bit(rule.as_bytes()) != 0
    }

    pub(crate) const fn decision(&self, decision: Decision) -> bool {
        self.decisions >> decision as u8 & 1 == 1
    }
}

/// One of 128 bits: eight bytes at a time, multiplied by the golden ratio.
fn text_bit(text: &[u8]) -> u128 {
    let step = |hash: u64, word: u64| (hash.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let (words, rest) = text.as_chunks::<8>();
    let hash = words.iter().fold(text.len() as u64, |hash, word| step(hash, u64::from_le_bytes(*word)));
    let last = rest.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
    1 << (step(hash, last) >> 57)
}

/// All blocks of a journal, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Index {
    blocks: Vec<Block>,
}

impl Index {
    /// Takes in the next entry, whose frame starts at `offset` of `segment`.
    pub(crate) fn push(&mut self, entry: &View<'_>, segment: u64, offset: u64) {
        let fits = |block: &&mut Block| {
            block.segment == segment
                && !entry.seq().is_multiple_of(TILE_WIDTH)
                && offset.saturating_sub(block.offset) < BLOCK_BYTES
        };
        if let Some(block) = self.blocks.last_mut().filter(fits) {
            // The wall clock may step back between two entries.
            block.time_first_us = block.time_first_us.min(entry.time_us());
            block.time_last_us = block.time_last_us.max(entry.time_us());
            block.holds.add(entry);
        } else {
            let mut holds = BlockFilter::default();
            holds.add(entry);
            self.blocks.push(Block {
                first: entry.seq(),
                segment,
                offset,
                time_first_us: entry.time_us(),
                time_last_us: entry.time_us(),
                holds,
            });
        }
    }

    /// Takes in a whole segment whose entries were not read yet, the first at `offset`.
    pub(crate) fn push_unread(&mut self, segment: u64, offset: u64) {
        let (time_first_us, time_last_us) = (0, u64::MAX);
        let holds = BlockFilter::ANYTHING;
        self.blocks.push(Block { first: segment, segment, offset, time_first_us, time_last_us, holds });
    }

    /// Takes these blocks for those of the segments before the one that starts with `segment`.
    pub(crate) fn replace_before(&mut self, segment: u64, before: Index) {
        self.blocks.splice(..self.blocks.partition_point(|block| block.segment < segment), before.blocks);
    }

    /// Forgets every entry from `seq` on.
    pub(crate) fn truncate(&mut self, seq: u64) {
        self.blocks.truncate(self.blocks.partition_point(|block| block.first < seq));
    }

    /// Forgets every block of segments before the one that starts with `segment`.
    pub(crate) fn prune(&mut self, segment: u64) {
        self.blocks.drain(..self.blocks.partition_point(|block| block.segment < segment));
    }

    pub(crate) fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// Position of the block that holds `seq`, or of the first one after it.
    pub(crate) fn position(&self, seq: u64) -> usize {
        self.blocks.partition_point(|block| block.first <= seq).saturating_sub(1)
    }
}
