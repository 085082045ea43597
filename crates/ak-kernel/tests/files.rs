//! Operations on files that involve more than one path: the gate decides on each path.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use ak_json::{Value, array, object};
use ak_kernel::{
    AgentRequest, AuditFilter, AuditRequest, Code, Completion, Effect, FileAction, FileRequest, Operation,
    Outcome, PresentedCapability, Reply, Request, SessionId, Step, StepAnswer, Ticket,
};
use ak_policy::{
    budget::Dimension,
    capability::{CapId, VerifiedToken},
};
use support::{Machine, json, value};

/// Everything beneath `/data` may be read and written, except what is forbidden.
const POLICY: &str = r#"
[fs]
read = ["/data/**"]
write = ["/data/**"]

[[rule]]
id = "closed"
effect = "forbid"
operation = ["fs.read", "fs.write"]
target = "/data/closed/**"

[[rule]]
id = "sealed"
effect = "forbid"
operation = "fs.write"
target = "/data/sealed/**"

[[rule]]
id = "unreadable"
effect = "forbid"
operation = "fs.read"
target = "/data/unreadable/**"
"#;

fn machine() -> Machine {
    let mut machine = Machine::new();
    machine.policy(POLICY);
    machine
}

fn started(machine: &mut Machine, request: FileRequest) -> Result<(Ticket, Effect), Outcome> {
    let call = machine.dispatch(SessionId::OWNER, Request::File(request));
    machine.effects.pop().ok_or_else(|| machine.replies[&call].clone())
}

fn refused(machine: &mut Machine, request: FileRequest) -> Code {
    started(machine, request).unwrap_err().unwrap_err().code
}

fn rename(old: &str, new: &str) -> FileRequest {
    FileRequest::Rename { old: old.into(), new: new.into() }
}

fn glob(pattern: &str, limit: u64) -> FileRequest {
    FileRequest::Glob { pattern: pattern.into(), limit }
}

fn newest_entry(machine: &mut Machine, event: &str) -> Value {
    let filter = AuditFilter {
        event_type: Some(event.into()),
        newest: true,
        limit: Some(1),
        ..AuditFilter::default()
    };
    let Ok(Reply::Value(page)) = machine.call(Request::Audit(AuditRequest::Query(filter))) else {
        panic!("entries can be queried")
    };
    page.get("entries").unwrap().as_array().unwrap().get(0).unwrap().clone()
}

#[test]
fn a_rename_needs_reading_and_deleting_the_old_path_and_writing_the_new_one() {
    let mut machine = machine();
    let (ticket, effect) = started(&mut machine, rename("/data/a", "/data/b")).unwrap();
    let Effect::File { root, path, action: FileAction::Rename { root: new_root, path: new }, follows_links } =
        effect
    else {
        panic!("it is a rename")
    };
    assert_eq!((&*root, path.as_str(), &*new_root, new.as_str()), ("/data", "/data/a", "/data", "/data/b"));
    assert!(!follows_links);
    machine.complete(ticket, Completion::Done);
    for (old, new) in [
        ("/data/closed/a", "/data/b"),
        ("/data/sealed/a", "/data/b"),
        ("/data/a", "/data/sealed/b"),
        ("/data/a", "/data/closed/b"),
        ("/data/unreadable/a", "/data/b"),
        ("/etc/passwd", "/data/b"),
        ("/data/a", "/tmp/b"),
    ] {
        assert_eq!(refused(&mut machine, rename(old, new)), Code::PolicyDeny, "{old} to {new}");
    }
    assert_eq!(refused(&mut machine, rename("/data/a", "b")), Code::InvalidArgument);
    machine.replayed();
}

#[test]
fn a_rename_leaves_one_record_that_names_each_decision() {
    let mut machine = machine();
    let before = machine.records.len();
    refused(&mut machine, rename("/data/a", "/data/sealed/b"));
    assert_eq!(machine.records.len(), before + 1);
    let entry = newest_entry(&mut machine, "fs_rename");
    assert_eq!(entry.get("path").and_then(Value::as_str), Some("/data/a"));
    assert_eq!(entry.get("new_path").and_then(Value::as_str), Some("/data/sealed/b"));
    assert_eq!(entry.get("target").and_then(Value::as_str), Some("/data/sealed/b"));
    let decisions: Vec<&str> = entry
        .get("parts")
        .unwrap()
        .as_array()
        .unwrap()
        .iter()
        .map(|part| part.get("decision").unwrap().as_str().unwrap())
        .collect();
    assert_eq!(decisions, ["permit", "permit", "forbid"]);
}

#[test]
fn a_rule_on_the_size_of_a_file_does_not_permit_a_rename() {
    let mut machine = Machine::new();
    machine.policy(
        "[fs]\nread = [\"/data/**\"]\n[[rule]]\neffect = \"permit\"\noperation = \"fs.write\"\ntarget = \"/data/**\"\n\
         when.args.\"/size\" = { max = 10 }\n",
    );
    assert_eq!(refused(&mut machine, rename("/data/a", "/data/b")), Code::PolicyDeny);
    assert!(
        started(&mut machine, FileRequest::Append { path: "/data/a".into(), data: (*b"0123456789").into() })
            .is_ok()
    );
    let long = FileRequest::Append { path: "/data/a".into(), data: (*b"0123456789a").into() };
    assert_eq!(refused(&mut machine, long), Code::PolicyDeny);
}

#[test]
fn each_directory_that_is_made_is_decided_on() {
    let mut machine = machine();
    let make = |path: &str, parents| FileRequest::MakeDirectory { path: path.into(), parents };
    let step = |path: &str| Step::Path { path: path.into() };
    assert_eq!(refused(&mut machine, make("/data/sealed/x", false)), Code::PolicyDeny);
    let (ticket, _) = started(&mut machine, make("/data/a/b/c", true)).unwrap();
    assert_eq!(machine.progress(ticket, step("/data/a")), StepAnswer::Continue);
    assert_eq!(machine.progress(ticket, step("/data/a/b")), StepAnswer::Continue);
    assert!(matches!(machine.progress(ticket, step("/data/other")), StepAnswer::Abort(_)), "it is not above");
    machine.complete(ticket, Completion::Done);
    // Without `parents` no other path belongs to the effect.
    let (ticket, _) = started(&mut machine, make("/data/a/b", false)).unwrap();
    assert!(matches!(machine.progress(ticket, step("/data/a")), StepAnswer::Abort(_)));
    machine.replayed();
}

#[test]
fn a_glob_enters_no_directory_that_may_not_be_listed_and_tells_no_name_that_may_not_be_read() {
    let mut machine = machine();
    let (ticket, effect) = started(&mut machine, glob("/data/*/*.txt", 10)).unwrap();
    let Effect::File { path, action: FileAction::Glob { pattern, .. }, .. } = effect else {
        panic!("a glob")
    };
    assert_eq!((path.as_str(), &*pattern), ("/data", "*/*.txt"));
    let step = |path: &str| Step::Path { path: path.into() };
    assert_eq!(machine.progress(ticket, step("/data/open")), StepAnswer::Continue);
    assert_eq!(machine.progress(ticket, step("/data/closed")), StepAnswer::Skip);
    assert_eq!(machine.progress(ticket, step("/etc")), StepAnswer::Skip);
    let found = array!["/data/closed/a.txt", "/data/open/a.txt", "/etc/passwd", "/data/open/b.txt"];
    machine.complete(ticket, Completion::Value(found));
    let call = machine.replies.values().last().unwrap().clone();
    assert_eq!(call, Ok(Reply::Value(object! { "paths": array!["/data/open/a.txt", "/data/open/b.txt"] })));
    machine.replayed();
}

#[test]
fn a_glob_gives_no_more_paths_than_were_asked_for() {
    let mut machine = machine();
    let (ticket, _) = started(&mut machine, glob("/data/*", 1)).unwrap();
    machine.complete(ticket, Completion::Value(array!["/data/a", "/data/b"]));
    assert_eq!(
        machine.replies.values().last(),
        Some(&Ok(Reply::Value(object! { "paths": array!["/data/a"] })))
    );
}

#[test]
fn a_glob_begins_where_its_pattern_begins() {
    let mut machine = machine();
    for (pattern, base, rest) in [
        ("/data/*.txt", "/data", "*.txt"),
        ("/data/a/b", "/data/a", "b"),
        ("/data/a/**/c", "/data/a", "**/c"),
        ("/data/[ab]/c", "/data", "[ab]/c"),
        ("/data/?", "/data", "?"),
    ] {
        let (ticket, effect) = started(&mut machine, glob(pattern, 1)).unwrap();
        let Effect::File { path, action: FileAction::Glob { pattern: found, .. }, .. } = effect else {
            panic!("a glob")
        };
        assert_eq!((path.as_str(), &*found), (base, rest), "{pattern}");
        machine.complete(ticket, Completion::Value(array![]));
    }
    for pattern in ["*.txt", "data/*", "", "/data/", "/*/data", "/etc/*"] {
        let code = refused(&mut machine, glob(pattern, 1));
        assert!(matches!(code, Code::InvalidArgument | Code::PolicyDeny), "{pattern}: {code:?}");
    }
    let above = machine.try_dispatch(SessionId::OWNER, Request::from(glob("/data/*", 10_001))).unwrap_err();
    assert_eq!((above.code, &*above.message), (Code::Limit, "args.limit: is above 10000"));
}

fn step(path: &str) -> Step {
    Step::Path { path: path.into() }
}

fn used(machine: &mut Machine, session: SessionId, dimension: Dimension) -> u64 {
    let asked = AgentRequest::BudgetStatus { dimension: Some(dimension), agent: None };
    let status = value(machine.call_as(session, Request::Agent(asked)));
    status.get(dimension.as_str()).and_then(|row| row.get("used")?.as_u64()).unwrap()
}

#[test]
fn a_rename_counts_as_three_operations() {
    let mut machine = machine();
    let worker = machine.agent("worker");
    let costs = |machine: &mut Machine, request: FileRequest| {
        let before = used(machine, worker, Dimension::Compute);
        let (_, ticket, _) = machine.effect(worker, Request::File(request));
        machine.complete(ticket, Completion::Done);
        used(machine, worker, Dimension::Compute) - before
    };
    let one = costs(&mut machine, FileRequest::Delete { path: "/data/a".into() });
    assert_eq!(costs(&mut machine, rename("/data/a", "/data/b")), one + 2);
    machine.replayed();
}

#[test]
fn a_write_that_failed_is_charged_in_full() {
    let mut machine = machine();
    let worker = machine.agent("worker");
    let write = FileRequest::Write { path: "/data/a".into(), data: (*b"0123456789").into() };
    let (_, ticket, _) = machine.effect(worker, Request::File(write));
    machine.complete(ticket, Completion::failed(Code::Io, "the disk is full"));
    assert_eq!(used(&mut machine, worker, Dimension::Bytes), 10, "any part of it may have been written");
    machine.replayed();
}

#[test]
fn a_glob_enters_only_directories_beneath_its_own_by_their_canonical_paths() {
    let mut machine = machine();
    let (ticket, _) = started(&mut machine, glob("/data/open/**", 10)).unwrap();
    assert_eq!(machine.progress(ticket, step("/data/open/a")), StepAnswer::Continue);
    for other in ["/data/other", "/data/openly", "/data/open/./a", "/data/open/../other", "/data/open/"] {
        assert_eq!(machine.progress(ticket, step(other)), StepAnswer::Skip, "{other}");
    }
    machine.replayed();
}

#[test]
fn a_directory_of_a_glob_counts_until_its_limit_period_ends() {
    let limit = "[[limit]]\nid = \"l\"\noperation = \"fs.list\"\ntarget = \"/data/*\"\ncount = true\nmax = 1\nper = \"1m\"\n";
    let mut machine = Machine::new();
    machine.policy(&format!("{POLICY}{limit}"));
    let entered = |machine: &mut Machine| {
        let (ticket, _) = started(machine, glob("/data/*/*", 10)).unwrap();
        let answers = ["/data/a", "/data/b"].map(|path| machine.progress(ticket, step(path)));
        machine.complete(ticket, Completion::Value(array![]));
        answers
    };
    assert_eq!(entered(&mut machine), [StepAnswer::Continue, StepAnswer::Skip]);
    machine.sleep_ms(200_000);
    let again = entered(&mut machine);
    assert_eq!(
        again,
        [StepAnswer::Continue, StepAnswer::Skip],
        "what was set aside for the first was settled"
    );
    machine.replayed();
}

#[test]
fn a_presented_capability_must_cover_what_a_glob_enters_and_what_it_tells() {
    for (methods, told) in [(r#"["list"]"#, array![]), (r#"["list","read"]"#, array!["/data/open/a"])] {
        let mut machine = machine();
        let terms =
            format!(r#"{{"agent":"worker","name":"fs","resource":"/data/open/*","methods":{methods}}}"#);
        let granted = value(machine.call(Request::decode(Operation::CapGrant, &json(&terms)).unwrap()));
        let text = granted.get("capability").and_then(Value::as_str).unwrap().trim_start_matches("0x");
        let capability = CapId::from_u64(u64::from_str_radix(text, 16).unwrap());
        let token = VerifiedToken { capability, authority: [].into_iter().collect() };
        let presented = PresentedCapability::new(token).unwrap();
        // The owner may list and read everything.
        let asked = Request::File(glob("/data/open/x/**", 10)).presenting(presented);
        let (call, ticket, _) = machine.effect(SessionId::OWNER, asked);
        assert_eq!(machine.progress(ticket, step("/data/open/x")), StepAnswer::Continue);
        assert_eq!(machine.progress(ticket, step("/data/open/x/y")), StepAnswer::Skip);
        let found = array!["/data/open/a", "/data/b"];
        machine.complete(ticket, Completion::Value(found));
        assert_eq!(machine.replies[&call], Ok(Reply::Value(object! { "paths": told })), "{methods}");
        machine.replayed();
    }
}

#[test]
fn a_glob_whose_paths_take_too_many_steps_to_decide_on_fails() {
    let rules: String = (0..60)
        .map(|n| {
            format!(
                "[[rule]]\neffect = \"forbid\"\noperation = \"fs.read\"\ntarget = \"/data/**/{n}/**/x\"\n"
            )
        })
        .collect();
    let mut machine = Machine::new();
    machine.policy(&format!("{POLICY}{rules}"));
    let (ticket, _) = started(&mut machine, glob("/data/*", 10_000)).unwrap();
    let found: Vec<Value> = (0..10_000).map(|n| Value::from(format!("/data/a/b/c/{n}"))).collect();
    machine.complete(ticket, Completion::Value(found.into()));
    let outcome = machine.replies.values().last().unwrap().clone();
    assert_eq!(outcome.unwrap_err().code, Code::Limit);
    machine.replayed();
}
