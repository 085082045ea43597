//! The registered tools, and one run of a tool.

pub(crate) mod registry;
pub(crate) mod run;
