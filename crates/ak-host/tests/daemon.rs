//! The daemon's socket, from both ends.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use std::{
    io::{ErrorKind, Read, Write},
    os::unix::net::{UnixDatagram, UnixListener, UnixStream},
};

use ak_host::ak_kernel::frame::{Flags, HEADER_BYTES, Header, encode};
use ak_host::ak_kernel::{
    AdminRequest, AuditFilter, AuditRequest, Code, Failure, HeapRequest, Reply, Request, ToolsRequest,
    ak_heap::Content, ak_json::object,
};
use ak_host::{Connection, Options, Server, owner_token};

use support::{Scratch, code};

struct Daemon {
    scratch: Scratch,
}

impl Daemon {
    fn start() -> Daemon {
        Daemon::with_guests(4)
    }

    fn with_guests(max: u64) -> Daemon {
        let scratch = Scratch::new("daemon");
        let token = owner_token(&scratch.join("token")).unwrap();
        let kernel = Connection::open(&Options::default()).unwrap();
        let server = Server::bind(&kernel, &scratch.join("ak.sock"), &token).unwrap().with_guests(max);
        std::thread::spawn(move || server.run());
        Daemon { scratch }
    }

    fn connect(&self, token: bool) -> Connection {
        self.try_connect(token).unwrap()
    }

    fn try_connect(&self, token: bool) -> Result<Connection, Failure> {
        Connection::open(&Options {
            url: Some(format!("unix://{}", self.scratch.text("ak.sock"))),
            token_file: token.then(|| self.scratch.join("token")),
            ..Options::default()
        })
    }

    fn raw(&self) -> UnixStream {
        UnixStream::connect(self.scratch.join("ak.sock")).unwrap()
    }
}

fn exchange(stream: &mut UnixStream, flags: Flags, sequence: u64, payload: &str) -> String {
    stream.write_all(&encode(flags, sequence, payload.as_bytes()).unwrap()).unwrap();
    let mut header = [0; HEADER_BYTES];
    stream.read_exact(&mut header).unwrap();
    let header = Header::decode(&header).unwrap();
    let mut answer = vec![0; header.payload_bytes];
    stream.read_exact(&mut answer).unwrap();
    header.verify(&answer).unwrap();
    assert_eq!(header.sequence, sequence);
    String::from_utf8(answer).unwrap()
}

#[test]
fn owner_and_agents_get_their_own_sessions() {
    let daemon = Daemon::start();
    let owner = daemon.connect(true);
    assert!(owner.is_owner());
    let content = Content::Json(object! { "value": 1 });
    let alloc =
        Request::Heap(HeapRequest::Alloc { type_name: "t".into(), content: content.clone(), subject: None });
    let Ok(Reply::Handle(handle)) = owner.call(alloc) else { panic!() };
    assert_eq!(
        owner.call(Request::Heap(HeapRequest::Read { handle, version: None })),
        Ok(Reply::Content(content))
    );
    owner.call(Request::Audit(AuditRequest::Verify { key: None, anchor: None })).unwrap();

    let worker = owner.agent("worker").unwrap();
    assert!(!worker.is_owner());
    assert_eq!(code(worker.call(Request::Heap(HeapRequest::Read { handle, version: None }))), Code::NotFound);
    assert_eq!(
        code(worker.call(Request::Audit(AuditRequest::Verify { key: None, anchor: None }))),
        Code::PolicyDeny
    );

    let guest = daemon.connect(false);
    assert!(!guest.is_owner(), "without a token nobody is the owner");
    assert_eq!(
        code(guest.call(Request::Admin(AdminRequest::PolicyLoad {
            text: "".into(),
            base_dir: None,
            files: Default::default()
        }))),
        Code::PolicyDeny
    );
    assert!(guest.agent("worker").is_err(), "nor any agent they name");
}

#[test]
fn without_a_credential_only_an_admitted_guest_connects() {
    let closed = Daemon::with_guests(0);
    assert_eq!(closed.try_connect(false).map(|_| ()).unwrap_err().code, Code::CapMissing);
    let owner = closed.connect(true);
    let Ok(Reply::Value(found)) = owner.call(Request::Audit(AuditRequest::Query(AuditFilter::default())))
    else {
        panic!()
    };
    assert!(!found.to_json().contains("session_open"), "a refusal is no record of the owner's");

    let daemon = Daemon::with_guests(2);
    let (one, other) = (daemon.connect(false), daemon.connect(false));
    assert_eq!(daemon.try_connect(false).map(|_| ()).unwrap_err().code, Code::Quota);
    let alloc = || {
        Request::Heap(HeapRequest::Alloc {
            type_name: "t".into(),
            content: Content::Json(object! {}),
            subject: None,
        })
    };
    assert_eq!(code(one.call(alloc())), Code::PolicyDeny, "a guest has nothing of the baseline");
    let text = "[[rule]]\nid = \"g\"\neffect = \"permit\"\noperation = [\"heap.alloc\"]\ntarget = \"*\"\nagent = [\"guest\", \"guest/**\"]\n";
    daemon
        .connect(true)
        .call(Request::Admin(AdminRequest::PolicyLoad {
            text: text.into(),
            base_dir: None,
            files: Default::default(),
        }))
        .unwrap();
    let Ok(Reply::Handle(handle)) = one.call(alloc()) else { panic!() };
    assert_eq!(code(other.call(Request::Heap(HeapRequest::Read { handle, version: None }))), Code::NotFound);
    drop(one);
    // Another client can connect once the daemon has seen this one leave.
    while daemon.try_connect(false).is_err() {
        std::thread::yield_now();
    }
}

#[test]
fn a_wrong_hello_is_refused() {
    let daemon = Daemon::start();
    let hello = Flags::HELLO.with(Flags::REQUEST);
    let rows = [
        (hello, r#"{"versions":[1],"token":"wrong"}"#, "CAP_INVALID"),
        (hello, r#"{"versions":[2]}"#, "VERSION"),
        (hello, "{}", "VERSION"),
        (hello, r#"{"versions":[1],"agent":"worker"}"#, "CAP_MISSING"),
        (Flags::REQUEST, r#"{"op":"TOOL_LIST"}"#, "FRAME_INVALID"),
    ];
    for (flags, payload, expected) in rows {
        let answer = exchange(&mut daemon.raw(), flags, 0, payload);
        assert!(answer.contains(expected), "{payload}: {answer}");
    }
}

#[test]
fn a_bad_request_gets_an_error_and_the_connection_stays_open() {
    let daemon = Daemon::start();
    let mut stream = daemon.raw();
    exchange(&mut stream, Flags::HELLO.with(Flags::REQUEST), 0, r#"{"versions":[1]}"#);
    let rows = [
        (1, r#"{"op":"FLY"}"#, "INVALID_ARGUMENT"),
        (2, r#"{"op":"READ","args":{}}"#, "INVALID_ARGUMENT"),
        (3, r#"{"op":"READ","args":{"handle":"0x1","extra":1}}"#, "INVALID_ARGUMENT"),
        (4, r#"{"op":"GENESIS"}"#, "INVALID_ARGUMENT"),
        (4, r#"{"op":"TOOL_LIST"}"#, "REPLAY"),
        (3, r#"{"op":"TOOL_LIST"}"#, "REPLAY"),
        (9, r#"{"op":"TOOL_LIST"}"#, "\"ok\":true"),
    ];
    for (sequence, payload, expected) in rows {
        let answer = exchange(&mut stream, Flags::REQUEST, sequence, payload);
        assert!(answer.contains(expected), "{payload}: {answer}");
    }
}

#[test]
fn garbage_closes_one_connection_and_no_other() {
    let daemon = Daemon::start();
    let owner = daemon.connect(true);
    for garbage in
        [&b"GET / HTTP/1.1\r\n\r\n      "[..], &[0xff; 64], &encode(Flags::HELLO, 0, b"not json").unwrap()]
    {
        let mut stream = daemon.raw();
        stream.write_all(garbage).unwrap();
        let mut rest = Vec::new();
        // The connection is closed, with or without an answer before.
        let _ = stream.read_to_end(&mut rest);
    }
    owner.call(Request::Tools(ToolsRequest::List)).unwrap();
}

#[test]
fn malformed_requests_are_counted() {
    let daemon = Daemon::start();
    let mut stranger = daemon.raw();
    assert!(
        exchange(&mut stranger, Flags::HELLO, 1, r#"{"versions":[1],"token":"guess"}"#)
            .contains("CAP_INVALID")
    );
    let owner = daemon.connect(true);
    let filter =
        ak_host::ak_kernel::AuditFilter { event_type: Some("throttled".into()), ..Default::default() };
    let Ok(Reply::Value(found)) = owner.call(Request::Audit(AuditRequest::Query(filter))) else {
        panic!("no entries")
    };
    assert!(found.to_json().contains(r#""agents":[{"agent":null,"turned_away":1}]"#), "{found}");
}

/// With large requests and large replies at once, neither side stops reading because it writes.
#[test]
fn large_frames_in_both_directions_do_not_deadlock() {
    let daemon = Daemon::start();
    let owner = daemon.connect(true);
    let text = "x".repeat(1 << 20);
    let threads = 8;
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                for _ in 0..4 {
                    let content = Content::Json(object! { "text": text.as_str() });
                    let made = owner.call(Request::Heap(HeapRequest::Alloc {
                        type_name: "large".into(),
                        content,
                        subject: None,
                    }));
                    let Ok(Reply::Handle(handle)) = made else { panic!("{made:?}") };
                    let read = owner.call(Request::Heap(HeapRequest::Read { handle, version: None }));
                    assert!(matches!(read, Ok(Reply::Content(_))), "{read:?}");
                }
            });
        }
    });
}

// Row G8: a mistyped path destroys no file.

#[test]
fn only_a_socket_that_nobody_listens_on_is_replaced() {
    let scratch = Scratch::new("replaced");
    let kernel = Connection::open(&Options::default()).unwrap();
    let bind = |name: &str| Server::bind(&kernel, &scratch.join(name), "token");
    std::fs::write(scratch.join("important.db"), "rows").unwrap();
    std::fs::create_dir(scratch.join("directory")).unwrap();
    std::os::unix::fs::symlink("important.db", scratch.join("to-a-file")).unwrap();
    std::os::unix::fs::symlink("nowhere", scratch.join("to-nothing")).unwrap();
    drop(UnixListener::bind(scratch.join("left.sock")).unwrap());
    std::os::unix::fs::symlink("left.sock", scratch.join("to-a-socket")).unwrap();
    for name in ["important.db", "directory", "to-a-file", "to-nothing", "to-a-socket"] {
        let refused = bind(name).err().unwrap();
        assert_eq!(refused.kind(), ErrorKind::AlreadyExists, "{name}: {refused}");
        assert!(refused.to_string().contains(name), "{refused}");
        assert!(std::fs::symlink_metadata(scratch.join(name)).is_ok(), "{name}");
    }
    assert_eq!(std::fs::read_to_string(scratch.join("important.db")).unwrap(), "rows");
    let _datagrams = UnixDatagram::bind(scratch.join("log.sock")).unwrap();
    assert!(bind("log.sock").is_err());
    assert!(scratch.join("log.sock").exists());

    let server = bind("left.sock").unwrap();
    assert_eq!(bind("left.sock").err().unwrap().kind(), ErrorKind::AddrInUse);
    // A file that replaced the socket before the daemon ends is not removed.
    std::fs::remove_file(scratch.join("left.sock")).unwrap();
    std::fs::write(scratch.join("left.sock"), "rows").unwrap();
    drop(server);
    assert_eq!(std::fs::read_to_string(scratch.join("left.sock")).unwrap(), "rows");
}
