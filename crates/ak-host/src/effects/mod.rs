//! Performs the effects that the kernel permits: HTTP calls, model calls and tool runs. `fs` performs file effects.

pub(crate) mod context;
pub(crate) mod http;
pub(crate) mod infer;
pub(crate) mod tools;
