//! Throttling: a flooding agent is rejected, the rejected requests are counted, and the agent is admitted again.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use ak_json::Value;
use ak_kernel::{AuditFilter, AuditRequest, Code, Config, Request, SessionId, THROTTLED_INTERVAL_MS};

use support::{Machine, alloc, failure, file_read, value};

fn narrow() -> Config {
    Config {
        requests_per_second: 10,
        requests_burst: 20,
        refusals_per_second: 1,
        refusals_burst: 3,
        journal_bytes_per_second: 1000,
        journal_bytes_burst: 100_000,
        ..Config::default()
    }
}

/// How many of `count` requests at one moment are admitted.
fn admitted(machine: &mut Machine, session: SessionId, request: &Request, count: usize) -> usize {
    let now = machine.now();
    let heard = (0..count).filter(|_| match machine.kernel.dispatch(now, session, request.clone()) {
        Ok(_) => true,
        Err(failure) => {
            assert_eq!(failure.code, Code::RateLimit);
            assert!(failure.context.get("retry_after_ms").and_then(Value::as_u64).unwrap() > 0);
            false
        }
    });
    let heard = heard.count();
    machine.settle();
    heard
}

#[test]
fn a_flood_leaves_no_more_entries_than_its_rate_allows() {
    let mut machine = Machine::with(narrow());
    let worker = machine.agent("worker");
    assert_eq!(admitted(&mut machine, worker, &file_read("/etc/shadow"), 1000), 3, "refused requests");
    machine.sleep_ms(10_000);
    assert_eq!(admitted(&mut machine, worker, &alloc("note", "1"), 1000), 20, "permitted requests");
    machine.sleep_ms(10_000);
    let long = format!("\"{}\"", "x".repeat(60_000));
    assert_eq!(admitted(&mut machine, worker, &alloc("note", &long), 1000), 2, "bytes of journal");
    machine.replayed();
}

#[test]
fn a_throttled_agent_is_admitted_after_the_retry_time() {
    let mut machine = Machine::with(narrow());
    let worker = machine.agent("worker");
    admitted(&mut machine, worker, &alloc("note", "1"), 100);
    let now = machine.now();
    let turned = machine.kernel.dispatch(now, worker, alloc("note", "1")).unwrap_err();
    let wait = turned.context.get("retry_after_ms").and_then(Value::as_u64).unwrap();
    machine.sleep_ms(wait - 1);
    assert_eq!(admitted(&mut machine, worker, &alloc("note", "1"), 1), 1);
}

#[test]
fn a_flood_leaves_one_throttling_record_a_second() {
    let mut machine = Machine::with(narrow());
    let worker = machine.agent("worker");
    let other = machine.agent("other");
    for _ in 0..50 {
        admitted(&mut machine, worker, &file_read("/etc/shadow"), 100);
    }
    admitted(&mut machine, other, &file_read("/etc/shadow"), 5);
    machine.sleep_ms(THROTTLED_INTERVAL_MS);
    let now = machine.now();
    machine.kernel.handle_timeout(now);
    machine.settle();
    let filter = AuditFilter { event_type: Some("throttled".into()), ..AuditFilter::default() };
    let found = value(machine.call(Request::Audit(AuditRequest::Query(filter))));
    let entries = found.get("entries").and_then(Value::as_array).unwrap();
    assert_eq!(entries.iter().count(), 2, "at the first one turned away, and a second later: {found}");
    let counts: u64 = entries
        .iter()
        .flat_map(|entry| entry.get("agents").and_then(Value::as_array).unwrap().iter().collect::<Vec<_>>())
        .map(|agent| agent.get("turned_away").and_then(Value::as_u64).unwrap())
        .sum();
    assert_eq!(counts, 5000 - 3 + 5 - 3);
    machine.replayed();
}

#[test]
fn the_owner_is_never_throttled() {
    let mut machine = Machine::with(narrow());
    assert_eq!(admitted(&mut machine, SessionId::OWNER, &file_read("/etc/shadow"), 1000), 1000);
    assert_eq!(failure(machine.call(file_read("/x"))).code, Code::PolicyDeny);
}

#[test]
fn one_agents_flood_does_not_throttle_another() {
    let mut machine = Machine::with(narrow());
    let (a, b) = (machine.agent("a"), machine.agent("b"));
    admitted(&mut machine, a, &alloc("note", "1"), 1000);
    assert_eq!(admitted(&mut machine, b, &alloc("note", "1"), 5), 5);
}

/// Decisions cost work too: an agent whose requests need many steps of a long policy is throttled, whatever the
/// decisions are.
#[test]
fn decision_steps_count_as_work() {
    let mut machine =
        Machine::with(Config { work_per_second: 1_000, work_burst: 100_000, ..Config::default() });
    let worker = machine.agent("worker");
    assert_eq!(admitted(&mut machine, worker, &alloc("note", "1"), 50), 50, "the baseline is short");
    machine.sleep_ms(3_600_000);
    let rules = (0..2_000).map(|rule| {
        format!("[[rule]]\neffect = \"forbid\"\noperation = \"heap.alloc\"\ntarget = \"*x{rule}*\"\n")
    });
    machine.policy(&rules.collect::<String>());
    let count = admitted(&mut machine, worker, &alloc("note", "1"), 50);
    assert!((1..=5).contains(&count), "{count} were heard");
    machine.replayed();
}
