//! Whatever a server reads in a URL: a permit fits every reading, a forbid one.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use ak_json::object;
use ak_policy::capability::{Authority, Caveat};
use ak_policy::{Policy, PolicyDecision, Query, Target};
use proptest::prelude::*;
use proptest::sample::select;

fn parse(text: &str) -> Policy {
    Policy::parse(text, None).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// What `[http]` lists say to a GET; `None` for a URL that is refused.
fn decide(allow: &[&str], deny: &[&str], url: &str) -> Option<PolicyDecision> {
    let quoted = |list: &[&str], method: &str| {
        let items: Vec<_> = list.iter().map(|text| format!("'{method}{text}'")).collect();
        items.join(", ")
    };
    let policy = parse(&format!(
        "profiles = []\n[http]\nallow = [{}]\ndeny = [{}]\n",
        quoted(allow, "GET "),
        quoted(deny, "")
    ));
    let (action, target) = Target::resolve("http.get", url).ok()?;
    let verdict = policy.decide(&Query::new("main", action, &target)).decision;
    // Whoever reads the policy back says the same.
    let again = Policy::from_value(policy.to_value()).unwrap();
    assert_eq!(again.decide(&Query::new("main", action, &target)).decision, verdict, "{url}");
    assert_eq!(again.digest(), policy.digest());
    Some(verdict)
}

/// One row: a permit's pattern, a URL, and whether it is permitted.
#[track_caller]
fn permits(pattern: &str, url: &str, expected: bool) {
    let verdict = decide(&[pattern], &[], url);
    assert_eq!(verdict == Some(PolicyDecision::Permit), expected, "{pattern} on {url}: {verdict:?}");
}

/// One row: a forbid's pattern, a URL that everything else would permit, and whether it is kept from happening.
#[track_caller]
fn forbids(pattern: &str, url: &str, expected: bool) {
    let verdict = decide(&["https://**"], &[pattern], url);
    let kept = matches!(verdict, None | Some(PolicyDecision::Forbid));
    assert!(kept || verdict == Some(PolicyDecision::Permit));
    assert_eq!(kept, expected, "{pattern} on {url}: {verdict:?}");
}

#[test]
fn a_forbid_takes_every_spelling() {
    for url in [
        "https://h/v1/users:delete",
        "https://h/v1/users%3Adelete",
        "https://h/v1/users%3adelete",
        "https://h/v1/users%253Adelete",
        "https://h/v1/users%25253adelete",
        "https://h/v1%2Fusers:delete",
        "https://h/v1%5Cusers%3Adelete",
        "https://h//v1/users:delete",
        "https://h/v1//users%3Adelete",
        "https://h/v1;a=b/users:delete;c",
        "https://h/v1%3Ba/users:delete",
        "https://h/v1%253Ba/users:delete",
        "https://h/v1/users:del%65te",
        "https://h/v1/users:del%2565te",
        "https://h/v1/users:delete%3Fx=y",
        "https://h/v1/users:delete%23x",
        "https://h/v1/users:dele%09te",
        "https://h/v1/users:delete?x",
        "https://h/v1/./users:delete",
        "https://h/x/../v1/users:delete",
        "https://h/x/%2e%2e/v1/users:delete",
        "https://h/x/..%2fv1/users:delete",
    ] {
        forbids("https://h/v1/users:delete", url, true);
        // The pattern may be spelt in any of these ways too.
        if !["%2e", ".", "?", "%3F"].iter().any(|part| url.contains(part)) {
            forbids(url, "https://h/v1/users:delete", true);
            forbids(url, "https://h/v1/users%3Adelete", true);
            forbids(url, "https://h//v1%2Fusers%253Adelete", true);
        }
    }
    for url in [
        "https://h/admin",
        "https://h/admin/",
        "https://h/admin%5Cx",
        "https://h/admin%5cx",
        "https://h/admin;v=1/x",
        "https://h/admin%252Fx",
        "https://h/admin%25252Fx",
        "https://h/admin%2Fx",
        "https://h//admin/x",
        "https://h///admin",
        "https://h/%2Fadmin",
        "https://h/%5Cadmin",
        "https://h/;/admin",
        "https://h/%5c%5cadmin",
        "https://h/x/..%2fadmin/",
        "https://h/x/..%5cadmin/",
        "https://h/x/..;/admin/",
        "https://h/x/%252e%252e/admin/",
        "https://h/x/%25%32%65%25%32%65/admin/",
        "https://h/x/..%3F/admin/",
        "https://h/x/.%09./admin/",
        "https://h/%61dmin/x",
        "https://h/%2561dmin/x",
        "https://h/admin%3F",
        "https://h/admin%3Bx/y",
        "https://h/admin;x%2Fy",
        "https://h/a%00dmin",
        "https://h/admin%2500",
    ] {
        forbids("https://h/admin/**", url, true);
    }
    for url in [
        "https://h/administer",
        "https://h/x/admin",
        "https://h/x%2Fadmin",
        "https://i/admin",
        "https://h/%C3%A9",
    ] {
        forbids("https://h/admin/**", url, false);
    }
}

#[test]
fn a_forbid_takes_every_spelling_of_a_query() {
    for url in [
        "https://h/x?op=del it",
        "https://h/x?op=del%20it",
        "https://h/x?op=del+it",
        "https://h/x?op=del%2520it",
        "https://h/x?op=del%2Bit",
        "https://h/x?op%3Ddel%20it",
        "https://h/x?o%2570=del+it",
        "https://h/x?op=del+it%23",
        "https://h/x?op=de%0Al+it",
        "https://h/x%3Fop=del+it",
        "https://h//x?op=del+it",
    ] {
        forbids("https://h/x?op=del%20it", url, true);
    }
    forbids("https://h/x?op=del+it", "https://h/x?op=del%20it", true);
    forbids("https://h/x?op=a:b", "https://h/x?op=a%3Ab", true);
    forbids("https://h/x?op=a%3Ab", "https://h/x?op=a:b", true);
    forbids("https://h/x?a=b/*", "https://h/x?a%3Db%2Fc", true);
    forbids("https://h/x%3Fop=1", "https://h/x?op=1", true);
    forbids("https://h/x?op=delete", "https://h/x?op=deleted", false);
    forbids("https://h/x?op=delete", "https://h/x", false);
}

/// One row of what a server was seen to act on (`cargo xtask peers urls`): the URL, the path it acts on, and a
/// pattern that takes the URL as it stands but not that path.
#[track_caller]
fn acts_on(url: &str, path: &str, pattern: &str) {
    forbids(&format!("https://h{path}"), url, true);
    permits(pattern, url, false);
}

#[test]
fn what_servers_were_seen_to_act_on() {
    // nginx: decodes once, merges slashes.
    acts_on("https://h/files%2F%2Fx", "/files/x", "https://h/*");
    acts_on("https://h//admin/x", "/admin/x", "https://h/*/admin/x");
    acts_on("https://h/a%2Fadmin", "/a/admin", "https://h/*");
    // httpd: with NoDecode, `%2F` alone stays; without, it is decoded.
    acts_on("https://h/a%2Fb%3Ac", "/a%2Fb:c", "https://h/*3Ac");
    acts_on("https://h/a%2Fb%3Ac", "/a/b:c", "https://h/*");
    // Python: urlparse drops parameters of the last segment, urlsplit drops tabs and line breaks.
    acts_on("https://h/users;x", "/users", "https://h/us*x");
    acts_on("https://h/a;b/users;x", "/a;b/users", "https://h/*/us*x");
    acts_on("https://h/ad%09min", "/admin", "https://h/ad*09min");
    // Node: new URL() takes `//name` for a host and a backslash for a slash, and drops spaces at the end.
    acts_on("https://h//x/admin", "/admin", "https://h/*/x/admin");
    acts_on("https://h/%2Fx/admin", "/admin", "https://h/*/admin");
    acts_on("https://h/%5C%5Cx/admin", "/admin", "https://h/*/admin");
    acts_on("https://h/admin%20", "/admin", "https://h/admin*0");
    acts_on("https://h/admin%5Cx", "/admin/x", "https://h/*");
    // Behind a proxy that decoded, what was a path may be path and query.
    acts_on("https://h/admin%3Fx", "/admin?x", "https://h/*");
    acts_on("https://h/admin%253Fx", "/admin?x", "https://h/*");
    acts_on("https://h/admin%2561", "/admina", "https://h/admin*2561");
    // Tomcat and what is built on it: parameters of every segment.
    acts_on("https://h/admin;v=1/x", "/admin/x", "https://h/ad*1/x");
}

#[test]
fn a_pattern_permits_its_own_text() {
    let gitlab = "https://gitlab.example/api/v4/projects/g%2Fr/issues";
    permits(gitlab, gitlab, true);
    for other in [
        "https://gitlab.example/api/v4/projects/g/r/issues",
        "https://gitlab.example/api/v4/projects/g%252Fr/issues",
        "https://gitlab.example/api/v4/projects/g%5Cr/issues",
        "https://gitlab.example/api/v4/projects/g%2Fr//issues",
        "https://gitlab.example/api/v4/projects/g%2Fr;x/issues",
        "https://gitlab.example/api/v4/projects/g%2Fr/issues?x",
        "https://gitlab.example/api/v4/projects/g%2Fs/issues",
    ] {
        permits(gitlab, other, false);
    }
    for own in [
        "https://h/a%2Fb",
        "https://h/a%5Cb",
        "https://h/a;v=1/b",
        "https://h//a//b",
        "https://h/a%252Fb",
        "https://h/a%3Ab",
        "https://h/a:b",
        "https://h/a%3Fb",
        "https://h/a%23b",
        "https://h/100%25",
        "https://h/a%20b?c=d+e%20f",
        "https://h/%C3%A9/\u{e9}",
        "https://h/a?b=%2F%252F+",
        "https://h/a%3Fb?c",
        "https://h/a;/%3B;%253B",
        "https://h/",
        "https://h/%E4%BA%BA%20%E6%9D%91",
        "https://h/a%0Ab",
        "https://h/%01",
    ] {
        permits(own, own, true);
        forbids(own, own, true);
    }
}

#[test]
fn a_permit_fits_every_reading() {
    permits("https://h/a/*", "https://h/a/b%20c", true);
    permits("https://h/a/*", "https://h/a/b%3Ac", true);
    permits("https://h/a/*", "https://h/a/b:c", true);
    permits("https://h/a/*", "https://h/a/b;c=d", true);
    permits("https://h/a/*", "https://h/a/100%25", true);
    permits("https://h/a/*", "https://h/a/%C3%A9", true);
    permits("https://h/a/*", "https://h/a/b%2Fc", false);
    permits("https://h/a/*", "https://h/a/b%5Cc", false);
    permits("https://h/a/*", "https://h/a/b%252Fc", false);
    permits("https://h/a/*", "https://h/a/b%3Fc", false);
    permits("https://h/a/*", "https://h/a/b%23c", true);
    permits("https://h/a/*", "https://h/a//", false);
    permits("https://h/a/**", "https://h/a/b%2Fc//d;e/%252F%5C", true);
    permits("https://h/a/**", "https://h/a%2Fb", false);
    permits("https://h/a/**", "https://h/a;x/b", false);
    permits("https://h/a/**", "https://h//a/b", false);
    permits("https://h/*/b", "https://h/%2F/b", false);
    permits("https://h/a:b/*", "https://h/a:b/c%20d", true);
    permits("https://h/a:b/*", "https://h/a%3Ab/c", false);
    permits("https://h/a%3Ab/*", "https://h/a%3Ab/c%20d", true);
    permits("https://h/a%3Ab/*", "https://h/a:b/c", false);
    permits("https://h/p/g%2F*/issues", "https://h/p/g%2Fr/issues", true);
    permits("https://h/p/g%2F*/issues", "https://h/p/g%2Fr%2Fs/issues", false);
    permits("https://h/p/g%2F*/issues", "https://h/p/g%2Fr%20s/issues", true);
    permits("https://h/p/g%2F*/**", "https://h/p/g%2Fr/a/b%2Fc", true);
    permits("https://h/p;v=*/x", "https://h/p;v=1/x", true);
    permits("https://h/p;v=*/x", "https://h/p;v=1%2F/x", false);
    permits("https://h/*;v=1/x", "https://h/a;v=1/x", true);
    permits("https://h/*;v=1/x", "https://h/a;b;v=1/x", true);
    permits("https://h/a?q=*", "https://h/a?q=b+c%20d%2520", true);
    permits("https://h/a?q=x*", "https://h/a?q=%2578", false);
    permits("https://h/a?q=a+*", "https://h/a?q=a+b", true);
    permits("https://h/a?q=a+*", "https://h/a?q=a%20b", false);
    permits("https://h/a?*", "https://h/a?b%23c", true);
    permits("https://h/a?*&c=d", "https://h/a?b%23&c=d", false);
    permits("https://h/a%3Fb/*", "https://h/a%3Fb/c", true);
    permits("https://**", "https://h/a%2Fb//c;d?e+%20", true);
    permits("https://h/**", "https://h/a%2Fb//c;d?e+%20", true);
    // A segment that is read away does not hold a place.
    permits("https://h/a/*/c", "https://h/a/;x/c", false);
    permits("https://h/a/**/c", "https://h/a/;x/c", true);
}

#[test]
fn too_many_readings_are_refused() {
    let chain = "25".repeat(100);
    for (url, refused) in [
        (format!("https://h/a%{chain}2F"), true),
        (format!("https://h/a?%{chain}2F"), true),
        ("https://h/a%2525252525252F".into(), false),
        (format!("https://h/{}", "%2F;x//%5C%3B".repeat(300)), true),
        (format!("https://h/{}", "a%2Fb;x//c%20d/".repeat(50)), false),
        (format!("https://h/a{}", "%252F".repeat(1_500)), false),
        (format!("https://h/a?q={}", "a+b%20%2B".repeat(900)), false),
        ("https://h/a;%252F//%255C%3F%253B%09%25253B/;%2B%25255C".into(), true),
    ] {
        assert_eq!(Target::url(&url).is_err(), refused, "{}", &url[..url.len().min(60)]);
    }
    let refused =
        Policy::parse("[http]\ndeny = ['https://h/a;%252F//%255C%3F%253B%09%25253B/;%2B%25255C/**']\n", None);
    assert!(refused.unwrap_err().message.contains("more than 64 possible readings"));
}

#[test]
fn everything_that_takes_a_url_pattern_reads_it_so() {
    // Literals.
    let rule = |effect: &str, target: &str| {
        format!("[[rule]]\neffect = \"{effect}\"\noperation = \"http.get\"\ntarget = {target}\n")
    };
    let verdict = |text: &str, url: &str| {
        let (action, target) = Target::resolve("http.get", url).unwrap();
        parse(text).decide(&Query::new("main", action, &target)).decision
    };
    let literal = "{ literal = \"https://h/a%2Fb?c=d%20e\" }";
    for effect in ["forbid", "ask"] {
        let text = rule("permit", "\"https://**\"") + &rule(effect, literal);
        for url in [
            "https://h/a%2Fb?c=d%20e",
            "https://h/a/b?c=d+e",
            "https://h//a%252Fb?c=d%2520e",
            "https://h/a/b%3Fc=d%20e",
        ] {
            assert_ne!(verdict(&text, url), PolicyDecision::Permit, "{effect} {url}");
        }
        for url in ["https://h/a/b", "https://h/a/b?c=d", "https://h/a/b/c?c=d+e", "https://h:8443/a/b?c=d+e"]
        {
            assert_eq!(verdict(&text, url), PolicyDecision::Permit, "{effect} {url}");
        }
    }
    let text = rule("permit", literal);
    assert_eq!(verdict(&text, "https://h/a%2fb?c=d%20e"), PolicyDecision::Permit);
    assert_eq!(verdict(&text, "https://h/a/b?c=d%20e"), PolicyDecision::DefaultDeny);

    // Conditions.
    let call = |text: &str, url: &str| {
        let args = object! { "url": url };
        let target = Target::tool("fetch").unwrap();
        let query = Query { args: Some(&args), ..Query::new("main", ak_policy::Action::Execute, &target) };
        parse(text).decide(&query).decision
    };
    let condition = |key: &str, pattern: &str| {
        format!(
            "[[rule]]\neffect = \"permit\"\noperation = \"execute\"\ntarget = \"fetch\"\n\
             {key}.args.\"/url\" = {{ format = \"url\", matches = [\"{pattern}\"] }}\n"
        )
    };
    let when = condition("when", "https://h/a/*");
    assert_eq!(call(&when, "https://h/a/b%20c"), PolicyDecision::Permit);
    assert_eq!(call(&when, "https://h/a/b%2Fc"), PolicyDecision::DefaultDeny);
    assert_eq!(call(&condition("when", "https://h/a%2Fb"), "https://h/a%2Fb"), PolicyDecision::Permit);
    let unless = condition("unless", "https://h/admin/**");
    assert_eq!(call(&unless, "https://h/x"), PolicyDecision::Permit);
    for url in ["https://h//admin", "https://h/admin%5Cx", "https://h/admin;x/y", "https://h/x/..%2fadmin"] {
        assert_eq!(call(&unless, url), PolicyDecision::DefaultDeny, "{url}");
    }

    // Capabilities.
    let authority = Authority::from_iter(Caveat::grant("http", "https://h/a%2Fb/*", &["get"]).unwrap());
    let covers = |url: &str| {
        let (action, target) = Target::resolve("http.get", url).unwrap();
        authority.covers(&Query::new("main", action, &target), &[0; 16])
    };
    assert!(covers("https://h/a%2Fb/c"));
    assert!(!covers("https://h/a/b/c") && !covers("https://h/a%2Fb/c%2Fd") && !covers("https://h/a%252Fb/c"));
    let bytes = authority.to_bytes();
    assert_eq!(Authority::from_bytes(&bytes), Some(authority.clone()));

    // Labels.
    let policy = parse(
        "[[label]]\nsource = \"http:https://h/secret/**\"\nsecrecy = [\"s\"]\n[[label]]\nsource = \"http:https://h/good/*\"\nintegrity = \"trusted\"\n",
    );
    let labels = |url: &str| policy.labels_of(&Target::url(url).unwrap()).whole;
    assert!(!labels("https://h//secret%2Fx").secrecy.is_empty());
    assert!(labels("https://h/x").secrecy.is_empty());
    assert_ne!(labels("https://h/good/a").integrity, labels("https://h/good/a%2Fb").integrity);
}

#[test]
fn a_source_is_what_servers_read_in_it() {
    let call = |effect: &str, from: &str, source: &str| {
        let text = format!(
            "[[rule]]\neffect = \"permit\"\noperation = \"execute\"\ntarget = \"a*\"\n\
             [[rule]]\neffect = \"{effect}\"\noperation = \"execute\"\ntarget = \"{}\"\n\
             when.args.\"/x\" = {{ from = [\"{from}\"] }}\n",
            if effect == "permit" { "b" } else { "ab" }
        );
        let args = object! { "x": 1 };
        let target = Target::tool(if effect == "permit" { "b" } else { "ab" }).unwrap();
        let origins = [ak_policy::Origin {
            pointer: ak_json::Pointer::parse("/x").unwrap(),
            labels: ak_json::Labels::default(),
            sources: [ak_json::Text::from(source)].into(),
        }];
        let query = Query {
            args: Some(&args),
            origins: &origins,
            ..Query::new("main", ak_policy::Action::Execute, &target)
        };
        parse(&text).decide(&query).decision
    };
    assert_eq!(call("permit", "http:https://h/good/*", "http:https://h/good/x"), PolicyDecision::Permit);
    assert_eq!(
        call("permit", "http:https://h/good/*", "http:https://h/good%2Fx"),
        PolicyDecision::DefaultDeny
    );
    assert_eq!(call("permit", "http:https://h/good%2Fx", "http:https://h/good%2Fx"), PolicyDecision::Permit);
    assert_eq!(
        call("permit", "http:https://h//good/*", "http:https://h//good/x"),
        PolicyDecision::DefaultDeny
    );
    for source in
        ["http:https://h/bad/x", "http:https://h//bad/x", "http:https://h/bad%2Fx", "http:https://h/bad;a/x"]
    {
        assert_eq!(call("forbid", "http:https://h/bad/*", source), PolicyDecision::Forbid, "{source}");
    }
    assert_eq!(call("forbid", "http:https://h/bad/*", "http:https://h/good%2Fx"), PolicyDecision::Permit);
}

#[test]
fn a_stronger_rule_is_seen_through_every_reading() {
    let lint = |deny: &str, allow: &str| {
        parse(&format!("[http]\nallow = ['GET {allow}']\ndeny = ['{deny}']\n")).lint().len()
    };
    assert_ne!(lint("https://h/a/**", "https://h/a/b%2Fc"), 0);
    assert_eq!(lint("https://h/a/*", "https://h/b"), 0);
}

/// Pieces of which hostile URLs are made.
fn piece() -> impl Strategy<Value = &'static str> {
    select(vec![
        "a", "b", "admin", "/", "//", "%2F", "%2f", "%5C", "%252F", "%255c", ";", ";v=1", "%3B", "%253B",
        "%3A", ":", "%20", "+", "%25", "%61", "%2561", "%3F", "%23", "%09", "%C3%A9", "..", ".", "%2E",
        "%252e", "!", "%21", "*", "%2A",
    ])
}

fn path() -> impl Strategy<Value = String> {
    prop::collection::vec(piece(), 0..7).prop_map(|pieces| format!("/{}", pieces.concat()))
}

fn query() -> impl Strategy<Value = String> {
    let none = Just(String::new());
    prop_oneof![3 => none, 1 => prop::collection::vec(piece(), 0..4).prop_map(|pieces| format!("?q={}", pieces.concat()))]
}

fn escape(url: &str) -> String {
    url.replace('*', "\\*")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn every_url_is_permitted_and_forbidden_by_its_own_text(path in path(), query in query()) {
        let url = format!("https://h{path}{query}");
        if let Ok(target) = Target::url(&url) {
            let own = escape(&target.to_string());
            prop_assert_eq!(decide(&[&own], &[], &url), Some(PolicyDecision::Permit), "{}", own);
            prop_assert_eq!(decide(&["https://**"], &[&own], &url), Some(PolicyDecision::Forbid), "{}", own);
        }
    }

    /// The index finds what matching each rule would find.
    #[test]
    fn the_index_finds_every_reading(patterns in prop::collection::vec(path(), 1..5), path in path()) {
        let url = format!("https://h{path}");
        let patterns: Vec<_> = patterns.iter().map(|path| format!("https://h{}", escape(path))).collect();
        let is_pattern = |own: &&str| Policy::parse(&format!("[http]\ndeny = ['{own}']"), None).is_ok();
        let good: Vec<&str> = patterns.iter().map(String::as_str).filter(is_pattern).collect();
        if Target::url(&url).is_err() {
            return Ok(());
        }
        // Behind `*` as the host no literal text leads to the pattern.
        let anywhere = |own: &&str| {
            let own = own.replace("https://h/", "https://*/");
            decide(&[], &[&own], &url) == Some(PolicyDecision::Forbid)
        };
        let alone = good.iter().any(anywhere);
        let together = decide(&["https://**"], &good, &url) == Some(PolicyDecision::Forbid);
        prop_assert_eq!(alone, together);
    }

    /// What is permitted and what is forbidden by the same pattern differ by doubt alone.
    #[test]
    fn what_a_pattern_permits_it_also_forbids(pattern in path(), path in path()) {
        let (pattern, url) = (format!("https://h{pattern}"), format!("https://h{path}"));
        if Policy::parse(&format!("[http]\ndeny=['{pattern}']"), None).is_ok() && Target::url(&url).is_ok()
            && decide(&[&pattern], &[], &url) == Some(PolicyDecision::Permit) {
            prop_assert_eq!(decide(&["https://**"], &[&pattern], &url), Some(PolicyDecision::Forbid));
        }
    }

    #[test]
    fn a_suggestion_permits_exactly_this_url(path in path(), query in query(), other in path()) {
        let url = format!("https://h{path}{query}");
        let Ok((action, target)) = Target::resolve("http.get", &url) else { return Ok(()) };
        let ask = Query::new("main", action, &target);
        let snippet = Policy::deny_all().suggest(&ask).unwrap();
        let policy = parse(&format!("profiles = []\n{snippet}"));
        prop_assert_eq!(policy.decide(&ask).decision, PolicyDecision::Permit);
        if let Ok(other) = Target::url(&format!("https://h{other}")) {
            let permitted = policy.decide(&Query::new("main", action, &other)).decision.is_permit();
            prop_assert_eq!(permitted, other == target);
        }
    }
}
