//! A C program is compiled against the header, linked with the library, and run.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Where cargo puts the library: beside the directory of this test's binary.
fn library_dir() -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    exe.ancestors().find(|dir| dir.join("libak.so").exists()).expect("libak.so beside the tests").to_owned()
}

fn run(options: Option<&str>) -> Output {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let library_dir = library_dir();
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("session-{}", options.is_some()));
    let compiled = Command::new("cc")
        .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-o"])
        .arg(&program)
        .arg(manifest.join("tests/c/session.c"))
        .arg("-I")
        .arg(manifest.join("include"))
        .arg("-L")
        .arg(&library_dir)
        .arg("-lak")
        .arg(format!("-Wl,-rpath,{}", library_dir.display()))
        .output()
        .expect("a C compiler named cc");
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    // cargo's own search path would find the library of an earlier build first.
    Command::new(program).args(options).env_remove("LD_LIBRARY_PATH").output().unwrap()
}

#[test]
fn a_c_program_runs_a_session() {
    let output = run(None);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let replies = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = replies.lines().collect();
    assert_eq!(lines[1], r#"{"ok":true,"result":{"handle":"0x100000000"}}"#);
    assert_eq!(lines[2], r#"{"ok":true,"result":{"version":1}}"#);
    assert_eq!(lines[3], r#"{"ok":true,"result":{"value":{"value":42,"name":"counter"}}}"#);
    assert_eq!(lines[4], r#"{"ok":true,"result":{"output":{"result":8}}}"#);
}

#[test]
fn its_journal_can_be_re_executed() {
    let state_dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("c-state");
    let _ = std::fs::remove_dir_all(&state_dir);
    let output = run(Some(&format!(r#"{{"state_dir":{:?}}}"#, state_dir.display())));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    use ak_host::ak_kernel::{Replay, ToolReplay};
    let records = ak_host::read_journal(&state_dir).unwrap().records;
    let mut replay = Replay::new(ToolReplay::Rerun);
    for record in &records {
        let followed = replay.feed(&record.leaf, &record.body).unwrap();
        assert_eq!(followed.record.hash, record.hash);
    }
    assert_eq!(replay.head(), records.last().map(|record| record.hash));
}
