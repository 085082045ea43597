//! A model server on loopback, which keeps connections open, streams, and fails as a test wants; and a kernel that uses
//! it.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use ak_host::ak_json::{Limits, Value, object};
use ak_host::ak_kernel::{AgentRequest, Failure, InferRequest, Outcome, Reply, Request};
use ak_host::{Connection, Options};

use super::{Scratch, load};

/// A request that the server received.
#[derive(Clone, Debug)]
pub(crate) struct AuthenticatedRequest {
    pub(crate) path: String,
    pub(crate) head: String,
    pub(crate) body: Value,
}

/// How the server handles a request.
#[derive(Clone, Debug)]
pub(crate) enum Then {
    /// A whole answer.
    Answer(u16, String),
    /// A whole answer with further headers.
    With(u16, &'static str, String),
    /// Events, then the end of the body.
    Stream(Vec<String>),
    /// Events, then the connection is closed in the middle of the body.
    Break(Vec<String>),
    /// Events, then nothing more until the client hangs up.
    Stall(Vec<String>),
    /// Events without end, until the client hangs up.
    Endless(String),
    /// No answer; the connection is closed.
    Hang,
    /// No answer, until the client hangs up.
    Silence,
}

#[derive(Clone)]
pub(crate) struct Model {
    pub(crate) port: u16,
    pub(crate) asked: Arc<Mutex<Vec<AuthenticatedRequest>>>,
    pub(crate) connections: Arc<AtomicU64>,
    /// Number of endless answers that the client ended.
    pub(crate) cut: Arc<AtomicU64>,
}

impl Model {
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/v1", self.port)
    }

    pub(crate) fn count(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    pub(crate) fn last(&self) -> AuthenticatedRequest {
        self.asked.lock().unwrap().last().unwrap().clone()
    }
}

pub(crate) fn model(answer: impl Fn(&AuthenticatedRequest, usize) -> Then + Send + Sync + 'static) -> Model {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let model = Model { port, asked: Arc::default(), connections: Arc::default(), cut: Arc::default() };
    let (served, answer) = (model.clone(), Arc::new(answer));
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            served.connections.fetch_add(1, Ordering::SeqCst);
            let (served, answer) = (served.clone(), answer.clone());
            // The thread of a connection ends when the client hangs up.
            std::thread::spawn(move || serve(stream, &served, &*answer));
        }
    });
    model
}

fn serve(
    mut stream: TcpStream,
    model: &Model,
    answer: &dyn Fn(&AuthenticatedRequest, usize) -> Then,
) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head)? == 0 {
                return Ok(());
            }
        }
        let length =
            head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        reader.read_exact(&mut body)?;
        let body = Value::parse(&body, &Limits::default()).unwrap_or_default();
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let asked = AuthenticatedRequest { path, head, body };
        let before = {
            let mut list = model.asked.lock().unwrap();
            list.push(asked.clone());
            list.len() - 1
        };
        let chunked =
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
        let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
        match answer(&asked, before) {
            Then::Answer(status, text) => whole(&mut stream, status, "", &text)?,
            Then::With(status, headers, text) => whole(&mut stream, status, headers, &text)?,
            Then::Stream(events) => {
                let events: String = events.iter().map(|event| chunk(event)).collect();
                stream.write_all(format!("{chunked}{events}0\r\n\r\n").as_bytes())?;
            }
            Then::Break(events) => {
                let events: String = events.iter().map(|event| chunk(event)).collect();
                stream.write_all(format!("{chunked}{events}").as_bytes())?;
                return Ok(());
            }
            Then::Stall(events) => {
                let events: String = events.iter().map(|event| chunk(event)).collect();
                stream.write_all(format!("{chunked}{events}").as_bytes())?;
                let _ = reader.read(&mut [0; 1])?;
                return Ok(());
            }
            Then::Endless(event) => {
                stream.write_all(chunked.as_bytes())?;
                while stream.write_all(chunk(&event).as_bytes()).is_ok() {}
                model.cut.fetch_add(1, Ordering::SeqCst);
                return Ok(());
            }
            Then::Hang => return Ok(()),
            Then::Silence => {
                let _ = reader.read(&mut [0; 1])?;
                return Ok(());
            }
        }
    }
}

fn whole(stream: &mut TcpStream, status: u16, headers: &str, text: &str) -> std::io::Result<()> {
    stream.write_all(
        format!("HTTP/1.1 {status} X\r\n{headers}content-length: {}\r\n\r\n{text}", text.len()).as_bytes(),
    )
}

pub(crate) const KEY: &str = "sk-test-0123456789abcdefghij";

/// A kernel with these models: pattern, server, further lines of the `[[model]]` table.
pub(crate) fn kernel(models: &[(&str, &Model, &str)], policy: &str) -> (Connection, Scratch) {
    let scratch = Scratch::new("models");
    std::fs::write(scratch.join("key"), KEY).unwrap();
    let table = |(pattern, server, more): &(&str, &Model, &str)| {
        format!("[[model]]\nmatch = \"{pattern}\"\nurl = \"{}\"\nkey = \"file:key\"\n{more}\n", server.url())
    };
    std::fs::write(scratch.join("host.toml"), models.iter().map(table).collect::<String>()).unwrap();
    let options = Options { host_config: Some(scratch.join("host.toml")), ..Options::default() };
    let kernel = Connection::open(&options).unwrap_or_else(|failure| panic!("{failure}"));
    load(&kernel, policy);
    (kernel, scratch)
}

pub(crate) fn request(model: &str, members: Value) -> Value {
    let mut request = members.as_object().cloned().unwrap_or_default();
    request.insert("model", model);
    if !request.contains_key("messages") {
        request.insert("messages", ak_host::ak_json::array![object! { "role": "user", "content": "count" }]);
    }
    request.into()
}

pub(crate) fn ask(kernel: &Connection, request: Value) -> Outcome {
    kernel.call(Request::Infer(InferRequest { request, stream: false, price: None }))
}

/// Returns the chunks and the outcome of a stream.
pub(crate) fn stream(kernel: &Connection, request: Value) -> (Vec<Value>, Outcome) {
    let mut chunks = Vec::new();
    let outcome = kernel.call_streaming(
        Request::Infer(InferRequest { request, stream: true, price: None }),
        &mut |chunk| {
            chunks.push(json(chunk));
            true
        },
    );
    (chunks, outcome)
}

pub(crate) fn json(text: &str) -> Value {
    Value::parse(text.as_bytes(), &Limits::default()).unwrap()
}

pub(crate) fn value(outcome: Outcome) -> Value {
    match outcome {
        Ok(Reply::Value(value)) => value,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn failure(outcome: Outcome) -> Failure {
    outcome.err().unwrap_or_else(|| panic!("it passed"))
}

pub(crate) fn at<'v>(value: &'v Value, path: &str) -> &'v Value {
    let step = |value: &'v Value, name: &str| match name.parse::<usize>() {
        Ok(index) => value.as_array().and_then(|array| array.iter().nth(index)),
        Err(_) => value.get(name),
    };
    path.split('.').try_fold(value, step).unwrap_or(&Value::Null)
}

/// Returns the tokens used and reserved.
pub(crate) fn tokens(kernel: &Connection) -> (u64, u64) {
    let status =
        value(kernel.call(Request::Agent(AgentRequest::BudgetStatus { dimension: None, agent: None })));
    let part = |name| at(&status, &format!("tokens.{name}")).as_u64().unwrap();
    (part("used"), part("reserved"))
}

/// Returns the tokens used, and the cost in millionths of a dollar.
pub(crate) fn spent(kernel: &Connection) -> (u64, u64) {
    let status =
        value(kernel.call(Request::Agent(AgentRequest::BudgetStatus { dimension: None, agent: None })));
    let used = |name: &str| at(&status, &format!("{name}.used")).as_u64().unwrap();
    (used("tokens"), used("cost_micro_usd"))
}

/// Returns an event of a chat-completions stream.
pub(crate) fn delta(text: &str) -> String {
    format!(
        "data: {{\"id\":\"1\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":{}}}}}]}}\n\n",
        Value::from(text).to_json()
    )
}

pub(crate) const ANY: &str = "[infer]\nmodels = [\"*\"]\nmax_tokens = 100";

pub(crate) const FINISH: &str =
    "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
pub(crate) const USAGE: &str =
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":3,\"total_tokens\":10}}\n\n";
pub(crate) const DONE: &str = "data: [DONE]\n\n";

pub(crate) fn completion(usage: &str) -> String {
    format!(
        "{{\"id\":\"1\",\"object\":\"chat.completion\",\"choices\":[{{\"index\":0,\"message\":{{\"role\":\"assistant\",\
         \"content\":\"one two three\"}},\"finish_reason\":\"stop\"}}]{usage}}}"
    )
}

pub(crate) const TEN: &str = ",\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":3,\"total_tokens\":10}";

/// Behaves like a correct chat-completions server.
pub(crate) fn good(asked: &AuthenticatedRequest, _: usize) -> Then {
    match at(&asked.body, "stream").as_bool() {
        Some(true) => Then::Stream(
            [&delta("one "), &delta("two "), &delta("three"), FINISH, USAGE, DONE].map(String::from).to_vec(),
        ),
        _ => Then::Answer(200, completion(TEN)),
    }
}

pub(crate) fn content(chunks: &[Value]) -> String {
    chunks
        .iter()
        .filter_map(|chunk| at(chunk, "choices.0.delta.content").as_str().map(str::to_owned))
        .collect()
}
