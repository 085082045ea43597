//! What matching may cost.
//!
//! Every pattern takes time linear in its target for each segment that it has behind a `**`. A policy has many
//! patterns, a URL many readings, and whoever writes the target chooses the worst of them. So the work of one
//! decision is counted, and ends at a limit: what could not be looked at counts against the request.

use core::cell::{Cell, OnceCell};

use crate::steps::Steps;

/// The most steps of matching in one decision; a request that would take more is forbidden. A step is
/// about ten nanoseconds: a segment compared, or some bytes searched.
pub(crate) const DECISION_STEPS_MAX: usize = 250_000;
/// The most steps for one pattern outside a decision: of a capability, a label or a condition.
pub(crate) const PATTERN_STEPS_MAX: usize = 1 << 16;

/// What a search costs for each piece between two stars, beside the bytes that are searched.
pub(super) const PIECE_STEPS: usize = 8;
/// How many bytes of a text are searched in a step.
pub(crate) const SEARCHED_BYTES_PER_STEP: usize = 4;
/// How many bytes of a text are compared, or passed over, in a step.
pub(crate) const COMPARED_BYTES_PER_STEP: usize = 8;
/// How many steps it takes to make one byte of a reading.
pub(super) const READ_STEPS_PER_BYTE: usize = 12;

/// Counts the steps of matching patterns with one target.
#[derive(Debug)]
pub(crate) struct Meter {
    of: usize,
    left: Cell<usize>,
    /// Whether it has fewer steps than others of its kind, since those of the request run out.
    is_short: bool,
    is_spent: Cell<bool>,
    segments: OnceCell<SegmentSet>,
}

impl Meter {
    /// For all the patterns of one decision.
    #[cfg(test)]
    pub(crate) fn of_decision() -> Self {
        Self::new(DECISION_STEPS_MAX)
    }

    /// For one pattern.
    pub(crate) fn of_pattern() -> Self {
        Self::new(PATTERN_STEPS_MAX)
    }

    fn new(steps: usize) -> Self {
        let (left, is_spent) = (Cell::new(steps), Cell::new(false));
        Self { of: steps, left, is_short: false, is_spent, segments: OnceCell::new() }
    }

    /// For so many steps, and no more than a request has left. Where that could not look at something before, it is spent.
    pub(crate) fn within(steps: usize, request: Option<&Steps>) -> Self {
        let left = request.map_or(usize::MAX, Steps::left);
        let is_spent = Cell::new(request.is_some_and(Steps::is_spent));
        Self { is_short: left < steps, is_spent, ..Self::new(steps.min(left)) }
    }

    /// Takes from a request what was taken here.
    pub(crate) fn settle(&self, request: Option<&Steps>) {
        if let Some(request) = request {
            request.take(self.of.saturating_sub(self.left.get()), self.is_short && self.is_spent());
        }
    }

    /// Takes steps; `false` when not so many are left, and from then on.
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

/// The two bits that stand for a segment, each by its word.
fn places(segment: &str) -> [(usize, u64); 2] {
    let hash = hash(segment);
    [hash, hash >> 14].map(|hash| ((hash >> 6) as usize % SEGMENT_WORDS, 1 << (hash & 63)))
}

/// FNV-1a, its upper half folded in.
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

    /// The decision on a URL under a thousand forbids, everything else permitted, and the steps it takes.
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

    /// Thousands of segments, every name that the patterns look for among them.
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

    /// A pattern outside a decision permits nothing where it takes too long, and forbids.
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
