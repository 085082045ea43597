//! Entries to fill logs with: everything in them follows from their number.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "for tests, each of which uses its own part"
)]

use std::sync::Arc;

use ak_audit::{Decision, Entry, Hash, Integrity, Kind, Record, commitment, leaf_hash};

pub const AGENTS: [&str; 3] = ["agent-0", "agent-1", "agent-2"];
pub const RULES: [&str; 2] = ["rule-0", "rule-1"];

/// The entry `seq` of every log in these tests; agent, rule, operation, decision and time follow from `seq`.
pub fn entry(seq: u64, previous: Hash) -> Entry<'static> {
    Entry {
        seq,
        time_us: seq,
        run: [7; 16],
        operation: (seq % 1000) as u16,
        kind: Kind::Decision,
        decision: Decision::ALL[(seq % 5) as usize],
        code: 0,
        cause: seq,
        policy: [1; 32],
        target: commitment(&[3; 32], &[4; 32]),
        request: commitment(&[3; 32], &leaf_hash(&body(seq))),
        reply: [0; 32],
        previous,
        integrity: Integrity::Trusted,
        secrecy: Vec::new(),
        agent: AGENTS[(seq % 3) as usize],
        rule: RULES[(seq % 2) as usize],
    }
}

pub fn body(seq: u64) -> Vec<u8> {
    format!("body {seq} {}", "x".repeat((seq % 50) as usize)).into_bytes()
}

pub fn record(seq: u64, previous: Hash) -> Record {
    Record { entry: Arc::from(entry(seq, previous).encode().unwrap()), body: Arc::from(body(seq)) }
}
