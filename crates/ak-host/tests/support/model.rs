//! A server on loopback that answers like a model's: it keeps connections open, streams, and fails as a test wants.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use ak_host::ak_json::{Limits, Value};

/// What the server was asked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) path: String,
    pub(crate) head: String,
    pub(crate) body: Value,
}

/// What it does then.
#[derive(Clone, Debug)]
pub(crate) enum Then {
    /// A whole answer.
    Answer(u16, String),
    /// The same with headers of its own.
    With(u16, &'static str, String),
    /// Events, and the end of the body.
    Stream(Vec<String>),
    /// Events, and then the connection is closed in the middle of the body.
    Break(Vec<String>),
    /// Events, and then nothing more, until the client hangs up.
    Stall(Vec<String>),
    /// Events without end, until the client hangs up.
    Endless(String),
    /// Nothing; the connection is closed.
    Hang,
    /// Nothing, until the client hangs up.
    Silence,
}

#[derive(Clone)]
pub(crate) struct Model {
    pub(crate) port: u16,
    pub(crate) asked: Arc<Mutex<Vec<Asked>>>,
    pub(crate) connections: Arc<AtomicU64>,
    /// How many endless answers the client put an end to.
    pub(crate) cut: Arc<AtomicU64>,
}

impl Model {
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/v1", self.port)
    }

    pub(crate) fn count(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    pub(crate) fn last(&self) -> Asked {
        self.asked.lock().unwrap().last().unwrap().clone()
    }
}

pub(crate) fn model(answer: impl Fn(&Asked, usize) -> Then + Send + Sync + 'static) -> Model {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let model = Model { port, asked: Arc::default(), connections: Arc::default(), cut: Arc::default() };
    let (served, answer) = (model.clone(), Arc::new(answer));
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            served.connections.fetch_add(1, Ordering::SeqCst);
            let (served, answer) = (served.clone(), answer.clone());
            // A client that hangs up ends its connection's thread.
            std::thread::spawn(move || serve(stream, &served, &*answer));
        }
    });
    model
}

fn serve(
    mut stream: TcpStream,
    model: &Model,
    answer: &dyn Fn(&Asked, usize) -> Then,
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
        let asked = Asked { path, head, body };
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
