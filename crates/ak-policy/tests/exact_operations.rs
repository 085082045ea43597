//! `fs.write!` is write alone, `fs.read!` is read alone; what writes rules names exactly what it means.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use ak_policy::capability::{Authority, Caveat};
use ak_policy::{Action, Actions, Policy, PolicyDecision, Query, Recorder, Target};

fn parse(text: &str) -> Policy {
    Policy::parse(text, None).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

const FILES: [Action; 5] =
    [Action::FsRead, Action::FsList, Action::FsStat, Action::FsWrite, Action::FsDelete];

/// One row: what of the five file operations a policy permits on `/x`.
#[track_caller]
fn permits(text: &str, expected: &[Action]) {
    let policy = parse(text);
    let again = Policy::from_value(policy.to_value()).unwrap();
    assert_eq!(policy.digest(), again.digest(), "{text}");
    let target = Target::path("/x").unwrap();
    for policy in [&policy, &again] {
        let permitted: Vec<Action> = FILES
            .into_iter()
            .filter(|action| {
                policy.decide(&Query::new("main", *action, &target)).decision == PolicyDecision::Permit
            })
            .collect();
        assert_eq!(permitted, expected, "{text}");
    }
}

#[test]
fn an_exact_operation_covers_nothing_else() {
    use Action::*;
    let rule = |operation: &str| {
        format!("[[rule]]\neffect = \"permit\"\noperation = {operation}\ntarget = \"/x\"\n")
    };
    permits(&rule("\"fs.write\""), &[FsWrite, FsDelete]);
    permits(&rule("\"fs.write!\""), &[FsWrite]);
    permits(&rule("\"fs.read\""), &[FsRead, FsList, FsStat]);
    permits(&rule("\"fs.read!\""), &[FsRead]);
    permits(&rule("[\"fs.read!\", \"fs.list\"]"), &[FsRead, FsList]);
    permits(&rule("[\"fs.read!\", \"fs.list\", \"fs.stat\"]"), &[FsRead, FsList, FsStat]);
    permits(&rule("[\"fs.write!\", \"fs.delete\"]"), &[FsWrite, FsDelete]);
    permits(&rule("[\"fs.write!\", \"fs.write\"]"), &[FsWrite, FsDelete]);
    permits(&rule("\"fs.*\""), &FILES);
    for refused in ["fs.delete!", "fs.list!", "dns!", "http.get!", "*!", "fs.*!", "fs.write!!", "!"] {
        assert_eq!(Actions::parse(refused), None, "{refused}");
    }
}

#[test]
fn a_forbid_on_write_alone_leaves_delete() {
    let text =
        "[fs]\nwrite = [\"/x\"]\n[[rule]]\neffect = \"forbid\"\noperation = \"fs.write!\"\ntarget = \"/x\"\n";
    permits(text, &[Action::FsDelete]);
}

#[test]
fn a_capability_for_write_does_not_delete() {
    use Action::*;
    let table =
        |methods: &str| format!("[[capability]]\nname = \"fs\"\nresource = \"/x\"\nmethods = {methods}\n");
    permits(&table("[\"write\"]"), &[FsWrite]);
    permits(&table("[\"delete\"]"), &[FsDelete]);
    permits(&table("[\"write\", \"delete\"]"), &[FsWrite, FsDelete]);
    permits(&table("[\"read\"]"), &[FsRead, FsList, FsStat]);
    permits(&table("[\"list\"]"), &[FsList]);
    permits(&table("[\"*\"]"), &FILES);
    let authority = |methods: &[&str]| Authority::from_iter(Caveat::grant("fs", "/x", methods).unwrap());
    let target = Target::path("/x").unwrap();
    let covers =
        |methods: &[&str], action| authority(methods).covers(&Query::new("a", action, &target), &[0; 16]);
    assert!(covers(&["write"], FsWrite) && !covers(&["write"], FsDelete));
    assert!(covers(&["read"], FsStat) && covers(&["*"], FsDelete));
}

#[test]
fn a_suggestion_permits_one_operation() {
    let target = Target::path("/x").unwrap();
    for action in FILES {
        let query = Query::new("main", action, &target);
        let snippet = Policy::deny_all().suggest(&query).unwrap();
        permits(&snippet, &[action]);
        let mut recorder = Recorder::default();
        recorder.note(&query);
        permits(&recorder.to_toml(), &[action]);
    }
}

#[test]
fn a_recorded_policy_permits_what_was_recorded() {
    let target = Target::path("/x").unwrap();
    for bits in 1u32..32 {
        let chosen: Vec<Action> =
            (0u32..).zip(FILES).filter(|(bit, _)| bits >> bit & 1 == 1).map(|(_, action)| action).collect();
        let mut recorder = Recorder::default();
        chosen.iter().for_each(|action| recorder.note(&Query::new("main", *action, &target)));
        permits(&recorder.to_toml(), &chosen);
    }
}

#[test]
fn names_parse_back_to_the_set() {
    for bits in 0..1u32 << Action::ALL.len().min(10) {
        let set = Actions::from_bits(bits).unwrap();
        let names: Vec<_> = set.names().collect();
        let again =
            names.iter().map(|name| Actions::parse(name).unwrap()).fold(Actions::NONE, Actions::union);
        assert_eq!(again, set, "{names:?}");
    }
    assert_eq!(Action::FsWrite.exact_name(), "fs.write!");
    assert_eq!(Action::FsRead.exact_name(), "fs.read!");
    assert_eq!(Action::FsDelete.exact_name(), "fs.delete");
}
