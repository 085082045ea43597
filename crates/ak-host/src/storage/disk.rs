//! A directory of the file system as a disk of the journal or the vault.
//!
//! The directory is opened once and kept open, so renaming or replacing it does not redirect its user. Two writers
//! notice each other. A writer locks the directory itself and a file in it, and before each write checks path, inode
//! and content of the lock file; the content is the writer's *epoch*, 32 random bytes. See `FileDisk::check`.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::FileExt,
    },
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use ak_audit::{Disk, DiskError, HashEngine};
use rustix::{
    fs::{AtFlags, Dir, FallocateFlags, Mode, OFlags, Stat, fallocate, fstat, fsync, open, openat, unlinkat},
    io::Errno,
};

use crate::{storage::hash_accel::engine, storage::preallocate::Preallocator, storage::write_lock::Writer};

/// The file whose lock gives the right to write.
pub(super) const LOCK_FILE: &str = "lock";

/// Number of zero bytes that are written at a time when space is allocated.
const ZEROS_BYTES: usize = 1 << 20;
/// Number of bytes of newly allocated space that are filled with zeros at once; space further ahead may never be used.
const WRITTEN_AHEAD_BYTES: u64 = 8 << 20;

/// The name of the preallocated file for the next segment.
const SPARE_FILE: &str = "spare";
/// When a file grows beyond this length, its successor is preallocated.
const BUSY_BYTES: u64 = 16 << 20;
/// Number of descriptors that are reserved for opening files later: the next segment, a snapshot.
const RESERVE_DESCRIPTORS: usize = 2;
/// Maximum length of a commit mark. The mark is written right after its batch, which checked the lock already.
const MARK_BYTES: usize = 32;
/// A directory as the disk of a journal, whose files stay open. Clones are handles on the same disk and share its lock.
#[derive(Debug, Clone)]
pub struct FileDisk {
    pub(super) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(super) struct Shared {
    /// Absolute paths of the directory and of its lock file, as of opening.
    pub(super) path: PathBuf,
    pub(super) lock_path: PathBuf,
    /// `None` when the directory did not exist.
    directory: Option<Arc<OwnedFd>>,
    files: Mutex<BTreeMap<String, Arc<Opened>>>,
    /// Reserved descriptors, which are closed when no others are available.
    reserve: Mutex<Vec<OwnedFd>>,
    pub(super) writer: Mutex<Option<Writer>>,
    preallocator: Preallocator,
}

/// An open file with its device and inode number.
#[derive(Debug)]
pub(super) struct Opened {
    file: File,
    pub(super) id: (u64, u64),
}

impl FileDisk {
    /// Opens the directory; a missing one is created, accessible to its owner alone.
    ///
    /// # Errors
    /// When the directory cannot be created or opened.
    pub fn new(directory: &Path) -> io::Result<FileDisk> {
        use std::os::unix::fs::DirBuilderExt;
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        FileDisk::open_existing(directory)
    }

    /// Opens the directory to read it. A missing directory counts as empty, and is not created.
    ///
    /// # Errors
    /// When the directory exists and cannot be opened.
    pub(crate) fn open_existing(directory: &Path) -> io::Result<FileDisk> {
        let path = std::path::absolute(directory)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = match open(&path, flags, Mode::empty()) {
            Ok(opened) => Some(Arc::new(opened)),
            Err(Errno::NOENT) => None,
            Err(errno) => return Err(errno.into()),
        };
        let preallocator = Preallocator::new(opened.clone(), SPARE_FILE);
        let (files, writer) = (Mutex::default(), Mutex::default());
        let lock_path = path.join(LOCK_FILE);
        let shared = Shared {
            path,
            lock_path,
            directory: opened,
            files,
            reserve: Mutex::default(),
            writer,
            preallocator,
        };
        Ok(FileDisk { shared: Arc::new(shared) })
    }

    /// Whether the directory exists.
    pub(crate) fn is_there(&self) -> bool {
        self.shared.directory.is_some()
    }

    /// Whether this process may write the directory: false on a read-only file system or in another user's directory.
    pub(crate) fn is_writable(&self) -> bool {
        let locked = self.open_at(LOCK_FILE, OFlags::RDWR | OFlags::CREATE);
        !matches!(locked, Err(Errno::ACCESS | Errno::PERM | Errno::ROFS))
    }

    /// Waits until the background preallocation has ended.
    pub fn wait_idle(&self) {
        self.shared.preallocator.wait();
    }

    pub(super) fn directory(&self) -> Result<&Arc<OwnedFd>, DiskError> {
        self.shared.directory.as_ref().ok_or(DiskError::Absent)
    }

    fn open(&self, name: &str, create: bool) -> Result<Arc<Opened>, DiskError> {
        let mut files = self.shared.files.lock().map_err(|_| poisoned())?;
        if let Some(file) = files.get(name) {
            return Ok(file.clone());
        }
        let create = if create { OFlags::CREATE } else { OFlags::empty() };
        let opened = self.open_at(name, OFlags::RDWR | create).or_else(|errno| match errno {
            // A file that cannot be written, such as one of a backup, can still be read and verified.
            Errno::ACCESS | Errno::PERM | Errno::ROFS => self.open_at(name, OFlags::RDONLY),
            errno => Err(errno),
        });
        let opened = opened.map_err(system)?;
        let id = id_of(&fstat(&opened).map_err(system)?);
        let file = Arc::new(Opened { file: opened.into(), id });
        files.insert(name.to_owned(), file.clone());
        Ok(file)
    }

    /// Opens a file of the directory; when no descriptor is available, it closes a reserved one.
    pub(super) fn open_at(&self, name: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        let directory = self.shared.directory.as_ref().ok_or(Errno::NOENT)?;
        let try_open = || openat(&**directory, name, flags | OFlags::CLOEXEC, Mode::from_raw_mode(0o600));
        loop {
            match try_open() {
                Err(Errno::MFILE | Errno::NFILE) if self.release_descriptor() => {}
                opened => {
                    self.refill_descriptors();
                    return opened;
                }
            }
        }
    }

    /// Closes a reserved descriptor; returns whether there was one.
    fn release_descriptor(&self) -> bool {
        self.shared.reserve.lock().is_ok_and(|mut reserve| reserve.pop().is_some())
    }

    /// Reserves descriptors for a writer, as far as they are available.
    fn refill_descriptors(&self) {
        let is_writer = self.shared.writer.lock().is_ok_and(|writer| writer.is_some());
        let (Some(directory), Ok(mut reserve)) = (&self.shared.directory, self.shared.reserve.lock()) else {
            return;
        };
        while is_writer
            && reserve.len() < RESERVE_DESCRIPTORS
            && let Ok(another) = directory.try_clone()
        {
            reserve.push(another);
        }
    }

    fn grow(&self, name: &str, length: u64) -> Result<(), DiskError> {
        let opened = self.open(name, true)?;
        let file = &opened.file;
        let before = file.metadata().map_err(failed)?.len();
        if before >= length {
            return Ok(());
        }
        let end = match fallocate(file, FallocateFlags::empty(), before, length - before) {
            Ok(()) => length.min(before + WRITTEN_AHEAD_BYTES),
            // On file systems without preallocation, writing zeros takes the space.
            Err(Errno::OPNOTSUPP) => length,
            Err(errno) => return Err(system(errno)),
        };
        // The first write to a fresh block commits the file system's own journal at the next sync, which would delay
        // every batch. Zeros written now cost one commit for all blocks.
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

/// Returns device and inode number of a file.
pub(super) fn id_of(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

impl Disk for FileDisk {
    fn lock(&mut self) -> Result<(), DiskError> {
        if self.shared.writer.lock().map_err(|_| poisoned())?.is_some() {
            return self.check();
        }
        let writer = self.take_over()?;
        *self.shared.writer.lock().map_err(|_| poisoned())? = Some(writer);
        self.check()?;
        self.refill_descriptors();
        // A former writer may have left its preallocated file behind.
        self.shared.preallocator.discard();
        Ok(())
    }

    fn list(&self) -> Result<Vec<String>, DiskError> {
        let mut names = Vec::new();
        if self.shared.directory.is_none() {
            return Ok(names);
        }
        // A separate descriptor, so that no other reader moves its position.
        let own = self.open_at(".", OFlags::RDONLY | OFlags::DIRECTORY).map_err(system)?;
        for entry in Dir::new(own).map_err(system)? {
            let name = entry.map_err(system)?.file_name().to_string_lossy().into_owned();
            if !matches!(&*name, "." | ".." | LOCK_FILE | SPARE_FILE) {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn length(&self, name: &str) -> Result<u64, DiskError> {
        Ok(self.open(name, false)?.file.metadata().map_err(failed)?.len())
    }

    fn read(&self, name: &str, offset: u64, buffer: &mut [u8]) -> Result<usize, DiskError> {
        let opened = self.open(name, false)?;
        let file = &opened.file;
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
        self.check()?;
        let is_new = matches!(self.open(name, false), Err(DiskError::Absent));
        if is_new && self.shared.preallocator.take(name) {
            self.shared.preallocator.prepare();
        }
        if length > BUSY_BYTES {
            self.shared.preallocator.prepare();
        }
        match self.grow(name, length) {
            // On a full disk the preallocated file is removed to free its space.
            Err(DiskError::Full) if self.shared.preallocator.discard() => self.grow(name, length),
            done => done,
        }
    }

    fn shrink(&mut self, name: &str, length: u64) -> Result<(), DiskError> {
        self.open(name, false)?.file.set_len(length).map_err(failed)
    }

    fn write(&mut self, name: &str, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        if bytes.len() > MARK_BYTES {
            self.check()?;
        }
        self.open(name, false)?.file.write_all_at(bytes, offset).map_err(failed)
    }

    fn sync(&mut self, name: &str) -> Result<(), DiskError> {
        let opened = self.open(name, false)?;
        opened.file.sync_data().map_err(failed)?;
        self.check_file(name, &opened)
    }

    fn remove(&mut self, name: &str) -> Result<(), DiskError> {
        if let Ok(mut files) = self.shared.files.lock() {
            files.remove(name);
        }
        unlinkat(&**self.directory()?, name, AtFlags::empty()).map_err(system)?;
        self.refill_descriptors();
        Ok(())
    }

    fn sync_dir(&mut self) -> Result<(), DiskError> {
        fsync(self.directory()?.as_fd()).map_err(system)
    }

    fn engine(&self) -> HashEngine {
        engine()
    }
}

/// A disk that can have several handles.
pub(crate) trait HostDisk: Disk + Send {
    /// Returns another handle on the same disk, which shares its lock.
    fn handle(&self) -> BoxedDisk;
}

impl<D: Disk + Send + Clone + 'static> HostDisk for D {
    fn handle(&self) -> BoxedDisk {
        Box::new(self.clone())
    }
}

/// Any disk that a journal or vault can use.
pub(crate) type BoxedDisk = Box<dyn HostDisk>;

pub(super) fn poisoned() -> DiskError {
    DiskError::Failed("a thread died holding the disk".into())
}

pub(super) fn system(errno: Errno) -> DiskError {
    failed(errno.into())
}

pub(super) fn failed(error: io::Error) -> DiskError {
    match error.kind() {
        io::ErrorKind::NotFound => DiskError::Absent,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => DiskError::Full,
        _ => DiskError::Failed(error.to_string()),
    }
}
