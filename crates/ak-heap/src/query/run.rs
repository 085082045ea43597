//! Running a query.
//!
//! An index only reduces the candidates; each candidate is then tested against the whole query.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use ak_json::{OutOfWork, Pointer, Text, Work};

use super::{Cursor, Filter, Order, Query, QueryError, Test};
use crate::catalog::Index;
use crate::config::{NAME_BYTES_MAX, REQUEST_WORK};
use crate::error::HeapError;
use crate::handle::Handle;
use crate::heap::Heap;
use crate::key::Key;
use crate::object::Object;

/// The most conditions of a query; each value of an `in` counts as one.
pub const QUERY_TERMS_MAX: usize = 256;
/// Bytes of content that count as one more object examined.
const BYTES_PER_SCAN: u64 = 4096;

/// One page of the objects that a query finds.
#[derive(Clone, Debug)]
pub struct Page<'h> {
    /// The objects found, in the query's order.
    pub objects: Vec<(Handle, &'h Object)>,
    /// The cursor of the next page; `None` if no object can follow. A page can be short, or even empty, and still
    /// have a next one, because a search stops at
    /// [`HeapConfig::scan_objects_max`](crate::HeapConfig::scan_objects_max).
    pub next: Option<Cursor>,
}

/// A position in the order of results: key, index in the table.
type Position = (Key, u32);

/// The owners whose objects a query examines. Objects outside the scope are skipped: they cost no work and influence
/// no result.
#[derive(Clone, Copy, Debug)]
pub enum Scope<'s> {
    /// All owners.
    All,
    /// These owners, in any order; duplicates have no effect.
    Owners(&'s [&'s str]),
}

/// Units of work for a query, independent of its results.
const QUERY_WORK: u64 = 200;
/// Units for deciding whether an object is admitted.
const ADMIT_WORK: u64 = 100;
/// Units for each owner in the scope: to find the owner's objects, and to merge them into one order.
const OWNER_WORK: u64 = 40;
const MERGE_WORK: u64 = 2;
/// Units for computing an object's key, and for each comparison in sorting.
const KEY_WORK: u64 = 20;
const SORT_WORK: u64 = 4;
/// Units for adding an object to a new index.
const INDEX_WORK: u64 = 150;

impl Heap {
    /// The next page of a query over all objects, with [`REQUEST_WORK`](crate::REQUEST_WORK).
    ///
    /// # Errors
    /// As for [`query_in_scope`](Self::query_in_scope).
    pub fn query(&self, query: &Query) -> Result<Page<'_>, QueryError> {
        self.query_in_scope(query, Scope::All, |_, _| true, &mut Work::new(REQUEST_WORK))
    }

    /// The next page of a query over the objects in the scope for which `admits` returns true.
    ///
    /// The heap calls `admits` before it examines anything of an object. Objects that are not admitted do not
    /// influence page, cursor or error. Such an object costs work if it is in the scope, and nothing otherwise.
    ///
    /// If the work runs out, the search stops: the page is then short, or the query fails if no object was examined.
    ///
    /// # Errors
    /// When the cursor belongs to another query, the query has more than [`QUERY_TERMS_MAX`] conditions, the work is
    /// not enough, or its order needs an index that does not exist, because there are too many objects to sort.
    pub fn query_in_scope(
        &self,
        query: &Query,
        scope: Scope<'_>,
        admits: impl Fn(Handle, &Object) -> bool,
        work: &mut Work,
    ) -> Result<Page<'_>, QueryError> {
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
        let owners = owners(query, scope, work).map_err(|OutOfWork| out_of_work("query"))?;
        let search = Search { heap: self, query, owners, admits };
        let found = match &query.order {
            Order::Place => search.collect(search.by_place(after.as_ref()), after, work)?,
            Order::Value { pointer, descending } => match self.index(query, pointer) {
                Some(index) => {
                    let positions = search.by_value(pointer, *descending, index, after.as_ref());
                    search.collect(positions, after, work)?
                }
                None => search.sorted(pointer, *descending, after, work)?,
            },
        };
        let cursor = |(key, index)| Cursor { query: digest, index, key };
        Ok(Page { objects: found.objects, next: found.next.map(cursor) })
    }

    /// Creates an index of the objects of a type by the value at a pointer, which queries use from then on. If the
    /// index exists already, nothing changes.
    ///
    /// # Errors
    /// When there are too many indexes, the name is empty or too long, or the work is not enough to read each object.
    pub fn create_index(
        &mut self,
        type_name: &str,
        pointer: &Pointer,
        work: &mut Work,
    ) -> Result<(), HeapError> {
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
        let mut entries = Index::default();
        for index in self.catalog.members(type_name).into_iter().flat_map(|members| members.all()) {
            work.spend(INDEX_WORK)?;
            let Some((_, object)) = self.slots.live_at(*index) else { continue };
            let value = match object.content().as_json() {
                Some(document) => document.find(pointer, work)?,
                None => None,
            };
            entries.add(object.owner(), (Key::of(value), *index));
        }
        self.catalog.add_index(type_name, pointer, entries);
        Ok(())
    }

    /// Removes an index; returns whether there was one.
    pub fn drop_index(&mut self, type_name: &str, pointer: &Pointer) -> bool {
        self.catalog.remove_index(type_name, pointer)
    }

    /// The index of the query's type by this pointer; `None` if there is none.
    fn index(&self, query: &Query, pointer: &Pointer) -> Option<&Index> {
        self.catalog.index(query.type_name.as_ref()?, pointer)
    }
}

fn error(path: &str, reason: &'static str) -> QueryError {
    QueryError { path: path.into(), reason }
}

fn out_of_work(path: &str) -> QueryError {
    error(path, "takes more than the limit of work")
}

/// The owners whose objects to examine, sorted, each once; `None` for all owners.
fn owners<'q>(
    query: &'q Query,
    scope: Scope<'q>,
    work: &mut Work,
) -> Result<Option<Vec<&'q str>>, OutOfWork> {
    work.spend(QUERY_WORK)?;
    let wanted = query.owner.as_deref();
    let owners = match scope {
        Scope::All => return Ok(wanted.map(|owner| [owner].into())),
        Scope::Owners(owners) => owners,
    };
    work.spend(OWNER_WORK.saturating_mul(owners.len() as u64))?;
    let mut owners: Vec<&str> =
        owners.iter().copied().filter(|owner| wanted.is_none_or(|wanted| wanted == *owner)).collect();
    owners.sort_unstable();
    owners.dedup();
    Ok(Some(owners))
}

/// A running query.
struct Search<'h, 'q, A> {
    heap: &'h Heap,
    query: &'q Query,
    owners: Option<Vec<&'q str>>,
    admits: A,
}

impl<'h, A: Fn(Handle, &Object) -> bool> Search<'h, '_, A> {
    /// Units of work for one more candidate.
    fn candidate_work(&self) -> u64 {
        let owners = self.owners.as_ref().map_or(0, Vec::len) as u64;
        ADMIT_WORK.saturating_add(MERGE_WORK.saturating_mul(owners))
    }

    /// Candidates in the order of their indexes in the table.
    fn by_place(&self, after: Option<&Position>) -> Box<dyn Iterator<Item = Position> + 'h> {
        let (catalog, owners) = (&self.heap.catalog, self.owners.as_deref());
        let from = match after {
            None => 0,
            Some((_, u32::MAX)) => return Box::new(core::iter::empty()),
            Some((_, index)) => index + 1,
        };
        let place = |index: &u32| (Key::Other, *index);
        let Some(name) = &self.query.type_name else {
            return Box::new(catalog.objects().range(owners, from.., false).map(place));
        };
        let equal = self.query.filters.iter().find_map(|filter| match &filter.test {
            Test::Equal(value) => Some((self.heap.index(self.query, &filter.pointer)?, Key::of(Some(value)))),
            _ => None,
        });
        if let Some((index, key)) = equal {
            let range = (key.clone(), from)..=(key, u32::MAX);
            return Box::new(index.range(owners, range, false).map(|(_, index)| (Key::Other, *index)));
        }
        match catalog.members(name) {
            Some(members) => Box::new(members.range(owners, from.., false).map(place)),
            None => Box::new(core::iter::empty()),
        }
    }

    /// Candidates in the order of a secondary index, restricted by the query's conditions on its pointer.
    fn by_value(
        &self,
        pointer: &Pointer,
        descending: bool,
        index: &'h Index,
        after: Option<&Position>,
    ) -> Box<dyn Iterator<Item = Position> + 'h> {
        let (low, high) = key_range(self.query, pointer, descending, after);
        if low > high {
            return Box::new(core::iter::empty());
        }
        let after = after.cloned();
        let range = index.range(self.owners.as_deref(), low..=high, descending);
        Box::new(range.filter(move |position| after.as_ref() != Some(position)).cloned())
    }

    /// The next page from candidates that come in order.
    fn collect(
        &self,
        candidates: impl Iterator<Item = Position>,
        after: Option<Position>,
        work: &mut Work,
    ) -> Result<Found<'h>, QueryError> {
        let mut found = Found { objects: Vec::new(), next: after };
        let config = self.heap.config();
        let limit = self.query.limit.min(config.page_objects_max);
        let mut budget = config.scan_objects_max as u64;
        let mut is_first = true;
        for position in candidates {
            if found.objects.len() >= limit || budget == 0 {
                return Ok(found);
            }
            let matches = match self.look(position.1, work) {
                Ok(None) => continue,
                Ok(Some(matches)) => matches,
                Err(OutOfWork) if is_first => return Err(out_of_work("query")),
                Err(OutOfWork) => return Ok(found),
            };
            let Some((handle, object)) = self.heap.slots.live_at(position.1) else { continue };
            budget = budget.saturating_sub(cost(object));
            if matches {
                found.objects.push((handle, object));
            }
            // A cursor must reveal only objects that the caller may see.
            found.next = Some(position);
            is_first = false;
        }
        Ok(Found { next: None, ..found })
    }

    /// Whether an object matches; `None` if the caller may not see it.
    fn look(&self, index: u32, work: &mut Work) -> Result<Option<bool>, OutOfWork> {
        work.spend(self.candidate_work())?;
        let Some((handle, object)) = self.heap.slots.live_at(index) else { return Ok(None) };
        if !(self.admits)(handle, object) {
            return Ok(None);
        }
        self.query.matches(object, work).map(Some)
    }

    /// The next page if there is no index for the order.
    fn sorted(
        &self,
        pointer: &Pointer,
        descending: bool,
        after: Option<Position>,
        work: &mut Work,
    ) -> Result<Found<'h>, QueryError> {
        let exhausted = |OutOfWork| out_of_work("order");
        let mut budget = self.heap.config().scan_objects_max as u64;
        let mut matching = Vec::new();
        for (_, index) in self.by_place(None) {
            let Some(matches) = self.look(index, work).map_err(exhausted)? else { continue };
            let Some((handle, object)) = self.heap.slots.live_at(index) else { continue };
            budget = budget
                .checked_sub(cost(object))
                .ok_or_else(|| error("order", "needs an index, so many objects are there"))?;
            if matches {
                work.spend(KEY_WORK).map_err(exhausted)?;
                let value = match object.content().as_json() {
                    Some(document) => document.find(pointer, work).map_err(exhausted)?,
                    None => None,
                };
                matching.push(((Key::of(value), index), (handle, object)));
            }
        }
        let comparisons = matching.len() as u64 * u64::from(usize::BITS - matching.len().leading_zeros());
        work.spend(comparisons.saturating_mul(SORT_WORK)).map_err(exhausted)?;
        matching.sort_by(|(a, _), (b, _)| if descending { b.cmp(a) } else { a.cmp(b) });
        let is_before = |position: &Position| {
            after.as_ref().is_some_and(|after| if descending { position >= after } else { position <= after })
        };
        let start = matching.partition_point(|(position, _)| is_before(position));
        let limit = self.query.limit.min(self.heap.config().page_objects_max);
        let end = start.saturating_add(limit).min(matching.len());
        let next = if end == matching.len() {
            None
        } else {
            matching.get(start..end).and_then(<[_]>::last).map(|(position, _)| position.clone()).or(after)
        };
        let objects = matching.into_iter().take(end).skip(start).map(|(_, object)| object).collect();
        Ok(Found { objects, next })
    }
}

struct Found<'h> {
    objects: Vec<(Handle, &'h Object)>,
    next: Option<Position>,
}

/// The number of objects that this one counts as when it is examined.
fn cost(object: &Object) -> u64 {
    (object.size() / BYTES_PER_SCAN).saturating_add(1)
}

/// The positions that a query's conditions on an index's pointer allow, from the cursor on.
fn key_range(
    query: &Query,
    pointer: &Pointer,
    descending: bool,
    after: Option<&Position>,
) -> (Position, Position) {
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
    (low, high)
}

/// The least string greater than all strings with the prefix; `None` if there is none.
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
