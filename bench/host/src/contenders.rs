//! Three ways to make the same calls: directly to the server, through a proxy that checks nothing, and through
//! the kernel.

use std::sync::{Arc, Mutex};

use ak_host::{
    Connection, Options,
    ak_json::{Limits, Value},
    ak_kernel::{AdminRequest, HttpRequest, InferRequest, Reply, Request as KernelRequest},
};
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    client::conn::http1::{self, SendRequest},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::{Handle, Runtime},
};

/// The kind of call.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Case {
    /// GET, over a connection of its own.
    Http,
    /// A completion, over a connection that is kept.
    Completion,
    /// A streamed completion, over a connection that is kept.
    Stream,
}

/// A function that makes one call, on the calling thread.
pub(crate) type Contender = Arc<dyn Fn(Case) + Send + Sync>;

fn chat(stream: bool) -> String {
    let stream = if stream { ",\"stream\":true" } else { "" };
    format!(
        "{{\"model\":\"m\",\"messages\":[{{\"role\":\"user\",\"content\":\"a question of some words, as questions are\"}}],\"max_tokens\":1000{stream}}}"
    )
}

async fn connect(port: u16) -> SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.expect("a connection");
    stream.set_nodelay(true).expect("a socket");
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("a handshake");
    tokio::spawn(connection);
    sender
}

fn request(case: Case, port: u16) -> Request<Full<Bytes>> {
    let host = format!("127.0.0.1:{port}");
    let builder = Request::builder().header("host", host);
    match case {
        Case::Http => builder.uri("/x").body(Full::default()),
        Case::Completion | Case::Stream => builder
            .method("POST")
            .uri("/v1/chat/completions")
            .header("content-type", "application/json")
            .body(Full::from(chat(case == Case::Stream))),
    }
    .expect("a request")
}

/// The client alone, which calls `port` and reads the whole response.
pub(crate) fn client(runtime: &Runtime, port: u16) -> Contender {
    let kept: Mutex<Vec<SendRequest<Full<Bytes>>>> = Mutex::default();
    let handle = runtime.handle().clone();
    Arc::new(move |case| {
        let idle = || kept.lock().expect("a lock").pop().filter(|sender| !sender.is_closed());
        let sender = handle.block_on(async {
            let mut sender = match Some(case).filter(|case| *case != Case::Http).and_then(|_| idle()) {
                Some(sender) => sender,
                None => connect(port).await,
            };
            sender.ready().await.expect("a connection");
            let response = sender.send_request(request(case, port)).await.expect("a response");
            let mut body = response.into_body();
            while let Some(frame) = body.frame().await {
                std::hint::black_box(frame.expect("a frame"));
            }
            sender
        });
        if case != Case::Http {
            kept.lock().expect("a lock").push(sender);
        }
    })
}

/// Starts a proxy that passes everything on unchanged, with an upstream connection for each client connection.
/// Returns its port.
pub(crate) fn proxy(runtime: &Runtime, to: u16) -> u16 {
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let handle: Handle = runtime.handle().clone();
    runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).expect("a socket");
            handle.spawn(async move {
                let upstream = Arc::new(Mutex::new(None));
                let pass = service_fn(move |request: Request<Incoming>| pass(request, upstream.clone(), to));
                // A client that hangs up ends its connection.
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), pass)
                    .await;
            });
        }
    });
    port
}

type Upstream = Arc<Mutex<Option<SendRequest<Full<Bytes>>>>>;

async fn pass(
    request: Request<Incoming>,
    upstream: Upstream,
    to: u16,
) -> Result<Response<Incoming>, hyper::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let kept = upstream.lock().expect("a lock").take();
    let mut sender = match kept {
        Some(sender) => sender,
        None => connect(to).await,
    };
    sender.ready().await?;
    let response = sender.send_request(Request::from_parts(head, Full::new(body))).await?;
    *upstream.lock().expect("a lock") = Some(sender);
    Ok(response)
}

/// The kernel in this process, as an agent uses it.
pub(crate) fn kernel(port: u16) -> Contender {
    let directory = std::env::temp_dir().join(format!("ak-bench-host-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory");
    let config = directory.join("host.toml");
    std::fs::write(&config, format!("[[model]]\nmatch = \"*\"\nurl = \"http://127.0.0.1:{port}/v1\""))
        .expect("a file");
    let owner =
        Connection::open(&Options { host_config: Some(config), ..Options::default() }).expect("a kernel");
    std::fs::remove_dir_all(&directory).expect("a directory");
    let policy = format!(
        "[http]\nallow = [\"GET http://127.0.0.1:{port}/**\"]\n[net]\nconnect = [\"ip:127.0.0.1:{port}\"]\n[infer]\nmodels = [\"*\"]"
    );
    owner
        .call(
            AdminRequest::PolicyLoad { text: policy.into(), base_dir: None, files: Default::default() }
                .into(),
        )
        .expect("a policy");
    let agent = owner.agent("worker").expect("an agent");
    let url = format!("http://127.0.0.1:{port}/x");
    Arc::new(move |case| {
        // The owner's session keeps the kernel open.
        let _ = &owner;
        let request = match case {
            Case::Http => KernelRequest::Http(HttpRequest {
                method: "GET".into(),
                url: url.as_str().into(),
                headers: Vec::new(),
                body: None,
                response_bytes_max: 1 << 20,
                timeout_ms: 30_000,
            }),
            Case::Completion | Case::Stream => {
                let request = Value::parse(chat(false).as_bytes(), &Limits::default()).expect("JSON");
                KernelRequest::Infer(InferRequest { request, stream: case == Case::Stream, price: None })
            }
        };
        let outcome = agent.call_streaming(request, &mut |chunk| {
            std::hint::black_box(chunk);
            true
        });
        assert!(matches!(outcome, Ok(Reply::Http(_) | Reply::Value(_))), "{outcome:?}");
    })
}
