//! Bounds the work of matching.
//!
//! A pattern takes time linear in its target for each segment that it has after a `**`. A policy has many patterns,
//! a URL has many readings, and the author of a request can choose the worst target. So the steps of one decision
//! are counted and limited; when they run out, the decision goes against the request.

use core::cell::{Cell, OnceCell};

use crate::steps::Steps;

/// The most steps of matching in one decision; a request that would take more is forbidden. A step takes about ten
/// nanoseconds: it compares a segment, or searches a few bytes.
pub(crate) const DECISION_STEPS_MAX: usize = 250_000;
/// The most steps for one pattern outside a decision: a pattern of a capability, a label or a condition.
pub(crate) const PATTERN_STEPS_MAX: usize = 1 << 16;

/// The steps that searching for each piece between two stars takes, besides the searched bytes.
pub(super) const PIECE_STEPS: usize = 8;
/// The bytes of a text that are searched in one step.
pub(crate) const SEARCHED_BYTES_PER_STEP: usize = 4;
/// The bytes of a text that are compared or skipped in one step.
pub(crate) const COMPARED_BYTES_PER_STEP: usize = 8;
/// The steps that making one byte of a reading takes.
pub(super) const READ_STEPS_PER_BYTE: usize = 12;

/// Counts the steps of matching patterns with one target.
#[derive(Debug)]
pub(crate) struct Meter {
    of: usize,
    left: Cell<usize>,
    /// Whether the request's remaining steps, fewer than the usual limit, bound this meter.
    is_short: bool,
    is_spent: Cell<bool>,
    segments: OnceCell<SegmentSet>,
}

impl Meter {
    /// A meter for all the patterns of one decision.
    #[cfg(test)]
    pub(crate) fn of_decision() -> Self {
        Self::new(DECISION_STEPS_MAX)
    }

    /// A meter for one pattern.
    pub(crate) fn of_pattern() -> Self {
        Self::new(PATTERN_STEPS_MAX)
    }

    fn new(steps: usize) -> Self {
        let (left, is_spent) = (Cell::new(steps), Cell::new(false));
        Self { of: steps, left, is_short: false, is_spent, segments: OnceCell::new() }
    }

    /// A meter for `steps` steps, or for what the request has left if that is less. It is spent from the start when
    /// an earlier decision on the request ran out of steps.
    pub(crate) fn within(steps: usize, request: Option<&Steps>) -> Self {
        let left = request.map_or(usize::MAX, Steps::left);
        let is_spent = Cell::new(request.is_some_and(Steps::is_spent));
        Self { is_short: left < steps, is_spent, ..Self::new(steps.min(left)) }
    }

    /// Subtracts the steps taken here from the request's steps, and marks these spent if they ran out here.
    pub(crate) fn settle(&self, request: Option<&Steps>) {
        if let Some(request) = request {
            request.take(self.of.saturating_sub(self.left.get()), self.is_short && self.is_spent());
        }
    }

    /// Takes steps; returns `false` when too few are left, and from then on.
    pub(crate) fn take(&self, steps: usize) -> bool {
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

    /// Whether steps ran out, so that some work was not done.
    pub(crate) fn is_spent(&self) -> bool {
        self.is_spent.get()
    }

    /// The segments of the target in all its readings, collected on first use.
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

/// A Bloom filter of segments: it recognises most segments that are not in the target.
#[derive(Debug)]
pub(super) struct SegmentSet([u64; SEGMENT_WORDS]);

impl SegmentSet {
    fn insert(&mut self, segment: &str) {
        for (word, bit) in places(segment) {
            if let Some(word) = self.0.get_mut(word) {
                *word |= bit;
            }
        }
    }

    pub(super) fn may_hold(&self, segment: &str) -> bool {
        places(segment).into_iter().all(|(word, bit)| self.0.get(word).is_some_and(|word| word & bit != 0))
    }
}

/// The two bits of a segment, each as a word's index and a mask.
fn places(segment: &str) -> [(usize, u64); 2] {
    let hash = hash(segment);
    [hash, hash >> 14].map(|hash| ((hash >> 6) as usize % SEGMENT_WORDS, 1 << (hash & 63)))
}

/// FNV-1a, with its upper half folded into the lower.
fn hash(segment: &str) -> u64 {
    let hash = segment.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash ^ hash >> 29
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Action, Policy, PolicyDecision, Query, Target};
    use alloc::string::String;

    const RULES: usize = 1_000;

    /// The decision on a URL under a thousand forbids with everything else permitted, and the steps it took.
    fn cost(pattern: impl Fn(usize) -> String, url: &str) -> (PolicyDecision, usize) {
        let rule = |place| {
            let pattern = pattern(place);
            alloc::format!("[[rule]]\neffect = 'forbid'\noperation = 'http.get'\ntarget = '{pattern}'\n")
        };
        let text: String = (0..RULES).map(rule).collect();
        let policy = Policy::parse(&(text + "[http]\nallow = ['GET https://**']\n"), None).unwrap();
        let target = Target::url(url).unwrap();
        let (query, meter) = (Query::new("main", Action::HttpGet, &target), Meter::of_decision());
        let decision = policy.decide_for("main", &query, &meter).decision;
        (decision, DECISION_STEPS_MAX - meter.left())
    }

    /// A URL of thousands of segments, among them every name that the patterns look for.
    fn long_url() -> String {
        let segments: String = (0..RULES).map(|place| alloc::format!("x{place}/")).collect();
        alloc::format!("https://h/{segments}{}y", "a/".repeat(1_000))
    }

    #[test]
    fn what_patterns_say_literally_is_looked_for_first() {
        let check = |pattern: &dyn Fn(usize) -> String, url: &str, steps_max: usize| {
            let (decision, steps) = cost(pattern, url);
            assert_eq!(decision, PolicyDecision::Permit, "{} on {}: {steps}", pattern(1), &url[..40]);
            assert!(steps <= steps_max, "{} on {}: {steps} steps", pattern(1), &url[..40]);
        };
        let (many, one) = ("a/".repeat(4_000), "a".repeat(8_000));
        let (many, one) = (alloc::format!("https://h/{many}"), alloc::format!("https://h/{one}"));
        for url in [&many, &one, &long_url(), &alloc::format!("https://h/b//{}", "a;b/c%2Fd/".repeat(100))] {
            check(&|place| alloc::format!("https://h/**/q{place}/**/y"), url, 60_000);
            check(&|place| alloc::format!("https://h/**/a/**/q{place}"), url, 60_000);
            check(&|place| alloc::format!("https://h/*/q{place}"), url, 60_000);
            check(&|place| alloc::format!("https://*/**/x/**/*q{place}"), url, 150_000);
            check(&|place| alloc::format!("https://h/q{place}/**/x/**/y"), url, 10);
        }
    }

    #[test]
    fn what_takes_more_steps_than_a_decision_has_is_forbidden() {
        for pattern in ["https://h/**/x*{}/**/x*/**/y", "https://h/**/*a*{}*/**", "https://h/**/*a*{}*/**/y"]
        {
            let (decision, steps) =
                cost(|place| pattern.replace("{}", &alloc::format!("-{place}")), &long_url());
            assert_eq!(decision, PolicyDecision::Forbid, "{pattern}: {steps}");
            assert!(steps <= DECISION_STEPS_MAX);
        }
    }

    /// A pattern that takes too long outside a decision does not permit, but forbids.
    #[test]
    fn a_pattern_that_takes_too_long_leaves_doubt() {
        use crate::action::TargetKind;
        use crate::pattern::{Pattern, Reading};
        let pattern = alloc::format!("/**/{}*/b", "a/".repeat(2_000));
        let pattern = Pattern::parse(TargetKind::Path, &pattern, None).unwrap();
        let target = Target::path(&alloc::format!("/{}b", "a/".repeat(2_040))).unwrap();
        let matches = |reading| pattern.matches(Action::FsRead, &target, reading);
        assert!(!matches(Reading::Narrow) || matches(Reading::Wide));
        let hostile = alloc::format!("/**/{}c/*/b", "a/".repeat(1_000));
        let hostile = Pattern::parse(TargetKind::Path, &hostile, None).unwrap();
        let target = Target::path(&alloc::format!("/c/{}b", "a/".repeat(2_040))).unwrap();
        assert!(!hostile.matches(Action::FsRead, &target, Reading::Narrow));
        assert!(hostile.matches(Action::FsRead, &target, Reading::Wide));
    }
}
