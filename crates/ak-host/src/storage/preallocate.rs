//! Preallocates the journal's next segment: a file of zeros, written and synced in the background.
//!
//! The first write to a fresh block commits the file system's own journal at the next sync. Zero-filling on the commit
//! path doubles a batch's cost, so it is done ahead, in the background.

use std::{
    fs::File,
    io,
    os::{fd::OwnedFd, unix::fs::FileExt},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use rustix::fs::{AtFlags, FallocateFlags, Mode, OFlags, fallocate, fstatvfs, openat, renameat, unlinkat};

/// Length of the file in bytes: a segment, and a batch that extends beyond its end.
const FILE_BYTES: u64 = 68 << 20;
/// Number of bytes that are written at a time.
const ZEROS_BYTES: usize = 1 << 20;

/// The preallocated file, the thread that writes it, and the flag that stops the thread.
#[derive(Debug)]
pub(crate) struct Preallocator {
    /// `None` when there is no directory, so that no file is written.
    directory: Option<Arc<OwnedFd>>,
    name: &'static str,
    writer: Mutex<Option<JoinHandle<bool>>>,
    stop: Arc<AtomicBool>,
}

impl Preallocator {
    pub(crate) fn new(directory: Option<Arc<OwnedFd>>, name: &'static str) -> Preallocator {
        Preallocator { directory, name, writer: Mutex::default(), stop: Arc::default() }
    }

    /// Starts to write the file in the background, unless that was started already.
    pub(crate) fn prepare(&self) {
        let (Some(directory), Ok(mut writer)) = (&self.directory, self.writer.lock()) else { return };
        if writer.is_none() {
            let (directory, name, stop) = (directory.clone(), self.name, self.stop.clone());
            stop.store(false, Ordering::Relaxed);
            let work = move || write_zeros(&directory, name, &stop).is_ok();
            // Without the file the journal is slower, but just as safe.
            *writer = thread::Builder::new().name("ak-spare".into()).spawn(work).ok();
        }
    }

    /// Renames the file to `to` if it is complete; returns whether it did.
    pub(crate) fn take(&self, to: &str) -> bool {
        let (Some(directory), Ok(mut writer)) = (&self.directory, self.writer.lock()) else { return false };
        let ready = writer.take_if(|writer| writer.is_finished()).and_then(|writer| writer.join().ok());
        ready == Some(true) && renameat(&**directory, self.name, &**directory, to).is_ok()
    }

    /// Waits until the background write has ended.
    pub(crate) fn wait(&self) {
        while let Ok(writer) = self.writer.lock()
            && writer.as_ref().is_some_and(|writer| !writer.is_finished())
        {
            drop(writer);
            thread::sleep(std::time::Duration::from_millis(1));
        }
    }

    /// Stops the write and removes the file; returns whether there was one.
    pub(crate) fn discard(&self) -> bool {
        self.stop.store(true, Ordering::Relaxed);
        if let Ok(mut writer) = self.writer.lock()
            && let Some(writer) = writer.take()
        {
            let _ = writer.join();
        }
        let remove = |directory: &Arc<OwnedFd>| unlinkat(&**directory, self.name, AtFlags::empty()).is_ok();
        self.directory.as_ref().is_some_and(remove)
    }
}

impl Drop for Preallocator {
    fn drop(&mut self) {
        if self.writer.get_mut().is_ok_and(|writer| writer.is_some()) {
            self.discard();
        }
    }
}

fn write_zeros(directory: &OwnedFd, name: &str, stop: &AtomicBool) -> io::Result<()> {
    let disk = fstatvfs(directory)?;
    if disk.f_bavail.saturating_mul(disk.f_frsize) < 2 * FILE_BYTES {
        // On a nearly full disk the space is kept for current data.
        return Err(io::ErrorKind::StorageFull.into());
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
    let file = File::from(openat(directory, name, flags, Mode::from_raw_mode(0o600))?);
    fallocate(&file, FallocateFlags::empty(), 0, FILE_BYTES)?;
    let zeros = vec![0; ZEROS_BYTES];
    let mut at = 0;
    while at < FILE_BYTES {
        if stop.load(Ordering::Relaxed) {
            return Err(io::Error::other("stopped"));
        }
        file.write_all_at(&zeros, at)?;
        // Synced in small steps, so that syncs of the journal wait only briefly.
        file.sync_data()?;
        at += zeros.len() as u64;
    }
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_preallocated_file_is_taken_once_complete_and_all_zeros() {
        let directory = std::env::temp_dir().join(format!("ak-spare-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("it can be made");
        let path = directory.join("spare");
        let held = OwnedFd::from(File::open(&directory).expect("it can be opened"));
        let spare = Preallocator::new(Some(Arc::new(held)), "spare");
        assert!(!spare.take("segment"), "nobody began");
        spare.prepare();
        spare.wait();
        assert!(spare.take("segment") && !path.exists());
        let bytes = fs::read(directory.join("segment")).expect("it is there");
        assert!(bytes.len() as u64 == FILE_BYTES && bytes.iter().all(|byte| *byte == 0));
        assert!(!spare.take("segment"), "there is but one");
        spare.prepare();
        assert!(spare.discard() && !path.exists());
        spare.prepare();
        drop(spare);
        assert!(!path.exists());
        fs::remove_dir_all(&directory).expect("it can be removed");
    }
}
