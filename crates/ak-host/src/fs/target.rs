//! The target of a file effect: a name in an open directory.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use ak_json::{Value, object};
use ak_kernel::Completion;
use rustix::{
    fs::{
        Access, AtFlags, Dir, FileType, Mode, OFlags, Stat, accessat, fstat, fsync, mkdirat, openat,
        renameat, statat, unlinkat,
    },
    io::Errno,
};

use crate::{
    fs::{error::FileError, preserve::preserve_metadata, protected::ProtectedPaths, resolve::Resolver},
    temp_file::{TempFile, is_temp_name},
};

/// Maximum number of names in a listing; listing a larger directory fails.
pub const LIST_ENTRIES_MAX: usize = 100_000;
/// Maximum total length of the names in a listing, encoded as JSON, in bytes; listing a larger directory fails.
pub const LIST_BYTES_MAX: usize = 4 << 20;
/// Maximum number of tries of a write when other processes change the file meanwhile.
const WRITE_TRIES_MAX: usize = 8;
/// The mode of a new file before the process's umask or the directory's default access list applies.
const NEW_FILE_MODE: Mode = Mode::from_raw_mode(0o666);
/// The mode of a new directory, before the same.
const NEW_DIRECTORY_MODE: Mode = Mode::from_raw_mode(0o777);

/// A name in an open directory, on which a file effect acts.
pub(super) struct FileTarget<'p> {
    pub(super) resolver: Resolver,
    pub(super) parent: BorrowedFd<'p>,
    pub(super) name: &'p str,
    pub(super) protected: &'p ProtectedPaths,
}

impl FileTarget<'_> {
    /// Opens the target for reading, and returns it with its stat; fails if the opened file is protected.
    fn open(&self, flags: OFlags) -> Result<(File, Stat), FileError> {
        // NONBLOCK: opening a fifo must not hang; the caller rejects it.
        let components: &[&str] = if self.name == "." { &[] } else { &[self.name] };
        let file = self.resolver.open(self.parent, components, flags | OFlags::RDONLY | OFlags::NONBLOCK)?;
        let stat = fstat(&file)?;
        if self.protected.covers(&stat) {
            return Err(FileError::Protected);
        }
        Ok((File::from(file), stat))
    }

    /// Returns the stat of the target itself, without following a link; fails if the target is protected or on another
    /// mount.
    fn stat_checked(&self) -> Result<Stat, FileError> {
        let stat = statat(self.parent, self.name, AtFlags::SYMLINK_NOFOLLOW)?;
        if self.protected.covers(&stat) {
            return Err(FileError::Protected);
        }
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink && self.name != "." {
            self.resolver.open(self.parent, &[self.name], OFlags::PATH)?;
        }
        Ok(stat)
    }

    pub(super) fn read(&self, bytes_max: u64) -> Result<Completion, FileError> {
        // Checked before opening: opening a fifo or a device has side effects.
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

    /// Writes a temporary file and renames it over the target, so that a reader sees either the old or the new content.
    pub(super) fn write(&self, data: &[u8]) -> Result<Completion, FileError> {
        for _ in 0..WRITE_TRIES_MAX {
            let is_written = match self.stat_checked() {
                Ok(stat) => self.write_over(&stat, data)?,
                Err(FileError::System(error)) if error.kind() == io::ErrorKind::NotFound => {
                    self.write_new(data)?
                }
                Err(error) => return Err(error),
            };
            if is_written {
                self.sync_directory()?;
                return Ok(Completion::Done);
            }
        }
        Err(FileError::System(io::Error::other(
            "the file kept changing while it was written; gave up after 8 tries",
        )))
    }

    /// Creates the target with the mode and access list that the system gives new files in the directory. Returns false
    /// when the name was taken meanwhile.
    fn write_new(&self, data: &[u8]) -> Result<bool, FileError> {
        let mut temp_file = TempFile::create(self.parent, NEW_FILE_MODE)?;
        temp_file.file.write_all(data)?;
        temp_file.file.sync_all()?;
        match temp_file.rename_new(self.name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            placed => Ok(placed.map(|()| true)?),
        }
    }

    /// Replaces the target by a file with the same metadata and new content. Returns false when the target changed
    /// meanwhile.
    fn write_over(&self, before: &Stat, data: &[u8]) -> Result<bool, FileError> {
        regular(before)?;
        if before.st_nlink > 1 {
            return Err(FileError::HardLink);
        }
        // Renaming over a file needs no permission to write it, but a write does.
        self.may_write()?;
        let old = self.open_replaced()?;
        let mut temp_file = TempFile::create(self.parent, Mode::RUSR | Mode::WUSR)?;
        temp_file.file.write_all(data)?;
        preserve_metadata(old.as_fd(), before, &temp_file.file)?;
        temp_file.file.sync_all()?;
        if !is_same(before, &fstat(&old)?) || !is_same(before, &self.stat_checked()?) {
            return Ok(false);
        }
        temp_file.rename_over(self.name)?;
        Ok(true)
    }

    /// Checks whether this process may write the target.
    fn may_write(&self) -> Result<(), Errno> {
        match accessat(self.parent, self.name, Access::WRITE_OK, AtFlags::EACCESS) {
            // Some sandboxes forbid the system call that takes the flag. Without the flag, the system checks the real
            // user instead of the effective one.
            Err(Errno::PERM) => accessat(self.parent, self.name, Access::WRITE_OK, AtFlags::empty()),
            told => told,
        }
    }

    /// Opens the file that is to be replaced, to read its metadata: for reading, or for writing if reading is not
    /// permitted.
    fn open_replaced(&self) -> Result<OwnedFd, FileError> {
        let open = |flags| self.resolver.open(self.parent, &[self.name], flags | OFlags::NONBLOCK);
        match open(OFlags::RDONLY) {
            Err(FileError::System(error)) if error.kind() == io::ErrorKind::PermissionDenied => {
                open(OFlags::WRONLY)
            }
            opened => opened,
        }
    }

    /// Syncs the directory, so that changes of its names are durable.
    fn sync_directory(&self) -> Result<(), FileError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let synced = openat(self.parent, ".", flags, Mode::empty()).and_then(fsync);
        match synced {
            // The directory is writable but unreadable, or its file system cannot sync directories.
            Ok(()) | Err(Errno::ACCESS | Errno::INVAL | Errno::ROFS) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    pub(super) fn list(&self) -> Result<Completion, FileError> {
        let (directory, _) = self.open(OFlags::DIRECTORY)?;
        if self.protected.covers_directory(directory.as_fd())? {
            return Err(FileError::Protected);
        }
        let mut entries: Vec<(String, &'static str, bool)> = Vec::new();
        let mut bytes = 0;
        for entry in Dir::read_from(&directory)? {
            let entry = entry?;
            let is_text = entry.file_name().to_str().is_ok();
            let name = entry.file_name().to_string_lossy().into_owned();
            if name != "." && name != ".." && !is_temp_name(name.as_bytes()) {
                bytes += Value::from(&name).json_len();
                entries.push((name, kind_name(entry.file_type()), is_text));
            }
            if entries.len() > LIST_ENTRIES_MAX {
                return Err(FileError::TooLong(LIST_ENTRIES_MAX as u64));
            }
            if bytes > LIST_BYTES_MAX {
                return Err(FileError::TooLong(LIST_BYTES_MAX as u64));
            }
        }
        entries.sort_unstable();
        let entries: Vec<Value> = entries
            .into_iter()
            .map(|(name, kind, is_text)| match is_text {
                true => object! { "name": name, "kind": kind },
                // Such a file is listed, but no request can name it.
                false => object! { "name": name, "kind": kind, "utf8": false },
            })
            .collect();
        Ok(Completion::Value(object! { "entries": entries }))
    }

    pub(super) fn describe(&self, follows: bool) -> Result<Completion, FileError> {
        let stat = self.stat_checked()?;
        if follows && FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
            return Err(FileError::Link);
        }
        let modified_us = i128::from(stat.st_mtime) * 1_000_000 + i128::from(stat.st_mtime_nsec) / 1000;
        Ok(Completion::Value(object! {
            "kind": kind_name(FileType::from_raw_mode(stat.st_mode)),
            "size": u64::try_from(stat.st_size).unwrap_or(0),
            "modified": u64::try_from(modified_us).unwrap_or(0),
        }))
    }

    /// Appends to the target, which is created if it does not exist. An append that fails halfway is undone, unless
    /// other processes appended too.
    pub(super) fn append(&self, data: &[u8]) -> Result<Completion, FileError> {
        for _ in 0..WRITE_TRIES_MAX {
            let is_written = match self.stat_checked() {
                Ok(stat) => self.append_to(&stat, data)?,
                Err(FileError::System(error)) if error.kind() == io::ErrorKind::NotFound => {
                    self.write_new(data)? && {
                        self.sync_directory()?;
                        true
                    }
                }
                Err(error) => return Err(error),
            };
            if is_written {
                return Ok(Completion::Done);
            }
        }
        Err(FileError::System(io::Error::other(
            "the file kept changing while it was written; gave up after 8 tries",
        )))
    }

    /// Appends to the existing target. Returns false when another file has taken its name meanwhile.
    fn append_to(&self, before: &Stat, data: &[u8]) -> Result<bool, FileError> {
        regular(before)?;
        if before.st_nlink > 1 {
            return Err(FileError::HardLink);
        }
        let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::NONBLOCK;
        let mut file = File::from(self.resolver.open(self.parent, &[self.name], flags)?);
        let opened = fstat(&file)?;
        if (opened.st_dev, opened.st_ino) != (before.st_dev, before.st_ino) {
            return Ok(false);
        }
        let length = u64::try_from(opened.st_size).unwrap_or(0);
        let mut written = 0_usize;
        let appended = loop {
            match data.get(written..) {
                None | Some([]) => break file.sync_all(),
                Some(rest) => match file.write(rest) {
                    Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
                    Ok(more) => written += more,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => break Err(error),
                },
            }
        };
        if let Err(error) = appended {
            // Do not cut off data that other processes appended meanwhile.
            if file.metadata().is_ok_and(|now| now.len() == length.saturating_add(written as u64)) {
                let _ = file.set_len(length);
            }
            return Err(error.into());
        }
        Ok(true)
    }

    /// # Errors
    /// When the target does not exist or is not a directory.
    pub(super) fn is_directory(&self) -> Result<(), FileError> {
        match FileType::from_raw_mode(self.stat_checked()?.st_mode) {
            FileType::Directory => Ok(()),
            FileType::Symlink => Err(FileError::Link),
            other => Err(FileError::WrongKind(kind_name(other), "directory")),
        }
    }

    pub(super) fn make_directory(&self) -> Result<Completion, FileError> {
        mkdirat(self.parent, self.name, NEW_DIRECTORY_MODE)?;
        self.sync_directory()?;
        Ok(Completion::Done)
    }

    /// Renames the target to `new`, and replaces an existing file of that name.
    pub(super) fn rename_to(&self, new: &FileTarget<'_>) -> Result<Completion, FileError> {
        let before = self.stat_checked()?;
        regular(&before)?;
        match new.stat_checked() {
            Ok(replaced) => {
                regular(&replaced)?;
                new.may_write()?;
            }
            Err(FileError::System(error)) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        match renameat(self.parent, self.name, new.parent, new.name) {
            Err(Errno::XDEV) => return Err(FileError::CrossesMount),
            renamed => renamed?,
        }
        // Undo the rename if another process replaced the file at the old path by something that is not a file.
        let now = statat(new.parent, new.name, AtFlags::SYMLINK_NOFOLLOW)?;
        let kind = FileType::from_raw_mode(now.st_mode);
        if (now.st_dev, now.st_ino) != (before.st_dev, before.st_ino) && kind != FileType::RegularFile {
            renameat(new.parent, new.name, self.parent, self.name)?;
            return Err(FileError::Replaced(kind_name(kind)));
        }
        self.sync_directory()?;
        new.sync_directory()?;
        Ok(Completion::Done)
    }

    pub(super) fn delete(&self) -> Result<Completion, FileError> {
        let stat = self.stat_checked()?;
        let flags = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => AtFlags::REMOVEDIR,
            _ => AtFlags::empty(),
        };
        unlinkat(self.parent, self.name, flags)?;
        self.sync_directory()?;
        Ok(Completion::Done)
    }
}

/// Whether two stats are of the same unchanged file, judging by inode, owner, mode and change time.
pub(super) fn is_same(before: &Stat, now: &Stat) -> bool {
    let told = |stat: &Stat| {
        (stat.st_dev, stat.st_ino, stat.st_mode, stat.st_uid, stat.st_gid, stat.st_ctime, stat.st_ctime_nsec)
    };
    told(before) == told(now)
}

pub(super) fn regular(stat: &Stat) -> Result<(), FileError> {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok(()),
        FileType::Symlink => Err(FileError::Link),
        other => Err(FileError::WrongKind(kind_name(other), "file")),
    }
}

pub(super) fn kind_name(kind: FileType) -> &'static str {
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
