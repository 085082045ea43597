//! Under a policy that permits every URL, requests still reach no special address that is not granted.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use ak_host::ak_kernel::{Code, Reply};
use ak_host::{Connection, Options};
use support::{Scratch, code, dns::dns, get, load, ok, redirect, web};

const EVERY_URL: &str = "[http]\nallow = [\"GET http://**\", \"GET https://**\"]";

/// Spellings that some programs read as loopback.
const LOOPBACK: &[&str] = &[
    "127.0.0.1",
    "127.0.0.1.",
    "127.1",
    "127.0.1",
    "127.0.0.2",
    "127.1.1.1",
    "127.255.255.254",
    "127.127.127.127",
    "0",
    "0.0.0.0",
    "0.0",
    "0.0.0",
    "00.0.0.0",
    "0x0",
    "0.1.2.3",
    "2130706433",
    "2130706433.",
    "017700000001",
    "0177.0.0.1",
    "0177.0.0.01",
    "0177.1",
    "0177.0.1",
    "00177.0.0.1",
    "0000177.0.0.1",
    "0177.0000.0000.0001",
    "0x7f000001",
    "0x7f.0.0.1",
    "0x7f.1",
    "0x7F.0x0.0x0.0x1",
    "0X7F000001",
    "0x7f.0x00.0x00.0x01",
    "0x0000007f000001",
    "127.0x0.0.1",
    "127.0.0.0x1",
    "127.00.00.01",
    "127.000.000.001",
    "6425673729",
    "425510585345",
    "127.0.0.1%00",
    "127.0.0.1%20",
    "127.0.0.1%0d%0a",
    "127.0.0.1%2f",
    "127%2e0%2e0%2e1",
    "%31%32%37.0.0.1",
    "①②⑦.⓪.⓪.①",
    "１２７.０.０.１",
    "127。0。0。1",
    "127．0．0．1",
    "127｡0｡0｡1",
    "⑫7.0.0.1",
    "𝟏𝟐𝟕.𝟎.𝟎.𝟏",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[0000:0000:0000:0000:0000:0000:0000:0001]",
    "[::0001]",
    "[::]",
    "[0::0]",
    "[::0.0.0.1]",
    "[::ffff:127.0.0.1]",
    "[::FFFF:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::ffff:7f00:0001]",
    "[0:0:0:0:0:ffff:127.0.0.1]",
    "[0:0:0:0:0:ffff:7f00:1]",
    "[::ffff:0:127.0.0.1]",
    "[::127.0.0.1]",
    "[::7f00:1]",
    "[64:ff9b::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b:1::7f00:1]",
    "[2002:7f00:1::]",
    "[2002:7f00:0001::1]",
    "[2001:0:7f00:1::]",
    "[2001::7f00:1]",
    "[::ffff:0.0.0.0]",
    "[::ffff:127.1]",
    "[::1%25lo]",
    "[::1%lo]",
    "[fe80::1%25eth0]",
    "[::1",
    "::1",
    "::1]",
    "[[::1]]",
    "[]",
    "[127.0.0.1]",
    "[::1].",
    "[::1]x",
    "[v1.x]",
    "[:: 1]",
    "[::ffff:0177.0.0.1]",
    "[::ffff:2130706433]",
    "[::ffff:127.0.0.1.]",
    "[::1::]",
    "[1::2::3]",
];

/// Addresses of clouds' metadata servers, and private, shared, reserved and unassigned addresses.
const SPECIAL: &[&str] = &[
    "169.254.169.254",
    "169.254.169.253",
    "169.254.169.123",
    "169.254.170.2",
    "169.254.0.1",
    "169.254.255.255",
    "2852039166",
    "0xa9fea9fe",
    "0xa9.0xfe.0xa9.0xfe",
    "0251.0376.0251.0376",
    "0251.254.169.254",
    "169.254.43518",
    "169.16689662",
    "7147006462",
    "[::ffff:169.254.169.254]",
    "[::ffff:a9fe:a9fe]",
    "[0:0:0:0:0:ffff:a9fe:a9fe]",
    "[64:ff9b::169.254.169.254]",
    "[64:ff9b::a9fe:a9fe]",
    "[2002:a9fe:a9fe::]",
    "[::169.254.169.254]",
    "[fd00:ec2::254]",
    "[fd20:ce::254]",
    "[fd00:42::42]",
    "[fe80::a9fe:a9fe]",
    "100.100.100.200",
    "192.0.0.192",
    "168.63.129.16",
    "10.0.0.1",
    "10.255.255.255",
    "10.1",
    "012.0.0.1",
    "0x0a.0.0.1",
    "167772161",
    "172.16.0.1",
    "172.31.255.255",
    "172.20.10.1",
    "0xac100001",
    "192.168.0.1",
    "192.168.255.255",
    "192.168.1.254",
    "0xc0a80001",
    "3232235521",
    "192.168.1",
    "192.168.257",
    "[::ffff:10.0.0.1]",
    "[::ffff:192.168.0.1]",
    "[::ffff:172.16.0.1]",
    "[64:ff9b::10.0.0.1]",
    "[64:ff9b::c0a8:1]",
    "[2002:a00:1::]",
    "[2002:c0a8:1::]",
    "[2002:ac10:1::]",
    "100.64.0.1",
    "100.127.255.254",
    "192.0.0.1",
    "192.0.0.8",
    "192.0.0.170",
    "192.0.2.1",
    "192.88.99.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "224.0.0.251",
    "239.255.255.250",
    "240.0.0.1",
    "250.1.2.3",
    "255.255.255.255",
    "4294967295",
    "0xffffffff",
    "[fc00::1]",
    "[fd00::1]",
    "[fdff:ffff::1]",
    "[fe80::1]",
    "[febf::1]",
    "[fec0::1]",
    "[ff02::1]",
    "[ff05::2]",
    "[ff0e::1]",
    "[100::1]",
    "[2001:db8::1]",
    "[2001:2::1]",
    "[2001:10::1]",
    "[2001:20::1]",
    "[3fff::1]",
    "[5f00::1]",
    "[4000::1]",
    "[8000::1]",
    "[::2]",
    "[::ffff:255.255.255.255]",
    "[::ffff:0:0]",
    "[0:ffff::1]",
];

/// URLs that disguise their destination. `§` stands for the port of the server that must not be reached.
const TRICKS: &[&str] = &[
    "http://public.test@127.0.0.1:§/",
    "http://127.0.0.1:§@public.test/",
    "http://public.test:80@127.0.0.1:§/",
    "http://user:pass@127.0.0.1:§/",
    "http://@127.0.0.1:§/",
    "http://:@127.0.0.1:§/",
    "http://a@b@127.0.0.1:§/",
    "http://public.test#@127.0.0.1:§/",
    "http://public.test%23@127.0.0.1:§/",
    "http://public.test%2f@127.0.0.1:§/",
    "http://127.0.0.1:§#@public.test/",
    "http://127.0.0.1:§?@public.test/",
    "http://127.0.0.1:§/@public.test/",
    "http://127.0.0.1:§\\@public.test/",
    "http://public.test\\@127.0.0.1:§/",
    "http:\\\\127.0.0.1:§\\",
    "http:/\\127.0.0.1:§/",
    "http:///127.0.0.1:§/",
    "http:127.0.0.1:§/",
    "http:/127.0.0.1:§/",
    "//127.0.0.1:§/",
    "127.0.0.1:§/",
    "/",
    "",
    "http://127.0.0.1:§:80/",
    "http://127.0.0.1:80:§/",
    "http://127.0.0.1::§/",
    "http://127.0.0.1: §/",
    "http://127.0.0.1:+§/",
    "http://127.0.0.1:0§/",
    "http://127.0.0.1:§x/",
    "http://127.0.0.1:99999/",
    "http://127.0.0.1:-1/",
    "http://127.0.0.1:0x50/",
    " http://127.0.0.1:§/",
    "http://127.0.0.1:§/ ",
    "\thttp://127.0.0.1:§/",
    "http://127.0.0.1:§/\n",
    "ht\ttp://127.0.0.1:§/",
    "http://127.0\n.0.1:§/",
    "http://127.0.0.1\t:§/",
    "http://127.0.0.1 :§/",
    "http:// 127.0.0.1:§/",
    "http://\u{0}127.0.0.1:§/",
    "http://127.0.0.1:§\u{0}.public.test/",
    "http://127.0.0.1%00.public.test:§/",
    "http://127.0.0.1\u{200b}:§/",
    "HTTP://127.0.0.1:§/",
    "hTTp://127.0.0.1:§/",
    "http://127.0.0.1:§/%2e%2e/",
    "http://127.0.0.1:§/..;/",
    "http://127.0.0.1:§//",
    "file:///etc/passwd",
    "file://localhost/etc/passwd",
    "file://127.0.0.1/etc/passwd",
    "gopher://127.0.0.1:§/_GET%20/",
    "dict://127.0.0.1:§/stat",
    "ftp://127.0.0.1:§/",
    "sftp://127.0.0.1:§/",
    "ldap://127.0.0.1:§/",
    "tftp://127.0.0.1:§/x",
    "ws://127.0.0.1:§/",
    "wss://127.0.0.1:§/",
    "jar:http://127.0.0.1:§/!/",
    "data:text/html,x",
    "javascript:alert(1)",
    "netdoc:///etc/passwd",
    "unix:///run/docker.sock",
    "http+unix://%2Frun%2Fdocker.sock/",
    "view-source:http://127.0.0.1:§/",
    "blob:http://127.0.0.1:§/x",
    "https://127.0.0.1:§/",
    "https://[::1]:§/",
    "url:http://127.0.0.1:§/",
    "http://127.0.0.1:§/\r\nHost: public.test\r\n",
    "http://127.0.0.1:§/ HTTP/1.1\r\nHost: x",
    "http://public.test/\r\n\r\nGET / HTTP/1.1",
    "http://localhost:§/",
    "http://LOCALHOST:§/",
    "http://localhost.:§/",
    "http://LocalHost.:§/",
    "http://ｌｏｃａｌｈｏｓｔ:§/",
    "http://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ:§/",
    "http://loca\u{ad}lhost:§/",
    "http://localhost%00:§/",
    "http://local%68ost:§/",
    "http://localhost,public.test:§/",
];

/// Names and the addresses to which they resolve, all forbidden.
const NAMES: &[(&str, &[&str])] = &[
    ("loopback.test", &["127.0.0.1"]),
    ("loopback6.test", &["::1"]),
    ("mapped.test", &["::ffff:127.0.0.1"]),
    ("metadata.test", &["169.254.169.254"]),
    ("metadata6.test", &["fd00:ec2::254"]),
    ("mapped-metadata.test", &["::ffff:169.254.169.254"]),
    ("ten.test", &["10.0.0.1"]),
    ("private.test", &["192.168.1.1"]),
    ("private172.test", &["172.16.5.4"]),
    ("shared.test", &["100.64.0.1"]),
    ("zero.test", &["0.0.0.0"]),
    ("zero6.test", &["::"]),
    ("local6.test", &["fe80::1"]),
    ("unique6.test", &["fc00::1"]),
    ("nat64.test", &["64:ff9b::7f00:1"]),
    ("sixtofour.test", &["2002:7f00:1::1"]),
    ("teredo.test", &["2001::1"]),
    ("multicast.test", &["224.0.0.1"]),
    ("broadcast.test", &["255.255.255.255"]),
    ("azure.test", &["168.63.129.16"]),
    ("alibaba.test", &["100.100.100.200"]),
    ("oracle.test", &["192.0.0.192"]),
    ("many.test", &["127.0.0.1", "10.0.0.1", "192.168.0.1", "169.254.169.254"]),
    ("both.test", &["127.0.0.1", "::1"]),
    ("127.0.0.1.nip.test", &["127.0.0.1"]),
    ("a9fea9fe.nip.test", &["169.254.169.254"]),
    ("xn--bcher-kva.test", &["127.0.0.1"]),
    ("www.loopback.test", &["127.0.0.2"]),
    ("public.test.loopback.test", &["127.0.0.1"]),
    ("nowhere.test", &[]),
    ("LOOPBACK.test", &["127.0.0.1"]),
    ("loopback.test.", &["127.0.0.1"]),
    ("bücher.test", &["127.0.0.1"]),
];

struct World {
    kernel: Connection,
    canary: u16,
    hits: Arc<AtomicU64>,
    _scratch: Scratch,
}

/// A kernel that resolves names through the test's name server, and a server on loopback that must never be reached.
fn world(policy: &str) -> World {
    let scratch = Scratch::new("ssrf");
    let (canary, hits) = web(|_| ok("loot"));
    let (servers, _) = dns(|name, _| {
        let known = |(known, _): &&(&str, &[&str])| {
            known.trim_end_matches('.').to_lowercase().replace("bücher", "xn--bcher-kva") == name
        };
        let row = NAMES.iter().find(known);
        row.map(|(_, addresses)| addresses.iter().map(|address| address.parse().unwrap()).collect())
            .unwrap_or_default()
    });
    let config = scratch.join("host.toml");
    std::fs::write(&config, format!("[dns]\nservers = [\"{servers}\"]")).unwrap();
    let options = Options { host_config: Some(config), ..Options::default() };
    let kernel = Connection::open(&options).unwrap();
    load(&kernel, policy);
    World { kernel, canary, hits, _scratch: scratch }
}

/// Checks that a URL is refused before a connection is made: for its form, by the policy, or for its addresses.
fn check(world: &World, url: &str) {
    let refused = code(world.kernel.call(get(url)));
    // A name without addresses leads nowhere either.
    let expected = matches!(refused, Code::PolicyDeny | Code::InvalidArgument)
        || refused == Code::Io
            && (url.contains("nowhere.test") || url.contains("public.test") || url.contains("localhost"));
    assert!(expected, "{url:?}: {refused:?}");
    assert_eq!(world.hits.load(Ordering::SeqCst), 0, "{url:?} reached the server");
}

#[test]
fn payload_lists_produce_denials_and_no_connections() {
    let world = world(EVERY_URL);
    let mut cases = 0;
    for host in LOOPBACK.iter().chain(SPECIAL) {
        check(&world, &format!("http://{host}:{}/latest/meta-data/", world.canary));
        cases += 1;
    }
    for url in TRICKS {
        check(&world, &url.replace('§', &world.canary.to_string()));
        cases += 1;
    }
    for (name, _) in NAMES {
        check(&world, &format!("http://{name}:{}/", world.canary));
        cases += 1;
    }
    assert!(cases >= 300, "only {cases} cases");
}

#[test]
fn the_server_answers_those_with_a_grant() {
    let world = world(EVERY_URL);
    load(&world.kernel, &format!("{EVERY_URL}\n[net]\nconnect = [\"ip:127.0.0.1:{}\"]", world.canary));
    for host in ["127.0.0.1", "loopback.test", "mapped.test", "[::ffff:127.0.0.1]", "both.test"] {
        let outcome = world.kernel.call(get(&format!("http://{host}:{}/", world.canary)));
        assert!(matches!(outcome, Ok(Reply::Http(_))), "{host}: {outcome:?}");
    }
    assert_eq!(world.hits.load(Ordering::SeqCst), 5);
}

#[test]
fn redirects_do_not_reach_closed_addresses() {
    let world = world(EVERY_URL);
    let (start, starts) = web(|request| {
        // The request line contains the target in hexadecimal, so that it arrives unchanged.
        let path = request.split(' ').nth(1).unwrap_or_default();
        let bytes = path.as_bytes()[1..]
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap());
        redirect(&String::from_utf8(bytes.collect()).unwrap())
    });
    let here = format!("{EVERY_URL}\n[net]\nconnect = [\"ip:127.0.0.1:{start}\"]");
    load(&world.kernel, &here);
    let hosts = LOOPBACK.iter().chain(SPECIAL).map(|host| format!("http://{host}:{}/", world.canary));
    let tricks = TRICKS.iter().map(|url| url.replace('§', &world.canary.to_string()));
    let mut cases = 0;
    for target in
        hosts.chain(tricks).filter(|target| target.is_ascii() && !target.contains(|c: char| c.is_control()))
    {
        let hex: String = target.bytes().map(|byte| format!("{byte:02x}")).collect();
        // A location without a host stays with the server that sent it.
        if url_host(&target).is_none() {
            continue;
        }
        let outcome = world.kernel.call(get(&format!("http://127.0.0.1:{start}/{hex}")));
        let refused = code(outcome);
        assert!(
            matches!(refused, Code::PolicyDeny | Code::InvalidArgument | Code::Io),
            "{target:?}: {refused:?}"
        );
        assert_eq!(world.hits.load(Ordering::SeqCst), 0, "a redirect to {target:?} reached the server");
        cases += 1;
    }
    assert!(cases > 200 && starts.load(Ordering::SeqCst) == cases, "only {cases} cases");
}

/// Returns the host of a location, roughly, if it has one.
fn url_host(location: &str) -> Option<&str> {
    location.split_once("://").map(|(_, rest)| rest).filter(|rest| !rest.is_empty() && !rest.starts_with('/'))
}

/// The second answer for the name would be loopback, but there is only one lookup.
#[test]
fn a_name_that_rebinds_is_looked_up_once() {
    let scratch = Scratch::new("rebind");
    let (canary, hits) = web(|_| ok("loot"));
    let public: IpAddr = "203.0.113.7".parse().unwrap();
    let inside: IpAddr = "127.0.0.1".parse().unwrap();
    let (servers, asked) = dns(move |_, before| vec![if before.is_multiple_of(2) { public } else { inside }]);
    let config = scratch.join("host.toml");
    std::fs::write(&config, format!("[dns]\nservers = [\"{servers}\"]")).unwrap();
    let options = Options { host_config: Some(config), ..Options::default() };
    let kernel = Connection::open(&options).unwrap();
    load(&kernel, EVERY_URL);
    let url = format!("http://rebind.test:{canary}/");
    // The kernel decides on the first answer (an address reserved for documentation); no second lookup follows.
    assert_eq!(code(kernel.call(get(&url))), Code::PolicyDeny);
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    // The kernel decides anew on the second answer, regardless of the first.
    assert_eq!(code(kernel.call(get(&url))), Code::PolicyDeny);
    assert_eq!((asked.load(Ordering::SeqCst), hits.load(Ordering::SeqCst)), (2, 0));
}

/// Connections go only to the permitted addresses of a name.
#[test]
fn the_connection_goes_to_a_permitted_address() {
    let scratch = Scratch::new("pinned");
    let (port, hits) = web(|_| ok("here"));
    let (servers, asked) = dns(|_, _| ["10.9.9.9", "127.0.0.1"].map(|ip| ip.parse().unwrap()).to_vec());
    let config = scratch.join("host.toml");
    std::fs::write(&config, format!("[dns]\nservers = [\"{servers}\"]")).unwrap();
    let options = Options { host_config: Some(config), ..Options::default() };
    let kernel = Connection::open(&options).unwrap();
    load(&kernel, &format!("{EVERY_URL}\n[net]\nconnect = [\"ip:127.0.0.1:{port}\"]"));
    assert!(kernel.call(get(&format!("http://mixed.test:{port}/"))).is_ok(), "10.9.9.9 would not answer");
    assert_eq!((asked.load(Ordering::SeqCst), hits.load(Ordering::SeqCst)), (1, 1));
}
