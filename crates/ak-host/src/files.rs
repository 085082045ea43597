//! Files, opened beneath the root that the gate granted.
//!
//! A path is resolved from the root's descriptor, through no symbolic link and on the root's own mount. Canonical paths
//! hold no `..`. So what is opened is what was checked, whatever is renamed meanwhile.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::fd::{AsFd, BorrowedFd},
};

use ak_json::{Value, object};
use ak_kernel::{Code, Completion, FileAction};
use rustix::{
    fs::{
        AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Uid, fchmod, fchown, fstat, fsync, openat, renameat,
        statat, unlinkat,
    },
    io::Errno,
};

use crate::{
    beneath::{Way, is_procfs},
    protected::{Fence, Protected},
    roots::Roots,
};

/// Most names in one listing.
pub const LIST_ENTRIES_MAX: usize = 100_000;
/// Most bytes of one listing, as JSON writes the names.
pub const LIST_BYTES_MAX: usize = 4 << 20;

/// What file effects rest on.
#[derive(Debug, Default)]
pub(crate) struct Files {
    pub(crate) protected: Protected,
    pub(crate) roots: Roots,
}

/// Why a file effect did not happen.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
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

impl Files {
    /// Performs one file effect.
    pub(crate) fn perform(&self, root: &str, path: &str, action: &FileAction) -> Completion {
        match self.attempt(root, path, action) {
            Ok(completion) => completion,
            Err(error) => Completion::failed(error.code(), format!("{path}: {error}")),
        }
    }

    fn attempt(&self, root: &str, path: &str, action: &FileAction) -> Result<Completion, FileError> {
        let beneath = path.strip_prefix(root.trim_end_matches('/')).ok_or(FileError::Outside)?;
        if !(beneath.is_empty() || beneath.starts_with('/')) {
            return Err(FileError::Outside);
        }
        let mut components: Vec<&str> =
            beneath.split('/').filter(|component| !component.is_empty()).collect();
        let name = components.pop().unwrap_or(".");
        let (way, root) = (Way::best(), self.roots.find(root)?);
        let parent = way.open(way.root(&root)?.as_fd(), &components, OFlags::PATH | OFlags::DIRECTORY)?;
        let fence = self.protected.fence()?;
        let place = Place { way, parent: parent.as_fd(), name, fence: &fence };
        if fence.covers_directory(place.parent)? || fence.covers_name(place.parent, name)? {
            return Err(FileError::Protected);
        }
        // What processes hold, this one's keys among it, lies on procfs in directories named by numbers.
        let is_process = |component: &str| component.bytes().all(|byte| byte.is_ascii_digit());
        let mut names =
            root.split('/').filter(|component| !component.is_empty()).chain(components).chain([name]);
        if names.any(is_process) && is_procfs(place.parent)? {
            return Err(FileError::Protected);
        }
        match action {
            FileAction::Read { bytes_max } => place.read(*bytes_max),
            FileAction::Write { data } => place.write(data),
            FileAction::List => place.list(),
            FileAction::Stat => place.describe(),
            FileAction::Delete => place.delete(),
        }
    }
}

/// Where a file effect happens: a name in a directory that is held open.
struct Place<'p> {
    way: Way,
    parent: BorrowedFd<'p>,
    name: &'p str,
    fence: &'p Fence,
}

impl Place<'_> {
    /// Opens what stands there and looks at what was opened.
    fn open(&self, flags: OFlags) -> Result<(File, Stat), FileError> {
        // NONBLOCK: opening a fifo must not hang; it is refused below.
        let components: &[&str] = if self.name == "." { &[] } else { &[self.name] };
        let file = self.way.open(self.parent, components, flags | OFlags::RDONLY | OFlags::NONBLOCK)?;
        let stat = fstat(&file)?;
        if self.fence.covers(&stat) {
            return Err(FileError::Protected);
        }
        Ok((File::from(file), stat))
    }

    /// Describes what stands there without opening it: not a link's target, nothing of another mount.
    fn look(&self) -> Result<Stat, FileError> {
        let stat = statat(self.parent, self.name, AtFlags::SYMLINK_NOFOLLOW)?;
        if self.fence.covers(&stat) {
            return Err(FileError::Protected);
        }
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink && self.name != "." {
            self.way.open(self.parent, &[self.name], OFlags::PATH)?;
        }
        Ok(stat)
    }

    fn read(&self, bytes_max: u64) -> Result<Completion, FileError> {
        // Before it is opened: to open a fifo or a device is to do something with it.
        regular(&statat(self.parent, self.name, AtFlags::SYMLINK_NOFOLLOW)?)?;
        let (file, stat) = self.open(OFlags::empty())?;
        regular(&stat)?;
        let mut bytes = Vec::new();
        file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > bytes_max {
            return Err(FileError::TooLong(bytes_max));
        }
        Ok(Completion::File(bytes.into()))
    }

    /// Writes a new file beside the old one and renames it over: a reader sees the old content or the new.
    fn write(&self, data: &[u8]) -> Result<Completion, FileError> {
        let before = match self.look() {
            Ok(stat) => {
                regular(&stat)?;
                if stat.st_nlink > 1 {
                    return Err(FileError::HardLink);
                }
                Some(stat)
            }
            Err(FileError::System(error)) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        // Nobody can have taken a name that nobody could guess.
        let number = getrandom::u64().map_err(|error| io::Error::other(error.to_string()))?;
        let temporary = format!(".ak-{number:016x}.tmp");
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(before.map_or(0o644, |stat| stat.st_mode & 0o777));
        let mut file = File::from(openat(self.parent, &*temporary, flags, mode)?);
        let written = file.write_all(data).and_then(|()| {
            if let Some(stat) = before {
                // Whoever owned the file goes on owning it, where this process may give files away.
                let (owner, group) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
                let _ = fchown(&file, Some(owner), Some(group));
                // It keeps its mode, whatever the process masks.
                fchmod(&file, mode)?;
            }
            file.sync_all()
        });
        let renamed = written.and_then(|()| Ok(renameat(self.parent, &*temporary, self.parent, self.name)?));
        if let Err(error) = renamed {
            // The write failed already; a temporary file that cannot be removed either is harmless.
            let _ = unlinkat(self.parent, &*temporary, AtFlags::empty());
            return Err(error.into());
        }
        self.settle()?;
        Ok(Completion::Done)
    }

    /// Sees to it that the directory's new names are on the disk.
    fn settle(&self) -> Result<(), FileError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let synced = openat(self.parent, ".", flags, Mode::empty()).and_then(fsync);
        match synced {
            // A directory that may be written and not read, or a file system that does not know of it.
            Ok(()) | Err(Errno::ACCESS | Errno::INVAL | Errno::ROFS) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    fn list(&self) -> Result<Completion, FileError> {
        let (directory, _) = self.open(OFlags::DIRECTORY)?;
        if self.fence.covers_directory(directory.as_fd())? {
            return Err(FileError::Protected);
        }
        let mut entries: Vec<(String, &'static str)> = Vec::new();
        let mut bytes = 0;
        for entry in Dir::read_from(&directory)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name != "." && name != ".." {
                bytes += Value::from(&name).json_len();
                entries.push((name, kind_name(entry.file_type())));
            }
            if entries.len() > LIST_ENTRIES_MAX {
                return Err(FileError::TooLong(LIST_ENTRIES_MAX as u64));
            }
            if bytes > LIST_BYTES_MAX {
                return Err(FileError::TooLong(LIST_BYTES_MAX as u64));
            }
        }
        entries.sort_unstable();
        let entries: Vec<Value> =
            entries.into_iter().map(|(name, kind)| object! { "name": name, "kind": kind }).collect();
        Ok(Completion::Value(object! { "entries": entries }))
    }

    fn describe(&self) -> Result<Completion, FileError> {
        let stat = self.look()?;
        let modified_us = i128::from(stat.st_mtime) * 1_000_000 + i128::from(stat.st_mtime_nsec) / 1000;
        Ok(Completion::Value(object! {
            "kind": kind_name(FileType::from_raw_mode(stat.st_mode)),
            "size": u64::try_from(stat.st_size).unwrap_or(0),
            "modified": u64::try_from(modified_us).unwrap_or(0),
        }))
    }

    fn delete(&self) -> Result<Completion, FileError> {
        let stat = self.look()?;
        let flags = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => AtFlags::REMOVEDIR,
            _ => AtFlags::empty(),
        };
        unlinkat(self.parent, self.name, flags)?;
        self.settle()?;
        Ok(Completion::Done)
    }
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
