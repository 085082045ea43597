//! What the language means: policies, requests and verdicts.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed")]

use ak_json::{Limits, Value};
use ak_policy::{Policy, PolicyDecision, Query, Target};

use PolicyDecision::{Ask, DefaultDeny, Forbid, Permit};

/// One row: under `policy`, `request` (`[agent: ]operation target[ args]`) gets `expected`.
#[track_caller]
fn check(policy: &str, request: &str, expected: PolicyDecision) {
    let policy = match Policy::parse(policy, Some("/base")) {
        Ok(policy) => policy,
        Err(error) => panic!("{error}\n{policy}"),
    };
    assert_eq!(verdict(&policy, request), expected, "{request}\n{}", policy.to_value());
    // The canonical form is a policy that says the same.
    let again = Policy::parse(&policy.to_value().to_json(), None).unwrap();
    assert_eq!(again.to_value().to_json(), policy.to_value().to_json());
    assert_eq!(verdict(&again, request), expected, "{request}, canonical");
}

fn verdict(policy: &Policy, request: &str) -> PolicyDecision {
    let (first, rest) = request.split_once(' ').unwrap();
    let (agent, operation, rest) = match first.strip_suffix(':') {
        Some(agent) => rest.split_once(' ').map(|(operation, rest)| (agent, operation, rest)).unwrap(),
        None => ("main", first, rest),
    };
    let (target, args) = rest.split_once(" {").map_or((rest, None), |(target, args)| (target, Some(args)));
    let args = args.map(|args| Value::parse(format!("{{{args}").as_bytes(), &Limits::default()).unwrap());
    let Ok((action, target)) = Target::resolve(operation, target) else { panic!("no target: {request}") };
    policy.decide(&Query { args: args.as_ref(), ..Query::new(agent, action, &target) }).decision
}

#[test]
fn nothing_is_permitted_unless_said() {
    check("", "read /etc/passwd", DefaultDeny);
    check("", "http https://example.com/", DefaultDeny);
    check("", "execute add", Permit);
    check("", "execute concat", Permit);
    check("profiles = []", "execute add", DefaultDeny);
    check("", "execute shell", DefaultDeny);
    check("", "alloc counter", Permit);
    check("profiles = []", "alloc counter", DefaultDeny);
    check("", "infer gpt-4", DefaultDeny);
    check("", "spawn worker", DefaultDeny);
    check("", "audit.log my-event", Permit);
}

#[test]
fn files() {
    let policy = r#"
        [fs]
        read = ["/app/**", "/etc/ssl/*", "./data/*.csv"]
        write = ["/tmp/agent/**"]
        deny = ["/app/secret/**"]
    "#;
    check(policy, "read /app/x", Permit);
    check(policy, "read /app", Permit);
    check(policy, "read /app/../etc/passwd", DefaultDeny);
    check(policy, "read /apple", DefaultDeny);
    check(policy, "fs.list /app/x", Permit);
    check(policy, "fs.stat /app/x", Permit);
    check(policy, "write /app/x", DefaultDeny);
    check(policy, "delete /app/x", DefaultDeny);
    check(policy, "read /app/secret/key", Forbid);
    check(policy, "read /etc/ssl/ca.pem", Permit);
    check(policy, "read /etc/ssl/private/key", DefaultDeny);
    check(policy, "read /base/data/x.csv", Permit);
    check(policy, "read /base/data/x.txt", DefaultDeny);
    check(policy, "write /tmp/agent/x", Permit);
    check(policy, "delete /tmp/agent/x", Permit);
    check(policy, "read /tmp/agent/x", DefaultDeny);
    check("[fs]\nread = [\"/**\"]", "read /", Permit);
    check(r#"{"fs": {"read": ["/app/**"]}}"#, "read /app/x", Permit);
}

#[test]
fn network() {
    let policy = r#"
        [net]
        dns = ["api.github.com", "*.example.com"]
        connect = ["dns:api.github.com:443", "ip:10.0.0.0/8:5432", "ip:[2001:db8::]/32:80", "dns:*.db.internal:5000-5999"]
        bind = ["ip:127.0.0.1:*"]
        listen = ["ip:127.0.0.1:8080"]
        deny = ["bad.example.com", "ip:10.9.0.0/16"]
    "#;
    check(policy, "dns api.github.com", Permit);
    check(policy, "dns dns:API.GITHUB.COM.", Permit);
    check(policy, "dns example.com", DefaultDeny);
    check(policy, "dns a.b.example.com", Permit);
    check(policy, "dns evilexample.com", DefaultDeny);
    check(policy, "dns bad.example.com", Forbid);
    check(policy, "connect dns:api.github.com:443", Permit);
    check(policy, "connect dns:api.github.com:80", DefaultDeny);
    check(policy, "connect dns:bad.example.com:443", Forbid);
    check(policy, "connect ip:10.1.2.3:5432", Permit);
    check(policy, "connect ip:10.1.2.3:5433", DefaultDeny);
    check(policy, "connect ip:10.9.2.3:5432", Forbid);
    check(policy, "connect ip:[::ffff:10.1.2.3]:5432", Permit);
    check(policy, "connect ip:[2001:db8::1]:80", Permit);
    check(policy, "connect ip:11.1.2.3:5432", DefaultDeny);
    check(policy, "connect dns:x.db.internal:5432", Permit);
    check(policy, "connect dns:x.db.internal:6000", DefaultDeny);
    check(policy, "bind ip:127.0.0.1:9999", Permit);
    check(policy, "bind ip:0.0.0.0:9999", DefaultDeny);
    check(policy, "listen ip:127.0.0.1:8080", Permit);
    check(policy, "listen ip:127.0.0.1:8081", DefaultDeny);
}

#[test]
fn http_and_the_rest() {
    let policy = r#"
        [http]
        allow = ["GET https://api.github.com/**", "* https://api.test/v1/*"]
        deny = ["https://api.github.com/admin/**"]
        [tools]
        allow = ["file_*", "deploy@1.*", "@scope/x"]
        deny = ["file_delete"]
        [infer]
        models = ["gpt-4*", "claude-*"]
        [spawn]
        allow = ["worker-*"]
    "#;
    check(policy, "http https://api.github.com/x", Permit);
    check(policy, "http GET https://api.github.com/x", Permit);
    check(policy, "http POST https://api.github.com/x", DefaultDeny);
    check(policy, "http https://api.github.com/admin/x", Forbid);
    check(policy, "http https://api.github.com/a/../admin/x", Forbid);
    check(policy, "http https://api.github.com//admin/x", Forbid);
    check(policy, "http https://api.github.com/admin%2Fx", Forbid);
    check(policy, "http POST https://api.test/v1/x", Permit);
    check(policy, "http POST https://api.test/v1/x?y", DefaultDeny);
    check(policy, "execute file_read", Permit);
    check(policy, "execute tool:file_read@2", Permit);
    check(policy, "execute file_delete", Forbid);
    check(policy, "execute deploy@1.2", Permit);
    check(policy, "execute deploy@2.0", DefaultDeny);
    check(policy, "execute deploy", DefaultDeny);
    check(policy, "execute @scope/x", Permit);
    check(policy, "infer gpt-4-turbo", Permit);
    check(policy, "infer gpt-3", DefaultDeny);
    check(policy, "spawn worker-1", Permit);
    check(policy, "spawn worker-1/x", DefaultDeny);
    check(policy, "spawn boss", DefaultDeny);
}

/// Suffixes compared without their dot took `evilexample.com` for a part of `example.com`.
#[test]
fn evilexample_com_suffix() {
    let policy = r#"
        [net]
        dns = ["*.example.com"]
        connect = ["dns:*.example.com:443"]
        [http]
        allow = ["GET https://*.example.com/**"]
    "#;
    check(policy, "dns www.example.com", Permit);
    check(policy, "http https://www.example.com/", Permit);
    for host in [
        "evilexample.com",
        "example.com",
        "example.com.evil.com",
        "www.example.com.evil.com",
        "wwwexample.com",
    ] {
        check(policy, &format!("dns {host}"), DefaultDeny);
        check(policy, &format!("connect dns:{host}:443"), DefaultDeny);
        check(policy, &format!("http https://{host}/"), DefaultDeny);
    }
}

const MAIL: &str = r#"
    [tools]
    allow = ["send_email"]
    [[rule]]
    id = "only-our-people"
    effect = "forbid"
    operation = "execute"
    target = "send_email"
    unless.args."/recipients/*" = { format = "email", matches = ["*@example.com"] }
    only = ["/recipients", "/subject", "/body"]
"#;

#[test]
fn recipients_of_ours_pass() {
    check(MAIL, r#"execute send_email {"recipients":["bob@example.com"],"body":"x"}"#, Permit);
}

#[test]
fn a_string_instead_of_a_list() {
    check(MAIL, r#"execute send_email {"recipients":"eve@evil.com"}"#, Forbid);
    check(MAIL, r#"execute send_email {"recipients":"bob@example.com"}"#, Forbid);
}

#[test]
fn an_empty_list() {
    check(MAIL, r#"execute send_email {"recipients":[]}"#, Forbid);
}

#[test]
fn one_bad_among_good() {
    check(MAIL, r#"execute send_email {"recipients":["bob@example.com","eve@evil.com"]}"#, Forbid);
}

#[test]
fn a_list_inside_a_string() {
    check(MAIL, r#"execute send_email {"recipients":["eve@evil.com,bob@example.com"]}"#, Forbid);
    check(MAIL, r#"execute send_email {"recipients":["eve@evil.com bob@example.com"]}"#, Forbid);
    check(MAIL, r#"execute send_email {"recipients":["bob@example.com\nBcc: eve@evil.com"]}"#, Forbid);
}

#[test]
fn an_absent_path() {
    check(MAIL, r#"execute send_email {"subject":"x"}"#, Forbid);
    check(MAIL, "execute send_email", Forbid);
}

#[test]
fn a_renamed_key() {
    check(MAIL, r#"execute send_email {"recipients":["bob@example.com"],"cc":["eve@evil.com"]}"#, Forbid);
    check(MAIL, r#"execute send_email {"Recipients":["eve@evil.com"]}"#, Forbid);
}

#[test]
fn ask_stands_between() {
    let policy = r#"
        [tools]
        allow = ["*"]
        [[rule]]
        effect = "ask"
        operation = "execute"
        target = ["pay_*", { literal = "refund" }]
        when.args."/amount" = { min = 100 }
    "#;
    check(policy, r#"execute pay_bill {"amount":99}"#, Permit);
    check(policy, r#"execute pay_bill {"amount":100}"#, Ask);
    check(policy, r#"execute pay_bill {"amount":"5"}"#, Ask);
    check(policy, r#"execute pay_bill {}"#, Permit);
    check(policy, r#"execute refund {"amount":1e3}"#, Ask);
    check(policy, r#"execute refund@2 {"amount":1e3}"#, Ask);
    check(policy, r#"execute refunds {"amount":1e3}"#, Permit);
}

#[test]
fn agents() {
    let policy = r#"
        [tools]
        allow = ["search"]
        [agent."crew"]
        tools.allow = ["publish"]
        [agent."crew/publisher"]
        tools.allow = ["publish", "delete"]
        [agent."crew/writer"]
        tools.deny = ["search"]
        [[rule]]
        effect = "permit"
        operation = "execute"
        target = "review"
        agent = ["crew", "crew/*"]
    "#;
    check(policy, "main: execute search", Permit);
    check(policy, "main: execute publish", DefaultDeny);
    check(policy, "crew: execute publish", Permit);
    check(policy, "crew/publisher: execute publish", Permit);
    check(policy, "crew/publisher: execute search", Permit);
    // Its own section permits it, its parent's does not.
    check(policy, "crew/publisher: execute delete", DefaultDeny);
    check(policy, "crew/writer: execute publish", DefaultDeny);
    check(policy, "crew/writer: execute search", Forbid);
    check(policy, "crew/writer/helper: execute search", Forbid);
    check(policy, "crew/writer: execute review", Permit);
    check(policy, "crew/writer/helper: execute review", DefaultDeny);
    check(policy, "publisher: execute publish", DefaultDeny);
}

#[test]
fn the_older_form() {
    let policy = r#"
        [[fs.allow]]
        path = "/app/**"
        read = true
        [[net.allow]]
        pattern = "*.anthropic.com:443"
        [[dns.allow]]
        pattern = "*.anthropic.com"
        [[tools.allow]]
        name = "read_file"
        version = "*"
        [[tools.deny]]
        name = "shell"
        [[inference.allow]]
        model = "claude-*"
        max_tokens = 4096
    "#;
    check(policy, "read /app/x", Permit);
    check(policy, "write /app/x", DefaultDeny);
    check(policy, "connect dns:api.anthropic.com:443", Permit);
    check(policy, "connect dns:api.anthropic.com:80", DefaultDeny);
    check(policy, "dns api.anthropic.com", Permit);
    check(policy, "execute read_file", Permit);
    check(policy, "execute shell", Forbid);
    check(policy, "infer claude-4", Permit);
    assert_eq!(Policy::parse(policy, None).unwrap().infer_max_tokens(), Some(4096));
}

#[test]
fn capabilities() {
    let policy = r#"
        [[capability]]
        name = "example_tool"
        resource = "*"
        methods = ["execute"]
        expires_minutes = 60
        rate = "10/min"
        [[capability]]
        name = "fs"
        resource = "/data/**"
        methods = ["read"]
        [[capability]]
        name = "http"
        resource = "https://api.test/**"
        methods = ["GET", "post"]
        [[capability]]
        name = "net"
        resource = "dns:db.test:5432"
        methods = ["*"]
        [[capability]]
        name = "lapsed"
        expires_minutes = 0
    "#;
    check(policy, "execute example_tool", Permit);
    check(policy, "read /data/x", Permit);
    check(policy, "write /data/x", DefaultDeny);
    check(policy, "http https://api.test/x", Permit);
    check(policy, "http POST https://api.test/x", Permit);
    check(policy, "http PUT https://api.test/x", DefaultDeny);
    check(policy, "connect dns:db.test:5432", Permit);
    check(policy, "dns db.test", Permit);
    check(policy, "execute lapsed", PolicyDecision::Expired);
}
