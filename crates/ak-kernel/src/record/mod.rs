//! The record of each input: entry, subjects, and the readable entries for queries.

pub(crate) mod entry;
pub(crate) mod history;
pub(crate) mod recorded;
pub(crate) mod shared;
pub(crate) mod subjects;
pub(crate) mod view;
