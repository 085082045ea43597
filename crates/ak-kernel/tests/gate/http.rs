//! HTTP requests: every hop is decided on and charged with what it sends.

use ak_json::{Object, Value};
use ak_kernel::{
    Code, Completion, Effect, HttpHop, Operation, PresentedCapability, Request, SessionId, Spent, StepAnswer,
};
use ak_policy::budget::Dimension;
use ak_policy::capability::{CapId, VerifiedToken};

use crate::support::{Machine, failure, json, value};
use crate::{answered, authorized, grant, http, redirect, resolved, used};

/// Each row: a policy, an additional grant, and how many requests to `/pay/**` pass, made directly or reached by a
/// redirect.
const COUNTED: [(&str, Option<&str>, usize); 4] = [
    (
        "[[limit]]\nid = \"once\"\noperation = \"http.get\"\ntarget = \"https://a.example/pay/**\"\ncount = true\nmax = 1\nper = \"24h\"\n",
        None,
        1,
    ),
    (
        "[[capability]]\nname = \"http\"\nresource = \"https://a.example/pay/**\"\nmethods = [\"get\"]\nrate = \"2/d\"\n",
        None,
        2,
    ),
    (
        "[http]\nallow = [\"GET https://a.example/pay/**\"]\n",
        Some(
            r#"{"agent":"worker","name":"http","resource":"https://a.example/**","methods":["get"],"uses":4}"#,
        ),
        2,
    ),
    ("[http]\nallow = [\"GET https://a.example/pay/**\"]\n[agent.worker.budgets]\ncompute = 5\n", None, 2),
];

#[test]
fn a_redirect_is_charged_as_a_request() {
    for (counted, granted, passes) in COUNTED {
        let mut machine = Machine::new();
        // A request that a limit counts may be permitted by an ordinary section.
        let rest = if counted.starts_with("[[limit") {
            "[http]\nallow = [\"GET https://a.example/**\"]\n"
        } else {
            ""
        };
        let open = "[[rule]]\nid = \"r\"\neffect = \"permit\"\noperation = \"http.get\"\ntarget = \"https://a.example/r/*\"\n";
        machine.policy(&format!("{rest}{counted}{open}"));
        let worker = machine.agent("worker");
        if let Some(terms) = granted {
            grant(&mut machine, terms);
        }
        let mut followed = 0;
        for n in 0..4 {
            let asked = http("GET", &format!("https://a.example/r/{n}"), &[], None);
            let call = machine.dispatch(worker, asked);
            let Some((ticket, _)) = machine.effects.pop() else {
                assert!(machine.replies[&call].is_err());
                continue;
            };
            resolved(&mut machine, ticket, "93.184.216.34");
            let verdict = redirect(&mut machine, ticket, "GET", "https://a.example/pay/x");
            followed += usize::from(matches!(verdict, StepAnswer::Follow(_)));
            machine.complete(ticket, answered(1));
        }
        assert_eq!(followed, passes, "{counted}");
        machine.replayed();
    }
}

#[test]
fn a_redirect_is_judged_with_the_headers_and_body_that_it_sends() {
    let mut machine = Machine::new();
    machine.policy(
        r#"
[[rule]]
id = "dry"
effect = "permit"
operation = ["http.post", "http.get"]
target = "https://*.example/**"
when.args."/headers/x-dry-run" = { equals = "1" }
[[rule]]
id = "plain-get"
effect = "permit"
operation = "http.get"
target = "https://b.example/**"
unless.args."/body" = { type = "string" }
"#,
    );
    let worker = machine.agent("worker");
    let headers = [("X-Dry-Run", "1"), ("Accept", "x/y"), ("Content-Type", "t/t")];
    let begin = |machine: &mut Machine| {
        let (_, ticket, effect) =
            machine.effect(worker, http("POST", "https://www.a.example/x", &headers, Some(b"pay")));
        let Effect::Http { hop, .. } = effect else { panic!("{effect:?}") };
        assert_eq!(hop.headers.len(), 3);
        resolved(machine, ticket, "93.184.216.34");
        ticket
    };
    // A redirect to another origin drops the header, and without it the POST is not permitted.
    let ticket = begin(&mut machine);
    let verdict = redirect(&mut machine, ticket, "POST", "https://www.b.example/x");
    assert!(matches!(verdict, StepAnswer::Abort(failure) if failure.code == Code::PolicyDeny));
    machine.complete(ticket, Completion::failed(Code::Io, "stopped"));
    // A 303 turns it into a GET without a body.
    let ticket = begin(&mut machine);
    let StepAnswer::Follow(hop) = redirect(&mut machine, ticket, "GET", "https://b.example/x") else {
        panic!()
    };
    let HttpHop { method, headers, body, .. } = *hop;
    assert_eq!((&*method, headers, body), ("GET", vec![("Accept".into(), "x/y".into())], None));
    machine.complete(ticket, answered(1));
    // A redirect to the same origin keeps everything.
    let ticket = begin(&mut machine);
    let StepAnswer::Follow(hop) = redirect(&mut machine, ticket, "POST", "https://www.a.example/y") else {
        panic!()
    };
    assert_eq!((hop.headers.len(), hop.body.as_deref()), (3, Some(&b"pay"[..])));
    machine.complete(ticket, answered(1));
    machine.replayed();
}

#[test]
fn url_headers_and_body_of_every_send_are_charged() {
    let mut machine = Machine::new();
    machine.policy("[http]\nallow = [\"* https://a.example/**\"]");
    let worker = machine.agent("worker");
    machine.limit("worker", Dimension::Bytes, 4_000);
    let long = "v".repeat(500);
    let asked = http("POST", "https://a.example/x", &[("X-Long", &long)], Some(&[0; 400]));
    let size = ("POST".len() + "https://a.example/x".len() + "X-Long".len() + 500 + 400) as u64;
    let (_, ticket, _) = machine.effect(worker, asked.clone());
    resolved(&mut machine, ticket, "93.184.216.34");
    assert!(matches!(redirect(&mut machine, ticket, "POST", "https://a.example/y"), StepAnswer::Follow(_)));
    assert!(matches!(redirect(&mut machine, ticket, "POST", "https://a.example/z"), StepAnswer::Follow(_)));
    // Three requests and the longest response are reserved: there is no room for a fourth request.
    let verdict = redirect(&mut machine, ticket, "POST", "https://a.example/w");
    assert!(matches!(verdict, StepAnswer::Abort(failure) if failure.code == Code::BudgetExceeded));
    machine.complete(ticket, Completion::failed(Code::Io, "stopped"));
    assert_eq!(used(&mut machine, worker, Dimension::Bytes), 3 * size);
    // A request that was not sent is not charged.
    let (_, ticket, _) = machine.effect(worker, http("GET", "https://a.example/x", &[], None));
    let (message, context) = ("no address".into(), Object::new());
    let spent = Spent { hops_sent: Some(0), ..Spent::default() };
    machine.complete(ticket, Completion::Failed { code: Code::Io, message, context, spent });
    assert_eq!(used(&mut machine, worker, Dimension::Bytes), 3 * size);
    // Headers alone can exceed a budget.
    let huge = "v".repeat(5_000);
    let asked = http("GET", "https://a.example/x", &[("X-Long", &huge)], None);
    assert_eq!(failure(machine.call_as(worker, asked)).code, Code::BudgetExceeded);
    machine.replayed();
}

#[test]
fn a_forbidden_host_is_not_resolved() {
    for (operation, target) in [("dns", "dns:host.example"), ("connect", "dns:host.example:443")] {
        let mut machine = Machine::new();
        machine.policy(&format!(
            "[http]\nallow = [\"GET https://host.example/**\"]\n[[rule]]\nid = \"closed\"\neffect = \"forbid\"\n\
             operation = \"{operation}\"\ntarget = \"{target}\"\n"
        ));
        let worker = machine.agent("worker");
        let asked = http("GET", "https://host.example/", &[], None);
        let call = machine.dispatch(worker, asked);
        assert!(machine.effects.is_empty(), "{operation}");
        assert_eq!(machine.replies[&call].as_ref().unwrap_err().code, Code::PolicyDeny);
        assert!(!authorized(&mut machine, worker, "http.get", "https://host.example/", Value::Null));
        machine.replayed();
    }
}

#[test]
fn a_header_has_one_value_and_one_spelling() {
    let mut machine = Machine::new();
    machine.policy(
        r#"
[[rule]]
id = "mine"
effect = "permit"
operation = "http.get"
target = "https://a.example/**"
when.args."/headers/x-tenant" = { equals = "mine" }
"#,
    );
    let worker = machine.agent("worker");
    type Headers = &'static [(&'static str, &'static str)];
    let rows: [(Headers, Option<Code>); 9] = [
        (&[("X-Tenant", "mine")], None),
        (&[("X_Tenant", "mine")], None),
        (&[("X-Tenant", "victim"), ("x-tenant", "mine")], Some(Code::InvalidArgument)),
        (&[("x-tenant", "mine"), ("X-TENANT", "mine")], Some(Code::InvalidArgument)),
        (&[("X-Tenant", "mine"), ("X_Tenant", "victim")], Some(Code::InvalidArgument)),
        (&[("X_Tenant", "victim"), ("X-Tenant", "mine")], Some(Code::InvalidArgument)),
        (&[("X-Tenant", "mine"), ("X-Tenant ", "victim")], Some(Code::InvalidArgument)),
        (&[("X-Tenant", "mine\r\nX-Tenant: victim")], Some(Code::InvalidArgument)),
        (&[("X-Tenant", "victim")], Some(Code::PolicyDeny)),
    ];
    for (headers, refused) in rows {
        let call = machine.dispatch(worker, http("GET", "https://a.example/x", headers, None));
        if let Some((ticket, _)) = machine.effects.pop() {
            machine.complete(ticket, answered(1));
        }
        assert_eq!(machine.replies[&call].as_ref().err().map(|failure| failure.code), refused, "{headers:?}");
    }
    machine.replayed();
}

#[test]
fn every_hop_must_be_covered_by_the_presented_capability() {
    let mut machine = Machine::new();
    machine.policy("[http]\nallow = [\"GET https://a.example/**\"]");
    let terms = r#"{"agent":"worker","name":"http","resource":"https://a.example/r/**","methods":["get"]}"#;
    let granted = value(machine.call(Request::decode(Operation::CapGrant, &json(terms)).unwrap()));
    let text = granted.get("capability").and_then(Value::as_str).unwrap().trim_start_matches("0x");
    let capability = CapId::from_u64(u64::from_str_radix(text, 16).unwrap());
    let presented =
        PresentedCapability::new(VerifiedToken { capability, authority: [].into_iter().collect() }).unwrap();
    // The owner may send both requests; the presented capability covers one of them.
    for (to, passes) in [("https://a.example/r/2", true), ("https://a.example/pay", false)] {
        let asked = http("GET", "https://a.example/r/1", &[], None).presenting(presented.clone());
        let (_, ticket, _) = machine.effect(SessionId::OWNER, asked);
        resolved(&mut machine, ticket, "93.184.216.34");
        let verdict = redirect(&mut machine, ticket, "GET", to);
        assert_eq!(matches!(verdict, StepAnswer::Follow(_)), passes, "{to}");
        machine.complete(ticket, answered(1));
    }
    machine.replayed();
}
