//! `unevaluatedItems` and `unevaluatedProperties`.
//!
//! The items and members that neighbouring keywords, and schemas applied in place, have evaluated are computed
//! again for each of the two keywords, so that nothing else has to keep track of them.

use alloc::collections::BTreeSet;

use super::check::{Check, Checked, Exhausted, InstanceLocation};
use super::keywords::{Id, Node, Rule};
use super::truth::Truth;
use crate::value::Value;
use crate::work;

/// The items or members that have been evaluated.
#[derive(Default)]
struct Evaluated<'v> {
    /// Whether all were evaluated.
    all: bool,
    /// All items before this index were evaluated.
    items_before: usize,
    items: BTreeSet<usize>,
    members: BTreeSet<&'v str>,
}

impl Evaluated<'_> {
    /// Units of work for looking up or adding a name.
    fn lookup_work(&self, name: &str) -> u64 {
        8 + work::log2(self.members.len()) * (1 + work::bytes(name.len()))
    }
}

/// What was evaluated whatever the patterns that cannot be judged match, and what may have been.
struct Bounds<'v> {
    least: Evaluated<'v>,
    most: Option<Evaluated<'v>>,
}

impl<'v> Bounds<'v> {
    /// Whether something was evaluated, as `is_in` tells for one bound.
    fn holds(&self, is_in: impl Fn(&Evaluated<'v>) -> bool) -> Truth {
        if is_in(&self.least) {
            return Truth::Yes;
        }
        if self.most.as_ref().is_some_and(is_in) { Truth::Maybe } else { Truth::No }
    }

    fn lookup_work(&self, name: &str) -> u64 {
        self.least.lookup_work(name) + self.most.as_ref().map_or(0, |most| most.lookup_work(name))
    }
}

/// Which bound is computed: with `Least` a condition that may hold counts as false, with `Most` as true.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bound {
    Least,
    Most,
}

impl Bound {
    fn takes(self, truth: Truth) -> bool {
        match self {
            Self::Least => truth == Truth::Yes,
            Self::Most => truth != Truth::No,
        }
    }
}

impl<'s> Check<'s, '_> {
    pub(super) fn unevaluated_items(
        &mut self,
        node: &'s Node,
        id: Id,
        location: &InstanceLocation<'_>,
    ) -> Checked {
        let Value::Array(array) = location.value else { return Ok(Truth::Yes) };
        let seen = self.bounds(node, location)?;
        let mut all = Truth::Yes;
        for (index, item) in array.iter().enumerate() {
            self.spend(4)?;
            let is_seen =
                seen.holds(|seen| seen.all || index < seen.items_before || seen.items.contains(&index));
            let location = location.item(index, item);
            all = all.min(self.implied(!is_seen, id, node, &location, "unevaluatedItems")?);
            if all == Truth::No {
                break;
            }
        }
        Ok(all)
    }

    pub(super) fn unevaluated_properties(
        &mut self,
        node: &'s Node,
        id: Id,
        location: &InstanceLocation<'_>,
    ) -> Checked {
        let Value::Object(object) = location.value else { return Ok(Truth::Yes) };
        let seen = self.bounds(node, location)?;
        let mut all = Truth::Yes;
        for (name, value) in object {
            self.spend(seen.lookup_work(name))?;
            let is_seen = seen.holds(|seen| seen.all || seen.members.contains(name.as_str()));
            let location = location.member(name, value);
            all = all.min(self.implied(!is_seen, id, node, &location, "unevaluatedProperties")?);
            if all == Truth::No {
                break;
            }
        }
        Ok(all)
    }

    fn bounds<'v>(
        &mut self,
        node: &'s Node,
        location: &'v InstanceLocation<'_>,
    ) -> Result<Bounds<'v>, Exhausted> {
        let (mut least, mut most) = (Evaluated::default(), None);
        self.evaluated(node, location, Bound::Least, &mut least)?;
        if !self.schema.unjudged.is_empty() {
            self.evaluated(node, location, Bound::Most, most.get_or_insert_default())?;
        }
        Ok(Bounds { least, most })
    }

    /// Adds what a schema that holds for the value, and the schemas it applies in place, have evaluated.
    fn evaluated<'v>(
        &mut self,
        node: &'s Node,
        location: &'v InstanceLocation<'_>,
        bound: Bound,
        seen: &mut Evaluated<'v>,
    ) -> Result<(), Exhausted> {
        for rule in &node.rules {
            self.spend(1)?;
            match (rule, location.value) {
                (Rule::Items(items), Value::Array(_)) => {
                    seen.all |= items.rest.is_some();
                    seen.items_before = seen.items_before.max(items.first.len());
                }
                (Rule::Contains(contains), Value::Array(array)) if contains.evaluates => {
                    for (index, item) in array.iter().enumerate() {
                        self.spend(8)?;
                        if bound.takes(self.quietly(contains.item, &location.item(index, item))?) {
                            seen.items.insert(index);
                        }
                    }
                }
                (Rule::Properties(properties), Value::Object(object)) => {
                    seen.all |= properties.rest.is_some();
                    for name in object.keys() {
                        self.spend(properties.lookup_work(name) + seen.lookup_work(name))?;
                        let mut is_seen = properties.named.contains_key(name);
                        for (pattern, _) in &properties.patterns {
                            is_seen = is_seen || bound.takes(self.matches(pattern.as_ref(), name)?);
                        }
                        if is_seen {
                            seen.members.insert(name);
                        }
                    }
                }
                (Rule::AllOf(ids), _) => {
                    for id in ids {
                        self.evaluated_within(*id, location, bound, seen)?;
                    }
                }
                (Rule::AnyOf(ids) | Rule::OneOf(ids), _) => {
                    for id in ids {
                        if bound.takes(self.quietly(*id, location)?) {
                            self.evaluated_within(*id, location, bound, seen)?;
                        }
                    }
                }
                (Rule::If(rule), _) => {
                    let holds = self.quietly(rule.test, location)?;
                    let (test, then) = (Some(rule.test), rule.then);
                    for (applies, ids) in [(holds, [test, then]), (!holds, [rule.otherwise, None])] {
                        for id in ids.into_iter().flatten().filter(|_| bound.takes(applies)) {
                            self.evaluated_within(id, location, bound, seen)?;
                        }
                    }
                }
                (Rule::DependentSchemas(_, schemas), _) => {
                    for (name, id) in schemas {
                        if self.has(location.value, name)? {
                            self.evaluated_within(*id, location, bound, seen)?;
                        }
                    }
                }
                (Rule::Ref(id), _) => self.evaluated_within(*id, location, bound, seen)?,
                // The other rules evaluate no item or member, or apply no schema that must hold.
                _ => {}
            }
        }
        Ok(())
    }

    fn evaluated_within<'v>(
        &mut self,
        id: Id,
        location: &'v InstanceLocation<'_>,
        bound: Bound,
        seen: &mut Evaluated<'v>,
    ) -> Result<(), Exhausted> {
        let Some(node) = self.node(id) else { return Ok(()) };
        self.spend(2 + node.rules.len() as u64 / 4)?;
        seen.all |= node.rules.iter().any(|rule| match rule {
            Rule::UnevaluatedItems(_) => location.value.as_array().is_some(),
            Rule::UnevaluatedProperties(_) => location.value.as_object().is_some(),
            _ => false,
        });
        self.evaluated(node, location, bound, seen)
    }
}
