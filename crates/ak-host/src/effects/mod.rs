//! The effects that the kernel permits, performed: HTTP calls, model calls and runs of tools. Files are performed by `fs`.

pub(crate) mod context;
pub(crate) mod http;
pub(crate) mod infer;
pub(crate) mod tools;
