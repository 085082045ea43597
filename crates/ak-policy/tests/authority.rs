//! Grants, limits, labels, windows and addresses.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed")]

use ak_json::{Integrity, Labels, Pointer, Text, Value, object};
use ak_policy::{
    Action, Elapsed, GrantClock, GrantState, GrantTable, LimitError, LimitTable, Origin, Policy,
    PolicyDecision, Query, Target,
};
use proptest::prelude::*;

const MINUTE_US: u64 = 60_000_000;

fn at(us: u64) -> Elapsed {
    Elapsed::exactly(us)
}

fn policy(text: &str) -> Policy {
    Policy::parse(text, None).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn tool(name: &str) -> Target {
    Target::tool(name).unwrap()
}

#[test]
fn a_grant_lapses_and_reloading_does_not_renew_it() {
    let text = "[[capability]]\nname = \"x\"\nexpires_minutes = 60\n";
    let first = policy(text);
    let mut table = GrantTable::default();
    table.load(&first, at(0));
    let target = tool("x");
    let verdict = |table: &GrantTable, policy: &Policy, us| {
        let query = Query { elapsed: at(us), grants: table, ..Query::new("main", Action::Execute, &target) };
        policy.decide(&query).decision
    };
    assert_eq!(verdict(&table, &first, 60 * MINUTE_US - 1), PolicyDecision::Permit);
    assert_eq!(verdict(&table, &first, 60 * MINUTE_US), PolicyDecision::Expired);
    // Reloaded, moved, commented: the same table.
    let again = policy(&format!("# a comment\n[tools]\nallow = [\"y\"]\n{text}"));
    table.load(&again, at(30 * MINUTE_US));
    assert_eq!(verdict(&table, &again, 60 * MINUTE_US), PolicyDecision::Expired);
    // Taken out and put in again.
    table.load(&policy(""), at(40 * MINUTE_US));
    table.load(&first, at(50 * MINUTE_US));
    assert_eq!(verdict(&table, &first, 60 * MINUTE_US), PolicyDecision::Expired);
    // Another lifetime of the same grant, which its name, resource and methods tell: the clock goes on.
    let other = policy("[[capability]]\nname = \"x\"\nexpires_minutes = 61\n");
    assert_eq!(verdict(&table, &other, 60 * MINUTE_US), PolicyDecision::Permit);
    table.load(&other, at(60 * MINUTE_US));
    let grant = &other.grants()[0];
    assert_eq!((grant.id(), grant.name()), (first.grants()[0].id(), "x"));
    assert_eq!(table.remaining_us(grant, at(60 * MINUTE_US)), Some(MINUTE_US));
    assert_eq!(verdict(&table, &other, 61 * MINUTE_US), PolicyDecision::Expired);
    // Another name is another grant, which was not loaded yet.
    let another = policy("[[capability]]\nname = \"x*\"\nexpires_minutes = 61\n");
    assert_eq!(verdict(&table, &another, 0), PolicyDecision::Expired);
    table.load(&another, at(61 * MINUTE_US));
    assert_eq!(verdict(&table, &another, 100 * MINUTE_US), PolicyDecision::Permit);
}

#[test]
fn a_rate_is_spent_and_fills_again() {
    let policy = policy(
        "[[capability]]\nname = \"x\"\nrate = \"2/min\"\n[[capability]]\nname = \"y\"\nrate = \"0/s\"\n",
    );
    let mut table = GrantTable::default();
    table.load(&policy, at(0));
    let (x, y) = (tool("x"), tool("y"));
    let decide = |table: &GrantTable, target, us| {
        let query = Query { elapsed: at(us), grants: table, ..Query::new("main", Action::Execute, target) };
        let decision = policy.decide(&query);
        (decision.decision, decision.grant)
    };
    for _ in 0..2 {
        let (verdict, grant) = decide(&table, &x, 0);
        assert_eq!(verdict, PolicyDecision::Permit);
        assert!(table.spend(grant.unwrap(), at(0)));
    }
    assert_eq!(decide(&table, &x, 0), (PolicyDecision::RateLimited { retry_after_us: MINUTE_US / 2 }, None));
    assert_eq!(decide(&table, &x, MINUTE_US / 2).0, PolicyDecision::Permit);
    assert_eq!(decide(&table, &y, u64::MAX).0, PolicyDecision::RateLimited { retry_after_us: u64::MAX });
    let before = table.digest();
    table.spend(policy.grants()[0].id(), at(MINUTE_US));
    assert_ne!(table.digest(), before);
}

#[test]
fn a_plain_permit_is_preferred_to_a_grant() {
    let policy = policy("[tools]\nallow = [\"x\"]\n[[capability]]\nname = \"*\"\nrate = \"1/h\"\n");
    let decision = |name| {
        let target = tool(name);
        let decision = policy.decide(&Query::new("main", Action::Execute, &target));
        (decision.decision, decision.grant.is_some(), decision.rule_id().unwrap().to_string())
    };
    assert_eq!(decision("x"), (PolicyDecision::Permit, false, "tools.allow:x".into()));
    let (verdict, grant, rule) = decision("y");
    assert_eq!((verdict, grant), (PolicyDecision::Permit, true));
    assert!(rule.starts_with("capability:*:"), "{rule}");
}

#[test]
fn the_table_of_an_agent_passes_its_ancestors() {
    let policy = policy("[[capability]]\nname = \"x\"\nrate = \"1/h\"\n");
    let target = tool("x");
    let decision = policy.decide(&Query::new("crew/writer", Action::Execute, &target));
    assert_eq!((decision.decision, decision.grant), (PolicyDecision::Permit, Some(policy.grants()[0].id())));
    let mut table = GrantTable::default();
    assert!(!table.spend(policy.grants()[0].id(), at(0)));
    assert_eq!(table.state(&policy.grants()[0], at(0)), GrantState::Expired);
    table.load(&policy, at(5));
    assert_eq!(table.first_loaded(policy.grants()[0].id()), Some(at(5)));
}

#[test]
fn windows_open_and_close() {
    let policy = policy(
        "[[rule]]\neffect = \"permit\"\noperation = \"execute\"\ntarget = \"x\"\ntime = \"Mon-Fri 08:00-18:00\"\n",
    );
    let target = tool("x");
    let verdict =
        |now_us| policy.decide(&Query { now_us, ..Query::new("main", Action::Execute, &target) }).decision;
    // The epoch was a Thursday.
    assert_eq!(verdict(8 * 60 * MINUTE_US - 1), PolicyDecision::DefaultDeny);
    assert_eq!(verdict(8 * 60 * MINUTE_US), PolicyDecision::Permit);
    assert_eq!(verdict((2 * 24 + 9) * 60 * MINUTE_US), PolicyDecision::DefaultDeny);
}

#[test]
fn ownership_is_what_the_baseline_asks_for() {
    let policy = Policy::baseline();
    let (object, entries) = (Target::heap(1), Target::audit("crew").unwrap());
    for (action, target) in [
        (Action::HeapRead, &object),
        (Action::HeapWrite, &object),
        (Action::HeapDelete, &object),
        (Action::AuditRead, &entries),
    ] {
        let query = Query::new("main", action, target);
        assert_eq!(policy.decide(&query).decision, PolicyDecision::DefaultDeny, "{action}");
        assert_eq!(
            policy.decide(&Query { owned: true, ..query }).decision,
            PolicyDecision::Permit,
            "{action}"
        );
    }
}

const SPENDING: &str = r#"
    [tools]
    allow = ["*"]
    [[limit]]
    id = "daily"
    operation = "execute"
    target = "send_money"
    sum = "/amount"
    max = 500
    per = "24h"
    [[limit]]
    id = "calls"
    operation = "execute"
    target = "*"
    count = true
    max = 3
    per = "1h"
"#;

fn charges(policy: &Policy, name: &str, args: &Value) -> Result<Vec<ak_policy::Charge>, LimitError> {
    let target = tool(name);
    policy.charges(&Query { args: Some(args), ..Query::new("main", Action::Execute, &target) }, &[])
}

#[test]
fn a_limit_sums_up_over_its_period() {
    let policy = policy(SPENDING);
    let mut table = LimitTable::default();
    let pay = |amount: f64| {
        charges(&policy, "send_money", &object! { "amount": ak_json::Number::from_f64(amount).unwrap() })
            .unwrap()
    };
    let first = table.reserve(&pay(300.25), at(0)).unwrap();
    table.commit(first, &[], at(0));
    let second = table.reserve(&pay(199.75), at(10)).unwrap();
    assert_eq!(
        table.check(&pay(0.01), at(20)).unwrap_err().to_string(),
        "limit 'daily': 0.01 requested, 500 used of 500"
    );
    table.release(second);
    let second = table.reserve(&pay(199.75), at(30)).unwrap();
    table.commit(second, &[], at(30));
    // A day later the first slice has left the window.
    assert!(table.check(&pay(0.01), at(24 * 60 * MINUTE_US - 1)).is_err());
    assert!(table.check(&pay(500.0), at(25 * 60 * MINUTE_US)).is_ok());
}

#[test]
fn several_limits_are_reserved_together_or_not_at_all() {
    let policy = policy(SPENDING);
    let mut table = LimitTable::default();
    let args = object! { "amount": 1 };
    for _ in 0..3 {
        let reservation = table.reserve(&charges(&policy, "send_money", &args).unwrap(), at(0)).unwrap();
        table.commit(reservation, &[], at(0));
    }
    let before = table.digest();
    let exceeded = table.reserve(&charges(&policy, "send_money", &args).unwrap(), at(0)).unwrap_err();
    assert!(matches!(exceeded, LimitError::Exceeded { ref id, .. } if id == "calls"), "{exceeded}");
    assert_eq!(table.digest(), before);
}

#[test]
fn what_is_no_amount_is_refused() {
    let policy = policy(SPENDING);
    for args in [
        object! { "amount": -1 },
        object! { "amount": "5" },
        object! { "amount": ak_json::array![1] },
        object! { "Amount": 1 },
        object! {},
        object! { "amount": u64::MAX },
        object! { "amount": ak_json::Number::from_f64(1e300).unwrap() },
        object! { "amount": ak_json::Number::from_f64(-0.5).unwrap() },
    ] {
        let refused = charges(&policy, "send_money", &args);
        assert!(matches!(refused, Err(LimitError::NotAnAmount { .. })), "{args:?}");
    }
    assert!(charges(&policy, "other", &object! {}).unwrap().len() == 1);
}

#[test]
fn charges_on_one_limit_count_together() {
    let policy = policy(SPENDING);
    let mut table = LimitTable::default();
    let once = charges(&policy, "send_money", &object! { "amount": 300 }).unwrap();
    let exceeded = table.reserve(&[once.clone(), once].concat(), at(0)).unwrap_err();
    assert_eq!(exceeded.to_string(), "limit 'daily': 600 requested, 0 used of 500");
}

#[test]
fn what_is_given_back_leaves_the_slice_it_was_added_to() {
    const HOUR_US: u64 = 3_600_000_000;
    let policy = policy(SPENDING);
    let mut table = LimitTable::default();
    let pay = |amount: u64| charges(&policy, "send_money", &object! { "amount": amount }).unwrap();
    table.reserve(&pay(200), at(HOUR_US)).map(|kept| table.commit(kept, &[], at(HOUR_US))).unwrap();
    table.reserve(&pay(1), at(9 * HOUR_US)).map(|kept| table.commit(kept, &[], at(9 * HOUR_US))).unwrap();
    // The clock went back.
    let released = table.reserve(&pay(200), at(HOUR_US)).unwrap();
    table.release(released);
    // What was spent first is over by now, and nothing else is left but the 1.
    table.reserve(&pay(499), at(26 * HOUR_US)).map(|kept| table.commit(kept, &[], at(26 * HOUR_US))).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Over every span of the period's length, at whatever moment it begins.
    #[test]
    fn a_limit_holds_over_every_span(steps in proptest::collection::vec((0u64..400, 0u64..30), 1..60)) {
        let policy = policy("[[limit]]\nid = \"l\"\noperation = \"execute\"\ntarget = \"*\"\nsum = \"/n\"\nmax = 50\nper = \"1ms\"\n");
        let mut table = LimitTable::default();
        let (mut now_us, mut spent) = (0, Vec::new());
        for (gap, amount) in steps {
            now_us += gap;
            if let Ok(reservation) = table.reserve(&charges(&policy, "x", &object! { "n": amount }).unwrap(), at(now_us)) {
                table.commit(reservation, &[], at(now_us));
                spent.push((now_us, amount));
            }
            let recent: u64 = spent.iter().filter(|(spent_us, _)| spent_us + 1_000 > now_us).map(|(_, amount)| amount).sum();
            prop_assert!(recent <= 50);
        }
    }
}

#[test]
fn sources_are_labelled() {
    let policy = policy(
        r#"
        [[label]]
        source = "tool:read_*"
        secrecy = ["pii"]
        [[label]]
        source = "tool:clock"
        integrity = "trusted"
        [[label]]
        source = "tool:read_mail"
        pointer = "/id"
        integrity = "trusted"
        [[label]]
        source = "fs:/downloads/**"
        integrity = "untrusted"
        [[label]]
        source = "http:https://intranet.example.com/**"
        integrity = "trusted"
        "#,
    );
    let at = |target: &Target, pointer: &str| {
        let labels = policy.labels_of(target).at(&Pointer::parse(pointer).unwrap()).clone();
        let secrets: Vec<_> = labels.secrecy.iter().map(|name| name.to_string()).collect();
        (labels.integrity == Integrity::Trusted, secrets.join(","))
    };
    let check = |target: Target, pointer: &str, trusted: bool, secrets: &str| {
        assert_eq!(at(&target, pointer), (trusted, secrets.to_string()), "{target} {pointer}");
    };
    check(tool("other"), "", false, "");
    check(tool("clock"), "/x", true, "");
    check(tool("read_mail"), "", false, "pii");
    check(tool("read_mail"), "/id", true, "pii");
    check(tool("read_mail"), "/id/x", true, "pii");
    check(tool("read_mail"), "/body", false, "pii");
    check(Target::path("/downloads/x").unwrap(), "", false, "");
    check(Target::path("/etc/x").unwrap(), "", true, "");
    check(Target::url("https://intranet.example.com/x").unwrap(), "", true, "");
    check(Target::url("https://example.com/x").unwrap(), "", false, "");
    check(Target::model("gpt").unwrap(), "", false, "");
}

#[test]
fn rules_ask_for_labels_and_provenance() {
    let policy = policy(
        r#"
        [tools]
        allow = ["send"]
        [[rule]]
        id = "no-secrets-out"
        effect = "forbid"
        operation = "execute"
        target = "send"
        when.args."" = { label = "pii" }
        [[rule]]
        id = "recipient-from-the-user"
        effect = "forbid"
        operation = "execute"
        target = "send"
        unless.args."/to" = { from = ["user", "tool:contacts"] }
        [[rule]]
        id = "ask-when-tainted"
        effect = "ask"
        operation = "execute"
        target = "send"
        when.label = "untrusted"
        "#,
    );
    let origin = |pointer: &str, labels: Labels, sources: &[&str]| Origin {
        pointer: Pointer::parse(pointer).unwrap(),
        labels,
        sources: sources.iter().map(|source| Text::from(*source)).collect(),
    };
    let secret = Labels { secrecy: ["pii".into()].into(), ..Labels::default() };
    let target = tool("send");
    let args = object! { "to": "bob", "body": "hello" };
    let rule = |origins: &[Origin]| {
        let decision = policy.decide(&Query {
            args: Some(&args),
            origins,
            ..Query::new("main", Action::Execute, &target)
        });
        decision.rule_id().unwrap().to_string()
    };
    let user = origin("", Labels::default(), &["user"]);
    assert_eq!(rule(std::slice::from_ref(&user)), "tools.allow:send");
    assert_eq!(rule(&[origin("", Labels::default(), &["tool:contacts@2.1"])]), "tools.allow:send");
    // Nothing is known of where it comes from.
    assert_eq!(rule(&[]), "recipient-from-the-user");
    assert_eq!(rule(&[origin("", Labels::default(), &["user", "tool:web"])]), "recipient-from-the-user");
    // What is closest to the value says more than what is around it.
    assert_eq!(
        rule(&[user.clone(), origin("/to", Labels::default(), &["tool:web"])]),
        "recipient-from-the-user"
    );
    assert_eq!(rule(&[user.clone(), origin("/body", secret, &["tool:files"])]), "no-secrets-out");
    assert_eq!(
        rule(&[user.clone(), origin("/body", Labels::untrusted(), &["tool:web"])]),
        "ask-when-tainted"
    );
}

#[test]
fn addresses() {
    let text = r#"
        [http]
        allow = ["GET https://api.test/**", "GET http://10.1.1.1/**", "GET http://1.1.1.1/**"]
        [net]
        connect = ["ip:10.0.0.0/8:443", "dns:db.test:5432"]
        deny = ["ip:8.8.4.4", "bad.test"]
    "#;
    let check = |target: &Target, ip: &str, port: u16, expected: bool| {
        let action = match target {
            Target::Url(_) => Action::HttpGet,
            _ => Action::Connect,
        };
        let allowed =
            policy(text).address_allowed(&Query::new("main", action, target), ip.parse().unwrap(), port);
        assert_eq!(allowed, expected, "{target} at {ip}:{port}");
    };
    let api = Target::url("https://api.test/x").unwrap();
    check(&api, "8.8.8.8", 443, true);
    check(&api, "8.8.8.8", 80, false);
    check(&api, "8.8.4.4", 443, false);
    check(&api, "::ffff:8.8.4.4", 443, false);
    check(&api, "10.2.3.4", 443, true);
    for closed in [
        "127.0.0.1",
        "169.254.169.254",
        "192.168.0.1",
        "::1",
        "::ffff:127.0.0.1",
        "64:ff9b::a9fe:a9fe",
        "fd00::1",
        "fe80::1",
        "0.0.0.0",
        "224.0.0.1",
        "100.100.100.200",
        "168.63.129.16",
    ] {
        check(&api, closed, 443, false);
    }
    check(&Target::url("http://10.1.1.1/x").unwrap(), "10.1.1.1", 80, false);
    check(&Target::url("http://1.1.1.1/x").unwrap(), "1.1.1.1", 80, true);
    check(&Target::url("http://1.1.1.1/x").unwrap(), "1.1.1.2", 80, false);
    check(&Target::url("https://bad.test/x").unwrap(), "8.8.8.8", 443, false);
    let db = Target::endpoint("db.test:5432").unwrap();
    check(&db, "8.8.8.8", 5432, true);
    check(&db, "10.2.3.4", 5432, false);
    check(&tool("x"), "8.8.8.8", 443, false);
    // A permit for every target does not reach inside.
    let wide = policy("[[rule]]\neffect = \"permit\"\noperation = \"*\"\ntarget = \"*\"\n");
    let metadata = Target::endpoint("169.254.169.254:80").unwrap();
    assert_eq!(
        wide.decide(&Query::new("main", Action::Connect, &metadata)).decision,
        PolicyDecision::DefaultDeny
    );
    assert!(!wide.address_allowed(
        &Query::new("main", Action::HttpGet, &api),
        "169.254.169.254".parse().unwrap(),
        443
    ));
}

#[test]
fn a_permit_over_files_names_its_root() {
    let check = |pattern: &str, path: &str, root: &str| {
        let policy = policy(&format!("[fs]\nread = [{pattern:?}]"));
        let target = Target::path(path).unwrap();
        let decision = policy.decide(&Query::new("main", Action::FsRead, &target));
        assert_eq!(
            (decision.decision, decision.granted_root()),
            (PolicyDecision::Permit, Some(root)),
            "{pattern}"
        );
    };
    check("/tmp/agent/**", "/tmp/agent/x/y", "/tmp/agent");
    check("/tmp/agent/**", "/tmp/agent", "/tmp/agent");
    check("/a/b.txt", "/a/b.txt", "/a");
    check("/a/*.txt", "/a/b.txt", "/a");
    check("/a/*/c", "/a/b/c", "/a");
    check("/**", "/etc", "/");
    check("/x", "/x", "/");
    check("/a/**/z", "/a/b/z", "/a");
}

#[test]
fn an_ask_over_files_names_the_root_that_an_approval_grants() {
    let rule = "[[rule]]\neffect = \"ask\"\noperation = \"fs.write\"\ntarget = \"/tmp/agent/**\"\n";
    let policy = policy(&format!("{rule}[fs]\nwrite = [\"/**\"]"));
    let target = Target::path("/tmp/agent/x/y").unwrap();
    let decision = policy.decide(&Query::new("main", Action::FsWrite, &target));
    assert_eq!((decision.decision, decision.granted_root()), (PolicyDecision::Ask, Some("/tmp/agent")));
}

#[test]
fn an_explanation_names_the_rule_and_the_place() {
    let policy = policy(
        r#"
        [tools]
        allow = ["send_email"]
        [[rule]]
        id = "ours"
        effect = "forbid"
        operation = "execute"
        target = "send_email"
        unless.args."/recipients/*" = { format = "email", matches = ["*@example.com"] }
        "#,
    );
    let target = tool("send_email");
    let args = object! { "recipients": ak_json::array!["bob@example.com", "eve@evil.com"] };
    let told = policy.explain(&Query { args: Some(&args), ..Query::new("main", Action::Execute, &target) });
    assert_eq!(
        told.reason,
        "rule 'ours' forbids execute on tool:send_email, because of the argument at '/recipients/1'"
    );
    assert_eq!((told.snippet, told.missing), (None, None));
    assert_eq!(told.others[0].rule_id, "tools.allow:send_email");

    let path = Target::path("/etc/passwd").unwrap();
    let told = policy.explain(&Query::new("main", Action::FsRead, &path));
    assert_eq!(told.reason, "no rule permits fs.read on /etc/passwd");
    assert_eq!(told.missing, Some(Action::FsRead));
    assert!(told.to_string().contains("target = { literal = \"/etc/passwd\" }"), "{told}");
}

/// Of the decisions on an agent and on its ancestor the more restrictive one counts, whichever of the two it is about.
#[test]
fn the_most_restrictive_decision_of_a_lineage_counts() {
    // From the least restrictive to the most.
    let decisions = [
        (Some("permit"), PolicyDecision::Permit),
        (Some("ask"), PolicyDecision::Ask),
        (None, PolicyDecision::DefaultDeny),
        (Some("forbid"), PolicyDecision::Forbid),
    ];
    let target = tool("x");
    for (above, (effect_above, _)) in decisions.into_iter().enumerate() {
        for (own, (effect_own, _)) in decisions.into_iter().enumerate() {
            let rule = |agent: &str, effect: Option<&str>| {
                effect.map_or(String::new(), |effect| {
                    format!(
                        "[[rule]]\neffect = {effect:?}\noperation = \"execute\"\ntarget = \"x\"\nagent = {agent:?}\n"
                    )
                })
            };
            let text = rule("crew", effect_above) + &rule("crew/w", effect_own);
            let decided = policy(&text).decide(&Query::new("crew/w", Action::Execute, &target)).decision;
            assert_eq!(decided, decisions[above.max(own)].1, "{effect_above:?} above {effect_own:?}");
        }
    }
}

#[test]
fn links_are_followed_where_the_rule_that_permits_says_so() {
    let target = Target::path("/data/x").unwrap();
    let follows = |effect: &str, follow: &str| {
        let rule = format!(
            "[[rule]]\neffect = {effect:?}\noperation = \"fs.read\"\ntarget = \"/data/**\"\n{follow}"
        );
        policy(&rule).decide(&Query::new("main", Action::FsRead, &target)).follows_links()
    };
    assert!(follows("permit", "follow = \"beneath\""));
    assert!(!follows("permit", ""));
    assert!(!follows("forbid", ""));
}

/// A connection to an address may go to this address and port. Any other needs a permit of its own.
#[test]
fn a_connection_to_an_address_names_this_address_and_port() {
    let policy = policy("");
    let address = |text: &str| text.parse::<core::net::IpAddr>().unwrap();
    let target = Target::addr(address("93.184.216.34"), 443);
    let query = Query::new("main", Action::Connect, &target);
    for (ip, port, allowed) in [
        ("93.184.216.34", 443, true),
        ("93.184.216.34", 80, false),
        ("93.184.216.35", 443, false),
        ("93.184.216.35", 80, false),
    ] {
        assert_eq!(policy.address_allowed(&query, address(ip), port), allowed, "{ip}:{port}");
    }
}

/// Of equally restrictive decisions the outermost ancestor's is named, and a grant that several rest on is spent once.
#[test]
fn a_lineage_names_the_outermost_rule_and_each_grant_once() {
    let target = tool("x");
    let forbid = |id: &str, agent: &str| {
        format!(
            "[[rule]]\nid = {id:?}\neffect = \"forbid\"\noperation = \"execute\"\ntarget = \"x\"\nagent = {agent:?}\n"
        )
    };
    let both = policy(&(forbid("a", "crew/w") + &forbid("b", "crew")));
    let evaluation = both.decide(&Query::new("crew/w", Action::Execute, &target));
    assert_eq!(evaluation.rule_id(), Some("b"));

    let table = |policy: &Policy| {
        let mut table = GrantTable::default();
        table.load(policy, at(0));
        table
    };
    let grants = |text: &str| {
        let policy = policy(text);
        let table = table(&policy);
        let query = Query { grants: &table, ..Query::new("crew/w", Action::Execute, &target) };
        policy.decide(&query).grants().count()
    };
    let grant = "[[capability]]\nname = \"x\"\nrate = \"1/h\"\n";
    assert_eq!(grants(grant), 1);
    let own = "[[rule]]\neffect = \"permit\"\noperation = \"execute\"\ntarget = \"x\"\nagent = \"crew/w\"\n";
    assert_eq!(grants(&format!("{grant}{own}")), 1, "the ancestor's rests on it still");
}

/// Of grants that cannot be used, one whose rate is reached is named before one that has expired.
#[test]
fn a_reached_rate_is_named_before_an_expired_grant() {
    let expired = "[[capability]]\nname = \"x\"\nexpires_minutes = 1\n";
    let rated = "[[capability]]\nname = \"*\"\nrate = \"1/d\"\n";
    let target = tool("x");
    for text in [format!("{expired}{rated}"), format!("{rated}{expired}")] {
        let policy = policy(&text);
        let mut table = GrantTable::default();
        table.load(&policy, at(0));
        let now = at(2 * MINUTE_US);
        let decide = |table: &GrantTable, elapsed| {
            let query = Query { elapsed, grants: table, ..Query::new("main", Action::Execute, &target) };
            policy.decide(&query).decision
        };
        for grant in policy.grants() {
            table.spend(grant.id(), now);
        }
        let decided = decide(&table, now);
        assert!(matches!(decided, PolicyDecision::RateLimited { .. }), "{decided:?}: {text}");
    }
    let both = policy(&format!("{expired}{}", expired.replace("minutes = 1", "minutes = 2")));
    let mut table = GrantTable::default();
    table.load(&both, at(0));
    let query =
        Query { elapsed: at(3 * MINUTE_US), grants: &table, ..Query::new("main", Action::Execute, &target) };
    assert_eq!(both.decide(&query).decision, PolicyDecision::Expired);
}
