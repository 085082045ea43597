//! Patterns: regular expressions of ECMA-262, matched in linear time with counted work.

use alloc::boxed::Box;
use alloc::vec::Vec;

use regex_automata::hybrid::dfa::{self, DFA};
use regex_automata::nfa::thompson::{self, WhichCaptures};
use regex_automata::{Input, MatchKind};

use super::ecma::{Untranslated, translate};
use super::error::SchemaReason;
use crate::work::{OutOfWork, Work};

/// The most bytes of a pattern's text.
const TEXT_BYTES_MAX: usize = 4096;
/// The most bytes of memory for the automaton of one pattern.
const BYTES_MAX: usize = 1 << 20;
/// The most bytes of memory for all patterns of a schema.
pub(super) const ALL_BYTES_MAX: usize = 4 << 20;
/// The most bytes of memory for the cached states of one automaton.
const CACHE_BYTES_MAX: usize = 256 << 10;
/// The bytes that are matched for one payment of [`BLOCK_WORK`], while all states are cached.
const BLOCK: usize = 32;
const BLOCK_WORK: u64 = 10;

/// A compiled pattern: automata, each with whether a text must match it.
pub(super) struct Pattern(Vec<(Automaton, bool)>);

/// The cached states of each automaton, by its number.
pub(super) type Caches = Vec<Option<Cache>>;

impl Pattern {
    /// Compiles a pattern, numbering its automata from `number` on; `None` when the pattern cannot be judged.
    pub(super) fn parse(source: &str, number: usize, work: &mut Work) -> Result<Option<Self>, SchemaReason> {
        if source.len() > TEXT_BYTES_MAX {
            return Ok(None);
        }
        let clauses = match translate(source) {
            Ok(clauses) => clauses,
            Err(Untranslated::Unsupported) => return Ok(None),
            Err(Untranslated::Malformed) => return Err(SchemaReason::Pattern),
        };
        let mut automata = Vec::new();
        for (number, clause) in (number..).zip(clauses) {
            let Some(automaton) = Automaton::build(&clause.pattern, number, work)? else { return Ok(None) };
            automata.push((automaton, clause.matches));
        }
        Ok(Some(Self(automata)))
    }

    /// The number of automata.
    pub(super) fn automata(&self) -> usize {
        self.0.len()
    }

    /// The bytes of memory that the automata take.
    pub(super) fn bytes(&self) -> usize {
        self.0.iter().map(|(automaton, _)| automaton.bytes()).sum()
    }

    /// Whether the pattern matches somewhere in the text.
    pub(super) fn is_match(
        &self,
        caches: &mut Caches,
        text: &str,
        work: &mut Work,
    ) -> Result<bool, OutOfWork> {
        for (automaton, expected) in &self.0 {
            let Some(cache) = caches.get_mut(automaton.number) else { return Ok(false) };
            if automaton.is_match(cache, text, work)? != *expected {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// A lazy DFA: an automaton whose states are computed when they are first reached.
///
/// A byte that leads from one cached state to another costs next to nothing. Computing a state costs a look at each
/// of its NFA states, which a hostile pattern can require for every byte. So each computed state is paid for
/// separately.
struct Automaton {
    engine: Box<DFA>,
    /// Units of work for computing a state from all states of the NFA.
    all_work: u64,
    /// Units of work for following one NFA state until every path reaches a character.
    closure_work: u64,
    /// The bytes of memory for the transitions of a state.
    row_bytes: usize,
    /// The number of the automaton within the schema, which is its index in the caches.
    number: usize,
}

/// The cached states of an automaton.
pub(super) struct Cache {
    states: dfa::Cache,
    /// How often the cache had been cleared when the start state was last computed.
    clears: usize,
    /// An upper bound on the NFA states in any cached state.
    largest: usize,
}

impl Automaton {
    /// Builds the automaton of a pattern in the engine's syntax; `None` when the engine does not support the
    /// pattern, or the automaton is too large.
    fn build(translated: &str, number: usize, work: &mut Work) -> Result<Option<Self>, SchemaReason> {
        work.spend(compile_work(translated)).map_err(|OutOfWork| SchemaReason::Work)?;
        // At most as large as the remaining work pays for.
        let affordable = usize::try_from(work.left() / WORK_PER_BYTE).unwrap_or(usize::MAX);
        let size_max = BYTES_MAX.min(affordable);
        let config =
            thompson::Config::new().nfa_size_limit(Some(size_max)).which_captures(WhichCaptures::None);
        let nfa = thompson::Compiler::new().configure(config).build(translated);
        let nfa = match nfa {
            Ok(nfa) => nfa,
            Err(error) => {
                if error.size_limit().is_none() {
                    return Ok(None);
                }
                // Building was attempted up to this size, so it is charged.
                let _ = work.spend((size_max as u64).saturating_mul(WORK_PER_BYTE));
                return if size_max == BYTES_MAX { Ok(None) } else { Err(SchemaReason::Work) };
            }
        };
        let bytes = nfa.memory_usage() as u64;
        work.spend(bytes.saturating_mul(WORK_PER_BYTE)).map_err(|OutOfWork| SchemaReason::Work)?;
        let (all_work, closure_work) = (bytes / 20, 2_u64.saturating_mul(closure_max(&nfa) as u64));
        // All matches are followed, not only the first: one that ends within a character does not count.
        let config = DFA::config()
            .match_kind(MatchKind::All)
            .cache_capacity(CACHE_BYTES_MAX)
            .skip_cache_capacity_check(true);
        let engine = DFA::builder().configure(config).build_from_nfa(nfa);
        let Ok(engine) = engine else { return Ok(None) };
        let row_bytes = engine.byte_classes().alphabet_len().next_power_of_two() * size_of::<u32>();
        Ok(Some(Self { engine: Box::new(engine), all_work, closure_work, row_bytes, number }))
    }

    /// The bytes of memory that the automaton takes.
    fn bytes(&self) -> usize {
        self.engine.get_nfa().memory_usage()
    }

    /// Units of work for a step from a state with at most `largest` NFA states.
    fn step_work(&self, largest: usize) -> u64 {
        20 + self.all_work.min(self.closure_work.saturating_mul(largest as u64))
    }

    /// Whether the pattern matches somewhere in the text.
    fn is_match(&self, cache: &mut Option<Cache>, text: &str, work: &mut Work) -> Result<bool, OutOfWork> {
        let is_new = match cache {
            Some(cache) => cache.states.clear_count() != cache.clears,
            None => true,
        };
        work.spend(8)?;
        if is_new {
            // For a flag for each state, and for the start state.
            work.spend(100 + self.all_work / 8 + 2 * self.step_work(1))?;
        }
        let cache =
            cache.get_or_insert_with(|| Cache { states: self.engine.create_cache(), clears: 0, largest: 1 });
        cache.clears = cache.states.clear_count();
        let (states, largest) = (&mut cache.states, &mut cache.largest);
        // Neither call can fail: there are no quit bytes, and the cache may be cleared any number of times.
        let before = states.memory_usage();
        let first = self.engine.start_state_forward(states, &Input::new(text));
        let grown = states.memory_usage().saturating_sub(before).saturating_sub(self.row_bytes);
        *largest = grown.max(*largest);
        let mut state = first.map_err(|_| OutOfWork)?;
        for block in text.as_bytes().chunks(BLOCK) {
            work.spend(BLOCK_WORK)?;
            for byte in block {
                let known = if state.is_tagged() {
                    None
                } else {
                    Some(self.engine.next_state_untagged(states, state, *byte))
                        .filter(|next| !next.is_unknown())
                };
                state = match known {
                    Some(next) => next,
                    None => {
                        // Twice, because each state has another step, at the end of the text.
                        work.spend(2 * self.step_work(*largest))?;
                        let before = (states.memory_usage(), states.clear_count());
                        let next = self.engine.next_state(states, state, *byte).map_err(|_| OutOfWork)?;
                        let grown =
                            states.memory_usage().saturating_sub(before.0).saturating_sub(self.row_bytes);
                        // After the cache was cleared, its growth says nothing.
                        let is_known = states.clear_count() == before.1;
                        *largest = if is_known { grown.max(*largest) } else { usize::MAX };
                        next
                    }
                };
                if state.is_tagged() {
                    // A match is reported one byte late. If that byte continues a character, the match ended within
                    // the character.
                    let continues = byte & 0xc0 == 0x80;
                    if state.is_match() && !continues {
                        return Ok(true);
                    }
                    if state.is_dead() || state.is_quit() {
                        return Ok(false);
                    }
                }
            }
        }
        let end = self.engine.next_eoi_state(states, state).map_err(|_| OutOfWork)?;
        Ok(end.is_match())
    }
}

/// The most states and transitions followed from one NFA state before a character is reached; `usize::MAX` if
/// counting takes too long.
fn closure_max(nfa: &thompson::NFA) -> usize {
    let count = nfa.states().len();
    let (mut steps_left, mut max) = (CLOSURE_STEPS.saturating_mul(count), 1);
    // The start from which each state was last reached.
    let mut met = alloc::vec![usize::MAX; count];
    let mut waiting = Vec::new();
    for first in 0..count {
        let mut steps = 0_usize;
        waiting.push(first);
        while let Some(state) = waiting.pop() {
            steps += 1;
            if steps > steps_left {
                return usize::MAX;
            }
            match met.get_mut(state) {
                Some(from) if *from != first => *from = first,
                _ => continue,
            }
            match nfa.states().get(state) {
                Some(thompson::State::Union { alternates }) => {
                    waiting.extend(alternates.iter().map(|next| next.as_usize()));
                }
                Some(thompson::State::BinaryUnion { alt1, alt2 }) => {
                    waiting.extend([alt1.as_usize(), alt2.as_usize()]);
                }
                Some(thompson::State::Look { next, .. } | thompson::State::Capture { next, .. }) => {
                    waiting.push(next.as_usize());
                }
                _ => {}
            }
        }
        steps_left = steps_left.saturating_sub(steps);
        max = max.max(steps);
    }
    max
}

/// The steps for each state after which [`closure_max`] gives up.
const CLOSURE_STEPS: usize = 16;

/// Units of work for parsing a pattern's text, including its character classes.
fn compile_work(translated: &str) -> u64 {
    let classes = translated.matches("\\p").count() + translated.matches("\\P").count();
    let brackets = translated.matches('[').count();
    200 + translated.len() as u64 * 16 + classes as u64 * 2000 + brackets as u64 * 100
}

/// Units of work for each byte of an automaton that is built.
const WORK_PER_BYTE: u64 = 1;

#[cfg(test)]
mod tests {
    use alloc::string::String;

    use proptest::prelude::*;
    use regex_automata::nfa::thompson::pikevm::PikeVM;

    use super::*;
    use crate::schema::ecma::Clause;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3_000))]

        #[test]
        fn a_pattern_matches_as_a_slower_engine_says(
            parts in prop::collection::vec(prop::sample::select(Vec::from([
                "a", "é", "𝄞", ".", "[^a]", "(a|é)", "\\b", "\\B", "^", "$", "|", "a?", "é*", ".{2}", "(aé)+?", "\\p{L}", "",
                "(?!a)", "(?=.*é)", "(?<!a)$",
            ])), 0..6),
            texts in prop::collection::vec("[aé𝄞 ]{0,6}", 1..4),
        ) {
            let source: String = parts.concat();
            let Ok(Some(pattern)) = Pattern::parse(&source, 0, &mut Work::unlimited()) else { return Ok(()) };
            let clauses = translate(&source).unwrap_or_default();
            let mut caches = Vec::new();
            caches.resize_with(clauses.len(), || None);
            for text in texts {
                let holds = |clause: &Clause| {
                    let slow = PikeVM::new(&clause.pattern).ok()?;
                    Some(slow.is_match(&mut slow.create_cache(), &text) == clause.matches)
                };
                let Some(expected) = clauses.iter().map(holds).collect::<Option<Vec<_>>>() else { return Ok(()) };
                let found = pattern.is_match(&mut caches, &text, &mut Work::unlimited());
                prop_assert_eq!(found, Ok(!expected.contains(&false)), "{} {:?}", source, text);
            }
        }
    }
}
