//! The sparse index: for each block of entries its position, and a filter that tells which values it cannot hold.

use alloc::vec::Vec;

use crate::{entry::Decision, entry::view::View, merkle::tree::TILE_WIDTH};

/// A block is closed after this many bytes, even if it holds few entries.
const BLOCK_BYTES: u64 = 1 << 20;

/// Consecutive entries of one segment within one tile of the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) first: u64,
    /// `seq` of the first entry of the block's segment.
    pub(crate) segment: u64,
    /// Offset in the segment of the block's first frame.
    pub(crate) offset: u64,
    pub(crate) time_first_us: u64,
    pub(crate) time_last_us: u64,
    pub(crate) holds: BlockFilter,
}

/// Filter over the values in a block: if the bit of a value is not set, the block does not hold that value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct BlockFilter {
    operations: u128,
    agents: u128,
    rules: u128,
    decisions: u8,
}

impl BlockFilter {
    /// The filter of a block that was not read: it excludes nothing.
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

/// The bit of a text, one of 128: eight bytes at a time are mixed in and multiplied by the golden ratio.
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
    /// Adds the next entry, whose frame starts at `offset` of `segment`.
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

    /// Adds a whole segment whose entries were not read yet as one block; the first entry is at `offset`.
    pub(crate) fn push_unread(&mut self, segment: u64, offset: u64) {
        let (time_first_us, time_last_us) = (0, u64::MAX);
        let holds = BlockFilter::ANYTHING;
        self.blocks.push(Block { first: segment, segment, offset, time_first_us, time_last_us, holds });
    }

    /// Replaces the blocks of all segments before the one that starts with `segment`.
    pub(crate) fn replace_before(&mut self, segment: u64, before: Index) {
        self.blocks.splice(..self.blocks.partition_point(|block| block.segment < segment), before.blocks);
    }

    /// Removes the blocks that start at entry `seq` or later.
    pub(crate) fn truncate(&mut self, seq: u64) {
        self.blocks.truncate(self.blocks.partition_point(|block| block.first < seq));
    }

    /// Removes the blocks of all segments before the one that starts with `segment`.
    pub(crate) fn prune(&mut self, segment: u64) {
        self.blocks.drain(..self.blocks.partition_point(|block| block.segment < segment));
    }

    pub(crate) fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// Position of the block that holds `seq`: the last one that starts at or before it, or else the first one.
    pub(crate) fn position(&self, seq: u64) -> usize {
        self.blocks.partition_point(|block| block.first <= seq).saturating_sub(1)
    }
}
