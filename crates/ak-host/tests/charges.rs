//! Charges equal what was sent and received. In random runs the test recounts from what a server saw and from the
//! files, not from the kernel's own numbers.
//!
//! For each HTTP request that is sent, redirects included, these bytes count: the method, the whole URL, the names and
//! values of the caller's headers, and the body. Of a response, the received part of the body counts. What the host
//! adds (`host`, `content-length`, its own `user-agent`) and the framing do not count. Of a file the content counts.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    sync::{Arc, Mutex},
};

use ak_host::Connection;
use ak_host::ak_kernel::{
    AdminRequest, AgentRequest, Code, FileRequest, HttpRequest, Operation, Outcome, Reply, Request,
    ToolsRequest,
};
use ak_json::{Limits, Value};
use ak_policy::budget::Dimension;
use proptest::prelude::*;

use support::{Scratch, embedded};

/// One request as a server saw it.
#[derive(Clone, Debug)]
struct Seen {
    method: String,
    /// Bytes of the request that count.
    sent: u64,
    /// Bytes of the response's body that were sent and that the caller waited for.
    received: u64,
}

/// The answer of a server under a path.
#[derive(Clone, Debug)]
enum Answer {
    Ok(usize),
    Failure(usize),
    /// A longer body than the caller accepts.
    TooLong,
    /// Three of a hundred announced bytes, then the connection is closed.
    CutShort,
    /// The connection is closed without an answer.
    Closed,
    /// A redirect to the path of this number, or else to a forbidden path; on the same or on the other server.
    Redirect(u16, Option<usize>, bool),
}

/// Maximum length of a body that a caller accepts.
const RESPONSE_BYTES_MAX: u64 = 2_000;

struct Servers {
    ports: [u16; 2],
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Servers {
    fn start(answers: &[Answer]) -> Servers {
        let listeners = [0, 1].map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
        let ports = listeners.each_ref().map(|listener| listener.local_addr().unwrap().port());
        let seen = Arc::new(Mutex::new(Vec::new()));
        for (own, listener) in listeners.into_iter().enumerate() {
            let (seen, answers) = (seen.clone(), answers.to_vec());
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    // This fails when the client has hung up; the request was recorded before.
                    let _ = serve(stream.unwrap(), own, ports, &answers, &seen);
                }
            });
        }
        Servers { ports, seen }
    }

    fn url(&self, server: usize, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.ports[server])
    }

    /// Returns the requests seen since the last call.
    fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

fn serve(
    mut stream: TcpStream,
    own: usize,
    ports: [u16; 2],
    answers: &[Answer],
    seen: &Mutex<Vec<Seen>>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split(' ');
    let (method, path) = (words.next().unwrap().to_owned(), words.next().unwrap().to_owned());
    let (mut counted, mut host, mut length) = (method.len() + path.len(), String::new(), 0usize);
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let Some((name, value)) = header.trim_end().split_once(": ") else { break };
        match name {
            "host" => value.clone_into(&mut host),
            "content-length" => length = value.parse().unwrap(),
            "user-agent" if value.starts_with("authority-kernel/") => {}
            name => counted += name.len() + value.len(),
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let sent = (counted + "http://".len() + host.len() + length) as u64;
    let number = path.trim_start_matches("/n").split('?').next().unwrap().parse::<usize>().ok();
    let answer = match number {
        Some(number) => answers[number % answers.len()].clone(),
        None => Answer::Redirect(307, None, false),
    };
    let (head, told, received) = match &answer {
        Answer::Ok(bytes) => (format!("200 OK\r\ncontent-length: {bytes}"), *bytes, *bytes),
        Answer::Failure(bytes) => (format!("500 No\r\ncontent-length: {bytes}"), *bytes, *bytes),
        Answer::TooLong => (String::from("200 OK\r\ncontent-length: 100000"), 100, 0),
        Answer::CutShort => (String::from("200 OK\r\ncontent-length: 100"), 3, 3),
        Answer::Closed => (String::new(), 0, 0),
        Answer::Redirect(status, to, other) => {
            let port = ports[if *other { 1 - own } else { own }];
            let to = match (number, to) {
                (None, _) => path.clone(),
                (Some(_), None) => "/forbidden".to_owned(),
                (Some(_), Some(to)) => format!("/n{to}?q=%41"),
            };
            (format!("{status} Away\r\nlocation: http://127.0.0.1:{port}{to}\r\ncontent-length: 50"), 50, 0)
        }
    };
    let has_body = method != "HEAD";
    let received = if has_body { received as u64 } else { 0 };
    seen.lock().unwrap().push(Seen { method, sent, received });
    if head.is_empty() {
        return Ok(());
    }
    write!(stream, "HTTP/1.1 {head}\r\nconnection: close\r\n\r\n")?;
    stream.write_all(&vec![b'x'; if has_body { told } else { 0 }])?;
    stream.flush()
}

#[derive(Clone, Debug)]
enum Act {
    Http {
        by: usize,
        server: usize,
        path: usize,
        method: usize,
        headers: usize,
        body: usize,
    },
    Write {
        by: usize,
        file: usize,
        bytes: usize,
    },
    Read {
        by: usize,
        file: usize,
        bytes_max: u64,
    },
    Delete {
        by: usize,
        file: usize,
    },
    Tool {
        by: usize,
        good: bool,
    },
    /// Redirects in a circle.
    Circle,
}

const AGENTS: [&str; 5] = ["main", "crew/a", "crew/b", "solo", "counted"];
const METHODS: [&str; 4] = ["GET", "POST", "PUT", "HEAD"];
const PATHS: usize = 8;
/// Limits on GET requests of all agents together, and on requests by `counted`.
const GETS: usize = 12;
const USES: usize = 6;

fn act() -> impl Strategy<Value = Act> {
    let by = 0..AGENTS.len();
    prop_oneof![
        10 => (by.clone(), 0..2usize, 0..PATHS, 0..4usize, 0..16usize, prop_oneof![Just(0usize), 0..3_000usize])
            .prop_map(|(by, server, path, method, headers, body)| Act::Http { by, server, path, method, headers, body }),
        2 => (0..4usize, 0..3usize, 0..3_000usize).prop_map(|(by, file, bytes)| Act::Write { by, file, bytes }),
        3 => (0..4usize, 0..3usize, 0u64..3_000).prop_map(|(by, file, bytes_max)| Act::Read { by, file, bytes_max }),
        1 => (0..4usize, 0..3usize).prop_map(|(by, file)| Act::Delete { by, file }),
        2 => (0..4usize, any::<bool>()).prop_map(|(by, good)| Act::Tool { by, good }),
        1 => Just(Act::Circle),
    ]
}

/// Redirects lead to paths of higher numbers, so chains of redirects end.
fn answers() -> impl Strategy<Value = Vec<Answer>> {
    let answer = |number: usize| {
        let redirect =
            (prop::sample::select(vec![301u16, 302, 303, 307, 308]), number + 1..PATHS + 2, any::<bool>())
                .prop_map(move |(status, to, other)| {
                    Answer::Redirect(status, (to < PATHS).then_some(to), other)
                });
        prop_oneof![
            2 => (0..RESPONSE_BYTES_MAX as usize).prop_map(Answer::Ok),
            1 => (0..RESPONSE_BYTES_MAX as usize).prop_map(Answer::Failure),
            1 => Just(Answer::TooLong),
            1 => Just(Answer::CutShort),
            1 => Just(Answer::Closed),
            6 => redirect,
        ]
    };
    (0..PATHS).map(answer).collect::<Vec<_>>()
}

struct Run {
    owner: Connection,
    sessions: Vec<Connection>,
    servers: Servers,
    scratch: Scratch,
    bytes: BTreeMap<usize, u64>,
    tools: BTreeMap<usize, u64>,
    /// Observed numbers of GET requests, and of requests by `counted`.
    gets: usize,
    uses: usize,
}

impl Run {
    fn new(answers: &[Answer]) -> Run {
        let servers = Servers::start(answers);
        let scratch = Scratch::new("recount");
        let of = |list: &dyn Fn(u16) -> String| servers.ports.map(list).join(", ");
        let allow =
            METHODS.map(|method| of(&|port| format!("\"{method} http://127.0.0.1:{port}/**\""))).join(", ");
        let deny = of(&|port| format!("\"http://127.0.0.1:{port}/forbidden\""));
        let connect = of(&|port| format!("\"ip:127.0.0.1:{port}\""));
        let files = scratch.path().display();
        let policy = format!(
            "[fs]\nread = [\"{files}/**\"]\nwrite = [\"{files}/**\"]\n[tools]\nallow = [\"add\"]\n\
             [http]\nallow = [{allow}]\ndeny = [{deny}]\n[net]\nconnect = [{connect}]\n\
             [agent.crew.budgets]\nbytes = 60000\ntool_calls = 3\n\
             [[limit]]\nid = \"gets\"\noperation = \"http.get\"\ntarget = \"http://**\"\ncount = true\nmax = {GETS}\nper = \"24h\"\n"
        );
        let owner = embedded(&policy);
        let terms = format!(r#"{{"agent":"counted","name":"http","uses":{USES}}}"#);
        let terms = Value::parse(terms.as_bytes(), &Limits::default()).unwrap();
        owner.call(Request::decode(Operation::CapGrant, &terms).unwrap()).unwrap();
        let sessions = AGENTS.map(|name| match name {
            "main" => owner.clone(),
            name => owner.agent(name).unwrap(),
        });
        Run {
            owner,
            sessions: sessions.into(),
            servers,
            scratch,
            bytes: BTreeMap::new(),
            tools: BTreeMap::new(),
            gets: 0,
            uses: 0,
        }
    }

    fn http(&mut self, by: usize, url: String, method: &str, headers: usize, body: usize) -> Outcome {
        let all = [
            ("x-a", "b"),
            ("accept", "text/plain"),
            ("authorization", "Bearer it"),
            ("content-type", "text/x"),
        ];
        let chosen =
            all.iter().enumerate().filter(|(bit, _)| headers >> bit & 1 == 1).map(|(_, header)| header);
        let request = HttpRequest {
            method: method.into(),
            url: url.as_str().into(),
            headers: chosen.map(|(name, value)| ((*name).into(), (*value).into())).collect(),
            body: (body > 0).then(|| vec![b'y'; body].into()),
            response_bytes_max: RESPONSE_BYTES_MAX,
            timeout_ms: 20_000,
        };
        let outcome = self.sessions[by].call(Request::Http(request));
        let seen = self.servers.take();
        let response = seen.last().map_or(0, |seen| seen.received);
        if let Ok(Reply::Http(told)) = &outcome {
            assert_eq!(told.body.len() as u64, response);
        }
        *self.bytes.entry(by).or_default() += seen.iter().map(|seen| seen.sent).sum::<u64>() + response;
        self.gets += seen.iter().filter(|seen| seen.method == "GET").count();
        self.uses += if AGENTS[by] == "counted" { seen.len() } else { 0 };
        outcome
    }

    fn act(&mut self, act: Act) {
        let path = |file: usize| self.scratch.text(&format!("f{file}"));
        match act {
            Act::Http { by, server, path, method, headers, body } => {
                let url = self.servers.url(server, &format!("/n{path}"));
                let _ = self.http(by, url, METHODS[method], headers, body);
            }
            Act::Write { by, file, bytes } => {
                let path = path(file);
                let request = Request::File(FileRequest::Write {
                    path: path.as_str().into(),
                    data: vec![b'z'; bytes].into(),
                });
                if self.sessions[by].call(request).is_ok() {
                    *self.bytes.entry(by).or_default() += size(&path).unwrap();
                }
            }
            Act::Read { by, file, bytes_max } => {
                let path = path(file);
                let outcome = self.sessions[by]
                    .call(Request::File(FileRequest::Read { path: path.as_str().into(), bytes_max }));
                if outcome.is_ok() {
                    *self.bytes.entry(by).or_default() += size(&path).unwrap();
                }
            }
            Act::Delete { by, file } => {
                let path = path(file);
                let _ =
                    self.sessions[by].call(Request::File(FileRequest::Delete { path: path.as_str().into() }));
            }
            Act::Tool { by, good } => {
                let args = if good { r#"{"a":1,"b":2}"# } else { r#"{"a":"x"}"# };
                let args = Value::parse(args.as_bytes(), &Limits::default()).unwrap();
                match self.sessions[by].call(Request::Tools(ToolsRequest::Call { tool: "add".into(), args }))
                {
                    Err(failure) if failure.code == Code::BudgetExceeded => {}
                    _ => *self.tools.entry(by).or_default() += 1,
                }
            }
            Act::Circle => {
                let url = self.servers.url(0, "/round");
                let solo = AGENTS.iter().position(|name| *name == "solo").unwrap();
                let _ = self.http(solo, url, "PUT", 3, 10);
            }
        }
    }

    fn used(&self, by: usize, dimension: Dimension) -> u64 {
        let status = self.sessions[by]
            .call(Request::Agent(AgentRequest::BudgetStatus { dimension: Some(dimension), agent: None }));
        let Ok(Reply::Value(told)) = status else { panic!("{status:?}") };
        told.get(dimension.as_str()).and_then(|row| row.get("used")?.as_u64()).unwrap()
    }

    /// Checks that the charges of every agent, and of all together, equal what was seen.
    fn recount(&mut self) {
        for (dimension, counts) in [(Dimension::Bytes, &self.bytes), (Dimension::ToolCalls, &self.tools)] {
            let total: u64 = counts.values().sum();
            for (by, agent) in AGENTS.iter().enumerate() {
                let expected = if by == 0 { total } else { counts.get(&by).copied().unwrap_or_default() };
                assert_eq!(self.used(by, dimension), expected, "{dimension} of {agent}");
            }
            let crew =
                counts.get(&1).copied().unwrap_or_default() + counts.get(&2).copied().unwrap_or_default();
            assert!(dimension != Dimension::Bytes || crew <= 60_000);
            assert!(dimension != Dimension::ToolCalls || crew <= 3);
        }
        // Exactly as many further requests pass as the limit has left.
        let url = self.servers.url(0, "/n0");
        for _ in 0..=USES {
            let _ = self.http(4, url.clone(), "PUT", 0, 0);
        }
        assert_eq!(self.uses, USES, "what a capability may be used for");
        for _ in 0..=GETS {
            let _ = self.http(0, url.clone(), "GET", 0, 0);
        }
        assert_eq!(self.gets, GETS, "what a limit allows");
        self.owner.call(Request::Admin(AdminRequest::LastError)).unwrap();
    }
}

fn size(path: impl AsRef<Path>) -> Option<u64> {
    std::fs::metadata(path).ok().map(|metadata| metadata.len())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    #[test]
    fn charges_equal_what_servers_and_files_saw(
        answers in answers(),
        acts in prop::collection::vec(act(), 1..30),
    ) {
        let mut run = Run::new(&answers);
        for act in acts {
            run.act(act);
        }
        run.recount();
    }
}
