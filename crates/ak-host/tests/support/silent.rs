//! A server that keeps its clients waiting, and calls that need no waiting thread.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use ak_host::ak_kernel::{HttpRequest, Outcome, Request};
use ak_host::{CancellationToken, Connection, OutcomeFuture};

/// A server that accepts every connection, and answers only when told to.
pub(crate) struct Silent {
    port: u16,
    pub(crate) taken: Arc<AtomicU64>,
    pub(crate) held: Arc<Mutex<Vec<TcpStream>>>,
}

impl Silent {
    pub(crate) fn start() -> Silent {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (taken, held) = (Arc::new(AtomicU64::new(0)), Arc::new(Mutex::new(Vec::new())));
        let (counter, holding) = (taken.clone(), held.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                holding.lock().unwrap().push(stream.unwrap());
                counter.fetch_add(1, Ordering::SeqCst);
            }
        });
        Silent { port, taken, held }
    }

    pub(crate) fn answer_all(&self) {
        for mut stream in std::mem::take(&mut *self.held.lock().unwrap()) {
            // The request has to arrive before the answer is sent.
            let _ = stream.read(&mut [0; 4096]).unwrap();
            stream.write_all(super::ok("late").as_bytes()).unwrap();
        }
    }

    pub(crate) fn policy(&self) -> String {
        let port = self.port;
        format!(
            "[http]\nallow = [\"GET http://127.0.0.1:{port}/**\"]\n[net]\nconnect = [\"ip:127.0.0.1:{port}\"]\n"
        )
    }

    pub(crate) fn get(&self) -> Request {
        Request::Http(HttpRequest {
            method: "GET".into(),
            url: format!("http://127.0.0.1:{}/", self.port).into(),
            headers: Vec::new(),
            body: None,
            response_bytes_max: 1_000,
            timeout_ms: 60_000,
        })
    }
}

pub(crate) fn wait(answers: Vec<OutcomeFuture>) -> Vec<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut outcomes = Vec::new();
        for answer in answers {
            outcomes.push(answer.await);
        }
        outcomes
    })
}

pub(crate) fn start(connection: &Connection, request: Request) -> OutcomeFuture {
    connection.call_async(request, None, CancellationToken::new())
}
