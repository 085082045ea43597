//! HTTP goes where it was permitted to go, and nowhere else.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use std::sync::atomic::Ordering;

use ak_host::ak_kernel::{Code, Reply};

use support::{code, embedded, get, ok, redirect, web};

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
fn redirects_in_a_circle_end() {
    let (port, hits) = web(|_| redirect("/"));
    let kernel = embedded(&granting(&[port]));
    assert_eq!(code(kernel.call(get(&format!("http://127.0.0.1:{port}/")))), Code::Io);
    assert_eq!(hits.load(Ordering::SeqCst), 1 + ak_host::REDIRECTS_MAX as u64);
}

#[test]
fn a_response_that_is_too_long_or_too_slow_is_given_up() {
    let (long, _) = web(|_| ok(&"x".repeat(1001)));
    let (slow, _) = web(|_| {
        std::thread::sleep(std::time::Duration::from_secs(5));
        ok("late")
    });
    let kernel = embedded(&granting(&[long, slow]));
    assert_eq!(code(kernel.call(get(&format!("http://127.0.0.1:{long}/")))), Code::BufferOverflow);
    assert_eq!(code(kernel.call(get(&format!("http://127.0.0.1:{slow}/")))), Code::Deadline);
}

#[test]
fn headers_of_the_connection_are_the_host_s() {
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
