//! The answers of servers are understood in each format, in all variants.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use std::sync::{Arc, Mutex};

use ak_host::ak_json::{Value, object};
use ak_host::ak_kernel::Code;
use support::model::{
    ANY, DONE, FINISH, KEY, TEN, Then, USAGE, ask, at, completion, content, delta, failure, json, kernel,
    model, request, stream, tokens, value,
};

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
        r#"data: {"type":"content_block_delta","index":2,"delta":{"type":"thinking_delta","thinking":"hm"}}"#,
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
    let told = r#"{"role":"assistant","content":"Three.","reasoning_content":"hm","tool_calls":[{"id":"t1","type":"function","function":{"name":"add","arguments":"{\"a\":1}"}}]}"#;
    assert_eq!(at(&answer, "choices.0.message").to_json(), told);
    assert_eq!(at(&answer, "choices.0.finish_reason").as_str(), Some("tool_calls"));
    assert_eq!((at(&answer, "usage.total_tokens").as_u64(), tokens(&kernel).0), (Some(10), 10));
    let (chunks, outcome) = stream(&kernel, request("claude-3", tool_talk()));
    assert_eq!(content(&chunks), "Three.");
    let streamed = value(outcome);
    assert_eq!(sorted(at(&streamed, "choices.0.message")), sorted(&json(told)));
    assert_eq!((at(&streamed, "usage.total_tokens").as_u64(), tokens(&kernel)), (Some(10), (20, 0)));
    // Members that would be an error in this format are left out.
    let empty = r#"{"messages":[{"role":"user","content":[{"type":"text","text":""},{"type":"text","text":"a"}]},{"role":"assistant","content":""},
        {"role":"user","content":"b"}],"tool_choice":"none","parallel_tool_calls":false,"tools":[],"max_tokens":5}"#;
    value(ask(&kernel, request("claude-3", json(empty))));
    let expected = r#"{"messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}],"max_tokens":5,"model":"claude-3"}"#;
    assert_eq!(sorted(&server.last().body), sorted(&json(expected)));
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

/// An error with status 200, in whatever form, is not taken for an answer.
#[test]
fn an_error_body_is_an_error_whatever_the_status() {
    let (text, format) = (Arc::new(Mutex::new("")), |format| format!("format = \"{format}\""));
    let served = text.clone();
    let server = model(move |asked, _| match at(&asked.body, "stream").as_bool() {
        Some(true) => Then::Stream(vec![format!("data: {}\n\n", served.lock().unwrap()), DONE.into()]),
        _ => Then::Answer(200, (*served.lock().unwrap()).to_owned()),
    });
    let rows = [
        ("chat", &server, format("openai")),
        ("messages", &server, format("anthropic")),
        ("responses", &server, format("openai-responses")),
    ];
    let (kernel, _scratch) =
        kernel(&rows.each_ref().map(|(name, server, format)| (*name, *server, &**format)), ANY);
    for (model, answer, says) in [
        ("chat", r#"{"error":{"code":502,"message":"gone"}}"#, "gone"),
        ("chat", r#"{"error":"gone"}"#, "gone"),
        ("chat", r#"{"object":"error","message":"gone"}"#, "gone"),
        ("chat", r#"{"id":"1"}"#, "no `choices`"),
        ("chat", "[1]", ""),
        ("messages", r#"{"type":"error","error":{"type":"overloaded_error","message":"gone"}}"#, "gone"),
        ("messages", "{}", "no `content`"),
        ("responses", r#"{"error":{"message":"gone"}}"#, "gone"),
        ("responses", "{}", "no `output`"),
    ] {
        *text.lock().unwrap() = answer;
        let refused = failure(ask(&kernel, request(model, object! {})));
        assert!(refused.code == Code::Io && refused.message.contains(says), "{answer}: {refused}");
        if answer.contains("gone") || answer == "[1]" {
            let refused = failure(stream(&kernel, request(model, object! {})).1);
            assert!(refused.code == Code::Io && refused.message.contains(says), "{answer}: {refused}");
        }
        // Five consecutive failures would open the circuit.
        *text.lock().unwrap() = match model {
            "chat" => r#"{"choices":[]}"#,
            "messages" => r#"{"content":[]}"#,
            _ => r#"{"output":[]}"#,
        };
        value(ask(&kernel, request(model, object! {})));
    }
}

/// A stream ends even if the server keeps the connection open.
#[test]
fn data_after_the_end_of_a_stream_is_ignored() {
    let server = model(|_, _| Then::Stall(vec![delta("word"), FINISH.into(), USAGE.into(), DONE.into()]));
    let (kernel, _scratch) = kernel(&[("*", &server, "timeout_ms = 20000")], ANY);
    let started = std::time::Instant::now();
    let (chunks, outcome) = stream(&kernel, request("m", object! {}));
    assert_eq!((content(&chunks), tokens(&kernel)), ("word".to_owned(), (10, 0)));
    value(outcome);
    assert!(started.elapsed().as_secs() < 15);
}

/// A server that ignores the request for a stream still gives an answer.
#[test]
fn a_whole_answer_to_a_stream_is_one_chunk() {
    let server = model(|_, _| Then::With(200, "content-type: application/json\r\n", completion(TEN)));
    let (kernel, _scratch) = kernel(&[("*", &server, "")], ANY);
    let (chunks, outcome) = stream(&kernel, request("m", object! {}));
    assert_eq!((content(&chunks), chunks.len()), ("one two three".to_owned(), 1));
    assert_eq!(at(&value(outcome), "choices.0.message.content").as_str(), Some("one two three"));
    assert_eq!(tokens(&kernel), (10, 0));
}

/// Servers number the tool calls of a stream in different ways, or not at all. Arguments arrive late, or as an object.
#[test]
fn tool_calls_are_assembled_from_deltas() {
    let chunk = |calls: &str| {
        format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"tool_calls\":{calls}}}}}]}}\n\n")
    };
    let told = |events: Vec<String>, format: &str| {
        let server = model(move |_, _| Then::Stream(events.clone()));
        let (kernel, _scratch) = kernel(&[("*", &server, &format!("format = \"{format}\""))], ANY);
        let answer = value(stream(&kernel, request("m", object! {})).1);
        at(&answer, "choices.0.message.tool_calls").to_json()
    };
    let two = r#"[{"id":"a","type":"function","function":{"name":"add","arguments":"{\"x\":1}"}},{"id":"b","type":"function","function":{"name":"sub","arguments":"{}"}}]"#;
    let without = [
        r#"[{"id":"a","type":"function","function":{"name":"add","arguments":"{\"x\""}}]"#,
        r#"[{"id":"a","function":{"name":"add","arguments":":1}"}}]"#,
        r#"[{"id":"b","type":"function","function":{"name":"sub","arguments":"{}"}}]"#,
    ];
    let same = [
        r#"[{"index":0,"id":"a","type":"function","function":{"name":"add","arguments":""}}]"#,
        r#"[{"index":0,"function":{"arguments":"{\"x\":1}"}}]"#,
        r#"[{"index":0,"id":"b","type":"function","function":{"name":"sub","arguments":{}}}]"#,
    ];
    for calls in [without, same] {
        let events = calls.map(&chunk).into_iter().chain([FINISH.into(), DONE.into()]).collect();
        assert_eq!(told(events, "openai"), two);
    }
    let none = r#"[{"id":"t1","type":"function","function":{"name":"now","arguments":"{}"}}]"#;
    let events = [
        r#"{"type":"message_start","message":{}}"#,
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"t1","name":"now","input":{}}}"#,
        r#"{"type":"content_block_stop","index":0}"#,
        r#"{"type":"message_delta","delta":{"stop_reason":"tool_use"}}"#,
        r#"{"type":"message_stop"}"#,
    ];
    assert_eq!(told(events.map(|event| format!("data: {event}\n\n")).to_vec(), "anthropic"), none);
    let events = [
        r#"{"type":"response.output_item.added","output_index":0,"item":{"type":"function_call","call_id":"t1","name":"now","arguments":""}}"#,
        r#"{"type":"response.function_call_arguments.done","output_index":0,"arguments":"{}"}"#,
        r#"{"type":"response.output_item.done","output_index":0,"item":{"type":"function_call","arguments":"{}"}}"#,
        r#"{"type":"response.completed","response":{"output":[]}}"#,
    ];
    assert_eq!(told(events.map(|event| format!("data: {event}\n\n")).to_vec(), "openai-responses"), none);
}

/// Most bytes of a stream are not text: its length is measured by the text.
#[test]
fn a_stream_may_have_more_bytes_than_its_text() {
    let server = model(|_, _| {
        let event = delta("word").replace("\"id\":\"1\"", &format!("\"id\":\"{}\"", "1".repeat(4_000)));
        Then::Stream(std::iter::repeat_n(event, 3_000).chain([FINISH.into(), DONE.into()]).collect())
    });
    let (kernel, _scratch) = kernel(&[("*", &server, "")], "[infer]\nmodels = [\"*\"]");
    let (chunks, outcome) = stream(&kernel, request("m", object! { "max_tokens": 10_000u64 }));
    assert_eq!((chunks.len(), content(&chunks).len()), (3_001, 12_000));
    value(outcome);
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
