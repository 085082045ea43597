//! Random runs of waits, steps of the wall clock, restarts and reboots against a model of grants, rates and deadlines.

mod lifetimes;
mod random;
mod rates;

use ak_kernel::{AdminRequest, CLOCK_STEP_US_MAX, Code, Config, Request, SessionId};

use crate::{DAY, Fate, HOUR, MINUTE, RATE, SECOND, START_US, World};

use lifetimes::Life;
use random::{Random, Seed};
use rates::Rate;

/// By how much the wall clock of a new boot may lag behind without raising the kernel's upper bound.
const REBOOT_DOUBT: u64 = 10 * SECOND;

/// The model that a run compares the kernel with.
struct Run {
    world: World,
    random: Random,
    workers: [SessionId; 2],
    lives: Vec<Life>,
    rates: Vec<Rate>,
    heard: Vec<u64>,
    /// By how much the upper bound may be too low.
    doubt_us: u64,
    offset_us: i64,
    boot: u8,
    /// The number of boots since the wall clock was synchronised.
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

    /// Updates the model for an input at the current time.
    fn note_input(&mut self) {
        let World { offset_us: offset, synchronised, boot, .. } = self.world;
        let begins_boot = boot != self.boot;
        if begins_boot {
            // By how much the time that the wall clock shows is too short and too long.
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
            // After two boots only the sum of the times is known for which the machine was off.
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
                // Admission rates are not part of the state.
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

    /// The owner has no rates, so a step of the wall clock is always recorded.
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

    /// One thread reads the clocks, and another one overtakes it.
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

    /// Once the clocks are right, everything is restored.
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

/// No grant lives longer than its minutes, no rate is exceeded in any span, and no deadline is missed. Nothing ends
/// early within a boot, and everything is the same after a restart. `AK_SEED` runs a single seed.
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
