//! What the language refuses, where it says the fault lies, and what it thinks was meant.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed")]

use ak_policy::budget::{BudgetLimit, Dimension};
use ak_policy::{Included, Loader, Policy, PolicyDecision, PolicyError, Query, Target};

/// One row: the text is refused at `line:column` with a message and hint that hold these words.
#[track_caller]
fn refused(text: &str, at: &str, words: &str, hint: &str) {
    let error = Policy::parse(text, None).expect_err(text);
    let place = format!("{}:{}", error.line, error.column);
    assert_eq!(place, at, "{error}\n{text}");
    assert!(error.message.contains(words), "{error}");
    assert!(error.hint.as_deref().unwrap_or_default().contains(hint), "{error}");
}

#[track_caller]
fn accepted(text: &str) -> Policy {
    Policy::parse(text, Some("/base")).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

#[test]
fn unknown_keys() {
    refused("[fs]\nraed = []", "2:1", "unknown key 'raed'", "did you mean 'read'");
    refused("[tool]\nallow = []", "1:2", "unknown key 'tool'", "'tools'");
    refused("[[capabilities]]\nname = \"x\"", "1:3", "unknown key 'capabilities'", "'capability'");
    refused("[frobnicate]", "1:2", "unknown key 'frobnicate'", "known here: version");
    refused("[budgets]\ntoken = 5", "2:1", "unknown key 'token'", "'tokens'");
    refused(r#"{"fs": {"read": [], "raed": []}}"#, "1:21", "unknown key 'raed'", "'read'");
    refused("[agent.\"crew\"]\ntools.alow = []", "2:7", "unknown key 'alow'", "'allow'");
    refused(
        "[[rule]]\neffect = \"permit\"\noperation = \"execute\"\ntarget = \"x\"\nwhen.args.\"/x\" = { equal = 1 }",
        "5:20",
        "unknown key 'equal'",
        "'equals'",
    );
}

#[test]
fn duplicates_and_syntax() {
    refused("[fs]\nread = []\nread = []", "3:1", "duplicate key", "");
    refused("[fs]\n[fs]", "2:2", "duplicate key", "");
    refused(r#"{"fs": {}, "fs": {}}"#, "1:12", "duplicate member", "");
    refused("[fs\nread = []", "1:4", "", "");
    refused("{", "1:2", "end of text", "");
    refused("x = 99999999999999999999", "1:5", "64 bits", "");
    refused("x = nan", "1:5", "not finite", "");
}

#[test]
fn wrong_types() {
    refused("[fs]\nread = \"/app\"", "2:8", "expected an array, found a string", "");
    refused("[fs]\nread = [1]", "2:9", "expected a string, found a number", "");
    refused("fs = 3", "1:6", "expected a table, found a number", "");
    refused("version = \"2.0\"", "1:11", "version", "1.0");
    refused("[budgets]\ntokens = -1", "2:10", "not negative", "");
    refused("[budgets]\ntokens = { per = \"24h\" }", "2:10", "'max' is missing", "");
    refused("[budgets]\ntokens = { max = 1, per = \"soon\" }", "2:27", "not a period", "'24h'");
    refused("[budgets]\ntokens = { max = 1, pre = \"24h\" }", "2:21", "unknown key 'pre'", "'per'");
    refused("[budgets]\ntokens = []", "2:10", "empty", "");
    refused("[budgets]\nmemory = { max = 1, per = \"24h\" }", "2:21", "memory takes no 'per'", "memory = 1");
    refused("[budgets]\nheap_objects = { max = 1, per = \"24h\" }", "2:27", "takes no 'per'", "");
    refused("[budgets]\nwall_time_ms = [{ max = 1, per = \"24h\" }]", "2:28", "takes no 'per'", "");
    refused("[budgets.each]\nmemory = { max = 1, per = \"24h\" }", "2:21", "takes no 'per'", "");
    refused("[budgets.each]\neach = 1", "2:1", "unknown key 'each'", "");
    refused("[agent.\"crew/*\".budgets]\ntokens = 1", "1:17", "several agents", "budgets.each");
    refused("[budgets]\ntokens = 1.5", "2:10", "whole number", "");
    refused("[tools]\nallow = [\"\"]", "2:10", "empty", "");
    refused("denial_detail = \"ful\"", "1:17", "'ful' is not known here", "'full'");
    refused("profiles = [\"basline\"]", "1:13", "no profile 'basline'", "'baseline'");
    refused("profiles = [\"./x.toml\"]", "1:13", "cannot be read", "");
}

#[test]
fn bad_patterns() {
    refused("[fs]\nread = [\"/app\", \"data\"]", "2:17", "not an absolute path", "'/data', './data'");
    refused("[fs]\ndeny = [\"**/.env\"]", "2:9", "not an absolute path", "write '/**/.env'");
    refused("[fs]\ndeny = [\"~/.ssh/**\"]", "2:9", "not an absolute path", "write the home directory out");
    refused("[fs]\ndeny = [\"../x\"]", "2:9", "not an absolute path", "begin with '/'");
    refused("[fs]\nread = [\"./data\"]", "2:9", "no directory to start from", "load the policy from a file");
    refused("[fs]\nread = [\"/a/../b\"]", "2:9", "'..'", "");
    refused("[fs]\nread = [\"/a/\"]", "2:9", "empty", "/app/**");
    refused("[fs]\nread = [\"/a/b**\"]", "2:9", "whole segment", "");
    refused("[fs]\nread = ['/a\\']", "2:9", "lone '\\'", "");
    refused("[net]\ndns = [\"a*.com\"]", "2:8", "host pattern", "'*.example.com'");
    refused("[net]\ndns = [\"127.0.0.1\"]", "2:8", "not a host name", "");
    refused("[net]\nconnect = [\"dns:a.com\"]", "2:12", "port is missing", "':443'");
    refused("[net]\nconnect = [\"ip:10.0.0.1/8:80\"]", "2:12", "bits set after", "first address");
    refused("[net]\nconnect = [\"ip:10.0.0/8:80\"]", "2:12", "not an address range", "10.0.0.0/8");
    refused("[net]\nconnect = [\"a.com:80\"]", "2:12", "kind of target is ambiguous", "'dns:'");
    refused("[http]\nallow = [\"https://a.com/**\"]", "2:10", "method is missing", "'GET https://");
    refused("[http]\nallow = [\"GTE https://a.com/**\"]", "2:10", "'GTE' is not known", "'GET'");
    refused("[http]\nallow = [\"GET ftp://a.com/**\"]", "2:10", "not a url pattern", "https://host");
    refused("[tools]\nallow = [\"a@\"]", "2:10", "empty", "");
    refused("[http]\nallow = [\"GET,GTE https://a.com/**\"]", "2:10", "'GTE' is not known", "'GET'");
    refused("[http]\nallow = [\"GET, HEAD https://a.com/**\"]", "2:10", "'' is not known", "known here: GET");
    refused("[wasm]\nhostcalls = [\"\"]", "2:14", "empty", "");
}

#[test]
fn bad_rules() {
    let rule = |rest: &str| {
        format!("[[rule]]\neffect = \"permit\"\noperation = \"execute\"\ntarget = \"x\"\n{rest}")
    };
    refused("[[rule]]\noperation = \"execute\"\ntarget = \"x\"", "1:1", "'effect' is missing", "");
    // Nothing could be appended to such a policy.
    refused("version = \"1.0\"\n\"rule\" = []", "2:1", "tables of their own", "[[rule]]");
    refused(
        "[[rule]]\neffect = \"allow\"\noperation = \"execute\"\ntarget = \"x\"",
        "2:10",
        "'allow'",
        "permit",
    );
    for (effect, meant) in [("deny", "'forbid'"), ("block", "'forbid'"), ("approve", "'ask'")] {
        let rule = format!("[[rule]]\neffect = {effect:?}\noperation = \"execute\"\ntarget = \"x\"");
        refused(&rule, "2:10", "not known here", meant);
    }
    refused(
        "[[rule]]\neffect = \"permit\"\noperation = \"exeucte\"\ntarget = \"x\"",
        "3:13",
        "'exeucte'",
        "'execute'",
    );
    refused(
        "[[rule]]\neffect = \"permit\"\noperation = \"fs.read\"\ntarget = \"tool:x\"",
        "4:10",
        "no operation",
        "",
    );
    refused(
        "[[rule]]\neffect = \"permit\"\noperation = [\"fs.read\", \"dns\"]\ntarget = \"/x\"",
        "3:25",
        "no target",
        "",
    );
    refused(
        "[[rule]]\neffect = \"permit\"\noperation = \"*\"\ntarget = \"x\"",
        "4:10",
        "kind of target",
        "'tool:'",
    );
    refused(
        "[[rule]]\neffect = \"permit\"\noperation = \"dns\"\ntarget = { literal = \"a b\" }",
        "4:22",
        "host",
        "",
    );
    refused(&rule("agent = \"a//b\""), "5:9", "empty", "");
    refused(&rule("time = \"8-18\""), "5:8", "time window", "Mon-Fri");
    refused(&rule("only = [\"x\"]"), "5:9", "does not begin with '/'", "");
    refused(&rule("when.args.\"x\" = { equals = 1 }"), "5:11", "does not begin with '/'", "");
    refused(&rule("when.args.\"/x\" = { }"), "5:18", "constraint is empty", "");
    refused(&rule("when = { }"), "5:8", "condition is empty", "");
    refused(&rule("when.args.\"/x\" = { format = \"mail\" }"), "5:29", "'mail'", "'email'");
    refused(
        &rule("when.args.\"/x\" = { format = \"email\", matches = [\"x\"] }"),
        "5:49",
        "'@'",
        "'*@example.com'",
    );
    refused(&rule("when.args.\"/x\" = { in = [] }"), "5:25", "empty", "");
    let twice = "[[rule]]\nid = \"a\"\neffect = \"permit\"\noperation = \"execute\"\ntarget = \"x\"\n";
    refused(&twice.repeat(2), "6:1", "the id 'a' is taken", "");
}

#[test]
fn a_list_of_methods_is_each_of_them() {
    let policy =
        accepted("[http]\nallow = [\"GET,HEAD https://a.com/**\"]\ndeny = [\"HEAD,PUT https://a.com/x\"]");
    let decided = |method: &str, url: &str| {
        let (action, target) = Target::resolve("http", &format!("{method} {url}")).unwrap();
        policy.decide(&Query::new("main", action, &target)).decision
    };
    assert_eq!(decided("GET", "https://a.com/x"), PolicyDecision::Permit);
    assert_eq!(decided("HEAD", "https://a.com/y"), PolicyDecision::Permit);
    assert_eq!(decided("HEAD", "https://a.com/x"), PolicyDecision::Forbid);
    assert_eq!(decided("PUT", "https://a.com/x"), PolicyDecision::Forbid);
    assert_eq!(decided("PUT", "https://a.com/y"), PolicyDecision::DefaultDeny);
}

#[test]
fn host_calls_are_spelled_as_rules_or_as_modules_do() {
    let policy = accepted("[wasm]\nhostcalls = [\"fs.read\", \"fs_stat\", \"http.*\"]");
    for (hostcall, allowed) in
        [("fs_read", true), ("fs_stat", true), ("http_request", true), ("fs_write", false)]
    {
        assert_eq!(policy.wasm_hostcall_allowed("main", hostcall), allowed, "{hostcall}");
    }
}

/// A verb without its family means the operation that is done to the rule's targets, as in `authorize`.
#[test]
fn a_verb_takes_its_family_from_the_targets() {
    let rule = |operation: &str, target: &str| {
        format!("[[rule]]\neffect = \"permit\"\noperation = {operation}\ntarget = {target}")
    };
    let same = |verb: &str, operation: &str, target: &str| {
        let [verb, operation] = [verb, operation].map(|operation| {
            let policy = Policy::parse(&rule(operation, target), None).unwrap();
            let permitted = |operation: &str, target: &str| {
                let (action, target) = Target::resolve(operation, target).unwrap();
                policy.decide(&Query::new("main", action, &target)).decision == PolicyDecision::Permit
            };
            [
                permitted("fs.read", "/data/a"),
                permitted("fs.list", "/data"),
                permitted("fs.write", "/data/a"),
                permitted("fs.delete", "/data/a"),
                permitted("heap.read", "0x100000000"),
                permitted("heap.write", "0x100000000"),
                permitted("http.get", "https://a.example/x"),
                permitted("audit.read", "main"),
            ]
        });
        assert_eq!(verb, operation);
        assert!(verb.contains(&true));
    };
    same(r#""read""#, r#""fs.read""#, r#""/data/**""#);
    same(r#""read""#, r#""heap.read""#, r#""heap:*""#);
    same(r#""write""#, r#""fs.write""#, r#"["/data/**"]"#);
    same(r#"["read", "write"]"#, r#"["heap.read", "heap.write"]"#, r#""heap:*""#);
    same(r#""GET""#, r#""http.get""#, r#""https://a.example/**""#);
    same(r#""get""#, r#""http.get""#, r#""*""#);
    let several = "the targets do not tell which operation this is";
    refused(&rule(r#""read""#, r#""*""#), "3:13", several, "'fs.read' or");
    refused(&rule(r#""write""#, r#"["/data/**", "heap:*"]"#), "3:13", several, "'fs.write' or");
    refused(&rule(r#""read""#, r#""tool:x""#), "4:10", "no operation", "");
    refused(&rule(r#""Read""#, r#""/data/**""#), "3:13", "'Read' is not known", "'fs.read'");
}

#[test]
fn bad_capabilities_limits_and_labels() {
    refused("[[capability]]\nresource = \"*\"", "1:1", "'name' is missing", "");
    refused("[[capability]]\nname = \"fs\"", "1:1", "'methods' is missing", "\"*\"");
    refused("[[capability]]\nname = \"x\"\nmethods = [\"run\"]", "3:12", "'run'", "execute");
    refused("[[capability]]\nname = \"x\"\nresource = \"/data\"", "3:12", "no resources", "fs, http, net");
    let file = "[[capability]]\nname = \"file\"\nresource = \"/data\"";
    refused(file, "3:12", "'file' was read as the name of a tool", "write 'fs'");
    refused(&format!("{file}\nmethods = [\"read\"]"), "1:1", "'file' was read as", "write 'fs'");
    refused("[[capability]]\nname = \"fs\"\nmethods = [\"rd\"]", "3:12", "'rd'", "read, list, stat");
    refused("[[capability]]\nname = \"x\"\nrate = \"10 per minute\"", "3:8", "not a rate", "'10/min'");
    refused(
        "[[capability]]\nname = \"net\"\nresource = \"ip:10.0.0.0/8:80\"\nmethods = [\"dns\"]",
        "1:1",
        "none of the methods",
        "",
    );
    let limit = "[[limit]]\nid = \"d\"\noperation = \"execute\"\ntarget = \"x\"\n";
    refused(&format!("{limit}max = 5\nper = \"24h\""), "1:1", "neither 'sum' nor 'count'", "");
    refused(&format!("{limit}count = true\nmax = -5\nper = \"24h\""), "6:7", "negative", "");
    refused(&format!("{limit}count = true\nmax = 5\nper = \"soon\""), "7:7", "not a period", "'24h'");
    let rest = "max = 5\nper = \"24h\"";
    refused(&format!("{limit}count = true\nby = \"tool\"\n{rest}"), "6:6", "not known", "agent");
    refused(&format!("{limit}sum = \"usage:tokens\"\n{rest}"), "5:7", "only the operation infer", "infer");
    let infer = limit.replace("execute", "infer");
    refused(&format!("{infer}sum = \"usage:token\"\n{rest}"), "5:7", "not known", "'usage:tokens'");
    refused(&format!("{infer}sum = \"usage:bytes\"\n{rest}"), "5:7", "not known", "usage:cost_micro_usd");
    for pointer in ["/usage/total_tokens", "/usage", "/usage/*", "/choices/0/index", "/created"] {
        let text = format!("{infer}sum = {pointer:?}\n{rest}");
        refused(&text, "5:7", "in a model's answer", "usage:tokens");
        refused(
            &text.replace("\"infer\"", "[\"infer\", \"execute\"]").replace("\"x\"", "\"*\""),
            "5:7",
            "answer",
            "",
        );
    }
    for operation in ["dns", "connect", "fs.list", "heap.read"] {
        let text =
            format!("{limit}sum = \"/n\"\n{rest}").replace("execute", operation).replace("\"x\"", "\"*\"");
        refused(&text, "5:7", "no arguments to sum up", "count = true");
    }
    accepted(&format!("{limit}sum = \"/usage/total_tokens\"\n{rest}"));
    accepted(&format!("{infer}sum = \"/max_tokens\"\n{rest}"));
    accepted(&format!("{infer}sum = \"usage:cost_micro_usd\"\nby = \"agent\"\n{rest}"));
    refused("[[label]]\nsource = \"tol:x\"\nintegrity = \"trusted\"", "2:10", "'tol'", "'tool'");
    refused("[[label]]\nsource = \"tool:x\"", "1:1", "neither 'integrity' nor 'secrecy'", "");
    refused("[[label]]\nsource = \"tool:x\"\nsecrecy = [\"trusted\"]", "3:12", "not a secrecy label", "");
}

#[test]
fn every_prefix_of_a_policy_is_read_or_refused() {
    let text = include_str!("policies/everything.toml");
    for end in (0..text.len()).filter(|end| text.is_char_boundary(*end)) {
        let _ = Policy::parse(&text[..end], Some("/base"));
    }
    accepted(text);
}

#[test]
fn deep_documents_are_refused() {
    for text in [
        "x = ".to_string() + &"[".repeat(100_000),
        "x = ".to_string() + &"{a=".repeat(100_000),
        "a.".repeat(100_000) + "a = 1",
        "[".to_string() + &"a.".repeat(100_000) + "a]",
        "{\"a\":".repeat(100_000),
    ] {
        assert!(Policy::parse(&text, None).is_err());
    }
}

struct Files(&'static [(&'static str, &'static str)]);

impl Loader for Files {
    fn load(&self, name: &str, base_dir: Option<&str>) -> Result<Included, String> {
        let identity = format!("{}/{}", base_dir.unwrap_or_default(), name.trim_start_matches("./"));
        let (_, text) = self.0.iter().find(|(path, _)| *path == identity).ok_or("no such file")?;
        let dir = identity.rsplit_once('/').map(|(dir, _)| dir.to_string());
        Ok(Included { identity: identity.clone(), text: text.to_string(), base_dir: dir })
    }
}

#[track_caller]
fn with_files(text: &str, files: &'static [(&'static str, &'static str)]) -> Result<Policy, PolicyError> {
    Policy::parse_with(text, Some("/p"), &Files(files))
}

#[test]
fn profiles() {
    let policy = with_files(
        "profiles = [\"./team.toml\"]\n[budgets]\ntokens = 10",
        &[
            ("/p/team.toml", "profiles = [\"sub/more.toml\", \"sub/more.toml\"]\n[budgets]\ntokens = 5"),
            ("/p/sub/more.toml", "[fs]\nread = [\"./x\"]"),
        ],
    )
    .unwrap();
    assert_eq!(policy.budget_limits("main"), [(Dimension::Tokens, BudgetLimit::ever(5))]);
    let text = policy.to_value().to_json();
    assert!(text.contains("/p/sub/x"), "{text}");
    assert!(text.contains(r#""profiles":[]"#), "{text}");

    let error =
        with_files("profiles = [\"./a.toml\"]", &[("/p/a.toml", "profiles = [\"./a.toml\"]")]).unwrap_err();
    assert!(error.to_string().contains("./a.toml: line 1, column 13: './a.toml' includes itself"), "{error}");
    let error = with_files("profiles = [\"./a.toml\"]", &[("/p/a.toml", "\n[fs]\nraed = []")]).unwrap_err();
    assert_eq!((error.source.as_deref(), error.line, error.column), (Some("./a.toml"), 3, 1));
    let error = with_files("\nprofiles = [\"./b.toml\"]", &[]).unwrap_err();
    assert_eq!((error.line, error.column, error.source), (2, 13, None));
}

#[test]
fn settings() {
    let policy = accepted(
        r#"
        denial_detail = "full"
        [infer]
        max_tokens = 1000
        [budgets]
        tokens = 100_000
        tool_calls = 50
        [wasm]
        modules = ["add", "text_*"]
        hostcalls = ["fs_read"]
        deny = ["text_eval"]
        [agent."crew/writer"]
        infer.max_tokens = 10
        budgets.tokens = 7
        wasm.hostcalls = ["log"]
        "#,
    );
    assert!(policy.denial_detail_full());
    assert_eq!(policy.infer_max_tokens(), Some(1000));
    assert_eq!(policy.infer_max_tokens_of("crew/writer/x"), Some(10));
    let ever = |limits: &[(Dimension, u64)]| -> Vec<_> {
        limits.iter().map(|(dimension, max)| (*dimension, BudgetLimit::ever(*max))).collect()
    };
    assert_eq!(
        policy.budget_limits("main"),
        ever(&[(Dimension::Tokens, 100_000), (Dimension::ToolCalls, 50)])
    );
    // What is said of everybody is said of everybody together, and of each.
    let mut expected =
        ever(&[(Dimension::Tokens, 7), (Dimension::Tokens, 100_000), (Dimension::ToolCalls, 50)]);
    expected[1..].iter_mut().for_each(|(_, limit)| *limit = limit.each());
    assert_eq!(policy.budget_limits("crew/writer"), expected);
    assert!(policy.wasm_module_allowed("main", "text_split"));
    assert!(!policy.wasm_module_allowed("main", "text_eval"));
    assert!(!policy.wasm_module_allowed("main", "other"));
    assert!(policy.wasm_hostcall_allowed("main", "fs_read"));
    assert!(!policy.wasm_hostcall_allowed("crew/writer", "fs_read"));
    assert!(Policy::baseline().wasm_module_allowed("main", "anything"));
    assert!(!Policy::baseline().denial_detail_full());
    let again = Policy::parse(&policy.to_value().to_json(), None).unwrap();
    assert_eq!(again, policy);
}

/// A restriction that nobody would be held to is no restriction.
#[test]
fn a_pattern_of_agents_has_no_sections_that_are_read_by_name() {
    for section in [
        "infer]\nmax_tokens = 5",
        "fs]\ndeny = [\"/a/**\"]",
        "wasm]\ndeny = [\"x\"]",
        "tools]\nallow = [\"t\"]",
    ] {
        let error = Policy::parse(&format!("[agent.\"crew/*\".{section}"), None).unwrap_err();
        assert!(error.to_string().contains("has no section but 'budgets.each'"), "{section}: {error}");
        Policy::parse(&format!("[agent.\"crew/w\".{section}"), None).unwrap();
    }
    Policy::parse("[agent.\"crew/*\".budgets.each]\ntokens = 5", None).unwrap();
}
