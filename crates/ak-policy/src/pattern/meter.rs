//! What matching may cost.
//!
//! Every pattern takes time linear in its target for each segment that it has behind a `**`. A policy has many
//! patterns, a URL many readings, and whoever writes the target chooses the worst of them. So the work of one
//! decision is counted, and ends at a limit: what could not be looked at counts against the request.

use core::cell::{Cell, OnceCell};

/// One decision takes at most so many steps of matching; a request that would take more is forbidden. A step is
/// a few nanoseconds: a segment compared, or some bytes searched.
pub(crate) const DECISION_STEPS_MAX: usize = 1 << 19;
/// One pattern outside a decision, of a capability, a label or a condition, takes at most so many steps.
pub(crate) const PATTERN_STEPS_MAX: usize = 1 << 16;

/// What a search costs for each piece between two stars, beside the bytes that are searched.
pub(super) const PIECE_STEPS: usize = 8;
/// How many bytes of a text are searched in a step.
pub(super) const SEARCHED_BYTES_PER_STEP: usize = 4;
/// How many bytes of a text are compared, or passed over, in a step.
pub(super) const COMPARED_BYTES_PER_STEP: usize = 16;
/// How many steps it takes to make one byte of a reading.
pub(super) const READ_STEPS_PER_BYTE: usize = 4;

/// Counts the steps of matching patterns with one target.
#[derive(Debug)]
pub(crate) struct Meter {
    left: Cell<usize>,
    is_spent: Cell<bool>,
    segments: OnceCell<SegmentSet>,
}

impl Meter {
    /// For all the patterns of one decision.
    pub(crate) fn of_decision() -> Self {
        Self::new(DECISION_STEPS_MAX)
    }

    /// For one pattern.
    pub(crate) fn of_pattern() -> Self {
        Self::new(PATTERN_STEPS_MAX)
    }

    fn new(steps: usize) -> Self {
        Self { left: Cell::new(steps), is_spent: Cell::new(false), segments: OnceCell::new() }
    }

    /// Takes steps; `false` when not so many are left, and from then on.
    pub(super) fn take(&self, steps: usize) -> bool {
        match self.left.get().checked_sub(steps) {
            Some(left) if !self.is_spent.get() => {
                self.left.set(left);
                true
            }
            Some(_) | None => {
                self.is_spent.set(true);
                false
            }
        }
    }

    /// How many steps are left.
    pub(super) fn left(&self) -> usize {
        self.left.get()
    }

    /// Whether something was left undone.
    pub(crate) fn is_spent(&self) -> bool {
        self.is_spent.get()
    }

    /// The segments of the target in all its readings, made when they are first asked for.
    pub(super) fn segments<'t>(&self, texts: impl Iterator<Item = &'t str>) -> &SegmentSet {
        self.segments.get_or_init(|| {
            let mut set = SegmentSet([0; SEGMENT_WORDS]);
            for text in texts {
                self.take(text.len() / SEARCHED_BYTES_PER_STEP);
                text.split('/').for_each(|segment| set.insert(segment));
            }
            set
        })
    }
}

const SEGMENT_WORDS: usize = 256;

/// Segments by a hash: tells of most that are not in it.
#[derive(Debug)]
pub(super) struct SegmentSet([u64; SEGMENT_WORDS]);

impl SegmentSet {
    fn insert(&mut self, segment: &str) {
        let hash = hash(segment);
        if let Some(word) = self.0.get_mut((hash >> 6) as usize % SEGMENT_WORDS) {
            *word |= 1 << (hash & 63);
        }
    }

    pub(super) fn may_hold(&self, segment: &str) -> bool {
        let hash = hash(segment);
        self.0.get((hash >> 6) as usize % SEGMENT_WORDS).is_some_and(|word| word >> (hash & 63) & 1 == 1)
    }
}

/// FNV-1a, its upper half folded in.
fn hash(segment: &str) -> u64 {
    let hash = segment.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash ^ hash >> 32
}
