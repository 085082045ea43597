//! Times several ways to do one thing, in turns.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// How many turns each contender has.
const ROUNDS: usize = 15;

/// How long one turn should take: long enough to make the cost of reading the clock negligible.
const TURN: Duration = Duration::from_millis(8);

/// The clock that times a turn.
#[derive(Clone, Copy, Debug)]
pub enum Clock {
    /// CPU time of this thread, which other work on the machine hardly affects.
    Cpu,
    /// Wall time, for work that other threads, other processes or the disk do.
    Wall,
}

impl Clock {
    /// Returns how long the work took.
    pub fn time(self, work: impl FnOnce()) -> Duration {
        let now = || {
            let time = clock_gettime(match self {
                Clock::Cpu => ClockId::ThreadCPUTime,
                Clock::Wall => ClockId::Monotonic,
            });
            Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
        };
        let started = now();
        work();
        now() - started
    }
}

/// The time of one contender, in the median of all rounds.
#[derive(Clone, Debug)]
pub struct Result {
    /// The name of the contender.
    pub contender: String,
    /// Nanoseconds for one iteration.
    pub ns: f64,
}

type Turn<'a> = Box<dyn FnMut(u64) -> Duration + 'a>;

/// Contenders that do the same work. The others are compared with the first.
#[derive(Default)]
pub struct Race<'a> {
    contenders: Vec<(String, Turn<'a>)>,
    known: Vec<Result>,
}

impl<'a> Race<'a> {
    /// A race without contenders.
    pub fn new() -> Race<'a> {
        Race::default()
    }

    /// Adds work that this thread does alone; it is timed in CPU time.
    pub fn cpu<R>(self, contender: &str, work: impl FnMut() -> R + 'a) -> Race<'a> {
        self.clocked(Clock::Cpu, contender, work)
    }

    /// Adds work that other threads or processes take part in; it is timed in wall time.
    pub fn wall<R>(self, contender: &str, work: impl FnMut() -> R + 'a) -> Race<'a> {
        self.clocked(Clock::Wall, contender, work)
    }

    fn clocked<R>(self, clock: Clock, contender: &str, mut work: impl FnMut() -> R + 'a) -> Race<'a> {
        self.turns(contender, move |iterations| {
            clock.time(|| {
                for _ in 0..iterations {
                    std::hint::black_box(work());
                }
            })
        })
    }

    /// Adds work that times itself: `turn` runs this many iterations and returns how long they took, without
    /// their preparation.
    pub fn turns(mut self, contender: &str, turn: impl FnMut(u64) -> Duration + 'a) -> Race<'a> {
        self.contenders.push((contender.to_owned(), Box::new(turn)));
        self
    }

    /// Adds a time that was measured elsewhere during the same run, such as in another process.
    pub fn measured(mut self, contender: &str, ns: f64) -> Race<'a> {
        self.known.push(Result { contender: contender.to_owned(), ns });
        self
    }

    /// Runs all rounds and returns the median of each contender.
    pub fn run(self) -> Vec<Result> {
        let mut racers: Vec<_> = self
            .contenders
            .into_iter()
            .map(|(contender, mut turn)| {
                let iterations = calibrate(&mut turn);
                (contender, turn, iterations, Vec::new())
            })
            .collect();
        for _ in 0..ROUNDS {
            for (_, turn, iterations, samples) in &mut racers {
                samples.push(turn(*iterations).as_nanos() as f64 / *iterations as f64);
            }
        }
        let measured = racers.into_iter().map(|(contender, _, _, mut samples)| {
            samples.sort_by(f64::total_cmp);
            Result { contender, ns: samples[samples.len() / 2] }
        });
        measured.chain(self.known).collect()
    }
}

/// Returns how many iterations fill a turn, at most 2^24.
fn calibrate(turn: &mut Turn<'_>) -> u64 {
    let mut iterations = 1;
    // The first run pays for one-time costs: new pages, cold caches, growing tables.
    turn(iterations);
    loop {
        let took = turn(iterations);
        if took >= TURN / 2 || iterations >= 1 << 24 {
            let fitting = TURN.as_nanos() as f64 / took.as_nanos().max(1) as f64 * iterations as f64;
            return (fitting as u64).clamp(1, 1 << 24);
        }
        iterations *= 4;
    }
}
