//! Two clocks: lifetimes, rates and deadlines use elapsed time, whatever the wall clock shows; calendar conditions
//! use the wall clock.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod reboots;
mod simulation;
#[path = "../support/mod.rs"]
mod support;
mod wall_clock;

use std::collections::BTreeMap;

use ak_json::{Value, object};
use ak_kernel::{
    AdminRequest, AgentRequest, CLOCK_STEP_US_MAX, CallId, Code, Completion, Config, Failure, FileRequest,
    Kernel, Now, Operation, Outcome, Output, Record, Replay, Reply, Request, SessionId, Ticket, Time,
    ToolReplay,
};

use support::{json, load};

/// 2026-01-01 00:00, a Thursday, in µs.
const START_US: u64 = 1_767_225_600_000_000;
const SECOND: u64 = 1_000_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// A machine with a true time line, a wall clock that may be wrong, and boots.
struct World {
    kernel: Kernel,
    records: Vec<Record>,
    /// Each snapshot with the number of records before the one that it belongs to.
    snapshots: Vec<(usize, Vec<u8>)>,
    replies: BTreeMap<CallId, Outcome>,
    effects: Vec<Ticket>,
    /// True time since the start, in µs.
    true_us: u64,
    /// Error of the wall clock, in µs.
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
    /// It was throttled.
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

    /// Reads the clocks.
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

    /// Reads a file of this many bytes.
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

    /// How many of `count` requests that are always permitted are admitted.
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
        // A step of the wall clock is recorded first.
        let stepped = self.kernel.entries() as usize - at - 2;
        self.snapshots.push((at + stepped, bytes));
        self.settle();
    }

    /// Restarts the process: it continues from the newest snapshot or from the genesis. Nothing is lost.
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

    /// Switches the machine off for a while. Its wall clock is set by hand before it is synchronised.
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

    /// The recorded steps of the wall clock. Every step has a record.
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
            // A late input moves no clock.
            let is_late = |before: Now| body.get("boot").is_none() && now.uptime_us < before.uptime_us;
            if before.is_some_and(is_late) {
                continue;
            }
            if let Some(before) = before {
                let by_wall = now.wall.as_micros() as i64 - before.wall.as_micros() as i64;
                let step = by_wall - (now.uptime_us as i64 - before.uptime_us as i64);
                let is_step = body.get("boot").is_none() && step.unsigned_abs() > CLOCK_STEP_US_MAX;
                // A throttling record may be the one that shows the step.
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
    /// Every run must replay from its journal.
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
