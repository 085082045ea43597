//! Text that the operator wants removed is removed from every reply, in whatever form it arrives.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use ak_host::ak_json::{Value, object};
use ak_host::ak_kernel::{Outcome, Reply};
use ak_host::{Connection, Options};

use support::model::{ANY, DONE, FINISH, Then, at, model, request, stream, value};
use support::{Scratch, get, load, web};

const CARD: &str = "4111 1111 1111 1111";
const PATTERN: &str = "[redact]\npatterns = [\"(?:[0-9]{4} ){3}[0-9]{4}\"]\n";

fn kernel(scratch: &Scratch, config: &str, policy: &str) -> Connection {
    std::fs::write(scratch.join("host.toml"), format!("{PATTERN}{config}")).unwrap();
    let options = Options { host_config: Some(scratch.join("host.toml")), ..Options::default() };
    let kernel = Connection::open(&options).unwrap_or_else(|failure| panic!("{failure}"));
    load(&kernel, policy);
    kernel
}

/// Returns events that send a text character by character in one member of a choice.
fn told(choice: u64, delta: impl Fn(&str) -> Value) -> Vec<String> {
    let event = |c: char| {
        let choice = object! { "index": choice, "delta": delta(&c.to_string()) };
        format!("data: {}\n\n", object! { "id": "1", "choices": ak_host::ak_json::array![choice] }.to_json())
    };
    format!("card {CARD} end").chars().map(event).collect()
}

#[test]
fn a_pattern_with_blanks_is_cut_from_a_stream() {
    let call = |piece: &str| {
        let function = object! { "name": "", "arguments": piece };
        object! { "tool_calls": ak_host::ak_json::array![object! { "index": 0, "id": "c", "function": function }] }
    };
    let mut kinds: Vec<Vec<String>> = vec![told(0, call)];
    for (choice, name) in [(0, "content"), (1, "content"), (0, "reasoning"), (1, "refusal")] {
        kinds.push(told(choice, |piece| {
            [(name, Value::from(piece))].into_iter().collect::<ak_host::ak_json::Object>().into()
        }));
    }
    // The texts are interleaved character by character, and are still distinguished.
    let length = kinds[0].len();
    let mut events: Vec<String> =
        (0..length).flat_map(|at| kinds.iter().map(move |events| events[at].clone())).collect();
    events.extend([FINISH, DONE].map(str::to_owned));
    let server = model(move |_, _| Then::Stream(events.clone()));
    let scratch = Scratch::new("redact");
    let route = format!("[[model]]\nmatch = \"m\"\nurl = \"{}\"\n", server.url());
    let kernel = kernel(&scratch, &route, ANY);
    let (chunks, outcome) = stream(&kernel, request("m", object! {}));
    let whole = value(outcome);
    let check = |path: &str| assert_eq!(at(&whole, path).as_str(), Some("card [redacted] end"), "{path}");
    check("choices.0.message.content");
    check("choices.1.message.content");
    check("choices.0.message.reasoning");
    check("choices.1.message.refusal");
    check("choices.0.message.tool_calls.0.function.arguments");
    let digits = |text: &str| text.matches("1111").count() + text.matches("4111").count();
    assert_eq!(chunks.iter().map(|chunk| digits(&chunk.to_json())).sum::<usize>(), 0);
    let content: String =
        chunks.iter().filter_map(|chunk| at(chunk, "choices.0.delta.content").as_str()).collect();
    assert!(!content.contains(['4', '1']), "{content}");
}

/// In bodies, values and names of headers, and in failures that a server reports.
#[test]
fn a_pattern_is_cut_from_the_rest_of_a_stream() {
    let no_card = |outcome: &Outcome| {
        let told = format!("{outcome:?}");
        assert!(told.contains("redacted") && !told.contains("1111"), "{told}");
    };
    let (port, _) = web(|_| {
        let body = format!("body {CARD}");
        format!(
            "HTTP/1.1 200 OK\r\nx: {CARD}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        )
    });
    let server = model(|_, _| Then::Answer(500, format!("{{\"error\":{{\"message\":\"card {CARD}\"}}}}")));
    let scratch = Scratch::new("redact-beside");
    let route = format!("[[model]]\nmatch = \"m\"\nurl = \"{}\"\n", server.url());
    let grants = format!(
        "[http]\nallow = [\"GET http://127.0.0.1:{port}/**\"]\n[net]\nconnect = [\"ip:127.0.0.1:{port}\"]\n{ANY}"
    );
    let kernel = kernel(&scratch, &route, &grants);
    let outcome = kernel.call(get(&format!("http://127.0.0.1:{port}/")));
    no_card(&outcome);
    let Ok(Reply::Http(response)) = outcome else { panic!() };
    assert_eq!(&*response.body, b"body [redacted]");
    no_card(&stream(&kernel, request("m", object! {})).1);
}

#[test]
fn a_pattern_without_a_short_longest_match_is_refused_at_opening() {
    let scratch = Scratch::new("redact-far");
    std::fs::write(scratch.join("host.toml"), "[redact]\npatterns = [\"key: .+\"]").unwrap();
    let options = Options { host_config: Some(scratch.join("host.toml")), ..Options::default() };
    let failure = Connection::open(&options).err().unwrap();
    assert!(failure.message.contains("no longest match"), "{failure}");
}

/// When a server sends more texts than are joined, it cannot send a card number piece by piece in one of the others.
#[test]
fn a_text_beyond_the_assembled_ones_is_replaced() {
    let many: ak_host::ak_json::Object =
        (0..1_024).map(|at| (ak_host::ak_json::Text::from(format!("x{at}")), Value::from("a"))).collect();
    let event = |delta: Value| {
        let choice = object! { "index": 0, "delta": delta };
        format!("data: {}\n\n", object! { "id": "1", "choices": ak_host::ak_json::array![choice] }.to_json())
    };
    let mut events = vec![event(many.into())];
    events.extend(told(0, |piece| object! { "late": piece }));
    events.extend([FINISH, DONE].map(str::to_owned));
    let server = model(move |_, _| Then::Stream(events.clone()));
    let scratch = Scratch::new("redact-many");
    let route = format!("[[model]]\nmatch = \"m\"\nurl = \"{}\"\n", server.url());
    let kernel = kernel(&scratch, &route, ANY);
    let (chunks, outcome) = stream(&kernel, request("m", object! {}));
    let late: String = chunks.iter().filter_map(|chunk| at(chunk, "choices.0.delta.late").as_str()).collect();
    assert!(late.contains("[redacted]") && !late.contains(['4', '1']), "{late}");
    assert!(!value(outcome).to_json().contains("1111"));
}
