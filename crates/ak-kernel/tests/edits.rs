//! Verification finds every edit of an exported journal by an editor who knows neither salts nor keys.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod editing;
mod support;

use std::collections::BTreeMap;

use ak_json::Value;
use ak_kernel::{EntryStatus, LogVerifier, Operation, StoredBody, ToolReplay, ak_audit};
use sha2::{Digest as _, Sha256};

use editing::{Dice, Outcome, edit, journal, outcome, report};
use support::{Machine, alloc, json};

/// The number of edits that are tried; many more in the nightly run.
const EDITS: (&str, u64) = ("AK_EDITS", 2_000);
/// The number of edits that are tried on one journal.
const EDITS_OF_ONE: u64 = 25;

/// An edit is found if [`first_wrong`](ak_kernel::LogVerifier::first_wrong) reports it, or if the bytes cannot be
/// decoded. If the result is another log that a kernel could have written, its head must differ from the
/// original's.
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

/// The bytes that the kernel derives from an input's entropy for a purpose.
fn derived(entropy: &[u8; 32], purpose: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(entropy);
    hash.update([u8::try_from(purpose.len()).unwrap()]);
    hash.update(purpose);
    hash.finalize().into()
}

/// A small journal whose genesis names another version. `commit` computes its commitment anew, for which the
/// entropy in the body suffices.
fn of_version(version: u64, commit: bool) -> Machine {
    let mut machine = Machine::new();
    machine.call(alloc("note", "1")).unwrap();
    let Value::Object(mut body) = json(std::str::from_utf8(&machine.records[0].body).unwrap()) else {
        panic!()
    };
    body.insert("semantics", version);
    if version < 9 {
        // Members that earlier versions did not write.
        body.remove("uptime");
        body.remove("boot");
    }
    let body = Value::from(body);
    machine.records[0].body = body.to_json().into_bytes().into();
    if commit {
        // The entropy of the first input of `support`.
        let salt = derived(&[1; 32], "salt");
        change_leaf(&mut machine, 0, |entry| {
            entry.request = ak_audit::commitment(&salt, body.digest().as_bytes())
        });
    }
    machine
}

fn change_leaf(machine: &mut Machine, at: usize, change: impl FnOnce(&mut ak_audit::Entry<'_>)) {
    let leaf = machine.records[at].leaf.clone();
    let mut entry = ak_audit::Entry::decode(&leaf).unwrap();
    change(&mut entry);
    machine.records[at].leaf = ak_audit::Leaf::check(entry.encode().unwrap()).unwrap();
    let mut previous = ak_audit::leaf_hash(&machine.records[at].leaf);
    for record in &mut machine.records[at + 1..] {
        let leaf = record.leaf.clone();
        let mut entry = ak_audit::Entry::decode(&leaf).unwrap();
        entry.previous = previous;
        record.leaf = ak_audit::Leaf::check(entry.encode().unwrap()).unwrap();
        previous = ak_audit::leaf_hash(&record.leaf);
    }
}

#[test]
fn a_log_is_not_relabelled_as_one_of_an_earlier_version() {
    for version in [0, 7, 8] {
        let (_, examination) = of_version(version, false).examined(&BTreeMap::new());
        assert_eq!(examination.first_wrong().unwrap().0, 0, "version {version}: the genesis is committed to");
        let (standings, examination) = of_version(version, true).examined(&BTreeMap::new());
        assert_eq!(standings[0], EntryStatus::NotReplayed);
        assert_eq!(
            examination.first_wrong().unwrap().0,
            1,
            "version {version}: its inputs are of this version"
        );
        assert!(!examination.is_complete());
    }
    for version in [10, u64::MAX] {
        let (_, examination) = of_version(version, true).examined(&BTreeMap::new());
        assert_eq!(examination.first_wrong().unwrap().0, 0, "version {version}");
    }
}

#[test]
fn a_log_of_an_earlier_version_is_verified_in_part() {
    for version in [0, 7, 8] {
        let mut machine = of_version(version, true);
        machine.records.truncate(1);
        let (_, examination) = machine.examined(&BTreeMap::new());
        assert_eq!((examination.first_wrong(), examination.not_replayed()), (None, 1), "version {version}");
        assert!(!examination.is_complete(), "nothing was executed");
    }
}

/// Appends an entry that claims to be the record of an upgrade.
fn append_upgrade(machine: &mut Machine, from: u64) -> u64 {
    let last = machine.records.last().unwrap();
    let leaf = last.leaf.clone();
    let mut entry = ak_audit::Entry::decode(&leaf).unwrap();
    (entry.previous, entry.seq, entry.cause) = (ak_audit::leaf_hash(&leaf), last.seq + 1, last.seq + 1);
    (entry.operation, entry.kind, entry.rule, entry.agent) =
        (Operation::Upgrade.number(), ak_audit::Kind::Notice, "", "");
    (entry.decision, entry.code) = (ak_audit::Decision::Permit, 0);
    let state = machine.kernel.state_digest();
    let body = format!(
        r#"{{"in":"upgrade","from":{from},"to":9,"state":"{state}","time":{0},"uptime":{0}}}"#,
        machine.clock_us
    );
    let record = ak_kernel::Record {
        seq: entry.seq,
        leaf: ak_audit::Leaf::check(entry.encode().unwrap()).unwrap(),
        hash: last.hash,
        body: body.into_bytes().into(),
        subjects: Vec::new(),
    };
    let seq = record.seq;
    machine.records.push(record);
    seq
}

#[test]
fn an_upgrade_belongs_to_an_earlier_version_and_its_snapshot() {
    // In a log of this version it is wrong.
    let mut machine = Machine::new();
    machine.call(alloc("note", "1")).unwrap();
    let seq = append_upgrade(&mut machine, 8);
    assert_eq!(machine.examined(&BTreeMap::new()).1.first_wrong().unwrap().0, seq);
    for from in [7, 8] {
        // Without a snapshot the state at the end is unknown; after one of another state the record does not
        // follow.
        let mut machine = of_version(8, true);
        machine.records.truncate(1);
        let snapshot = machine.snapshot();
        machine.records.truncate(1);
        let seq = append_upgrade(&mut machine, from);
        for snapshots in [BTreeMap::new(), BTreeMap::from([(seq, snapshot)])] {
            let (_, examination) = machine.examined(&snapshots);
            assert_eq!(
                examination.first_wrong().unwrap().0,
                seq,
                "from {from}, {} snapshots",
                snapshots.len()
            );
        }
    }
}

#[test]
fn a_pruned_log_is_never_complete_and_its_snapshot_must_match_its_entry() {
    let mut machine = Machine::new();
    machine.call(alloc("note", "1")).unwrap();
    let snapshot = machine.snapshot();
    machine.call(alloc("note", "2")).unwrap();
    let examined = |snapshot: Option<&[u8]>, first: usize| {
        let mut examination = LogVerifier::new(first as u64, ToolReplay::Recorded);
        for record in &machine.records[first..] {
            let snapshot = snapshot.filter(|_| record.seq == 2);
            examination.examine(&record.leaf, StoredBody::whole(&record.body), snapshot);
        }
        examination
    };
    let examination = examined(Some(&snapshot), 1);
    assert_eq!((examination.first_wrong(), examination.opaque(), examination.follows()), (None, 1, 3));
    assert!(!examination.is_complete());
    let examination = examined(None, 1);
    assert_eq!((examination.first_wrong(), examination.opaque(), examination.follows()), (None, 4, 0));
    assert!(!examination.is_complete());
    let mut bent = snapshot.clone();
    *bent.last_mut().unwrap() ^= 1;
    assert_eq!(examined(Some(&bent), 1).first_wrong().unwrap().0, 2);
    // A body before the snapshot must also match its entry's commitment.
    let mut bent = machine.records[1].body.to_vec();
    let at = bent.iter().position(|byte| *byte == b'1').unwrap();
    bent[at] = b'3';
    let mut examination = LogVerifier::new(1, ToolReplay::Recorded);
    examination.examine(&machine.records[1].leaf, StoredBody::whole(&bent), None);
    examination.examine(
        &machine.records[2].leaf,
        StoredBody::whole(&machine.records[2].body),
        Some(&snapshot),
    );
    examination.examine(&machine.records[3].leaf, StoredBody::whole(&machine.records[3].body), None);
    assert_eq!(examination.first_wrong().unwrap().0, 1);
}
