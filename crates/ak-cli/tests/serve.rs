//! The daemon as its operator sees it.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use ak_host::{
    Connection, JOURNAL_DIRECTORY, Options,
    ak_kernel::{Code, Request, ToolsRequest},
};

/// A directory that is gone with the value.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Starts a daemon, and waits until it listens.
fn serve(place: &Path) -> (Child, BufReader<std::process::ChildStderr>) {
    let mut daemon = Command::new(env!("CARGO_BIN_EXE_ak"))
        .arg("serve")
        .args([
            Path::new("--socket"),
            &place.join("ak.sock"),
            Path::new("--token-file"),
            &place.join("token"),
        ])
        .args([Path::new("--state-dir"), &place.join("state")])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(daemon.stderr.take().unwrap());
    let mut line = String::new();
    while !line.starts_with("listening") {
        line.clear();
        assert!(said.read_line(&mut line).unwrap() > 0, "it ended");
    }
    (daemon, said)
}

fn connect(place: &Path) -> Connection {
    let url = Some(format!("unix://{}", place.join("ak.sock").display()));
    Connection::open(&Options { url, token_file: Some(place.join("token")), ..Options::default() }).unwrap()
}

#[test]
fn a_daemon_whose_kernel_stopped_exits_with_6_and_goes_on_when_it_is_started_again() {
    let scratch =
        Scratch(Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("serve-{}", std::process::id())));
    std::fs::create_dir_all(&scratch.0).unwrap();
    let (mut daemon, mut said) = serve(&scratch.0);
    let owner = connect(&scratch.0);
    owner.call(Request::Tools(ToolsRequest::List)).unwrap();
    // Its lock is taken away: it cannot know any more whether it is the only one that writes.
    std::fs::remove_file(scratch.0.join("state").join(JOURNAL_DIRECTORY).join("lock")).unwrap();
    let refused = owner.call(Request::Tools(ToolsRequest::List)).unwrap_err();
    assert_eq!(refused.code, Code::UnknownOutcome, "{refused}");
    assert_eq!(daemon.wait().unwrap().code(), Some(6));
    let mut why = String::new();
    std::io::Read::read_to_string(&mut said, &mut why).unwrap();
    assert!(why.contains("reopen the kernel"), "{why}");
    let (mut daemon, _said) = serve(&scratch.0);
    connect(&scratch.0).call(Request::Tools(ToolsRequest::List)).unwrap();
    daemon.kill().unwrap();
    daemon.wait().unwrap();
}
