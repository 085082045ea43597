//! What the kernel knows of heap objects beside the heap itself.

pub(crate) mod types;
