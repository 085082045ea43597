//! The files of the policy in force are part of the state.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use ak_json::Limits;
use ak_kernel::{AdminRequest, Operation, PolicyFile, PolicyFiles, Replay, Request, ToolReplay};

use support::Machine;

fn loaded() -> Request {
    let included = PolicyFile { path: "/etc/inc.toml".into(), text: "[tools]\nallow = [\"add\"]".into() };
    Request::Admin(AdminRequest::PolicyLoad {
        text: "profiles = [\"./inc.toml\"]".into(),
        base_dir: Some("/etc".into()),
        files: PolicyFiles {
            source: Some("/etc/policy.toml".into()),
            included: vec![included],
            here: vec!["/etc/policy.toml".into()],
        },
    })
}

fn check_snapshot(machine: &mut Machine, expected: &[&str]) {
    let told = |files: &[ak_json::Text]| files.iter().map(|file| file.to_string()).collect::<Vec<_>>();
    assert_eq!(told(machine.kernel.policy_files()), expected);
    assert_eq!(told(machine.replayed().policy_files()), expected, "after the journal was executed again");
    let at = machine.records.len();
    let snapshot = machine.snapshot();
    let mut replay = Replay::resume(&snapshot, ToolReplay::Rerun).unwrap();
    for record in &machine.records[at..] {
        assert_eq!(replay.feed(&record.leaf, &record.body).unwrap().record.hash, record.hash);
    }
    assert_eq!(told(replay.finish().unwrap().policy_files()), expected, "from a snapshot");
}

#[test]
fn the_files_of_a_policy_are_known_after_replay_and_from_a_snapshot() {
    let mut machine = Machine::new();
    check_snapshot(&mut machine, &[]);
    machine.call(loaded()).unwrap();
    assert!(machine.kernel.policy().to_value().to_json().contains("add"), "what it includes is part of it");
    check_snapshot(&mut machine, &["/etc/policy.toml"]);
    // A policy that is not accepted changes nothing; a policy that came from no file has no files.
    machine.call(support::load("nonsense = 1")).unwrap_err();
    check_snapshot(&mut machine, &["/etc/policy.toml"]);
    machine.call(support::load("")).unwrap();
    check_snapshot(&mut machine, &[]);
}

#[test]
fn a_request_to_load_a_policy_comes_back_from_the_wire() {
    for request in [loaded(), support::load("")] {
        let args = ak_json::Value::parse(request.args().to_json().as_bytes(), &Limits::default()).unwrap();
        assert_eq!(Request::decode(Operation::PolicyLoad, &args).unwrap(), request);
    }
    let args = |text: &str| ak_json::Value::parse(text.as_bytes(), &Limits::default()).unwrap();
    for wrong in [
        r#"{"text":"","included":[{"path":"/x"}]}"#,
        r#"{"text":"","included":{}}"#,
        r#"{"text":"","included":[{"path":"/x","text":"","more":1}]}"#,
        r#"{"text":"","here":[1]}"#,
        r#"{"text":"","source":1}"#,
    ] {
        assert!(Request::decode(Operation::PolicyLoad, &args(wrong)).is_err(), "{wrong}");
    }
}
