//! Opening a journal of many entries whose newest snapshot is a tenth of the entries old, and verifying it.

use std::{
    fs,
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use ak_host::{
    Connection, Options, VAULT_DIRECTORY,
    ak_json::Value,
    ak_kernel::{AdminRequest, AuditRequest, Reply, Request},
};

use crate::{Result, Scale, forget_peak, give_back, hold, open, resident_mb, round, row, seconds, told};

/// The bounds for 1,000,000 entries: seconds to reopen, and MB that verification takes.
const REOPEN_S_MAX: f64 = 3.0;
const VERIFY_MB_MAX: f64 = 100.0;
/// The number of callers, which share syncs.
const CALLERS: u64 = 16;

pub(crate) fn run(scale: &Scale) -> Result {
    fill(scale)?;
    let (newest, age) = reopen(scale)?;
    let mut bounds =
        vec![row("reopen", &format!("newest snapshot {age} entries old"), newest, Some(REOPEN_S_MAX), "s")];
    drop_newest_snapshot(scale)?;
    let (older, age) = reopen(scale)?;
    bounds.push(row("reopen", &format!("newest snapshot {age} entries old"), older, Some(REOPEN_S_MAX), "s"));
    bounds.push(verify(scale)?);
    hold(&bounds)
}

/// Records the entries, from several callers.
fn fill(scale: &Scale) -> Result {
    let kernel = open(Some(&scale.directory))?;
    let (next, started) = (AtomicU64::new(0), Instant::now());
    thread::scope(|scope| {
        let call = || -> Result {
            while next.fetch_add(3, Ordering::Relaxed) < scale.count {
                round(&kernel, next.load(Ordering::Relaxed))?;
            }
            Ok(())
        };
        let callers: Vec<_> = (0..CALLERS).map(|_| scope.spawn(call)).collect();
        callers.into_iter().try_for_each(|caller| caller.join().map_err(|_| "a caller died")?)
    })?;
    row("reopen", &format!("recording {} entries", scale.count), seconds(started), None, "s");
    Ok(())
}

fn snapshots(scale: &Scale) -> std::result::Result<Vec<PathBuf>, String> {
    let files = fs::read_dir(scale.directory.join(VAULT_DIRECTORY)).map_err(told)?;
    let mut found: Vec<_> = files.filter_map(|file| Some(file.ok()?.path())).collect();
    found.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("snapshot-")));
    found.sort();
    Ok(found)
}

fn drop_newest_snapshot(scale: &Scale) -> Result {
    let snapshots = snapshots(scale)?;
    let newest = snapshots.last().filter(|_| snapshots.len() > 1).ok_or("one snapshot, or none")?;
    fs::remove_file(newest).map_err(told)
}

/// Returns how long it takes until a request is answered, in seconds, and how many entries were re-executed.
fn reopen(scale: &Scale) -> std::result::Result<(f64, u64), String> {
    let started = Instant::now();
    let options = Options { state_dir: Some(scale.directory.clone()), ..Options::default() };
    let mut replayed = 0;
    let kernel = Connection::open_with_progress(&options, &mut |done, _| replayed = done).map_err(told)?;
    kernel.call(Request::Admin(AdminRequest::LastError)).map_err(told)?;
    Ok((seconds(started), replayed))
}

/// The kernel is at rest once no snapshot was made or removed for `AT_REST`; the longest wait for that is
/// `AT_REST_WAIT`.
const AT_REST: Duration = Duration::from_secs(10);
const AT_REST_WAIT: Duration = Duration::from_secs(120);

/// Waits until no snapshots are made any more, so that their cost is not measured with other work.
fn come_to_rest(scale: &Scale) -> Result {
    let (started, mut kept, mut since) = (Instant::now(), snapshots(scale)?, Instant::now());
    while since.elapsed() < AT_REST {
        thread::sleep(Duration::from_millis(100));
        let now = snapshots(scale)?;
        if now != kept {
            (kept, since) = (now, Instant::now());
        }
        if started.elapsed() > AT_REST_WAIT {
            return Err("snapshots are made without end".into());
        }
    }
    Ok(())
}

fn verify(scale: &Scale) -> std::result::Result<bool, String> {
    let kernel = open(Some(&scale.directory))?;
    // The kernel makes a snapshot now if the newest one is many entries old.
    kernel.call(Request::Admin(AdminRequest::LastError)).map_err(told)?;
    come_to_rest(scale)?;
    give_back();
    let (before, _) = resident_mb()?;
    forget_peak()?;
    let started = Instant::now();
    let report =
        kernel.call(Request::Audit(AuditRequest::Verify { key: None, anchor: None })).map_err(told)?;
    let took = seconds(started);
    match report {
        Reply::Value(report) if report.get("consistent") == Some(&Value::Bool(true)) => {}
        other => return Err(format!("it does not verify: {other:?}")),
    }
    let (_, peak) = resident_mb()?;
    row("reopen", "audit_verify", took, None, "s");
    row("reopen", "memory held before audit_verify", before, None, "MB");
    Ok(row("reopen", "memory that audit_verify takes beside", peak - before, Some(VERIFY_MB_MAX), "MB"))
}
