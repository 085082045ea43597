//! Files that no agent may access: state, keys, policies, and the operator's settings.
//!
//! They are identified by device and inode, so that no other name leads to one, and by path, so that a replacement is
//! protected too.

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

/// Maximum number of entries that are examined beneath a protected directory; with more, a file with several links
/// counts as protected.
pub const PROTECTED_ENTRIES_MAX: usize = 100_000;

/// Device and inode number.
type FileId = (u64, u64);

/// Files and directories that no agent may access. The set can grow while it is in use, and never shrinks.
#[derive(Debug, Default)]
pub(crate) struct Protected {
    entries: RwLock<Vec<Entry>>,
}

#[derive(Debug)]
struct Entry {
    path: PathBuf,
    /// The files to which the path led when it was protected, held open: they stay protected wherever they are moved,
    /// and no other file gets their inode numbers.
    open_files: Vec<(FileId, OwnedFd)>,
    /// The directories beneath the path at the last scan, since another mount may lead to them.
    beneath: Vec<FileId>,
}

/// The protected files at one moment.
#[derive(Debug, Default)]
pub(crate) struct ProtectedPaths {
    ids: Vec<FileId>,
    /// All protected paths.
    paths: Vec<PathBuf>,
    /// Parent directory and name of each protected path.
    names: Vec<(FileId, OsString)>,
}

impl Protected {
    /// Protects `paths`, and everything beneath the directories among them.
    ///
    /// # Errors
    /// When an existing file cannot be examined.
    pub(crate) fn new(paths: impl IntoIterator<Item = PathBuf>) -> io::Result<Protected> {
        let protected = Protected::default();
        paths.into_iter().try_for_each(|path| protected.add(&path))?;
        Ok(protected)
    }

    /// Protects one more path, whether it exists or not.
    ///
    /// # Errors
    /// When it exists and cannot be examined.
    pub(crate) fn add(&self, path: &Path) -> io::Result<()> {
        let path = std::path::absolute(path)?;
        let mut now = open_at(&path)?;
        let died = |_| io::Error::other("a thread died while it held the protected files");
        let mut entries = self.entries.write().map_err(died)?;
        match entries.iter_mut().find(|entry| entry.path == path) {
            Some(entry) => {
                // A file without a name needs no protection: no path leads to it.
                entry.open_files.retain(|(_, file)| fstat(file).is_ok_and(|stat| stat.st_nlink > 0));
                now.retain(|(node, _)| entry.open_files.iter().all(|(known, _)| known != node));
                entry.open_files.extend(now);
            }
            None => entries.push(Entry { path, open_files: now, beneath: Vec::new() }),
        }
        Ok(())
    }

    /// Scans for directories beneath the protected ones, as far as this process may read them.
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
            // Directories found before an error are protected nevertheless.
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

    /// Returns the files that are protected at this moment.
    ///
    /// # Errors
    /// When a protected path cannot be examined.
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

/// Opens the file to which a path leads, and the link itself if the path is one.
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

/// Walks the entries beneath a directory, only on `device` if one is given, until `found` returns true; returns whether
/// it did. A path that is not a directory, or that this process may not read, has no entries.
///
/// # Errors
/// When there are more than [`PROTECTED_ENTRIES_MAX`] entries, or the disk fails.
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
                return Err(io::Error::other("a protected directory has too many entries to be watched"));
            }
            let path = entry?.path();
            // An entry that has vanished, or is inaccessible, is skipped.
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

/// Returns the ids of the file to which a path leads, and of the link itself if the path is one.
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

    /// Whether a file with several links has one of them beneath a protected directory; true when that cannot be
    /// determined.
    fn covers_another_name(&self, stat: &Stat) -> bool {
        let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        let is_it = |path: &PathBuf| {
            walk(path, Some(stat.st_dev), &mut |other| file_id(other) == file_id(stat)).unwrap_or(true)
        };
        is_file && stat.st_nlink > 1 && self.paths.iter().any(is_it)
    }

    /// Whether a name in this directory is that of a protected path, existing or not, or of its draft (`NAME.….new`) or
    /// lock (`NAME.lock`).
    pub(crate) fn covers_name(&self, directory: BorrowedFd<'_>, name: &str) -> io::Result<bool> {
        let here = file_id(&fstat(directory)?);
        let name = OsStr::from_bytes(name.as_bytes());
        Ok(self.names.iter().any(|(parent, own)| *parent == here && (own == name || is_beside(name, own))))
    }

    /// Whether the directory is protected or beneath a protected directory.
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

/// Whether `name` is the name of a draft or lock of the file `own`.
fn is_beside(name: &OsStr, own: &OsStr) -> bool {
    let rest = name.as_bytes().strip_prefix(own.as_bytes()).and_then(|rest| rest.strip_prefix(b"."));
    rest.is_some_and(|rest| matches!(rest, b"lock" | b"new") || rest.ends_with(b".new"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_stops_at_its_limit() {
        let root = std::env::temp_dir().join(format!("ak-protected-{}", std::process::id()));
        std::fs::create_dir_all(root.join("deep")).unwrap();
        std::fs::write(root.join("deep/file"), "x").unwrap();
        let walk_at_most = |entries_max| walk_some(&root, None, entries_max, &mut |_| false);
        assert!(!walk_at_most(2).unwrap());
        assert!(walk_at_most(1).unwrap_err().to_string().contains("too many entries"));
        std::fs::remove_dir_all(&root).unwrap();
    }
}
