//! The rules that every contender enforces, and the requests that it decides on.
//!
//! Roles may call tools up to a cost, everybody may read below some directories and get from some hosts, and
//! a directory below each of the readable ones is forbidden.

use ak_json::Value;

/// The number of roles.
const ROLES: usize = 20;
/// The number of directories that contain projects.
const TEAMS: usize = 37;

/// One rule.
pub enum Rule {
    /// A role may call a tool if the argument `/cost` is at most `cost_max`.
    Call { role: String, tool: String, cost_max: i64 },
    /// Everyone may read below a directory.
    Read { directory: String },
    /// Everyone may get URLs below `/api/` of a host.
    Get { host: String },
    /// Nobody may read below a directory.
    Forbid { directory: String },
}

/// This many rules, the four kinds in turn.
pub fn rules(count: usize) -> Vec<Rule> {
    let rule = |at: usize| match at % 4 {
        0 => Rule::Call {
            role: format!("role{}", at % ROLES),
            tool: format!("tool_{at}"),
            cost_max: at as i64 + 10,
        },
        1 => Rule::Read { directory: directory(at) },
        2 => Rule::Get { host: format!("host{at}.example.com") },
        _ => Rule::Forbid { directory: format!("{}/secret", directory(at - 2)) },
    };
    (0..count).map(rule).collect()
}

fn directory(at: usize) -> String {
    format!("/srv/data/team{}/project{at}", at % TEAMS)
}

/// The expected decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A rule permits the request.
    Permit,
    /// A rule forbids the request.
    Forbid,
    /// No rule permits the request.
    Deny,
}

/// One request.
#[derive(Clone)]
pub struct Request {
    pub agent: &'static str,
    pub operation: &'static str,
    /// A tool, a path or a URL.
    pub target: &'static str,
    /// The host and the path of a URL.
    pub url: Option<(&'static str, &'static str)>,
    /// The argument `/cost` of a call.
    pub cost: i64,
    pub expected: Answer,
}

/// Requests on which the smallest and the largest set of rules decide alike.
pub fn requests() -> Vec<Request> {
    let request = |agent, operation, target, cost, expected| Request {
        agent,
        operation,
        target,
        url: None,
        cost,
        expected,
    };
    let get = |host, path, target, expected| Request {
        url: Some((host, path)),
        ..request("role7", "http.get", target, 0, expected)
    };
    vec![
        request("role4", "execute", "tool_4", 5, Answer::Permit),
        request("role8", "execute", "tool_8", 18, Answer::Permit),
        request("role4", "execute", "tool_4", 15, Answer::Deny),
        request("role9", "execute", "tool_4", 5, Answer::Deny),
        request("role7", "fs.read", "/srv/data/team5/project5/src/main.rs", 0, Answer::Permit),
        request("role4", "fs.read", "/srv/data/team1/project1/README.md", 0, Answer::Permit),
        request("role7", "fs.read", "/srv/data/team5/project5/secret/key.pem", 0, Answer::Forbid),
        request("role7", "fs.read", "/srv/data/team5/project55/a", 0, Answer::Deny),
        request("role7", "fs.read", "/etc/passwd", 0, Answer::Deny),
        get("host2.example.com", "/api/v1/items", "https://host2.example.com/api/v1/items", Answer::Permit),
        get(
            "host6.example.com",
            "/api/v1/users/7",
            "https://host6.example.com/api/v1/users/7",
            Answer::Permit,
        ),
        get("host2.example.com", "/admin", "https://host2.example.com/admin", Answer::Deny),
        get("evil.example.net", "/api/v1", "https://evil.example.net/api/v1", Answer::Deny),
    ]
}

/// A contender that decides.
pub trait Decides {
    /// The decision on the request with this number, which was prepared beforehand.
    fn decide(&mut self, request: usize) -> Answer;

    /// Whether the contender distinguishes a forbid from a denial by default.
    fn tells_forbids(&self) -> bool {
        true
    }
}

/// Asserts that a contender decides on every request as expected, and so as all others do.
pub fn check(name: &str, contender: &mut dyn Decides, requests: &[Request]) {
    for (at, request) in requests.iter().enumerate() {
        let expected = match request.expected {
            Answer::Forbid if !contender.tells_forbids() => Answer::Deny,
            expected => expected,
        };
        assert_eq!(contender.decide(at), expected, "{name}: {} {}", request.operation, request.target);
    }
}

/// Two calls with their expected decisions: the arguments of the first satisfy all ten conditions, those of the second
/// all but the last.
pub fn calls() -> [(Value, Answer); 2] {
    let call = |purpose: &str| {
        ak_json::object! {
            "amount": 250, "currency": "EUR", "iban": "DE02120300000000202051", "urgent": false,
            "category": "travel", "report": "/srv/reports/2026/q3.pdf", "server": "pay.example.com",
            "retries": 2, "mode": "draft", "purpose": purpose
        }
    };
    [(call("invoice"), Answer::Permit), (call("gift"), Answer::Deny)]
}
