//! Connections opened before a fork belong to the parent: a child gets a failure that says so, and does no harm.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use ak_host::ak_json::{Value, object};
use ak_host::ak_kernel::{AuditRequest, Code, HeapRequest, Reply, Request, ak_heap::Content};
use ak_host::{CancellationToken, Connection, Options};
use support::{Scratch, embedded, get, load, ok, over_a_socket, web};

/// Runs `work` in a child, and returns whether it returned true. The child is killed if it hangs.
#[expect(unsafe_code, reason = "there is no safe way to fork")]
fn in_a_child(work: impl FnOnce() -> bool) -> bool {
    // SAFETY: the child only uses the library, as children of programs in other languages do, and ends.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let code =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).map_or(2, |good| i32::from(!good));
        // SAFETY: the child ends without running the exit handlers of its parent.
        unsafe { libc::_exit(code) };
    }
    let started = Instant::now();
    loop {
        let mut status = 0;
        // SAFETY: it polls the child that was just forked.
        let ended = unsafe { libc::waitpid(child, &mut status, libc::WNOHANG) };
        if ended == child {
            return libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0;
        }
        if started.elapsed() > Duration::from_secs(20) {
            // SAFETY: it kills the child that was just forked.
            unsafe { libc::kill(child, libc::SIGKILL) };
            panic!("the child hangs");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn alloc(value: u64) -> Request {
    let content = Content::Json(object! { "value": value });
    Request::Heap(HeapRequest::Alloc { type_name: "t".into(), content, subject: None })
}

/// Checks in a child that every operation on an inherited connection fails.
fn is_refused(connection: &Connection) -> bool {
    let refused = |failure: &ak_host::ak_kernel::Failure| {
        failure.code == Code::NotConfigured && failure.message.contains("forked")
    };
    let awaited = connection.call_async(alloc(1), None, CancellationToken::new());
    let awaited = tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(awaited);
    let calls = [connection.call(alloc(1)), connection.call(get("http://127.0.0.1:1/")), awaited];
    let agent = connection.agent("worker").err().is_some_and(|failure| refused(&failure));
    connection.close();
    let after = connection.call(alloc(1));
    agent && calls.iter().chain([&after]).all(|outcome| outcome.as_ref().is_err_and(refused))
}

#[test]
fn a_forked_child_cannot_use_inherited_sessions_and_opens_its_own() {
    let scratch = Scratch::new("forks");
    let (port, _) = web(|_| ok("answer"));
    let url = format!("http://127.0.0.1:{port}/");
    let policy = format!(
        "[http]\nallow = [\"GET http://127.0.0.1:{port}/**\"]\n[net]\nconnect = [\"ip:127.0.0.1:{port}\"]\n"
    );
    let in_memory = embedded(&policy);
    let options = Options { state_dir: Some(scratch.join("state")), ..Options::default() };
    let durable = Connection::open(&options).unwrap();
    load(&durable, &policy);
    let remote = over_a_socket(&in_memory, &scratch);
    let worker = remote.agent("worker").unwrap();
    // Start the runtime, and open connections.
    assert!(in_memory.call(get(&url)).is_ok() && durable.call(get(&url)).is_ok());
    let connections = [in_memory, durable, remote, worker];
    // Other threads are in the middle of calls.
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for connection in &connections[..3] {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    connection.call(alloc(2)).unwrap();
                    std::thread::sleep(Duration::from_micros(100));
                }
            });
        }
        for _ in 0..20 {
            let good = in_a_child(|| {
                let refused = connections.iter().all(is_refused);
                for connection in connections.clone() {
                    drop(connection);
                }
                let own = embedded(&policy);
                let state_dir = scratch.join(&format!("child-{}", std::process::id()));
                let kept = Connection::open(&Options { state_dir: Some(state_dir), ..Options::default() });
                let elsewhere = Options {
                    url: Some(format!("unix://{}", scratch.text("ak.sock"))),
                    token_file: Some(scratch.join("token")),
                    ..Options::default()
                };
                let far = Connection::open(&elsewhere).unwrap();
                let works = own.call(alloc(3)).is_ok()
                    && own.call(get(&url)).is_ok()
                    && kept.unwrap().call(alloc(3)).is_ok()
                    && far.call(alloc(3)).is_ok()
                    && in_a_child(|| is_refused(&own) && is_refused(&far));
                // The parent still uses the state directory.
                refused && works && Connection::open(&options).is_err()
            });
            assert!(good, "a child was told otherwise");
        }
        done.store(true, Ordering::Relaxed);
    });
    for connection in &connections {
        assert!(connection.call(alloc(4)).is_ok(), "the parent goes on");
    }
    let [_, durable, _, _] = connections;
    durable.close();
    let reopened = Connection::open(&options).unwrap();
    let Ok(Reply::Value(verdict)) =
        reopened.call(Request::Audit(AuditRequest::Verify { key: None, anchor: None }))
    else {
        panic!()
    };
    assert_eq!(verdict.get("consistent").and_then(Value::as_bool), Some(true), "{}", verdict.to_json());
}

/// A forked child that lives on keeps no lock of its parent.
#[test]
fn closing_a_kernel_unlocks_its_journal_though_a_forked_child_lives() {
    let scratch = Scratch::new("lock");
    let options = Options { state_dir: Some(scratch.join("state")), ..Options::default() };
    let kernel = Connection::open(&options).unwrap();
    kernel.call(alloc(1)).unwrap();
    #[expect(unsafe_code, reason = "there is no safe way to fork")]
    // SAFETY: the child only sleeps, and ends.
    let child = unsafe { libc::fork() };
    if child == 0 {
        std::thread::sleep(Duration::from_secs(60));
        #[expect(unsafe_code, reason = "there is no safe way to end a fork")]
        // SAFETY: the child ends without running the exit handlers of its parent.
        unsafe {
            libc::_exit(0)
        };
    }
    kernel.close();
    drop(kernel);
    let reopened = Connection::open(&options).map(|kernel| code_of(&kernel));
    #[expect(unsafe_code, reason = "there is no safe way to end a child")]
    // SAFETY: it kills the child that was just forked.
    unsafe {
        libc::kill(child, libc::SIGKILL);
        libc::waitpid(child, std::ptr::null_mut(), 0);
    }
    assert_eq!(reopened.map_err(|failure| failure.message), Ok(None));
}

fn code_of(kernel: &Connection) -> Option<Code> {
    kernel.call(alloc(2)).err().map(|failure| failure.code)
}
