//! Models are asked where the operator says, in their servers' formats, and every token counts.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use std::sync::{
    Arc, Barrier,
    atomic::{AtomicU64, Ordering},
};

use ak_host::Connection;
use ak_host::ak_json::{Value, object};
use ak_host::ak_kernel::{Code, Request};
use support::model::{
    ANY, Asked, KEY, Then, ask, at, delta, failure, json, kernel, model, request, stream, tokens, value,
};

fn content(chunks: &[Value]) -> String {
    chunks
        .iter()
        .filter_map(|chunk| at(chunk, "choices.0.delta.content").as_str().map(str::to_owned))
        .collect()
}

const FINISH: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
const USAGE: &str =
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":3,\"total_tokens\":10}}\n\n";
const DONE: &str = "data: [DONE]\n\n";

fn completion(usage: &str) -> String {
    format!(
        "{{\"id\":\"1\",\"object\":\"chat.completion\",\"choices\":[{{\"index\":0,\"message\":{{\"role\":\"assistant\",\
         \"content\":\"one two three\"}},\"finish_reason\":\"stop\"}}]{usage}}}"
    )
}

const TEN: &str = ",\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":3,\"total_tokens\":10}";

/// A chat-completions server that behaves.
fn good(asked: &Asked, _: usize) -> Then {
    match at(&asked.body, "stream").as_bool() {
        Some(true) => Then::Stream(
            [&delta("one "), &delta("two "), &delta("three"), FINISH, USAGE, DONE].map(String::from).to_vec(),
        ),
        _ => Then::Answer(200, completion(TEN)),
    }
}

#[test]
fn each_model_goes_its_own_way() {
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
fn a_model_that_nobody_serves_is_told_of() {
    let (kernel, _scratch) = kernel(&[("gpt-4*", &model(good), "")], ANY);
    let failure = failure(ask(&kernel, request("claude-x", object! {})));
    assert_eq!(failure.code, Code::NotConfigured);
    assert!(failure.message.contains("claude-x"), "{failure}");
    assert_eq!(tokens(&kernel), (0, 0));
}

#[test]
fn connections_are_used_again() {
    let server = model(good);
    let (kernel, _scratch) = kernel(&[("*", &server, "")], ANY);
    for _ in 0..5 {
        value(ask(&kernel, request("m", object! {})));
        value(stream(&kernel, request("m", object! {})).1);
    }
    assert_eq!((server.count(), server.connections.load(Ordering::SeqCst)), (10, 1));
}

/// The provider's own count where it gives one, ours where it does not: whole, streamed, and broken off.
#[test]
fn every_token_is_accounted_for() {
    let counted = 4 * 2; // one, two, three: each piece of up to 4 bytes is a token, "three" is two
    let rows: [(&str, Then, u64, u64); 8] = [
        ("usage", Then::Answer(200, completion(TEN)), 10, 10),
        ("no usage", Then::Answer(200, completion("")), 20, 80),
        (
            "usage of zeros",
            Then::Answer(
                200,
                completion(",\"usage\":{\"prompt_tokens\":0,\"completion_tokens\":0,\"total_tokens\":0}"),
            ),
            20,
            80,
        ),
        (
            "no total",
            Then::Answer(200, completion(",\"usage\":{\"prompt_tokens\":40,\"completion_tokens\":2}")),
            42,
            42,
        ),
        ("refused", Then::Answer(400, "{\"error\":{\"message\":\"no\"}}".into()), 0, 0),
        ("nonsense", Then::Answer(200, "<html>".into()), 20, 40),
        ("hung up", Then::Hang, 120, 140),
        (
            "broken off",
            Then::Break(vec![delta("one "), delta("two "), delta("three")]),
            20,
            20 + counted + 20,
        ),
    ];
    for (what, then, least, most) in rows {
        let streamed = matches!(then, Then::Break(_));
        let server = model(move |_, _| then.clone());
        let (kernel, _scratch) = kernel(&[("*", &server, "")], ANY);
        let request = request("m", object! { "max_tokens": 100u64 });
        let _ = if streamed { stream(&kernel, request).1 } else { ask(&kernel, request) };
        let (used, reserved) = tokens(&kernel);
        assert!((least..=most).contains(&used) && reserved == 0, "{what}: {used} used, {reserved} set aside");
    }
}

#[test]
fn a_stream_comes_through_and_ends_in_a_whole() {
    let server = model(good);
    let (kernel, _scratch) = kernel(&[("*", &server, "")], ANY);
    let (chunks, outcome) = stream(&kernel, request("m", object! {}));
    assert_eq!(content(&chunks), "one two three");
    assert_eq!(at(&server.last().body, "stream_options.include_usage").as_bool(), Some(true));
    let whole = value(outcome);
    assert_eq!(at(&whole, "choices.0.message.content").as_str(), Some("one two three"));
    assert_eq!((at(&whole, "usage.total_tokens").as_u64(), tokens(&kernel)), (Some(10), (10, 0)));
}

#[test]
fn tool_calls_pass_through() {
    let piece = |text: &str| {
        format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"tool_calls\":[{text}]}}}}]}}\n\n")
    };
    let events = vec![
        piece(r#"{"index":0,"id":"c1","type":"function","function":{"name":"add","arguments":""}}"#),
        piece(r#"{"index":0,"function":{"arguments":"{\"a\":"}}"#),
        piece(r#"{"index":1,"id":"c2","type":"function","function":{"name":"sub","arguments":"{}"}}"#),
        piece(r#"{"index":0,"function":{"arguments":"1}"}}"#),
        FINISH.replace("stop", "tool_calls"),
        DONE.into(),
    ];
    let server = model(move |_, _| Then::Stream(events.clone()));
    let (kernel, _scratch) = kernel(&[("*", &server, "")], ANY);
    let tools =
        ak_host::ak_json::array![object! { "type": "function", "function": object! { "name": "add" } }];
    let (_, outcome) = stream(&kernel, request("m", object! { "tools": tools.clone() }));
    assert_eq!(at(&server.last().body, "tools"), &tools);
    let whole = value(outcome);
    let calls = at(&whole, "choices.0.message.tool_calls").to_json();
    let expected = r#"[{"id":"c1","type":"function","function":{"name":"add","arguments":"{\"a\":1}"}},{"id":"c2","type":"function","function":{"name":"sub","arguments":"{}"}}]"#;
    assert_eq!(calls, expected);
}

/// What was turned away, or never arrived, did not run and is sent again; everything else is not.
#[test]
fn only_what_surely_did_not_run_is_sent_again() {
    type Row = (&'static str, fn(usize) -> Then, usize, Option<Code>);
    let rows: [Row; 7] = [
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

/// A connection that the server closed meanwhile took nothing: the request goes over a new one.
#[test]
fn a_connection_that_was_closed_is_not_missed() {
    let server = model(|_, before| {
        if before % 2 == 0 {
            Then::Answer(200, completion(TEN))
        } else {
            good(&Asked { path: String::new(), head: String::new(), body: Value::Null }, 0)
        }
    });
    let (kernel, _scratch) = kernel(&[("*", &server, "")], ANY);
    for _ in 0..20 {
        value(ask(&kernel, request("m", object! {})));
    }
    assert_eq!(server.count(), 20);
}

#[test]
fn a_server_that_does_not_answer_in_time_is_given_up() {
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

/// The key is nowhere in what comes back, even from a server that tells it.
#[test]
fn a_key_does_not_come_back() {
    let tell = |asked: &Asked, _| {
        let key = asked
            .head
            .lines()
            .find_map(|line| line.strip_prefix("authorization: Bearer "))
            .unwrap()
            .to_owned();
        match at(&asked.body, "stream").as_bool() {
            // In pieces, so that no piece holds it.
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

fn tool_talk() -> Value {
    json(
        r#"{"messages":[{"role":"system","content":"Be brief."},{"role":"user","content":[{"type":"text","text":"see"},
        {"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}}]},
        {"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"add","arguments":"{\"a\":1}"}}]},
        {"role":"tool","tool_call_id":"c1","content":"2"},{"role":"user","content":"and?"}],
        "tools":[{"type":"function","function":{"name":"add","description":"adds","parameters":{"type":"object","properties":{}}}}],
        "tool_choice":"required","stop":"END","max_tokens":50,"temperature":0,"seed":7}"#,
    )
}

#[test]
fn anthropic_messages_are_spoken() {
    let whole = r#"{"id":"msg_1","type":"message","role":"assistant","model":"claude-3","content":[{"type":"thinking","thinking":"hm"},
        {"type":"text","text":"Three."},{"type":"tool_use","id":"t1","name":"add","input":{"a":1}}],"stop_reason":"tool_use",
        "usage":{"input_tokens":5,"cache_read_input_tokens":2,"output_tokens":3}}"#;
    let events = [
        r#"event: message_start
data: {"type":"message_start","message":{"id":"msg_1","model":"claude-3","usage":{"input_tokens":5,"cache_creation_input_tokens":2,"output_tokens":1}}}"#,
        r#"event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
        r#"data: {"type":"ping"}"#,
        r#"data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Thr"}}"#,
        r#"data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"ee."}}"#,
        r#"data: {"type":"content_block_stop","index":0}"#,
        r#"data: {"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"t1","name":"add","input":{}}}"#,
        r#"data: {"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{\"a\":"}}"#,
        r#"data: {"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"1}"}}"#,
        r#"data: {"type":"message_delta","delta":{"stop_reason":"tool_use"},"usage":{"output_tokens":3}}"#,
        r#"data: {"type":"message_stop"}"#,
    ];
    let server = model(move |asked, _| match at(&asked.body, "stream").as_bool() {
        Some(true) => Then::Stream(events.iter().map(|event| format!("{event}\n\n")).collect()),
        _ => Then::Answer(200, whole.into()),
    });
    let (kernel, _scratch) = kernel(&[("claude-*", &server, "format = \"anthropic\"")], ANY);
    let answer = value(ask(&kernel, request("claude-3", tool_talk())));
    let asked = server.last();
    assert_eq!(asked.path, "/v1/messages");
    assert!(
        asked.head.contains(&format!("x-api-key: {KEY}\r\n"))
            && asked.head.contains("anthropic-version: 2023-06-01\r\n")
    );
    assert!(!asked.head.contains("authorization"));
    let expected = json(
        r#"{"system":[{"type":"text","text":"Be brief."}],
        "messages":[{"role":"user","content":[{"type":"text","text":"see"},{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AAAA"}}]},
        {"role":"assistant","content":[{"type":"tool_use","id":"c1","name":"add","input":{"a":1}}]},
        {"role":"user","content":[{"type":"tool_result","tool_use_id":"c1","content":[{"type":"text","text":"2"}]},{"type":"text","text":"and?"}]}],
        "tools":[{"name":"add","description":"adds","input_schema":{"type":"object","properties":{}}}],
        "tool_choice":{"type":"any"},"stop_sequences":["END"],"max_tokens":50,"temperature":0,"model":"claude-3"}"#,
    );
    assert_eq!(sorted(&asked.body), sorted(&expected));
    let told = r#"{"role":"assistant","content":"Three.","tool_calls":[{"id":"t1","type":"function","function":{"name":"add","arguments":"{\"a\":1}"}}]}"#;
    assert_eq!(at(&answer, "choices.0.message").to_json(), told);
    assert_eq!(at(&answer, "choices.0.finish_reason").as_str(), Some("tool_calls"));
    assert_eq!((at(&answer, "usage.total_tokens").as_u64(), tokens(&kernel).0), (Some(10), 10));
    let (chunks, outcome) = stream(&kernel, request("claude-3", tool_talk()));
    assert_eq!(content(&chunks), "Three.");
    let streamed = value(outcome);
    assert_eq!(at(&streamed, "choices.0.message").to_json(), told);
    assert_eq!((at(&streamed, "usage.total_tokens").as_u64(), tokens(&kernel)), (Some(10), (20, 0)));
    let lost = failure(ask(&kernel, request("claude-3", object! { "n": 2u64 })));
    assert!(lost.code == Code::InvalidArgument && lost.message.contains("`n` has no counterpart"), "{lost}");
}

#[test]
fn openai_responses_are_spoken() {
    let whole = r#"{"id":"resp_1","object":"response","created_at":1,"model":"gpt-5","status":"completed","output":[{"type":"reasoning","summary":[]},
        {"type":"message","role":"assistant","content":[{"type":"output_text","text":"Three."}]},
        {"type":"function_call","call_id":"t1","name":"add","arguments":"{\"a\":1}"}],"usage":{"input_tokens":7,"output_tokens":3,"total_tokens":10}}"#;
    let events = [
        r#"{"type":"response.created","response":{"id":"resp_1","created_at":1,"model":"gpt-5"}}"#.to_owned(),
        r#"{"type":"response.output_item.added","output_index":0,"item":{"type":"message"}}"#.to_owned(),
        r#"{"type":"response.output_text.delta","output_index":0,"delta":"Thr"}"#.to_owned(),
        r#"{"type":"response.output_text.delta","output_index":0,"delta":"ee."}"#.to_owned(),
        r#"{"type":"response.output_item.added","output_index":1,"item":{"type":"function_call","call_id":"t1","name":"add","arguments":""}}"#.to_owned(),
        r#"{"type":"response.function_call_arguments.delta","output_index":1,"delta":"{\"a\":"}"#.to_owned(),
        r#"{"type":"response.function_call_arguments.delta","output_index":1,"delta":"1}"}"#.to_owned(),
        format!("{{\"type\":\"response.completed\",\"response\":{whole}}}").replace('\n', " "),
    ];
    let server = model(move |asked, _| match at(&asked.body, "stream").as_bool() {
        Some(true) => {
            Then::Stream(events.iter().map(|event| format!("event: x\ndata: {event}\n\n")).collect())
        }
        _ => Then::Answer(200, whole.into()),
    });
    let (kernel, _scratch) = kernel(&[("gpt-5*", &server, "format = \"openai-responses\"")], ANY);
    let mut talk = tool_talk().as_object().cloned().unwrap();
    talk.remove("stop");
    let answer = value(ask(&kernel, request("gpt-5", talk.clone().into())));
    let asked = server.last();
    assert_eq!(asked.path, "/v1/responses");
    let expected = json(
        r#"{"store":false,"input":[{"type":"message","role":"system","content":[{"type":"input_text","text":"Be brief."}]},
        {"type":"message","role":"user","content":[{"type":"input_text","text":"see"},{"type":"input_image","image_url":"data:image/png;base64,AAAA"}]},
        {"type":"function_call","call_id":"c1","name":"add","arguments":"{\"a\":1}"},{"type":"function_call_output","call_id":"c1","output":"2"},
        {"type":"message","role":"user","content":[{"type":"input_text","text":"and?"}]}],
        "tools":[{"type":"function","name":"add","description":"adds","parameters":{"type":"object","properties":{}}}],
        "tool_choice":"required","max_output_tokens":50,"temperature":0,"model":"gpt-5"}"#,
    );
    assert_eq!(sorted(&asked.body), sorted(&expected));
    let told = r#"{"role":"assistant","content":"Three.","tool_calls":[{"id":"t1","type":"function","function":{"name":"add","arguments":"{\"a\":1}"}}]}"#;
    assert_eq!(at(&answer, "choices.0.message").to_json(), told);
    let (chunks, outcome) = stream(&kernel, request("gpt-5", talk.into()));
    assert_eq!(content(&chunks), "Three.");
    let streamed = value(outcome);
    assert_eq!(at(&streamed, "choices.0.message").to_json(), told);
    assert_eq!(at(&streamed, "choices.0.finish_reason").as_str(), Some("tool_calls"));
    assert_eq!(tokens(&kernel), (20, 0));
}

fn sorted(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let mut rows: Vec<String> =
                members.iter().map(|(name, value)| format!("{}:{}", &**name, sorted(value))).collect();
            rows.sort();
            format!("{{{}}}", rows.join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(sorted).collect::<Vec<_>>().join(",")),
        other => other.to_json(),
    }
}

/// 64 at once, and a budget for 10: each sets its worst case aside before anything is sent.
#[test]
fn of_64_calls_a_budget_for_10_admits_exactly_10() {
    let gate = Arc::new((std::sync::Mutex::new(false), std::sync::Condvar::new()));
    let held = gate.clone();
    // Nobody is answered until all have asked.
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
    // What one call sets aside shows in what it is refused for.
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
                    // The answer is whole where a stream was asked for: it was admitted all the same.
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

/// What a call costs is set aside with its tokens, and settled by what the provider says was used of which.
#[test]
fn a_price_is_set_aside_and_settled() {
    let server = model(good);
    let rows = [("gpt-4*", &server, "price = { input = 2.5, output = 10 }"), ("*", &server, "")];
    let (kernel, _scratch) = kernel(&rows, ANY);
    let cost = |kernel: &Connection| {
        let status = value(kernel.call(Request::BudgetStatus { dimension: None }));
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
    kernel.call(Request::BudgetSet { dimension, limit: Some(1000), agent: None }).unwrap();
    // The worst case of 100 tokens is 1000 and the prompt.
    let refused = failure(ask(&kernel, request("gpt-4", object! { "max_tokens": 100u64 })));
    assert_eq!(refused.code, Code::BudgetExceeded);
    // Whoever asks does not set the price.
    let free = Some(ak_host::ak_kernel::Price { input: 0, output: 0 });
    let asked = request("gpt-4", object! { "max_tokens": 100u64 });
    let refused = failure(kernel.call(Request::Inference { request: asked, stream: false, price: free }));
    assert_eq!((refused.code, server.count()), (Code::BudgetExceeded, 3));
}

/// Of two limits on an agent the lower holds.
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

fn budget(limit: Option<u64>) -> Request {
    Request::BudgetSet { dimension: ak_policy::budget::Dimension::Tokens, limit, agent: None }
}

/// Rates for each model and agent are the policy's: they are counted with everything else.
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
