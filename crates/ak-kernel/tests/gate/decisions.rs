//! What the gate decides on: the object and the arguments that are really used, in one decision.

use ak_heap::Created;
use ak_json::{Pointer, Value, object};
use ak_kernel::{
    AuditFilter, AuditRequest, BatchPart, Code, Completion, Effect, FileRequest, HeapRequest, Request,
    SessionId, Step, StepAnswer,
};
use ak_policy::budget::Dimension;

use crate::support::{Machine, alloc, failure, handle, json, new, tool, value, write};
use crate::{authorized, http, used};

const SECRETS_KEPT: &str = r#"
[[rule]]
id = "w"
effect = "permit"
operation = "heap.write"
target = "heap:*"
agent = "worker"
unless.args."/patch/*/path" = { starts = ["/secret"] }
"#;

#[test]
fn object_owner_and_arguments_are_judged_in_one_decision() {
    let mut machine = Machine::new();
    machine.policy(SECRETS_KEPT);
    let worker = machine.agent("worker");
    let object = handle(machine.call(alloc("note", r#"{"secret":1,"open":1}"#)));
    let patch = |path: &str| format!(r#"[{{"op":"replace","path":"{path}","value":2}}]"#);
    for (path, passes) in [("/open", true), ("/secret", false)] {
        let args = object! { "patch": json(&patch(path)) };
        let foreseen = authorized(&mut machine, worker, "heap.write", &format!("heap:{object}"), args);
        let done = machine.call_as(worker, write(object, &patch(path), None));
        assert_eq!((foreseen, done.is_ok()), (passes, passes), "{path}");
    }
    // A rule with `when` permits the named paths of another agent's object, and nothing else.
    machine.policy(&SECRETS_KEPT.replace("unless", "when").replace("/secret", "/open"));
    machine.call_as(worker, write(object, &patch("/open"), None)).unwrap();
    assert_eq!(failure(machine.call_as(worker, write(object, &patch("/secret"), None))).code, Code::NotFound);
    machine.replayed();
}

#[test]
fn the_links_of_a_batch_count_as_written() {
    let forbid = r#"
[[rule]]
id = "no-approval"
effect = "forbid"
operation = "heap.write"
target = "heap:*"
when.args."/patch/*/path" = { starts = ["/approved"] }
[[rule]]
id = "no-approved-objects"
effect = "forbid"
operation = "heap.alloc"
target = "*"
when.args."/value/approved" = { type = "string" }
"#;
    let mut machine = Machine::new();
    machine.policy(forbid);
    let worker = machine.agent("worker");
    let object = handle(machine.call_as(worker, alloc("note", r#"{"n":1}"#)));
    let link = |pointer: &str| vec![(Pointer::parse(pointer).unwrap(), Created(0))];
    let written = |pointer: &str| BatchPart::Write {
        target: object.into(),
        patch: json("[]"),
        expected_version: None,
        links: link(pointer),
    };
    let made = |pointer: &str| match new("note", "{}") {
        BatchPart::Alloc { type_name, content, .. } => {
            BatchPart::Alloc { type_name, content, links: link(pointer) }
        }
        other => other,
    };
    for (pointer, passes) in [("/approved", false), ("/approved/by", false), ("/seen", true)] {
        let parts = vec![new("note", "{}"), written(pointer)];
        let done = machine.call_as(worker, Request::Heap(HeapRequest::Batch { parts }));
        assert_eq!(done.is_ok(), passes, "write {pointer}: {done:?}");
    }
    for (pointer, passes) in [("/approved", false), ("/seen", true)] {
        let parts = vec![new("note", "{}"), made(pointer)];
        assert_eq!(
            machine.call_as(worker, Request::Heap(HeapRequest::Batch { parts })).is_ok(),
            passes,
            "alloc {pointer}"
        );
    }
    machine.replayed();
}

#[test]
fn authorize_is_recorded_with_the_decision_that_it_gives() {
    let mut machine = Machine::new();
    machine.policy(
        "[[rule]]\nid = \"yes\"\neffect = \"permit\"\noperation = \"execute\"\ntarget = \"pay\"\nwhen.args.\"/sum\" = { max = 5 }\n\
         [[rule]]\nid = \"never\"\neffect = \"forbid\"\noperation = \"execute\"\ntarget = \"rm\"\n",
    );
    let worker = machine.agent("worker");
    let rows = [
        ("execute", "pay", 5, true, "permit", Some("yes")),
        ("execute", "pay", 6, false, "default_deny", None),
        ("execute", "rm", 1, false, "forbid", Some("never")),
        ("fs.read", "relative", 1, false, "refused", Some("canonical")),
    ];
    for (operation, target, sum, passes, decision, rule) in rows {
        let before = used(&mut machine, worker, Dimension::Compute);
        assert_eq!(authorized(&mut machine, worker, operation, target, object! { "sum": sum }), passes);
        assert_eq!(used(&mut machine, worker, Dimension::Compute), before + 2, "asking costs one");
        let filter = AuditFilter {
            event_type: Some("authorize".into()),
            newest: true,
            limit: Some(1),
            ..AuditFilter::default()
        };
        let found = value(machine.call(Request::Audit(AuditRequest::Query(filter))));
        let entry = found.get("entries").and_then(|entries| entries.as_array()?.get(0).cloned()).unwrap();
        let text = |name| entry.get(name).and_then(Value::as_str);
        assert_eq!((text("decision"), text("rule_id")), (Some(decision), rule), "{operation} {target}");
        assert_eq!(entry.get("asked_args"), Some(&object! { "sum": sum }));
    }
    machine.replayed();
}

#[test]
fn an_ask_rule_permits_no_effect() {
    let mut machine = Machine::new();
    machine.policy(
        "[http]\nallow = [\"GET https://a.example/**\"]\n[[rule]]\nid = \"ask\"\neffect = \"ask\"\noperation = \"http.get\"\n\
         target = \"https://a.example/pay/**\"\n",
    );
    let worker = machine.agent("worker");
    let call = machine.dispatch(worker, http("GET", "https://a.example/pay/x", &[], None));
    assert!(machine.effects.is_empty());
    assert_eq!(machine.replies[&call].as_ref().unwrap_err().code, Code::ApprovalRequired);
}

#[test]
fn a_module_that_the_policy_does_not_list_does_not_run() {
    let mut machine = Machine::new();
    machine.policy("[tools]\nallow = [\"*\"]\n[wasm]\nmodules = [\"other\"]\n");
    let worker = machine.agent("worker");
    let asked = tool("add", r#"{"a":1,"b":2}"#);
    assert_eq!(failure(machine.call_as(worker, asked)).code, Code::PolicyDeny);
}

/// The host reports the target of a link; the kernel trusts nothing else of the report.
#[test]
fn a_link_is_followed_only_beneath_its_root_and_judged_by_its_own_path() {
    let policy = "[[fs.allow]]\npath = \"/a/**\"\nread = true\nfollow = \"beneath\"\n[fs]\nread = [\"/b/**\", \"/a-beside/**\"]\ndeny = [\"/a/secret/**\"]";
    let led = |from: &str, to: &str| {
        let mut machine = Machine::new();
        machine.policy(policy);
        let read = Request::File(FileRequest::Read { path: from.into(), bytes_max: 9 });
        let (_, ticket, effect) = machine.effect(SessionId::OWNER, read);
        let Effect::File { follows_links, .. } = effect else { panic!("{effect:?}") };
        let verdict = machine.progress(ticket, Step::Link { path: to.into() });
        machine.complete(ticket, Completion::failed(Code::Io, "it ends here"));
        machine.replayed();
        (follows_links, verdict)
    };
    assert_eq!(led("/a/x", "/a/y"), (true, StepAnswer::Continue));
    for to in ["/b/y", "/a-beside/y", "/a/secret/y", "/a/../b/y", "/a//y", "/a/./y", "a/y", "", "/", "/a/y\0"]
    {
        let (_, verdict) = led("/a/x", to);
        assert!(matches!(verdict, StepAnswer::Abort(_)), "{to:?}: {verdict:?}");
    }
    let (follows, verdict) = led("/b/x", "/b/y");
    assert!(!follows && matches!(verdict, StepAnswer::Abort(_)), "{verdict:?}");
}
