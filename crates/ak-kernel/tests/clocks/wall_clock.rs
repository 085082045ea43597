//! Within one boot, a wrong wall clock changes no lifetime, rate or deadline.

use ak_json::Value;
use ak_kernel::{AdminRequest, CLOCK_STEP_US_MAX, Code, Config, PresentedCapability, Request};
use ak_policy::capability::{CapId, Caveat, VerifiedToken};

use crate::support::value;
use crate::{DAY, EXPIRED, Fate, HOUR, MINUTE, RATE, SECOND, World, lease};

#[test]
fn a_wall_clock_a_day_ahead_for_one_call_ends_no_grant_and_stops_no_rate() {
    let policy = lease("/lease/**", "expires_minutes = 60") + &lease("/rated/**", "rate = \"2/h\"");
    let mut world = World::new(Config::default(), &policy);
    let worker = world.agent("worker");
    world.grant(r#"{"agent":"worker","name":"fs","expires_minutes":60,"rate":"10/min"}"#);
    assert_eq!(world.stat(worker, "/rated/x"), Fate::Passed);
    world.wait(MINUTE);
    world.offset_us = DAY as i64;
    assert_eq!(world.stat(worker, "/rated/x"), Fate::Passed);
    world.offset_us = 0;
    world.wait(MINUTE);
    world.restart(false);
    assert_eq!(world.stat(worker, "/rated/x"), RATE, "the day ahead refilled nothing");
    assert_eq!(world.stat(worker, "/lease/x"), Fate::Passed, "nor did it end anything");
    world.wait(HOUR - 4 * MINUTE);
    assert_eq!(world.stat(worker, "/lease/x"), Fate::Passed);
    assert_eq!(world.stat(worker, "/rated/x"), Fate::Passed, "the rate refills at once");
    world.wait(2 * MINUTE);
    assert_eq!(world.stat(worker, "/lease/x"), EXPIRED);
}

#[test]
fn a_rule_for_tomorrow_permits_while_the_wall_clock_says_so_and_no_longer() {
    let policy = "[[rule]]\nid = \"tomorrow\"\neffect = \"permit\"\noperation = \"fs.read\"\ntarget = \"/x\"\n\
                  time = \"2026-01-02T00:00:00Z/2026-01-03T00:00:00Z\"\n";
    let mut world = World::new(Config::default(), policy);
    let worker = world.agent("worker");
    assert_eq!(world.stat(worker, "/x"), Fate::Refused(Code::PolicyDeny));
    world.offset_us = DAY as i64;
    assert_eq!(world.stat(worker, "/x"), Fate::Passed);
    world.offset_us = 0;
    assert_eq!(world.stat(worker, "/x"), Fate::Refused(Code::PolicyDeny));
    world.wait(DAY);
    assert_eq!(world.stat(worker, "/x"), Fate::Passed);
}

#[test]
fn a_wall_clock_set_back_lengthens_no_grant() {
    let policy = lease("/lease/**", "expires_minutes = 10") + "[fs]\nread = [\"/cap/**\"]\n";
    let mut world = World::new(Config::default(), &policy);
    let (worker, other) = (world.agent("worker"), world.agent("other"));
    world.grant(r#"{"agent":"other","name":"fs","resource":"/cap/**","expires_minutes":10}"#);
    world.wait(2 * MINUTE);
    world.offset_us = -(HOUR as i64);
    for (minutes, expected) in [(7, Fate::Passed), (2, EXPIRED), (57, EXPIRED)] {
        world.wait(minutes * MINUTE);
        assert_eq!(world.stat(worker, "/lease/x"), expected);
        assert_eq!(world.stat(other, "/cap/x"), expected);
        world.restart(minutes == 2);
    }
}

#[test]
fn a_step_of_the_wall_clock_is_one_record() {
    let mut world = World::new(Config::default(), "");
    let worker = world.agent("worker");
    let limit = CLOCK_STEP_US_MAX as i64;
    let mut expected = Vec::new();
    for (offset, is_step) in [
        (limit, false),
        (2 * limit + 1, true),
        (-(DAY as i64), true),
        (-(DAY as i64) + limit, false),
        (0, true),
    ] {
        let step = offset - world.offset_us;
        world.offset_us = offset;
        expected.extend(is_step.then_some(step));
        for _ in 0..3 {
            world.stat(worker, "/x");
            world.wait(HOUR);
        }
    }
    assert_eq!(world.steps(), expected);
}

#[test]
fn an_input_that_arrives_late_moves_neither_clock() {
    let policy = "[[rule]]\nid = \"early\"\neffect = \"permit\"\noperation = \"fs.read\"\ntarget = \"/x\"\ntime = \"00:00-12:00\"\n";
    let mut world = World::new(Config::default(), policy);
    let worker = world.agent("worker");
    world.wait(12 * HOUR - SECOND);
    let late = world.read();
    world.wait(10 * SECOND);
    assert_eq!(world.stat(worker, "/x"), Fate::Refused(Code::PolicyDeny));
    assert_eq!(world.stat_at(late, worker, "/x"), Fate::Refused(Code::PolicyDeny), "noon is over");
    assert_eq!(world.stat(worker, "/x"), Fate::Refused(Code::PolicyDeny));
    assert_eq!(world.steps(), [], "no clock stepped");
    // The same if the clock stepped in between: that is one step, not two.
    let late = world.read();
    world.wait(1);
    world.offset_us = -(HOUR as i64);
    assert_eq!(world.stat(worker, "/x"), Fate::Passed);
    assert_eq!(world.stat_at(late, worker, "/x"), Fate::Passed);
    assert_eq!(world.stat(worker, "/x"), Fate::Passed);
    assert_eq!(world.steps(), [-(HOUR as i64)]);
}

#[test]
fn the_remaining_life_of_a_token_is_counted_by_its_own_clock() {
    let mut world = World::new(Config::default(), "[fs]\nread = [\"/x\"]\n");
    let worker = world.agent("worker");
    world.grant(r#"{"agent":"worker","name":"fs","expires_minutes":120}"#);
    world.offset_us = 12 * HOUR as i64;
    let until_us = world.read().wall.as_micros() + HOUR;
    let authority = [Caveat::ExpiresAt(until_us)].into_iter().collect();
    let token = VerifiedToken { capability: CapId::from_u64(0x1_0000_0001), authority };
    let presented = PresentedCapability::new(token).unwrap();
    let ask = Request::Admin(AdminRequest::Authorize {
        operation: "fs.read".into(),
        target: "/x".into(),
        args: None,
    });
    let now = world.read();
    let call = world.kernel.dispatch(now, worker, ask.presenting(presented)).unwrap();
    world.settle();
    let told = value(world.replies.remove(&call).unwrap());
    assert_eq!(told.get("ttl_ms").and_then(Value::as_u64), Some(HOUR / 1000), "{told}");
}

#[test]
fn a_deadline_counts_elapsed_time() {
    let mut world = World::new(
        Config::default(),
        "[fs]\nread = [\"/x\"]\n[agent.worker.budgets]\nwall_time_ms = 3600000\n",
    );
    let worker = world.agent("worker");
    for offset in [DAY as i64, -(DAY as i64), 0] {
        world.offset_us = offset;
        world.wait(19 * MINUTE);
        assert_eq!(world.stat(worker, "/x"), Fate::Passed);
    }
    world.offset_us = -(DAY as i64);
    world.wait(3 * MINUTE);
    assert_eq!(world.stat(worker, "/x"), Fate::Refused(Code::BudgetExceeded));
}
