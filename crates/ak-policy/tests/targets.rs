//! Canonical targets: one form or a refusal.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed")]

use ak_policy::{Action, CanonicalIp, CanonicalPath, CanonicalUrl, Target, TargetError};
use proptest::prelude::*;

#[track_caller]
fn url(text: &str, expected: &str) {
    let url = CanonicalUrl::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    assert_eq!(url.as_str(), expected, "{text}");
}

#[test]
fn urls_have_one_form() {
    url("https://example.com", "https://example.com/");
    url("HTTPS://Example.COM:443/", "https://example.com/");
    url("http://example.com.:80/", "http://example.com/");
    url("http://example.com:443/", "http://example.com:443/");
    url("https://example.com/#fragment", "https://example.com/");
    url("https://example.com#fragment", "https://example.com/");
    url("https://example.com?q", "https://example.com/?q");
    url("https://example.com/?", "https://example.com/?");
    url("https://example.com/a/./b/../c", "https://example.com/a/c");
    url("https://example.com/../../a", "https://example.com/a");
    url("https://example.com/a/..", "https://example.com/");
    url("https://example.com/a/.", "https://example.com/a/");
    url("https://example.com/a/%2E%2e/b", "https://example.com/b");
    url("https://example.com/a/%2e/b", "https://example.com/a/b");
    url("https://example.com/a//b", "https://example.com/a//b");
    url("https://example.com/%7Euser/%41", "https://example.com/~user/A");
    url("https://example.com/a%2fb", "https://example.com/a%2Fb");
    url("https://example.com/a%20b", "https://example.com/a%20b");
    url("https://example.com/é", "https://example.com/%C3%A9");
    url("https://example.com/\"<>^`{|}[]", "https://example.com/%22%3C%3E%5E%60%7B%7C%7D%5B%5D");
    url("https://example.com/a;b=c", "https://example.com/a;b=c");
    url("https://example.com/?a=1&b[]=/x?y'", "https://example.com/?a=1&b%5B%5D=/x?y%27");
    url("https://example.com/100%25", "https://example.com/100%25");
    url("https://bücher.example/", "https://xn--bcher-kva.example/");
    url("https://ｅｘａｍｐｌｅ.com/", "https://example.com/");
    url("http://[::1]:8080/x", "http://[::1]:8080/x");
    url("http://[::FFFF:127.0.0.1]/", "http://127.0.0.1/");
    url("http://[0:0:0:0:0:0:0:1]/", "http://[::1]/");
}

#[test]
fn ambiguous_urls_are_refused() {
    for (text, error) in [
        ("", TargetError::Scheme),
        ("example.com", TargetError::Scheme),
        ("//example.com/", TargetError::Scheme),
        ("ftp://example.com/", TargetError::Scheme),
        ("javascript://example.com/%0aalert(1)", TargetError::Scheme),
        ("file:///etc/passwd", TargetError::Scheme),
        ("https:/example.com", TargetError::Scheme),
        ("https:example.com", TargetError::Scheme),
        (" https://example.com/", TargetError::UrlCharacter),
        ("https://exa\tmple.com/", TargetError::UrlCharacter),
        ("https://example.com/\r\nHost: evil", TargetError::UrlCharacter),
        ("https://example.com/a b", TargetError::UrlCharacter),
        ("https://example.com\\@evil.com/", TargetError::UrlCharacter),
        ("https:\\\\example.com\\", TargetError::UrlCharacter),
        ("https://user@example.com/", TargetError::Credentials),
        ("https://user:pass@example.com/", TargetError::Credentials),
        ("https://example.com:80@evil.com/", TargetError::Credentials),
        ("https://@example.com/", TargetError::Credentials),
        ("https:///path", TargetError::Host),
        ("https://?q", TargetError::Host),
        ("https://exa%6dple.com/", TargetError::Host),
        ("https://127.1/", TargetError::Host),
        ("https://0177.0.0.1/", TargetError::Host),
        ("https://0x7f.0.0.1/", TargetError::Host),
        ("https://0x7f000001/", TargetError::Host),
        ("https://2130706433/", TargetError::Host),
        ("https://127.0.0.1.nip.io./..;/", TargetError::HiddenStep),
        ("https://①②⑦.0.0.1/", TargetError::Host),
        ("https://*.example.com/", TargetError::Host),
        ("https://[::1/", TargetError::Port),
        ("https://[::1%25eth0]/", TargetError::Address),
        ("https://[127.0.0.1]/", TargetError::Address),
        ("https://[v1.x]/", TargetError::Address),
        ("https://::1/", TargetError::Port),
        ("https://example.com:/", TargetError::Port),
        ("https://example.com:080/", TargetError::Port),
        ("https://example.com:65536/", TargetError::Port),
        ("https://example.com:+80/", TargetError::Port),
        ("https://example.com:80:90/", TargetError::Port),
        ("https://example.com/%", TargetError::Escape),
        ("https://example.com/%zz", TargetError::Escape),
        ("https://example.com/%4", TargetError::Escape),
        ("https://example.com/?%u0041", TargetError::Escape),
        ("https://example.com/%00", TargetError::Nul),
        ("https://example.com/a/..%2fb", TargetError::HiddenStep),
        ("https://example.com/a/%2e%2e%2fb", TargetError::HiddenStep),
        ("https://example.com/a/%252e%252e/b", TargetError::HiddenStep),
        ("https://example.com/a/%25252e%25252e/b", TargetError::HiddenStep),
        ("https://example.com/a/%252e%252e%252fb", TargetError::HiddenStep),
        ("https://example.com/a/..%5cb", TargetError::HiddenStep),
        ("https://example.com/a/%2e%2e%5c", TargetError::HiddenStep),
        ("https://example.com/a/..;/b", TargetError::HiddenStep),
        ("https://example.com/a/.;x=y/b", TargetError::HiddenStep),
    ] {
        assert_eq!(CanonicalUrl::parse(text).err(), Some(error), "{text}");
    }
    assert!(CanonicalUrl::parse(&format!("https://example.com/{}", "a".repeat(9_000))).is_err());
    // Escaping makes a text longer.
    assert!(CanonicalUrl::parse(&format!("https://example.com/{}", "é".repeat(4_000))).is_err());
}

/// Libraries that read `0177.0.0.1` as 177.0.0.1 let it pass, and sockets that read it as octal connected to 127.0.0.1
/// (CVE-2021-28918, CVE-2021-29921 and others).
#[test]
fn ipv4_octal_ssrf() {
    for host in [
        "0177.0.0.1",
        "0177.0x0.0.1",
        "127.0.0.01",
        "00127.0.0.1",
        "0x7f.0.0.1",
        "0x7f.1",
        "0x7f000001",
        "017700000001",
        "2130706433",
        "127.1",
        "127.0.1",
        "127.0.0.1.",
        "0",
        "0x0",
        "0300.0250.0.1",
        "169.254.0xa9fe",
        "1.1.1.0x7f",
    ] {
        assert!(Target::url(&format!("http://{host}/")).is_err(), "{host}");
        assert!(Target::host(host).is_err(), "{host}");
        assert!(Target::endpoint(&format!("{host}:80")).is_err(), "{host}");
    }
    // What is written as usual is an address, and never a host name.
    assert_eq!(Target::endpoint("127.0.0.1:80").unwrap().to_string(), "ip:127.0.0.1:80");
    assert!(Target::host("127.0.0.1").is_err());
}

#[test]
fn a_url_comes_apart() {
    let url = CanonicalUrl::parse("https://API.example.com:8443/a/b?c=d#e").unwrap();
    assert_eq!(url.origin(), "https://api.example.com:8443");
    assert_eq!(url.path(), "/a/b");
    assert_eq!(url.query(), Some("c=d"));
    assert_eq!(url.path_and_query(), "/a/b?c=d");
    assert_eq!((url.host().to_string().as_str(), url.port()), ("api.example.com", 8443));
}

/// One row: what `authorize(operation, target)` is about; `None` when there is no canonical form.
#[track_caller]
fn resolve(operation: &str, target: &str, expected: Option<(Action, &str)>) {
    let resolved =
        Target::resolve(operation, target).ok().map(|(action, target)| (action, target.to_string()));
    assert_eq!(resolved, expected.map(|(action, text)| (action, text.to_string())), "{operation} {target:?}");
}

#[test]
fn a_bare_name_is_resolved_by_its_target() {
    use Action::*;
    resolve("read", "/app/../x", Some((FsRead, "/x")));
    resolve("READ", "/x", Some((FsRead, "/x")));
    resolve("fs.read", "/x", Some((FsRead, "/x")));
    resolve("FS_READ", "/x", Some((FsRead, "/x")));
    resolve("fs_read", "/x", Some((FsRead, "/x")));
    resolve("read", "0x100000001", Some((HeapRead, "heap:0x100000001")));
    resolve("WRITE", "0xFF", Some((HeapWrite, "heap:0xff")));
    resolve("write", "heap:0x1", Some((HeapWrite, "heap:0x1")));
    resolve("delete", "/x", Some((FsDelete, "/x")));
    resolve("delete", "0x1", Some((HeapDelete, "heap:0x1")));
    resolve("http", "https://h/x", Some((HttpGet, "https://h/x")));
    resolve("HTTP", "POST https://h/x", Some((HttpPost, "https://h/x")));
    resolve("http.post", "https://h/x", Some((HttpPost, "https://h/x")));
    resolve("http.post", "GET https://h/x", None);
    resolve("post", "https://h/x", Some((HttpPost, "https://h/x")));
    resolve("dns", "Example.com.", Some((Dns, "dns:example.com")));
    resolve("dns", "dns:example.com:443", None);
    resolve("connect", "dns:Example.com:443", Some((Connect, "dns:example.com:443")));
    resolve("connect", "ip:1.2.3.4:443", Some((Connect, "ip:1.2.3.4:443")));
    resolve("connect", "ip:[::ffff:1.2.3.4]:443", Some((Connect, "ip:1.2.3.4:443")));
    resolve("connect", "1.2.3.4:443", Some((Connect, "ip:1.2.3.4:443")));
    resolve("connect", "dns:1.2.3.4:443", None);
    resolve("connect", "ip:example.com:443", None);
    resolve("connect", "example.com", None);
    resolve("listen", "ip:[::1]:8080", Some((Listen, "ip:[::1]:8080")));
    resolve("execute", "add", Some((Execute, "tool:add")));
    resolve("execute", "tool:add@1.0", Some((Execute, "tool:add@1.0")));
    resolve("CALL", "@scope/x@1", Some((Execute, "tool:@scope/x@1")));
    resolve("execute", "model:x", None);
    resolve("execute", "", None);
    resolve("execute", "tool:", None);
    resolve("execute", "a@", None);
    resolve("execute", "a@b@c", None);
    resolve("execute", " a", None);
    resolve("execute", "a\0", None);
    resolve("execute", "Add", Some((Execute, "tool:Add")));
    resolve("execute", "аdd", Some((Execute, "tool:аdd")));
    resolve("infer", "gpt-4", Some((Infer, "model:gpt-4")));
    resolve("INFERENCE", "model:gpt-4", Some((Infer, "model:gpt-4")));
    resolve("spawn", "crew/writer", Some((Spawn, "agent:crew/writer")));
    resolve("spawn", "crew//writer", None);
    resolve("send", "agent:crew", Some((Send, "agent:crew")));
    resolve("alloc", "counter", Some((HeapAlloc, "type:counter")));
    resolve("heap.query", "type:counter", Some((HeapQuery, "type:counter")));
    resolve("audit_log", "event", Some((AuditLog, "audit:event")));
    resolve("read", "relative", None);
    resolve("read", "0x", None);
    resolve("read", "0x1g", None);
    resolve("read", "0x10000000000000000", None);
    resolve("write", "https://h/", None);
    resolve("frobnicate", "/x", None);
    resolve("", "", None);
    resolve("fs.read", "tool:x", None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn canonicalisation_is_idempotent(operation in operation(), target in target()) {
        if let Ok((action, canonical)) = Target::resolve(&operation, &target) {
            let text = canonical.to_string();
            let again = Target::parse(action.kind(), &text);
            prop_assert_eq!(again.as_ref(), Ok(&canonical), "{}", text);
            prop_assert_eq!(again.unwrap().to_string(), text);
            prop_assert_eq!(canonical.kind(), action.kind());
        }
    }

    #[test]
    fn a_canonical_path_has_no_steps(text in "/[a./\\PC]{0,30}") {
        if let Ok(path) = CanonicalPath::parse(&text) {
            let path = path.as_str();
            prop_assert!(path.starts_with('/') && (path == "/" || !path.ends_with('/')));
            prop_assert!(path == "/" || path.split('/').skip(1).all(|part| !["", ".", ".."].contains(&part)));
        }
    }

    #[test]
    fn a_canonical_url_is_plain(host in "[a-z]{1,3}(\\.[a-z]{1,3}){0,2}", rest in "[/?#%.;a-f0-9é\"'\\[\\]]{0,24}") {
        if let Ok(url) = CanonicalUrl::parse(&format!("https://{host}/{rest}")) {
            prop_assert!(url.as_str().bytes().all(|byte| (0x21..0x7f).contains(&byte) && byte != b'#' && byte != b'\\'));
            prop_assert!(url.path().split('/').skip(1).all(|part| ![".", ".."].contains(&part)));
            prop_assert_eq!(format!("{}{}", url.origin(), url.path_and_query()), url.as_str());
        }
    }

    #[test]
    fn an_address_is_closed_when_it_carries_a_closed_one(a in any::<u32>()) {
        let v4 = std::net::Ipv4Addr::from(a);
        let plain = CanonicalIp::new(v4.into());
        prop_assert_eq!(CanonicalIp::new(v4.to_ipv6_mapped().into()), plain);
        let nat64 = std::net::Ipv6Addr::from(0x0064_ff9b_u128 << 96 | u128::from(a));
        prop_assert_eq!(CanonicalIp::new(nat64.into()).is_public(), plain.is_public());
    }
}

fn operation() -> impl Strategy<Value = String> {
    let names: Vec<String> = Action::ALL.iter().map(|action| action.to_string()).collect();
    prop_oneof![4 => proptest::sample::select(names), 1 => "[a-zA-Z._]{0,10}"]
}

fn target() -> impl Strategy<Value = String> {
    prop_oneof![
        "/[a./\\\\ %é]{0,16}",
        "https?://[aA1.ü-]{1,8}(:[0-9]{1,5})?[/a.?%#;2eE]{0,16}",
        "(dns:|ip:)?[aA.0-9ü:\\[\\]-]{1,16}(:[0-9]{1,5})?",
        "(tool:|model:|agent:|type:|audit:)?[a@/.*é]{1,8}",
        "(heap:)?0x[0-9a-fA-F]{1,17}",
        any::<String>(),
    ]
}
