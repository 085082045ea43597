//! `only`: the places in the arguments that may hold values.

use alloc::boxed::Box;
use alloc::vec::Vec;

use ak_json::{Pointer, Value, array_index};

use super::select::{Selector, Token};
use crate::pattern::Meter;

/// The most places of an `only`.
pub(crate) const PLACES_MAX: usize = 64;
/// How many places are compared in one step.
const PLACES_PER_STEP: usize = 4;

/// The places that may hold values, each with everything below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Only(Box<[Selector]>);

impl Only {
    /// The places in canonical order; `None` when there are more than [`PLACES_MAX`].
    pub(crate) fn new(mut places: Vec<Selector>) -> Option<Self> {
        places.sort();
        places.dedup();
        (places.len() <= PLACES_MAX).then(|| Self(places.into()))
    }

    pub(crate) fn places(&self) -> &[Selector] {
        &self.0
    }

    /// Whether there is no value outside the places.
    pub(crate) fn covers(&self, value: Option<&Value>, meter: &Meter) -> bool {
        value.is_none_or(|value| self.walk(self.all(), 0, value, meter, &mut |_| {}))
    }

    /// A place outside that holds a value; `None` when there is none.
    pub(crate) fn witness(&self, value: Option<&Value>, meter: &Meter) -> Option<Pointer> {
        let mut tokens = Vec::new();
        let covered = self.walk(self.all(), 0, value?, meter, &mut |token| tokens.push(token));
        // The walk reports the tokens of the first such place innermost first.
        (!covered).then(|| tokens.into_iter().rev().collect())
    }

    fn all(&self) -> u64 {
        u64::MAX.checked_shr(64 - self.0.len() as u32).unwrap_or(0)
    }

    /// Whether `value`, which the places in `active` lead to after `depth` tokens, contains nothing outside them.
    fn walk(
        &self,
        active: u64,
        depth: usize,
        value: &Value,
        meter: &Meter,
        out: &mut dyn FnMut(ak_json::Text),
    ) -> bool {
        if self.ends(active, depth) {
            return true;
        }
        match value {
            Value::Object(object) => object.iter().all(|(name, member)| {
                if !self.pays(meter) {
                    return false;
                }
                let next = self.step(active, depth, |token| *token == **name);
                let covered = next != 0 && self.walk(next, depth + 1, member, meter, out);
                if !covered {
                    out(name.clone());
                }
                covered
            }),
            Value::Array(array) => array.iter().enumerate().all(|(index, item)| {
                if !self.pays(meter) {
                    return false;
                }
                let next = self.step(active, depth, |token| array_index(token) == Some(index));
                let covered = next != 0 && self.walk(next, depth + 1, item, meter, out);
                if !covered {
                    out(alloc::format!("{index}").into());
                }
                covered
            }),
            // A value is at a place where only deeper places were allowed.
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
        }
    }

    /// Takes the steps for one member or item, which is compared with every place.
    fn pays(&self, meter: &Meter) -> bool {
        meter.take(1 + self.0.len() / PLACES_PER_STEP)
    }

    /// Whether one of the places ends at this depth.
    fn ends(&self, active: u64, depth: usize) -> bool {
        self.select(active).any(|(_, place)| place.tokens().len() == depth)
    }

    /// The places whose next token matches.
    fn step(&self, active: u64, depth: usize, is: impl Fn(&str) -> bool) -> u64 {
        let goes_on = |place: &Selector| match place.tokens().get(depth) {
            Some(Token::Each) => true,
            Some(Token::Name(name)) => is(name),
            None => false,
        };
        self.select(active).filter(|(_, place)| goes_on(place)).fold(0, |set, (bit, _)| set | bit)
    }

    fn select(&self, active: u64) -> impl Iterator<Item = (u64, &Selector)> {
        self.0
            .iter()
            .enumerate()
            .map(|(at, place)| (1u64 << at, place))
            .filter(move |(bit, _)| active & bit != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn nothing_stands_outside() {
        let check = |places: &[&str], args: &str, outside: Option<&str>| {
            let only = Only::new(places.iter().map(|text| Selector::parse(text).unwrap()).collect()).unwrap();
            let args = Value::parse(args.as_bytes(), &ak_json::Limits::default()).unwrap();
            assert_eq!(
                only.witness(Some(&args), &Meter::of_pattern()).map(|at| at.to_string()).as_deref(),
                outside,
                "{places:?} {args:?}"
            );
            assert_eq!(only.covers(Some(&args), &Meter::of_pattern()), outside.is_none());
        };
        check(&["/a", "/b"], r#"{"a":1,"b":{"c":[1,2]}}"#, None);
        check(&["/a", "/b"], r#"{"a":1,"c":2}"#, Some("/c"));
        check(&["/a", "/b"], r#"{"a":1,"A":2}"#, Some("/A"));
        check(&["/a"], "{}", None);
        check(&[], "{}", None);
        check(&[], r#"{"a":1}"#, Some("/a"));
        check(&[""], r#"{"a":1}"#, None);
        check(&["/a"], r#""text""#, Some(""));
        check(&["/a"], "[1]", Some("/0"));
        check(&["/a/b"], r#"{"a":{"b":1}}"#, None);
        check(&["/a/b"], r#"{"a":{"b":1,"c":2}}"#, Some("/a/c"));
        check(&["/a/b"], r#"{"a":1}"#, Some("/a"));
        check(&["/items/*/id"], r#"{"items":[{"id":1},{"id":2}]}"#, None);
        check(&["/items/*/id"], r#"{"items":[{"id":1},{"id":2,"to":3}]}"#, Some("/items/1/to"));
        check(&["/*/x", "/a/y"], r#"{"a":{"x":1,"y":2},"b":{"x":1}}"#, None);
        check(&["/*/x", "/a/y"], r#"{"b":{"y":1}}"#, Some("/b/y"));
    }
}
