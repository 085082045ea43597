//! How long others wait, with many objects, while a subject is erased and while the log is verified.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use ak_host::{
    Connection,
    ak_kernel::{AdminRequest, AuditRequest, Request},
};

use crate::{Result, Scale, hold, note, open, row, seconds, told};

/// The bound for 1,000,000 objects, in ms.
const WAIT_MS_MAX: f64 = 50.0;
/// How long waits are measured while nothing else happens.
const QUIET: Duration = Duration::from_secs(5);
const CALLERS: u64 = 16;
/// The number of objects about the subject that is erased.
const OF_ONE: u64 = 100;

pub(crate) fn run(scale: &Scale) -> Result {
    let mut bounds = Vec::new();
    for (mode, directory) in [("memory", None), ("durable", Some(scale.directory.as_path()))] {
        let kernel = open(directory)?;
        fill(&kernel, scale.count)?;
        let (quiet, _) = longest_wait(&kernel, || {
            thread::sleep(QUIET);
            Ok(())
        })?;
        row("waits", &format!("{mode}: longest of a call while nothing else happens"), quiet, None, "ms");
        for (what, request) in [
            ("erase", Request::Audit(AuditRequest::Erase { subject: "alice".into() })),
            ("audit_verify", Request::Audit(AuditRequest::Verify { key: None, anchor: None })),
        ] {
            let (wait, took) = longest_wait(&kernel, || kernel.call(request).map(|_| ()).map_err(told))?;
            bounds.push(row(
                "waits",
                &format!("{mode}: longest of a call during {what}"),
                wait,
                Some(WAIT_MS_MAX),
                "ms",
            ));
            row("waits", &format!("{mode}: {what}"), took, None, "s");
        }
    }
    hold(&bounds)
}

/// Makes objects, some of them about a subject.
fn fill(kernel: &Connection, count: u64) -> Result {
    thread::scope(|scope| {
        let fill = |caller: u64| -> Result {
            for number in (caller..count).step_by(usize::try_from(CALLERS).unwrap_or(1)) {
                let subject = (number < OF_ONE).then_some("alice");
                let subject = subject.or((number % 10 == 1).then_some("bob"));
                kernel.call(note(number, subject)).map_err(told)?;
            }
            Ok(())
        };
        let callers: Vec<_> = (0..CALLERS).map(|caller| scope.spawn(move || fill(caller))).collect();
        callers.into_iter().try_for_each(|caller| caller.join().map_err(|_| "a caller died")?)
    })
}

/// Returns the longest time that a call takes while some work runs, in ms, and how long the work takes, in s.
fn longest_wait(
    kernel: &Connection,
    work: impl FnOnce() -> Result,
) -> std::result::Result<(f64, f64), String> {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let victim = scope.spawn(|| -> std::result::Result<Duration, String> {
            let mut longest = Duration::ZERO;
            while !done.load(Ordering::Relaxed) {
                let started = Instant::now();
                kernel.call(Request::Admin(AdminRequest::LastError)).map_err(told)?;
                longest = longest.max(started.elapsed());
            }
            Ok(longest)
        });
        thread::sleep(Duration::from_millis(100));
        let started = Instant::now();
        let worked = work();
        let took = seconds(started);
        done.store(true, Ordering::Relaxed);
        let longest = victim.join().map_err(|_| "the victim died")??;
        worked?;
        Ok((longest.as_secs_f64() * 1000.0, took))
    })
}
