//! Malicious clients: whatever they do, the owner can connect and make requests, and the daemon uses few threads and
//! little memory.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use ak_host::ak_kernel::frame::{Flags, HEADER_BYTES, Header, encode};
use ak_host::ak_kernel::{AgentRequest, Code, Reply, Request, ToolsRequest};
use ak_host::{
    Connection, EFFECTS_MAX, Options, OutcomeFuture, RECEIVED_BYTES_MAX, SESSIONS_MAX, Server,
    UNAUTHENTICATED_MAX, owner_token,
};
use support::{
    Scratch, load,
    silent::{Silent, start, wait},
    wait_until,
};

struct Daemon {
    scratch: Scratch,
    kernel: Connection,
}

impl Daemon {
    fn start(guests: u64) -> Daemon {
        let scratch = Scratch::new("abuse");
        let token = owner_token(&scratch.join("token")).unwrap();
        let kernel = Connection::open(&Options::default()).unwrap();
        let server = Server::bind(&kernel, &scratch.join("ak.sock"), &token).unwrap().with_guests(guests);
        std::thread::spawn(move || server.run());
        Daemon { scratch, kernel }
    }

    fn owner(&self) -> Connection {
        Connection::open(&Options {
            url: Some(format!("unix://{}", self.scratch.text("ak.sock"))),
            token_file: Some(self.scratch.join("token")),
            ..Options::default()
        })
        .unwrap()
    }

    /// Opens a connection, once the daemon accepts another one.
    fn raw(&self) -> UnixStream {
        loop {
            match UnixStream::connect(self.scratch.join("ak.sock")) {
                Ok(stream) => return stream,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Opens a connection and sends HELLO.
    fn greeted(&self, hello: &str) -> (UnixStream, String) {
        let mut stream = self.raw();
        let hello = encode(Flags::HELLO.with(Flags::REQUEST), 0, hello.as_bytes()).unwrap();
        stream.write_all(&hello).unwrap();
        let mut header = [0; HEADER_BYTES];
        stream.read_exact(&mut header).unwrap();
        let mut answer = vec![0; Header::decode(&header).unwrap().payload_bytes];
        stream.read_exact(&mut answer).unwrap();
        (stream, String::from_utf8(answer).unwrap())
    }

    fn is_well(&self) {
        let owner = self.owner();
        assert!(
            owner.call(Request::Agent(AgentRequest::BudgetStatus { dimension: None, agent: None })).is_ok()
        );
    }
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn silent_connections_do_not_block_others() {
    let daemon = Daemon::start(0);
    let mut strangers: Vec<UnixStream> = (0..3 * UNAUTHENTICATED_MAX).map(|_| daemon.raw()).collect();
    daemon.is_well();
    let half = encode(Flags::HELLO.with(Flags::REQUEST), 0, &[b' '; 1_000]).unwrap();
    for stranger in &mut strangers {
        // The oldest connections were evicted.
        let _ = stranger.write_all(&half[..500]);
    }
    daemon.is_well();
}

#[test]
fn any_number_of_guests_leaves_room_for_the_owner() {
    let daemon = Daemon::start(10 * SESSIONS_MAX as u64);
    let hello = r#"{"versions":[1]}"#;
    let mut guests = Vec::new();
    let refused = loop {
        // Guests share a rate; the failure says when to try again.
        match daemon.greeted(hello) {
            (stream, answer) if answer.contains("\"ok\":true") => guests.push(stream),
            (_, answer) if answer.contains("RATE") => std::thread::sleep(Duration::from_millis(20)),
            (_, answer) => break answer,
        }
        assert!(guests.len() <= SESSIONS_MAX);
        // The number of guests admitted within a while is enough.
        if guests.len() == SESSIONS_MAX / 8 {
            break String::from("QUOTA");
        }
    };
    assert!(refused.contains("QUOTA"), "{refused}");
    daemon.is_well();
}

#[test]
fn any_number_of_agents_leaves_room_for_the_owner() {
    let daemon = Daemon::start(0);
    let token = std::fs::read_to_string(daemon.scratch.join("token")).unwrap();
    let hello = format!("{{\"versions\":[1],\"token\":\"{}\",\"agent\":\"worker\"}}", token.trim());
    let mut agents = Vec::new();
    let refused = loop {
        match daemon.greeted(&hello) {
            (stream, answer) if answer.contains("\"ok\":true") => agents.push(stream),
            (_, answer) => break answer,
        }
    };
    assert_eq!(agents.len(), SESSIONS_MAX);
    assert!(refused.contains("QUOTA"), "{refused}");
    daemon.is_well();
    // A session can be opened again once another one has ended.
    drop(agents.pop());
    wait_until("the place is free", || daemon.greeted(&hello).1.contains("\"ok\":true"));
}

/// Incomplete requests take no more memory than is set aside for all of them together.
#[test]
fn partial_requests_take_bounded_memory() {
    let daemon = Daemon::start(0);
    let token = std::fs::read_to_string(daemon.scratch.join("token")).unwrap();
    let hello = format!("{{\"versions\":[1],\"token\":\"{}\",\"agent\":\"worker\"}}", token.trim());
    let mut agents: Vec<UnixStream> = (0..40).map(|_| daemon.greeted(&hello).0).collect();
    let before = resident_kib();
    let half = encode(Flags::REQUEST, 1, &vec![b' '; 15 << 20]).unwrap();
    let sent: usize = std::thread::scope(|scope| {
        let sending: Vec<_> = agents
            .iter_mut()
            .map(|agent| {
                let half = &half[..14 << 20];
                scope.spawn(move || {
                    agent.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
                    let mut sent = 0;
                    while let Ok(count) = agent.write(&half[sent..]) {
                        sent += count;
                        if count == 0 || sent == half.len() {
                            break;
                        }
                    }
                    sent
                })
            })
            .collect();
        sending.into_iter().map(|sending| sending.join().unwrap()).sum()
    });
    // Without the limit, the clients would have sent more than four times as much. The sockets' buffers come on top.
    assert!(sent > RECEIVED_BYTES_MAX / 2 && sent < RECEIVED_BYTES_MAX * 3 / 2, "{sent} bytes were taken");
    let grown = resident_kib().saturating_sub(before);
    assert!(grown < (2 * RECEIVED_BYTES_MAX as u64) >> 10, "{grown} KiB");
    let started = Instant::now();
    daemon.is_well();
    assert!(started.elapsed() < Duration::from_secs(20));
    drop(agents);
    // The memory is free again.
    wait_until("an agent is heard", || {
        let owner = daemon.owner();
        owner.agent("worker").unwrap().call(Request::Tools(ToolsRequest::List)).is_ok()
    });
}

#[test]
fn any_number_of_effects_leaves_the_owners_quota() {
    let server = Silent::start();
    let daemon = Daemon::start(0);
    load(&daemon.kernel, &server.policy());
    let owner = daemon.owner();
    let agents: Vec<Connection> = (0..6).map(|number| owner.agent(&format!("a{number}")).unwrap()).collect();
    let effects = EFFECTS_MAX + 10;
    let answers: Vec<OutcomeFuture> =
        agents.iter().flat_map(|agent| (0..effects).map(|_| start(agent, server.get()))).collect();
    wait_until("as many wait as may", || {
        server.taken.load(Ordering::SeqCst) >= (agents.len() * EFFECTS_MAX) as u64
    });
    let mine = start(&owner, server.get());
    wait_until("the owner's is one of them", || {
        server.taken.load(Ordering::SeqCst) > (agents.len() * EFFECTS_MAX) as u64
    });
    daemon.is_well();
    server.answer_all();
    let outcomes = wait(answers);
    let refused = outcomes.iter().filter(|outcome| {
        outcome.as_ref().is_err_and(|failure| matches!(failure.code, Code::Quota | Code::RateLimit))
    });
    assert_eq!(refused.count(), 10 * agents.len());
    assert!(outcomes.iter().all(|outcome| !matches!(outcome, Err(failure) if failure.code == Code::Io)));
    assert!(matches!(&wait(vec![mine])[0], Ok(Reply::Http(_))));
}
