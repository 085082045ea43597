//! Tools on a real host: their host calls are performed, and every run ends.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use std::{
    io::{Read, Write},
    net::TcpListener,
    os::unix::net::UnixStream,
    sync::mpsc::{Receiver, channel},
    time::{Duration, Instant},
};

use ak_host::ak_json::{Digest, Limits, Value, object};
use ak_host::ak_kernel::frame::{Flags, encode};
use ak_host::ak_kernel::{
    AgentRequest, AuditFilter, AuditRequest, Code, Failure, Outcome, Reply, Request, ToolsRequest,
};
use ak_host::{Connection, Options, Server, owner_token};

use sha2::{Digest as _, Sha256};
use support::{Scratch, code, embedded, get, late_web, load, ok, wait_until, web};

/// Maximum duration of anything that should end soon.
const SOON: Duration = Duration::from_secs(20);

/// Registers an example tool. Its manifest needs files in `/data` and `/notes`, which are replaced by the scratch
/// directory.
fn example(name: &str, scratch: &Scratch) -> Request {
    let directory = format!("{}/../../examples/tools/{name}", env!("CARGO_MANIFEST_DIR"));
    let manifest = std::fs::read_to_string(format!("{directory}/{name}.toml")).unwrap();
    let root = scratch.path().display();
    let manifest = manifest.replace(":/data/", &format!(":{root}/data/"));
    let manifest = manifest.replace(":/notes/", &format!(":{root}/notes/"));
    let module = std::fs::read(format!("{directory}/{name}.wasm")).unwrap();
    Request::Tools(ToolsRequest::Register {
        manifest: manifest.as_str().into(),
        module: module.into(),
        env: Vec::new(),
    })
}

/// Registers a tool in text format, with a wall time of `wall_ms`.
fn tool(name: &str, wat: &str, needs: &[&str], abi: &str, wall_ms: u64) -> Request {
    let module = wat::parse_str(wat).unwrap();
    let sha256 = Digest::from(<[u8; 32]>::from(Sha256::digest(&module)));
    let needs: Vec<Value> = needs.iter().map(|need| Value::from(*need)).collect();
    let manifest = object! {
        "name": name, "version": "1.0.0", "abi": abi, "sha256": sha256.to_string(), "needs": needs,
        "env": vec![Value::from("REGION")], "limits": object! { "wall_ms": wall_ms },
    };
    Request::Tools(ToolsRequest::Register { manifest, module: module.into(), env: Vec::new() })
}

/// Registers a tool that makes one host call with its own arguments, and returns the reply.
fn relay(name: &str, call: &str, needs: &[&str], wall_ms: u64) -> Request {
    let wat = include_str!("../../ak-kernel/tests/support/relay.wat").replace("CALL", call);
    tool(name, &wat, needs, "native", wall_ms)
}

fn call(kernel: &Connection, name: &str, args: &str) -> Outcome {
    let args = Value::parse(args.as_bytes(), &Limits::default()).unwrap();
    kernel.call(Request::Tools(ToolsRequest::Call { tool: name.into(), args }))
}

fn output(outcome: Outcome) -> String {
    match outcome {
        Ok(Reply::Value(value)) => value.get("output").unwrap().to_json(),
        other => panic!("{other:?}"),
    }
}

fn failure(outcome: Outcome) -> Failure {
    outcome.map(|reply| panic!("it passed: {reply:?}")).unwrap_err()
}

fn verified(kernel: &Connection) {
    let Ok(Reply::Value(verdict)) =
        kernel.call(Request::Audit(AuditRequest::Verify { key: None, anchor: None }))
    else {
        panic!("there is a verdict")
    };
    assert_eq!(verdict.get("consistent").and_then(Value::as_bool), Some(true), "{}", verdict.to_json());
}

#[test]
fn ordinary_programs_read_list_and_write_files() {
    let scratch = Scratch::new("tools");
    let root = scratch.path().display();
    std::fs::create_dir_all(scratch.join("data/deep")).unwrap();
    std::fs::create_dir(scratch.join("notes")).unwrap();
    std::fs::write(scratch.join("data/a.txt"), "one two\nthree\n").unwrap();
    std::fs::write(scratch.join("data/deep/secret"), "x").unwrap();
    let kernel = embedded(&format!(
        "[fs]\nread = [\"{root}/data/*\", \"{root}/data\"]\nwrite = [\"{root}/**\"]\n[tools]\nallow = [\"*\"]"
    ));
    for name in ["count", "list", "note"] {
        kernel.call(example(name, &scratch)).unwrap();
    }
    let counted = output(call(&kernel, "count", &format!(r#"{{"path":"{root}/data/a.txt"}}"#)));
    assert_eq!(counted, r#"{"bytes":14,"lines":2,"words":3}"#);
    let listed = output(call(&kernel, "list", &format!(r#"{{"directory":"{root}/data"}}"#)));
    assert!(listed.contains(r#""a.txt""#) && listed.contains("14"), "{listed}");

    let note = |path: &str| call(&kernel, "note", &format!(r#"{{"path":"{root}/{path}","text":"hello"}}"#));
    assert_eq!(output(note("notes/n.txt")), r#"{"bytes":5}"#);
    assert_eq!(std::fs::read_to_string(scratch.join("notes/n.txt")).unwrap(), "hello");

    // Permitted to the tool, but not to the agent: an ordinary program gets EACCES.
    let denied = failure(call(&kernel, "count", &format!(r#"{{"path":"{root}/data/deep/secret"}}"#)));
    assert_eq!(denied.code, Code::ToolFail);
    assert!(denied.message.contains("PermissionDenied"), "{denied}");
    // Permitted to the agent, but not to the tool.
    let denied = failure(note("elsewhere.txt"));
    assert!(denied.message.contains("CAP_SCOPE"), "{denied}");
    assert!(!scratch.join("elsewhere.txt").exists());
    verified(&kernel);
}

#[test]
fn a_journal_is_replayed_with_its_tool_runs() {
    let scratch = Scratch::new("tools-journal");
    std::fs::create_dir(scratch.join("data")).unwrap();
    std::fs::write(scratch.join("data/a.txt"), "one\n").unwrap();
    let root = scratch.path().display();
    let options = Options { state_dir: Some(scratch.join("state")), ..Options::default() };
    let kernel = Connection::open(&options).unwrap();
    load(&kernel, &format!("[fs]\nread = [\"{root}/data/**\"]\n[tools]\nallow = [\"*\"]"));
    kernel.call(example("count", &scratch)).unwrap();
    kernel.call(relay("draw", "random", &["random:*"], 1_000)).unwrap();
    output(call(&kernel, "count", &format!(r#"{{"path":"{root}/data/a.txt"}}"#)));
    let drawn = output(call(&kernel, "draw", r#"{"bytes":16}"#));
    assert!(drawn.contains(r#""ok":true"#), "{drawn}");
    kernel.close();
    // The replay needs neither the file nor the entropy.
    std::fs::remove_file(scratch.join("data/a.txt")).unwrap();

    let mut replay = ak_host::ak_kernel::Replay::new(ak_host::ak_kernel::ToolReplay::Rerun);
    let stored = ak_host::read_journal(&scratch.join("state")).unwrap();
    let mut replies = Vec::new();
    for record in stored.records {
        replies.extend(replay.feed(&record.leaf, &record.body).unwrap().replies);
    }
    let texts: Vec<String> = replies.iter().map(|(_, outcome)| format!("{outcome:?}")).collect();
    assert!(texts.iter().any(|text| text.contains("words")), "{texts:?}");
}

#[test]
fn the_time_of_a_tool_is_limited() {
    let kernel = embedded("[tools]\nallow = [\"*\"]");
    let forever = r#"(module (memory (export "memory") 1)
        (func (export "ak_alloc") (param i32) (result i32) (i32.const 16))
        (func (export "ak_run") (param i32 i32) (result i64) (loop $l (br $l)) (i64.const 0)))"#;
    kernel.call(tool("forever", forever, &[], "native", 30)).unwrap();
    let started = Instant::now();
    let over = failure(call(&kernel, "forever", "{}"));
    assert_eq!(over.code, Code::ToolTimeout, "{over}");
    assert!(over.message.contains("30 ms") && started.elapsed() < SOON, "{over}");
    assert_eq!(output(call(&kernel, "add", r#"{"a":1,"b":2}"#)), r#"{"result":3}"#, "the next call works");
    verified(&kernel);
}

/// A server that accepts requests and never answers. It reports for each connection that a request arrived, and that
/// the connection ended.
struct Silent {
    port: u16,
    asked: Receiver<()>,
    hung_up: Receiver<()>,
}

fn silent() -> Silent {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let ((tell_asked, asked), (tell_hung_up, hung_up)) = (channel(), channel());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (Ok(mut stream), asked, hung_up) = (stream, tell_asked.clone(), tell_hung_up.clone()) else {
                return;
            };
            std::thread::spawn(move || {
                let mut buffer = [0; 1024];
                while matches!(stream.read(&mut buffer), Ok(length) if length > 0) {
                    let _ = asked.send(());
                }
                let _ = hung_up.send(());
            });
        }
    });
    Silent { port, asked, hung_up }
}

fn granting(port: u16) -> String {
    format!(
        "[http]\nallow = [\"GET http://127.0.0.1:{port}/**\"]\n[net]\nconnect = [\"ip:127.0.0.1:{port}\"]\n\
         [tools]\nallow = [\"*\"]"
    )
}

#[test]
fn a_host_call_ends_with_its_tools_time() {
    let Silent { port, hung_up, .. } = silent();
    let kernel = embedded(&granting(port));
    kernel.call(relay("get", "http", &[&format!("http.get:http://127.0.0.1:{port}/**")], 1_000)).unwrap();
    let args = format!(r#"{{"method":"GET","url":"http://127.0.0.1:{port}/","timeout_ms":600000}}"#);
    assert_eq!(failure(call(&kernel, "get", &args)).code, Code::ToolTimeout);
    hung_up.recv_timeout(SOON).expect("the connection is closed");
    // No effect stays pending.
    let filter = AuditFilter { operation: Some("HTTP".into()), ..AuditFilter::default() };
    let Ok(Reply::Value(rows)) = kernel.call(Request::Audit(AuditRequest::Query(filter))) else { panic!() };
    assert!(rows.to_json().contains("UNKNOWN_OUTCOME"), "{}", rows.to_json());
    verified(&kernel);
}

#[test]
fn a_host_call_counts_towards_every_limit_of_the_agent() {
    let (port, _) = web(|_| ok("hello"));
    let kernel = embedded(&format!("{}\n[budgets]\nbytes = 20000", granting(port)));
    kernel.call(relay("get", "http", &[&format!("http.get:http://127.0.0.1:{port}/**")], 10_000)).unwrap();
    let args = format!(r#"{{"method":"GET","url":"http://127.0.0.1:{port}/","max":15000}}"#);
    assert!(output(call(&kernel, "get", &args)).contains("aGVsbG8"), "hello in base64url");
    let over = format!(r#"{{"method":"GET","url":"http://127.0.0.1:{port}/","max":25000}}"#);
    assert!(output(call(&kernel, "get", &over)).contains("BUDGET_EXCEEDED"));
}

#[test]
fn a_command_sees_the_variables_that_its_manifest_lists_and_the_operator_set() {
    let scratch = Scratch::new("tools-env");
    let config = scratch.join("host.toml");
    std::fs::write(&config, "[env]\nREGION = \"north\"\nOTHER = \"hidden\"").unwrap();
    let kernel = Connection::open(&Options { host_config: Some(config), ..Options::default() }).unwrap();
    load(&kernel, "[tools]\nallow = [\"*\"]");
    // Writes the first variable to stdout, in quotation marks.
    let wat = r#"(module
        (import "wasi_snapshot_preview1" "environ_sizes_get" (func $sizes (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "environ_get" (func $get (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (data (i32.const 99) "\"")
        (func (export "_start")
            (drop (call $sizes (i32.const 0) (i32.const 4)))
            (drop (call $get (i32.const 16) (i32.const 100)))
            ;; What is there, its last byte 0 replaced by a quotation mark.
            (i32.store8 (i32.add (i32.const 99) (i32.load (i32.const 4))) (i32.const 34))
            (i32.store (i32.const 32) (i32.const 99))
            (i32.store (i32.const 36) (i32.add (i32.const 1) (i32.load (i32.const 4))))
            (drop (call $write (i32.const 1) (i32.const 32) (i32.const 1) (i32.const 40)))))"#;
    let mut request = tool("env", wat, &[], "wasi", 1_000);
    if let Request::Tools(ToolsRequest::Register { env, .. }) = &mut request {
        // A caller's own `env` is ignored.
        env.push(("REGION".into(), "south".into()));
    }
    kernel.call(request).unwrap();
    assert_eq!(output(call(&kernel, "env", "{}")), r#""REGION=north""#);
}

#[test]
fn a_client_that_disconnects_stops_its_requests() {
    let Silent { port, asked, hung_up } = silent();
    let scratch = Scratch::new("tools-daemon");
    let token = owner_token(&scratch.join("token")).unwrap();
    let kernel = embedded(&granting(port));
    kernel.call(relay("get", "http", &[&format!("http.get:http://127.0.0.1:{port}/**")], 600_000)).unwrap();
    let server = Server::bind(&kernel, &scratch.join("ak.sock"), &token).unwrap();
    std::thread::spawn(move || server.run());

    let url = format!("http://127.0.0.1:{port}/");
    let plain = object! { "op": "HTTP", "args": object! { "method": "GET", "url": url.as_str(), "timeout_ms": 600_000u64 } };
    let inner = object! { "method": "GET", "url": url.as_str(), "timeout_ms": 600_000u64 };
    let tool = object! { "op": "CALL", "args": object! { "tool": "get", "args": inner } };
    for request in [plain, tool] {
        for politely in [true, false] {
            let mut stream = UnixStream::connect(scratch.join("ak.sock")).unwrap();
            let mut send = |flags: Flags, sequence: u64, payload: &str| {
                stream.write_all(&encode(flags, sequence, payload.as_bytes()).unwrap()).unwrap();
            };
            let hello = object! { "versions": vec![Value::from(1u64)], "token": token.as_str() };
            send(Flags::HELLO.with(Flags::REQUEST), 0, &hello.to_json());
            send(Flags::REQUEST, 1, &request.to_json());
            asked.recv_timeout(SOON).expect("the request reaches the server");
            if politely {
                send(Flags::REQUEST.with(Flags::END), 1, "{}");
            } else {
                drop(stream);
            }
            hung_up.recv_timeout(SOON).expect("the connection to the server is closed");
            wait_for_no_effect(&kernel);
        }
    }
    verified(&kernel);
}

fn bytes_reserved(kernel: &Connection) -> u64 {
    let Ok(Reply::Value(status)) =
        kernel.call(Request::Agent(AgentRequest::BudgetStatus { dimension: None, agent: None }))
    else {
        panic!()
    };
    status.get("bytes").and_then(|bytes| bytes.get("reserved")).and_then(Value::as_u64).unwrap()
}

fn wait_for_effect(kernel: &Connection) {
    wait_until("an effect is under way", || bytes_reserved(kernel) > 0);
}

fn wait_for_no_effect(kernel: &Connection) {
    wait_until("no effect is under way", || bytes_reserved(kernel) == 0);
}

#[test]
fn one_agents_wall_time_ends_no_other_agents_effects() {
    let (port, release) = late_web();
    let kernel = embedded(&granting(port));
    let (hasty, patient) = (kernel.agent("hasty").unwrap(), kernel.agent("patient").unwrap());
    let dimension = ak_host::ak_kernel::ak_policy::budget::Dimension::WallTimeMs;
    kernel
        .call(Request::Agent(AgentRequest::BudgetSet {
            dimension,
            limit: Some(60),
            agent: Some("hasty".into()),
        }))
        .unwrap();
    let url = format!("http://127.0.0.1:{port}/");
    std::thread::scope(|scope| {
        let first = scope.spawn(|| code(hasty.call(get(&url))));
        let second = scope.spawn(|| patient.call(get(&url)));
        wait_for_effect(&patient);
        assert_eq!(first.join().unwrap(), Code::BudgetExceeded);
        drop(release);
        assert!(matches!(second.join().unwrap(), Ok(Reply::Http(_))), "the other has all the time it wants");
    });
}

#[test]
fn a_key_like_text_in_a_tools_result_does_not_break_replay() {
    let scratch = Scratch::new("tools-redacted");
    let config = scratch.join("host.toml");
    std::fs::write(&config, "[redact]\nbuiltin = true").unwrap();
    let kernel = Connection::open(&Options { host_config: Some(config), ..Options::default() }).unwrap();
    let agent = kernel.agent("worker").unwrap();
    call(&agent, "concat", r#"{"str1":"sk-abcdefghijkl","str2":"mnopqrstuvwxyz"}"#).unwrap();
    verified(&kernel);
}

#[test]
fn a_tool_called_by_a_tool_has_no_more_time_than_its_caller() {
    let Silent { port, hung_up, .. } = silent();
    let kernel = embedded(&granting(port));
    let need = format!("http.get:http://127.0.0.1:{port}/**");
    kernel.call(relay("get", "http", &[&need], 600_000)).unwrap();
    kernel.call(relay("outer", "call", &[&need, "execute:get"], 500)).unwrap();
    let args = format!(r#"{{"method":"GET","url":"http://127.0.0.1:{port}/","timeout_ms":600000}}"#);
    let over = failure(call(&kernel, "outer", &format!(r#"{{"tool":"get","args":{args}}}"#)));
    assert_eq!(over.code, Code::ToolTimeout);
    hung_up.recv_timeout(SOON).expect("the connection is closed");
    verified(&kernel);
}

#[test]
fn senseless_calls_end_with_the_tools_time() {
    let kernel = embedded("[tools]\nallow = [\"*\"]");
    // Calls `fs_read` repeatedly with a string of 512 KiB in place of its arguments.
    let wat = r#"(module
        (import "ak" "fs_read" (func $ask (param i32 i32) (result i32)))
        (memory (export "memory") 40)
        (func (export "ak_alloc") (param i32) (result i32) (i32.const 16))
        (func (export "ak_run") (param i32 i32) (result i64)
            (memory.fill (i32.const 65536) (i32.const 120) (i32.const 524288))
            (i32.store8 (i32.const 65536) (i32.const 34))
            (i32.store8 (i32.const 589823) (i32.const 34))
            (loop $l (drop (call $ask (i32.const 65536) (i32.const 524288))) (br $l))
            (i64.const 0)))"#;
    kernel.call(tool("nonsense", wat, &[], "native", 30)).unwrap();
    assert_eq!(failure(call(&kernel, "nonsense", "{}")).code, Code::ToolTimeout);
}

#[test]
fn records_hold_only_variables_that_a_tool_lists() {
    let scratch = Scratch::new("tools-unlisted");
    let config = scratch.join("host.toml");
    std::fs::write(&config, "[env]\nOTHER = \"hidden-value\"\nREGION = \"listed-value\"").unwrap();
    let state_dir = Some(scratch.join("state"));
    let kernel =
        Connection::open(&Options { host_config: Some(config), state_dir, ..Options::default() }).unwrap();
    kernel.call(relay("t", "now", &["now:*"], 1_000)).unwrap();
    kernel.close();
    let stream = ak_host::read_journal(&scratch.join("state")).unwrap().to_stream();
    let stream = String::from_utf8_lossy(&stream).into_owned();
    assert!(stream.contains("listed-value") && !stream.contains("hidden-value"));
}

#[test]
fn a_deeply_nested_result_reaches_a_client() {
    let scratch = Scratch::new("tools-deep");
    let kernel = embedded("[tools]\nallow = [\"*\"]");
    let deepest = Limits::default().depth_max;
    let json = format!("{}{}", "[".repeat(deepest), "]".repeat(deepest));
    let wat = format!(
        r#"(module (memory (export "memory") 2) (data (i32.const 4096) "{json}")
            (func (export "ak_alloc") (param i32) (result i32) (i32.const 16))
            (func (export "ak_run") (param i32 i32) (result i64)
                (i64.or (i64.shl (i64.const 4096) (i64.const 32)) (i64.const {}))))"#,
        json.len()
    );
    kernel.call(tool("deep", &wat, &[], "native", 10_000)).unwrap();
    let client = support::over_a_socket(&kernel, &scratch);
    assert_eq!(output(call(&client, "deep", "{}")), json);
    client.call(Request::Tools(ToolsRequest::List)).unwrap();
}

#[test]
fn a_call_may_be_made_on_a_thread_of_another_runtime() {
    let (port, _) = web(|_| ok("hello"));
    let kernel = embedded(&granting(port));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let outcome = runtime.block_on(async { kernel.call(get(&format!("http://127.0.0.1:{port}/"))) });
    assert!(matches!(outcome, Ok(Reply::Http(_))), "{outcome:?}");
}

/// The end of what a tool writes to stderr, or passes to `log`, is recorded.
#[test]
fn a_tools_log_output_is_recorded() {
    let kernel = embedded("[tools]\nallow = [\"*\"]");
    let says = |length: usize, exit: u32| {
        let text = format!("{}the end", "x".repeat(length));
        format!(
            r#"(module
            (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (memory (export "memory") 2)
            (data (i32.const 0) "\10\00\00\00\02\00\00\00") (data (i32.const 16) "{{}}")
            (data (i32.const 32) "\40\00\00\00") (data (i32.const 64) "{text}")
            (func (export "_start")
                (i32.store (i32.const 36) (i32.const {}))
                (drop (call $write (i32.const 2) (i32.const 32) (i32.const 1) (i32.const 8)))
                (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
                (call $exit (i32.const {exit}))))"#,
            text.len()
        )
    };
    let logged = || {
        let query = AuditFilter { operation: Some("call".into()), ..AuditFilter::default() };
        let Ok(Reply::Value(found)) = kernel.call(Request::Audit(AuditRequest::Query(query))) else {
            panic!()
        };
        let entries = found.get("entries").and_then(Value::as_array).unwrap();
        entries.iter().filter_map(|entry| entry.get("log")?.as_str().map(str::to_owned)).collect::<Vec<_>>()
    };
    kernel.call(tool("short", &says(3, 0), &[], "wasi", 10_000)).unwrap();
    assert_eq!(output(call(&kernel, "short", "{}")), "{}");
    assert_eq!(logged(), ["xxxthe end"]);
    kernel.call(tool("long", &says(10_000, 0), &[], "wasi", 10_000)).unwrap();
    output(call(&kernel, "long", "{}"));
    let last = logged().pop().unwrap();
    assert!(last.len() == ak_host::ak_kernel::TOOL_LOG_BYTES_MAX && last.ends_with("xthe end"), "{last}");
    kernel.call(tool("failing", &says(0, 3), &[], "wasi", 10_000)).unwrap();
    let failed = failure(call(&kernel, "failing", "{}"));
    assert_eq!(failed.context.get("log").and_then(Value::as_str), Some("the end"), "{failed}");
    assert_eq!(logged().pop().unwrap(), "the end");
}

/// A permit for the name of a shipped tool always means that tool, because the name cannot be registered.
#[test]
fn the_name_of_a_shipped_tool_cannot_be_registered() {
    let kernel = embedded("");
    let refused = failure(kernel.call(relay("add", "now", &["now:*"], 1_000)));
    assert_eq!(refused.code, Code::InvalidArgument);
    assert!(refused.message.contains("add is the name of a built-in tool"), "{refused}");
    assert_eq!(output(call(&kernel, "add", r#"{"a":1,"b":2}"#)), r#"{"result":3}"#);
}

/// A schema may be a file beside the manifest.
#[test]
fn a_schema_may_be_a_file() {
    let scratch = Scratch::new("tools-schema");
    let kernel = embedded("[tools]\nallow = [\"*\"]");
    let Request::Tools(ToolsRequest::Register { manifest, module, .. }) =
        relay("t", "now", &["now:*"], 1_000)
    else {
        panic!()
    };
    let mut manifest = manifest.as_object().cloned().unwrap();
    manifest.insert("input", "input.schema.json");
    let request = || ak_host::tool_request(manifest.clone().into(), module.clone(), scratch.path());
    assert_eq!(request().unwrap_err().code, Code::NotFound);
    std::fs::write(scratch.join("input.schema.json"), "{").unwrap();
    let wrong = request().unwrap_err();
    assert!(wrong.code == Code::InvalidArgument && wrong.message.contains("input.schema.json"), "{wrong}");
    std::fs::write(scratch.join("input.schema.json"), r#"{"type":"object","required":["a"]}"#).unwrap();
    kernel.call(request().unwrap()).unwrap();
    assert!(failure(call(&kernel, "t", "{}")).message.contains("argument `a` is missing"));
    output(call(&kernel, "t", r#"{"a":1}"#));
}
