//! `cargo xtask test --llm`: model calls against a real llama.cpp server, which serves a model of random weights.
//!
//! pip builds the server from source, which takes a quarter of an hour once; a script writes the model. Only packages
//! are downloaded.

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::{
    python,
    run::{Result, cargo, command, root, run, target_dir},
};

/// How long the server may take to listen.
const START_SECONDS_MAX: u64 = 120;

/// Runs the tests that need the server.
pub(crate) fn test() -> Result {
    let python = python::llm()?;
    let model = target_dir().join("random.gguf");
    run(command(&python).arg(root().join("xtask/llm/random_model.py")).arg(&model))?;
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let address = free.map_err(|error| format!("no free port: {error}"))?;
    let log = target_dir().join("llm-server.log");
    let file = fs::File::create(&log).map_err(|error| format!("cannot write {}: {error}", log.display()))?;
    let mut server = command(&python);
    server.args(["-m", "llama_cpp.server", "--host", "127.0.0.1", "--n_ctx", "512", "--model"]).arg(&model);
    // By default the server cuts a stream short when another request arrives.
    server.args(["--interrupt_requests", "false"]);
    server.args(["--port", &address.port().to_string()]).stdout(Stdio::null()).stderr(file);
    let _server =
        Server::start(&mut server, address).map_err(|error| format!("{error}; see {}", log.display()))?;
    let mut tests = cargo(&["test", "--package", "ak-host", "--test", "llama", "--", "--ignored"]);
    tests.env("AK_TEST_LLM_URL", format!("http://{address}/v1"));
    run(&mut tests)
}

/// A server process. Dropping this ends it.
struct Server(Child);

impl Server {
    fn start(command: &mut Command, address: SocketAddr) -> Result<Server> {
        let child = command.spawn().map_err(|error| format!("the server does not start: {error}"))?;
        let (mut server, started) = (Server(child), Instant::now());
        while TcpStream::connect(address).is_err() {
            if let Ok(Some(status)) = server.0.try_wait() {
                return Err(format!("the server ended: {status}"));
            }
            if started.elapsed() > Duration::from_secs(START_SECONDS_MAX) {
                return Err(format!("the server does not listen after {START_SECONDS_MAX} s"));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The process may have ended by itself, so errors do not matter.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
