//! Redis over a Unix socket, if it is installed.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

/// A Redis server for this run, in a directory of its own. Dropping this ends it.
pub(crate) struct Server {
    process: Child,
    directory: PathBuf,
}

/// A connection with its server, which ends with the connection.
pub(crate) struct Connection {
    stream: BufReader<UnixStream>,
    _server: Server,
}

impl Server {
    /// Starts a server; `None` if Redis is not installed.
    pub(crate) fn start() -> Option<Server> {
        let directory = std::env::temp_dir().join(format!("ak-bench-redis-{}", std::process::id()));
        fs::create_dir_all(&directory).ok()?;
        let process = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"])
            .arg(directory.join("socket"))
            .current_dir(&directory)
            .stdout(Stdio::null())
            .spawn();
        match process {
            Ok(process) => Some(Server { process, directory }),
            Err(_) => {
                eprintln!("Redis is not installed, so it is left out");
                None
            }
        }
    }

    pub(crate) fn connect(self) -> Connection {
        let stream = (0..500).find_map(|_| {
            thread::sleep(Duration::from_millis(10));
            UnixStream::connect(self.directory.join("socket")).ok()
        });
        Connection { stream: BufReader::new(stream.expect("Redis listens")), _server: self }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

impl Connection {
    pub(crate) fn set(&mut self, key: &str, text: &str) {
        self.send(&[b"SET", key.as_bytes(), text.as_bytes()]);
        assert_eq!(self.line(), "+OK");
    }

    pub(crate) fn get(&mut self, key: &str) -> Vec<u8> {
        self.send(&[b"GET", key.as_bytes()]);
        let length: usize = self.line().trim_start_matches('$').parse().expect("a length comes");
        let mut text = vec![0; length + 2];
        self.stream.read_exact(&mut text).expect("the text comes");
        text.truncate(length);
        text
    }

    fn send(&mut self, words: &[&[u8]]) {
        let mut command = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            command.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            command.extend_from_slice(word);
            command.extend_from_slice(b"\r\n");
        }
        self.stream.get_mut().write_all(&command).expect("Redis takes it");
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).expect("Redis answers");
        line.trim_end().to_owned()
    }
}
