//! Two clocks: lifetimes, rates and deadlines run on elapsed time, whatever the wall clock says; calendar conditions use the
//! wall clock.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use std::collections::BTreeMap;

use ak_json::{Value, object};
use ak_kernel::{
    AdminRequest, AgentRequest, CLOCK_STEP_US_MAX, CallId, Code, Completion, Config, Failure, FileRequest,
    Kernel, Now, Operation, Outcome, Output, PresentedCapability, Record, Replay, Reply, Request, SessionId,
    Ticket, Time, ToolReplay,
};
use ak_policy::{
    budget::Dimension,
    capability::{CapId, Caveat, VerifiedToken},
};

use support::{json, load, value};

/// 2026-01-01 00:00, a Thursday, in µs.
const START_US: u64 = 1_767_225_600_000_000;
const SECOND: u64 = 1_000_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
/// By how much the wall clock of a new boot may lag behind before the kernel takes notice.
const REBOOT_DOUBT: u64 = 10 * SECOND;

/// A machine with a true time line, a wall clock that may be wrong, and boots.
struct World {
    kernel: Kernel,
    records: Vec<Record>,
    /// With how many records there were before the record that belongs to it.
    snapshots: Vec<(usize, Vec<u8>)>,
    replies: BTreeMap<CallId, Outcome>,
    effects: Vec<Ticket>,
    /// True time since the start, in µs.
    true_us: u64,
    /// By how much the wall clock is wrong.
    offset_us: i64,
    synchronised: bool,
    boot: u8,
    booted_us: u64,
    inputs: u64,
}

/// The result of a request.
#[derive(Debug, Clone, PartialEq)]
enum Fate {
    Passed,
    Refused(Code),
    /// It was turned away.
    Unheard,
}

impl World {
    fn new(config: Config, policy: &str) -> World {
        let entropy = [1; 32];
        let wall = Time::from_micros(START_US);
        let now = Now { wall, boot: [1; 16], uptime_us: 0, synchronised: true, entropy };
        let mut world = World {
            kernel: Kernel::new(now, config),
            records: Vec::new(),
            snapshots: Vec::new(),
            replies: BTreeMap::new(),
            effects: Vec::new(),
            true_us: 0,
            offset_us: 0,
            synchronised: true,
            boot: 1,
            booted_us: 0,
            inputs: 0,
        };
        world.settle();
        world.owner(load(policy)).unwrap();
        world
    }

    /// What the clocks say.
    fn read(&mut self) -> Now {
        self.inputs += 1;
        let mut entropy = [0; 32];
        entropy[..8].copy_from_slice(&self.inputs.to_le_bytes());
        let wall = START_US.checked_add(self.true_us).unwrap().checked_add_signed(self.offset_us).unwrap();
        Now {
            wall: Time::from_micros(wall),
            boot: [self.boot; 16],
            uptime_us: self.true_us - self.booted_us,
            synchronised: self.synchronised,
            entropy,
        }
    }

    fn wait(&mut self, us: u64) {
        self.true_us += us;
    }

    fn settle(&mut self) {
        while let Some(record) = self.kernel.poll_record() {
            self.kernel.committed(record.seq);
            self.records.push(record);
        }
        while let Some(output) = self.kernel.poll_output() {
            match output {
                Output::Reply(call, outcome) => drop(self.replies.insert(call, outcome)),
                Output::Perform(ticket, _) => self.effects.push(ticket),
                Output::Resume(..) => {}
            }
        }
    }

    fn call_at(&mut self, now: Now, session: SessionId, request: Request) -> Result<Outcome, Failure> {
        let call = self.kernel.dispatch(now, session, request);
        self.settle();
        let call = call?;
        if let Some(ticket) = self.effects.pop() {
            let completion = match self.replies.get(&call) {
                None if ticket.cause() == call.seq() => Completion::Value(object! {}),
                other => panic!("{other:?}"),
            };
            self.kernel.complete(now, ticket, completion);
            self.settle();
        }
        Ok(self.replies.remove(&call).expect("a reply"))
    }

    fn owner(&mut self, request: Request) -> Outcome {
        let now = self.read();
        self.call_at(now, SessionId::OWNER, request).expect("the owner is heard")
    }

    fn agent(&mut self, name: &str) -> SessionId {
        match self.owner(Request::Agent(AgentRequest::SessionOpen { agent: name.into() })) {
            Ok(Reply::Session(session)) => session,
            other => panic!("{other:?}"),
        }
    }

    fn grant(&mut self, terms: &str) {
        let request = Request::decode(Operation::CapGrant, &json(terms)).unwrap();
        self.owner(request).unwrap();
    }

    fn stat_at(&mut self, now: Now, session: SessionId, path: &str) -> Fate {
        fate(self.call_at(now, session, Request::File(FileRequest::Stat { path: path.into() })))
    }

    fn stat(&mut self, session: SessionId, path: &str) -> Fate {
        let now = self.read();
        self.stat_at(now, session, path)
    }

    /// Reads so many bytes of a file.
    fn fetch(&mut self, session: SessionId, path: &str, bytes: usize) -> Fate {
        let now = self.read();
        let request = Request::File(FileRequest::Read { path: path.into(), bytes_max: bytes as u64 });
        let call = match self.kernel.dispatch(now, session, request) {
            Ok(call) => call,
            Err(_) => {
                self.settle();
                return Fate::Unheard;
            }
        };
        self.settle();
        if let Some(ticket) = self.effects.pop() {
            self.kernel.complete(now, ticket, Completion::File(vec![0; bytes].into()));
            self.settle();
        }
        fate(Ok(self.replies.remove(&call).expect("a reply")))
    }

    /// How many requests of a kind that is always permitted are heard, of so many.
    fn flood(&mut self, session: SessionId, count: usize) -> usize {
        let now = self.read();
        (0..count)
            .filter(|_| self.call_at(now, session, Request::Admin(AdminRequest::LastError)).is_ok())
            .count()
    }

    fn snapshot(&mut self) {
        let now = self.read();
        let at = self.records.len();
        let bytes = self.kernel.snapshot(now);
        // A step of the wall clock is recorded before.
        let stepped = self.kernel.entries() as usize - at - 2;
        self.snapshots.push((at + stepped, bytes));
        self.settle();
    }

    /// The process ends; the next one goes on from the newest snapshot, or from the genesis. Nothing is lost.
    fn restart(&mut self, from_genesis: bool) {
        let newest = self.snapshots.last().filter(|_| !from_genesis);
        let (mut replay, from) = match newest {
            Some((at, bytes)) => (Replay::resume(bytes, ToolReplay::Recorded).unwrap(), *at),
            None => (Replay::new(ToolReplay::Recorded), 0),
        };
        for record in &self.records[from..] {
            replay.feed(&record.leaf, &record.body).unwrap_or_else(|error| panic!("{error}"));
        }
        let mut again = replay.finish().unwrap();
        assert_eq!(again.head(), self.kernel.head());
        assert_eq!(again.state_digest(), self.kernel.state_digest());
        self.kernel = again;
    }

    /// The machine is off for a while. Its wall clock is set by hand before it is synchronised.
    fn reboot(&mut self, off_us: u64, offset_us: i64) {
        self.restart(false);
        self.wait(off_us);
        self.boot += 1;
        self.booted_us = self.true_us;
        self.wait(20 * SECOND);
        (self.offset_us, self.synchronised) = (offset_us, false);
    }

    fn synchronise(&mut self) {
        (self.offset_us, self.synchronised) = (0, true);
    }

    /// By how much the wall clock stepped, record for record. Every step has one.
    fn steps(&self) -> Vec<i64> {
        let mut before: Option<Now> = None;
        let mut steps = Vec::new();
        for record in &self.records {
            let body = json(std::str::from_utf8(&record.body).unwrap());
            let number = |name: &str| body.get(name).and_then(Value::as_u64).unwrap();
            let now = Now {
                wall: Time::from_micros(number("time")),
                boot: [0; 16],
                uptime_us: number("uptime"),
                synchronised: true,
                entropy: [0; 32],
            };
            // What arrives late says nothing.
            let is_late = |before: Now| body.get("boot").is_none() && now.uptime_us < before.uptime_us;
            if before.is_some_and(is_late) {
                continue;
            }
            if let Some(before) = before {
                let by_wall = now.wall.as_micros() as i64 - before.wall.as_micros() as i64;
                let step = by_wall - (now.uptime_us as i64 - before.uptime_us as i64);
                let is_step = body.get("boot").is_none() && step.unsigned_abs() > CLOCK_STEP_US_MAX;
                // The record of who was turned away may be the one that says so.
                let said = matches!(body.get("in").and_then(Value::as_str), Some("clock_step" | "throttled"));
                assert!(said || !is_step, "{body}");
                steps.extend(is_step.then_some(step));
            }
            before = Some(now);
        }
        steps
    }
}

impl Drop for World {
    /// Whatever happened, all of it follows from the journal.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.restart(true);
        }
    }
}

fn fate(outcome: Result<Outcome, Failure>) -> Fate {
    match outcome {
        Err(failure) => {
            assert_eq!(failure.code, Code::RateLimit, "{failure}");
            Fate::Unheard
        }
        Ok(Ok(_)) => Fate::Passed,
        Ok(Err(failure)) => Fate::Refused(failure.code),
    }
}

fn lease(resource: &str, rest: &str) -> String {
    format!("[[capability]]\nname = \"fs\"\nresource = \"{resource}\"\nmethods = [\"read\"]\n{rest}\n")
}

const EXPIRED: Fate = Fate::Refused(Code::CapExpired);
const RATE: Fate = Fate::Refused(Code::CapRate);

// Row B6.

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
    // Nor where the clock did step meanwhile: once, not there and back again.
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

// Reboots.

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
    // The wall clock at the end of the one boot, at the start of the next, and whether it is synchronised at once.
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

/// Between the reboots a use was made of which nobody can tell on which side of it the machine was off.
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

// The simulation.

/// A generator of numbers (xorshift64*).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 11) % end
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }
}

/// Prints the seed of a run that fails.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the run of AK_SEED={} failed", self.0);
        }
    }
}

/// A grant or token with a lifetime.
struct Life {
    path: String,
    session: SessionId,
    /// How it is refused afterwards.
    over: Fate,
    from_us: u64,
    lasts_us: u64,
    boot: u8,
    /// Whether nothing has happened since that may end it early.
    is_sure: bool,
}

/// A rate: so many uses in a bucket, or in any span.
struct Rate {
    path: &'static str,
    amount: u64,
    max: u64,
    per_us: u64,
    is_bucket: bool,
    uses: Vec<u64>,
    over: Fate,
}

impl Rate {
    /// Whether the uses so far are ones that the rate allows.
    fn check(&self) {
        let until = *self.uses.last().unwrap();
        for (index, from) in self.uses.iter().enumerate() {
            let uses = (self.uses.len() - index) as u64 * self.amount;
            let span = until - from;
            let allowed = if self.is_bucket {
                u128::from(self.max) + u128::from(span) * u128::from(self.max) / u128::from(self.per_us)
            } else if span < self.per_us {
                u128::from(self.max)
            } else {
                u128::MAX
            };
            assert!(u128::from(uses) <= allowed, "{}: {uses} in {span} µs", self.path);
        }
    }
}

/// The model that a run compares the kernel with.
struct Run {
    world: World,
    random: Random,
    workers: [SessionId; 2],
    lives: Vec<Life>,
    rates: Vec<Rate>,
    heard: Vec<u64>,
    /// By how much the upper bound may be short, and what was said of the clocks at the newest input.
    doubt_us: u64,
    offset_us: i64,
    boot: u8,
    /// How many boots have begun since the wall clock was synchronised.
    boots: u8,
    has_synchronised: bool,
    uptime_us: u64,
    wall_us: u64,
    steps: Vec<i64>,
    leases: u64,
}

const POLICY: &str = "[fs]\nread = [\"/cap/**\", \"/limited/**\", \"/data/**\", \"/dead/**\"]\n\
    [agent.worker.budgets]\nbytes = { max = 300, per = \"6h\" }\n\
    [[rule]]\nid = \"office\"\neffect = \"permit\"\noperation = \"fs.read\"\ntarget = \"/office/**\"\ntime = \"08:00-18:00\"\n\
    [[limit]]\nid = \"few\"\noperation = \"fs.read\"\ntarget = \"/limited/**\"\ncount = true\nmax = 3\nper = \"24h\"\n\
    [[capability]]\nname = \"fs\"\nresource = \"/rated/**\"\nmethods = [\"read\"]\nrate = \"4/h\"\n";

impl Run {
    fn new(seed: u64) -> Run {
        let config = Config { requests_per_second: 1, requests_burst: 8, ..Config::default() };
        let mut world = World::new(config, POLICY);
        let workers = [world.agent("worker"), world.agent("flood")];
        world.grant(r#"{"agent":"counted","name":"fs","resource":"/cap/**","rate":"5/d","uses":40}"#);
        let over = Fate::Refused(Code::BudgetExceeded);
        let rate = |path, amount, max, per_us, is_bucket, over: &Fate| Rate {
            path,
            amount,
            max,
            per_us,
            is_bucket,
            uses: Vec::new(),
            over: over.clone(),
        };
        let rates = vec![
            rate("/rated/x", 1, 4, HOUR, true, &RATE),
            rate("/limited/x", 1, 3, DAY, false, &over),
            rate("/data/x", 100, 300, 6 * HOUR, false, &over),
            rate("/cap/counted", 1, 5, DAY, true, &RATE),
        ];
        let mut run = Run {
            world,
            workers,
            rates,
            random: Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            lives: Vec::new(),
            heard: Vec::new(),
            doubt_us: 0,
            offset_us: 0,
            boot: 1,
            boots: 0,
            has_synchronised: true,
            uptime_us: 0,
            wall_us: START_US,
            steps: Vec::new(),
            leases: 0,
        };
        run.note_input();
        run
    }

    /// Tells the model that the kernel read its clocks just now.
    fn note_input(&mut self) {
        let World { offset_us: offset, synchronised, boot, .. } = self.world;
        let begins_boot = boot != self.boot;
        if begins_boot {
            // What the wall clock says is short by so much, and too much by so much.
            let ended = if self.has_synchronised { self.offset_us.min(0) } else { self.offset_us };
            let (short, over) = ((ended - offset).max(0) as u64, (offset - ended).max(0));
            self.doubt_us += short;
            for life in &mut self.lives {
                life.is_sure &= short == 0 && over == 0 && self.has_synchronised;
            }
            self.has_synchronised = false;
            self.boots += 1;
        } else if (offset - self.offset_us).unsigned_abs() > CLOCK_STEP_US_MAX {
            self.steps.push(offset - self.offset_us);
        }
        if synchronised && !self.has_synchronised {
            // Of two boots it is known in sum only how long the machine was off.
            let was_short = self.doubt_us > REBOOT_DOUBT || self.boots > 1;
            self.boots = 0;
            self.doubt_us = if begins_boot { 0 } else { self.doubt_us.min(REBOOT_DOUBT) };
            for life in self.lives.iter_mut().filter(|life| life.boot == boot) {
                life.is_sure &= !was_short;
            }
            self.has_synchronised = true;
        }
        (self.offset_us, self.boot) = (offset, boot);
        let now = self.world.read();
        (self.uptime_us, self.wall_us) = (now.uptime_us, now.wall.as_micros());
    }

    fn step(&mut self) {
        match self.random.below(15) {
            0 => self.issue_policy_grant(),
            1 => self.issue_capability(),
            2 => self.issue_deadline(),
            3 => {
                let days = self.random.below(3 * DAY) as i64;
                self.world.offset_us = if self.random.below(2) == 0 { days } else { -days };
                self.world.synchronised = false;
            }
            4 => {
                self.world.offset_us = self.random.pick(&[1_900_000, -1_900_000, 30_000_000, -3_600_000_000]);
                self.world.synchronised = false;
            }
            5 | 6 => self.world.synchronise(),
            7 => {
                let from_genesis = self.random.below(4) == 0;
                self.world.restart(from_genesis);
                // How fast a session is heard is no part of the state.
                self.heard.clear();
            }
            8 => {
                self.world.snapshot();
                self.note_input();
            }
            9 => {
                let off = self.random.pick(&[0, SECOND, MINUTE, HOUR, 9 * HOUR, 3 * DAY]);
                let days = self.random.below(3 * DAY) as i64;
                let stood = self.world.offset_us - off as i64;
                let offset = self.random.pick(&[0, 0, 0, stood, -4_000_000, days, -days]);
                self.world.reboot(off, offset);
                self.heard.clear();
                if self.random.below(3) == 0 {
                    self.world.synchronise();
                }
                if self.random.below(3) == 0 {
                    self.world.snapshot();
                    self.note_input();
                }
            }
            10 => self.arrive_late(),
            11 => self.flood(),
            _ => {
                let longest = self.random.pick(&[MINUTE, HOUR, HOUR, 8 * HOUR]);
                self.world.wait(1 + self.random.below(longest));
            }
        }
        self.world.wait(1 + self.random.below(20 * SECOND));
        self.use_everything();
    }

    /// The owner is always heard: so a step of the wall clock is noted.
    fn owner_asks(&mut self) {
        self.world.owner(Request::Admin(AdminRequest::LastError)).unwrap();
        self.note_input();
    }

    fn use_everything(&mut self) {
        self.owner_asks();
        self.office();
        for index in 0..self.rates.len() {
            if self.random.below(3) > 0 {
                self.use_rate(index);
            }
        }
        for index in 0..self.lives.len() {
            self.check_life(index);
        }
    }

    fn stat(&mut self, session: SessionId, path: &str) -> Fate {
        let fate = self.world.stat(session, path);
        if fate != Fate::Unheard {
            self.note_input();
        }
        fate
    }

    fn office(&mut self) {
        let fate = self.stat(self.workers[0], "/office/x");
        self.check_office(&fate);
    }

    fn check_office(&self, fate: &Fate) {
        let minute = self.wall_us / MINUTE % (24 * 60);
        match fate {
            Fate::Unheard => {}
            fate => assert_eq!(*fate == Fate::Passed, (8 * 60..18 * 60).contains(&minute), "{minute}"),
        }
    }

    fn use_rate(&mut self, index: usize) -> Fate {
        let path = self.rates[index].path;
        let fate = match path {
            "/data/x" => {
                let fate = self.world.fetch(self.workers[0], path, 100);
                if fate != Fate::Unheard {
                    self.note_input();
                }
                fate
            }
            "/cap/counted" => {
                let session = self.world.agent("counted");
                self.note_input();
                self.stat(session, path)
            }
            path => self.stat(self.workers[0], path),
        };
        let true_us = self.world.true_us;
        let rate = &mut self.rates[index];
        match &fate {
            Fate::Passed => {
                rate.uses.push(true_us);
                rate.check();
            }
            Fate::Refused(_) => assert!(fate == rate.over || fate == EXPIRED, "{path}: {fate:?}"),
            Fate::Unheard => {}
        }
        fate
    }

    fn live(&mut self, path: String, session: SessionId, over: Fate, minutes: u64, is_sure: bool) {
        let (from_us, boot) = (self.world.true_us, self.world.boot);
        let lasts_us = minutes * MINUTE;
        self.lives.push(Life { path, session, over, from_us, lasts_us, boot, is_sure });
        if self.lives.len() > 6 {
            self.lives.remove(0);
        }
    }

    fn minutes(&mut self) -> u64 {
        self.random.pick(&[1, 10, 60, 600, 4000])
    }

    /// Loads a policy with one more grant. Nothing is renewed by it.
    fn issue_policy_grant(&mut self) {
        self.leases += 1;
        let (minutes, path) = (self.minutes(), format!("/lease{}/x", self.leases));
        let live: Vec<(String, u64)> = self
            .lives
            .iter()
            .filter(|life| life.path.starts_with("/lease"))
            .map(|life| (life.path.clone(), life.lasts_us / MINUTE))
            .collect();
        let tables: String = live
            .iter()
            .map(|(path, minutes)| (path, minutes))
            .chain([(&path, &minutes)])
            .map(|(path, minutes)| lease(path, &format!("expires_minutes = {minutes}")))
            .collect();
        self.world.owner(load(&format!("{POLICY}{tables}"))).unwrap();
        self.note_input();
        self.live(path, self.workers[0], EXPIRED, minutes, true);
    }

    fn issue_capability(&mut self) {
        self.leases += 1;
        let minutes = self.minutes();
        let agent = format!("c{}", self.leases);
        let session = self.world.agent(&agent);
        self.world.grant(&format!(
            r#"{{"agent":"{agent}","name":"fs","resource":"/cap/**","expires_minutes":{minutes}}}"#
        ));
        self.note_input();
        self.live("/cap/x".into(), session, EXPIRED, minutes, true);
    }

    fn issue_deadline(&mut self) {
        self.leases += 1;
        let (minutes, agent) = (self.minutes(), format!("d{}", self.leases));
        let session = self.world.agent(&agent);
        let limit = Some(minutes * 60_000);
        let agent = Some(agent.as_str().into());
        self.world
            .owner(Request::Agent(AgentRequest::BudgetSet { dimension: Dimension::WallTimeMs, limit, agent }))
            .unwrap();
        self.note_input();
        self.live("/dead/x".into(), session, Fate::Refused(Code::BudgetExceeded), minutes, true);
    }

    fn check_life(&mut self, index: usize) {
        let (path, session) = (self.lives[index].path.clone(), self.lives[index].session);
        let fate = self.stat(session, &path);
        let life = &self.lives[index];
        let age = self.world.true_us - life.from_us;
        let doubt = if life.boot == self.world.boot { 0 } else { self.doubt_us };
        match fate {
            Fate::Unheard => {}
            Fate::Passed => assert!(age < life.lasts_us + doubt, "{path} lives {age} µs, doubt {doubt}"),
            fate => {
                assert_eq!(fate, life.over, "{path}");
                assert!(age >= life.lasts_us || !life.is_sure, "{path} lived {age} µs of {}", life.lasts_us);
            }
        }
    }

    /// A thread reads the clocks, and another one overtakes it.
    fn arrive_late(&mut self) {
        let late = self.world.read();
        self.world.wait(self.random.pick(&[1, SECOND, 30 * SECOND]));
        if self.random.below(3) == 0 {
            (self.world.offset_us, self.world.synchronised) = (self.random.below(DAY) as i64, false);
        }
        self.owner_asks();
        let fate = self.world.stat_at(late, self.workers[0], "/office/x");
        self.check_office(&fate);
    }

    fn flood(&mut self) {
        self.owner_asks();
        let heard = self.world.flood(self.workers[1], 12);
        self.heard.extend(std::iter::repeat_n(self.world.true_us, heard));
        for (index, from) in self.heard.iter().enumerate() {
            let allowed = 8 + (self.world.true_us - from).div_ceil(SECOND);
            assert!((self.heard.len() - index) as u64 <= allowed);
        }
    }

    /// Once the clocks are right, everything comes back.
    fn end(&mut self) {
        self.world.wait(MINUTE);
        self.world.synchronise();
        self.office();
        self.world.wait(25 * HOUR);
        for index in 0..self.rates.len() {
            let Rate { max, amount, .. } = self.rates[index];
            let is_used_up = self.rates[index].path == "/cap/counted" && self.rates[index].uses.len() > 30;
            for _ in 0..if is_used_up { 0 } else { max / amount } {
                self.world.wait(2 * SECOND);
                assert_eq!(self.use_rate(index), Fate::Passed, "{}", self.rates[index].path);
            }
        }
        assert_eq!(self.world.steps(), self.steps);
    }
}

/// No grant lives longer than its minutes, no rate gives more than its rate in any span, no deadline is missed; nothing that
/// should live dies within a boot, and all of it comes back after a restart. `AK_SEED` runs one seed again.
#[test]
fn elapsed_time_is_told_from_the_wall_clock() {
    let seeds: Vec<u64> = match std::env::var("AK_SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => (1..=24).collect(),
    };
    for seed in seeds {
        let _seed = Seed(seed);
        let mut run = Run::new(seed);
        for _ in 0..40 {
            run.step();
        }
        run.end();
    }
}
