//! The image's whole work: what it prints for a journal, on the host and, where `AK_IMAGE` names a built image, in QEMU.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs, process};

use ak_image::{ExitCode, run};
use ak_kernel::ak_heap::Content;
use ak_kernel::ak_json::{Limits, Value, array, object};
use ak_kernel::{
    Config, Effect, HeapRequest, Kernel, Now, Output, Record, Reply, Request, SessionId, Time, ToolRun,
    ToolStep, ToolsRequest, export,
};

/// A kernel in memory that keeps its journal, and performs tool calls itself.
struct Host {
    kernel: Kernel,
    journal: Vec<Record>,
}

impl Host {
    fn new() -> Self {
        let mut host = Self { kernel: Kernel::new(now(1), Config::default()), journal: Vec::new() };
        assert_eq!(host.settle(1).len(), 0);
        host
    }

    /// Dispatches one request and drives it to its reply.
    fn ask(&mut self, at: u64, request: Request) -> Result<Reply, ak_kernel::Failure> {
        self.kernel.dispatch(now(at), SessionId::OWNER, request)?;
        self.settle(at).pop().unwrap()
    }

    fn settle(&mut self, at: u64) -> Vec<ak_kernel::Outcome> {
        let mut replies = Vec::new();
        loop {
            while let Some(record) = self.kernel.poll_record() {
                self.kernel.committed(record.seq);
                self.journal.push(record);
            }
            match self.kernel.poll_output() {
                None => return replies,
                Some(Output::Reply(_, outcome)) => replies.push(outcome),
                Some(Output::Perform(ticket, Effect::RunTool { tool, env, input, limits })) => {
                    let mut run = ToolRun::start(&tool, &input, limits, &env);
                    let completion = loop {
                        match run.step() {
                            ToolStep::Yields => {}
                            ToolStep::Asks(request) => panic!("not performed here: {request:?}"),
                            ToolStep::Ends(completion) => break completion,
                        }
                    };
                    self.kernel.complete(now(at), ticket, completion);
                }
                Some(other) => panic!("not performed here: {other:?}"),
            }
        }
    }
}

fn now(second: u64) -> Now {
    Now::steady(Time::from_micros(1_700_000_000_000_000 + second * 1_000_000), [second as u8; 32])
}

fn call(tool: &str, args: Value) -> Request {
    Request::Tools(ToolsRequest::Call { tool: tool.into(), args })
}

/// A session with a bit of everything: objects, a patch, tools that work and fail, a denial.
fn session() -> Host {
    let mut host = Host::new();
    let counter = Content::Json(object! { "value": 0, "name": "counter" });
    let Ok(Reply::Handle(handle)) = host.ask(
        2,
        Request::Heap(HeapRequest::Alloc { type_name: "counter".into(), content: counter, subject: None }),
    ) else {
        panic!("no handle");
    };
    let patch = array![object! { "op": "replace", "path": "/value", "value": 42 }];
    host.ask(3, Request::Heap(HeapRequest::Write { handle, patch, expected_version: Some(0) })).unwrap();
    host.ask(4, Request::Heap(HeapRequest::Read { handle, version: None })).unwrap();
    let numbers = Value::parse(br#"{"a":3,"b":5.25}"#, &Limits::default()).unwrap();
    host.ask(5, call("add", numbers)).unwrap();
    host.ask(6, call("add", object! { "a": 3 })).unwrap_err();
    host.ask(7, call("shell_exec", object! {})).unwrap_err();
    host
}

/// Changes a tool's recorded result.
fn forge(mut journal: Vec<u8>) -> Vec<u8> {
    let place = journal.windows(4).position(|window| window == b"8.25").unwrap();
    journal[place] = b'9';
    journal
}

fn console(journal: &[u8]) -> (ExitCode, Vec<Value>) {
    let mut text = String::new();
    let code = run(journal, &mut text);
    (code, text.lines().map(|line| Value::parse(line.as_bytes(), &Limits::default()).unwrap()).collect())
}

#[test]
fn a_journal_that_follows_is_printed_and_succeeds() {
    let mut host = session();
    let (code, lines) = console(&export::encode(&host.journal, &BTreeMap::new()));
    assert_eq!(code, ExitCode::Success, "{lines:?}");
    let (last, replies) = lines.split_last().unwrap();
    assert_eq!(replies.len(), 6);
    assert!(replies.iter().any(|reply| reply.to_json().contains("8.25")));
    let head = host.kernel.head().to_string();
    let state = host.kernel.state_digest().to_string();
    let entries = host.journal.len();
    let expected = object! {
        "entries": entries, "follows": entries, "opaque": 0, "not_replayed": 0, "head": head, "state": state,
    };
    assert_eq!(last, &expected);
}

#[test]
fn a_journal_that_does_not_follow_fails_where_it_is_wrong() {
    let journal = export::encode(&session().journal, &BTreeMap::new());
    let fails = |journal: &[u8], what: &str| {
        let (code, lines) = console(journal);
        assert_eq!(code, ExitCode::Failure);
        let error = lines.last().and_then(|line| line.get("error")).and_then(Value::as_str).unwrap();
        assert!(error.contains(what), "{error}");
    };
    fails(b"", "not a journal");
    fails(b"AKJRNL01", "not a journal");
    fails(&journal[..8], "empty");
    fails(&journal[..journal.len() - 1], "not a journal stream from byte");
    fails(&forge(journal), "is invalid");
}

/// Boots the image with this journal as its module, if any; gives what it printed and QEMU's exit status.
fn boot(image: &Path, journal: Option<&[u8]>) -> (String, Option<i32>) {
    let mut qemu = Command::new("qemu-system-x86_64");
    qemu.args([
        "-M",
        "microvm,acpi=off",
        "-accel",
        "tcg",
        "-cpu",
        "max",
        "-m",
        "512",
        "-nodefaults",
        "-nographic",
    ]);
    qemu.args([
        "-no-reboot",
        "-serial",
        "stdio",
        "-device",
        "isa-debug-exit,iobase=0xf4,iosize=0x04",
        "-kernel",
    ]);
    qemu.arg(image);
    let module = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{}.akj", process::id()));
    if let Some(journal) = journal {
        fs::write(&module, journal).unwrap();
        qemu.arg("-initrd").arg(&module);
    }
    let output = qemu
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .expect("qemu-system-x86_64 must be installed");
    if journal.is_some() {
        fs::remove_file(&module).unwrap();
    }
    (String::from_utf8(output.stdout).unwrap(), output.status.code())
}

#[test]
fn the_metal_prints_what_the_host_prints() {
    let Some(image) = env::var_os("AK_IMAGE").map(PathBuf::from) else {
        println!("skipped: AK_IMAGE names no image");
        return;
    };
    let journal = export::encode(&session().journal, &BTreeMap::new());
    for journal in [journal.clone(), forge(journal), b"no journal".to_vec()] {
        let mut expected = String::new();
        let code = run(&journal, &mut expected);
        let (printed, status) = boot(&image, Some(&journal));
        assert_eq!(printed, expected);
        assert_eq!(status, Some((code as i32) << 1 | 1));
    }
    let (printed, status) = boot(&image, None);
    assert!(printed.starts_with("cannot boot: no boot module"), "{printed}");
    assert_eq!(status, Some((ExitCode::Failure as i32) << 1 | 1));
}
