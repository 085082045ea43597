//! A directory of the file system as the journal's disk.
//!
//! The directory is opened once and held: what it is renamed to, or what is put in its place, changes nothing for whoever holds it.
//! Of two writers each notices the other. The lock is on the directory itself, and on a file in it whose path, inode and content
//! (the *epoch* of its writer, 32 random bytes) are compared before anything is written: see [`FileDisk::check`].

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
    time::{Duration, Instant},
};

use ak_audit::{Disk, DiskError, Engine};
use rustix::{
    fs::{
        AtFlags, CWD, Dir, FallocateFlags, FlockOperation, Mode, OFlags, Stat, fallocate, flock, fstat,
        fsync, open, openat, statat, unlinkat,
    },
    io::Errno,
};

use crate::{
    fork::KeptFromChildren, hex::to_hex, random::random_bytes, storage::hash_accel::engine,
    storage::preallocate::Spare,
};

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
/// How many descriptors are held for files that will be opened: the next segment, a snapshot.
const HELD_DESCRIPTORS: usize = 2;
/// What is so short is a mark, which follows its batch at once: before that it was seen that nobody else writes here.
const MARK_BYTES: usize = 32;
/// Clocks of file systems tick this slowly at most: what happens in one tick shows in no time of change.
const FILE_CLOCK_TICK: Duration = Duration::from_millis(100);

/// A directory, its files opened once and kept open. Clones are handles on the same one, and share its lock.
#[derive(Debug, Clone)]
pub struct FileDisk {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Where the directory was when it was opened, and where its lock file is; absolute.
    path: PathBuf,
    lock_path: PathBuf,
    /// None where there was none.
    directory: Option<Arc<OwnedFd>>,
    files: Mutex<BTreeMap<String, Arc<Opened>>>,
    /// Descriptors that give way where no other is to be had.
    held: Mutex<Vec<OwnedFd>>,
    writer: Mutex<Option<Writer>>,
    spare: Spare,
}

/// A file, and its device and number.
#[derive(Debug)]
struct Opened {
    file: File,
    id: (u64, u64),
}

/// The right to write.
#[derive(Debug)]
struct Writer {
    /// A child holds neither lock.
    _kept: [KeptFromChildren; 2],
    /// Both stay locked until the right to write ends.
    file: File,
    directory: Arc<OwnedFd>,
    /// Device and number of the lock file.
    id: (u64, u64),
    /// What the lock file holds; nothing where there was no space for it.
    epoch: Vec<u8>,
    /// When the lock file was changed last, as far as that is known to be this writer's doing.
    changed: (i64, i64),
    since: Instant,
}

impl Drop for Writer {
    fn drop(&mut self) {
        // A child that was forked a moment ago may hold copies of both still.
        let _ = flock(&self.file, FlockOperation::Unlock);
        let _ = flock(&*self.directory, FlockOperation::Unlock);
    }
}

impl FileDisk {
    /// The directory, which is made if it is not there, for its owner alone.
    ///
    /// # Errors
    /// When it cannot be made, or opened.
    pub fn new(directory: &Path) -> io::Result<FileDisk> {
        use std::os::unix::fs::DirBuilderExt;
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        FileDisk::existing(directory)
    }

    /// The directory to look into. One that is not there is empty, and is not made.
    ///
    /// # Errors
    /// When it is there and cannot be opened.
    pub(crate) fn existing(directory: &Path) -> io::Result<FileDisk> {
        let path = std::path::absolute(directory)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = match open(&path, flags, Mode::empty()) {
            Ok(opened) => Some(Arc::new(opened)),
            Err(Errno::NOENT) => None,
            Err(errno) => return Err(errno.into()),
        };
        let spare = Spare::new(opened.clone(), SPARE_FILE);
        let (files, writer) = (Mutex::default(), Mutex::default());
        let lock_path = path.join(LOCK_FILE);
        let shared =
            Shared { path, lock_path, directory: opened, files, held: Mutex::default(), writer, spare };
        Ok(FileDisk { shared: Arc::new(shared) })
    }

    /// Whether there is a directory.
    pub(crate) fn is_there(&self) -> bool {
        self.shared.directory.is_some()
    }

    /// Whether this process may write here. It may not where the file system is mounted read-only, or the directory is another's.
    pub(crate) fn may_be_written(&self) -> bool {
        let locked = self.open_at(LOCK_FILE, OFlags::RDWR | OFlags::CREATE);
        !matches!(locked, Err(Errno::ACCESS | Errno::PERM | Errno::ROFS))
    }

    /// Waits until nothing is done in the background.
    pub fn rest(&self) {
        self.shared.spare.wait();
    }

    fn directory(&self) -> Result<&Arc<OwnedFd>, DiskError> {
        self.shared.directory.as_ref().ok_or(DiskError::Absent)
    }

    fn open(&self, name: &str, create: bool) -> Result<Arc<Opened>, DiskError> {
        let mut files = self.shared.files.lock().map_err(|_| died())?;
        if let Some(file) = files.get(name) {
            return Ok(file.clone());
        }
        let create = if create { OFlags::CREATE } else { OFlags::empty() };
        let opened = self.open_at(name, OFlags::RDWR | create).or_else(|errno| match errno {
            // What cannot be written, a copy kept elsewhere for one, can still be read and verified.
            Errno::ACCESS | Errno::PERM | Errno::ROFS => self.open_at(name, OFlags::RDONLY),
            errno => Err(errno),
        });
        let opened = opened.map_err(system)?;
        let id = id_of(&fstat(&opened).map_err(system)?);
        let file = Arc::new(Opened { file: opened.into(), id });
        files.insert(name.to_owned(), file.clone());
        Ok(file)
    }

    /// Opens a file of the directory. Where no descriptor is to be had, one that is held for that gives way.
    fn open_at(&self, name: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        let directory = self.shared.directory.as_ref().ok_or(Errno::NOENT)?;
        let try_open = || openat(&**directory, name, flags | OFlags::CLOEXEC, Mode::from_raw_mode(0o600));
        loop {
            match try_open() {
                Err(Errno::MFILE | Errno::NFILE) if self.give_way() => {}
                opened => {
                    self.hold_descriptors();
                    return opened;
                }
            }
        }
    }

    /// Lets go of a descriptor that is held. Whether there was one.
    fn give_way(&self) -> bool {
        self.shared.held.lock().is_ok_and(|mut held| held.pop().is_some())
    }

    /// Holds descriptors for what a writer will open, as far as they are to be had.
    fn hold_descriptors(&self) {
        let is_writer = self.shared.writer.lock().is_ok_and(|writer| writer.is_some());
        let (Some(directory), Ok(mut held)) = (&self.shared.directory, self.shared.held.lock()) else {
            return;
        };
        while is_writer
            && held.len() < HELD_DESCRIPTORS
            && let Ok(another) = directory.try_clone()
        {
            held.push(another);
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
            // File systems without preallocation: the space is taken when the zeros are written.
            Err(Errno::OPNOTSUPP) => length,
            Err(errno) => return Err(system(errno)),
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

    /// Sees to it that nobody else writes here: the path of the lock file leads to the file that this writer locked, and that holds
    /// this writer's epoch. One system call, where nothing changed.
    ///
    /// A directory that was renamed is still this writer's, as long as no other stands in its place.
    fn check(&self) -> Result<(), DiskError> {
        let mut writer = self.shared.writer.lock().map_err(|_| died())?;
        // Tests write without a lock.
        let Some(writer) = writer.as_mut() else { return Ok(()) };
        let found = match statat(CWD, &self.shared.lock_path, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) if id_of(&found) == writer.id => found,
            Ok(_) | Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS | Errno::PERM) => self.moved(writer)?,
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

    /// The lock file of a directory whose path leads elsewhere by now, or nowhere.
    fn moved(&self, writer: &Writer) -> Result<Stat, DiskError> {
        let held = statat(&**self.directory()?, LOCK_FILE, AtFlags::SYMLINK_NOFOLLOW);
        let held = held.ok().filter(|held| id_of(held) == writer.id);
        let Some(held) = held else {
            return Err(taken_over("the lock file was removed or replaced: another may write here"));
        };
        match statat(CWD, &self.shared.path, AtFlags::empty()) {
            // It was renamed, or this process may not go there any more.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS | Errno::PERM) => Ok(held),
            Ok(_) => Err(taken_over("the directory was moved away, and another stands in its place")),
            Err(errno) => Err(system(errno)),
        }
    }

    /// Sees to it that the name of a file leads to what was written.
    fn check_file(&self, name: &str, opened: &Opened) -> Result<(), DiskError> {
        if self.shared.writer.lock().map_err(|_| died())?.is_none() {
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

    /// Locks the directory itself, whose lock nobody can remove, where its file system can do so.
    fn lock_directory(&self) -> Result<(), DiskError> {
        match flock(&**self.directory()?, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) | Err(Errno::BADF | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS | Errno::NOLCK) => {
                Ok(())
            }
            Err(Errno::WOULDBLOCK) => Err(DiskError::Locked),
            Err(errno) => Err(system(errno)),
        }
    }

    /// Takes the right to write, and says so in the lock file.
    fn take_over(&self) -> Result<Writer, DiskError> {
        self.lock_directory()?;
        let file = File::from(self.open_at(LOCK_FILE, OFlags::RDWR | OFlags::CREATE).map_err(system)?);
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(DiskError::Locked),
            Err(errno) => return Err(system(errno)),
        }
        let mut epoch = to_hex(&random_bytes().map_err(failed)?).into_bytes();
        match file.write_all_at(&epoch, 0) {
            Ok(()) => {}
            // Without space for it the file itself has to do.
            Err(error) if matches!(failed(io::Error::from(error.kind())), DiskError::Full) => epoch.clear(),
            Err(error) => return Err(failed(error)),
        }
        let stat = fstat(&file).map_err(system)?;
        Ok(Writer {
            _kept: [KeptFromChildren::new(file.as_fd()), KeptFromChildren::new(self.directory()?.as_fd())],
            directory: self.directory()?.clone(),
            id: id_of(&stat),
            changed: changed_at(&stat),
            since: Instant::now(),
            file,
            epoch,
        })
    }
}

/// Device and number of a file.
fn id_of(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

fn changed_at(stat: &Stat) -> (i64, i64) {
    (stat.st_ctime, i64::try_from(stat.st_ctime_nsec).unwrap_or_default())
}

/// The epoch that a lock file holds.
fn epoch_in(file: &File) -> io::Result<Vec<u8>> {
    let mut epoch = vec![0; 64];
    let read = file.read_at(&mut epoch, 0)?;
    epoch.truncate(read);
    Ok(epoch)
}

impl Disk for FileDisk {
    fn lock(&mut self) -> Result<(), DiskError> {
        if self.shared.writer.lock().map_err(|_| died())?.is_some() {
            return self.check();
        }
        let writer = self.take_over()?;
        *self.shared.writer.lock().map_err(|_| died())? = Some(writer);
        self.check()?;
        self.hold_descriptors();
        // Of whoever was here before.
        self.shared.spare.discard();
        Ok(())
    }

    fn list(&self) -> Result<Vec<String>, DiskError> {
        let mut names = Vec::new();
        if self.shared.directory.is_none() {
            return Ok(names);
        }
        // Of its own, so that nobody moves its place meanwhile.
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
        if is_new && self.shared.spare.take(name) {
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
        self.hold_descriptors();
        Ok(())
    }

    fn sync_dir(&mut self) -> Result<(), DiskError> {
        fsync(self.directory()?.as_fd()).map_err(system)
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

fn taken_over(reason: &str) -> DiskError {
    DiskError::Failed(format!("{reason}; nothing more is written from here"))
}

fn system(errno: Errno) -> DiskError {
    failed(errno.into())
}

fn failed(error: io::Error) -> DiskError {
    match error.kind() {
        io::ErrorKind::NotFound => DiskError::Absent,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => DiskError::Full,
        _ => DiskError::Failed(error.to_string()),
    }
}
