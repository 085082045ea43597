//! HTTP requests go only to permitted destinations.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use std::sync::atomic::Ordering;

use ak_host::ak_kernel::{AgentRequest, Code, Reply, Request};

use support::{code, embedded, get, late_web, ok, redirect, web};

fn granting(ports: &[u16]) -> String {
    let list = |prefix: &str, suffix: &str| {
        ports
            .iter()
            .map(|port| format!("\"{prefix}127.0.0.1:{port}{suffix}\""))
            .collect::<Vec<_>>()
            .join(", ")
    };
    format!("[http]\nallow = [{}]\n[net]\nconnect = [{}]", list("GET http://", "/**"), list("ip:", ""))
}

#[test]
fn a_permitted_request_is_answered() {
    let (port, _) = web(|_| ok("hello"));
    let kernel = embedded(&granting(&[port]));
    let Ok(Reply::Http(response)) = kernel.call(get(&format!("http://127.0.0.1:{port}/x"))) else { panic!() };
    assert_eq!((response.status, &*response.body), (200, &b"hello"[..]));
}

#[test]
fn loopback_is_closed_unless_granted_by_address() {
    let (port, hits) = web(|_| ok("loot"));
    let kernel = embedded(&format!(
        "[http]\nallow = [\"GET http://127.0.0.1:{port}/**\", \"GET http://localhost:{port}/**\"]"
    ));
    for host in ["127.0.0.1", "localhost"] {
        assert_eq!(code(kernel.call(get(&format!("http://{host}:{port}/")))), Code::PolicyDeny, "{host}");
    }
    assert_eq!(hits.load(Ordering::SeqCst), 0, "no connection was made");
}

#[test]
fn a_redirect_to_elsewhere_is_not_followed() {
    let (elsewhere, hits) = web(|_| ok("loot"));
    let (port, _) = web(move |_| redirect(&format!("http://127.0.0.1:{elsewhere}/")));
    let kernel = embedded(&granting(&[port]));
    assert_eq!(code(kernel.call(get(&format!("http://127.0.0.1:{port}/")))), Code::PolicyDeny);
    assert_eq!(hits.load(Ordering::SeqCst), 0, "no connection was made");
}

#[test]
fn credentials_do_not_cross_origins() {
    let seen =
        |request: &str| ok(if request.to_lowercase().contains("bearer secret") { "with" } else { "without" });
    let (other, _) = web(seen);
    let (port, _) = web(move |request| match request.starts_with("GET /away") {
        true => redirect(&format!("http://127.0.0.1:{other}/")),
        false if request.starts_with("GET /home") => redirect("/stay"),
        false => seen(request),
    });
    let kernel = embedded(&granting(&[port, other]));
    let body = |path: &str| match kernel.call(get(&format!("http://127.0.0.1:{port}{path}"))) {
        Ok(Reply::Http(response)) => String::from_utf8_lossy(&response.body).into_owned(),
        other => panic!("{other:?}"),
    };
    assert_eq!(body("/home"), "with");
    assert_eq!(body("/away"), "without");
}

#[test]
fn circular_redirects_end() {
    let (port, hits) = web(|_| redirect("/"));
    let kernel = embedded(&granting(&[port]));
    assert_eq!(code(kernel.call(get(&format!("http://127.0.0.1:{port}/")))), Code::Io);
    assert_eq!(hits.load(Ordering::SeqCst), 1 + ak_host::REDIRECTS_MAX as u64);
}

#[test]
fn a_response_that_is_too_long_or_too_slow_fails() {
    let (long, _) = web(|_| ok(&"x".repeat(1001)));
    let (slow, _release) = late_web();
    let kernel = embedded(&granting(&[long, slow]));
    assert_eq!(code(kernel.call(get(&format!("http://127.0.0.1:{long}/")))), Code::BufferOverflow);
    assert_eq!(code(kernel.call(get(&format!("http://127.0.0.1:{slow}/")))), Code::Deadline);
}

#[test]
fn connection_headers_are_set_by_the_host_alone() {
    let (port, hits) = web(|_| ok(""));
    let kernel = embedded(&granting(&[port]));
    for (name, value) in
        [("Host", "evil"), ("Transfer-Encoding", "chunked"), ("x\r\ny", "z"), ("x", "a\r\nb: c")]
    {
        let mut request = get(&format!("http://127.0.0.1:{port}/"));
        if let ak_host::ak_kernel::Request::Http(http) = &mut request {
            http.headers = vec![(name.into(), value.into())];
        }
        assert_eq!(code(kernel.call(request)), Code::InvalidArgument, "{name:?}");
    }
    assert_eq!(hits.load(Ordering::SeqCst), 0);
}

/// A server that sends exactly these bytes, and then runs `then`.
fn raw(answer: Vec<u8>, then: impl Fn(&mut std::net::TcpStream) + Send + Sync + 'static) -> u16 {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let mut request = [0; 4096];
            // These fail when the client hangs up, which the tests provoke.
            let _ = stream.read(&mut request).and_then(|_| stream.write_all(&answer));
            then(&mut stream);
        }
    });
    port
}

/// Malformed and oversized responses: each call fails in bounded time and memory.
#[test]
fn malformed_and_oversized_responses_fail() {
    use std::io::Write;
    let endless = |piece: &'static [u8]| {
        move |stream: &mut std::net::TcpStream| while stream.write_all(piece).is_ok() {}
    };
    let head = |rest: &str| format!("HTTP/1.1 200 OK\r\n{rest}").into_bytes();
    let silent = |_: &mut std::net::TcpStream| {};
    let rows = [
        ("endless headers", raw(head(""), endless(b"x-a: b\r\n")), Code::Io),
        ("one endless header", raw(head("x: "), endless(b"aaaaaaaaaaaaaaaa")), Code::Io),
        ("an endless status line", raw(b"HTTP/1.1 200 ".to_vec(), endless(b"O")), Code::Io),
        ("too many headers", raw(head(&"a: b\r\n".repeat(1000)), silent), Code::Io),
        ("an endless body", raw(head("\r\n"), endless(b"aaaaaaaaaaaaaaaa")), Code::BufferOverflow),
        (
            "endless chunks",
            raw(head("transfer-encoding: chunked\r\n\r\n"), endless(b"4\r\naaaa\r\n")),
            Code::BufferOverflow,
        ),
        (
            "a chunk of 2^64",
            raw(head("transfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n"), silent),
            Code::Io,
        ),
        (
            "a long body announced",
            raw(head("content-length: 9999999999\r\n\r\n"), silent),
            Code::BufferOverflow,
        ),
        ("a body cut short", raw(head("content-length: 100\r\n\r\nabc"), silent), Code::Io),
        ("two lengths", raw(head("content-length: 3\r\ncontent-length: 4\r\n\r\nabc"), silent), Code::Io),
        ("no http", raw(b"SSH-2.0-OpenSSH_9.0\r\n".to_vec(), silent), Code::Io),
        ("nothing", raw(Vec::new(), silent), Code::Io),
        ("endless early answers", raw(Vec::new(), endless(b"HTTP/1.1 103 Early\r\n\r\n")), Code::Io),
        (
            "bytes one by one",
            raw(head("\r\n"), |stream| {
                while stream.write_all(b"a").is_ok() {
                    std::thread::sleep(std::time::Duration::from_millis(50));
                }
            }),
            Code::Deadline,
        ),
    ];
    let kernel = embedded(&granting(&rows.each_ref().map(|(_, port, _)| *port)));
    for (what, port, expected) in rows {
        assert_eq!(code(kernel.call(get(&format!("http://127.0.0.1:{port}/")))), expected, "{what}");
    }
    // The received bytes were charged, though no caller got them.
    let Ok(Reply::Value(status)) =
        kernel.call(Request::Agent(AgentRequest::BudgetStatus { dimension: None, agent: None }))
    else {
        panic!()
    };
    let used = status.get("bytes").and_then(|bytes| bytes.get("used")?.as_u64());
    assert!(used.is_some_and(|used| used > 2_000), "{used:?}");
}

#[test]
fn a_body_of_unknown_length_is_read_to_its_end() {
    use std::io::Write;
    let (close, chunked) = (
        b"HTTP/1.1 200 OK\r\n\r\n".to_vec(),
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec(),
    );
    let ports = [
        raw(close, |stream| drop(stream.write_all(b"some").and_then(|()| stream.write_all(b"thing")))),
        raw(chunked, |stream| {
            drop(
                stream
                    .write_all(b"4\r\nsome\r\n")
                    .and_then(|()| stream.write_all(b"5\r\nthing\r\n0\r\n\r\n")),
            )
        }),
    ];
    let kernel = embedded(&granting(&ports));
    for port in ports {
        let Ok(Reply::Http(response)) = kernel.call(get(&format!("http://127.0.0.1:{port}/"))) else {
            panic!()
        };
        assert_eq!(&*response.body, b"something");
    }
}

/// Headers that may be credentials stay with the server that they were sent to.
#[test]
fn only_harmless_headers_cross_origins() {
    let tell = |request: &str| ok(&request.to_lowercase().replace("\r\n", "|"));
    let (other, _) = web(tell);
    let (port, _) = web(move |request| match request.starts_with("POST /away") {
        true => redirect(&format!("http://127.0.0.1:{other}/")),
        false => tell(request),
    });
    let policy = granting(&[port, other])
        .replace("GET http", "POST http")
        .replace("allow = [", "allow = [\"GET http://127.0.0.1:*/**\", ");
    let kernel = embedded(&policy);
    let secret = [
        "authorization",
        "cookie",
        "x-api-key",
        "private-token",
        "x-auth-token",
        "x-amz-security-token",
        "dpop",
        "x-csrf-token",
        "referer",
    ];
    let mut request = get(&format!("http://127.0.0.1:{port}/away"));
    if let ak_host::ak_kernel::Request::Http(http) = &mut request {
        http.method = "POST".into();
        http.body = Some(std::sync::Arc::from(&b"body"[..]));
        http.headers = secret
            .iter()
            .chain(&["accept", "user-agent", "content-type"])
            .map(|name| ((*name).into(), "marked".into()))
            .collect();
    }
    let Ok(Reply::Http(response)) = kernel.call(request) else { panic!() };
    let seen = String::from_utf8_lossy(&response.body);
    assert!(
        seen.starts_with("get / ")
            && seen.contains("|accept: marked|")
            && seen.contains("|user-agent: marked|"),
        "{seen}"
    );
    for name in secret.iter().chain(&["content-type", "content-length"]) {
        assert!(!seen.contains(&format!("|{name}:")), "{name} went along: {seen}");
    }
}

fn with_config(text: &str, scratch: &support::Scratch) -> ak_host::Connection {
    let config = scratch.join("host.toml");
    std::fs::write(&config, text).unwrap();
    let options = ak_host::Options { host_config: Some(config), ..ak_host::Options::default() };
    ak_host::Connection::open(&options).unwrap_or_else(|failure| panic!("{failure}"))
}

/// A proxy that accepts CONNECT, notes the destination, and forwards everything.
fn proxy() -> (u16, std::sync::Arc<std::sync::Mutex<Vec<String>>>) {
    use std::io::{BufRead, BufReader, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let told = asked.clone();
    std::thread::spawn(move || {
        while let Ok((mut client, _)) = listener.accept() {
            let mut head = String::new();
            let mut reader = BufReader::new(client.try_clone().unwrap());
            while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).unwrap() > 0 {}
            let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
            told.lock().unwrap().push(target.clone());
            let Ok(mut server) = std::net::TcpStream::connect(&target) else { continue };
            client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").unwrap();
            let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut from, &mut to));
            let _ = std::io::copy(&mut server, &mut client);
        }
    });
    (port, asked)
}

/// A server on this machine is called without the proxy, for which its address would be another machine.
#[test]
fn a_model_on_this_machine_is_asked_directly() {
    let scratch = support::Scratch::new("proxied-model");
    let server = support::model::model(support::model::good);
    let (through, asked) = proxy();
    let table = |way: &str| {
        format!(
            "[http]\nproxy = \"http://127.0.0.1:{through}\"\n[[model]]\nmatch = \"*\"\nurl = \"{}\"\n{way}",
            server.url()
        )
    };
    for (way, expected) in [("", 0), ("proxy = false", 0), ("proxy = true", 1)] {
        let kernel = with_config(&table(way), &scratch);
        support::load(&kernel, support::model::ANY);
        let request = support::model::request("m", ak_host::ak_json::object! {});
        support::model::value(support::model::ask(&kernel, request));
        assert_eq!(asked.lock().unwrap().len(), expected, "{way}");
    }
}

#[test]
fn the_number_of_request_headers_is_limited() {
    let (port, hits) = web(ok);
    let kernel = embedded(&format!(
        "[http]\nallow = [\"GET http://127.0.0.1:{port}/**\"]\n[net]\nconnect = [\"ip:127.0.0.1:{port}\"]"
    ));
    let ask = |count: usize| {
        let Request::Http(mut http) = get(&format!("http://127.0.0.1:{port}/")) else { panic!() };
        http.headers = (0..count).map(|number| (format!("x{number}").into(), "1".into())).collect();
        http.response_bytes_max = 100_000;
        kernel.call(Request::Http(http))
    };
    let Ok(Reply::Http(response)) = ask(ak_host::ak_kernel::HTTP_HEADERS_MAX) else { panic!() };
    let seen = String::from_utf8_lossy(&response.body).into_owned();
    assert!(seen.contains("x255: 1") && seen.contains("user-agent: authority-kernel/"), "{seen}");
    for count in [ak_host::ak_kernel::HTTP_HEADERS_MAX + 1, 40_000] {
        assert_eq!(code(ask(count)), Code::Limit);
    }
    assert_eq!(hits.load(Ordering::SeqCst), 1);
}

/// The proxy gets the checked address, so it looks up no name.
#[test]
fn the_configured_proxy_gets_the_checked_address() {
    let scratch = support::Scratch::new("proxy");
    let (server, hits) = web(|_| ok("through"));
    let (through, asked) = proxy();
    let (names, _) = support::dns::dns(|_, _| vec!["127.0.0.1".parse().unwrap()]);
    let kernel = with_config(
        &format!("[http]\nproxy = \"http://127.0.0.1:{through}\"\n[dns]\nservers = [\"{names}\"]"),
        &scratch,
    );
    support::load(
        &kernel,
        &format!(
            "[http]\nallow = [\"GET http://inside.test:{server}/**\"]\n[net]\nconnect = [\"ip:127.0.0.1:{server}\"]"
        ),
    );
    let Ok(Reply::Http(response)) = kernel.call(get(&format!("http://inside.test:{server}/"))) else {
        panic!()
    };
    assert_eq!(&*response.body, b"through");
    assert_eq!(*asked.lock().unwrap(), [format!("127.0.0.1:{server}")]);
    // A forbidden address stays forbidden: the proxy gets no request.
    support::load(&kernel, &format!("[http]\nallow = [\"GET http://inside.test:{server}/**\"]"));
    assert_eq!(code(kernel.call(get(&format!("http://inside.test:{server}/")))), Code::PolicyDeny);
    assert_eq!((asked.lock().unwrap().len(), hits.load(Ordering::SeqCst)), (1, 1));
}

/// A TLS server whose certificate, made by the test, is for this name.
fn tls(name: &str) -> (u16, String) {
    use std::io::{Read, Write};
    let certified = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der());
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key.into())
        .unwrap();
    let config = std::sync::Arc::new(config);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let mut connection = rustls::ServerConnection::new(config.clone()).unwrap();
            let mut tls = rustls::Stream::new(&mut connection, &mut stream);
            // This fails when the client does not trust the certificate.
            let _ = tls.read(&mut [0; 4096]).and_then(|_| tls.write_all(ok("private").as_bytes()));
            connection.send_close_notify();
            let _ = connection.write_tls(&mut stream);
        }
    });
    (port, certified.cert.pem())
}

#[test]
fn a_server_without_a_valid_certificate_gets_no_request() {
    let scratch = support::Scratch::new("tls");
    let (port, pem) = tls("inside.test");
    let (names, _) = support::dns::dns(|_, _| vec!["127.0.0.1".parse().unwrap()]);
    std::fs::write(scratch.join("ca.pem"), pem).unwrap();
    let dns = format!("[dns]\nservers = [\"{names}\"]\n");
    let policy = format!("[http]\nallow = [\"GET https://**\"]\n[net]\nconnect = [\"ip:127.0.0.1:{port}\"]");
    let trusting = with_config(&format!("{dns}[http]\nca = [\"ca.pem\"]"), &scratch);
    support::load(&trusting, &policy);
    let Ok(Reply::Http(response)) = trusting.call(get(&format!("https://inside.test:{port}/"))) else {
        panic!()
    };
    assert_eq!(&*response.body, b"private");
    assert_eq!(code(trusting.call(get(&format!("https://other.test:{port}/")))), Code::Io, "another name");
    assert_eq!(code(trusting.call(get(&format!("https://127.0.0.1:{port}/")))), Code::Io, "no name");
    let wary = with_config(&dns, &scratch);
    support::load(&wary, &policy);
    assert_eq!(
        code(wary.call(get(&format!("https://inside.test:{port}/")))),
        Code::Io,
        "nobody vouches for it"
    );
}
