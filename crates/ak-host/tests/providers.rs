//! How providers count, stream and fail: the bytes that they send, and the results.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use ak_host::ak_json::{Value, object};
use ak_host::ak_kernel::Code;

use support::model::{
    DONE, FINISH, Model, TEN, Then, ask, at, completion, content, delta, failure, json, kernel, model,
    request, spent, stream, tokens, value,
};

const ANY: &str = "[infer]\nmodels = [\"*\"]\nmax_tokens = 3000";

fn events(list: &[&str]) -> Vec<String> {
    list.iter().map(|event| format!("data: {event}\n\n")).collect()
}

fn serves(then: Then) -> Model {
    model(move |_, _| then.clone())
}

fn streams(events: Vec<String>) -> Model {
    serves(Then::Stream(events))
}

/// Each row is a stream: the format, its events, and its tokens and cost at 1 and 10 dollars a million.
#[test]
fn a_stream_is_charged_as_its_provider_counts() {
    let price =
        "price = { input = 1.0, output = 10.0, cache_read = 0.1, cache_write = 1.25, cache_write_1h = 2.0 }";
    let word = r#"{"choices":[{"index":0,"delta":{"content":"word"},"finish_reason":null}]}"#;
    let end = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
    let usage = |told: &str| format!("{{\"choices\":[],\"usage\":{told}}}");
    for (who, format, list, expected) in [
        (
            "Anthropic, zeros in a later event",
            "anthropic",
            vec![
                r#"{"type":"message_start","message":{"usage":{"input_tokens":120,"output_tokens":1}}}"#.to_owned(),
                r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"word"}}"#.into(),
                r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"input_tokens":0,"output_tokens":50}}"#.into(),
                r#"{"type":"message_stop"}"#.into(),
            ],
            (170, 620),
        ),
        (
            "Anthropic, a cache that is written and read",
            "anthropic",
            vec![
                r#"{"type":"message_start","message":{"usage":{"input_tokens":10,"cache_creation_input_tokens":300,"cache_read_input_tokens":1000,
                    "cache_creation":{"ephemeral_5m_input_tokens":100,"ephemeral_1h_input_tokens":200},"output_tokens":1}}}"#.replace('\n', " "),
                r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"word"}}"#.into(),
                r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":5}}"#.into(),
                r#"{"type":"message_stop"}"#.into(),
            ],
            // 10 at 1, 100 at 1.25, 200 at 2, 1000 at 0.1, 5 at 10.
            (1_315, 10 + 125 + 400 + 100 + 50),
        ),
        (
            "Anthropic's format of a gateway that tells of its cache at the end",
            "anthropic",
            vec![
                r#"{"type":"message_start","message":{"usage":{"input_tokens":10,"output_tokens":0}}}"#.into(),
                r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"word"}}"#.into(),
                r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"cache_creation_input_tokens":0,"cache_read_input_tokens":1000,"output_tokens":5}}"#.into(),
                r#"{"type":"message_stop"}"#.into(),
            ],
            (1_015, 10 + 100 + 50),
        ),
        (
            "thought beside the answer",
            "openai",
            vec![word.into(), end.into(), usage(r#"{"prompt_tokens":100,"completion_tokens":20,"total_tokens":220,"completion_tokens_details":{"reasoning_tokens":100}}"#)],
            (220, 100 + 1_200),
        ),
        (
            "cached tokens",
            "openai",
            vec![word.into(), end.into(), usage(r#"{"prompt_tokens":1000,"completion_tokens":1,"total_tokens":1001,"prompt_tokens_details":{"cached_tokens":900}}"#)],
            (1_001, 100 + 90 + 10),
        ),
        (
            "more cached than there is",
            "openai",
            vec![word.into(), end.into(), usage(r#"{"prompt_tokens":10,"completion_tokens":1,"total_tokens":11,"prompt_tokens_details":{"cached_tokens":20}}"#)],
            (11, 2 + 10),
        ),
        (
            "usage in the choice",
            "openai",
            vec![word.into(), r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop","usage":{"prompt_tokens":3000,"completion_tokens":120,"total_tokens":3120}}]}"#.into()],
            (3_120, 3_000 + 1_200),
        ),
        (
            "usage in x_groq, as texts and fractions",
            "openai",
            vec![word.into(), r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"x_groq":{"usage":{"prompt_tokens":"3000","completion_tokens":120.0}}}"#.into()],
            (3_120, 3_000 + 1_200),
        ),
        (
            "running usage in every chunk",
            "openai",
            vec![
                r#"{"choices":[{"index":0,"delta":{"content":"word"}}],"usage":{"prompt_tokens":7,"completion_tokens":1,"total_tokens":8}}"#.into(),
                r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}}"#.into(),
            ],
            (10, 7 + 30),
        ),
        (
            "responses whose texts come whole",
            "openai-responses",
            vec![
                r#"{"type":"response.created","response":{"id":"r"}}"#.into(),
                r#"{"type":"response.output_text.done","output_index":0,"content_index":0,"text":"word"}"#.into(),
                r#"{"type":"response.output_item.done","output_index":0,"item":{"type":"message","content":[{"type":"output_text","text":"word"}]}}"#.into(),
                r#"{"type":"response.completed","response":{"output":[{"type":"message","content":[{"type":"output_text","text":"word"}]}],"usage":{"input_tokens":7,"output_tokens":3,"total_tokens":10}}}"#.into(),
            ],
            (10, 7 + 30),
        ),
        (
            "responses that are told at the end alone",
            "openai-responses",
            vec![
                r#"{"type":"response.completed","response":{"output":[{"type":"reasoning"},{"type":"message","content":[{"type":"output_text","text":"word"}]}],"usage":{"input_tokens":7,"output_tokens":3}}}"#.into(),
            ],
            (10, 7 + 30),
        ),
    ] {
        let texts: Vec<&str> = list.iter().map(String::as_str).collect();
        let mut told = events(&texts);
        told.extend((format == "openai").then(|| DONE.to_owned()));
        let server = streams(told);
        let (kernel, _scratch) = kernel(&[("*", &server, &format!("format = \"{format}\"\n{price}"))], ANY);
        let (chunks, outcome) = stream(&kernel, request("m", object! { "max_tokens": 3000u64 }));
        let whole = value(outcome);
        assert_eq!(content(&chunks), "word", "{who}");
        assert_eq!(at(&whole, "choices.0.message.content").as_str(), Some("word"), "{who}");
        assert!(at(&whole, "usage.estimated").is_null(), "{who}: {whole}");
        assert_eq!(spent(&kernel), expected, "{who}");
    }
}

#[test]
fn a_tool_call_of_an_unstreamed_response_is_not_lost() {
    let call = r#"{"type":"function_call","call_id":"c","name":"add","arguments":"{\"a\":1}"}"#;
    let done = format!("{{\"type\":\"response.output_item.done\",\"output_index\":1,\"item\":{call}}}");
    let end = format!(
        "{{\"type\":\"response.completed\",\"response\":{{\"output\":[{{\"type\":\"reasoning\"}},{call}]}}}}"
    );
    for list in [vec![done.as_str(), end.as_str()], vec![end.as_str()]] {
        let server = streams(events(&list));
        let (kernel, _scratch) = kernel(&[("*", &server, "format = \"openai-responses\"")], ANY);
        let whole = value(stream(&kernel, request("m", object! {})).1);
        let expected = r#"[{"id":"c","type":"function","function":{"name":"add","arguments":"{\"a\":1}"}}]"#;
        assert_eq!(at(&whole, "choices.0.message.tool_calls").to_json(), expected);
        assert_eq!(at(&whole, "choices.0.finish_reason").as_str(), Some("tool_calls"));
    }
}

#[test]
fn an_event_named_error_is_an_error() {
    for (format, event) in [
        ("openai", "event: error\ndata: {\"message\":\"gone\"}\n\n"),
        ("openai", "event: error\ndata: gone\n\n"),
        ("openai", "error: {\"code\":500,\"message\":\"gone\"}\n\n"),
        ("openai", "data: [{\"error\":{\"code\":429,\"message\":\"gone\"}}]\n\n"),
        (
            "openai",
            "data: {\"error\":{\"message\":\"gone\"},\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"error\"}]}\n\n",
        ),
        ("anthropic", "event: error\ndata: {\"type\":\"overloaded\",\"detail\":\"gone\"}\n\n"),
        ("openai-responses", "event: error\ndata: {\"code\":1,\"message\":\"gone\"}\n\n"),
    ] {
        let server = streams(vec![event.into(), DONE.into()]);
        let (kernel, _scratch) = kernel(&[("*", &server, &format!("format = \"{format}\""))], ANY);
        let refused = failure(stream(&kernel, request("m", object! {})).1);
        assert!(refused.code == Code::Io && refused.message.contains("gone"), "{format}: {refused}");
    }
}

#[test]
fn an_unreadable_chunk_is_reported_and_the_stream_continues() {
    for broken in [
        r#"{"choices":[{"index":0,"delta":{"content":"\ud800"}}]}"#,
        r#"{"choices":[],"choices":[]}"#,
        "5",
        "<html>",
    ] {
        let mut told = vec![delta("one "), format!("data: {broken}\n\n"), delta("two"), FINISH.into()];
        told.push(
            "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":3}}\n\n".into(),
        );
        told.push(DONE.into());
        let server = streams(told);
        let (kernel, _scratch) = kernel(&[("*", &server, "")], ANY);
        let (chunks, outcome) = stream(&kernel, request("m", object! {}));
        assert_eq!(content(&chunks), "one two", "{broken}");
        let told = chunks.iter().filter(|chunk| !at(chunk, "error.message").is_null()).count();
        assert_eq!((told, tokens(&kernel).0), (1, 10), "{broken}");
        value(outcome);
    }
}

#[test]
fn an_estimate_does_not_stop_what_the_provider_bounds() {
    // 2,688 tokens of about 8 bytes each, by the stream's own usage.
    let mut told: Vec<String> = (0..84).map(|_| delta(&"eight b ".repeat(32))).collect();
    told.push(FINISH.into());
    told.push("data: {\"choices\":[],\"usage\":{\"prompt_tokens\":20,\"completion_tokens\":2688,\"total_tokens\":2708}}\n\n".into());
    told.push(DONE.into());
    let server = streams(told);
    let (kernel, _scratch) =
        kernel(&[("*", &server, "")], "[infer]\nmodels = [\"*\"]\n[budgets]\ntokens = 4000");
    let (chunks, outcome) = stream(&kernel, request("m", object! { "max_tokens": 3000u64 }));
    value(outcome);
    assert_eq!((content(&chunks).len(), tokens(&kernel)), (84 * 32 * 8, (2_708, 0)));
}

/// A limit is sent if the request, the policy or a budget sets one.
#[test]
fn no_limit_is_invented() {
    let sent = |policy: &str, members: Value, format: &str| {
        let server = serves(Then::Answer(200, completion(TEN)));
        let (kernel, _scratch) = kernel(&[("*", &server, format)], policy);
        let _ = ask(&kernel, request("m", members));
        server.last().body.get("max_tokens").and_then(Value::as_u64)
    };
    let any = "[infer]\nmodels = [\"*\"]\n";
    assert_eq!(sent(any, object! {}, ""), None);
    assert_eq!(sent(any, object! { "max_tokens": -1 }, ""), None);
    assert_eq!(sent(&format!("{any}max_tokens = 100000"), object! {}, ""), Some(100_000));
    assert_eq!(sent(&format!("{any}max_tokens = 100000"), object! { "max_tokens": 5u64 }, ""), Some(5));
    assert_eq!(sent(&format!("{any}[budgets]\ntokens = 1000000"), object! {}, ""), Some(4_096));
    let left = sent(&format!("{any}[budgets]\ntokens = 300"), object! {}, "").unwrap();
    // One token for each byte of the prompt, and 32 for the limit that becomes part of it.
    let prompt = request("m", object! {}).to_json().len() as u64;
    assert_eq!(left, 300 - prompt - 32);
    assert_eq!(
        sent(any, object! {}, "format = \"anthropic\""),
        Some(4_096),
        "the format has no request without"
    );
}

#[test]
fn a_picture_is_bounded_by_what_pictures_take() {
    let picture = format!("data:image/png;base64,{}", "A".repeat(266_000));
    let message = object! { "role": "user", "content": ak_host::ak_json::array![
        object! { "type": "text", "text": "what is it?" },
        object! { "type": "image_url", "image_url": object! { "url": picture } },
    ] };
    let usage = ",\"usage\":{\"prompt_tokens\":1049,\"completion_tokens\":3,\"total_tokens\":1052}";
    let server = serves(Then::Answer(200, completion(usage)));
    let policy = "[infer]\nmodels = [\"*\"]\n[budgets]\ntokens = 5000";
    let (kernel, _scratch) =
        kernel(&[("*", &server, "price = { input = 1.0, output = 1.0, image = 0.001 }")], policy);
    value(ask(&kernel, request("m", object! { "messages": vec![message], "max_tokens": 100u64 })));
    assert_eq!(spent(&kernel), (1_052, 1_052 + 1_000));
}

#[test]
fn an_impossible_usage_is_clamped_and_flagged() {
    for told in [
        ",\"usage\":{\"prompt_tokens\":18446744073709551615,\"completion_tokens\":18446744073709551615}",
        ",\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":1e30,\"total_tokens\":1e30}",
    ] {
        let server = serves(Then::Answer(200, completion(told)));
        let (kernel, _scratch) = kernel(&[("*", &server, "price = { input = 1.0, output = 1.0 }")], ANY);
        let answer = value(ask(&kernel, request("m", object! { "max_tokens": 100u64 })));
        assert_eq!(at(&answer, "usage.estimated").as_bool(), Some(true), "{answer}");
        let (tokens, cost) = spent(&kernel);
        // What cannot be is charged as all that was reserved: one token for each byte of the prompt, and the answer's limit.
        let prompt = request("m", object! { "max_tokens": 100u64 }).to_json().len() as u64;
        assert_eq!((tokens, cost), (prompt + 100, prompt + 100), "{told}");
    }
    // No limit is assumed that was not set.
    let server = serves(Then::Answer(200, completion("")));
    let (kernel, _scratch) = kernel(&[("*", &server, "")], ANY);
    let answer = value(ask(&kernel, request("m", object! {})));
    assert_eq!(at(&answer, "usage.estimated").as_bool(), Some(true), "{answer}");
}

/// An interrupted answer may have had much reasoning, so the whole reservation is charged.
#[test]
fn an_answer_interrupted_while_reasoning_costs_the_whole_reservation() {
    let charged = |model_name: &str, members: Value, told: Vec<String>| {
        let server = serves(Then::Break(told));
        let (kernel, _scratch) = kernel(&[("*", &server, "")], ANY);
        failure(stream(&kernel, request(model_name, members)).1);
        tokens(&kernel)
    };
    let thought =
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"reasoning_content\":\"hm\"}}]}\n\n".to_owned();
    for (name, members, told) in [
        ("o3-mini", object! { "max_tokens": 1000u64 }, delta("one")),
        ("m", object! { "max_tokens": 1000u64, "reasoning_effort": "low" }, delta("one")),
        ("m", object! { "max_tokens": 1000u64 }, thought),
    ] {
        let (used, reserved) = charged(name, members, vec![told]);
        assert!(used > 1_000 && reserved == 0, "{name}: {used}");
    }
    let (used, _) =
        charged("m", object! { "max_tokens": 1000u64, "reasoning_effort": "none" }, vec![delta("one")]);
    assert!(used < 100, "{used}");
}

#[test]
fn a_server_that_refuses_stream_options_is_asked_again_without() {
    let server = model(|asked, _| match at(&asked.body, "stream_options").is_null() {
        false => Then::Answer(
            422,
            r#"{"detail":[{"loc":["body","stream_options"],"msg":"extra fields not permitted"}]}"#.into(),
        ),
        true => Then::Stream(vec![delta("word"), FINISH.into(), DONE.into()]),
    });
    let (kernel, _scratch) = kernel(&[("*", &server, "")], ANY);
    for asked in [2, 3] {
        let (chunks, outcome) = stream(&kernel, request("m", object! {}));
        value(outcome);
        assert_eq!((content(&chunks), server.count()), ("word".to_owned(), asked));
    }
    let (kernel, _scratch) = kernel_with(&server, "stream_options = false");
    value(stream(&kernel, request("m", object! {})).1);
    assert_eq!(server.count(), 4, "where the operator says so, it is not even tried");
    // A server that rejects a request for another reason gets no second one.
    let server = model(|_, _| Then::Answer(422, r#"{"detail":"no"}"#.into()));
    let (kernel, _scratch) = kernel_of(&server);
    failure(stream(&kernel, request("m", object! {})).1);
    assert_eq!(server.count(), 1);
}

fn kernel_of(server: &Model) -> (ak_host::Connection, support::Scratch) {
    kernel_with(server, "")
}

fn kernel_with(server: &Model, lines: &str) -> (ak_host::Connection, support::Scratch) {
    kernel(&[("*", server, lines)], ANY)
}

#[test]
fn cache_control_members_are_forwarded() {
    let server = serves(Then::Answer(
        200,
        r#"{"content":[{"type":"text","text":"x"}],"usage":{"input_tokens":1,"output_tokens":1}}"#.into(),
    ));
    let (kernel, _scratch) = kernel(&[("*", &server, "format = \"anthropic\"")], ANY);
    let asked = r#"{"messages":[{"role":"system","content":[{"type":"text","text":"s","cache_control":{"type":"ephemeral"}}]},
        {"role":"user","content":"u","cache_control":{"type":"ephemeral","ttl":"1h"}}],
        "tools":[{"type":"function","function":{"name":"f"},"cache_control":{"type":"ephemeral"}}]}"#;
    value(ask(&kernel, request("m", json(asked))));
    let body = server.last().body;
    for place in ["system.0", "messages.0.content.0", "tools.0"] {
        assert_eq!(
            at(&body, &format!("{place}.cache_control.type")).as_str(),
            Some("ephemeral"),
            "{place}: {body}"
        );
    }
    let odd = r#"{"messages":[{"role":"user","content":[{"type":"text","text":"u","odd":1}]}]}"#;
    let refused = failure(ask(&kernel, request("m", json(odd))));
    assert!(refused.code == Code::InvalidArgument && refused.message.contains("`odd`"), "{refused}");
}

#[test]
fn an_unrequested_compression_is_refused() {
    let server = serves(Then::With(
        200,
        "content-type: application/json\r\ncontent-encoding: gzip\r\n",
        "\u{1f}x".into(),
    ));
    let (kernel, _scratch) = kernel(&[("*", &server, "")], ANY);
    let refused = failure(ask(&kernel, request("m", object! {})));
    assert!(refused.code == Code::Io && refused.message.contains("gzip"), "{refused}");
    assert!(server.last().head.to_ascii_lowercase().contains("accept-encoding: identity"));
}

#[test]
fn provider_tools_need_a_permit_of_their_own() {
    let server = serves(Then::Answer(200, completion(TEN)));
    let asked = |policy: &str, members: &str| {
        let (kernel, _scratch) =
            kernel(&[("*", &server, "")], &format!("[infer]\nmodels = [\"*\"]\n{policy}"));
        ask(&kernel, request("m", json(members)))
    };
    let search = r#"{"tools":[{"type":"web_search_preview"}]}"#;
    let state = r#"{"store":true}"#;
    let remote = r#"{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://a/b.png"}}]}]}"#;
    for (policy, members, permitted) in [
        ("", search, false),
        ("provider_tools = [\"web_search\"]", search, true),
        ("provider_tools = [\"code_execution\"]", search, false),
        ("stateful = true", search, false),
        ("", state, false),
        ("stateful = true", state, true),
        ("", remote, false),
        ("provider_tools = [\"remote_media\"]", remote, true),
    ] {
        let outcome = asked(policy, members);
        match outcome {
            Ok(_) => assert!(permitted, "{policy:?} {members}"),
            Err(refused) => {
                assert!(!permitted && refused.code == Code::PolicyDeny, "{policy:?} {members}: {refused}");
                let denial = refused.denial.unwrap();
                assert!(denial.suggested_snippet.starts_with("[infer]\n"), "{denial:?}");
            }
        }
    }
}

/// A limit on usage counts a retried request once.
#[test]
fn a_retried_request_is_charged_once() {
    let server = model(|_, before| match before {
        0 | 1 => Then::With(429, "retry-after-ms: 1\r\n", "{}".into()),
        _ => Then::Answer(200, completion(TEN)),
    });
    let policy = "[infer]\nmodels = [\"*\"]\nmax_tokens = 50\n[[limit]]\nid = \"day\"\noperation = \"infer\"\ntarget = \"model:*\"\n\
                  sum = \"usage:tokens\"\nmax = 310\nper = \"24h\"\n";
    let (kernel, _scratch) = kernel(&[("*", &server, "")], policy);
    value(ask(&kernel, request("m", object! {})));
    assert_eq!((server.count(), tokens(&kernel).0), (3, 10));
    // Ten tokens are used, not thirty: there is room for two more requests of over a hundred.
    for _ in 0..2 {
        value(ask(&kernel, request("m", object! {})));
    }
}

/// A caller that writes the member's name into a request changes nothing for other callers.
#[test]
fn a_request_cannot_have_a_route_forget_what_its_server_tells() {
    let server = model(|asked, _| match at(&asked.body, "metadata.include_usage").is_null() {
        false => Then::Answer(
            400,
            "{\"error\":{\"message\":\"Unrecognized request argument supplied: include_usage\"}}".into(),
        ),
        true => Then::Stream(vec![delta("word"), FINISH.into(), DONE.into()]),
    });
    let (kernel, _scratch) = kernel_of(&server);
    failure(stream(&kernel, request("m", json(r#"{"metadata":{"include_usage":"1"}}"#))).1);
    value(stream(&kernel, request("m", object! {})).1);
    assert_eq!(at(&server.last().body, "stream_options.include_usage").as_bool(), Some(true));
}

/// A permitted search adds tokens that the request does not contain.
#[test]
fn tokens_from_provider_tools_are_charged_as_reported() {
    let server =
        serves(Then::Answer(200, completion(",\"usage\":{\"prompt_tokens\":60000,\"completion_tokens\":3}")));
    let policy = "[infer]\nmodels = [\"*\"]\nprovider_tools = [\"web_search\"]\n";
    let (kernel, _scratch) = kernel(&[("*", &server, "")], policy);
    let answer =
        value(ask(&kernel, request("m", json(r#"{"tools":[{"type":"web_search"}],"max_tokens":9}"#))));
    assert_eq!((tokens(&kernel).0, at(&answer, "usage.estimated").is_null()), (60_003, true));
}
