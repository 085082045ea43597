//! The compiled policy and the obvious evaluator say the same, and what the language promises holds.
//!
//! `AK_PAIRS` sets how many (policy, request) pairs are compared; 50,000 unless it says otherwise.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed")]

mod naive;

use ak_json::{Value, array, object};
use ak_policy::{Effect, Policy, PolicyDecision, Query, Target};
use naive::{Request, Rule, Test};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

const REQUESTS: usize = 25;

fn pairs() -> u32 {
    std::env::var("AK_PAIRS").ok().and_then(|text| text.parse().ok()).unwrap_or(50_000)
}

fn agent() -> impl Strategy<Value = &'static str> {
    select(vec!["main", "crew", "crew/a", "crew/b", "crew/a/x"])
}

fn path(parts: &[&'static str]) -> BoxedStrategy<String> {
    vec(select(parts.to_vec()), 1..4).prop_map(|parts| format!("/{}", parts.join("/"))).boxed()
}

const NAMES: [&str; 4] = ["a", "b", "ab", "ba"];
const GLOBS: [&str; 7] = ["a", "b", "ab", "*", "**", "a*", "*b"];

fn host(wild: bool) -> BoxedStrategy<&'static str> {
    let hosts = if wild {
        vec!["a.com", "b.a.com", "*.a.com", "*"]
    } else {
        vec!["a.com", "b.a.com", "xa.com", "c.b.a.com"]
    };
    select(hosts).boxed()
}

/// Operations and a target pattern, or one operation and a target, of one kind.
fn doing(wild: bool) -> BoxedStrategy<(Vec<&'static str>, String)> {
    let parts: &[&str] = if wild { &GLOBS } else { &NAMES };
    let subset = |names: &[&'static str]| {
        if wild {
            proptest::sample::subsequence(names.to_vec(), 1..=names.len()).boxed()
        } else {
            select(names.to_vec()).prop_map(|name| vec![name]).boxed()
        }
    };
    let fs = (subset(&["fs.read", "fs.write", "fs.list"]), path(parts));
    let name = if wild { "[ab*]{1,4}" } else { "[ab]{1,4}" };
    let tool = (
        Just(vec!["execute"]),
        name.prop_filter("`**` in a name is `*`", |name: &String| !name.contains("**")),
    );
    let dns = (Just(vec!["dns"]), host(wild).prop_map(String::from));
    let query = if wild { select(vec!["", ""]) } else { select(vec!["", "?q=1"]) };
    let url = (host(wild), path(parts), query)
        .prop_map(|(host, path, query)| format!("https://{host}{path}{query}"));
    let http = (subset(&["http.get", "http.post"]), url);
    prop_oneof![fs, tool, dns, http].boxed()
}

fn constraint() -> impl Strategy<Value = (&'static str, Test)> {
    let test = prop_oneof![
        select(vec![Value::from("a"), Value::from(1), array!["a"]]).prop_map(Test::Equals),
        (0i64..3).prop_map(Test::Min),
        select(vec!["a*", "*b", "ab"]).prop_map(Test::Matches),
        select(vec!["string", "array", "number"]).prop_map(Test::Type),
    ];
    (select(vec!["/x", "/y/*", "/y/0", "/z/k", "/z/*", "/y/*/k"]), test)
}

/// At most one constraint for each pointer: a table has each key once.
fn constraints() -> impl Strategy<Value = Vec<(&'static str, Test)>> {
    vec(constraint(), 0..3).prop_map(|mut list| {
        list.sort_by_key(|(pointer, _)| *pointer);
        list.dedup_by_key(|(pointer, _)| *pointer);
        list
    })
}

fn rule() -> impl Strategy<Value = Rule> {
    let effect = select(vec![Effect::Forbid, Effect::Ask, Effect::Permit, Effect::Permit, Effect::Permit]);
    let agents =
        prop_oneof![3 => Just(vec![]), 2 => vec(select(vec!["main", "crew", "crew/a", "crew/*", "*"]), 1..3)];
    let only = proptest::option::weighted(0.2, proptest::sample::subsequence(vec!["/x", "/y", "/z"], 0..3));
    let plain = prop_oneof![2 => Just(vec![]), 1 => constraints()];
    let unless = prop_oneof![3 => Just(vec![]), 1 => constraints()];
    (effect, doing(true), any::<bool>(), agents, plain, unless, only).prop_map(
        |(effect, (operations, target), any_target, agents, when, unless, only)| {
            let targets = if any_target { vec![target.clone(), "*".into()] } else { vec![target] };
            // Mostly specific rules: `*` would hide the rest.
            let targets =
                if effect == Effect::Permit { targets } else { targets.into_iter().take(1).collect() };
            Rule { effect, operations, targets, agents, when, unless, only }
        },
    )
}

fn value() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        select(vec!["a", "ab", "b"]).prop_map(Value::from),
        (0i64..3).prop_map(Value::from),
        Just(Value::Null)
    ];
    let list = vec(scalar.clone(), 0..3).prop_map(Value::from);
    let table = scalar.clone().prop_map(|value| object! { "k": value });
    prop_oneof![3 => scalar, 2 => list, 1 => table.clone(), 1 => vec(table, 0..3).prop_map(Value::from)]
}

fn request() -> impl Strategy<Value = Request> {
    let args = vec((select(vec!["x", "y", "z", "w"]), value()), 0..4)
        .prop_map(|members| Value::Object(members.into_iter().collect()));
    (agent(), doing(false), args).prop_map(|(agent, (operations, target), args)| Request {
        agent,
        operation: operations[0],
        target,
        args,
    })
}

fn to_toml(rules: &[Rule]) -> String {
    rules.iter().fold(String::from("profiles = []\n"), |text, rule| text + &rule_to_toml(rule))
}

fn rule_to_toml(rule: &Rule) -> String {
    let list = |items: &[String]| {
        format!("[{}]", items.iter().map(|item| format!("{item:?}")).collect::<Vec<_>>().join(", "))
    };
    let texts = |items: &[&str]| list(&items.iter().map(|item| item.to_string()).collect::<Vec<_>>());
    let mut text =
        format!("[[rule]]\neffect = \"{}\"\noperation = {}\n", rule.effect, texts(&rule.operations));
    text += &format!("target = {}\n", list(&rule.targets));
    if !rule.agents.is_empty() {
        text += &format!("agent = {}\n", texts(&rule.agents));
    }
    for (key, tests) in [("when", &rule.when), ("unless", &rule.unless)] {
        for (pointer, test) in tests {
            let test = match test {
                Test::Equals(value) => format!("equals = {}", value.to_json()),
                Test::Min(min) => format!("min = {min}"),
                Test::Matches(pattern) => format!("matches = {pattern:?}"),
                Test::Type(name) => format!("type = {name:?}"),
            };
            text += &format!("{key}.args.{pointer:?} = {{ {test} }}\n");
        }
    }
    if let Some(only) = &rule.only {
        text += &format!("only = {}\n", texts(only));
    }
    text
}

fn parse(text: &str) -> Policy {
    Policy::parse(text, None).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn decide(policy: &Policy, request: &Request) -> PolicyDecision {
    let (action, target) = Target::resolve(request.operation, &request.target).unwrap();
    policy.decide(&Query { args: Some(&request.args), ..Query::new(request.agent, action, &target) }).decision
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(pairs() / REQUESTS as u32))]

    #[test]
    fn compiled_and_naive_agree(rules in vec(rule(), 0..8), requests in vec(request(), REQUESTS)) {
        let policy = parse(&to_toml(&rules));
        for request in &requests {
            prop_assert_eq!(decide(&policy, request), naive::decide(&rules, request), "{:?}\n{}", request, to_toml(&rules));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn default_is_deny(request in request()) {
        prop_assert_eq!(decide(&parse("profiles = []"), &request), PolicyDecision::DefaultDeny);
        prop_assert_eq!(decide(&Policy::deny_all(), &request), PolicyDecision::DefaultDeny);
    }

    #[test]
    fn forbid_trumps_permit(rules in vec(rule(), 0..6), request in request()) {
        let text = to_toml(&rules) + &format!(
            "[[rule]]\neffect = \"forbid\"\noperation = {:?}\ntarget = {{ literal = {:?} }}\n",
            request.operation, request.target
        );
        prop_assert_eq!(decide(&parse(&text), &request), PolicyDecision::Forbid);
    }

    #[test]
    fn more_forbids_and_asks_never_widen(rules in vec(rule(), 0..6), more in rule(), request in request()) {
        let with = |effect| to_toml(&rules) + &rule_to_toml(&Rule { effect, ..more.clone() });
        let before = decide(&parse(&to_toml(&rules)), &request);
        prop_assert!(before == PolicyDecision::Permit || decide(&parse(&with(Effect::Forbid)), &request) != PolicyDecision::Permit);
        prop_assert!(before == PolicyDecision::Permit || decide(&parse(&with(Effect::Ask)), &request) != PolicyDecision::Permit);
    }

    #[test]
    fn a_child_never_exceeds_its_parent(rules in vec(rule(), 0..8), request in request()) {
        let policy = parse(&to_toml(&rules));
        let child = Request { agent: "crew/a/x", ..request.clone() };
        if decide(&policy, &child) == PolicyDecision::Permit {
            for parent in ["crew", "crew/a"] {
                let parent = Request { agent: parent, ..request.clone() };
                prop_assert_eq!(decide(&policy, &parent), PolicyDecision::Permit);
            }
        }
    }

    #[test]
    fn digest_ignores_order(rules in vec(rule(), 0..6).prop_shuffle(), seed in any::<usize>(), request in request()) {
        let policy = parse(&to_toml(&rules));
        let mut turned = rules.clone();
        turned.rotate_left(seed % rules.len().max(1));
        for rule in &mut turned {
            rule.targets.reverse();
            rule.agents.reverse();
            rule.operations.reverse();
        }
        let text = to_toml(&turned).replace('\n', "\n# a comment\n\n");
        let other = parse(&text);
        prop_assert_eq!(policy.digest(), other.digest());
        let (action, target) = Target::resolve(request.operation, &request.target).unwrap();
        let query = Query { args: Some(&request.args), ..Query::new(request.agent, action, &target) };
        prop_assert_eq!(policy.decide(&query).rule_id(), other.decide(&query).rule_id());
    }

    #[test]
    fn a_canonical_form_says_the_same(rules in vec(rule(), 0..6), requests in vec(request(), 8)) {
        let policy = parse(&to_toml(&rules));
        let again = parse(&policy.to_value().to_json());
        prop_assert_eq!(policy.digest(), again.digest());
        for request in &requests {
            prop_assert_eq!(decide(&policy, request), decide(&again, request));
        }
    }

    #[test]
    fn suggestion_allows_exactly_this(rules in vec(rule(), 0..6), request in request(), others in vec(request(), 8)) {
        let text = to_toml(&rules);
        let policy = parse(&text);
        let (action, target) = Target::resolve(request.operation, &request.target).unwrap();
        let query = Query { args: Some(&request.args), ..Query::new(request.agent, action, &target) };
        let snippet = policy.suggest(&query);
        if policy.decide(&query).decision != PolicyDecision::DefaultDeny {
            prop_assert_eq!(snippet, None);
            return Ok(());
        }
        let Some(snippet) = snippet else { return Ok(()) };
        let widened = parse(&format!("{text}\n{snippet}"));
        prop_assert_eq!(widened.decide(&query).decision, PolicyDecision::Permit);
        for other in &others {
            // Whoever stands below an agent that may do more, may do more if its own rules already let it.
            let family = |agent: &'static str| agent.split('/').next();
            let same = other.target == request.target && family(other.agent) == family(request.agent);
            if !same {
                prop_assert_eq!(decide(&policy, other), decide(&widened, other), "{}", snippet);
            }
        }
    }

    #[test]
    fn a_suggestion_quotes_any_target(path in "/[^\\x00]{0,40}", tool in any::<String>(), url in any::<String>()) {
        let targets = [
            Target::resolve("fs.write", &path),
            Target::resolve("execute", &tool),
            Target::resolve("http.get", &format!("https://example.com/{url}")),
        ];
        for (action, target) in targets.into_iter().flatten() {
            let query = Query::new("crew/*/\\we\"ird", action, &target);
            let policy = Policy::deny_all();
            let snippet = policy.suggest(&query).unwrap();
            let widened = parse(&format!("profiles = []\n{snippet}"));
            prop_assert_eq!(widened.decide(&query).decision, PolicyDecision::Permit, "{}", snippet);
        }
    }
}
