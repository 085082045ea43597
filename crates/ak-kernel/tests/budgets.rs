//! Budgets hold for an agent and for each of its ancestors, and a number that changes resets no usage.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use std::collections::BTreeMap;

use ak_json::{Value, object};
use ak_kernel::{
    AgentRequest, Code, Completion, Failure, FileRequest, InferRequest, Outcome, Price, Replay, Request,
    SessionId, Ticket, ToolReplay,
};
use ak_policy::budget::Dimension;
use proptest::prelude::*;

use support::{Machine, failure, json, load, tool, value};

fn add() -> Request {
    tool("add", r#"{"a":1,"b":2}"#)
}

fn set(agent: Option<&str>, dimension: Dimension, limit: Option<u64>) -> Request {
    Request::Agent(AgentRequest::BudgetSet { dimension, limit, agent: agent.map(Into::into) })
}

/// How many of ten calls of a tool are permitted.
fn calls(machine: &mut Machine, session: SessionId) -> usize {
    let passed = (0..10).filter(|_| match machine.call_as(session, add()) {
        Ok(_) => true,
        Err(failure) => {
            assert_eq!(failure.code, Code::BudgetExceeded, "{failure}");
            false
        }
    });
    passed.count()
}

/// The budget status of a session: limit, used, remaining, and what limits it.
fn status(
    machine: &mut Machine,
    session: SessionId,
    dimension: Dimension,
) -> (Option<u64>, u64, Option<u64>, String) {
    let request = Request::Agent(AgentRequest::BudgetStatus { dimension: Some(dimension), agent: None });
    let told = value(machine.call_as(session, request));
    let row = told.get(dimension.as_str()).unwrap();
    let number = |name: &str| row.get(name).and_then(Value::as_u64);
    let by = row.get("limited_by").and_then(Value::as_str).unwrap_or_default().to_owned();
    (number("limit"), number("used").unwrap(), number("remaining"), by)
}

const TOOLS: &str = "[tools]\nallow = [\"add\"]\n";
use Dimension::ToolCalls;

// Rows B1 to B4 and B7.

#[test]
fn lowering_a_limit_by_reloading_keeps_its_usage() {
    let mut machine = Machine::new();
    let policy = |max: u64, per: &str| {
        format!(
            "{TOOLS}[[limit]]\nid = \"few\"\noperation = \"execute\"\ntarget = \"add\"\ncount = true\nmax = {max}\nper = \"{per}\"\n"
        )
    };
    let mut total = 0;
    for (max, per, passes) in [(5, "24h", 5), (4, "24h", 0), (3, "24h", 0), (3, "48h", 0), (6, "24h", 1)] {
        machine.policy(&policy(max, per));
        let passed = calls(&mut machine, SessionId::OWNER);
        assert_eq!(passed, passes, "{max} per {per}");
        total += passed;
        machine.sleep_ms(60_000);
    }
    assert_eq!(total, 6);
    machine.sleep_ms(25 * 3_600_000);
    assert_eq!(calls(&mut machine, SessionId::OWNER), 6);
    machine.replayed();
}

#[test]
fn a_grant_with_changed_numbers_keeps_its_clock_and_uses() {
    let mut machine = Machine::new();
    let policy = |rest: &str| {
        format!(
            "profiles = []\n[[capability]]\nname = \"add\"\nresource = \"*\"\nmethods = [\"execute\"]\n{rest}"
        )
    };
    let passed = |machine: &mut Machine| (0..9).filter(|_| machine.call(add()).is_ok()).count();
    for (rest, passes) in
        [("rate = \"5/d\"", 5), ("rate = \"4/d\"", 0), ("rate = \"6/d\"\nexpires_minutes = 60", 1)]
    {
        machine.policy(&policy(rest));
        assert_eq!(passed(&mut machine), passes, "{rest}");
    }
    machine.sleep_ms(61 * 60_000);
    machine.policy(&policy("expires_minutes = 60"));
    assert_eq!(passed(&mut machine), 0, "its clock runs from the first load");
    machine.policy(&policy("expires_minutes = 600"));
    assert_eq!(passed(&mut machine), 9);
    machine.replayed();
}

#[test]
fn budgets_of_main_bind_every_agent() {
    let mut machine = Machine::new();
    machine.policy(&format!("{TOOLS}[agent.main.budgets]\ntool_calls = 3\n"));
    let worker = machine.agent("worker");
    assert_eq!(status(&mut machine, worker, ToolCalls), (Some(3), 0, Some(3), "policy:main".into()));
    machine.call_as(worker, add()).unwrap();
    assert_eq!(calls(&mut machine, SessionId::OWNER), 2);
    assert_eq!(calls(&mut machine, worker), 0);
    assert_eq!(status(&mut machine, SessionId::OWNER, ToolCalls), (Some(3), 3, Some(0), "policy".into()));
    assert_eq!(status(&mut machine, worker, ToolCalls), (Some(1), 1, Some(0), "policy:main".into()));
    machine.replayed();
}

#[test]
fn an_agents_budget_is_one_pool_for_its_descendants() {
    let mut machine = Machine::new();
    machine.policy(&format!(
        "{TOOLS}[agent.\"crew\".budgets]\ntool_calls = 4\n[agent.crew.budgets.each]\ntool_calls = 3\n"
    ));
    // An ancestor need not exist before.
    let deep = machine.agent("crew/w/x");
    let other = machine.agent("crew/w");
    let stranger = machine.agent("crewman");
    assert_eq!(calls(&mut machine, deep), 3, "each has three");
    assert_eq!(status(&mut machine, deep, ToolCalls), (Some(3), 3, Some(0), "policy".into()));
    assert_eq!(calls(&mut machine, other), 1, "and all of them have four");
    assert_eq!(status(&mut machine, other, ToolCalls), (Some(1), 1, Some(0), "policy:crew".into()));
    let crew = machine.agent("crew");
    assert_eq!(calls(&mut machine, crew), 0);
    assert_eq!(calls(&mut machine, stranger), 10);
    machine.replayed();
}

#[test]
fn loading_a_policy_raises_no_limit_that_was_set() {
    let mut machine = Machine::new();
    machine.policy(TOOLS);
    machine.call(set(None, ToolCalls, Some(10))).unwrap();
    for (policy, limit, by) in
        [(20, 10, "set_budget"), (10, 10, "policy"), (5, 5, "policy"), (20, 10, "set_budget")]
    {
        machine.policy(&format!("{TOOLS}[budgets]\ntool_calls = {policy}\n"));
        let (told, .., limited_by) = status(&mut machine, SessionId::OWNER, ToolCalls);
        assert_eq!(told, Some(limit));
        assert!(policy == 10 || limited_by == by, "{policy}: {limited_by}");
    }
    machine.policy(TOOLS);
    assert_eq!(calls(&mut machine, SessionId::OWNER), 10);
    assert_eq!(calls(&mut machine, SessionId::OWNER), 0);
    machine.replayed();
}

#[test]
fn tokens_and_cost_can_be_limited_per_day() {
    let budget = "[agent.worker.budgets]\ntokens = { max = 300, per = \"24h\" }\ncost_micro_usd = { max = 5000, per = \"7d\" }\n";
    let limit = |sum: &str, max: u64| {
        format!(
            "[[limit]]\nid = \"l\"\noperation = \"infer\"\ntarget = \"m\"\nsum = \"usage:{sum}\"\nmax = {max}\nper = \"24h\"\n"
        )
    };
    // Each answer takes 110 tokens, which cost 220 µUSD; a little more is reserved.
    for (rest, first, next_day) in
        [(budget.to_owned(), 2, 2), (limit("tokens", 300), 2, 2), (limit("cost_micro_usd", 600), 2, 2)]
    {
        let mut machine = Machine::new();
        machine.policy(&format!("[infer]\nmodels = [\"m\"]\nmax_tokens = 100\n{rest}"));
        let worker = machine.agent("worker");
        for expected in [first, next_day] {
            let passed = (0..5).filter(|_| ask(&mut machine, worker, 110)).count();
            assert_eq!(passed, expected, "{rest}");
            machine.sleep_ms(25 * 3_600_000);
        }
        machine.replayed();
    }
    let mut machine = Machine::new();
    for refused in ["sum = \"/usage/total_tokens\"\nmax = 5", "sum = \"usage:bytes\"\nmax = 5"] {
        let text = format!(
            "[[limit]]\nid = \"l\"\noperation = \"infer\"\ntarget = \"m\"\n{refused}\nper = \"24h\"\n"
        );
        assert_eq!(failure(machine.call(load(&text))).code, Code::PolicyInvalid, "{refused}");
    }
    let gauge = "[budgets]\nmemory = { max = 5, per = \"24h\" }\n";
    assert_eq!(failure(machine.call(load(gauge))).code, Code::PolicyInvalid);
}

#[test]
fn an_answer_is_charged_by_the_limit_that_was_sent() {
    let policy =
        |max: u64| format!("[infer]\nmodels = [\"m\"]\nmax_tokens = {max}\n[budgets]\ntokens = 100000\n");
    let mut machine = Machine::new();
    // The request asks for 50 tokens at most, and its answer takes them.
    for loaded in [50, 5] {
        machine.policy(&policy(50));
        let worker = machine.agent(&format!("worker-{loaded}"));
        let call = machine.dispatch(worker, question());
        machine.policy(&policy(loaded));
        let (ticket, _) = machine.effects.pop().unwrap();
        machine.complete(ticket, answer(100));
        assert_eq!(status(&mut machine, worker, Dimension::Tokens).1, 100, "under {loaded}");
        let told = format!("{:?}", machine.replies[&call].as_ref().unwrap());
        assert!(!told.contains("estimated"), "{told}");
    }
    machine.replayed();
}

fn question() -> Request {
    let request = json(r#"{"model":"m","messages":[{"role":"user","content":"?"}],"max_tokens":50}"#);
    Request::Infer(InferRequest { request, stream: false, price: Some(Price::flat(2_000_000, 2_000_000)) })
}

/// An answer with this usage in tokens, half of them in the prompt.
fn answer(tokens: u64) -> Completion {
    let usage =
        object! { "prompt_tokens": tokens / 2, "completion_tokens": tokens / 2, "total_tokens": tokens };
    Completion::Inferred { response: object! { "usage": usage }, tokens }
}

/// Sends a request to a model that uses this many tokens. Returns whether it was permitted.
fn ask(machine: &mut Machine, session: SessionId, tokens: u64) -> bool {
    let call = machine.dispatch(session, question());
    match machine.effects.pop() {
        None => {
            let refused = machine.replies[&call].as_ref().unwrap_err();
            assert_eq!(refused.code, Code::BudgetExceeded, "{refused}");
            false
        }
        Some((ticket, _)) => {
            machine.complete(ticket, answer(tokens));
            true
        }
    }
}

// set_budget and budget_status.

#[test]
fn the_owner_sets_and_removes_any_limit() {
    let mut machine = Machine::new();
    machine.policy(&format!("{TOOLS}[agent.worker.budgets]\ntool_calls = 20\n"));
    let worker = machine.agent("worker");
    for (limit, effective, by) in [
        (Some(3), Some(3), "set_budget"),
        (Some(7), Some(7), "set_budget"),
        (Some(0), Some(0), "set_budget"),
        (Some(50), Some(20), "policy"),
        (None, Some(20), "policy"),
    ] {
        machine.call(set(Some("worker"), ToolCalls, limit)).unwrap();
        let (told, .., limited_by) = status(&mut machine, worker, ToolCalls);
        assert_eq!((told, &*limited_by), (effective, by), "{limit:?}");
    }
    machine.policy(TOOLS);
    assert_eq!(status(&mut machine, worker, ToolCalls), (None, 0, None, String::new()), "unlimited");
    machine.call(set(Some("worker"), ToolCalls, Some(0))).unwrap();
    assert_eq!(calls(&mut machine, worker), 0, "0 is nothing");
    machine.call(set(None, ToolCalls, Some(2))).unwrap();
    machine.call(set(Some("worker"), ToolCalls, None)).unwrap();
    assert_eq!(status(&mut machine, worker, ToolCalls), (Some(2), 0, Some(2), "set_budget:main".into()));
    assert_eq!(failure(machine.call(set(Some("nobody"), ToolCalls, Some(1)))).code, Code::NotFound);
    machine.replayed();
}

#[test]
fn an_agent_session_lowers_its_own_budget_and_nothing_else() {
    let mut machine = Machine::new();
    machine.policy(&format!("{TOOLS}[agent.\"crew/w\".budgets]\ntool_calls = 20\n"));
    let worker = machine.agent("crew/w");
    let refused = |machine: &mut Machine, request| failure(machine.call_as(worker, request)).code;
    // A number above the policy's limit has no effect yet; it applies when the policy's limit rises.
    machine.call_as(worker, set(None, ToolCalls, Some(30))).unwrap();
    assert_eq!(status(&mut machine, worker, ToolCalls).0, Some(20));
    assert_eq!(refused(&mut machine, set(None, ToolCalls, Some(31))), Code::PolicyDeny);
    machine.policy(TOOLS);
    assert_eq!(status(&mut machine, worker, ToolCalls).0, Some(30));
    machine.call_as(worker, set(Some("crew/w"), ToolCalls, Some(5))).unwrap();
    for (agent, limit) in [(None, Some(6)), (None, None), (Some("crew/w"), Some(u64::MAX))] {
        assert_eq!(refused(&mut machine, set(agent, ToolCalls, limit)), Code::PolicyDeny, "{limit:?}");
    }
    for other in ["main", "crew", "crew/w/x", "nobody"] {
        assert_eq!(refused(&mut machine, set(Some(other), ToolCalls, Some(1))), Code::NotFound, "{other}");
    }
    // An agent cannot raise a limit that the owner set, nor remove it.
    machine.call(set(Some("crew/w"), ToolCalls, Some(4))).unwrap();
    assert_eq!(refused(&mut machine, set(None, ToolCalls, Some(5))), Code::PolicyDeny);
    assert_eq!(calls(&mut machine, worker), 4);
    machine.call(set(Some("crew/w"), ToolCalls, Some(6))).expect("the owner raises it");
    assert_eq!(calls(&mut machine, worker), 2);
    machine.replayed();
}

// The property test.

const NAMES: [&str; 8] = ["main", "a", "a/b", "a/b/c", "a/b/c/d", "a/e", "f", "f/g"];
const DIMENSIONS: [Dimension; 3] = [Dimension::ToolCalls, Dimension::Bytes, Dimension::Compute];
const HOUR_US: u64 = 3_600_000_000;

#[derive(Clone, Debug)]
struct Limit {
    /// The agent by index; `None` for the table that applies to all agents.
    of: Option<usize>,
    each: bool,
    dimension: usize,
    hours: Option<u64>,
    max: u64,
}

#[derive(Clone, Debug)]
enum Act {
    Policy(Vec<Limit>),
    Set {
        by: usize,
        of: Option<usize>,
        dimension: usize,
        limit: Option<u64>,
    },
    Call(usize),
    /// Begins a read of at most this many bytes.
    Begin(usize, u64),
    /// Ends one of the open effects: with a number of bytes, with an unknown outcome, or with a failure.
    End(usize, u64),
    Status(usize),
    Sleep(u64),
    Snapshot,
    Restart,
}

fn limits() -> impl Strategy<Value = Vec<Limit>> {
    let limit =
        (prop::option::of(0..NAMES.len()), any::<bool>(), 0..3usize, prop::option::of(1u64..4), 0u64..25);
    let limit = limit.prop_map(|(of, each, dimension, hours, max)| {
        let max = match DIMENSIONS[dimension] {
            Dimension::Bytes => max * 20,
            Dimension::Compute => max * 5 + 20,
            _ => max,
        };
        Limit { of, each: each && of.is_some(), dimension, hours, max }
    });
    prop::collection::vec(limit, 0..5).prop_map(|mut limits| {
        // A table may set a limit only once.
        let key = |limit: &Limit| (limit.of, limit.each, limit.dimension);
        limits.sort_by_key(key);
        limits.dedup_by_key(|limit| key(limit));
        limits
    })
}

fn act() -> impl Strategy<Value = Act> {
    let who = 0..NAMES.len();
    prop_oneof![
        2 => limits().prop_map(Act::Policy),
        2 => (who.clone(), prop::option::of(who.clone()), 0..3usize, prop::option::of(0u64..60))
            .prop_map(|(by, of, dimension, limit)| Act::Set { by, of, dimension, limit }),
        8 => who.clone().prop_map(Act::Call),
        6 => (who.clone(), 0u64..150).prop_map(|(by, bytes)| Act::Begin(by, bytes)),
        4 => (0..9usize, 0u64..200).prop_map(|(open, bytes)| Act::End(open, bytes)),
        3 => who.prop_map(Act::Status),
        2 => (0u64..5_000_000).prop_map(Act::Sleep),
        1 => Just(Act::Snapshot),
        1 => Just(Act::Restart),
    ]
}

/// Whether an agent equals another one or is its descendant.
fn is_within(name: usize, of: usize) -> bool {
    let (name, of) = (NAMES[name], NAMES[of]);
    of == "main" || name == of || name.strip_prefix(of).is_some_and(|rest| rest.starts_with('/'))
}

/// An amount in each dimension.
type Amounts = Vec<(usize, u64)>;

/// The naive model: a list of charges, which is summed again for each question.
#[derive(Default)]
struct Naive {
    limits: Vec<Limit>,
    set: BTreeMap<(usize, usize), u64>,
    charges: Vec<(u64, usize, usize, u64)>,
    open: Vec<(Ticket, usize, Amounts)>,
}

impl Naive {
    /// Lower bound of what an agent has left, with each period prolonged by `longer`.
    fn left(&self, by: usize, dimension: usize, now_us: u64, longer: fn(u64) -> u64) -> Option<u64> {
        let left = |max: u64, counts: &dyn Fn(usize) -> bool, hours: Option<u64>| {
            let recent = |at: u64| hours.is_none_or(|hours| at + longer(hours * HOUR_US) > now_us);
            let used: u64 = self
                .charges
                .iter()
                .filter(|(at, who, what, _)| *what == dimension && counts(*who) && recent(*at))
                .map(|(.., amount)| amount)
                .sum();
            let open: u64 = self
                .open
                .iter()
                .filter(|(_, who, _)| counts(*who))
                .flat_map(|(.., amounts)| amounts)
                .filter(|(what, _)| *what == dimension)
                .map(|(_, amount)| amount)
                .sum();
            max.saturating_sub(used).saturating_sub(open)
        };
        let mut least: Vec<u64> = Vec::new();
        for limit in self.limits.iter().filter(|limit| limit.dimension == dimension) {
            // The table for all agents is one pool for `main`, and one limit each for the others.
            let each = limit.each || limit.of.is_none() && by != 0;
            if each && limit.of.is_none_or(|of| is_within(by, of)) {
                least.push(left(limit.max, &|who| who == by, limit.hours));
            }
            let pool = limit.of.unwrap_or(0);
            if !limit.each && is_within(by, pool) {
                least.push(left(limit.max, &|who| is_within(who, pool), limit.hours));
            }
        }
        for ((of, what), max) in &self.set {
            if *what == dimension && is_within(by, *of) {
                least.push(left(*max, &|who| is_within(who, *of), None));
            }
        }
        least.into_iter().min()
    }

    /// Whether every limit has room: exactly, and with prolonged periods.
    fn has_room(&self, by: usize, amounts: &[(usize, u64)], now_us: u64) -> (bool, bool) {
        let fits = |longer: fn(u64) -> u64| {
            amounts.iter().all(|(what, amount)| {
                *amount == 0 || self.left(by, *what, now_us, longer).is_none_or(|left| *amount <= left)
            })
        };
        (fits(|us| us), fits(a_bit_longer))
    }
}

fn a_bit_longer(us: u64) -> u64 {
    us + us / 60 + 1
}

fn text(limits: &[Limit]) -> String {
    let mut tables: BTreeMap<String, String> = BTreeMap::new();
    for Limit { of, each, dimension, hours, max } in limits {
        let table = match (of, each) {
            (None, _) => "[budgets]".to_owned(),
            (Some(of), false) => format!("[agent.\"{}\".budgets]", NAMES[*of]),
            (Some(of), true) => format!("[agent.\"{}\".budgets.each]", NAMES[*of]),
        };
        let name = DIMENSIONS[*dimension].as_str();
        let line = match hours {
            None => format!("{name} = {max}\n"),
            Some(hours) => format!("{name} = {{ max = {max}, per = \"{hours}h\" }}\n"),
        };
        tables.entry(table).or_default().push_str(&line);
    }
    let tables: String = tables.iter().map(|(table, lines)| format!("{table}\n{lines}")).collect();
    format!("[fs]\nread = [\"/**\"]\n{TOOLS}{tables}")
}

struct Run {
    machine: Machine,
    sessions: Vec<SessionId>,
    naive: Naive,
    snapshot: Option<(usize, Vec<u8>)>,
}

const CALL: usize = 0;
const BYTES: usize = 1;
const COMPUTE: usize = 2;

impl Run {
    fn new() -> Run {
        let mut machine = Machine::new();
        machine.policy(&text(&[]));
        let sessions = NAMES.map(|name| match name {
            "main" => SessionId::OWNER,
            name => machine.agent(name),
        });
        Run { machine, sessions: sessions.into(), naive: Naive::default(), snapshot: None }
    }

    fn now_us(&self) -> u64 {
        self.machine.clock_us
    }

    fn charge(&mut self, by: usize, what: usize, amount: u64) {
        let now_us = self.now_us();
        self.naive.charges.push((now_us, by, what, amount));
    }

    /// A request costs one `compute`. Returns whether it was paid, and compares with the request's outcome.
    fn pays(&mut self, by: usize, outcome: Option<&Outcome>) -> bool {
        let (strictly, surely) = self.naive.has_room(by, &[(COMPUTE, 1)], self.now_us());
        let is_refused = |failure: &Failure| {
            failure.code == Code::BudgetExceeded
                && failure.context.get("kind").and_then(Value::as_str) == Some("compute")
        };
        let refused = outcome.is_some_and(|outcome| outcome.as_ref().is_err_and(is_refused));
        assert!(if refused { !surely } else { strictly }, "{by} {outcome:?}");
        if !refused {
            self.charge(by, COMPUTE, 1);
        }
        !refused
    }

    fn begin(&mut self, by: usize, request: Request, what: usize, amount: u64) -> Option<Ticket> {
        let call = self.machine.dispatch(self.sessions[by], request);
        let begun = self.machine.effects.pop();
        let outcome = self.machine.replies.get(&call).cloned();
        assert_eq!(begun.is_none(), outcome.is_some());
        if !self.pays(by, outcome.as_ref()) {
            return None;
        }
        let (strictly, surely) = self.naive.has_room(by, &[(what, amount)], self.now_us());
        match (begun, outcome) {
            (Some((ticket, _)), None) => {
                assert!(strictly, "{by} goes beyond a limit");
                self.naive.open.push((ticket, by, vec![(what, amount)]));
                Some(ticket)
            }
            (None, Some(Err(failure))) => {
                assert_eq!(failure.code, Code::BudgetExceeded);
                assert!(!surely, "{by} has room: {failure}");
                None
            }
            other => panic!("{other:?}"),
        }
    }

    fn end(&mut self, ticket: Ticket, completion: Completion, actual: Option<u64>) {
        self.machine.complete(ticket, completion);
        let at = self.naive.open.iter().position(|(own, ..)| *own == ticket).unwrap();
        let (_, by, amounts) = self.naive.open.remove(at);
        for (what, amount) in amounts {
            self.charge(by, what, actual.unwrap_or(amount));
        }
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Policy(limits) => {
                self.machine.policy(&text(&limits));
                self.naive.limits = limits;
            }
            Act::Set { by, of, dimension, limit } => {
                let request = set(of.map(|of| NAMES[of]), DIMENSIONS[dimension], limit);
                let call = self.machine.dispatch(self.sessions[by], request);
                let outcome = self.machine.replies.get(&call).cloned().unwrap();
                // The owner may always set a budget.
                if by != 0 && !self.pays(by, Some(&outcome)) {
                    return;
                }
                let whose = of.unwrap_or(by);
                let before = self.naive.set.get(&(whose, dimension)).copied();
                let lowers = limit.is_some_and(|limit| before.is_none_or(|before| limit <= before));
                let may = by == 0 || whose == by && lowers;
                assert_eq!(outcome.is_ok(), may, "{outcome:?}");
                if may {
                    match limit {
                        Some(limit) => drop(self.naive.set.insert((whose, dimension), limit)),
                        None => drop(self.naive.set.remove(&(whose, dimension))),
                    }
                }
            }
            Act::Call(by) => {
                if let Some(ticket) = self.begin(by, add(), CALL, 1) {
                    let completion =
                        Completion::Tool { output: object! {}, fuel: 1, log: ak_json::Text::default() };
                    self.end(ticket, completion, Some(1));
                }
            }
            Act::Begin(by, bytes) => {
                let request = Request::File(FileRequest::Read { path: "/x".into(), bytes_max: bytes });
                self.begin(by, request, BYTES, bytes);
            }
            Act::End(open, bytes) => {
                let Some((ticket, ..)) = self.naive.open.get(open) else { return };
                match bytes {
                    150.. => self.end(*ticket, Completion::Unknown, None),
                    140.. => self.end(*ticket, Completion::failed(Code::Io, "gone"), Some(0)),
                    bytes => self.end(*ticket, Completion::File(vec![0; bytes as usize].into()), Some(bytes)),
                }
            }
            Act::Status(by) => self.compare(by),
            Act::Sleep(ms) => self.machine.sleep_ms(ms),
            Act::Snapshot => {
                let at = self.machine.records.len();
                self.snapshot = Some((at, self.machine.snapshot()));
            }
            Act::Restart => self.restart(),
        }
    }

    /// The reported budget status equals the model's.
    fn compare(&mut self, by: usize) {
        let call = self.machine.dispatch(
            self.sessions[by],
            Request::Agent(AgentRequest::BudgetStatus { dimension: None, agent: None }),
        );
        let outcome = self.machine.replies.get(&call).cloned().unwrap();
        if !self.pays(by, Some(&outcome)) {
            return;
        }
        let told = value(outcome);
        let now_us = self.now_us();
        for (what, dimension) in DIMENSIONS.into_iter().enumerate() {
            let row = told.get(dimension.as_str()).unwrap();
            let number = |name: &str| row.get(name).and_then(Value::as_u64);
            let remaining = number("remaining");
            let most = self.naive.left(by, what, now_us, |us| us);
            let least = self.naive.left(by, what, now_us, a_bit_longer);
            assert!(
                least <= remaining && remaining <= most,
                "{dimension} of {by}: {told}, {least:?} to {most:?}"
            );
            assert_eq!(remaining.is_some(), row.get("limited_by").is_some_and(|by| !by.is_null()), "{told}");
            assert_eq!(number("limit").is_some(), remaining.is_some());
        }
    }

    fn restart(&mut self) {
        let (mut replay, from) = match &self.snapshot {
            Some((at, bytes)) => (Replay::resume(bytes, ToolReplay::Recorded).unwrap(), *at),
            None => (Replay::new(ToolReplay::Recorded), 0),
        };
        for record in &self.machine.records[from..] {
            replay.feed(&record.leaf, &record.body).unwrap_or_else(|error| panic!("{error}"));
        }
        let mut again = replay.finish().unwrap();
        assert_eq!(again.state_digest(), self.machine.kernel.state_digest());
        self.machine.kernel = again;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// No agent exceeds the limits of the policy, of requests, and of its ancestors; no agent is refused what is
    /// left; and changed limits, reloads and restarts lose no usage.
    #[test]
    fn no_account_and_no_ancestor_is_ever_above_its_limit(acts in prop::collection::vec(act(), 1..60)) {
        let mut run = Run::new();
        for act in acts {
            run.act(act);
        }
        (0..NAMES.len()).for_each(|by| run.compare(by));
        run.restart();
        (0..NAMES.len()).for_each(|by| run.compare(by));
    }
}
