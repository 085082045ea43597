//! Models are called at the operator's servers, and every token is charged.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use std::sync::{
    Arc, Barrier,
    atomic::{AtomicU64, Ordering},
};

use ak_host::Connection;
use ak_host::ak_json::{Value, object};
use ak_host::ak_kernel::{AgentRequest, Code, InferRequest, Request};
use support::model::{
    ANY, AuthenticatedRequest, DONE, FINISH, KEY, TEN, Then, ask, at, completion, content, delta, failure,
    good, json, kernel, model, request, stream, tokens, value,
};

#[test]
fn each_model_is_asked_at_its_route() {
    let (cloud, local) = (model(good), model(good));
    let rows = [("gpt-4*", &cloud, "name = \"gpt-4o-2024\""), ("*", &local, "")];
    let (kernel, _scratch) = kernel(&rows, ANY);
    let answer = value(ask(&kernel, request("gpt-4", json("{\"temperature\":0.5,\"max_tokens\":5000}"))));
    assert_eq!(at(&answer, "choices.0.message.content").as_str(), Some("one two three"));
    let asked = cloud.last();
    assert_eq!(asked.path, "/v1/chat/completions");
    assert!(asked.head.contains(&format!("authorization: Bearer {KEY}\r\n")));
    assert_eq!(at(&asked.body, "model").as_str(), Some("gpt-4o-2024"));
    assert_eq!(at(&asked.body, "max_tokens").as_u64(), Some(100), "clamped to the policy");
    assert_eq!(at(&asked.body, "temperature").as_f64(), Some(0.5));
    value(ask(&kernel, request("llama", object! {})));
    assert_eq!((cloud.count(), local.count()), (1, 1));
    let models = kernel.driver().unwrap().models();
    assert_eq!(at(&models, "0.match").as_str(), Some("gpt-4*"));
    assert_eq!(at(&models, "1.circuit").as_str(), Some("closed"));
    assert!(!models.to_json().contains(KEY));
}

#[test]
fn a_model_without_a_route_is_reported() {
    let (kernel, _scratch) = kernel(&[("gpt-4*", &model(good), "")], ANY);
    let failure = failure(ask(&kernel, request("claude-x", object! {})));
    assert_eq!(failure.code, Code::NotConfigured);
    assert!(failure.message.contains("claude-x"), "{failure}");
    assert_eq!(tokens(&kernel), (0, 0));
}

#[test]
fn connections_are_reused() {
    let server = model(good);
    let (kernel, _scratch) = kernel(&[("*", &server, "")], ANY);
    for _ in 0..5 {
        value(ask(&kernel, request("m", object! {})));
        value(stream(&kernel, request("m", object! {})).1);
    }
    assert_eq!((server.count(), server.connections.load(Ordering::SeqCst)), (10, 1));
}

/// The provider's count is used where it reports one, else an estimate: for whole, streamed and interrupted answers.
#[test]
fn every_token_is_accounted_for() {
    let request = request("m", object! { "max_tokens": 100u64 });
    let prompt = request.to_json().len() as u64;
    // Of a prompt four bytes are estimated as a token; of a whole answer that tells no usage its `choices`, 94 bytes, are.
    let (estimate, answer) = (prompt.div_ceil(4), 94u64.div_ceil(4));
    // Where it may all have been used: one token for each byte of the prompt, and the answer's limit.
    let reserved = prompt + 100;
    let zeros = ",\"usage\":{\"prompt_tokens\":0,\"completion_tokens\":0,\"total_tokens\":0}";
    let no_total = ",\"usage\":{\"prompt_tokens\":40,\"completion_tokens\":2}";
    let rows: [(&str, Then, u64); 9] = [
        ("usage", Then::Answer(200, completion(TEN)), 10),
        ("no usage", Then::Answer(200, completion("")), estimate + answer),
        ("usage of zeros", Then::Answer(200, completion(zeros)), estimate + answer),
        ("no total", Then::Answer(200, completion(no_total)), 42),
        ("refused", Then::Answer(400, "{\"error\":{\"message\":\"no\"}}".into()), 0),
        ("nonsense", Then::Answer(200, "<html>".into()), reserved),
        ("nobody knows whether it ran", Then::Answer(504, "<html>".into()), reserved),
        ("hung up", Then::Hang, reserved),
        // "one two three", 13 bytes, were received.
        ("broken off", Then::Break(vec![delta("one "), delta("two "), delta("three")]), estimate + 4),
    ];
    for (what, then, expected) in rows {
        let streamed = matches!(then, Then::Break(_));
        let server = model(move |_, _| then.clone());
        let (kernel, _scratch) = kernel(&[("*", &server, "")], ANY);
        let _ = if streamed { stream(&kernel, request.clone()).1 } else { ask(&kernel, request.clone()) };
        assert_eq!(tokens(&kernel), (expected, 0), "{what}");
    }
}

#[test]
fn a_stream_is_delivered_and_assembled() {
    let server = model(good);
    let (kernel, _scratch) = kernel(&[("*", &server, "")], ANY);
    let (chunks, outcome) = stream(&kernel, request("m", object! {}));
    assert_eq!(content(&chunks), "one two three");
    assert_eq!(at(&server.last().body, "stream_options.include_usage").as_bool(), Some(true));
    let whole = value(outcome);
    assert_eq!(at(&whole, "choices.0.message.content").as_str(), Some("one two three"));
    assert_eq!((at(&whole, "usage.total_tokens").as_u64(), tokens(&kernel)), (Some(10), (10, 0)));
}

/// Only requests that were rejected or did not reach the server, so did not run, are sent again.
#[test]
fn only_requests_that_did_not_run_are_retried() {
    type Row = (&'static str, fn(usize) -> Then, usize, Option<Code>);
    let rows: [Row; 8] = [
        (
            "turned away once",
            |before| {
                if before == 0 { Then::Answer(429, "{}".into()) } else { Then::Answer(200, completion(TEN)) }
            },
            2,
            None,
        ),
        ("turned away always", |_| Then::Answer(429, "{}".into()), 3, Some(Code::RateLimit)),
        (
            "turned away for long",
            |_| Then::With(429, "retry-after: 60\r\n", "{}".into()),
            1,
            Some(Code::RateLimit),
        ),
        (
            "turned away till a day",
            |_| Then::With(429, "retry-after: Fri, 31 Dec 2399 23:59:59 GMT\r\n", "{}".into()),
            1,
            Some(Code::RateLimit),
        ),
        ("hung up", |_| Then::Hang, 1, Some(Code::Io)),
        ("out of order", |_| Then::Answer(500, "{}".into()), 1, Some(Code::Io)),
        ("overloaded", |_| Then::Answer(503, "{}".into()), 1, Some(Code::Io)),
        ("nonsense", |_| Then::Answer(200, "x".into()), 1, Some(Code::Io)),
    ];
    for (what, then, times, expected) in rows {
        let server = model(move |_, before| then(before));
        let (kernel, _scratch) = kernel(&[("*", &server, "")], ANY);
        let outcome = ask(&kernel, request("m", object! {}));
        assert_eq!(outcome.as_ref().err().map(|failure| failure.code), expected, "{what}: {outcome:?}");
        assert_eq!(server.count(), times, "{what}");
        if what == "turned away for long" {
            let failure = failure(outcome);
            assert_eq!(failure.context.get("retry_after_ms").and_then(Value::as_u64), Some(60_000));
        }
    }
}

/// If the server has closed an idle connection, the request goes over a new one.
#[test]
fn a_closed_connection_is_replaced() {
    let server = model(|_, before| {
        if before % 2 == 0 {
            Then::Answer(200, completion(TEN))
        } else {
            good(&AuthenticatedRequest { path: String::new(), head: String::new(), body: Value::Null }, 0)
        }
    });
    let (kernel, _scratch) = kernel(&[("*", &server, "")], ANY);
    for _ in 0..20 {
        value(ask(&kernel, request("m", object! {})));
    }
    assert_eq!(server.count(), 20);
}

#[test]
fn a_server_that_does_not_answer_in_time_fails() {
    let server = model(|_, _| Then::Silence);
    let (kernel, _scratch) = kernel(&[("*", &server, "timeout_ms = 200")], ANY);
    let failure = failure(ask(&kernel, request("m", object! { "max_tokens": 100u64 })));
    assert_eq!(failure.code, Code::Deadline);
    let (used, reserved) = tokens(&kernel);
    assert!(used >= 100 && reserved == 0, "it may have run to its end: {used}");
}

#[test]
fn a_server_that_keeps_failing_is_left_alone() {
    let server = model(|_, _| Then::Answer(500, "{}".into()));
    let (kernel, _scratch) = kernel(&[("*", &server, "")], ANY);
    for _ in 0..ak_host::CIRCUIT_FAILURES_MAX {
        assert_eq!(failure(ask(&kernel, request("m", object! {}))).code, Code::Io);
    }
    let refused = failure(ask(&kernel, request("m", object! {})));
    assert_eq!(refused.context.get("circuit").and_then(Value::as_str), Some("open"));
    assert!(
        refused
            .context
            .get("retry_after_ms")
            .and_then(Value::as_u64)
            .is_some_and(|ms| ms <= ak_host::CIRCUIT_OPEN_MS)
    );
    assert_eq!(server.count(), ak_host::CIRCUIT_FAILURES_MAX as usize, "the sixth was not sent");
    assert_eq!(at(&kernel.driver().unwrap().models(), "0.circuit").as_str(), Some("open"));
    assert_eq!(tokens(&kernel), (0, 0));
}

/// No reply contains the key, even if the server sends it back.
#[test]
fn a_key_is_cut_from_replies() {
    let tell = |asked: &AuthenticatedRequest, _| {
        let key = asked
            .head
            .lines()
            .find_map(|line| line.strip_prefix("authorization: Bearer "))
            .unwrap()
            .to_owned();
        match at(&asked.body, "stream").as_bool() {
            // In pieces, so that no piece contains the key.
            Some(true) => {
                let pieces = key.as_bytes().chunks(5).map(|piece| delta(std::str::from_utf8(piece).unwrap()));
                Then::Stream(pieces.chain([FINISH.into(), DONE.into()]).collect())
            }
            _ => Then::Answer(401, format!("{{\"error\":{{\"message\":\"incorrect key: {key}\"}}}}")),
        }
    };
    let server = model(tell);
    let (kernel, _scratch) = kernel(&[("*", &server, "")], ANY);
    let refused = failure(ask(&kernel, request("m", object! {})));
    assert!(refused.message.contains("incorrect key: [key of *]"), "{refused}");
    let (chunks, outcome) = stream(&kernel, request("m", object! {}));
    assert_eq!(content(&chunks), "[key of *]");
    let whole = value(outcome).to_json();
    assert!(whole.contains("[key of *]") && !whole.contains(KEY), "{whole}");
    let records = kernel.driver().unwrap().records().unwrap();
    assert!(records.iter().all(|record| !String::from_utf8_lossy(&record.body).contains(KEY)));
}

/// 64 calls at once with a budget for 10: each call reserves its worst case before it is sent.
#[test]
fn of_64_calls_a_budget_for_10_admits_exactly_10() {
    let gate = Arc::new((std::sync::Mutex::new(false), std::sync::Condvar::new()));
    let held = gate.clone();
    // The server answers only when all calls have arrived.
    let server = model(move |_, _| {
        let mut open = held.0.lock().unwrap();
        while !*open {
            let (again, waited) = held.1.wait_timeout(open, std::time::Duration::from_secs(20)).unwrap();
            open = again;
            if waited.timed_out() {
                break;
            }
        }
        Then::Answer(200, completion(TEN))
    });
    let (kernel, _scratch) = kernel(&[("*", &server, "")], ANY);
    let one = request("m", object! { "max_tokens": 50u64 });
    // The failure of a refused call shows the reservation of one call.
    kernel.call(budget(Some(0))).unwrap();
    let refused = failure(ask(&kernel, one.clone()));
    let worst = refused.context.get("requested").and_then(Value::as_u64).unwrap();
    kernel.call(budget(Some(worst * 10))).unwrap();
    let (admitted, denied) = (AtomicU64::new(0), AtomicU64::new(0));
    let start = Barrier::new(64);
    std::thread::scope(|scope| {
        for turn in 0..64 {
            let (kernel, one, start, admitted, denied, gate) =
                (&kernel, one.clone(), &start, &admitted, &denied, &gate);
            scope.spawn(move || {
                start.wait();
                let outcome = match turn % 2 {
                    0 => ask(kernel, one),
                    _ => stream(kernel, one).1,
                };
                match outcome {
                    Err(failure) if failure.code == Code::BudgetExceeded => {
                        if denied.fetch_add(1, Ordering::SeqCst) + 1 == 54 {
                            *gate.0.lock().unwrap() = true;
                            gate.1.notify_all();
                        }
                    }
                    // The server answers whole where a stream was requested; the call was admitted nevertheless.
                    _ => drop(admitted.fetch_add(1, Ordering::SeqCst)),
                }
            });
        }
    });
    assert_eq!(
        (admitted.load(Ordering::SeqCst), denied.load(Ordering::SeqCst), server.count()),
        (10, 54, 10)
    );
    assert_eq!(tokens(&kernel).1, 0);
}

/// The cost of a call is reserved with its tokens, and settled by the usage that the provider reports.
#[test]
fn a_price_is_reserved_and_settled() {
    let server = model(good);
    let rows = [("gpt-4*", &server, "price = { input = 2.5, output = 10 }"), ("*", &server, "")];
    let (kernel, _scratch) = kernel(&rows, ANY);
    let cost = |kernel: &Connection| {
        let status =
            value(kernel.call(Request::Agent(AgentRequest::BudgetStatus { dimension: None, agent: None })));
        let part = |name| at(&status, &format!("cost_micro_usd.{name}")).as_u64().unwrap();
        (part("used"), part("reserved"))
    };
    value(ask(&kernel, request("llama", object! {})));
    assert_eq!(cost(&kernel), (0, 0), "without a price nothing is known of it");
    value(ask(&kernel, request("gpt-4", object! {})));
    assert_eq!(cost(&kernel), (48, 0), "7 of the prompt and 3 of the answer");
    value(stream(&kernel, request("gpt-4", object! {})).1);
    assert_eq!(cost(&kernel), (96, 0));
    let dimension = ak_policy::budget::Dimension::CostMicroUsd;
    kernel
        .call(Request::Agent(AgentRequest::BudgetSet { dimension, limit: Some(1000), agent: None }))
        .unwrap();
    // The worst case of 100 tokens is 1000 plus the prompt.
    let refused = failure(ask(&kernel, request("gpt-4", object! { "max_tokens": 100u64 })));
    assert_eq!(refused.code, Code::BudgetExceeded);
    // The caller cannot set the price.
    let free = Some(ak_host::ak_kernel::Price::flat(0, 0));
    let asked = request("gpt-4", object! { "max_tokens": 100u64 });
    let refused =
        failure(kernel.call(Request::Infer(InferRequest { request: asked, stream: false, price: free })));
    assert_eq!((refused.code, server.count()), (Code::BudgetExceeded, 3));
}

/// Of two limits on an agent, the lower one applies.
#[test]
fn the_tokens_of_a_request_are_clamped_for_each_agent() {
    let server = model(good);
    let policy = "[infer]\nmodels = [\"*\"]\nmax_tokens = 100\n[agent.\"worker\"]\ninfer.models = [\"*\"]\ninfer.max_tokens = 7";
    let (kernel, _scratch) = kernel(&[("*", &server, "")], policy);
    let clamped = |session: &Connection| {
        value(ask(session, request("m", object! { "max_tokens": 5000u64 })));
        at(&server.last().body, "max_tokens").as_u64().unwrap()
    };
    assert_eq!(
        (clamped(&kernel.agent("worker").unwrap()), clamped(&kernel.agent("other").unwrap())),
        (7, 100)
    );
}

/// Whatever the name of the limit at a server, an agent gets no more tokens than permitted; requests that cannot be
/// bounded are refused.
#[test]
fn no_name_of_a_limit_bypasses_it() {
    let server = model(good);
    let rows = [
        ("openai*", &server, "limit_name = \"max_completion_tokens\""),
        ("claude*", &server, "format = \"anthropic\""),
        ("*", &server, ""),
    ];
    let (kernel, _scratch) = kernel(&rows, ANY);
    let sent = |model: &str, members: Value| {
        // The reply is ignored, since the server may not speak the route's format.
        let _ = ask(&kernel, request(model, members));
        let names = ["max_tokens", "max_completion_tokens", "max_output_tokens", "n_predict"];
        let body = server.last().body;
        names.map(|name| body.get(name).and_then(Value::as_u64))
    };
    let both = || object! { "max_completion_tokens": 1u64, "max_tokens": 64_000u64, "n_predict": 9_000u64 };
    assert_eq!(sent("m", both()), [None, Some(1), None, None]);
    assert_eq!(sent("claude", both()), [Some(1), None, None, None]);
    assert_eq!(sent("m", object! { "n_predict": 9_000u64 }), [Some(100), None, None, None]);
    assert_eq!(sent("m", object! { "n_predict": -1i64 }), [Some(100), None, None, None]);
    assert_eq!(sent("m", object! { "max_tokens": json("7.0") }), [Some(7), None, None, None]);
    assert_eq!(sent("m", object! { "max_tokens": Value::Null }), [Some(100), None, None, None]);
    assert_eq!(sent("openai", object! { "max_tokens": 7u64 }), [None, Some(7), None, None]);
    let before = server.count();
    for members in [
        object! { "max_tokens": -2i64, "max_completion_tokens": 1u64 },
        object! { "n": "5" },
        object! { "n": json("5.5") },
        object! { "best_of": -1i64 },
        object! { "n_predict": "all" },
    ] {
        let refused = failure(ask(&kernel, request("m", members.clone())));
        assert_eq!(refused.code, Code::InvalidArgument, "{members:?}");
    }
    assert_eq!(server.count(), before);
}

/// A server that accepts every request and answers none opens its circuit, like an unreachable one.
#[test]
fn a_server_that_is_silent_opens_its_circuit() {
    let server = model(|_, _| Then::Silence);
    let (kernel, _scratch) = kernel(&[("*", &server, "timeout_ms = 20")], ANY);
    for _ in 0..ak_host::CIRCUIT_FAILURES_MAX {
        assert_eq!(failure(ask(&kernel, request("m", object! {}))).code, Code::Deadline);
    }
    let refused = failure(ask(&kernel, request("m", object! {})));
    assert!(refused.code == Code::Io && refused.message.contains("failed too often"), "{refused}");
    assert_eq!(server.count(), ak_host::CIRCUIT_FAILURES_MAX as usize);
}

/// A server that interrupts every answer opens its circuit; a server that reports why it does not answer does not.
#[test]
fn a_server_that_breaks_off_opens_its_circuit_and_one_that_explains_does_not() {
    let server = model(|_, _| Then::Break(vec![delta("word")]));
    let (breaks, _one) = kernel(&[("*", &server, "")], ANY);
    let explains = model(|_, _| Then::Answer(200, r#"{"error":{"message":"not this"}}"#.into()));
    let (explained, _two) = kernel(&[("*", &explains, "")], ANY);
    for _ in 0..ak_host::CIRCUIT_FAILURES_MAX {
        failure(stream(&breaks, request("m", object! {})).1);
        failure(ask(&explained, request("m", object! {})));
    }
    let refused = failure(stream(&breaks, request("m", object! {})).1);
    assert!(refused.message.contains("failed too often"), "{refused}");
    let refused = failure(ask(&explained, request("m", object! {})));
    assert!(refused.message.contains("the server says: not this"), "{refused}");
}

/// An interrupted answer costs what the provider has reported or what was received, whichever is more; a missing answer
/// costs the worst case.
#[test]
fn an_interrupted_answer_is_charged_for() {
    let long = "x".repeat(400);
    let early =
        r#"data: {"choices":[],"usage":{"prompt_tokens":5000,"completion_tokens":1,"total_tokens":5001}}"#;
    let cases: [(&str, Vec<String>, u64); 3] = [
        ("openai", vec![format!("{early}\n\n"), delta(&long)], 5_100),
        (
            "anthropic",
            vec![
                r#"data: {"type":"message_start","message":{"usage":{"input_tokens":7000,"output_tokens":1}}}"#
                    .to_owned()
                    + "\n\n",
                format!("data: {{\"type\":\"content_block_delta\",\"delta\":{{\"text\":\"{long}\"}}}}\n\n"),
            ],
            7_100,
        ),
        (
            "openai-responses",
            vec![
                r#"data: {"type":"response.failed","response":{"error":{"message":"x"},"usage":{"input_tokens":5000,"output_tokens":600}}}"#
                    .to_owned()
                    + "\n\n",
            ],
            5_600,
        ),
    ];
    for (format, events, expected) in cases {
        let server = model(move |_, _| Then::Break(events.clone()));
        let (kernel, _scratch) = kernel(&[("*", &server, &format!("format = \"{format}\""))], ANY);
        failure(stream(&kernel, request("m", object! { "max_tokens": 100u64 })).1);
        assert_eq!(tokens(&kernel), (expected, 0), "{format}");
    }
    let failed =
        r#"{"status":"failed","error":{"message":"x"},"usage":{"input_tokens":5000,"output_tokens":600}}"#;
    let server = model(|_, _| Then::Answer(200, failed.into()));
    let (kernel_of, _scratch) = kernel(&[("*", &server, "format = \"openai-responses\"")], ANY);
    failure(ask(&kernel_of, request("m", object! { "max_tokens": 100u64 })));
    assert_eq!(tokens(&kernel_of), (5_600, 0), "a whole answer that failed");
    let server = model(|_, _| Then::Break(Vec::new()));
    let (kernel, _scratch) = kernel(&[("*", &server, "")], ANY);
    failure(ask(&kernel, request("m", object! { "max_tokens": 100u64 })));
    assert!(tokens(&kernel).0 > 100, "a head without a body may have cost all of it");
}

/// A key that arrives in pieces is removed from every text of a stream, and from the assembled answer.
#[test]
fn a_key_in_pieces_is_cut_from_every_text() {
    let forms: [fn(&str) -> String; 8] = [
        |piece| format!("\"content\":\"{piece}\""),
        |piece| format!("\"content\":[{{\"type\":\"text\",\"text\":\"{piece}\"}}]"),
        |piece| {
            format!(
                "\"reasoning_details\":[{{\"index\":0,\"type\":\"reasoning.text\",\"text\":\"{piece}\"}}]"
            )
        },
        |piece| format!("\"function_call\":{{\"arguments\":\"{piece}\"}}"),
        |piece| format!("\"tool_calls\":[{{\"index\":0,\"function\":{{\"arguments\":\"{piece}\"}}}}]"),
        |piece| format!("\"tool_calls\":[{{\"index\":0,\"custom\":{{\"input\":\"{piece}\"}}}}]"),
        |piece| format!("\"audio\":{{\"transcript\":\"{piece}\"}}"),
        |piece| format!("\"content\":\"{piece}\"}},\"logprobs\":{{\"content\":[{{\"token\":\"{piece}\"}}]"),
    ];
    for form in forms {
        let server = model(move |_, _| {
            let pieces = ["say ", &KEY[..5], &KEY[5..12], &KEY[12..], " end"];
            let chunk = |piece: &str| {
                format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{{}}}}}]}}\n\n", form(piece))
            };
            Then::Stream(pieces.into_iter().map(chunk).chain([FINISH.into(), DONE.into()]).collect())
        });
        let (kernel, _scratch) = kernel(&[("*", &server, "")], ANY);
        let (chunks, outcome) = stream(&kernel, request("m", object! {}));
        let texts = |value: &Value| {
            let mut all = String::new();
            gather(value, &mut all);
            all
        };
        let (told, whole): (String, _) = (chunks.iter().map(&texts).collect(), texts(&value(outcome)));
        assert!(!told.contains(KEY) && told.contains("say [key of *] end"), "{}: {told}", form("x"));
        assert!(!whole.contains(KEY) && whole.contains("say [key of *] end"), "{}: {whole}", form("x"));
        assert!(tokens(&kernel).0 > 5, "{}", form("x"));
    }
}

/// Appends all texts of a value to `all`.
fn gather(value: &Value, all: &mut String) {
    match value {
        Value::String(text) => all.push_str(text),
        Value::Array(items) => items.iter().for_each(|item| gather(item, all)),
        Value::Object(members) => members
            .iter()
            .filter(|(name, _)| !["type", "finish_reason"].contains(&&***name))
            .for_each(|(_, value)| gather(value, all)),
        _ => {}
    }
}

/// A base URL may have a query, as Azure's URLs do.
#[test]
fn a_url_keeps_its_query() {
    let server = model(good);
    let scratch = support::Scratch::new("query");
    let text =
        format!("[[model]]\nmatch = \"*\"\nurl = \"{}?api-version=1\"\nkey = \"file:key\"", server.url());
    std::fs::write(scratch.join("key"), "ollama").unwrap();
    std::fs::write(scratch.join("host.toml"), text).unwrap();
    let options = ak_host::Options { host_config: Some(scratch.join("host.toml")), ..Default::default() };
    let kernel = Connection::open(&options).unwrap();
    support::load(&kernel, ANY);
    value(ask(&kernel, request("m", object! {})));
    let asked = server.last();
    assert_eq!(asked.path, "/v1/chat/completions?api-version=1");
    assert!(asked.head.contains("authorization: Bearer ollama\r\n"), "a short key is sent");
    assert!(asked.head.contains("user-agent: authority-kernel/"));
}

fn budget(limit: Option<u64>) -> Request {
    Request::Agent(AgentRequest::BudgetSet {
        dimension: ak_policy::budget::Dimension::Tokens,
        limit,
        agent: None,
    })
}

/// The policy sets rates for each model and agent; they are counted with all other limits.
#[test]
fn rates_are_per_model_and_agent() {
    let server = model(good);
    let policy = "[infer]\nmodels = [\"*\"]\n[[limit]]\nid = \"slow\"\noperation = \"infer\"\ntarget = \"gpt-*\"\nagent = \"worker\"\n\
                  count = true\nmax = 3\nper = \"1h\"";
    let (kernel, _scratch) = kernel(&[("*", &server, "")], policy);
    let (worker, other) = (kernel.agent("worker").unwrap(), kernel.agent("other").unwrap());
    let passed = |session: &Connection, model: &str| {
        (0..5).filter(|_| ask(session, request(model, object! {})).is_ok()).count()
    };
    assert_eq!((passed(&worker, "gpt-4"), passed(&worker, "llama"), passed(&other, "gpt-4")), (3, 5, 5));
    assert_eq!(server.count(), 13);
}
