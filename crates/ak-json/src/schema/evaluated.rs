//! `unevaluatedItems` and `unevaluatedProperties`.
//!
//! What other keywords beside them, and within schemas applied in place, have looked at is worked out anew
//! when one of the two asks, so that nothing else has to keep account of it.

use alloc::collections::BTreeSet;

use super::check::{Check, Checked, Exhausted, Place};
use super::keywords::{Id, Node, Rule};
use crate::value::Value;
use crate::work;

/// The items or members that have been looked at.
#[derive(Default)]
struct Evaluated<'v> {
    /// All of them.
    all: bool,
    /// Items before this one.
    items_before: usize,
    items: BTreeSet<usize>,
    members: BTreeSet<&'v str>,
}

impl Evaluated<'_> {
    /// Units of work for finding or adding a name.
    fn lookup_work(&self, name: &str) -> u64 {
        8 + work::log2(self.members.len()) * (1 + work::bytes(name.len()))
    }
}

impl<'s> Check<'s, '_> {
    pub(super) fn unevaluated_items(&mut self, node: &'s Node, id: Id, place: &Place<'_>) -> Checked {
        let Value::Array(array) = place.value else { return Ok(true) };
        let mut seen = Evaluated::default();
        self.evaluated(node, place, &mut seen)?;
        for (index, item) in array.iter().enumerate() {
            self.spend(4)?;
            let is_seen = seen.all || index < seen.items_before || seen.items.contains(&index);
            if !is_seen && !self.schema(id, &place.item(index, item), "unevaluatedItems")? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    pub(super) fn unevaluated_properties(&mut self, node: &'s Node, id: Id, place: &Place<'_>) -> Checked {
        let Value::Object(object) = place.value else { return Ok(true) };
        let mut seen = Evaluated::default();
        self.evaluated(node, place, &mut seen)?;
        for (name, value) in object {
            self.spend(seen.lookup_work(name))?;
            let is_seen = seen.all || seen.members.contains(name.as_str());
            if !is_seen && !self.schema(id, &place.member(name, value), "unevaluatedProperties")? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Notes what a schema that holds for the value, and those it applies in place, have looked at.
    fn evaluated<'v>(
        &mut self,
        node: &'s Node,
        place: &'v Place<'_>,
        seen: &mut Evaluated<'v>,
    ) -> Result<(), Exhausted> {
        for rule in &node.rules {
            self.spend(1)?;
            match (rule, place.value) {
                (Rule::Items(items), Value::Array(_)) => {
                    seen.all |= items.rest.is_some();
                    seen.items_before = seen.items_before.max(items.prefix.len());
                }
                (Rule::Contains(contains), Value::Array(array)) => {
                    for (index, item) in array.iter().enumerate() {
                        self.spend(8)?;
                        if self.quietly(contains.item, &place.item(index, item))? {
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
                            is_seen = is_seen || self.matches(pattern, name)?;
                        }
                        if is_seen {
                            seen.members.insert(name);
                        }
                    }
                }
                (Rule::AllOf(ids), _) => {
                    for id in ids {
                        self.evaluated_within(*id, place, seen)?;
                    }
                }
                (Rule::AnyOf(ids) | Rule::OneOf(ids), _) => {
                    for id in ids {
                        if self.quietly(*id, place)? {
                            self.evaluated_within(*id, place, seen)?;
                        }
                    }
                }
                (Rule::If(rule), _) => {
                    let holds = self.quietly(rule.test, place)?;
                    let applied = if holds { [Some(rule.test), rule.then] } else { [None, rule.otherwise] };
                    for id in applied.into_iter().flatten() {
                        self.evaluated_within(id, place, seen)?;
                    }
                }
                (Rule::DependentSchemas(schemas), _) => {
                    for (name, id) in schemas {
                        if self.has(place.value, name)? {
                            self.evaluated_within(*id, place, seen)?;
                        }
                    }
                }
                (Rule::Ref(id), _) => self.evaluated_within(*id, place, seen)?,
                // The other rules look at no item or member, or apply nothing that holds.
                _ => {}
            }
        }
        Ok(())
    }

    fn evaluated_within<'v>(
        &mut self,
        id: Id,
        place: &'v Place<'_>,
        seen: &mut Evaluated<'v>,
    ) -> Result<(), Exhausted> {
        let Some(node) = self.node(id) else { return Ok(()) };
        self.spend(2 + node.rules.len() as u64 / 4)?;
        seen.all |= node.rules.iter().any(|rule| match rule {
            Rule::UnevaluatedItems(_) => place.value.as_array().is_some(),
            Rule::UnevaluatedProperties(_) => place.value.as_object().is_some(),
            _ => false,
        });
        self.evaluated(node, place, seen)
    }
}
