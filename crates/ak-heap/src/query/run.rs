//! Running a query.
//!
//! An index narrows where to look, never what is found: every candidate is held against the whole query.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use ak_json::{Pointer, Text};

use super::{Cursor, Filter, Key, Order, Query, QueryError, Test};
use crate::catalog::{Index, key};
use crate::{Handle, Heap, HeapError, NAME_BYTES_MAX, Object};

/// A query has at most so many conditions, each value of an `in` counting as one.
pub const QUERY_TERMS_MAX: usize = 256;
/// So many bytes of content count as one more object that was looked at.
const BYTES_PER_SCAN: u64 = 4096;

/// Some of the objects that a query finds.
#[derive(Clone, Debug)]
pub struct Page<'h> {
    /// Them, in the query's order.
    pub objects: Vec<(Handle, &'h Object)>,
    /// Where to go on; none where nothing can follow. A page may be short, or empty, and still have a next one:
    /// looking for objects stops at [`HeapConfig::scan_objects_max`](crate::HeapConfig::scan_objects_max).
    pub next: Option<Cursor>,
}

/// A place in the order of results.
type Position = (Key, u32);

impl Heap {
    /// The next page of what a query finds.
    ///
    /// # Errors
    /// The cursor belongs to another query, the query has more than [`QUERY_TERMS_MAX`] conditions, or it demands
    /// an order for which it would have to look at too many objects and there is no index.
    pub fn query(&self, query: &Query) -> Result<Page<'_>, QueryError> {
        self.query_among(query, |_, _| true)
    }

    /// The same among the objects that `admits` lets be seen. Unless an index gives the order, neither page nor cursor
    /// tells what others hold.
    ///
    /// # Errors
    /// As for [`query`](Self::query).
    pub fn query_among(
        &self,
        query: &Query,
        admits: impl Fn(Handle, &Object) -> bool,
    ) -> Result<Page<'_>, QueryError> {
        let finds = |handle, object: &Object| query.matches(object) && admits(handle, object);
        let error = |path: &str, reason| QueryError { path: path.into(), reason };
        let terms = query.filters.iter().map(|filter| match &filter.test {
            Test::In(values) => values.len(),
            _ => 1,
        });
        if terms.fold(0, usize::saturating_add) > QUERY_TERMS_MAX {
            return Err(error("where", "too many conditions"));
        }
        let digest = query.digest();
        let after = match &query.cursor {
            Some(cursor) if cursor.query != digest => {
                return Err(error("cursor", "belongs to another query"));
            }
            Some(cursor) => Some((cursor.key.clone(), cursor.index)),
            None => None,
        };
        let found = match &query.order {
            Order::Place => self.collect(query, &finds, self.by_place(query, after.as_ref()), after),
            Order::Value { pointer, descending } => match self.index(query, pointer) {
                Some(index) => {
                    let positions = by_value(query, pointer, *descending, index, after.as_ref());
                    self.collect(query, &finds, positions, after)
                }
                None => self
                    .sorted(query, &finds, pointer, *descending, after)
                    .ok_or_else(|| error("order", "needs an index, so many objects are there"))?,
            },
        };
        let cursor = |(key, index)| Cursor { query: digest, index, key };
        Ok(Page { objects: found.objects, next: found.next.map(cursor) })
    }

    /// Makes an index of the objects of a type by the value at a pointer, which queries use from then on. Making
    /// one that is there changes nothing.
    ///
    /// # Errors
    /// There are too many indexes, or the name is empty or too long.
    pub fn create_index(&mut self, type_name: &str, pointer: &Pointer) -> Result<(), HeapError> {
        if type_name.is_empty() || type_name.len() > NAME_BYTES_MAX {
            return Err(HeapError::Name("type name"));
        }
        if self.catalog.index(type_name, pointer).is_some() {
            return Ok(());
        }
        let max = self.config().indexes_max;
        if self.catalog.index_count() >= max {
            return Err(HeapError::Limit { limit: "indexes", max: max as u64 });
        }
        let members = self.catalog.members(type_name).into_iter().flatten();
        let objects =
            members.filter_map(|index| self.slots.live_at(*index).map(|(_, object)| (*index, object)));
        let entries = objects.map(|(index, object)| (key(object.content(), pointer), index)).collect();
        self.catalog.add_index(type_name, pointer, entries);
        Ok(())
    }

    /// Drops an index; returns whether there was one.
    pub fn drop_index(&mut self, type_name: &str, pointer: &Pointer) -> bool {
        self.catalog.remove_index(type_name, pointer)
    }

    /// The index that orders the query's type by the pointer, if there is one.
    fn index(&self, query: &Query, pointer: &Pointer) -> Option<&Index> {
        self.catalog.index(query.type_name.as_ref()?, pointer)
    }

    /// Candidates in the order of their places.
    fn by_place<'h>(
        &'h self,
        query: &Query,
        after: Option<&Position>,
    ) -> Box<dyn Iterator<Item = Position> + 'h> {
        let from = after.map_or(0, |(_, index)| index.saturating_add(1));
        let Some(name) = &query.type_name else {
            let end = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
            return Box::new((from..end).map(|index| (Key::Other, index)));
        };
        let equal = query.filters.iter().find_map(|filter| match &filter.test {
            Test::Equal(value) => Some((self.index(query, &filter.pointer)?, Key::of(Some(value)))),
            _ => None,
        });
        if let Some((index, key)) = equal {
            let range = index.range((key.clone(), from)..=(key, u32::MAX));
            return Box::new(range.map(|(_, index)| (Key::Other, *index)));
        }
        let members = self.catalog.members(name).into_iter().flat_map(move |members| members.range(from..));
        Box::new(members.map(|index| (Key::Other, *index)))
    }

    /// What is found among candidates that come in order.
    fn collect<'h>(
        &'h self,
        query: &Query,
        finds: &impl Fn(Handle, &Object) -> bool,
        candidates: impl Iterator<Item = Position>,
        after: Option<Position>,
    ) -> Found<'h> {
        let mut found = Found { objects: Vec::new(), next: after };
        let limit = query.limit.min(self.config().page_objects_max);
        let mut budget = self.config().scan_objects_max as u64;
        for position in candidates {
            if found.objects.len() >= limit || budget == 0 {
                return found;
            }
            let Some((handle, object)) = self.slots.live_at(position.1) else { continue };
            budget = budget.saturating_sub(cost(object));
            if finds(handle, object) {
                found.objects.push((handle, object));
            }
            found.next = Some(position);
        }
        Found { next: None, ..found }
    }

    /// What is found when there is no index for the order; nothing if that takes too long.
    fn sorted<'h>(
        &'h self,
        query: &Query,
        finds: &impl Fn(Handle, &Object) -> bool,
        pointer: &Pointer,
        descending: bool,
        after: Option<Position>,
    ) -> Option<Found<'h>> {
        let mut budget = self.config().scan_objects_max as u64;
        let mut matching = Vec::new();
        for (_, index) in self.by_place(query, None) {
            let Some((handle, object)) = self.slots.live_at(index) else { continue };
            budget = budget.checked_sub(cost(object))?;
            if finds(handle, object) {
                matching.push(((key(object.content(), pointer), index), (handle, object)));
            }
        }
        matching.sort_by(|(a, _), (b, _)| if descending { b.cmp(a) } else { a.cmp(b) });
        let is_before = |position: &Position| {
            after.as_ref().is_some_and(|after| if descending { position >= after } else { position <= after })
        };
        let start = matching.partition_point(|(position, _)| is_before(position));
        let limit = query.limit.min(self.config().page_objects_max);
        let end = start.saturating_add(limit).min(matching.len());
        let next = if end == matching.len() {
            None
        } else {
            matching.get(start..end).and_then(<[_]>::last).map(|(position, _)| position.clone()).or(after)
        };
        let objects = matching.into_iter().take(end).skip(start).map(|(_, object)| object).collect();
        Some(Found { objects, next })
    }
}

struct Found<'h> {
    objects: Vec<(Handle, &'h Object)>,
    next: Option<Position>,
}

/// How many objects this one counts for when it is looked at.
fn cost(object: &Object) -> u64 {
    (object.size() / BYTES_PER_SCAN).saturating_add(1)
}

/// Candidates in the order of an index, as far as the query's conditions on its pointer allow.
fn by_value<'h>(
    query: &Query,
    pointer: &Pointer,
    descending: bool,
    index: &'h Index,
    after: Option<&Position>,
) -> Box<dyn Iterator<Item = Position> + 'h> {
    let (mut low, mut high) = ((Key::Null, 0), (Key::Other, u32::MAX));
    for Filter { test, .. } in query.filters.iter().filter(|filter| filter.pointer == *pointer) {
        let (at_least, at_most) = match test {
            Test::Equal(value) => (Some(Key::of(Some(value))), Some(Key::of(Some(value)))),
            Test::Less(value) | Test::AtMost(value) => (None, Some(Key::of(Some(value)))),
            Test::Greater(value) | Test::AtLeast(value) => (Some(Key::of(Some(value))), None),
            Test::Prefix(prefix) => {
                let first = Key::of(Some(&prefix.clone().into()));
                (Some(first), beyond_prefix(prefix).map(|text| Key::of(Some(&text.into()))))
            }
            Test::NotEqual(_) | Test::In(_) | Test::Exists(_) | Test::Contains(_) => (None, None),
        };
        low = at_least.map(|key| (key, 0)).map_or(low.clone(), |bound| bound.max(low));
        high = at_most.map(|key| (key, u32::MAX)).map_or(high.clone(), |bound| bound.min(high));
    }
    if let Some(after) = after {
        let bound = if descending { &mut high } else { &mut low };
        *bound = after.clone();
    }
    if low > high {
        return Box::new(core::iter::empty());
    }
    let after = after.cloned();
    let range = index.range(low..=high).filter(move |position| after.as_ref() != Some(position)).cloned();
    if descending { Box::new(range.rev()) } else { Box::new(range) }
}

/// The least string greater than all that begin with the prefix, if there is one.
fn beyond_prefix(prefix: &Text) -> Option<String> {
    let mut text = String::from(&**prefix);
    while let Some(last) = text.pop() {
        if let Some(next) = (last..=char::MAX).nth(1) {
            text.push(next);
            return Some(text);
        }
    }
    None
}
