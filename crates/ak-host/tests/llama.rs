//! Tests against a real llama.cpp server, which `cargo xtask test --llm` builds and starts. The server reports no usage
//! while it streams, so the host counts the tokens.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use ak_host::ak_json::{Value, object};
use ak_host::ak_kernel::{AgentRequest, Code, InferRequest, Outcome, Reply, Request};
use ak_host::{Connection, Options};
use support::{Scratch, load};

fn kernel(scratch: &Scratch) -> Connection {
    let url = std::env::var("AK_TEST_LLM_URL").expect("AK_TEST_LLM_URL: run `cargo xtask test --llm`");
    let config = scratch.join("host.toml");
    std::fs::write(&config, format!("[[model]]\nmatch = \"*\"\nurl = \"{url}\"\ntimeout_ms = 60_000"))
        .unwrap();
    let kernel = Connection::open(&Options { host_config: Some(config), ..Options::default() }).unwrap();
    load(&kernel, "[infer]\nmodels = [\"*\"]\nmax_tokens = 12");
    kernel
}

fn request(max_tokens: u64) -> Value {
    let message = object! { "role": "user", "content": "w1 w2 w3" };
    object! { "model": "random", "messages": vec![message], "max_tokens": max_tokens, "temperature": 0u64 }
}

fn tokens(kernel: &Connection) -> (u64, u64) {
    let Ok(Reply::Value(status)) =
        kernel.call(Request::Agent(AgentRequest::BudgetStatus { dimension: None, agent: None }))
    else {
        panic!()
    };
    let part = |name| status.get("tokens").unwrap().get(name).and_then(Value::as_u64).unwrap();
    (part("used"), part("reserved"))
}

fn number(value: &Value, name: &str) -> u64 {
    value.get("usage").unwrap().get(name).and_then(Value::as_u64).unwrap()
}

#[test]
#[ignore = "needs a llama.cpp server: cargo xtask test --llm"]
fn a_completion_is_clamped_and_settled_to_the_servers_count() {
    let scratch = Scratch::new("llama");
    let kernel = kernel(&scratch);
    let outcome =
        kernel.call(Request::Infer(InferRequest { request: request(1000), stream: false, price: None }));
    let Ok(Reply::Value(answer)) = outcome else { panic!("{outcome:?}") };
    assert!(number(&answer, "completion_tokens") <= 12, "clamped: {}", answer.to_json());
    assert_eq!(tokens(&kernel), (number(&answer, "total_tokens"), 0));
}

#[test]
#[ignore = "needs a llama.cpp server: cargo xtask test --llm"]
fn a_stream_without_usage_is_estimated() {
    let scratch = Scratch::new("llama-stream");
    let kernel = kernel(&scratch);
    let mut text = String::new();
    let outcome: Outcome = kernel.call_streaming(
        Request::Infer(InferRequest { request: request(8), stream: true, price: None }),
        &mut |chunk| {
            text.push_str(chunk);
            true
        },
    );
    let Ok(Reply::Value(answer)) = outcome else { panic!("{outcome:?}") };
    assert!(text.contains("chat.completion.chunk"), "{text}");
    let total = number(&answer, "total_tokens");
    assert!(total > 0);
    assert_eq!(tokens(&kernel), (total, 0));
}

#[test]
#[ignore = "needs a llama.cpp server: cargo xtask test --llm"]
fn a_stopped_stream_is_charged_for_what_was_received() {
    let scratch = Scratch::new("llama-stopped");
    let kernel = kernel(&scratch);
    let stop = kernel.call_streaming(
        Request::Infer(InferRequest { request: request(12), stream: true, price: None }),
        &mut |_| false,
    );
    assert_eq!(stop.unwrap_err().code, Code::UnknownOutcome);
    let started = std::time::Instant::now();
    while tokens(&kernel).1 > 0 {
        assert!(started.elapsed().as_secs() < 30, "it is still under way");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert!(tokens(&kernel).0 > 0);
}
