//! No edit of an exported journal, made without any salt or key, is accepted without a finding.
#![no_main]

#[path = "../../crates/ak-kernel/tests/editing/mod.rs"]
mod editing;
#[path = "../../crates/ak-kernel/tests/support/mod.rs"]
mod support;

use editing::{Dice, Outcome, edit, journal, outcome, report};
use libfuzzer_sys::fuzz_target;

/// The number of input bytes that choose the recorded run. The rest chooses the edit.
const RUN_BYTES: usize = 64;

fuzz_target!(|bytes: &[u8]| {
    let (run, edits) = bytes.split_at(bytes.len().min(RUN_BYTES));
    let pieces = journal(&mut Dice::new(run, 0));
    let unedited = report(&pieces);
    assert_eq!(
        unedited.wrong, None,
        "the journal itself, complete: {}, {:?}",
        unedited.complete, unedited.head
    );
    let other = journal(&mut Dice::new(&[], 1));
    let (edited, done) = edit(&mut Dice::new(edits, 0), &pieces, &other);
    assert_ne!(outcome(&pieces, &edited), Outcome::Accepted, "{done}");
});
