//! A directory of the test's own, an embedded kernel, and a web server on loopback.
#![allow(dead_code, reason = "each test uses a part of it")]

pub(crate) mod dns;
pub(crate) mod model;
pub(crate) mod silent;

use std::{
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use ak_host::ak_kernel::{AdminRequest, Code, HttpRequest, Outcome, Reply, Request};
use ak_host::{Connection, Options, Server, owner_token};

/// How long a test waits for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `is_so` returns true; fails after [`PATIENCE`].
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < PATIENCE, "not so after {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A web server whose answers wait until the sender is dropped: it is slower than any deadline, and keeps no test waiting.
pub(crate) fn late_web() -> (u16, mpsc::Sender<()>) {
    let (release, released) = mpsc::channel::<()>();
    let released = std::sync::Mutex::new(released);
    let (port, _) = web(move |_| {
        let _ = released.lock().unwrap().recv();
        ok("late")
    });
    (port, release)
}

/// A directory that is removed when the value is dropped.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Scratch {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let path =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Scratch(path.canonicalize().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A file system that is unmounted when the value is dropped.
pub(crate) struct Mount(PathBuf);

impl Mount {
    /// Mounts a directory over itself, read-only. Returns `None`, and prints that, when the test may not mount.
    pub(crate) fn read_only(directory: &Path) -> Option<Mount> {
        let mount = Mount::over(directory, &["--bind".as_ref(), directory.as_os_str()])?;
        let mut remount = std::process::Command::new("mount");
        let remounted = remount.args(["-o", "remount,ro,bind"]).arg(directory).status();
        remounted.is_ok_and(|status| status.success()).then_some(mount)
    }

    /// Mounts a file system of `bytes` bytes in memory. Returns `None`, and prints that, when the test may not mount.
    pub(crate) fn tmpfs(directory: &Path, bytes: u64) -> Option<Mount> {
        let size = format!("size={bytes}");
        Mount::over(
            directory,
            &["-t".as_ref(), "tmpfs".as_ref(), "-o".as_ref(), size.as_ref(), "tmpfs".as_ref()],
        )
    }

    fn over(directory: &Path, arguments: &[&std::ffi::OsStr]) -> Option<Mount> {
        let mounted = std::process::Command::new("mount").args(arguments).arg(directory).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Mount(directory.to_owned()));
        }
        println!("skipped: this test may not mount a file system");
        None
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

pub(crate) fn embedded(policy: &str) -> Connection {
    let kernel = Connection::open(&Options::default()).unwrap();
    load(&kernel, policy);
    kernel
}

pub(crate) fn load(kernel: &Connection, policy: &str) {
    kernel
        .call(Request::Admin(AdminRequest::PolicyLoad {
            text: policy.into(),
            base_dir: None,
            files: Default::default(),
        }))
        .unwrap_or_else(|failure| panic!("{failure}"));
}

pub(crate) fn code(outcome: Outcome) -> Code {
    match outcome {
        Err(failure) => failure.code,
        Ok(reply) => panic!("it passed: {reply:?}"),
    }
}

pub(crate) fn bytes(outcome: Outcome) -> Vec<u8> {
    match outcome {
        Ok(Reply::Bytes(bytes)) => bytes.to_vec(),
        other => panic!("{other:?}"),
    }
}

pub(crate) fn get(url: &str) -> Request {
    Request::Http(HttpRequest {
        method: "GET".into(),
        url: url.into(),
        headers: vec![("authorization".into(), "Bearer secret".into())],
        body: None,
        response_bytes_max: 1000,
        timeout_ms: 2_000,
    })
}

/// Starts a web server that answers each connection's first request with what `answer` returns for its request line and
/// headers.
pub(crate) fn web(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> (u16, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let hits = Arc::new(AtomicU64::new(0));
    let counter = hits.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { return };
            counter.fetch_add(1, Ordering::SeqCst);
            // This fails when the client hangs up early, as some tests do.
            let _ = respond(stream, &answer);
        }
    });
    (port, hits)
}

fn respond(mut stream: TcpStream, answer: &impl Fn(&str) -> String) -> std::io::Result<()> {
    let mut request = String::new();
    let mut reader = BufReader::new(stream.try_clone()?);
    while !request.ends_with("\r\n\r\n") {
        if reader.read_line(&mut request)? == 0 {
            return Ok(());
        }
    }
    stream.write_all(answer(&request).as_bytes())
}

pub(crate) fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

pub(crate) fn redirect(to: &str) -> String {
    format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
}

/// Opens the owner's session with a kernel over a socket of its own.
pub(crate) fn over_a_socket(kernel: &Connection, scratch: &Scratch) -> Connection {
    let token = owner_token(&scratch.join("token")).unwrap();
    let server = Server::bind(kernel, &scratch.join("ak.sock"), &token).unwrap();
    std::thread::spawn(move || server.run());
    let url = Some(format!("unix://{}", scratch.text("ak.sock")));
    let token_file = Some(scratch.join("token"));
    Connection::open(&Options { url, token_file, ..Options::default() }).unwrap()
}
