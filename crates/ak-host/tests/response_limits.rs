//! The bytes that a server may send outside of a body are bounded, however they arrive.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use ak_host::ak_json::object;
use ak_host::ak_kernel::{Code, Failure, Reply};
use ak_host::{Connection, EVENT_BYTES_MAX, HEAD_BYTES_MAX, Options};

use support::model::{ANY, Then, kernel, model, request, stream};
use support::{Scratch, embedded, get, load, web};

fn granting(port: u16) -> String {
    format!(
        "[http]\nallow = [\"GET http://127.0.0.1:{port}/**\"]\n[net]\nconnect = [\"ip:127.0.0.1:{port}\"]"
    )
}

/// Returns the result of a request with this answer.
fn answered(answer: String) -> Result<u16, Failure> {
    let (port, _) = web(move |_| answer.clone());
    match embedded(&granting(port)).call(get(&format!("http://127.0.0.1:{port}/"))) {
        Ok(Reply::Http(response)) => Ok(response.status),
        Ok(other) => panic!("{other:?}"),
        Err(failure) => Err(failure),
    }
}

/// Returns a response head of `bytes` bytes, with headers of at most `each` bytes.
fn head(bytes: usize, each: usize) -> String {
    let (start, end) = ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n", "\r\n");
    let mut head = String::from(start);
    while head.len() + end.len() < bytes {
        let name = format!("x-{:04}: ", head.len() % 10_000);
        let room = bytes - head.len() - end.len();
        // A rest that is too short for another header is added to this one.
        let line = if room < each + 64 { room } else { each };
        head += &name;
        head += &"v".repeat(line - name.len() - 2);
        head += "\r\n";
    }
    head += end;
    assert_eq!(head.len(), bytes);
    head
}

fn check_refused(answer: String, says: &str) {
    let failure = answered(answer).unwrap_err();
    assert!(failure.code == Code::Io && failure.message.contains(says), "{failure}");
}

#[test]
fn a_head_is_read_up_to_its_limit() {
    let too_long = format!("the head of the response is longer than {HEAD_BYTES_MAX} bytes");
    for each in [1_000, HEAD_BYTES_MAX] {
        assert_eq!(answered(head(HEAD_BYTES_MAX, each) + "ok").unwrap(), 200, "{each}");
        for bytes in [HEAD_BYTES_MAX + 1, HEAD_BYTES_MAX + 20_000, 10 * HEAD_BYTES_MAX] {
            check_refused(head(bytes, each.max(bytes / 200)) + "ok", &too_long);
        }
    }
    // The body does not count as head, though it arrives with it.
    let body = "b".repeat(900);
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 900\r\nconnection: close\r\n\r\n{body}");
    assert_eq!(answered(answer).unwrap(), 200);
}

#[test]
fn informational_responses_count_towards_the_head_limit() {
    let once = "HTTP/1.1 103 Early Hints\r\nlink: </style.css>\r\n\r\n";
    let last = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";
    assert_eq!(answered(once.repeat(10) + last).unwrap(), 200);
    check_refused(once.repeat(2 * HEAD_BYTES_MAX / once.len()) + last, "the head of the response is longer");
}

#[test]
fn a_status_line_without_end_is_refused() {
    check_refused(format!("HTTP/1.1 200 {}", "O".repeat(2 * HEAD_BYTES_MAX)), "is longer than");
}

#[test]
fn too_many_headers_are_refused() {
    let headers = "a: b\r\n".repeat(1_000);
    assert_eq!(answered(format!("HTTP/1.1 200 OK\r\n{headers}\r\n")).unwrap_err().code, Code::Io);
}

const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n";

#[test]
fn trailers_and_extensions_of_chunks_are_bounded() {
    assert_eq!(answered(format!("{CHUNKED}2;x=y\r\nok\r\n0\r\nx-end: 1\r\n\r\n")).unwrap(), 200);
    let long = "x".repeat(1 << 20);
    for endless in [
        format!("{CHUNKED}2;{long}\r\nok\r\n0\r\n\r\n"),
        format!("{CHUNKED}2\r\nok\r\n0\r\nx-end: {long}\r\n\r\n"),
        CHUNKED.to_owned() + "2\r\nok\r\n0\r\n" + &"a: b\r\n".repeat(100_000) + "\r\n",
        CHUNKED.to_owned() + &"1;xxxxxxxxxxxxxxxx\r\no\r\n".repeat(20_000) + "0\r\n\r\n",
        CHUNKED.to_owned() + &"0".repeat(1 << 20) + "2\r\nok\r\n0\r\n\r\n",
    ] {
        let end = endless.len().min(200);
        assert!(answered(endless.clone()).is_err(), "{}…", &endless[CHUNKED.len()..end]);
    }
}

/// A proxy's answer to CONNECT is bounded as well.
#[test]
fn a_proxy_s_answer_is_bounded() {
    let (proxy, _) = web(|_| format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "p".repeat(HEAD_BYTES_MAX)));
    let scratch = Scratch::new("proxy-head");
    let config = scratch.join("host.toml");
    std::fs::write(&config, format!("[http]\nproxy = \"http://127.0.0.1:{proxy}\"\n")).unwrap();
    let kernel = Connection::open(&Options { host_config: Some(config), ..Options::default() }).unwrap();
    load(&kernel, &granting(1));
    let failure = kernel.call(get("http://127.0.0.1:1/")).unwrap_err();
    assert!(failure.message.contains("its answer is too long"), "{failure}");
}

/// A stream with an endless event fails as soon as the event is too long.
#[test]
fn an_event_of_a_stream_is_bounded() {
    for (first, endless) in [("data: ", "x"), ("", "data: x\n")] {
        let piece = endless.repeat(64 << 10);
        let server = model(move |_, _| Then::Endless(format!("{first}{piece}")));
        let (kernel, _scratch) = kernel(&[("m", &server, "")], ANY);
        let failure = stream(&kernel, request("m", object! {})).1.unwrap_err();
        let says = format!("an event of the stream is longer than {EVENT_BYTES_MAX} bytes");
        assert!(failure.code == Code::Io && failure.message.contains(&says), "{failure}");
    }
}
