//! A directory of the file system as the journal's disk.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use ak_audit::{Disk, DiskError, Engine};
use rustix::fs::{FallocateFlags, FlockOperation, fallocate, flock};

use crate::{engine::engine, spare::Spare};

/// The name of the file whose lock is the right to write.
const LOCK_FILE: &str = "lock";

/// How much is written at a time where space is allocated.
const ZEROS_BYTES: usize = 1 << 20;
/// How much of newly allocated space is written at once. What lies further ahead may never be used.
const WRITTEN_AHEAD_BYTES: u64 = 8 << 20;

/// The name of the file that the next segment will be.
const SPARE_FILE: &str = "spare";
/// The length of a file from which on the one after it is prepared: what stays small needs none.
const BUSY_BYTES: u64 = 16 << 20;

/// A directory, its files opened once and kept open. Clones are handles on the same one, and share its lock.
#[derive(Debug, Clone)]
pub struct FileDisk {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    directory: PathBuf,
    files: Mutex<BTreeMap<String, Arc<File>>>,
    lock: Mutex<Option<File>>,
    spare: Spare,
}

impl FileDisk {
    /// The directory, which is made if it is not there, for its owner alone.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new(directory: &Path) -> io::Result<FileDisk> {
        use std::os::unix::fs::DirBuilderExt;
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        Ok(FileDisk::as_it_is(directory))
    }

    /// The directory to look into. One that is not there is empty, and is not made.
    pub(crate) fn as_it_is(directory: &Path) -> FileDisk {
        let spare = Spare::new(directory.join(SPARE_FILE));
        let (files, lock) = (Mutex::default(), Mutex::default());
        FileDisk { shared: Arc::new(Shared { directory: directory.to_owned(), files, lock, spare }) }
    }

    /// Waits until nothing is done in the background.
    pub fn rest(&self) {
        self.shared.spare.wait();
    }

    fn open(&self, name: &str, create: bool) -> Result<Arc<File>, DiskError> {
        let mut files = self.shared.files.lock().map_err(|_| died())?;
        if let Some(file) = files.get(name) {
            return Ok(file.clone());
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(create).truncate(false).mode(0o600);
        let path = self.shared.directory.join(name);
        let opened = options.open(&path).or_else(|error| match error.kind() {
            // What cannot be written, a copy kept elsewhere for one, can still be read and verified.
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => File::open(&path),
            _ => Err(error),
        });
        let file = Arc::new(opened.map_err(failed)?);
        files.insert(name.to_owned(), file.clone());
        Ok(file)
    }

    fn grow(&self, name: &str, length: u64) -> Result<(), DiskError> {
        let file = self.open(name, true)?;
        let before = file.metadata().map_err(failed)?.len();
        if before >= length {
            return Ok(());
        }
        let end = match fallocate(&*file, FallocateFlags::empty(), before, length - before) {
            Ok(()) => length.min(before + WRITTEN_AHEAD_BYTES),
            // File systems without preallocation: the space is taken when the zeros are written.
            Err(rustix::io::Errno::OPNOTSUPP) => length,
            Err(errno) => return Err(failed(errno.into())),
        };
        // Blocks that were never written would each cost a commit of the file system's own journal later on, with every
        // sync of a batch; written at once, they cost one.
        let zeros = vec![0; ZEROS_BYTES];
        let mut at = before;
        while at < end {
            let count = usize::try_from(end - at).map_or(ZEROS_BYTES, |left| left.min(ZEROS_BYTES));
            file.write_all_at(zeros.get(..count).unwrap_or_default(), at).map_err(failed)?;
            at += count as u64;
        }
        Ok(())
    }
}

impl Disk for FileDisk {
    fn lock(&mut self) -> Result<(), DiskError> {
        let mut held = self.shared.lock.lock().map_err(|_| died())?;
        if held.is_some() {
            return Ok(());
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(self.shared.directory.join(LOCK_FILE)).map_err(failed)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {
                *held = Some(file);
                // Of whoever was here before.
                self.shared.spare.discard();
                Ok(())
            }
            Err(rustix::io::Errno::WOULDBLOCK) => Err(DiskError::Locked),
            Err(errno) => Err(failed(errno.into())),
        }
    }

    fn list(&self) -> Result<Vec<String>, DiskError> {
        let mut names = Vec::new();
        let entries = match std::fs::read_dir(&self.shared.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(names),
            entries => entries.map_err(failed)?,
        };
        for entry in entries {
            let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
            if name != LOCK_FILE && name != SPARE_FILE {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn length(&self, name: &str) -> Result<u64, DiskError> {
        Ok(self.open(name, false)?.metadata().map_err(failed)?.len())
    }

    fn read(&self, name: &str, offset: u64, buffer: &mut [u8]) -> Result<usize, DiskError> {
        let file = self.open(name, false)?;
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match file.read_at(rest, offset + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(filled)
    }

    fn allocate(&mut self, name: &str, length: u64) -> Result<(), DiskError> {
        let path = self.shared.directory.join(name);
        if !path.exists() && self.shared.spare.take(&path) {
            self.shared.spare.prepare();
        }
        if length > BUSY_BYTES {
            self.shared.spare.prepare();
        }
        match self.grow(name, length) {
            // What is prepared for later gives way to what is needed now.
            Err(DiskError::Full) if self.shared.spare.discard() => self.grow(name, length),
            done => done,
        }
    }

    fn shrink(&mut self, name: &str, length: u64) -> Result<(), DiskError> {
        self.open(name, false)?.set_len(length).map_err(failed)
    }

    fn write(&mut self, name: &str, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.open(name, false)?.write_all_at(bytes, offset).map_err(failed)
    }

    fn sync(&mut self, name: &str) -> Result<(), DiskError> {
        self.open(name, false)?.sync_data().map_err(failed)
    }

    fn remove(&mut self, name: &str) -> Result<(), DiskError> {
        if let Ok(mut files) = self.shared.files.lock() {
            files.remove(name);
        }
        std::fs::remove_file(self.shared.directory.join(name)).map_err(failed)
    }

    fn sync_dir(&mut self) -> Result<(), DiskError> {
        File::open(&self.shared.directory).and_then(|directory| directory.sync_all()).map_err(failed)
    }

    fn engine(&self) -> Engine {
        engine()
    }
}

/// A disk of which there can be several handles.
pub(crate) trait HostDisk: Disk + Send {
    /// Another handle on the same disk, which shares its lock.
    fn handle(&self) -> BoxedDisk;
}

impl<D: Disk + Send + Clone + 'static> HostDisk for D {
    fn handle(&self) -> BoxedDisk {
        Box::new(self.clone())
    }
}

/// Whatever disk a journal stands on.
pub(crate) type BoxedDisk = Box<dyn HostDisk>;

fn died() -> DiskError {
    DiskError::Failed("a thread died holding the disk".into())
}

fn failed(error: io::Error) -> DiskError {
    match error.kind() {
        io::ErrorKind::NotFound => DiskError::Absent,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => DiskError::Full,
        _ => DiskError::Failed(error.to_string()),
    }
}
