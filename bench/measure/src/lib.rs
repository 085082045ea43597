//! Compares contenders in one run: they take turns, round by round, and their medians are compared.
//!
//! A [`Race`] times several ways to do one thing; a [`Report`] collects races, prints them as Markdown and says which
//! targets are met.

mod race;
mod report;

pub use race::{Clock, Race, Result};
pub use report::Report;

/// Keeps the compiler from removing work whose result is not used.
pub use std::hint::black_box;
