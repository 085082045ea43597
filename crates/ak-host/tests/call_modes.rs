//! Waiting effects hold no thread, and abandoned effects hold nothing, with an embedded kernel and over a socket.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use std::{
    io::{Read, Write},
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use ak_host::ak_json::{Value, object};
use ak_host::ak_kernel::{AdminRequest, AgentRequest, Code, FileRequest, Reply, Request, ToolsRequest};
use ak_host::{CancellationToken, Connection, Options, OutcomeFuture};
use support::{
    Scratch, embedded, over_a_socket,
    silent::{Silent, start, wait},
    wait_until,
};

fn reserved(kernel: &Connection) -> u64 {
    let status = kernel.call(Request::Agent(AgentRequest::BudgetStatus { dimension: None, agent: None }));
    let Ok(Reply::Value(status)) = status else { panic!("{status:?}") };
    status.get("bytes").and_then(|bytes| bytes.get("reserved")).and_then(Value::as_u64).unwrap_or_default()
}

#[test]
fn a_cancelled_request_releases_its_reservation_at_once() {
    let server = Silent::start();
    let kernel = embedded(&server.policy());
    let scratch = Scratch::new("given-up");
    let owner = over_a_socket(&kernel, &scratch);
    for connection in [&kernel, &owner] {
        let before = server.taken.load(Ordering::SeqCst);
        let stop = CancellationToken::new();
        let stopped = connection.call_async(server.get(), None, stop.clone());
        let dropped = start(connection, server.get());
        wait_until("both wait", || server.taken.load(Ordering::SeqCst) == before + 2);
        assert!(reserved(&kernel) > 0);
        stop.cancel();
        drop(dropped);
        assert_eq!(wait(vec![stopped])[0].as_ref().unwrap_err().code, Code::UnknownOutcome);
        let started = Instant::now();
        wait_until("nothing is reserved", || reserved(&kernel) == 0);
        assert!(started.elapsed() < Duration::from_secs(5), "long before its timeout");
    }
}

/// A caller that polls for interrupts can stop waiting for an effect.
#[test]
fn an_interrupted_caller_stops_waiting() {
    let server = Silent::start();
    let kernel = embedded(&server.policy());
    let scratch = Scratch::new("heeding");
    let owner = over_a_socket(&kernel, &scratch);
    for connection in [&kernel, &owner] {
        let before = server.taken.load(Ordering::SeqCst);
        let mut heed = || server.taken.load(Ordering::SeqCst) == before;
        let outcome = connection.call_interruptible(
            server.get(),
            &mut |_| true,
            &CancellationToken::new(),
            Some(&mut heed),
        );
        assert_eq!(outcome.unwrap_err().code, Code::UnknownOutcome);
        wait_until("nothing is reserved", || reserved(&kernel) == 0);
    }
}

/// An effect that is pending when its caller closes the kernel may have happened.
#[test]
fn an_effect_pending_at_close_is_unknown() {
    let server = Silent::start();
    let kernel = embedded(&server.policy());
    let scratch = Scratch::new("closing");
    let owner = over_a_socket(&kernel, &scratch);
    for (taken, connection) in [(1, &owner), (2, &kernel)] {
        let waiting = connection.call_async(server.get(), None, CancellationToken::new());
        wait_until("it waits", || server.taken.load(Ordering::SeqCst) == taken);
        connection.close();
        assert_eq!(wait(vec![waiting])[0].as_ref().unwrap_err().code, Code::UnknownOutcome);
        assert_eq!(
            connection.call(Request::Admin(AdminRequest::LastError)).unwrap_err().code,
            Code::NotConfigured
        );
    }
}

/// The caller gets an outcome that is already there when it stops waiting.
#[test]
fn an_outcome_that_arrived_before_an_interrupt_is_not_lost() {
    let server = Silent::start();
    let kernel = embedded(&server.policy());
    let mut heed = || {
        wait_until("it waits", || server.taken.load(Ordering::SeqCst) == 1);
        server.answer_all();
        // Wait until the answer is in the socket's queue, which is on this machine.
        std::thread::sleep(Duration::from_millis(200));
        false
    };
    let outcome =
        kernel.call_interruptible(server.get(), &mut |_| true, &CancellationToken::new(), Some(&mut heed));
    assert!(matches!(outcome, Ok(Reply::Http(_))), "{outcome:?}");
}

/// A kernel may be called from a task of any runtime, and from a callback of the kernel's own.
#[test]
fn calls_may_be_made_on_any_runtime() {
    let server = Silent::start();
    let kernel = embedded(&server.policy());
    let answering = server.held.clone();
    std::thread::spawn(move || {
        loop {
            for mut stream in std::mem::take(&mut *answering.lock().unwrap()) {
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(support::ok("").as_bytes());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    let single = tokio::runtime::Builder::new_current_thread().build().unwrap();
    single.block_on(async {
        assert!(kernel.call(server.get()).is_ok());
        assert!(start(&kernel, server.get()).await.is_ok());
    });
    let many = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let (kernel, request) = (kernel.clone(), server.get());
    let called = many.spawn(async move { kernel.call(request).is_ok() });
    assert!(many.block_on(called).unwrap());
}

/// Endless tools and file effects delay neither each other nor other effects.
#[test]
fn tools_and_files_run_on_threads_of_their_own() {
    let scratch = Scratch::new("beside");
    std::fs::write(scratch.join("f"), "inside").unwrap();
    let policy = format!("[tools]\nallow = [\"*\"]\n[fs]\nread = [\"{}/**\"]\n", scratch.path().display());
    let kernel = Connection::open(&Options::default()).unwrap();
    support::load(&kernel, &policy);
    let add = || Request::Tools(ToolsRequest::Call { tool: "add".into(), args: object! { "a": 1, "b": 2 } });
    let read = || Request::File(FileRequest::Read { path: scratch.text("f").into(), bytes_max: 100 });
    let answers: Vec<OutcomeFuture> =
        (0..200).map(|number| start(&kernel, if number % 2 == 0 { add() } else { read() })).collect();
    for (number, outcome) in wait(answers).into_iter().enumerate() {
        match outcome {
            Ok(Reply::Bytes(bytes)) => assert!(number % 2 == 1 && &*bytes == b"inside"),
            other => assert!(number % 2 == 0 && other.is_ok(), "{other:?}"),
        }
    }
}
