//! A path has one canonical form, without `..`, and a pattern matches it alike in a permit and in a forbid.
#![no_main]

use ak_policy::{Policy, Query, Target};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|texts: (&str, &str)| {
    let (text, pattern) = texts;
    let Ok((action, target)) = Target::resolve("fs.read", text) else { return };
    let canonical = target.to_string();
    assert!(canonical.starts_with('/') && !canonical.contains("//") && !canonical.contains('\0'));
    assert!(!canonical.split('/').any(|segment| matches!(segment, "." | "..")));
    assert_eq!(Target::path(&canonical).as_ref(), Ok(&target));

    let rule = |effect: &str| {
        let mut rule = ak_json::Object::new();
        rule.insert("id", "r");
        rule.insert("effect", effect);
        rule.insert("operation", "fs.read");
        rule.insert("target", pattern);
        let policy = ak_json::object! { "profiles": ak_json::array![], "rule": ak_json::array![rule] };
        Policy::parse(&policy.to_json(), None)
    };
    let (Ok(permit), Ok(forbid)) = (rule("permit"), rule("forbid")) else { return };
    let query = Query::new("main", action, &target);
    let evaluation = permit.decide(&query);
    // A canonical path has no unknown part, so a pattern matches it in a forbid exactly if it does in a permit.
    assert_eq!(evaluation.decision.is_permit(), forbid.decide(&query).rule_id().is_some());
    if let Some(root) = evaluation.granted_root() {
        let root = root.strip_suffix('/').unwrap_or(root);
        assert!(canonical.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')));
    }
});
