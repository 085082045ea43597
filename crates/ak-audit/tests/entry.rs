//! The entry's one byte form: golden bytes, a round trip, and the refusal of everything else.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]

use ak_audit::{
    Decision, ENTRY_BYTES_MAX, Entry, EntryError, Hash, Integrity, Kind, ZERO_HASH, commitment, leaf_hash,
};
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

fn digest(bytes: &[u8]) -> Hash {
    Sha256::digest(bytes).into()
}

fn commit(bytes: &[u8]) -> Hash {
    commitment(&[0x5a; 32], &digest(bytes))
}

fn first() -> Entry<'static> {
    Entry {
        seq: 0,
        time_us: 1_700_000_000_000_000,
        run: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
        operation: 1048,
        kind: Kind::Notice,
        decision: Decision::Permit,
        code: 0,
        cause: 0,
        policy: digest(b"policy"),
        target: ZERO_HASH,
        request: commit(b"genesis"),
        reply: ZERO_HASH,
        previous: ZERO_HASH,
        integrity: Integrity::Trusted,
        secrecy: Vec::new(),
        agent: "",
        rule: "",
    }
}

/// The golden entries: each a name, its bytes and its leaf hash in hexadecimal. They were written by a program that
/// shares nothing with this crate.
fn golden() -> Vec<(String, Vec<u8>, String)> {
    let text = include_str!("golden/entries.txt");
    let mut lines = text.lines().filter(|line| !line.is_empty()).map(str::to_owned);
    let mut next = || Some((lines.next()?, hex::decode(lines.next()?).unwrap(), lines.next()?));
    std::iter::from_fn(&mut next).collect()
}

#[test]
fn golden_bytes() {
    let golden = golden();
    let outcome_of = |decision: &Entry<'static>| Entry {
        seq: 2,
        time_us: 1_700_000_000_000_900,
        kind: Kind::Outcome,
        code: -4401,
        request: commit(b"failed"),
        reply: commit(b"reply"),
        ..decision.clone()
    };
    let decision = Entry {
        seq: 1,
        time_us: 1_700_000_000_000_001,
        operation: 1031,
        kind: Kind::Decision,
        cause: 1,
        target: commit(b"tool:add"),
        request: commit(br#"{"a":5,"b":3}"#),
        integrity: Integrity::Untrusted,
        secrecy: vec!["pii", "secret:β"],
        agent: "crew/publisher",
        rule: "only-our-people",
        ..first()
    };
    let longest = "n".repeat(255);
    let denial = Entry {
        seq: 3,
        time_us: 1_700_000_000_000_900,
        operation: 65_535,
        kind: Kind::Decision,
        decision: Decision::DefaultDeny,
        code: -4201,
        cause: 3,
        target: commit(b"fs"),
        request: commit(b"x"),
        reply: commit(b"y"),
        agent: &longest,
        ..first()
    };
    let entries = [first(), decision.clone(), outcome_of(&decision), denial];
    assert_eq!(golden.len(), entries.len());
    let mut previous = ZERO_HASH;
    for ((name, bytes, hash), entry) in golden.iter().zip(entries) {
        let entry = Entry { previous, ..entry };
        assert_eq!(hex::encode(entry.encode().unwrap()), hex::encode(bytes), "{name}");
        assert_eq!(Entry::decode(bytes), Ok(entry), "{name}");
        previous = leaf_hash(bytes);
        assert_eq!(hex::encode(previous), *hash, "{name}");
    }
}

#[test]
fn numbers_are_explicit() {
    let check = |byte: u8, kind: Option<Kind>, verdict: Option<Decision>| {
        assert_eq!((Kind::from_byte(byte), Decision::from_byte(byte)), (kind, verdict));
    };
    check(0, None, None);
    check(1, Some(Kind::Decision), Some(Decision::Permit));
    check(2, Some(Kind::Step), Some(Decision::Ask));
    check(3, Some(Kind::Outcome), Some(Decision::Forbid));
    check(4, Some(Kind::Notice), Some(Decision::DefaultDeny));
    check(5, None, Some(Decision::Refused));
    check(6, None, None);
}

#[test]
fn what_breaks_a_rule_is_neither_written_nor_read() {
    let check = |field: &'static str, offset: usize, entry: Entry<'_>| {
        let error = entry.encode().unwrap_err();
        assert_eq!((error.field, error.offset), (field, offset));
    };
    let long = "n".repeat(256);
    let labels: Vec<String> = (0..256).map(|index| format!("{index:03}{}", "l".repeat(252))).collect();
    check("agent", 213, Entry { agent: &long, ..first() });
    check("rule", 214, Entry { rule: &long, ..first() });
    check("secrecy", 215, Entry { secrecy: vec![&long], ..first() });
    check("secrecy", 215, Entry { secrecy: vec![""], ..first() });
    check("secrecy", 215, Entry { secrecy: vec!["b", "a"], ..first() });
    check("secrecy", 215, Entry { secrecy: vec!["a", "a"], ..first() });
    check("secrecy", 215, Entry { secrecy: labels.iter().map(String::as_str).collect(), ..first() });
    check("cause", 44, Entry { cause: 1, ..first() });
    check("cause", 44, Entry { kind: Kind::Step, ..first() });
    check("cause", 44, Entry { seq: 7, kind: Kind::Outcome, cause: 8, ..first() });
    check("previous", 180, Entry { previous: [1; 32], ..first() });
}

#[test]
fn a_decoder_names_the_field_and_where_it_stands() {
    let whole = golden().swap_remove(1).1;
    let check = |field: &'static str, offset: usize, change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = whole.clone();
        change(&mut bytes);
        let EntryError { field: found, offset: at, .. } = Entry::decode(&bytes).unwrap_err();
        assert_eq!((found, at), (field, offset));
    };
    check("magic", 0, &|bytes| bytes[3] = b'2');
    check("kind", 38, &|bytes| bytes[38] = 0);
    check("kind", 38, &|bytes| bytes[38] = 5);
    check("decision", 39, &|bytes| bytes[39] = 6);
    check("cause", 44, &|bytes| bytes[44] = 2);
    check("integrity", 212, &|bytes| bytes[212] = 2);
    check("agent", 217, &|bytes| bytes[217] = 0xff);
    check("rule", 231, &|bytes| bytes[231] = 0x80);
    check("secrecy", 247, &|bytes| bytes[247] = 0xc0);
    check("secrecy", 215, &|bytes| bytes[247] = b'z');
    check("end", 260, &|bytes| bytes.push(0));
    check("secrecy", 260, &|bytes| bytes[215] += 1);
    check("end", 259, &|bytes| bytes[215] -= 1);
    check("secrecy", 251, &|bytes| bytes[250] += 1);
    check("secrecy length", 215, &|bytes| bytes.truncate(216));
    check("seq", 4, &|bytes| bytes.truncate(11));
    check("magic", 0, &|bytes| bytes.clear());
}

#[test]
fn every_prefix_is_refused() {
    for (name, bytes, _) in golden() {
        for length in 0..bytes.len() {
            assert!(Entry::decode(&bytes[..length]).is_err(), "{name} cut to {length}");
        }
    }
}

prop_compose! {
    fn parts()(
        numbers: (u64, u64, u64), operation: u16, kind in 0..4usize, decision in 0..5usize, code: i32,
        hashes: [[u8; 32]; 5], untrusted: bool,
        agent in ".{0,60}", rule in ".{0,60}", secrecy in proptest::collection::btree_set(".{1,40}", 0..6),
    ) -> (Entry<'static>, String, String, Vec<String>) {
        let (seq, time_us, pick) = numbers;
        let kind = Kind::ALL[kind];
        let earlier = pick.checked_rem(seq);
        let (kind, cause) = match (kind, earlier) {
            (Kind::Step | Kind::Outcome, Some(cause)) => (kind, cause),
            (Kind::Step | Kind::Outcome, None) => (Kind::Notice, seq),
            (Kind::Decision | Kind::Notice, _) => (kind, seq),
        };
        let [policy, target, request, reply, previous] = hashes;
        let integrity = if untrusted { Integrity::Untrusted } else { Integrity::Trusted };
        let entry = Entry {
            seq, time_us, operation, kind, code, cause, policy, target, request, reply, integrity,
            decision: Decision::ALL[decision],
            previous: if seq == 0 { ZERO_HASH } else { previous },
            ..first()
        };
        (entry, agent, rule, secrecy.into_iter().collect())
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_back((entry, agent, rule, secrecy) in parts()) {
        let secrecy = secrecy.iter().map(String::as_str).collect();
        let entry = Entry { agent: &agent, rule: &rule, secrecy, ..entry };
        let bytes = entry.encode().unwrap();
        prop_assert!(bytes.len() <= ENTRY_BYTES_MAX);
        prop_assert_eq!(Entry::decode(&bytes), Ok(entry));
    }

    #[test]
    fn whatever_is_read_has_one_form((entry, agent, rule, secrecy) in parts(), at: usize, byte: u8) {
        let secrecy = secrecy.iter().map(String::as_str).collect();
        let mut bytes = Entry { agent: &agent, rule: &rule, secrecy, ..entry }.encode().unwrap();
        let at = at % bytes.len();
        bytes[at] = byte;
        if let Ok(entry) = Entry::decode(&bytes) {
            prop_assert_eq!(entry.encode().unwrap(), bytes);
        }
    }

    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let mut bytes = bytes;
        prop_assert!(Entry::decode(&bytes).is_err());
        if let Some(head) = bytes.first_chunk_mut() {
            *head = ak_audit::MAGIC;
            let _ = Entry::decode(&bytes);
        }
    }
}
