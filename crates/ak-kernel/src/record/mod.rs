//! What each input leaves: the entry, whom it is about, and what can be read of it.

pub(crate) mod entry;
pub(crate) mod history;
pub(crate) mod recorded;
pub(crate) mod shared;
pub(crate) mod subjects;
pub(crate) mod view;
