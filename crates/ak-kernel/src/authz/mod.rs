//! Authorization: the gate, the policy query, and the admission rates.

pub(crate) mod admission;
pub(crate) mod gate;
pub(crate) mod query;
