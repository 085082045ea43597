//! Requests to models: the request that is judged is the one that is sent.

use ak_json::Value;
use ak_kernel::{AdminRequest, Code, Completion, Effect, InferRequest, Request, SessionId, Step, StepAnswer};
use ak_policy::budget::Dimension;

use crate::support::{Machine, json, value};
use crate::used;

#[test]
fn rules_judge_the_token_limit_that_is_sent() {
    let mut machine = Machine::new();
    machine.policy(
        r#"
[[rule]]
id = "short"
effect = "permit"
operation = "infer"
target = "m"
when.args."/max_tokens" = { max = 10 }
only = ["/model", "/messages", "/max_tokens", "/n"]
"#,
    );
    let worker = machine.agent("worker");
    for (limits, passes) in [
        (r#""max_tokens":10"#, true),
        (r#""max_tokens":11"#, false),
        (r#""max_tokens":-1,"max_completion_tokens":5000"#, false),
        (r#""max_completion_tokens":10"#, true),
        (r#""max_completion_tokens":11"#, false),
        (r#""num_predict":5000"#, false),
        (r#""num_predict":5000,"max_output_tokens":4"#, true),
        (r#""max_tokens":10,"n":1"#, true),
        (r#""seed":1,"max_tokens":1"#, false),
        (r#""max_tokens":null"#, false),
    ] {
        let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"x"}}],{limits}}}"#);
        let request = Request::Infer(InferRequest { request: json(&body), stream: false, price: None });
        let call = machine.dispatch(worker, request);
        match machine.effects.pop() {
            Some((ticket, Effect::Infer { request, .. })) => {
                assert!(passes, "{limits}");
                let out = ["max_tokens", "max_completion_tokens"].map(|name| request.get(name)?.as_u64());
                assert!(out.into_iter().flatten().max().unwrap() <= 10, "{request}");
                machine.complete(ticket, Completion::failed(Code::Io, "offline"));
            }
            _ => assert!(!passes && machine.replies[&call].is_err(), "{limits}"),
        }
    }
    machine.replayed();
}

#[test]
fn a_resend_is_charged() {
    let mut machine = Machine::new();
    machine.policy(
        "[infer]\nmodels = [\"m\"]\n[[limit]]\nid = \"two\"\noperation = \"infer\"\ntarget = \"m\"\ncount = true\nmax = 2\nper = \"24h\"\n",
    );
    let worker = machine.agent("worker");
    let body = json(r#"{"model":"m","messages":[{"role":"user","content":"x"}],"max_tokens":5}"#);
    let request = Request::Infer(InferRequest { request: body, stream: false, price: None });
    let (_, ticket, _) = machine.effect(worker, request);
    assert!(matches!(machine.progress(ticket, Step::Resend), StepAnswer::Continue));
    let verdict = machine.progress(ticket, Step::Resend);
    assert!(matches!(verdict, StepAnswer::Abort(failure) if failure.code == Code::BudgetExceeded));
    let response = json(r#"{"choices":[]}"#);
    machine.complete(ticket, Completion::Inferred { response, tokens: 9 });
    assert_eq!(used(&mut machine, worker, Dimension::Tokens), 9, "its tokens count once");
    machine.replayed();
}

/// What a provider does besides answering needs its own permit, in a request and in `authorize`.
#[test]
fn provider_tools_are_denied_in_request_and_preview() {
    let body = json(
        r#"{"model":"m","messages":[{"role":"user","content":"x"}],"max_tokens":5,"tools":[{"type":"mcp","server_url":"https://a"}]}"#,
    );
    let infer = Request::Infer(InferRequest { request: body.clone(), stream: false, price: None });
    let about = Request::Admin(AdminRequest::Authorize {
        operation: "infer".into(),
        target: "m".into(),
        args: Some(body),
    });
    for (policy, permitted) in [("", false), ("provider_tools = [\"mcp\"]", true), ("stateful = true", false)]
    {
        let mut machine = Machine::new();
        machine.policy(&format!("[infer]\nmodels = [\"*\"]\n{policy}"));
        let told = value(machine.call(about.clone()));
        assert_eq!(told.get("authorized").and_then(Value::as_bool), Some(permitted), "{policy}: {told}");
        let call = machine.dispatch(SessionId::OWNER, infer.clone());
        assert_eq!(machine.effects.pop().is_some(), permitted, "{policy}");
        if !permitted {
            let denial = machine.replies[&call].clone().unwrap_err().denial.unwrap();
            assert_eq!((&*denial.rule_id, &*denial.args_path), ("infer.provider_tools", "/tools/0/type"));
        }
    }
    // An agent's permit has no effect if its ancestor has none.
    let mut machine = Machine::new();
    machine.policy("[infer]\nmodels = [\"*\"]\n[agent.\"crew/w\".infer]\nprovider_tools = [\"mcp\"]\n[agent.solo.infer]\nprovider_tools = [\"m*\"]");
    for (name, permitted) in [("crew/w", false), ("solo", true), ("solo/below", true)] {
        let session = machine.agent(name);
        machine.dispatch(session, infer.clone());
        assert_eq!(machine.effects.pop().is_some(), permitted, "{name}");
    }
}

/// Rules see a request to a model as it is sent, in a request and in `authorize`.
#[test]
fn the_preview_of_a_model_request_equals_what_is_sent() {
    let body =
        json(r#"{"model":"m","messages":[{"role":"user","content":"x"}],"max_completion_tokens":100}"#);
    for (max, permitted) in [(50, true), (200, false)] {
        let mut machine = Machine::new();
        machine.policy(&format!(
            "[infer]\nmax_tokens = {max}\n[[rule]]\neffect = \"permit\"\noperation = \"infer\"\ntarget = \"model:*\"\nwhen.args.\"/max_tokens\" = {{ max = 50 }}\n"
        ));
        let about = Request::Admin(AdminRequest::Authorize {
            operation: "infer".into(),
            target: "m".into(),
            args: Some(body.clone()),
        });
        let told = value(machine.call(about));
        assert_eq!(told.get("authorized").and_then(Value::as_bool), Some(permitted), "{max}: {told}");
        machine.dispatch(
            SessionId::OWNER,
            Request::Infer(InferRequest { request: body.clone(), stream: false, price: None }),
        );
        assert_eq!(machine.effects.pop().is_some(), permitted, "{max}");
    }
}
