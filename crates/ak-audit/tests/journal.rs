//! The journal against the log it must agree with: a plain vector of records.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]

use ak_audit::{
    Chain, Decision, FullTree, Journal, JournalError, Log, MissingRecord, Order, ProofError, Query, Record,
    ZERO_HASH,
    journal::{Genesis, META_BYTES_MAX, Options},
    leaf_hash,
};
use proptest::prelude::*;

mod common;
use common::{AGENTS, RULES, record, sim::SimDisk};

const SMALL: Options = Options { segment_bytes_max: 40 << 10, allocation_bytes: 4096, reserve_bytes: 512 };

fn genesis() -> Genesis {
    Genesis { id: [3; 16], meta: b"versions and configuration".to_vec() }
}

fn open(disk: SimDisk) -> Journal<SimDisk> {
    let (journal, report) = Journal::open(disk, &genesis(), SMALL, &[]).unwrap();
    assert_eq!((report.first_bad, report.torn_tail_bytes, report.anchored_at), (None, 0, None));
    assert_eq!((report.size, report.root), (journal.len(), journal.root()));
    journal
}

fn records(count: u64) -> Vec<Record> {
    let mut previous = ZERO_HASH;
    let make = |seq| {
        let record = record(seq, previous);
        previous = leaf_hash(&record.entry);
        record
    };
    (0..count).map(make).collect()
}

/// A journal of all `model`, in batches of `batch`.
fn filled(model: &[Record], batch: usize) -> Journal<SimDisk> {
    let mut journal = open(SimDisk::default());
    for batch in model.chunks(batch) {
        journal.append(batch).unwrap();
        assert_eq!(journal.sync().unwrap(), journal.chain().next);
    }
    journal
}

#[test]
fn a_new_journal() {
    let mut journal = open(SimDisk::default());
    assert!(journal.is_empty());
    assert_eq!(
        (journal.chain(), journal.root(), journal.genesis()),
        (Chain::EMPTY, ak_audit::empty_root(), &genesis())
    );
    assert_eq!(journal.sync(), Ok(0));
    assert_eq!(journal.records(0..9).count(), 0);
    let other = Genesis { id: [4; 16], meta: Vec::new() };
    let (journal, _) = Journal::open(journal.into_disk(), &other, SMALL, &[]).unwrap();
    assert_eq!(journal.genesis(), &genesis());
    let large = Genesis { id: [4; 16], meta: vec![0; META_BYTES_MAX + 1] };
    assert_eq!(Journal::open(SimDisk::default(), &large, SMALL, &[]).unwrap_err(), JournalError::TooLarge);
}

#[test]
fn what_is_buffered_counts_once_it_is_synced() {
    let model = records(6);
    let mut journal = open(SimDisk::default());
    assert_eq!(journal.append(&model[..2]), Ok(2));
    assert_eq!(journal.append(&model[2..5]), Ok(5));
    assert_eq!((journal.len(), journal.records(0..9).count()), (0, 0));
    assert_eq!(journal.record(0), Err(MissingRecord::Absent.into()));
    assert_eq!(journal.inclusion_proof(0, 1), Err(ProofError::Range));
    assert_eq!(journal.sync(), Ok(5));
    assert_eq!(journal.record(4), Ok(model[4].clone()));
    assert_eq!(journal.record(5), Err(MissingRecord::Absent.into()));
    journal.append(&model[5..]).unwrap();
    assert_eq!(open(SimDisk::with(journal.disk().files())).len(), 5);
}

#[test]
fn records_that_do_not_follow_leave_everything_as_it_was() {
    let model = records(6);
    let mut journal = open(SimDisk::default());
    journal.append(&model[..2]).unwrap();
    let wrong = [model[2].clone(), model[4].clone()];
    assert!(matches!(journal.append(&wrong), Err(JournalError::Chain(_))));
    journal.append(&model[2..]).unwrap();
    assert_eq!(journal.sync(), Ok(6));
    let whole: Vec<Record> = journal.records(0..9).map(|record| record.unwrap().1).collect();
    assert_eq!(whole, model);
}

#[test]
fn changed_bytes_are_noticed_when_read_again() {
    let model = records(9);
    let journal = filled(&model, 3);
    let mut files = journal.disk().files();
    let bytes = files.values_mut().next().unwrap();
    let at = bytes.windows(7).position(|window| window == b"body 4 ").unwrap();
    bytes[at] ^= 1;
    // The disk changes under the open journal, as another process could do it.
    let mut writer = journal.disk().share();
    ak_audit::Disk::write(&mut writer, "00000000000000000000.akj", at as u64, &bytes[at..=at]).unwrap();
    assert_eq!(journal.records(0..9).last().unwrap().unwrap_err(), JournalError::Changed { seq: 4 });
    assert_eq!(journal.inclusion_proof(8, 9), Err(ProofError::Unreadable));
}

#[test]
fn many_records_in_one_sync_and_large_bodies() {
    let mut model = records(3000);
    let mut journal = filled(&model, 3000);
    let large = Record { body: vec![7; 3 << 20].into(), ..record(3000, journal.chain().head) };
    journal.append(std::slice::from_ref(&large)).unwrap();
    journal.sync().unwrap();
    model.push(large);
    let journal = open(journal.into_disk());
    assert!(journal.records(0..u64::MAX).map(|record| record.unwrap().1).eq(model.iter().cloned()));
    assert_eq!(journal.record(3000), Ok(model[3000].clone()));
}

/// How long the file of a segment is.
fn length(journal: &Journal<SimDisk>, first: u64) -> usize {
    let files = journal.disk().files();
    files
        .iter()
        .find(|(name, _)| name.starts_with(&format!("{first:020}")))
        .map_or(0, |(_, bytes)| bytes.len())
}

#[test]
fn room_is_found_beforehand_and_given_back() {
    const PROMISED: u64 = 300 << 10;
    let model = records(2000);
    let mut journal = open(SimDisk::default());
    journal.ensure_free_bytes(PROMISED).unwrap();
    assert!(journal.free_bytes() >= PROMISED && length(&journal, 0) as u64 >= PROMISED);
    let mut firsts = vec![0];
    for record in &model {
        // While something is expected each new segment has room for it; then no longer.
        journal.expect_bytes(if firsts.len() < 3 { PROMISED } else { 0 });
        journal.append(std::slice::from_ref(record)).unwrap();
        let segments = journal.disk().files().len();
        journal.sync().unwrap();
        if journal.disk().files().len() > segments {
            let sealed = length(&journal, *firsts.last().unwrap()) as u64;
            assert!(sealed < SMALL.segment_bytes_max + 1024, "a sealed segment keeps {sealed} bytes");
            firsts.push(journal.len());
            assert_eq!(journal.free_bytes() >= PROMISED, firsts.len() <= 3);
        }
    }
    assert!(firsts.len() > 4);
    let journal = open(journal.into_disk());
    assert_eq!(journal.records(0..u64::MAX).count(), 2000);
}

fn tree(model: &[Record]) -> FullTree {
    let mut tree = FullTree::new();
    model.iter().for_each(|record| tree.push(leaf_hash(&record.entry)));
    tree
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_journal_is_the_vector_of_its_records(
        count in 0u64..900, batch in 1usize..400, cut in 0u64..900, from in 0u64..950, length in 0u64..950, back in any::<u64>(),
    ) {
        let model = records(count);
        let mut journal = filled(&model, batch);
        if cut > 450 {
            journal = open(journal.into_disk());
        }
        let below = journal.prune(cut).unwrap();
        prop_assert!(below <= cut && below <= count);
        if cut % 2 == 0 {
            journal = open(journal.into_disk());
        }
        prop_assert_eq!(journal.pruned_below(), below);
        if let Some(gone) = below.checked_sub(1) {
            prop_assert_eq!(journal.record(gone), Err(MissingRecord::Pruned.into()));
        }
        let (from, to) = (from, from.saturating_add(length));
        let expected: Vec<u64> = (from.max(below)..to.min(count)).collect();
        // Taken from both ends in an arbitrary order.
        let mut both = journal.records(from..to);
        let (mut front, mut rear) = (Vec::new(), Vec::new());
        for step in 0.. {
            let rearwards = back >> (step % 64) & 1 == 1;
            let Some(item) = (if rearwards { both.next_back() } else { both.next() }) else { break };
            let (seq, record) = item.unwrap();
            prop_assert_eq!(&record, &model[seq as usize]);
            if rearwards { rear.push(seq) } else { front.push(seq) }
        }
        front.extend(rear.iter().rev());
        prop_assert_eq!(front, expected);
    }

    #[test]
    fn a_journal_proves_what_the_full_tree_proves(
        count in 1u64..900, batch in 1usize..400, cut in 0u64..900, picks in proptest::collection::vec(any::<[u64; 2]>(), 12),
    ) {
        let model = records(count);
        let mut journal = filled(&model, batch);
        let mut tree = tree(&model);
        if cut % 2 == 0 {
            tree.prune(journal.prune(cut).unwrap());
            journal = open(journal.into_disk());
        }
        prop_assert_eq!(journal.root(), tree.root());
        for [index, size] in picks {
            let size = size % (count + 2);
            let index = index % (count + 2);
            if size >= tree.pruned_below() {
                prop_assert_eq!(journal.root_at(size), tree.root_at(size));
                prop_assert_eq!(journal.inclusion_proof(index, size), tree.inclusion_proof(index, size));
            }
            if index >= tree.pruned_below() {
                prop_assert_eq!(journal.consistency_proof(index, size), tree.consistency_proof(index, size));
            }
        }
    }

    #[test]
    fn a_journal_answers_what_a_log_answers(
        count in 0u64..700, batch in 1usize..300, limit in 1usize..80, newest: bool,
        agent in proptest::option::of(0..4usize), rule in proptest::option::of(0..2usize),
        operation in proptest::option::of(0..900u16), decision in proptest::option::of(0..5usize),
        since_us in proptest::option::of(0..700u64), until_us in proptest::option::of(0..700u64),
        cursor in proptest::option::of(0..700u64),
    ) {
        let model = records(count);
        let journal = filled(&model, batch);
        let mut log = Log::new(usize::MAX);
        for record in &model {
            log.append(record.entry.clone(), record.body.clone()).unwrap();
        }
        let order = if newest { Order::NewestFirst } else { Order::OldestFirst };
        let query = Query {
            agent: agent.map(|agent| AGENTS.get(agent).copied().unwrap_or("nobody")),
            rule: rule.map(|rule| RULES[rule]),
            decision: decision.map(|decision| Decision::ALL[decision]),
            operation, since_us, until_us, order, cursor,
        };
        let keep = |_: &ak_audit::Entry<'_>, body: &[u8]| !body.len().is_multiple_of(7);
        prop_assert_eq!(journal.query(&query, limit, keep).unwrap(), log.query(&query, limit, keep));
    }
}

#[test]
fn a_query_reads_only_where_something_can_be() {
    // The only entry of agent `rare` stands in one block of many; what lies elsewhere may be unreadable.
    let mut previous = ZERO_HASH;
    let mut journal = open(SimDisk::default());
    for seq in 0..2000 {
        let agent = if seq == 700 { "rare" } else { "common" };
        let bytes = ak_audit::Entry { agent, ..common::entry(seq, previous) }.encode().unwrap();
        previous = leaf_hash(&bytes);
        journal.append(&[Record { entry: bytes.into(), body: common::body(seq).into() }]).unwrap();
    }
    journal.sync().unwrap();
    let bytes = journal.disk().files().into_values().next().unwrap();
    let mut writer = journal.disk().share();
    for damaged in [300, 900, 1900] {
        let needle = format!("body {damaged} ");
        let at = bytes.windows(needle.len()).position(|window| window == needle.as_bytes()).unwrap();
        ak_audit::Disk::write(&mut writer, "00000000000000000000.akj", at as u64, b"X").unwrap();
    }
    let find = |agent| journal.query(&Query { agent: Some(agent), ..Query::default() }, 9, |_, _| true);
    assert_eq!(find("rare").unwrap().records.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), [700]);
    assert_eq!(find("common"), Err(JournalError::Changed { seq: 1900 }));
}
