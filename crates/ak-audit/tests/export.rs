//! What leaves the log for others to read.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]

use std::collections::BTreeMap;

use ak_audit::{
    Decision, Entry, Hash, Journal, ProofError, Record, TileError, Tree, ZERO_HASH,
    journal::{Genesis, Options},
    leaf_hash,
};
use ak_json::{Limits, Pointer, Value};

mod common;
use common::{record, sim::SimDisk};

fn journal(count: u64) -> (Journal<SimDisk>, Vec<Record>) {
    let options = Options { segment_bytes_max: 200 << 10, allocation_bytes: 4096, reserve_bytes: 512 };
    let (mut journal, _) = Journal::open(SimDisk::default(), &Genesis::default(), options, &[]).unwrap();
    let mut model = Vec::new();
    for seq in 0..count {
        let record = record(seq, journal.chain().head);
        journal.append(std::slice::from_ref(&record)).unwrap();
        if seq % 100 == 99 || seq + 1 == count {
            journal.sync().unwrap();
        }
        model.push(record);
    }
    (journal, model)
}

fn tiles(journal: &Journal<SimDisk>, size: u64) -> BTreeMap<String, Vec<u8>> {
    journal.tiles(size).map(|tile| tile.unwrap()).map(|tile| (tile.path, tile.bytes)).collect()
}

/// The root as a client of the tiles computes it: from the leaf hashes alone.
fn root(hashes: &[u8]) -> Hash {
    let mut tree = Tree::new();
    hashes.as_chunks::<32>().0.iter().for_each(|hash| tree.push(*hash));
    tree.root()
}

#[test]
fn tiles_lead_to_the_root_and_hold_every_entry() {
    let (journal, model) = journal(1300);
    let tiles = tiles(&journal, 1290);
    let mut names = Vec::from(["tile/1/000.p/5"].map(String::from));
    for index in 0..6 {
        let partial = if index == 5 { ".p/10" } else { "" };
        names.extend(["0", "entries"].map(|level| format!("tile/{level}/{index:03}{partial}")));
    }
    names.sort();
    assert_eq!(tiles.keys().collect::<Vec<_>>(), names.iter().collect::<Vec<_>>());
    let level = |prefix: &str| -> Vec<u8> {
        tiles
            .iter()
            .filter(|(path, _)| path.starts_with(prefix))
            .flat_map(|(_, bytes)| bytes.clone())
            .collect()
    };
    assert_eq!(root(&level("tile/0/")), journal.root_at(1290).unwrap());
    assert_eq!(tiles["tile/1/000.p/5"][32..64], root(&tiles["tile/0/001"]));
    let bundles = level("tile/entries/");
    let mut rest = bundles.as_slice();
    for record in &model[..1290] {
        let (length, after) = rest.split_first_chunk().unwrap();
        let (entry, after) = after.split_at(u16::from_be_bytes(*length).into());
        assert_eq!(entry, &*record.entry);
        rest = after;
    }
    assert!(rest.is_empty());
}

#[test]
fn what_retention_dropped_is_left_out() {
    let (mut journal, _) = journal(1300);
    let whole = tiles(&journal, 1300);
    let below = journal.prune(700).unwrap();
    assert!(below > 256 && below % 256 != 0, "{below}");
    let left = tiles(&journal, 1300);
    assert!(left.iter().all(|(path, bytes)| whole[path] == *bytes));
    let first = below.div_ceil(256);
    assert_eq!(left.keys().filter(|path| path.starts_with("tile/entries/")).count() as u64, 6 - first);
    assert!(left.contains_key(&format!("tile/0/{first:03}")));
}

#[test]
fn a_size_that_is_not_there_is_refused() {
    let (journal, _) = journal(10);
    let all: Vec<_> = journal.tiles(11).collect();
    assert_eq!(all, [Err(TileError::Tree(ProofError::Range))]);
    assert_eq!(journal.tiles(0).count(), 0);
}

/// Checks one member of what `to_json` or `to_ocsf` gives.
fn check(value: &Value, pointer: &str, expected: &str) {
    let found =
        value.pointer(&Pointer::parse(pointer).unwrap()).unwrap_or_else(|| panic!("{pointer} is missing"));
    assert_eq!(found.to_json(), expected, "{pointer}");
}

#[test]
fn entries_as_json() {
    let golden: Vec<&str> = include_str!("golden/entries.txt").lines().collect();
    let bytes = hex::decode(golden[5]).unwrap();
    let (entry, leaf) = (Entry::decode(&bytes).unwrap(), leaf_hash(&bytes));
    let value = entry.to_json("call", &leaf);
    check(&value, "/seq", "1");
    check(&value, "/time_us", "1700000000000001");
    check(&value, "/agent", "\"crew/publisher\"");
    check(&value, "/operation", "\"call\"");
    check(&value, "/kind", "\"decision\"");
    check(&value, "/decision", "\"permit\"");
    check(&value, "/integrity", "\"untrusted\"");
    check(&value, "/secrecy", "[\"pii\",\"secret:β\"]");
    check(&value, "/reply", "null");
    check(&value, "/leaf", &format!("\"{}\"", golden[6]));
    check(&value, "/previous", &format!("\"{}\"", golden[2]));
    assert!(!value.to_json().contains('\n'));
    assert_eq!(Value::parse(value.to_json().as_bytes(), &Limits::default()).unwrap(), value);
    let event = entry.to_ocsf("call", &leaf);
    check(&event, "/class_uid", "6003");
    check(&event, "/type_uid", "600399");
    check(&event, "/time", "1700000000000");
    check(&event, "/action", "\"Allowed\"");
    check(&event, "/api/operation", "\"call\"");
    check(&event, "/firewall_rule/uid", "\"only-our-people\"");
    check(&event, "/metadata/sequence", "1");
    let denied =
        Entry { decision: Decision::DefaultDeny, code: -4201, rule: "", previous: ZERO_HASH, ..entry };
    let event = denied.to_ocsf("call", &leaf);
    check(&event, "/action_id", "2");
    check(&event, "/status_id", "2");
    check(&event, "/status_code", "\"-4201\"");
    check(&event, "/firewall_rule/uid", "\"\"");
    check(&event, "/firewall_rule/type", "\"default_deny\"");
}
