//! What helps people with policies: expected decisions, lints, differences, records.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed")]

use ak_json::{Limits, Value};
use ak_policy::{Action, Direction, LINT_COMPARED_RULES_MAX, LintKind, Policy, Query, Recorder, Target};
use proptest::prelude::*;

fn policy(text: &str) -> Policy {
    Policy::parse(text, Some("/repo")).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

macro_rules! examples {
    ($($name:ident)*) => {$(
        #[test]
        fn $name() {
            let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/policies/");
            let read = |suffix| std::fs::read_to_string(format!("{root}{}{suffix}", stringify!($name))).unwrap();
            let (policy, cases) = (policy(&read(".toml")), read(".expected.toml"));
            let report = policy.test(&cases).unwrap();
            assert!(report.failed.is_empty(), "{:#?}", report.failed);
            assert!(report.passed >= 10);
            // What an ask is for is to permit what no rule permits; that it is named so is no fault of an example.
            let lints = policy.lint().into_iter().filter(|lint| lint.kind != LintKind::Widening);
            assert_eq!(lints.collect::<Vec<_>>(), [], "an example is above suspicion");
            // As JSON it says the same.
            let again = Policy::parse(&policy.to_value().to_json(), None).unwrap();
            assert_eq!(again.test(&cases).unwrap(), report);
            // A policy that says nothing fails the test.
            assert!(!Policy::deny_all().test(&cases).unwrap().failed.is_empty());
        }
    )*};
}

examples! { coding mail bank research sql crew }

#[test]
fn failures_are_told() {
    let cases = r#"
        [[case]]
        operation = "execute"
        target = "add"
        expect = "permit"
        [[case]]
        name = "nobody reads this"
        operation = "read"
        target = "/etc/passwd"
        expect = "forbid"
        [[case]]
        operation = "execute"
        target = ""
        expect = "default_deny"
        [[case]]
        operation = "execute"
        target = "no_such_tool"
        expect = "deny" # as earlier versions spelled it
        "#
    .replace("target = \"\"", "target = \" \"");
    let report = Policy::baseline().test(&cases).unwrap();
    assert_eq!(report.passed, 3);
    let [failure] = report.failed.as_slice() else { panic!("{report:?}") };
    assert_eq!((failure.name.as_str(), failure.expected.as_str()), ("nobody reads this", "forbid"));
    assert_eq!(failure.found, "default_deny: no rule permits fs.read on /etc/passwd");
    let error = Policy::baseline()
        .test("[[case]]\noperation = \"read\"\ntarget = \"/x\"\nexpect = \"default_dney\"")
        .unwrap_err();
    assert_eq!((error.line, error.column), (4, 10));
    assert!(error.to_string().contains("did you mean 'default_deny'"), "{error}");
}

/// One row: the policy gets a lint of this kind about this rule, and no other.
#[track_caller]
fn check_lint(text: &str, rule: &str, kind: LintKind) {
    let lints = policy(text).lint();
    let found: Vec<_> = lints.iter().map(|lint| (lint.rule_id.as_str(), lint.kind)).collect();
    assert_eq!(found, [(rule, kind)], "{lints:#?}");
}

#[test]
fn lint() {
    let rule = |rest: &str| format!("[[rule]]\nid = \"r\"\neffect = \"permit\"\n{rest}");
    check_lint("[fs]\nread = [\"/a/b/**\"]\ndeny = [\"/a/**\"]", "fs.read:/a/b/**", LintKind::Shadowed);
    check_lint("[tools]\nallow = [\"a\"]\ndeny = [\"a*\"]", "tools.allow:a", LintKind::Shadowed);
    check_lint("[net]\ndns = [\"*.a.com\", \"x.a.com\"]", "net.dns:x.a.com", LintKind::Redundant);
    check_lint("[fs]\nread = [\"/a/**\", \"/a/*.txt\"]", "fs.read:/a/*.txt", LintKind::Redundant);
    check_lint("[fs]\nread = [\"/**\"]", "fs.read:/**", LintKind::Broad);
    check_lint("[http]\nallow = [\"GET https://**\"]", "http.allow:GET https://**", LintKind::Broad);
    check_lint("[http]\nallow = [\"GET https://*/x\"]", "http.allow:GET https://*/x", LintKind::Broad);
    check_lint("[tools]\nallow = [\"*\"]", "tools.allow:*", LintKind::Broad);
    check_lint("[net]\nconnect = [\"ip:0.0.0.0/0:443\"]", "net.connect:ip:0.0.0.0/0:443", LintKind::Broad);
    check_lint(&rule("operation = \"*\"\ntarget = \"*\""), "r", LintKind::Broad);
    let sql = "operation = \"execute\"\ntarget = \"sql\"\nonly = [\"/query\"]\nwhen.args.\"/query\" = { starts = \"SELECT \" }";
    check_lint(&rule(sql), "r", LintKind::Text);
    let url = "operation = \"execute\"\ntarget = \"fetch\"\nonly = [\"/url\"]\nwhen.args.\"/url\" = { matches = \"https://a.com*\" }";
    check_lint(&rule(url), "r", LintKind::LooseUrl);
    let fine =
        policy(&rule(&url.replace("matches", "format = \"url\", matches").replace("a.com*", "a.com/**")));
    assert_eq!(fine.lint(), []);
    assert_eq!(Policy::baseline().lint(), []);
    // The baseline says nothing of guests, so that what is written for everybody says more.
    assert_eq!(policy("[tools]\nallow = [\"add\"]").lint(), []);
    check_lint("[agent.crew]\ntools.allow = [\"add\"]", "agent.crew.tools.allow:add", LintKind::Redundant);
    assert_eq!(policy("[agent.guest]\ntools.allow = [\"add\"]").lint(), []);
}

#[test]
fn conditions_that_restrict_nothing_are_named() {
    let send = "[[rule]]\nid = \"r\"\neffect = \"permit\"\noperation = \"execute\"\ntarget = \"send\"\n";
    let inside = "when.args.\"/to\" = { matches = \"*@example.com\", format = \"email\" }\nonly = [\"/to\", \"/body\"]\n";
    assert_eq!(policy(&format!("{send}{inside}")).lint(), []);
    for broad in ["send", "se*"] {
        check_lint(&format!("[tools]\nallow = [{broad:?}]\n{send}{inside}"), "r", LintKind::Bypassed);
    }
    // Another agent's permit does not bypass it, and neither does one with a condition of its own.
    let other = format!("[agent.mailer]\ntools.allow = [\"send\"]\n{send}{inside}");
    assert_eq!(policy(&other).lint(), []);
    let open = "when.args.\"/to\" = { matches = \"*@example.com\", format = \"email\" }";
    check_lint(&format!("{send}{open}"), "r", LintKind::OpenArguments);
    let text = policy(&format!("{send}{open}")).lint_rule("r").remove(0).text;
    assert_eq!(text, "leaves all arguments but /to free: list those that may be there in 'only'");
}

#[test]
fn asks_that_widen_are_named() {
    let ask = "[[rule]]\nid = \"r\"\neffect = \"ask\"\noperation = \"execute\"\ntarget = \"pay\"\n";
    check_lint(ask, "r", LintKind::Widening);
    check_lint(&format!("[tools]\nallow = [\"look\"]\n{ask}"), "r", LintKind::Widening);
    let above = format!("{ask}when.args.\"/amount\" = {{ min = 100 }}\n");
    check_lint(&above, "r", LintKind::Widening);
    for permits in ["pay", "p*"] {
        assert_eq!(policy(&format!("[tools]\nallow = [{permits:?}]\n{above}")).lint(), []);
    }
}

#[test]
fn ranges_of_addresses_in_urls_are_named() {
    let http = |url: &str| format!("[http]\nallow = [\"GET {url}\"]");
    for (url, range) in [
        ("http://10.0.0.0/8/**", "10.0.0.0/8"),
        ("http://192.168.0.0/16", "192.168.0.0/16"),
        ("http://[fd00::]/8/**", "[fd00::]/8"),
    ] {
        check_lint(&http(url), &format!("http.allow:GET {url}"), LintKind::AddressRange);
        let text = policy(&http(url)).lint().remove(0).text;
        assert!(text.starts_with(&format!("{range} looks like a range")), "{text}");
    }
    for url in
        ["http://10.0.0.1/**", "http://10.0.0.1/64/**", "http://10.0.0.1/v1/8", "https://a.example/8/**"]
    {
        assert_eq!(policy(&http(url)).lint(), [], "{url}");
    }
}

#[test]
fn conditions_that_a_schema_rules_out_are_named() {
    let schema = |text: &str| Value::parse(text.as_bytes(), &Limits::default()).unwrap();
    let send = schema(
        r#"{"properties":{"to":{"type":"string"},"n":{"type":"integer"},"any":{}},"additionalProperties":false}"#,
    );
    let open = schema(r#"{"properties":{"to":{"type":["string","array"]}}}"#);
    let lint = |target: &str, when: &str, tools: &[(&str, &Value)]| {
        let rule = format!(
            "[[rule]]\nid = \"r\"\neffect = \"permit\"\noperation = \"execute\"\ntarget = {target:?}\nwhen.args.{when}"
        );
        let lints = policy(&rule).lint_tools(tools.iter().copied());
        assert!(lints.iter().all(|lint| lint.kind == LintKind::Unmeetable && lint.rule_id == "r"));
        lints.into_iter().map(|lint| lint.text).collect::<Vec<_>>()
    };
    let one = [("send", &send)];
    let absent = "never holds for the tool send: it has no argument 'recipient'";
    assert_eq!(lint("send", r#""/recipient" = { equals = "a" }"#, &one), [absent]);
    assert_eq!(lint("s*", r#""/recipient/0" = { equals = "a" }"#, &one), [absent]);
    let number = "never holds for the tool send: the argument 'n' is integer, and the condition wants string";
    assert_eq!(lint("send", r#""/n" = { starts = "a" }"#, &one), [number]);
    for when in [
        r#""/to" = { starts = "a" }"#,
        r#""/n" = { max = 3 }"#,
        r#""/any" = { starts = "a" }"#,
        r#""/recipient" = { equals = "a", optional = true }"#,
        r#""/*" = { equals = "a" }"#,
    ] {
        assert_eq!(lint("send", when, &one), Vec::<String>::new(), "{when}");
    }
    // Of a tool that takes further arguments nothing is known, nor of one that is not registered.
    assert_eq!(lint("mail", r#""/recipient" = { equals = "a" }"#, &one), Vec::<String>::new());
    assert_eq!(lint("mail", r#""/recipient" = { equals = "a" }"#, &[("mail", &open)]), Vec::<String>::new());
    assert_eq!(lint("mail", r#""/to" = { max = 1 }"#, &[("mail", &open)]).len(), 1);
    // A rule about several tools may mean one of them.
    let both = [("send", &send), ("mail", &open)];
    assert_eq!(lint("*", r#""/recipient" = { equals = "a" }"#, &both), Vec::<String>::new());
}

#[test]
fn a_policy_of_many_rules_is_linted_in_time() {
    let paths: Vec<String> = (0..=LINT_COMPARED_RULES_MAX).map(|n| format!("\"/a/{n}\"")).collect();
    let text = format!(
        "[fs]\nread = [\"/a/**\", {}]\n[http]\nallow = [\"GET http://10.0.0.0/8/**\"]",
        paths.join(", ")
    );
    let kinds: Vec<LintKind> = policy(&text).lint().iter().map(|lint| lint.kind).collect();
    assert_eq!(kinds, [LintKind::AddressRange], "rules are not compared with each other any more");
}

/// One row: the changes from one policy to the other, each by its direction and a word of its text.
#[track_caller]
fn changes(old: &str, new: &str, expected: &[(Direction, &str)]) {
    let changes = policy(old).diff(&policy(new));
    assert_eq!(changes.len(), expected.len(), "{changes:#?}");
    for (change, (direction, words)) in changes.iter().zip(expected) {
        assert!(change.direction == *direction && change.text.contains(words), "{change:#?}");
    }
}

#[test]
fn diff() {
    use Direction::{Narrows, Neutral, Widens};
    changes("", "", &[]);
    changes("[fs]\nread = [\"/a\"]", "# the same\nfs.read = [\"/a\"]", &[]);
    changes("", "[fs]\nread = [\"/a\"]", &[(Widens, "now permitted: 'fs.read:/a'")]);
    changes("[fs]\nread = [\"/a\"]", "", &[(Narrows, "no longer permitted")]);
    changes("[fs]\ndeny = [\"/a\"]", "", &[(Widens, "no longer forbidden")]);
    changes(
        "[fs]\nread = [\"/a/**\"]",
        "[fs]\nread = [\"/a/**\", \"/a/b\"]",
        &[(Neutral, "as 'fs.read:/a/**' says too")],
    );
    changes("", "[tools]\nallow = [\"add\"]", &[(Widens, "now permitted: 'tools.allow:add'")]);
    let own = "[[rule]]\neffect = \"permit\"\noperation = [\"heap.read\", \"heap.write\", \"heap.delete\"]\ntarget = \"*\"";
    changes("", own, &[(Widens, "now permitted: 'rule:")]);
    changes("[fs]\nread = [\"/a\"]", "[fs]\nread = [\"/b\"]", &[(Widens, "/b"), (Narrows, "/a")]);
    changes(
        "",
        "profiles = []",
        &[(Narrows, "heap"); 5].map(|(direction, _)| (direction, "no longer permitted: 'baseline:")),
    );
    changes("[budgets]\ntokens = 5", "[budgets]\ntokens = 6", &[(Widens, "budget tokens: 5 becomes 6")]);
    changes(
        "[agent.a.budgets]\ntokens = 5\neach.tokens = { max = 1, per = \"24h\" }",
        "[agent.a.budgets]\ntokens = [5, { max = 2, per = \"24h\" }]",
        &[
            (Widens, "budget of each tokens per 1d of 'a': 1 becomes unlimited"),
            (Narrows, "budget tokens per 1d of 'a': unlimited becomes 2"),
        ],
    );
    changes(
        "[[capability]]\nname = \"x\"\nrate = \"5/min\"",
        "[[capability]]\nname = \"x\"\nrate = \"6/min\"",
        &[(Widens, "now granted"), (Narrows, "no longer granted")],
    );
    changes("[budgets]\ntokens = 5", "", &[(Widens, "budget tokens: 5 becomes unlimited")]);
    changes(
        "",
        "[agent.a]\ninfer.max_tokens = 5",
        &[(Narrows, "tokens of one inference of 'a': unlimited becomes 5")],
    );
    changes("", "[[capability]]\nname = \"x\"", &[(Widens, "now granted")]);
    changes("", "[wasm]\nmodules = [\"x\"]", &[(Neutral, "to be reviewed")]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// What was recorded passes under the policy that was written, and hardly anything else does.
    #[test]
    fn a_record_permits_what_it_saw(
        seen in proptest::collection::vec((0usize..6, "[a-c\"\\\\*é\n]{1,4}", 0usize..3), 0..12),
        other in ("[d-f]{1,4}", 0usize..3),
    ) {
        let agents = ["main", "crew/a", "crew/b*"];
        let make = |kind: usize, name: &str| match kind {
            0 => Target::path(&format!("/{name}")).map(|target| (Action::FsRead, target)),
            1 => Target::path(&format!("/{name}")).map(|target| (Action::FsList, target)),
            2 => Target::path(&format!("/{name}")).map(|target| (Action::FsDelete, target)),
            3 => Target::tool(name).map(|target| (Action::Execute, target)),
            4 => Target::url(&format!("https://example.com/{name}")).map(|target| (Action::HttpPost, target)),
            _ => Target::model(name).map(|target| (Action::Infer, target)),
        };
        let mut recorder = Recorder::default();
        let seen: Vec<_> = seen
            .iter()
            .filter_map(|(kind, name, agent)| Some((make(*kind, name).ok()?, agents[*agent])))
            .collect();
        for ((action, target), agent) in &seen {
            recorder.note(&Query::new(agent, *action, target));
        }
        let text = recorder.to_toml();
        let policy = policy(&text);
        for ((action, target), agent) in &seen {
            let verdict = policy.decide(&Query::new(agent, *action, target)).decision;
            prop_assert!(verdict.is_permit(), "{} {}\n{}", action, target, text);
        }
        let (action, target) = make(0, &other.0).unwrap();
        prop_assert!(!policy.decide(&Query::new(agents[other.1], action, &target)).decision.is_permit());
    }
}
