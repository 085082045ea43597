//! TODO

pub(crate) mod http;
pub(crate) mod infer;
pub(crate) mod tools;
