#![no_std]
#![forbid(unsafe_code)]
//! Placeholder.
extern crate alloc;
