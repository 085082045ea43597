//! Measures the cost that the kernel adds to a call over the network: a request, a completion, a streamed
//! completion, on loopback.
//!
//! The server is a process of its own. The client alone, the client through a proxy that checks nothing, and the client
//! through the kernel take turns. Latencies are those of single calls; CPU is the CPU time of this process per call.

mod backend;
mod contenders;

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use contenders::{Case, Contender};
use measure::{Report, Result};
use rustix::time::{ClockId, clock_gettime};

/// How many turns each contender has.
const ROUNDS: usize = 5;
/// The calls of one turn, by all threads together.
const CALLS: usize = 640;
const CONCURRENT: [usize; 3] = [1, 16, 64];
const ALONE: &str = "client alone";
const PROXY: &str = "through a bare proxy";
const KERNEL: &str = "through the kernel";

fn main() {
    if std::env::args().nth(1).as_deref() == Some("serve") {
        return backend::serve();
    }
    let program = std::env::current_exe().expect("this program");
    let mut server = Command::new(program).arg("serve").stdout(Stdio::piped()).spawn().expect("a server");
    let mut line = String::new();
    BufReader::new(server.stdout.take().expect("its output")).read_line(&mut line).expect("its port");
    let port: u16 = line.trim().parse().expect("a port");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let proxy = contenders::proxy(&runtime, port);
    let rivals: [(&str, Contender); 3] = [
        (ALONE, contenders::client(&runtime, port)),
        (PROXY, contenders::client(&runtime, proxy)),
        (KERNEL, contenders::kernel(port)),
    ];
    let mut report = Report::new();
    for (what, case) in
        [("HTTP call", Case::Http), ("completion", Case::Completion), ("streamed completion", Case::Stream)]
    {
        for concurrent in CONCURRENT {
            let mut rows: Vec<Vec<Turn>> = vec![Vec::new(); rivals.len()];
            for _ in 0..ROUNDS {
                for ((_, contender), row) in rivals.iter().zip(&mut rows) {
                    row.push(turn(contender, case, concurrent));
                }
            }
            let column = format!("{concurrent} at once");
            for (kind, of) in [
                ("p50", (|turn: &Turn| turn.p50) as fn(&Turn) -> Duration),
                ("p99", |turn| turn.p99),
                ("CPU", |turn| turn.cpu),
            ] {
                let group = format!("{what}, {kind}");
                let results = rivals.iter().zip(&rows).map(|((name, _), row)| Result {
                    contender: (*name).to_owned(),
                    ns: median(row.iter().map(of)).as_nanos() as f64,
                });
                report.add(&group, &column, results.collect());
                if kind != "p99" {
                    let ratio = report.ns(&group, &column, KERNEL) / report.ns(&group, &column, PROXY);
                    report.at_most(&format!("{group}, {column}: the kernel to a bare proxy"), ratio, 1.3);
                }
            }
            if case == Case::Stream {
                for ((name, _), row) in rivals.iter().zip(&rows) {
                    let seconds = median(row.iter().map(|turn| turn.whole)).as_secs_f64();
                    println!(
                        "- {name}, {column}: {:.0} tokens/s",
                        (CALLS * backend::CHUNKS) as f64 / seconds
                    );
                }
            }
        }
    }
    report.print();
    // Ends the server, which would otherwise outlive this program.
    server.kill().expect("the server ends");
    server.wait().expect("the server ends");
}

#[derive(Clone)]
struct Turn {
    p50: Duration,
    p99: Duration,
    /// CPU time of this process per call.
    cpu: Duration,
    whole: Duration,
}

fn turn(contender: &Contender, case: Case, concurrent: usize) -> Turn {
    let cpu = || {
        let time = clock_gettime(ClockId::ProcessCPUTime);
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    };
    let (before, started) = (cpu(), Instant::now());
    let mut latencies: Vec<Duration> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..concurrent)
            .map(|_| {
                scope.spawn(|| {
                    let calls = 0..CALLS / concurrent;
                    let time = |_| {
                        let started = Instant::now();
                        contender(case);
                        started.elapsed()
                    };
                    calls.map(time).collect::<Vec<_>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("a thread")).collect()
    });
    let (whole, used) = (started.elapsed(), cpu() - before);
    latencies.sort_unstable();
    let at = |percent: usize| latencies[(latencies.len() * percent / 100).min(latencies.len() - 1)];
    Turn { p50: at(50), p99: at(99), cpu: used / latencies.len() as u32, whole }
}

fn median(values: impl Iterator<Item = Duration>) -> Duration {
    let mut values: Vec<Duration> = values.collect();
    values.sort_unstable();
    values[values.len() / 2]
}
