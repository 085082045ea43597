//! However many effects wait, a process has few threads. This binary has only this test.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use std::sync::atomic::Ordering;

use ak_host::ak_kernel::Reply;
use ak_host::{Connection, OutcomeFuture, RUNTIME_THREADS_MAX};
use support::{
    Scratch, embedded, over_a_socket,
    silent::{Silent, start, wait},
    wait_until,
};

/// Returns the names of this process's threads.
fn threads() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    // A thread may end while it is read.
    tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok()).collect()
}

/// Number of threads that belong to the test: two of the harness, one of the server, and one of the daemon.
const OWN_THREADS: usize = 4;

#[test]
fn a_thousand_effects_wait_on_a_few_threads() {
    const WAITING: u64 = 1_000;
    let server = Silent::start();
    let kernel = embedded(&server.policy());
    let scratch = Scratch::new("waiting");
    let owner = over_a_socket(&kernel, &scratch);
    let far: Vec<Connection> = (0..5).map(|number| owner.agent(&format!("a{number}")).unwrap()).collect();
    for connections in [vec![kernel.clone()], far] {
        let before = server.taken.load(Ordering::SeqCst);
        let answers = (0..WAITING).map(|number| {
            let connection = &connections[number as usize % connections.len()];
            start(connection, server.get())
        });
        let answers: Vec<OutcomeFuture> = answers.collect();
        wait_until("all wait", || server.taken.load(Ordering::SeqCst) == before + WAITING);
        let threads = threads();
        assert!(threads.len() <= RUNTIME_THREADS_MAX + OWN_THREADS, "{threads:?}");
        const { assert!(RUNTIME_THREADS_MAX <= 16) };
        server.answer_all();
        let outcomes = wait(answers);
        assert_eq!(outcomes.len() as u64, WAITING);
        for outcome in outcomes {
            assert!(
                matches!(&outcome, Ok(Reply::Http(response)) if &*response.body == b"late"),
                "{outcome:?}"
            );
        }
    }
}
