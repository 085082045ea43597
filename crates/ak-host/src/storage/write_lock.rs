//! The right to write to a directory: two locks, and an epoch by which two writers notice each other.

use std::{
    fs::File,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::{FileExt, MetadataExt},
    },
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use ak_audit::DiskError;
use rustix::{
    fs::{AtFlags, CWD, FlockOperation, OFlags, Stat, flock, fstat, statat},
    io::Errno,
};

use crate::{
    fork::ClosedInChild,
    random::random_bytes,
    storage::disk::{FileDisk, LOCK_FILE, Opened, failed, id_of, poisoned, system},
};

/// Maximum tick of a file system's clock: changes within one tick have the same change time.
const FILE_CLOCK_TICK: Duration = Duration::from_millis(100);

/// A process's right to write to a directory.
#[derive(Debug)]
pub(super) struct Writer {
    /// A forked child holds neither lock.
    _closed_in_child: [ClosedInChild; 2],
    /// The lock file and the directory, both locked until this value is dropped.
    file: File,
    directory: Arc<OwnedFd>,
    /// Device and inode number of the lock file.
    id: (u64, u64),
    /// The content of the lock file; empty when the disk had no space for it.
    epoch: Vec<u8>,
    /// Change time of the lock file (seconds, nanoseconds) when it last contained this writer's epoch.
    changed: (i64, i64),
    since: Instant,
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Unlocked explicitly, because a child that is just being forked may have copies of both descriptors.
        let _ = flock(&self.file, FlockOperation::Unlock);
        let _ = flock(&*self.directory, FlockOperation::Unlock);
    }
}

impl FileDisk {
    /// Checks that no other writer took over: the path of the lock file must lead to the file that this writer locked,
    /// and the file must contain its epoch. Takes one system call when nothing has changed.
    ///
    /// A renamed directory stays this writer's, unless another directory has its old path.
    pub(super) fn check(&self) -> Result<(), DiskError> {
        let mut writer = self.shared.writer.lock().map_err(|_| poisoned())?;
        // Tests write without a lock.
        let Some(writer) = writer.as_mut() else { return Ok(()) };
        let found = match statat(CWD, &self.shared.lock_path, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) if id_of(&found) == writer.id => found,
            Ok(_) | Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS | Errno::PERM) => {
                self.check_moved(writer)?
            }
            Err(errno) => return Err(system(errno)),
        };
        let changed = changed_at(&found);
        if changed != writer.changed || writer.since.elapsed() < FILE_CLOCK_TICK {
            if !writer.epoch.is_empty() && epoch_in(&writer.file).map_err(failed)? != writer.epoch {
                return Err(taken_over("another writer has put its epoch into the lock file"));
            }
            writer.changed = changed;
        }
        Ok(())
    }

    /// Checks a directory whose lock file's path no longer leads to the locked file, and returns the stat of that file.
    fn check_moved(&self, writer: &Writer) -> Result<Stat, DiskError> {
        let held = statat(&**self.directory()?, LOCK_FILE, AtFlags::SYMLINK_NOFOLLOW);
        let held = held.ok().filter(|held| id_of(held) == writer.id);
        let Some(held) = held else {
            return Err(taken_over("the lock file was removed or replaced: another may write here"));
        };
        match statat(CWD, &self.shared.path, AtFlags::empty()) {
            // The directory was renamed, or this process can no longer access its path.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS | Errno::PERM) => Ok(held),
            Ok(_) => Err(taken_over("the directory was moved away, and another stands in its place")),
            Err(errno) => Err(system(errno)),
        }
    }

    /// Checks that a file's name still leads to the file that was written.
    pub(super) fn check_file(&self, name: &str, opened: &Opened) -> Result<(), DiskError> {
        if self.shared.writer.lock().map_err(|_| poisoned())?.is_none() {
            return Ok(());
        }
        match statat(&**self.directory()?, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) if id_of(&found) == opened.id => Ok(()),
            Ok(_) | Err(Errno::NOENT) => {
                Err(DiskError::Failed(format!("{name} was removed or replaced while it was written")))
            }
            Err(errno) => Err(system(errno)),
        }
    }

    /// Locks the directory itself, if its file system supports that. Removing the lock file does not release this lock.
    fn lock_directory(&self) -> Result<(), DiskError> {
        match flock(&**self.directory()?, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) | Err(Errno::BADF | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS | Errno::NOLCK) => {
                Ok(())
            }
            Err(Errno::WOULDBLOCK) => Err(DiskError::Locked),
            Err(errno) => Err(system(errno)),
        }
    }

    /// Locks the directory and its lock file, and writes this writer's epoch into the lock file.
    pub(super) fn take_over(&self) -> Result<Writer, DiskError> {
        self.lock_directory()?;
        let file = File::from(self.open_at(LOCK_FILE, OFlags::RDWR | OFlags::CREATE).map_err(system)?);
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(DiskError::Locked),
            Err(errno) => return Err(system(errno)),
        }
        let mut epoch = hex::encode(random_bytes().map_err(failed)?).into_bytes();
        match file.write_all_at(&epoch, 0) {
            Ok(()) => {}
            // Without space for the epoch, only the locks protect the directory.
            Err(error) if matches!(failed(io::Error::from(error.kind())), DiskError::Full) => epoch.clear(),
            Err(error) => return Err(failed(error)),
        }
        let stat = fstat(&file).map_err(system)?;
        Ok(Writer {
            _closed_in_child: [
                ClosedInChild::new(file.as_fd()),
                ClosedInChild::new(self.directory()?.as_fd()),
            ],
            directory: self.directory()?.clone(),
            id: id_of(&stat),
            changed: changed_at(&stat),
            since: Instant::now(),
            file,
            epoch,
        })
    }
}

fn changed_at(stat: &Stat) -> (i64, i64) {
    (stat.st_ctime, i64::try_from(stat.st_ctime_nsec).unwrap_or_default())
}

/// Returns the epoch that a lock file contains.
pub(super) fn lock_holder(directory: &Path) -> Option<u32> {
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    let holder_of = |path: &Path| {
        let file = std::fs::metadata(path).ok()?;
        let (major, minor) = (rustix::fs::major(file.dev()), rustix::fs::minor(file.dev()));
        let wanted = format!("{major:02x}:{minor:02x}:{}", file.ino());
        locks.lines().find_map(|line| {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            let [_, "FLOCK", _, _, pid, file, ..] = fields.as_slice() else { return None };
            pid.parse().ok().filter(|pid: &u32| *pid > 0 && *file == wanted)
        })
    };
    holder_of(&directory.join(LOCK_FILE)).or_else(|| holder_of(directory))
}

fn epoch_in(file: &File) -> io::Result<Vec<u8>> {
    let mut epoch = vec![0; 64];
    let read = file.read_at(&mut epoch, 0)?;
    epoch.truncate(read);
    Ok(epoch)
}

fn taken_over(reason: &str) -> DiskError {
    DiskError::Failed(format!("{reason}; nothing more is written from here"))
}
