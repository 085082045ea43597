//! Secrets are sent only where the operator bound them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering},
};

use ak_host::ak_kernel::{
    Code, FileRequest, HeapRequest, HttpRequest, Outcome, Reply, Request, ak_heap::Content,
};
use ak_host::{Connection, Options};
use support::{Scratch, load, ok, redirect, web};

const TOKEN: &str = "ghp_0123456789abcdefghijklmnopqrstuvwxyz";
const OTHER: &str = "a value with spaces, \"quotes\" and \\";

struct World {
    kernel: Connection,
    port: u16,
    elsewhere: u16,
    /// The requests that the servers saw.
    seen: Arc<Mutex<Vec<String>>>,
    hits: Arc<AtomicU64>,
    scratch: Scratch,
}

/// Two servers that echo requests, and a kernel whose agent may send them any request.
fn world(extra: &str) -> World {
    let scratch = Scratch::new("secrets");
    let seen = Arc::new(Mutex::new(Vec::new()));
    let server = |seen: Arc<Mutex<Vec<String>>>, to: Arc<Mutex<u16>>| {
        web(move |request| {
            seen.lock().unwrap().push(request.to_owned());
            match request.split(' ').nth(1).unwrap_or_default() {
                "/away" => redirect(&format!("http://127.0.0.1:{}/api/x", to.lock().unwrap())),
                "/api/out" => redirect("/open"),
                "/api/leak" => redirect(&format!("http://127.0.0.1:{}/?token={TOKEN}", to.lock().unwrap())),
                "/api/leak/encoded" => redirect(&format!("/api/x?token={}", TOKEN.replace('p', "%70"))),
                "/api/leak/host" => redirect(&format!("http://{}.test/", TOKEN.to_lowercase())),
                "/api/leak/scheme" => redirect(&format!("gopher://x/{TOKEN}")),
                "/api/name" => {
                    format!(
                        "HTTP/1.1 200 OK\r\nx-{TOKEN}: 1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
                    )
                }
                "/api/zipped" => ok("x").replace("\r\n\r\n", "\r\ncontent-encoding: gzip\r\n\r\n"),
                "/api/part" => ok("x").replace("200 OK", "206 Partial Content"),
                "/api/header" => format!(
                    "HTTP/1.1 200 OK\r\nx-echo: it was {TOKEN}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
                ),
                _ => ok(request),
            }
        })
    };
    let to = Arc::new(Mutex::new(0));
    let (port, hits) = server(seen.clone(), to.clone());
    let (elsewhere, _) = server(seen.clone(), Arc::default());
    *to.lock().unwrap() = elsewhere;
    std::fs::write(scratch.join("token"), format!("{TOKEN}\n")).unwrap();
    std::fs::write(scratch.join("other"), OTHER).unwrap();
    let config = format!(
        "[secret.github]\nfrom = \"file:token\"\nto = [\"http://127.0.0.1:{port}/api/**\"]\nin = [\"header:Authorization\"]\n\
         [secret.other]\nfrom = \"file:other\"\nto = [\"http://127.0.0.1:{port}/**\"]\nin = [\"header:X-Other\", \"body\"]\n{extra}"
    );
    std::fs::write(scratch.join("host.toml"), config).unwrap();
    let options = Options { host_config: Some(scratch.join("host.toml")), ..Options::default() };
    let kernel = Connection::open(&options).unwrap();
    let verbs = ["GET", "POST"].map(|verb| {
        format!("\"{verb} http://127.0.0.1:{port}/**\", \"{verb} http://127.0.0.1:{elsewhere}/**\"")
    });
    load(
        &kernel,
        &format!(
            "[http]\nallow = [{}]\n[net]\nconnect = [\"ip:127.0.0.1:{port}\", \"ip:127.0.0.1:{elsewhere}\"]\n\
             [fs]\nread = [\"{}/**\"]",
            verbs.join(", "),
            scratch.text("").trim_end_matches('/')
        ),
    );
    World { kernel, port, elsewhere, seen, hits, scratch }
}

impl World {
    fn ask(&self, port: u16, path: &str, headers: &[(&str, &str)], body: Option<&[u8]>) -> Outcome {
        self.kernel.call(Request::Http(HttpRequest {
            method: if body.is_some() { "POST" } else { "GET" }.into(),
            url: format!("http://127.0.0.1:{port}{path}").into(),
            headers: headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
            body: body.map(Arc::from),
            response_bytes_max: 100_000,
            timeout_ms: 5_000,
        }))
    }

    /// Returns everything readable that the kernel recorded.
    fn recorded(&self) -> String {
        let records = self.kernel.driver().unwrap().records().unwrap();
        records.iter().map(|record| String::from_utf8_lossy(&record.body).into_owned()).collect()
    }

    fn check_nothing_leaked(&self, outcome: &Outcome) {
        let told = format!("{outcome:?}{}", self.recorded());
        assert!(!told.contains(TOKEN) && !told.contains(OTHER), "a secret came back: {outcome:?}");
        // Bodies are recorded in base64, in which the secret begins at one of three offsets.
        use base64::Engine;
        let encoded = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(TOKEN);
        assert!(!told.contains(&encoded[4..encoded.len() - 4]), "a secret was recorded");
    }
}

fn body(outcome: &Outcome) -> String {
    match outcome {
        Ok(Reply::Http(response)) => String::from_utf8_lossy(&response.body).into_owned(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_secret_is_sent_and_cut_from_the_reply() {
    let world = world("");
    let bearer = [("authorization", "Bearer secret://github"), ("x-other", "secret://other")];
    let outcome = world.ask(world.port, "/api/user", &bearer, None);
    assert!(world.seen.lock().unwrap()[0].contains(&format!("authorization: Bearer {TOKEN}\r\n")));
    assert!(world.seen.lock().unwrap()[0].contains(&format!("x-other: {OTHER}\r\n")));
    // The server echoes the request.
    assert!(body(&outcome).contains("authorization: Bearer secret://github\r\n"));
    world.check_nothing_leaked(&outcome);
    let outcome = world.ask(world.port, "/api/header", &bearer, None);
    let Ok(Reply::Http(response)) = &outcome else { panic!("{outcome:?}") };
    assert!(
        response
            .headers
            .iter()
            .any(|(name, value)| &**name == "x-echo" && &**value == "it was secret://github")
    );
    world.check_nothing_leaked(&outcome);
    let outcome = world.ask(
        world.port,
        "/anywhere",
        &[],
        Some(b"{\"key\": \"secret://other\", \"about\": \"secret://nobody\"}"),
    );
    assert!(outcome.is_ok());
    world.check_nothing_leaked(&outcome);
}

/// A request with a secret for another destination is not sent at all.
#[test]
fn a_secret_for_another_destination_is_denied_before_connecting() {
    let world = world("");
    let (here, there) = (world.port, world.elsewhere);
    let github = "secret://github";
    type Row<'r> = (u16, &'r str, &'r [(&'r str, &'r str)], Option<&'r [u8]>);
    let rows: [Row<'_>; 14] = [
        (there, "/api/user", &[("authorization", "Bearer secret://github")], None),
        (here, "/other", &[("authorization", "Bearer secret://github")], None),
        (here, "/apix", &[("authorization", github)], None),
        (here, "/api/../other", &[("authorization", github)], None),
        (here, "/api%2f..%2fother", &[("authorization", github)], None),
        (here, "/api/x", &[("x-api-key", github)], None),
        (here, "/api/x", &[("cookie", "a=secret://github")], None),
        (here, "/api/x", &[("authorization", "secret://unknown")], None),
        (here, "/api/x", &[("authorization", "secret://")], None),
        (here, "/api/x", &[("authorization", "secret://github secret://other")], None),
        (here, "/api/x?token=secret://github", &[], None),
        (here, "/api/x?token=secret:%2F%2fgithub", &[], None),
        (here, "/api/x", &[], Some(b"token=secret://github")),
        (there, "/x", &[], Some(b"secret://other")),
    ];
    for (port, path, headers, body) in rows {
        let outcome = world.ask(port, path, headers, body);
        let failure = outcome.as_ref().unwrap_err();
        assert!(
            matches!(failure.code, Code::PolicyDeny | Code::InvalidArgument),
            "{path} {headers:?}: {failure:?}"
        );
        world.check_nothing_leaked(&outcome);
    }
    assert!(world.seen.lock().unwrap().is_empty(), "something was sent");
    assert_eq!(world.hits.load(Ordering::SeqCst), 0);
}

/// After a redirect the secret is sent only if it is bound to the new destination.
#[test]
fn a_redirect_drops_secrets() {
    let world = world("");
    let bearer = [("authorization", "Bearer secret://github"), ("x-other", "secret://other")];
    // On the same server, but outside the paths to which the secret is bound.
    let outcome = world.ask(world.port, "/api/out", &bearer, None);
    assert_eq!(outcome.as_ref().unwrap_err().code, Code::PolicyDeny);
    world.check_nothing_leaked(&outcome);
    // To another server: the header is dropped.
    let outcome = world.ask(world.port, "/away", &[("x-other", "secret://other")], None);
    assert!(!body(&outcome).contains("x-other"));
    world.check_nothing_leaked(&outcome);
    let seen = world.seen.lock().unwrap().clone();
    assert!(
        seen.iter()
            .filter(|request| request.contains(&world.elsewhere.to_string()))
            .all(|request| !request.contains(OTHER))
    );
}

/// A redirect whose location contains the secret is not followed, recorded or shown.
#[test]
fn a_redirect_whose_location_holds_a_secret_is_not_followed() {
    let world = world("");
    let bearer = [("authorization", "Bearer secret://github")];
    for path in ["/api/leak", "/api/leak/encoded", "/api/leak/host", "/api/leak/scheme"] {
        let outcome = world.ask(world.port, path, &bearer, None);
        let failure = outcome.as_ref().unwrap_err();
        assert!(failure.code == Code::Io && failure.message.contains("holds a secret"), "{path}: {failure}");
        world.check_nothing_leaked(&outcome);
        assert!(!format!("{outcome:?}").to_lowercase().contains(&TOKEN.to_lowercase()), "{path}");
    }
    assert_eq!(world.seen.lock().unwrap().len(), 4, "one request each");
}

/// An agent cannot make the server encode its response so that the secret is not recognised.
#[test]
fn a_response_to_a_secret_must_be_plain_and_complete() {
    let world = world("");
    for disguise in ["Accept-Encoding", "Range", "If-Range", "TE"] {
        let headers = [("authorization", "secret://github"), (disguise, "gzip")];
        let outcome = world.ask(world.port, "/api/x", &headers, None);
        assert_eq!(outcome.as_ref().unwrap_err().code, Code::InvalidArgument, "{disguise}");
        // Without a secret these headers are permitted.
        if disguise != "TE" {
            world.ask(world.port, "/api/x", &[(disguise, "gzip")], None).unwrap();
        }
    }
    let plain = [("authorization", "secret://github"), ("accept-encoding", "identity")];
    world.ask(world.port, "/api/x", &plain, None).unwrap();
    for path in ["/api/zipped", "/api/part"] {
        let outcome = world.ask(world.port, path, &[("authorization", "secret://github")], None);
        assert_eq!(outcome.as_ref().unwrap_err().code, Code::Io, "{path}");
        world.check_nothing_leaked(&outcome);
    }
    let outcome = world.ask(world.port, "/api/name", &[], None);
    assert!(!format!("{outcome:?}").to_lowercase().contains(&TOKEN.to_lowercase()), "{outcome:?}");
}

#[test]
fn a_secret_s_own_file_is_out_of_reach() {
    let world = world("");
    for file in ["token", "other", "host.toml"] {
        let outcome = world.kernel.call(Request::File(FileRequest::Read {
            path: world.scratch.text(file).into(),
            bytes_max: 1000,
        }));
        assert_eq!(outcome.as_ref().unwrap_err().code, Code::PolicyDeny, "{file}");
    }
    // A secret in a copied file is removed when an agent reads the file.
    std::fs::write(world.scratch.join("copy"), format!("GITHUB_TOKEN={TOKEN}\n")).unwrap();
    let outcome = world
        .kernel
        .call(Request::File(FileRequest::Read { path: world.scratch.text("copy").into(), bytes_max: 1000 }));
    assert!(matches!(&outcome, Ok(Reply::Bytes(bytes)) if &**bytes == b"GITHUB_TOKEN=secret://github\n"));
    world.check_nothing_leaked(&outcome);
}

/// Redaction of texts that look like keys is optional; text that the agent wrote itself stays.
#[test]
fn texts_that_look_like_keys_are_cut_if_configured() {
    const KEY: &str = "AKIAIOSFODNN7EXAMPLE";
    for (config, expected) in [("", KEY), ("[redact]\nbuiltin = true", "[redacted]")] {
        let world = world(config);
        let outcome = world.ask(world.port, "/x", &[("x-key", KEY)], None);
        assert!(body(&outcome).contains(&format!("x-key: {expected}\r\n")), "{config:?}: {outcome:?}");
    }
    let world = world("[redact]\npatterns = [\"[0-9]{3}-[0-9]{2}\"]");
    assert!(body(&world.ask(world.port, "/x", &[("x-id", "123-45")], None)).contains("x-id: [redacted]\r\n"));
    let content = Content::Json(ak_host::ak_json::object! { "id": "123-45" });
    let alloc =
        Request::Heap(HeapRequest::Alloc { type_name: "t".into(), content: content.clone(), subject: None });
    let Ok(Reply::Handle(handle)) = world.kernel.call(alloc) else { panic!() };
    assert_eq!(
        world.kernel.call(Request::Heap(HeapRequest::Read { handle, version: None })),
        Ok(Reply::Content(content))
    );
}

#[test]
fn a_faulty_configuration_is_refused_at_opening() {
    let scratch = Scratch::new("faults");
    let check = |config: &str, says: &str| {
        std::fs::write(scratch.join("host.toml"), config).unwrap();
        let options = Options { host_config: Some(scratch.join("host.toml")), ..Options::default() };
        let failure = Connection::open(&options).err().unwrap();
        assert!(
            failure.code == Code::NotConfigured && failure.message.contains(says),
            "{config:?}: {failure}"
        );
    };
    std::fs::write(scratch.join("short"), "1234567").unwrap();
    std::fs::write(scratch.join("lines"), "12345678\n12345678").unwrap();
    let secret = |from: &str, to: &str, place: &str| {
        format!("[secret.x]\nfrom = \"{from}\"\nto = [\"{to}\"]\nin = [\"{place}\"]")
    };
    check(
        &secret("env:AK_TEST_NOT_SET", "https://a/**", "body"),
        "[secret.x]: env:AK_TEST_NOT_SET: the variable is not set",
    );
    check(&secret("file:absent", "https://a/**", "body"), "file:absent: No such file");
    check(&secret("file:short", "https://a/**", "body"), "shorter than 8 bytes");
    check(&secret("file:lines", "https://a/**", "body"), "control character");
    check(&secret("file:lines", "a b", "body"), "to: ");
    check(&secret("file:lines", "https://a/**", "url"), "line 4, column 6: expected header:NAME or body");
    check(&secret("file:lines", "https://a/**", "header:a b"), "line 4, column 6");
    check("[secret.\"a b\"]\nfrom = \"file:short\"\nto = []\nin = []", "a secret's name is made of");
    check("[http]\nca = [\"absent.pem\"]", "[http] ca: ");
    check("[http]\nca = [\"short\"]", "there is no certificate in it");
    check("nonsense", "line 1, column ");
    let options = Options { host_config: Some(scratch.join("nowhere.toml")), ..Options::default() };
    assert!(Connection::open(&options).err().unwrap().message.contains("nowhere.toml"));
}
