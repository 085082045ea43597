//! Who may do what: the gate, what it is asked, and how often somebody is heard.

pub(crate) mod admission;
pub(crate) mod gate;
pub(crate) mod query;
