//! What no agent may touch: state, keys, policies, the operator's settings.
//!
//! By device and inode, so that no other name leads to it; and by path, so that what takes its place is as far away.

use std::{
    ffi::{OsStr, OsString},
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
    sync::RwLock,
};

use rustix::{
    fs::{FileType, Mode, OFlags, Stat, fstat, lstat, open, openat, stat},
    io::Errno,
};

/// Most files and directories beneath a protected one that are walk_at_most at.
pub const PROTECTED_ENTRIES_MAX: usize = 100_000;

/// Device and inode.
type FileId = (u64, u64);

/// Files and directories that no agent may touch. It can grow while it is in use, and never shrinks.
#[derive(Debug, Default)]
pub(crate) struct Protected {
    entries: RwLock<Vec<Entry>>,
}

#[derive(Debug)]
struct Entry {
    path: PathBuf,
    /// What stood there when it was protected: it stays protected wherever it goes. As long as it is open_files, no other file is
    /// given its number.
    open_files: Vec<(FileId, OwnedFd)>,
    /// The directories beneath it, when they were last walk_at_most for: another mount may lead to them.
    beneath: Vec<FileId>,
}

/// What is protected at one moment.
#[derive(Debug, Default)]
pub(crate) struct ProtectedPaths {
    ids: Vec<FileId>,
    /// All protected paths.
    paths: Vec<PathBuf>,
    /// Directory and name of each place.
    names: Vec<(FileId, OsString)>,
}

impl Protected {
    /// Protects these paths, and everything beneath those that are directories.
    ///
    /// # Errors
    /// When one that is there cannot be walk_at_most at.
    pub(crate) fn new(paths: impl IntoIterator<Item = PathBuf>) -> io::Result<Protected> {
        let protected = Protected::default();
        paths.into_iter().try_for_each(|path| protected.add(&path))?;
        Ok(protected)
    }

    /// Protects one more, whether it is there or not.
    ///
    /// # Errors
    /// When it is there and cannot be walk_at_most at.
    pub(crate) fn add(&self, path: &Path) -> io::Result<()> {
        let path = std::path::absolute(path)?;
        let mut now = open_at(&path)?;
        let died = |_| io::Error::other("a thread died while it held the protected files");
        let mut entries = self.entries.write().map_err(died)?;
        match entries.iter_mut().find(|entry| entry.path == path) {
            Some(entry) => {
                // What has no name any more needs no protection: nobody can reach it.
                entry.open_files.retain(|(_, file)| fstat(file).is_ok_and(|stat| stat.st_nlink > 0));
                now.retain(|(node, _)| entry.open_files.iter().all(|(known, _)| known != node));
                entry.open_files.extend(now);
            }
            None => entries.push(Entry { path, open_files: now, beneath: Vec::new() }),
        }
        Ok(())
    }

    /// Looks for the directories beneath what is protected, as far as this process may.
    pub(crate) fn rescan(&self) {
        let Ok(paths) = self
            .entries
            .read()
            .map(|entries| entries.iter().map(|entry| entry.path.clone()).collect::<Vec<_>>())
        else {
            return;
        };
        for path in paths {
            let mut beneath = Vec::new();
            // Where it breaks off, what was found is protected all the same.
            let _ = walk(&path, None, &mut |stat| {
                if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                    beneath.push(file_id(stat));
                }
                false
            });
            if let Ok(mut entries) = self.entries.write()
                && let Some(entry) = entries.iter_mut().find(|entry| entry.path == path)
            {
                entry.beneath = beneath;
            }
        }
    }

    /// What is protected now.
    ///
    /// # Errors
    /// When a protected path cannot be walk_at_most at: then nobody knows what it is.
    pub(crate) fn paths(&self) -> io::Result<ProtectedPaths> {
        let died = |_| io::Error::other("a thread died while it held the protected files");
        let mut protected = ProtectedPaths::default();
        for entry in self.entries.read().map_err(died)?.iter() {
            protected.ids.extend(entry.open_files.iter().map(|(node, _)| node));
            protected.ids.extend(&entry.beneath);
            protected.ids.extend(file_ids_at(&entry.path)?);
            protected.paths.push(entry.path.clone());
            if let (Some(parent), Some(name)) = (entry.path.parent(), entry.path.file_name())
                && let Some(parent) = file_id_at(stat(parent))?
            {
                protected.names.push((parent, name.to_owned()));
            }
        }
        Ok(protected)
    }
}

/// Holds what a path leads to, and the link that it may be itself.
fn open_at(path: &Path) -> io::Result<Vec<(FileId, OwnedFd)>> {
    let mut open_files = Vec::new();
    for flags in [OFlags::PATH | OFlags::CLOEXEC, OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW] {
        match open(path, flags, Mode::empty()) {
            Ok(file) => {
                let id = file_id(&fstat(&file)?);
                if open_files.iter().all(|(known, _)| *known != id) {
                    open_files.push((id, file));
                }
            }
            Err(Errno::NOENT | Errno::NOTDIR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(open_files)
}

/// Looks at what is beneath a directory, on `device` only if one is named, until `found` says that it is enough; says whether
/// it did. A path that is no directory has nothing beneath it, and neither has one that this process may not read.
///
/// # Errors
/// When there are more than [`PROTECTED_ENTRIES_MAX`], or the disk fails.
fn walk(root: &Path, device: Option<u64>, found: &mut impl FnMut(&Stat) -> bool) -> io::Result<bool> {
    walk_some(root, device, PROTECTED_ENTRIES_MAX, found)
}

fn walk_some(
    root: &Path,
    device: Option<u64>,
    entries_max: usize,
    found: &mut impl FnMut(&Stat) -> bool,
) -> io::Result<bool> {
    let (mut directories, mut seen) = (vec![root.to_owned()], 0);
    while let Some(directory) = directories.pop() {
        let entries = match std::fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::PermissionDenied
                ) =>
            {
                continue;
            }
            Err(error) => return Err(error),
        };
        for entry in entries {
            seen += 1;
            if seen > entries_max {
                return Err(io::Error::other("there is too much beneath a protected directory"));
            }
            let path = entry?.path();
            // What is gone meanwhile is beneath it no more.
            let stat = match lstat(&path) {
                Err(Errno::NOENT | Errno::ACCESS) => continue,
                stat => stat?,
            };
            if found(&stat) {
                return Ok(true);
            }
            let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
            if is_directory && device.is_none_or(|device| device == stat.st_dev) {
                directories.push(path);
            }
        }
    }
    Ok(false)
}

/// What a path leads to, and the link that it may be itself.
fn file_ids_at(path: &Path) -> io::Result<impl Iterator<Item = FileId> + use<>> {
    Ok(file_id_at(stat(path))?.into_iter().chain(file_id_at(lstat(path))?))
}

fn file_id_at(found: Result<Stat, Errno>) -> io::Result<Option<FileId>> {
    match found {
        Ok(stat) => Ok(Some(file_id(&stat))),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

fn file_id(stat: &Stat) -> FileId {
    (stat.st_dev, stat.st_ino)
}

impl ProtectedPaths {
    pub(crate) fn covers(&self, stat: &Stat) -> bool {
        self.ids.contains(&file_id(stat)) || self.covers_another_name(stat)
    }

    /// Whether a file with several names has one of them beneath a protected directory. Where that cannot be seen, it has.
    fn covers_another_name(&self, stat: &Stat) -> bool {
        let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        let is_it = |path: &PathBuf| {
            walk(path, Some(stat.st_dev), &mut |other| file_id(other) == file_id(stat)).unwrap_or(true)
        };
        is_file && stat.st_nlink > 1 && self.paths.iter().any(is_it)
    }

    /// Whether a name in this directory is a protected place, taken or free, or that of a temp_file of one or of its lock:
    /// `NAME.….new`, `NAME.lock`.
    pub(crate) fn covers_name(&self, directory: BorrowedFd<'_>, name: &str) -> io::Result<bool> {
        let here = file_id(&fstat(directory)?);
        let name = OsStr::from_bytes(name.as_bytes());
        Ok(self.names.iter().any(|(parent, own)| *parent == here && (own == name || is_beside(name, own))))
    }

    /// Whether the directory is protected or lies beneath one that is.
    pub(crate) fn covers_directory(&self, directory: BorrowedFd<'_>) -> io::Result<bool> {
        if self.ids.is_empty() {
            return Ok(false);
        }
        let mut here = fstat(directory)?;
        if self.covers(&here) {
            return Ok(true);
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut current = openat(directory, "..", flags, Mode::empty())?;
        loop {
            let parent = fstat(&current)?;
            if file_id(&parent) == file_id(&here) {
                return Ok(false);
            }
            if self.covers(&parent) {
                return Ok(true);
            }
            here = parent;
            current = openat(current.as_fd(), "..", flags, Mode::empty())?;
        }
    }
}

/// Whether a name is that of a temp_file or of the lock of another.
fn is_beside(name: &OsStr, own: &OsStr) -> bool {
    let rest = name.as_bytes().strip_prefix(own.as_bytes()).and_then(|rest| rest.strip_prefix(b"."));
    rest.is_some_and(|rest| matches!(rest, b"lock" | b"new") || rest.ends_with(b".new"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_much_is_looked_at_and_no_more() {
        let root = std::env::temp_dir().join(format!("ak-protected-{}", std::process::id()));
        std::fs::create_dir_all(root.join("deep")).unwrap();
        std::fs::write(root.join("deep/file"), "x").unwrap();
        let walk_at_most = |entries_max| walk_some(&root, None, entries_max, &mut |_| false);
        assert!(!walk_at_most(2).unwrap());
        assert!(walk_at_most(1).unwrap_err().to_string().contains("too much"));
        std::fs::remove_dir_all(&root).unwrap();
    }
}
