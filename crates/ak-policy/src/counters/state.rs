//! Reads the state of a table back from JSON, which is not trusted.

use alloc::vec::Vec;

use ak_json::{Pointer, Text, Value};

/// The highest reservation number that is read. Reservations are numbered one by one, so no table ever reaches it;
/// a higher number in a state would let the numbers run out.
pub(crate) const RESERVATIONS_MAX: u64 = u64::MAX / 2;

/// Why a value is not the state of a table: it has the wrong form, or no sequence of calls leads to such a state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{table} at '{at}': {reason}")]
pub struct TableError {
    /// The table: `grants`, `ledger`, `limits`, `capabilities`, or a `claim` on one.
    pub table: &'static str,
    /// The place of the error in the value.
    pub at: Pointer,
    /// What is wrong there.
    pub reason: &'static str,
}

pub(crate) type ReadResult<T> = Result<T, TableError>;

/// A part of a table's value with its place, from which errors derive their pointer.
#[derive(Clone, Copy)]
pub(crate) struct Part<'a> {
    table: &'static str,
    value: &'a Value,
    within: Option<(&'a Part<'a>, Step<'a>)>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Member(&'a str),
    Item(usize),
}

impl<'a> Part<'a> {
    pub(crate) fn whole(table: &'static str, value: &'a Value) -> Self {
        Self { table, value, within: None }
    }

    pub(crate) fn wrong(&self, reason: &'static str) -> TableError {
        let steps: Vec<_> =
            core::iter::successors(self.within, |(part, _)| part.within).map(|(_, step)| step).collect();
        let mut at = Pointer::root();
        for step in steps.into_iter().rev() {
            match step {
                Step::Member(name) => at.push(name),
                Step::Item(index) => at.push_index(index),
            }
        }
        TableError { table: self.table, at, reason }
    }

    /// Returns an error with this reason unless the condition holds.
    pub(crate) fn demand(&self, holds: bool, reason: &'static str) -> ReadResult<()> {
        if holds { Ok(()) } else { Err(self.wrong(reason)) }
    }

    fn step<'p>(&'p self, step: Step<'p>, value: &'p Value) -> Part<'p> {
        Part { table: self.table, value, within: Some((self, step)) }
    }

    /// The members of an object that has exactly these names.
    pub(crate) fn members<'p, const N: usize>(
        &'p self,
        names: [&'static str; N],
    ) -> ReadResult<[Part<'p>; N]> {
        let object = self.value.as_object().ok_or_else(|| self.wrong("not an object"))?;
        let member = |name| Some(self.step(Step::Member(name), object.get(name)?));
        let members: Option<Vec<_>> = names.into_iter().map(member).collect();
        let members = members.filter(|_| object.len() == N).and_then(|members| members.try_into().ok());
        members.ok_or_else(|| self.wrong("members are missing or unknown"))
    }

    /// Whether the value is an object with this member.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.value.as_object().is_some_and(|object| object.get(name).is_some())
    }

    /// The members of an object with arbitrary names.
    pub(crate) fn entries<'p>(&'p self) -> ReadResult<impl Iterator<Item = (&'p Text, Part<'p>)>> {
        let object = self.value.as_object().ok_or_else(|| self.wrong("not an object"))?;
        Ok(object.iter().map(|(name, value)| (name, self.step(Step::Member(name), value))))
    }

    pub(crate) fn items<'p>(&'p self) -> ReadResult<impl ExactSizeIterator<Item = Part<'p>>> {
        let array = self.value.as_array().ok_or_else(|| self.wrong("not an array"))?;
        Ok(array.iter().enumerate().map(|(index, value)| self.step(Step::Item(index), value)))
    }

    /// The items of an array that has exactly `N`.
    pub(crate) fn tuple<const N: usize>(&self) -> ReadResult<[Part<'_>; N]> {
        let items: Vec<_> = self.items()?.collect();
        items.try_into().map_err(|_| self.wrong("too few or too many items"))
    }

    pub(crate) fn number<T: TryFrom<u64>>(&self) -> ReadResult<T> {
        let number = self.value.as_u64().and_then(|number| T::try_from(number).ok());
        number.ok_or_else(|| self.wrong("not a whole number in range"))
    }

    pub(crate) fn text(&self) -> ReadResult<&'a str> {
        self.value.as_str().ok_or_else(|| self.wrong("not a string"))
    }

    pub(crate) fn boolean(&self) -> ReadResult<bool> {
        self.value.as_bool().ok_or_else(|| self.wrong("neither true nor false"))
    }

    /// `None` for `null`, otherwise what `read` returns.
    pub(crate) fn optional<T>(&self, read: impl FnOnce(&Self) -> ReadResult<T>) -> ReadResult<Option<T>> {
        if self.value.is_null() { Ok(None) } else { read(self).map(Some) }
    }
}
