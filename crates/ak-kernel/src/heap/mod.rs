//! What the kernel stores about heap objects besides the heap itself.

pub(crate) mod types;
