//! Runs one seed once. The process ends afterwards, so that nothing of the run affects the next one.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use ak_host::{
    Connection, Options,
    ak_json::{Object, Value, object},
    ak_kernel::{AdminRequest, Outcome, Request},
};
use rustix::time::{ClockId, clock_gettime};

use crate::{
    generate::Scope,
    seed::{ATTACK_MAX, Prepared, Seed, Step, text_of},
    server,
    victim::Victim,
};

/// How long the victim runs alone before the attack.
const ALONE: Duration = Duration::from_millis(200);
/// How long a request that has begun may continue after the end of the attack.
const GRACE: Duration = Duration::from_secs(1);
/// The interval at which the end of the attack is checked.
const POLL: Duration = Duration::from_millis(1);

/// Runs the seed, with its files beneath `directory`, prints the measurements, and ends the process.
///
/// # Errors
/// Says what is wrong with the seed. A request that is refused is no error.
pub(crate) fn run(seed: &Seed, is_durable: bool, directory: &Path) -> Result<(), String> {
    let mut scope = Scope {
        directory: directory.join("files").to_string_lossy().into_owned(),
        server: server::start(),
        counters: vec![0],
        ..Scope::default()
    };
    let owner = open(seed, is_durable, directory, &mut scope)?;
    if let Some(policy) = &seed.policy {
        let text = text_of(&scope, policy).map_err(|reason| format!("policy: {reason}"))?;
        let request = Request::Admin(AdminRequest::PolicyLoad {
            text: text.into(),
            base_dir: None,
            files: Default::default(),
        });
        // Without its policy the seed would be a different attack.
        owner.call(request).map_err(|failure| format!("policy: {}", failure.message))?;
    }
    let setup = Party::new(owner.clone());
    for (index, step) in seed.setup.iter().enumerate() {
        setup.step(step, index, &mut scope).map_err(|reason| format!("setup.{index}: {reason}"))?;
    }
    let mut notes = setup.done()?.notes("setup", &["OK".into()]);
    let victim = Victim::start(&owner)?;
    thread::sleep(ALONE);
    let alone = victim.restart();
    let attack = Party::new(owner);
    thread::scope(|threads| {
        let started = Instant::now();
        let attacker = threads.spawn(|| {
            let mut steps = seed.attack.iter().enumerate();
            steps.try_for_each(|(index, step)| {
                attack.step(step, index, &mut scope).map_err(|reason| format!("attack.{index}: {reason}"))
            })
        });
        while !attacker.is_finished() && started.elapsed() < ATTACK_MAX + GRACE {
            attack.is_over.store(started.elapsed() >= ATTACK_MAX, Ordering::Relaxed);
            thread::sleep(POLL);
        }
        let took = started.elapsed();
        if !attacker.is_finished() {
            notes.push(format!("the attack did not end within {ATTACK_MAX:?}"));
        } else {
            attacker.join().unwrap_or_else(|_| Err("the attacker panicked".into()))?;
        }
        // The victim's request that is waiting now counts too, so wait for its reply.
        let wait = victim.finish(Instant::now() + GRACE);
        let done = attack.done()?;
        notes.extend(done.notes("attack", &seed.outcomes));
        let measured = object! {
            "wait_us": micros(wait), "alone_us": micros(alone), "cpu_us": micros(done.cpu),
            "longest_us": micros(done.longest), "took_us": micros(took), "outcomes": done.by_code(),
            "notes": notes.into_iter().map(Value::from).collect::<Vec<_>>(),
        };
        println!("{measured}");
        // Ends threads that may still wait for the kernel.
        std::process::exit(0)
    })
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Makes the seed's files and opens a kernel with the seed's host configuration.
fn open(seed: &Seed, is_durable: bool, directory: &Path, scope: &mut Scope) -> Result<Connection, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", directory.display());
    let within = directory.join("files");
    fs::create_dir_all(&within).map_err(failed)?;
    for files in &seed.files {
        for number in 0..files.repeat {
            scope.counters = vec![number];
            let path = within.join(text_of(scope, &files.path)?);
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent).map_err(failed)?;
            }
            fs::write(path, text_of(scope, &files.text)?).map_err(failed)?;
        }
    }
    scope.counters = vec![0];
    let mut options = Options::default();
    if let Some(host) = &seed.host {
        let path = directory.join("host.toml");
        fs::write(&path, text_of(scope, host)?).map_err(failed)?;
        options.host_config = Some(path);
    }
    options.state_dir = is_durable.then(|| directory.join("state"));
    Connection::open(&options).map_err(|failure| failure.message)
}

/// Makes the requests of the setup or of the attack, and collects their outcomes.
struct Party {
    owner: Connection,
    /// Whether no more requests are to be made.
    is_over: AtomicBool,
    done: Mutex<Done>,
}

/// The outcomes of requests.
#[derive(Default)]
struct Done {
    /// For each step and code: how many requests ended so, and the last message.
    outcomes: BTreeMap<(usize, &'static str), (u64, String)>,
    /// The CPU time of its thread for the most expensive request; the request held the kernel's lock no longer
    /// than this.
    cpu: Duration,
    /// The duration of the longest request.
    longest: Duration,
}

impl Party {
    fn new(owner: Connection) -> Party {
        Party { owner, is_over: AtomicBool::new(false), done: Mutex::default() }
    }

    fn done(&self) -> Result<MutexGuard<'_, Done>, String> {
        self.done.lock().map_err(|_| String::from("a thread panicked"))
    }

    /// Makes all requests of a step, and stores the results that it saves in `scope`.
    fn step(&self, step: &Step, index: usize, scope: &mut Scope) -> Result<(), String> {
        let share = step.repeat.div_ceil(step.threads);
        let parts: Vec<Result<Vec<Value>, String>> = thread::scope(|threads| {
            let parts: Vec<_> = (0..step.threads)
                .map(|part| {
                    let (mut scope, end) = (scope.clone(), step.repeat.min((part + 1) * share));
                    threads.spawn(move || self.requests(step, index, &mut scope, part * share..end))
                })
                .collect();
            let joined = parts.into_iter().map(|part| part.join());
            joined.map(|part| part.unwrap_or_else(|_| Err("a thread panicked".into()))).collect()
        });
        let parts = parts.into_iter().collect::<Result<Vec<_>, _>>()?;
        if let Some((name, _)) = &step.save {
            scope.saved.insert(name.clone(), parts.concat().into());
        }
        Ok(())
    }

    fn requests(
        &self,
        step: &Step,
        index: usize,
        scope: &mut Scope,
        numbers: std::ops::Range<u64>,
    ) -> Result<Vec<Value>, String> {
        let mut sessions: BTreeMap<String, Connection> = BTreeMap::new();
        let mut saved = Vec::new();
        for number in numbers {
            scope.counters = vec![number];
            let Prepared { request, agent, token } = step.prepare(scope)?;
            if self.is_over.load(Ordering::Relaxed) {
                break;
            }
            let (before, started) = (thread_cpu(), Instant::now());
            let outcome = self.session(&mut sessions, agent).and_then(|session| match token {
                Some(token) => session.present(&token).call(request),
                None => session.call(request),
            });
            self.done()?.add(index, &outcome, thread_cpu().saturating_sub(before), started.elapsed());
            if let (Some((_, pointer)), Ok(reply)) = (&step.save, &outcome) {
                parts(&reply.to_value(), pointer, &mut saved);
            }
        }
        Ok(saved)
    }

    /// The session of an agent, which is opened at first use.
    fn session<'s>(
        &self,
        sessions: &'s mut BTreeMap<String, Connection>,
        agent: String,
    ) -> Result<&'s Connection, ak_host::ak_kernel::Failure> {
        use std::collections::btree_map::Entry;
        match sessions.entry(agent) {
            Entry::Occupied(entry) => Ok(entry.into_mut()),
            Entry::Vacant(entry) if entry.key() == "owner" => Ok(entry.insert(self.owner.clone())),
            Entry::Vacant(entry) => {
                let session = self.owner.agent(entry.key())?;
                Ok(entry.insert(session))
            }
        }
    }
}

impl Done {
    fn add(&mut self, step: usize, outcome: &Outcome, cpu: Duration, took: Duration) {
        let (name, message) = match outcome {
            Ok(_) => ("OK", ""),
            Err(failure) => (failure.code.name(), failure.message.as_str()),
        };
        let (times, last) = self.outcomes.entry((step, name)).or_default();
        *times += 1;
        last.clear();
        last.extend(message.chars().take(200));
        self.cpu = self.cpu.max(cpu);
        self.longest = self.longest.max(took);
    }

    /// How many requests ended with each code.
    fn by_code(&self) -> Object {
        let mut codes: BTreeMap<&str, u64> = BTreeMap::new();
        for ((_, name), (times, _)) in &self.outcomes {
            *codes.entry(name).or_default() += times;
        }
        codes.into_iter().collect()
    }

    /// The requests that ended with a code that is not in `known`. Empty if `known` is.
    fn notes(&self, what: &str, known: &[String]) -> Vec<String> {
        let others = self.outcomes.iter().filter(|((_, name), _)| !known.iter().any(|known| known == name));
        let note = |((step, name), (times, message)): (&(usize, &str), &(u64, String))| {
            format!("{what}.{step}: {times} × {name}: {message}")
        };
        if known.is_empty() { Vec::new() } else { others.map(note).collect() }
    }
}

/// Adds the values at a pointer to `found`; `*` in the pointer stands for every item.
fn parts(value: &Value, pointer: &str, found: &mut Vec<Value>) {
    let Some(rest) = pointer.strip_prefix('/') else { return found.push(value.clone()) };
    let (name, rest) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    match value.as_array() {
        Some(items) if name == "*" => items.iter().for_each(|item| parts(item, rest, found)),
        _ => {
            if let Some(value) = value.get(name) {
                parts(value, rest, found);
            }
        }
    }
}

fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
