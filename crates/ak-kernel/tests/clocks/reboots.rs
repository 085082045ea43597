//! Over reboots: the time for which the machine was off counts as soon as it is known.

use ak_kernel::{Code, Config};

use crate::support::load;
use crate::{DAY, EXPIRED, Fate, HOUR, MINUTE, RATE, World, lease};

#[test]
fn the_first_input_of_a_boot_may_be_a_snapshot() {
    let mut world = World::new(Config::default(), &lease("/lease/**", "expires_minutes = 60"));
    let worker = world.agent("worker");
    world.wait(30 * MINUTE);
    world.stat(worker, "/lease/x");
    world.reboot(10 * MINUTE, 0);
    world.snapshot();
    world.restart(false);
    world.wait(10 * MINUTE);
    assert_eq!(world.stat(worker, "/lease/x"), Fate::Passed);
    world.wait(15 * MINUTE);
    assert_eq!(world.stat(worker, "/lease/x"), EXPIRED);
    world.restart(true);
}

#[test]
fn a_grant_ends_while_the_machine_is_off() {
    // The error of the wall clock at the end of the first boot and at the start of the next, and whether it is
    // synchronised at once.
    let (ahead, back) = (DAY as i64, -(DAY as i64));
    for (before, after, at_once) in [
        (0, 0, false),
        (ahead, 0, true),
        (ahead, ahead, false),
        (back, back, false),
        (0, ahead, false),
        (0, back, true),
        (ahead, 0, false),
    ] {
        let policy = lease("/lease/**", "expires_minutes = 600") + "[fs]\nread = [\"/cap/**\"]\n";
        let mut world = World::new(Config::default(), &policy);
        let (worker, other) = (world.agent("worker"), world.agent("other"));
        world.grant(r#"{"agent":"other","name":"fs","resource":"/cap/**","expires_minutes":600}"#);
        world.wait(MINUTE);
        (world.offset_us, world.synchronised) = (before, before == 0);
        world.stat(worker, "/lease/x");
        world.reboot(12 * HOUR, after);
        if at_once {
            world.synchronise();
        }
        assert_eq!(world.stat(worker, "/lease/x"), EXPIRED, "{before} {after}");
        assert_eq!(world.stat(other, "/cap/x"), EXPIRED, "{before} {after}");
    }
}

/// A machine without a battery-backed clock does not know how long it was off until its wall clock is set.
#[test]
fn a_grant_ends_at_the_latest_when_the_wall_clock_is_right_again() {
    let policy = lease("/lease/**", "expires_minutes = 600") + "[fs]\nread = [\"/cap/**\"]\n";
    let mut world = World::new(Config::default(), &policy);
    let (worker, other) = (world.agent("worker"), world.agent("other"));
    world.grant(r#"{"agent":"other","name":"fs","resource":"/cap/**","expires_minutes":600}"#);
    world.stat(worker, "/lease/x");
    world.reboot(12 * HOUR, -12 * (HOUR as i64));
    assert_eq!(world.stat(worker, "/lease/x"), Fate::Passed);
    world.restart(false);
    world.wait(MINUTE);
    world.synchronise();
    assert_eq!(world.stat(worker, "/lease/x"), EXPIRED);
    assert_eq!(world.stat(other, "/cap/x"), EXPIRED);
}

#[test]
fn a_wrong_wall_clock_at_the_end_of_a_boot_refills_no_rate() {
    let mut world = World::new(Config::default(), &lease("/rated/**", "rate = \"1/h\""));
    let worker = world.agent("worker");
    (world.offset_us, world.synchronised) = (-5 * (DAY as i64), false);
    assert_eq!(world.stat(worker, "/rated/x"), Fate::Passed);
    world.reboot(MINUTE, -5 * (DAY as i64));
    assert_eq!(world.stat(worker, "/rated/x"), RATE);
    world.wait(MINUTE);
    world.synchronise();
    assert_eq!(world.stat(worker, "/rated/x"), RATE, "two minutes have passed, not five days");
    world.wait(HOUR);
    assert_eq!(world.stat(worker, "/rated/x"), Fate::Passed);
}

#[test]
fn rates_refill_while_the_machine_is_off_if_the_wall_clock_is_right_at_boot() {
    let policy = lease("/rated/**", "rate = \"1/h\"")
        + "[fs]\nread = [\"/data/**\", \"/limited/**\"]\n\
           [agent.worker.budgets]\nbytes = { max = 100, per = \"24h\" }\n\
           [[limit]]\nid = \"few\"\noperation = \"fs.read\"\ntarget = \"/limited/**\"\ncount = true\nmax = 1\nper = \"24h\"\n";
    let mut world = World::new(Config::default(), &policy);
    let worker = world.agent("worker");
    let spend = |world: &mut World| {
        [
            world.stat(worker, "/rated/x"),
            world.stat(worker, "/limited/x"),
            world.fetch(worker, "/data/x", 100),
        ]
    };
    let passed = [Fate::Passed, Fate::Passed, Fate::Passed];
    let over = [RATE, Fate::Refused(Code::BudgetExceeded), Fate::Refused(Code::BudgetExceeded)];
    assert_eq!(spend(&mut world), passed);
    assert_eq!(spend(&mut world), over);
    world.reboot(25 * HOUR, 0);
    assert_eq!(spend(&mut world), over, "nobody has said that the clock is right");
    world.wait(MINUTE);
    world.synchronise();
    assert_eq!(spend(&mut world), over, "what is used meanwhile would come back early");
    world.reboot(25 * HOUR, 0);
    world.synchronise();
    assert_eq!(spend(&mut world), passed);
    assert_eq!(spend(&mut world), over);
}

#[test]
fn a_grant_that_begins_before_the_wall_clock_is_right_survives_its_correction() {
    let mut world = World::new(Config::default(), "[fs]\nread = [\"/cap/**\"]\n");
    world.reboot(DAY, 0);
    world
        .owner(load(&(lease("/lease/**", "expires_minutes = 10") + "[fs]\nread = [\"/cap/**\"]\n")))
        .unwrap();
    let (worker, other) = (world.agent("worker"), world.agent("other"));
    world.grant(r#"{"agent":"other","name":"fs","resource":"/cap/**","expires_minutes":10}"#);
    world.wait(MINUTE);
    world.synchronise();
    assert_eq!(world.stat(worker, "/lease/x"), Fate::Passed);
    assert_eq!(world.stat(other, "/cap/x"), Fate::Passed);
}

/// Between the reboots a rate is used; it is unknown whether the machine was off before or after that.
#[test]
fn two_reboots_before_the_wall_clock_is_right_refill_no_rate_early() {
    for between in [0, 5 * (DAY as i64), -(DAY as i64)] {
        let mut world = World::new(Config::default(), &lease("/rated/**", "rate = \"1/h\""));
        let worker = world.agent("worker");
        world.reboot(DAY, between);
        assert_eq!(world.stat(worker, "/rated/x"), Fate::Passed);
        world.reboot(MINUTE, DAY as i64);
        world.stat(worker, "/rated/y");
        world.wait(MINUTE);
        world.synchronise();
        assert_eq!(world.stat(worker, "/rated/x"), RATE, "{between}");
        world.wait(HOUR);
        assert_eq!(world.stat(worker, "/rated/x"), Fate::Passed, "{between}");
    }
}
