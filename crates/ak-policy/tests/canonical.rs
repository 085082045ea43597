//! A policy comes back from its canonical form.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed")]

use ak_policy::{Included, Loader, POLICY_BYTES_MAX, Policy};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

/// As a text and back it is the same policy, to the letter.
fn comes_back(policy: &Policy) -> Result<(), TestCaseError> {
    let text = policy.to_value().to_json();
    let again = Policy::parse(&text, None);
    let again = again.map_err(|error| TestCaseError::fail(format!("{error}\n{text}")))?;
    prop_assert_eq!(again.to_value().to_json(), text);
    prop_assert_eq!(again.digest(), policy.digest());
    prop_assert_eq!(again.grants(), policy.grants());
    let again = Policy::from_value(policy.to_value());
    prop_assert_eq!(again.as_ref(), Ok(policy));
    Ok(())
}

/// A profile whose directory is another's.
struct Elsewhere;

impl Loader for Elsewhere {
    fn load(&self, name: &str, _base_dir: Option<&str>) -> Result<Included, String> {
        let text = "fs.read = [\"./x\"]\n".to_string();
        Ok(Included { identity: name.into(), text, base_dir: Some(format!("/{name}")) })
    }
}

#[test]
fn rules_of_one_id_are_told_apart() {
    let check = |text: &str, ids: &[&str]| {
        let policy = Policy::parse_with(text, Some("/base"), &Elsewhere).unwrap();
        comes_back(&policy).unwrap();
        let value = policy.to_value();
        let rules = value.get("rule").and_then(|rules| rules.as_array()).unwrap();
        let found: Vec<_> = rules.iter().map(|rule| rule.get("id").unwrap().as_str().unwrap()).collect();
        assert_eq!(found.len(), ids.len(), "{found:?}");
        assert!(found.iter().all(|id| ids.iter().any(|own| id.starts_with(own))), "{found:?}");
        assert_eq!(found.iter().collect::<std::collections::BTreeSet<_>>().len(), ids.len(), "{found:?}");
    };
    let rule = "[[rule]]\nid = \"fs.read:./x\"\neffect = \"ask\"\noperation = \"fs.read\"\ntarget = \"/y\"\n";
    let cut = "fs.read:./x…";
    check("fs.read = [\"./x\"]\n", &["fs.read:./x"]);
    check("profiles = [\"a.b\", \"c.d\"]\nfs.read = [\"./x\"]\n", &[cut, cut, cut]);
    check(&format!("fs.read = [\"./x\"]\n{rule}"), &[cut, cut]);
    let limit = rule.replace("[[rule]]", "[[limit]]\ncount = true\nmax = 1\nper = \"1h\"");
    check(&format!("fs.read = [\"./x\"]\n{}", limit.replace("effect = \"ask\"\n", "")), &[cut]);
    let (read, write) = ("{ path = \"/x\", read = true }", "{ path = \"/x\", write = true }");
    check(&format!("fs.allow = [{read}, {write}]\n"), &["fs.allow:/x…", "fs.allow:/x…"]);
    check("fs.allow = [{ path = \"/x\", read = true, write = true }]\n", &["fs.allow:/x"]);
}

#[test]
fn a_pattern_is_no_longer_in_its_canonical_form_than_it_may_be() {
    for (section, text) in [
        ("fs.read", format!("./{}", "x".repeat(8_190))),
        ("tools.allow", "x".repeat(8_192)),
        ("http.allow", format!("GET https://a.com/{}", "ü".repeat(4_000))),
    ] {
        let error = Policy::parse(&format!("{section} = [{text:?}]\n"), Some("/base")).unwrap_err();
        assert!(error.message.contains("long"), "{error}");
        let shorter: String = text.chars().take(1_000).collect();
        comes_back(&Policy::parse(&format!("{section} = [{shorter:?}]\n"), Some("/base")).unwrap()).unwrap();
    }
}

#[test]
fn a_policy_comes_back_from_a_value_longer_than_a_text() {
    let paths: Vec<_> = (0..40_000).map(|number| format!("/{number}")).collect();
    let policy = Policy::parse(&format!("fs.read = {paths:?}\n"), None).unwrap();
    assert!(policy.to_value().json_len() > POLICY_BYTES_MAX);
    assert_eq!(Policy::from_value(policy.to_value()), Ok(policy));
    let error = Policy::from_value(&ak_json::object! { "raed": 1 }).unwrap_err();
    assert_eq!((error.line, error.column), (1, 2));
}

#[test]
fn written_policies_come_back_from_their_canonical_form() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/policies/");
    let mut texts = vec![include_str!("policies/everything.toml").to_string()];
    for entry in std::fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if name.ends_with(".toml") && !name.ends_with(".expected.toml") {
            texts.push(std::fs::read_to_string(&path).unwrap());
        }
    }
    assert!(texts.len() > 6);
    for text in texts {
        comes_back(&Policy::parse(&text, Some("/base")).unwrap()).unwrap();
    }
    comes_back(&Policy::baseline()).unwrap();
    comes_back(&Policy::deny_all()).unwrap();
}

fn list(items: &[&'static str]) -> impl Strategy<Value = String> + use<> {
    subsequence(items.to_vec(), 0..=items.len().min(3)).prop_map(|items| format!("{items:?}"))
}

fn some_of(items: &[&'static str]) -> impl Strategy<Value = String> + use<> {
    subsequence(items.to_vec(), 1..=items.len().min(3)).prop_map(|items| format!("{items:?}"))
}

fn section() -> BoxedStrategy<String> {
    let paths = ["/app/**", "./data/*.csv", "/a/*/b", "/**", "/", "/a\\\\*b", "/ü/x"];
    let tools = ["add", "file_*", "x@1.*", "*", "a\\\\*", "@a", "a@b@c", "t:x"];
    let names = ["add", "text_*", "*", "a\\\\*"];
    let key = |section: &'static str, keys: &[&'static str], items: &[&'static str]| {
        (select(keys.to_vec()), list(items))
            .prop_map(move |(key, items)| format!("{section}.{key} = {items}\n"))
    };
    prop_oneof![
        key("fs", &["read", "write", "deny"], &paths),
        key("tools", &["allow", "deny"], &tools),
        key("spawn", &["allow", "deny"], &["crew/**", "worker-*", "*", "**", "a/b"]),
        key("net", &["dns"], &["a.com", "*.a.com", "*", "bücher.example"]),
        key(
            "net",
            &["connect", "bind", "listen"],
            &["dns:a.com:443", "dns:*:*", "ip:10.0.0.0/8:1-9", "ip:[2001:db8::]/32:80"]
        ),
        key("net", &["deny"], &["a.com", "dns:b.com", "dns:b.com:80", "ip:10.0.0.0/8", "ip:1.2.3.4:80"]),
        key(
            "http",
            &["allow"],
            &[
                "GET https://a.com/**",
                "* https://a.com:*/x?q=*",
                "POST https://**",
                "GET http://10.0.0.1/a b"
            ]
        ),
        key("http", &["deny"], &["https://a.com/admin/**", "GET https://a.com/x", "https://**"]),
        key("infer", &["models", "deny"], &["gpt-*", "llama:7b", "*"]),
        key("wasm", &["modules", "hostcalls", "deny"], &names),
        older(),
        (0u64..5).prop_map(|max| format!("infer.max_tokens = {max}\n")),
        (select(vec!["tokens", "memory", "cost_micro_usd"]), 0u64..5)
            .prop_map(|(name, limit)| format!("budgets.{name} = {limit}\n")),
        (
            select(vec!["tokens", "each.tokens", "each.cpu"]),
            0u64..5,
            select(vec!["24h", "7d", "90s"]),
            any::<bool>()
        )
            .prop_map(|(name, max, per, both)| {
                let limit = format!("{{ max = {max}, per = {per:?} }}");
                match both {
                    true => format!("budgets.{name} = [{max}, {limit}, {{ max = 1, per = \"1h\" }}]\n"),
                    false => format!("budgets.{name} = {limit}\n"),
                }
            }),
    ]
    .boxed()
}

/// The older tables, of which several may speak of one target.
fn older() -> impl Strategy<Value = String> {
    let rows: [(&str, &[&str]); 5] = [
        (
            "fs.allow",
            &[
                "{ path = \"/x\", read = true, write = true }",
                "{ path = \"/x\", write = true }",
                "{ path = \"/y\", read = false }",
            ],
        ),
        (
            "net.allow",
            &[
                "{ pattern = \"a.com:80\" }",
                "{ pattern = \"a.com:80\", bind = true }",
                "{ pattern = \"10.0.0.0/8:80\", connect = false }",
            ],
        ),
        ("dns.allow", &["{ pattern = \"a.com\" }"]),
        ("tools.allow", &["{ name = \"x\", version = \"1\" }", "{ name = \"x\", version = \"*\" }", "\"x\""]),
        ("inference.allow", &["{ model = \"gpt-*\", max_tokens = 3 }", "{ model = \"gpt-*\" }"]),
    ];
    select(rows.to_vec()).prop_flat_map(|(key, items)| {
        subsequence(items.to_vec(), 1..=items.len())
            .prop_map(move |items| format!("{key} = [{}]\n", items.join(", ")))
    })
}

/// Sections, each key once.
fn sections() -> impl Strategy<Value = String> {
    prop::collection::vec(section(), 0..4).prop_map(|mut lines| {
        let key = |line: &String| line.split(' ').next().unwrap_or_default().to_string();
        lines.sort();
        lines.dedup_by_key(|line| key(line));
        lines.concat()
    })
}

/// Operations, and targets that fit them.
fn about() -> impl Strategy<Value = String> {
    let rows: [(&[&'static str], &[&'static str]); 9] = [
        (&["fs.read", "fs.write", "fs.list", "fs.*"], &["/a/**", "./x", "*", "/a\\\\*"]),
        (&["execute"], &["tool_*", "x@1", "tool:x", "*"]),
        (&["http.*", "http.get", "http.post"], &["https://a.com/**", "https://**", "http://a.com/x?*"]),
        (&["dns"], &["a.com", "dns:*", "*.a.com", "*"]),
        (&["connect", "bind"], &["dns:a.com:443", "ip:10.0.0.0/8:*"]),
        (&["infer"], &["gpt-*", "model:llama:7b"]),
        (&["spawn", "send"], &["crew/*", "agent:*", "**", "main"]),
        (&["heap.read", "heap.*"], &["heap:*", "heap:0x1f", "7"]),
        (
            &["*"],
            &["tool:x", "/a", "agent:x", "type:a*", "audit:*", "dns:a.com", "model:*", "https://a.com/", "*"],
        ),
    ];
    select(rows.to_vec()).prop_flat_map(|(operations, targets)| {
        (some_of(operations), some_of(targets))
            .prop_map(|(operations, targets)| format!("operation = {operations}\ntarget = {targets}\n"))
    })
}

fn condition(key: &'static str) -> impl Strategy<Value = String> {
    let test = select(vec![
        "equals = 1.0",
        "in = [1, \"a\", [2.5]]",
        "type = \"integer\"",
        "min = 0.1, max = 5",
        "max_length = 3",
        "starts = \"x\"",
        "matches = [\"a*\", \"b\\\\*\"]",
        "format = \"email\", matches = [\"*@example.com\"]",
        "format = \"host\", matches = [\"*.example.com\"]",
        "format = \"url\", matches = [\"https://h/**\"]",
        "format = \"path\", matches = [\"/data/**\"]",
        "only = [\"/a\", \"/b/*\"]",
        "label = [\"trusted\", \"!pii\"]",
        "from = [\"user\", \"tool:x\", \"http:https://a.com/**\", \"agent:x\"], optional = true",
    ]);
    let at = select(vec!["", "/x", "/y/*", "/a~1b/0"]);
    prop_oneof![
        2 => Just(String::new()),
        3 => (at, test).prop_map(move |(at, test)| format!("{key}.args.{at:?} = {{ {test} }}\n")),
        1 => select(vec!["untrusted", "public", "!pii"]).prop_map(move |label| format!("{key}.label = {label:?}\n")),
    ]
}

fn rule() -> impl Strategy<Value = String> {
    let line = |key: &'static str, items: &[&'static str]| prop_oneof![2 => Just(String::new()), 1 => some_of(items).prop_map(move |items| format!("{key} = {items}\n"))];
    let times =
        ["Mon-Fri 08:00-18:00", "22:00-06:00", "Sat,Sun", "2026-01-01T00:00:00Z/2026-02-01T00:00:00Z"];
    (
        select(vec!["permit", "ask", "forbid"]),
        about(),
        line("agent", &["main", "crew/*", "*", "**"]),
        line("time", &times),
        line("only", &["/x", "/y/*", ""]),
        condition("when"),
        condition("unless"),
    )
        .prop_map(|(effect, about, agent, time, only, when, unless)| {
            format!("[[rule]]\neffect = {effect:?}\n{about}{agent}{time}{only}{when}{unless}")
        })
}

fn capability() -> impl Strategy<Value = String> {
    let grant = select(vec![
        ("tool_*", "*", "*"),
        ("x@1", "*", "execute"),
        ("fs", "./data/**", "read"),
        ("fs", "*", "*"),
        ("http", "https://a.com/**", "get"),
        ("http", "*", "*"),
        ("net", "dns:a.com:443", "*"),
        ("net", "a.com", "dns"),
        ("net", "ip:10.0.0.0/8:*", "connect"),
        ("net", "*", "listen"),
        ("infer", "gpt-*", "infer"),
        ("spawn", "crew/**", "spawn"),
    ]);
    let rate = select(vec![
        "",
        "rate = \"10/min\"\n",
        "rate = \"1/24h\"\n",
        "rate = \"0/90s\"\n",
        "rate = \"7/1500ms\"\n",
    ]);
    let expires = select(vec!["", "expires_minutes = 0\n", "expires_minutes = 90\n"]);
    (grant, rate, expires).prop_map(|((name, resource, method), rate, expires)| {
        format!(
            "[[capability]]\nname = {name:?}\nresource = {resource:?}\nmethods = {method:?}\n{rate}{expires}"
        )
    })
}

fn limit() -> impl Strategy<Value = String> {
    let measure = select(vec![
        "count = true",
        "sum = \"/n\"",
        "sum = \"/items/*/n\"",
        "count = true\nby = \"agent\"",
        "sum = \"usage:tokens\"",
    ]);
    let max = prop_oneof![
        (0u64..9_000_000_000_000_000).prop_map(|millionths| format!("{:.6}", millionths as f64 / 1e6)),
        (0u64..100_000_000).prop_map(|millionths| format!(
            "{}.{:06}",
            millionths / 1_000_000,
            millionths % 1_000_000
        )),
        (0.0f64..100.0).prop_map(|max| format!("{max:?}")),
        (0u64..1_000).prop_map(|max| max.to_string()),
    ];
    (about(), measure, max, select(vec!["24h", "90s", "1500ms", "d"])).prop_map(
        |(about, measure, max, per)| {
            format!("[[limit]]\nid = \"ID\"\n{about}{measure}\nmax = {max}\nper = {per:?}\n")
        },
    )
}

fn label() -> impl Strategy<Value = String> {
    let source = select(vec![
        "tool:read_*",
        "tool:*",
        "http:*",
        "http:https://a.com/**",
        "fs:*",
        "fs:./x",
        "model:gpt-*",
        "agent:*",
        "agent:a/*",
    ]);
    let what = select(vec![
        "integrity = \"trusted\"\n",
        "secrecy = [\"pii\", \"a b\"]\n",
        "integrity = \"untrusted\"\nsecrecy = [\"x\"]\n",
    ]);
    (source, select(vec!["", "/a", "/a~1b/0"]), what).prop_map(|(source, pointer, what)| {
        format!("[[label]]\nsource = {source:?}\npointer = {pointer:?}\n{what}")
    })
}

fn policy() -> impl Strategy<Value = String> {
    use prop::collection::vec;
    let top = select(vec!["", "profiles = []\n", "profiles = [\"baseline\"]\ndenial_detail = \"full\"\n"]);
    let agent = (select(vec!["main", "crew/a", "a*b", "x y"]), sections());
    (
        top,
        sections(),
        vec(agent, 0..2),
        vec(rule(), 0..3),
        vec(capability(), 0..3),
        vec(limit(), 0..3),
        vec(label(), 0..3),
    )
        .prop_map(|(top, sections, agents, rules, capabilities, limits, labels)| {
            let limits =
                limits.iter().enumerate().map(|(at, limit)| limit.replace("ID", &format!("limit {at}")));
            let agents =
                agents.iter().take(1).map(|(name, sections)| format!("[agent.{name:?}]\n{sections}"));
            let tables: String =
                limits.chain(rules).chain(capabilities).chain(labels).chain(agents).collect();
            format!("{top}{sections}{tables}")
        })
}

proptest! {
    #![proptest_config(ProptestConfig { max_global_rejects: 20_000, ..ProptestConfig::with_cases(1_500) })]

    #[test]
    fn a_policy_comes_back_from_its_canonical_form(text in policy()) {
        // Not every target fits every operation.
        let policy = Policy::parse(&text, Some("/base"));
        prop_assume!(policy.is_ok());
        comes_back(&policy.unwrap())?;
    }
}
