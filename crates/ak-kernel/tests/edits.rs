//! No edit of an exported journal is accepted without a finding, as long as whoever makes it knows no salt and no key.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod editing;
mod support;

use editing::{Dice, Outcome, edit, journal, outcome, report};

/// How many edits are made; many more in the nightly run.
const EDITS: (&str, u64) = ("AK_EDITS", 2_000);
/// How many edits are made of one journal.
const EDITS_OF_ONE: u64 = 25;

/// A finding is what [`first_wrong`](ak_kernel::Examination::first_wrong) says, or that the bytes are no stream. Where what is left is
/// another log that a kernel could have written, the finding is its head, which is not the one that was kept.
#[test]
fn no_edit_of_a_journal_is_accepted_without_a_finding() {
    let edits = std::env::var(EDITS.0).map_or(EDITS.1, |text| text.parse().unwrap());
    let from = std::env::var("PROPTEST_RNG_SEED").map_or(0, |text| text.parse().unwrap());
    let (mut made, mut another, mut uncounted, mut opaque) = (0, 0, 0, 0);
    let mut accepted = Vec::new();
    let mut other = journal(&mut Dice::new(&[], from ^ 0xa5a5));
    for seed in from.. {
        let mut dice = Dice::new(&[], seed);
        let pieces = journal(&mut dice);
        let unedited = report(&pieces);
        assert_eq!(unedited.wrong, None, "seed {seed}: the journal itself");
        opaque += u64::from(!unedited.complete);
        for _ in 0..EDITS_OF_ONE {
            let (edited, done) = edit(&mut dice, &pieces, &other);
            let outcome = outcome(&pieces, &edited);
            made += u64::from(outcome != Outcome::Same);
            match outcome {
                Outcome::Same | Outcome::Found => {}
                Outcome::Another => another += 1,
                Outcome::Uncounted => uncounted += 1,
                Outcome::Accepted => accepted.push(format!("seed {seed}: {done}; {} entries", edited.len())),
            }
        }
        other = pieces;
        if made >= edits {
            break;
        }
    }
    println!(
        "{made} edits: {another} made another log, {uncounted} took a body that nobody counted, {} were accepted; \
         {opaque} journals had opaque entries",
        accepted.len()
    );
    assert!(accepted.is_empty(), "{} of {made}:\n{}", accepted.len(), accepted.join("\n"));
}
