//! Reading any text gives a policy or an error, and the canonical form of a policy decides as the policy does.
#![no_main]

use ak_policy::{Policy, PolicyDecision, Query, Target};
use libfuzzer_sys::fuzz_target;

const REQUESTS: [(&str, &str, &str); 8] = [
    ("main", "fs.read", "/a/b"),
    ("crew/a", "fs.write", "/a"),
    ("main", "http.get", "https://a.com//b%2Fc?q"),
    ("main", "dns", "x.a.com"),
    ("main", "connect", "ip:10.0.0.1:443"),
    ("main", "connect", "dns:a.com:443"),
    ("crew/a/b", "execute", "tool@1.0"),
    ("main", "infer", "gpt-4"),
];

fuzz_target!(|text: &str| {
    let policy = match Policy::parse(text, Some("/base")) {
        Ok(policy) => policy,
        Err(error) => {
            assert!(error.line >= 1 && error.column >= 1);
            return drop(error.to_string());
        }
    };
    let written = policy.to_value().to_json();
    let again = Policy::parse(&written, None).unwrap_or_else(|error| panic!("{error}\n{written}"));
    assert_eq!(again.to_value().to_json(), written);
    assert!(policy.diff(&again).is_empty());
    policy.lint();
    let args = ak_json::object! { "a": ak_json::array!["b", 1], "c": "d" };
    for (agent, operation, target) in REQUESTS {
        let (action, target) = Target::resolve(operation, target).expect("a target");
        let query = Query { args: Some(&args), ..Query::new(agent, action, &target) };
        let evaluation = policy.decide(&query);
        let other = again.decide(&query);
        assert_eq!((evaluation.decision, evaluation.rule_id()), (other.decision, other.rule_id()));
        let told = policy.explain(&query);
        assert_eq!(told.decision, evaluation.decision);
        let Some(snippet) = told.snippet else { continue };
        // A TOML table cannot be appended to JSON.
        if !text.trim_start().starts_with('{') {
            let widened = Policy::parse(&format!("{text}\n{snippet}"), Some("/base"));
            let widened = widened.unwrap_or_else(|error| panic!("{error}\n{snippet}"));
            assert_eq!(widened.decide(&query).decision, PolicyDecision::Permit, "{snippet}");
        }
    }
});
