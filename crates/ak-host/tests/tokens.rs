//! Capability tokens, embedded and over the daemon's socket.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use std::os::unix::fs::PermissionsExt;

use ak_host::ak_json::{Limits, Value};
use ak_host::ak_kernel::{Code, ErrorClass, Failure, FileRequest, Operation, Reply, Request};
use ak_host::{Connection, KEYS_FILE, Options, Server, owner_token, read_journal};

use support::{Scratch, load};

fn request(operation: Operation, args: &str) -> Request {
    let args = Value::parse(args.as_bytes(), &Limits::default()).unwrap();
    Request::decode(operation, &args).unwrap()
}

fn told(connection: &Connection, operation: Operation, args: &str, member: &str) -> String {
    let Ok(Reply::Value(value)) = connection.call(request(operation, args)) else { panic!("{operation}") };
    value.get(member).and_then(Value::as_str).unwrap().to_owned()
}

fn token(connection: &Connection, capability: &str) -> String {
    told(connection, Operation::CapToken, &format!(r#"{{"capability":"{capability}"}}"#), "token")
}

fn granted(owner: &Connection, scratch: &Scratch) -> String {
    load(owner, &format!("[fs]\nread = [\"{}/**\"]", scratch.path().display()));
    let args = format!(
        r#"{{"agent":"worker","name":"fs","resource":"{}/a","methods":["read"]}}"#,
        scratch.path().display()
    );
    told(owner, Operation::CapGrant, &args, "capability")
}

fn read(scratch: &Scratch, name: &str) -> Request {
    Request::File(FileRequest::Read { path: scratch.text(name).as_str().into(), bytes_max: 1000 })
}

fn refusal(connection: &Connection, request: Request) -> (Code, ErrorClass) {
    let failure: Failure = connection.call(request).unwrap_err();
    (failure.code, failure.class())
}

fn files(name: &str) -> Scratch {
    let scratch = Scratch::new(name);
    for name in ["a", "b"] {
        std::fs::write(scratch.join(name), name).unwrap();
    }
    scratch
}

/// Checks what a bearer of a token may do, however the kernel is reached.
fn a_token_covers_what_it_says(owner: &Connection, scratch: &Scratch) {
    let capability = granted(owner, scratch);
    let worker = owner.agent("worker").unwrap();
    let bearer = owner.agent("bearer").unwrap();
    let presented = bearer.present(&token(&worker, &capability));
    bearer.call(read(scratch, "b")).unwrap();
    presented.call(read(scratch, "a")).unwrap();
    assert_eq!(refusal(&presented, read(scratch, "b")), (Code::CapScope, ErrorClass::Capability));
    assert_eq!(refusal(&worker, read(scratch, "b")), (Code::CapMissing, ErrorClass::OperationDenied));
    for bent in ["", "x", &token(&worker, &capability).replace('A', "B")] {
        assert_eq!(
            refusal(&bearer.present(bent), read(scratch, "a")),
            (Code::CapInvalid, ErrorClass::Capability)
        );
    }
    let narrowed = owner.present(&token(owner, &capability));
    assert!(!narrowed.is_owner() && narrowed.agent("x").is_err());
    assert_eq!(refusal(&narrowed, request(Operation::PolicyLoad, r#"{"text":""}"#)).0, Code::CapScope);
    owner.call(request(Operation::CapRevoke, &format!(r#"{{"capability":"{capability}"}}"#))).unwrap();
    assert_eq!(refusal(&presented, read(scratch, "a")), (Code::CapRevoked, ErrorClass::Capability));
    assert_eq!(refusal(&worker, read(scratch, "a")), (Code::CapRevoked, ErrorClass::OperationDenied));
}

#[test]
fn embedded() {
    a_token_covers_what_it_says(&Connection::open(&Options::default()).unwrap(), &files("tokens"));
}

#[test]
fn over_a_socket() {
    let scratch = files("tokens-socket");
    let token_file = scratch.join("owner");
    let kernel = Connection::open(&Options::default()).unwrap();
    let server = Server::bind(&kernel, &scratch.join("ak.sock"), &owner_token(&token_file).unwrap()).unwrap();
    std::thread::spawn(move || server.run());
    let url = Some(format!("unix://{}", scratch.text("ak.sock")));
    let owner =
        Connection::open(&Options { url: url.clone(), token_file: Some(token_file), ..Options::default() })
            .unwrap();
    // A connection that presents a capability token in HELLO is a session of the token's holder, within the token's
    // capability.
    let capability = granted(&owner, &scratch);
    let bearer_file = scratch.join("bearer");
    std::fs::write(&bearer_file, token(&owner, &capability)).unwrap();
    let by_token = Options { url, token_file: Some(bearer_file), ..Options::default() };
    let bearer = Connection::open(&by_token).unwrap();
    assert!(!bearer.is_owner());
    bearer.call(read(&scratch, "a")).unwrap();
    assert_eq!(refusal(&bearer, read(&scratch, "b")), (Code::CapScope, ErrorClass::Capability));
    owner.call(request(Operation::CapRevoke, &format!(r#"{{"capability":"{capability}"}}"#))).unwrap();
    assert_eq!(refusal(&bearer, read(&scratch, "a")).0, Code::CapRevoked);
    let refused = Connection::open(&by_token).map(|_| ()).unwrap_err();
    assert_eq!((refused.code, refused.class()), (Code::CapRevoked, ErrorClass::Capability));
    a_token_covers_what_it_says(&owner, &scratch);
}

#[test]
fn keys_outlive_a_restart_and_are_in_no_journal() {
    let scratch = files("tokens-restart");
    let state = scratch.join("state");
    let options = Options { state_dir: Some(state.clone()), ..Options::default() };
    let owner = Connection::open(&options).unwrap();
    let capability = granted(&owner, &scratch);
    let token = token(&owner, &capability);
    owner.agent("bearer").unwrap().present(&token).call(read(&scratch, "a")).unwrap();
    owner.close();

    let keys = state.join(KEYS_FILE);
    assert_eq!(std::fs::metadata(&keys).unwrap().permissions().mode() & 0o777, 0o600);
    let key = std::fs::read_to_string(&keys).unwrap().trim().split_once(' ').unwrap().1.to_owned();
    for record in read_journal(&state).unwrap().records {
        let body = String::from_utf8_lossy(&record.body);
        assert!(!body.contains(&key) && !body.contains(&token), "{body}");
    }

    let owner = Connection::open(&options).unwrap();
    let bearer = owner.agent("bearer").unwrap().present(&token);
    bearer.call(read(&scratch, "a")).unwrap();
    owner.call(request(Operation::CapRevoke, &format!(r#"{{"capability":"{capability}"}}"#))).unwrap();
    owner.close();
    let owner = Connection::open(&options).unwrap();
    assert_eq!(
        refusal(&owner.agent("bearer").unwrap().present(&token), read(&scratch, "a")).0,
        Code::CapRevoked
    );
    owner.close();

    std::fs::set_permissions(&keys, std::fs::Permissions::from_mode(0o640)).unwrap();
    assert!(Connection::open(&options).is_err(), "others may read the keys");
}
