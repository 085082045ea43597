//! Files, opened beneath the root that the gate granted.
//!
//! The path is walked one component at a time from the root's descriptor, each opened without following a symbolic
//! link and on the root's own file system. Canonical paths hold no `..`. So what is opened is what was checked, whatever
//! is renamed meanwhile.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
};

use ak_json::{Value, object};
use ak_kernel::{Code, Completion, FileAction};
use rustix::{
    fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, fstat, openat, renameat, statat, unlinkat},
    io::Errno,
};

/// Most names in one listing.
pub const LIST_ENTRIES_MAX: usize = 100_000;

/// Files and directories that no agent may touch, by device and inode: state, keys, policies.
#[derive(Clone, Debug, Default)]
pub(crate) struct Protected {
    nodes: Vec<(u64, u64)>,
}

impl Protected {
    /// Protects these paths, and everything beneath those that are directories.
    ///
    /// # Errors
    /// When one that is there cannot be looked at.
    pub(crate) fn new(paths: &[PathBuf]) -> io::Result<Protected> {
        let mut nodes = Vec::new();
        for path in paths {
            match rustix::fs::stat(path) {
                Ok(stat) => nodes.push(node(&stat)),
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(Protected { nodes })
    }

    fn covers(&self, stat: &Stat) -> bool {
        self.nodes.contains(&node(stat))
    }

    /// Whether the directory is protected or lies beneath one that is.
    fn covers_directory(&self, directory: BorrowedFd<'_>) -> io::Result<bool> {
        if self.nodes.is_empty() {
            return Ok(false);
        }
        let mut stat = fstat(directory)?;
        if self.covers(&stat) {
            return Ok(true);
        }
        let mut current = open_directory(directory, "..")?;
        loop {
            let parent = fstat(&current)?;
            if node(&parent) == node(&stat) {
                return Ok(false);
            }
            if self.covers(&parent) {
                return Ok(true);
            }
            stat = parent;
            current = open_directory(current.as_fd(), "..")?;
        }
    }
}

fn node(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

/// Why a file effect did not happen.
#[derive(Debug, thiserror::Error)]
enum FileError {
    #[error("{0}")]
    System(#[from] io::Error),
    #[error("there is a symbolic link in the path")]
    Link,
    #[error("the path crosses into another file system")]
    Mount,
    #[error("it is {0}, not a {1}")]
    Kind(&'static str, &'static str),
    #[error("it has several links")]
    HardLink,
    #[error("the kernel's own files are out of reach")]
    Protected,
    #[error("it is longer than {0} bytes")]
    TooLong(u64),
    #[error("it does not lie beneath the granted root")]
    Outside,
}

impl From<Errno> for FileError {
    fn from(errno: Errno) -> FileError {
        FileError::System(errno.into())
    }
}

impl FileError {
    fn code(&self) -> Code {
        match self {
            Self::System(error) if error.kind() == io::ErrorKind::NotFound => Code::NotFound,
            Self::System(_) | Self::Kind(..) => Code::Io,
            Self::Link | Self::Mount | Self::HardLink | Self::Protected | Self::Outside => Code::PolicyDeny,
            Self::TooLong(_) => Code::BufferOverflow,
        }
    }
}

/// Performs one file effect.
pub(crate) fn perform(root: &str, path: &str, action: &FileAction, protected: &Protected) -> Completion {
    match attempt(root, path, action, protected) {
        Ok(completion) => completion,
        Err(error) => Completion::failed(error.code(), format!("{path}: {error}")),
    }
}

fn attempt(
    root: &str,
    path: &str,
    action: &FileAction,
    protected: &Protected,
) -> Result<Completion, FileError> {
    let beneath = path.strip_prefix(root.trim_end_matches('/')).ok_or(FileError::Outside)?;
    let mut components: Vec<&str> = beneath.split('/').filter(|component| !component.is_empty()).collect();
    let name = components.pop().unwrap_or(".");
    let parent = walk(root, &components)?;
    if protected.covers_directory(parent.as_fd())? {
        return Err(FileError::Protected);
    }
    match action {
        FileAction::Read { bytes_max } => read(parent.as_fd(), name, *bytes_max, protected),
        FileAction::Write { data } => write(parent.as_fd(), name, data, protected),
        FileAction::List => list(parent.as_fd(), name, protected),
        FileAction::Stat => describe(parent.as_fd(), name, protected),
        FileAction::Delete => delete(parent.as_fd(), name, protected),
    }
}

/// Opens the root and goes down from it.
fn walk(root: &str, components: &[&str]) -> Result<OwnedFd, FileError> {
    let mut current = openat(CWD, root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let device = fstat(&current)?.st_dev;
    for component in components {
        current = match open_directory(current.as_fd(), component) {
            Ok(next) => next,
            Err(error) => return Err(link_or(current.as_fd(), component, error)),
        };
        if fstat(&current)?.st_dev != device {
            return Err(FileError::Mount);
        }
    }
    Ok(current)
}

/// What cannot be entered may be a symbolic link, which deserves its own name.
fn link_or(parent: BorrowedFd<'_>, name: &str, error: io::Error) -> FileError {
    match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink => FileError::Link,
        Ok(_) | Err(_) => error.into(),
    }
}

fn open_directory(parent: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, io::Error> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(parent, name, flags, Mode::empty())?)
}

/// Opens a file or directory for use and looks at what was opened.
fn open(
    parent: BorrowedFd<'_>,
    name: &str,
    flags: OFlags,
    protected: &Protected,
) -> Result<(File, Stat), FileError> {
    // NONBLOCK: opening a fifo must not hang; it is refused below.
    let flags = flags | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match openat(parent, name, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::LOOP) => return Err(FileError::Link),
        Err(errno) => return Err(errno.into()),
    };
    let stat = fstat(&file)?;
    if fstat(parent)?.st_dev != stat.st_dev {
        return Err(FileError::Mount);
    }
    if protected.covers(&stat) {
        return Err(FileError::Protected);
    }
    Ok((File::from(file), stat))
}

fn read(
    parent: BorrowedFd<'_>,
    name: &str,
    bytes_max: u64,
    protected: &Protected,
) -> Result<Completion, FileError> {
    let (file, stat) = open(parent, name, OFlags::empty(), protected)?;
    regular(&stat)?;
    let mut bytes = Vec::new();
    file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(FileError::TooLong(bytes_max));
    }
    Ok(Completion::File(bytes.into()))
}

/// Writes a new file beside the old one and renames it over: a reader sees the old content or the new.
fn write(
    parent: BorrowedFd<'_>,
    name: &str,
    data: &[u8],
    protected: &Protected,
) -> Result<Completion, FileError> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let mode = match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => {
            regular(&stat)?;
            if protected.covers(&stat) {
                return Err(FileError::Protected);
            }
            if stat.st_nlink > 1 {
                return Err(FileError::HardLink);
            }
            Mode::from_raw_mode(stat.st_mode & 0o777)
        }
        Err(Errno::NOENT) => Mode::from_raw_mode(0o644),
        Err(errno) => return Err(errno.into()),
    };
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    let temporary = format!(".ak-{}-{number}.tmp", std::process::id());
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = File::from(openat(parent, &*temporary, flags, mode)?);
    let written = file.write_all(data).and_then(|()| file.sync_all());
    let renamed = written.and_then(|()| Ok(renameat(parent, &*temporary, parent, name)?));
    if let Err(error) = renamed {
        // The write failed already; a temporary file that cannot be removed either is harmless.
        let _ = unlinkat(parent, &*temporary, AtFlags::empty());
        return Err(error.into());
    }
    Ok(Completion::Done)
}

fn list(parent: BorrowedFd<'_>, name: &str, protected: &Protected) -> Result<Completion, FileError> {
    let (directory, _) = open(parent, name, OFlags::DIRECTORY, protected)?;
    if protected.covers_directory(directory.as_fd())? {
        return Err(FileError::Protected);
    }
    let mut entries: Vec<(String, &'static str)> = Vec::new();
    for entry in Dir::read_from(&directory)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name != "." && name != ".." {
            entries.push((name, kind_name(entry.file_type())));
        }
        if entries.len() > LIST_ENTRIES_MAX {
            return Err(FileError::TooLong(LIST_ENTRIES_MAX as u64));
        }
    }
    entries.sort_unstable();
    let entries: Vec<Value> =
        entries.into_iter().map(|(name, kind)| object! { "name": name, "kind": kind }).collect();
    Ok(Completion::Value(object! { "entries": entries }))
}

fn describe(parent: BorrowedFd<'_>, name: &str, protected: &Protected) -> Result<Completion, FileError> {
    let stat = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if protected.covers(&stat) {
        return Err(FileError::Protected);
    }
    let modified_us = i128::from(stat.st_mtime) * 1_000_000 + i128::from(stat.st_mtime_nsec) / 1000;
    Ok(Completion::Value(object! {
        "kind": kind_name(FileType::from_raw_mode(stat.st_mode)),
        "size": u64::try_from(stat.st_size).unwrap_or(0),
        "modified": u64::try_from(modified_us).unwrap_or(0),
    }))
}

fn delete(parent: BorrowedFd<'_>, name: &str, protected: &Protected) -> Result<Completion, FileError> {
    let stat = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if protected.covers(&stat) {
        return Err(FileError::Protected);
    }
    let flags = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => AtFlags::REMOVEDIR,
        _ => AtFlags::empty(),
    };
    unlinkat(parent, name, flags)?;
    Ok(Completion::Done)
}

fn regular(stat: &Stat) -> Result<(), FileError> {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok(()),
        FileType::Symlink => Err(FileError::Link),
        other => Err(FileError::Kind(kind_name(other), "file")),
    }
}

fn kind_name(kind: FileType) -> &'static str {
    match kind {
        FileType::RegularFile => "file",
        FileType::Directory => "directory",
        FileType::Symlink => "link",
        FileType::Fifo => "fifo",
        FileType::Socket => "socket",
        FileType::CharacterDevice | FileType::BlockDevice => "device",
        FileType::Unknown => "unknown",
    }
}
