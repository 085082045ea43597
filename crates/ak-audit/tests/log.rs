//! The bounded log in memory.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]

use std::sync::Arc;

use ak_audit::{
    Chain, ChainError, Decision, Kind, Log, MissingRecord, Order, ProofError, Query, VerifyReport, ZERO_HASH,
    verifier,
};
use proptest::prelude::*;

mod common;
use common::{entry, record};

fn filled(count: u64, bytes_max: usize) -> Log {
    let mut log = Log::new(bytes_max);
    for seq in 0..count {
        let record = record(seq, log.head());
        log.append(record.entry, record.body).unwrap();
    }
    log
}

#[test]
fn an_empty_log() {
    let log = Log::new(1000);
    assert!(log.is_empty());
    assert_eq!((log.len(), log.head(), log.root()), (0, ZERO_HASH, ak_audit::empty_root()));
    assert_eq!(log.get(0), Err(MissingRecord::Absent));
    assert!(log.verify().consistent);
}

#[test]
fn only_what_follows_is_appended() {
    let mut log = filled(3, usize::MAX);
    let before = (log.len(), log.head(), log.root());
    let mut check = |bytes: Vec<u8>, expected: fn(&ChainError) -> bool| {
        let error = log.append(bytes, Arc::from([])).unwrap_err();
        assert!(expected(&error), "{error}");
        assert_eq!((log.len(), log.head(), log.root()), before);
    };
    let head = before.1;
    check(entry(4, head).encode().unwrap(), |e| *e == ChainError::Seq { seq: 3, found: 4 });
    check(entry(2, head).encode().unwrap(), |e| *e == ChainError::Seq { seq: 3, found: 2 });
    check(entry(3, [9; 32]).encode().unwrap(), |e| *e == ChainError::Previous { seq: 3 });
    check(b"no entry".to_vec(), |e| matches!(e, ChainError::Entry { seq: 3, .. }));
    // The wall clock may step back: time is what an entry says, and not what orders it.
    let stepped = ak_audit::Entry { time_us: 1, ..entry(3, head) };
    log.append(stepped.encode().unwrap(), Arc::from([])).unwrap();
    assert!(log.verify().consistent);
}

#[test]
fn the_oldest_give_way_and_the_rest_stays_proven() {
    let whole = filled(100, usize::MAX);
    let newest = whole.iter().rev().take(10);
    let log = filled(100, newest.map(|(_, record)| record.len() + Log::RECORD_OVERHEAD_BYTES).sum());
    let kept: Vec<u64> = log.iter().map(|(seq, _)| seq).collect();
    assert_eq!(kept, (90..100).collect::<Vec<_>>());
    assert_eq!(log.iter().rev().map(|(seq, _)| seq).next(), Some(99));
    assert_eq!((log.get(89), log.get(100)), (Err(MissingRecord::Pruned), Err(MissingRecord::Absent)));
    assert_eq!(log.get(90), whole.get(90));
    assert_eq!((log.root(), log.head(), log.len()), (whole.root(), whole.head(), 100));
    assert_eq!(log.inclusion_proof(89, 100), Err(ProofError::Pruned));
    for seq in 90..100 {
        let path = log.inclusion_proof(seq, 100).unwrap();
        let leaf = ak_audit::leaf_hash(&log.get(seq).unwrap().entry);
        assert_eq!(verifier::verify_inclusion(&leaf, seq, 100, &path, &log.root()), Ok(()));
    }
    let old = filled(93, usize::MAX).root();
    let hashes = log.consistency_proof(93, 100).unwrap();
    assert_eq!(verifier::verify_consistency(93, 100, &hashes, &old, &log.root()), Ok(()));
    assert_eq!(
        log.verify(),
        VerifyReport { consistent: true, first_bad: None, reason: None, pruned_below: 90 }
    );
}

#[test]
fn the_newest_is_kept_whatever_its_size() {
    let log = filled(3, 0);
    assert_eq!(log.iter().map(|(seq, _)| seq).collect::<Vec<_>>(), [2]);
}

#[test]
fn queries() {
    let log = filled(40, usize::MAX);
    let check = |query: Query<'_>, expected: &[u64]| {
        let page = log.query(&query, 100, |_, _| true);
        assert_eq!(
            (page.records.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), page.cursor),
            (expected.to_vec(), None)
        );
    };
    let all = Query { order: Order::OldestFirst, until_us: Some(5), ..Query::default() };
    check(all, &[0, 1, 2, 3, 4]);
    check(Query { order: Order::NewestFirst, ..all }, &[4, 3, 2, 1, 0]);
    check(Query { since_us: Some(3), ..all }, &[3, 4]);
    check(Query { agent: Some("agent-1"), ..all }, &[1, 4]);
    check(Query { operation: Some(3), ..all }, &[3]);
    check(Query { decision: Some(Decision::Forbid), ..all }, &[2]);
    check(Query { rule: Some("rule-0"), ..all }, &[0, 2, 4]);
    check(Query { rule: Some("rule-0"), agent: Some("agent-1"), ..all }, &[4]);
    check(Query { agent: Some("nobody"), ..all }, &[]);
    check(Query { cursor: Some(2), ..all }, &[3, 4]);
    let page =
        log.query(&all, 100, |entry, body| entry.kind == Kind::Decision && body.starts_with(b"body 3 "));
    assert_eq!(page.records.len(), 1);
}

#[test]
fn a_page_is_never_empty_while_there_is_more() {
    let log = filled(3, usize::MAX);
    let page = log.query(&Query::default(), 0, |_, _| true);
    assert_eq!((page.records.len(), page.cursor), (1, Some(2)));
}

proptest! {
    #[test]
    fn pages_put_together_are_the_whole(count in 0u64..60, limit in 1usize..20, newest: bool, agent in 0u8..4) {
        let log = filled(count, usize::MAX);
        let agent = format!("agent-{agent}");
        let order = if newest { Order::NewestFirst } else { Order::OldestFirst };
        let mut query = Query { agent: Some(&agent), order, ..Query::default() };
        let whole = log.query(&query, usize::MAX, |_, _| true).records;
        let mut pages = Vec::new();
        loop {
            let page = log.query(&query, limit, |_, _| true);
            prop_assert!(page.records.len() <= limit);
            pages.extend(page.records);
            query.cursor = page.cursor;
            if query.cursor.is_none() { break }
        }
        prop_assert_eq!(pages, whole);
    }

    #[test]
    fn a_chain_is_where_its_entries_lead(count in 0u64..30) {
        let mut chain = Chain::EMPTY;
        for seq in 0..count {
            let bytes = entry(seq, chain.head).encode().unwrap();
            prop_assert_eq!(chain.push(&bytes).unwrap(), chain.head);
        }
        prop_assert_eq!((chain.next, chain.head), (count, filled(count, 0).head()));
    }
}
