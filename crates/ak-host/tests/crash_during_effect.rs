//! A process dies during an effect: the outcome is unknown, and the effect is not repeated.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use std::{
    io::{BufRead as _, BufReader},
    net::TcpListener,
    path::Path,
    process::{Command, Stdio},
    sync::mpsc::channel,
    time::Duration,
};

use ak_host::ak_json::{Digest, Limits, Value, object};
use ak_host::ak_kernel::{AuditFilter, AuditRequest, Code, Reply, Request, ToolsRequest};
use ak_host::{Connection, Options};
use sha2::{Digest as _, Sha256};
use support::{Scratch, get, load};

/// Variable that makes the process the victim, and gives its state directory and the port of the server.
const VICTIM: &str = "AK_CRASH_DURING_EFFECT_VICTIM";

fn open(state: &Path) -> Connection {
    Connection::open(&Options { state_dir: Some(state.to_owned()), ..Options::default() }).unwrap()
}

/// Registers a tool that requests a URL and returns the response.
fn fetch(port: &str) -> Request {
    let wat = include_str!("../../ak-kernel/tests/support/relay.wat").replace("CALL", "http");
    let module = wat::parse_str(wat).unwrap();
    let sha256 = Digest::from(<[u8; 32]>::from(Sha256::digest(&module)));
    let needs = [format!("http.get:http://127.0.0.1:{port}/**"), format!("connect:ip:127.0.0.1:{port}")];
    let manifest = object! {
        "name": "fetch", "version": "1.0.0", "abi": "native", "sha256": sha256.to_string(),
        "needs": needs.iter().map(|need| Value::from(need.as_str())).collect::<Vec<_>>(),
    };
    Request::Tools(ToolsRequest::Register { manifest, module: module.into(), env: Vec::new() })
}

/// Runs in the child: calls a server that does not answer, directly and through a tool.
#[test]
fn victim() {
    let Ok(told) = std::env::var(VICTIM) else { return };
    let (port, state) = told.split_once(' ').unwrap();
    let kernel = open(Path::new(state));
    load(
        &kernel,
        &format!(
            "[http]\nallow = [\"GET http://127.0.0.1:{port}/**\"]\n[net]\nconnect = [\"ip:127.0.0.1:{port}\"]\n[tools]\nallow = [\"*\"]"
        ),
    );
    kernel.call(fetch(port)).unwrap();
    let url = format!("http://127.0.0.1:{port}/");
    let Request::Http(mut own) = get(&format!("{url}own")) else { panic!() };
    own.timeout_ms = 600_000;
    let args = format!("{{\"method\":\"GET\",\"url\":\"{url}tool\",\"timeout_ms\":600000}}");
    let args = Value::parse(args.as_bytes(), &Limits::default()).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| kernel.call(Request::Http(own)));
        scope.spawn(|| kernel.call(Request::Tools(ToolsRequest::Call { tool: "fetch".into(), args })));
    });
}

#[test]
fn an_effect_interrupted_by_a_crash_is_unknown_and_not_repeated() {
    let scratch = Scratch::new("cut-off");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (asked, heard) = channel();
    std::thread::spawn(move || {
        let mut connections = Vec::new();
        for stream in listener.incoming().flatten() {
            let mut line = String::new();
            BufReader::new(&stream).read_line(&mut line).unwrap();
            // No request is answered.
            connections.push(stream);
            asked.send(line).unwrap();
        }
    });
    let state = scratch.join("state");
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "victim", "--nocapture"])
        .env(VICTIM, format!("{port} {}", state.display()))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut paths: Vec<String> =
        (0..2).map(|_| heard.recv_timeout(Duration::from_secs(60)).unwrap()).collect();
    paths.sort();
    victim.kill().unwrap();
    victim.wait().unwrap();
    assert_eq!(paths, ["GET /own HTTP/1.1\r\n", "GET /tool HTTP/1.1\r\n"]);

    let kernel = open(&state);
    let Ok(Reply::Value(found)) = kernel.call(Request::Audit(AuditRequest::Query(AuditFilter::default())))
    else {
        panic!()
    };
    let entries = found.get("entries").and_then(Value::as_array).unwrap();
    let text =
        |entry: &Value, name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    // The agent's own request, the tool's request, and the call of the tool.
    let mut unknown: Vec<String> = entries
        .iter()
        .filter(|entry| text(entry, "error") == Code::UnknownOutcome.name())
        .map(|entry| text(entry, "event"))
        .collect();
    unknown.sort();
    assert_eq!(unknown, ["call", "http", "http"], "{}", found.to_json());
    let Ok(Reply::Value(verdict)) =
        kernel.call(Request::Audit(AuditRequest::Verify { key: None, anchor: None }))
    else {
        panic!()
    };
    assert_eq!(verdict.get("consistent").and_then(Value::as_bool), Some(true), "{}", verdict.to_json());
    assert!(heard.try_recv().is_err(), "something was asked again");
}
