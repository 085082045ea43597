//! Temporary files, which are written under an unguessable name and then renamed to the final one.
//!
//! The writer locks its file, so that a sweep can distinguish an abandoned file from one that is being written.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    fs::{
        AtFlags, Dir, FileType, FlockOperation, Mode, OFlags, RenameFlags, Stat, flock, fstat, linkat,
        openat, renameat, renameat_with, statat, unlinkat,
    },
    io::Errno,
    path::Arg,
    process::geteuid,
};

/// Maximum number of names that a sweep examines beneath one directory.
pub const SWEPT_ENTRIES_MAX: usize = 50_000;
/// Maximum number of tries to create a file and lock it before a sweep of another process does.
const CREATE_TRIES_MAX: usize = 8;

const PREFIX: &str = ".ak-";
const SUFFIX: &str = ".tmp";
const DIGITS: usize = 16;

/// Whether `name` is the name of a temporary file: `.ak-`, 16 lower-case hexadecimal digits, `.tmp`.
pub(crate) fn is_temp_name(name: &[u8]) -> bool {
    name.strip_prefix(PREFIX.as_bytes()).and_then(|rest| rest.strip_suffix(SUFFIX.as_bytes())).is_some_and(
        |digits| {
            digits.len() == DIGITS && digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
        },
    )
}

/// A temporary file, which is removed when dropped, unless it was renamed.
#[derive(Debug)]
pub(crate) struct TempFile<'d> {
    directory: BorrowedFd<'d>,
    name: String,
    pub(crate) file: File,
    is_named: bool,
}

impl<'d> TempFile<'d> {
    /// Creates an empty temporary file in a directory, with `mode` masked by the process's umask.
    ///
    /// # Errors
    /// When no file can be created in the directory, or there is no random source.
    pub(crate) fn create(directory: BorrowedFd<'d>, mode: Mode) -> io::Result<TempFile<'d>> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        for _ in 0..CREATE_TRIES_MAX {
            let number = getrandom::u64().map_err(|error| io::Error::other(error.to_string()))?;
            let name = format!("{PREFIX}{number:0DIGITS$x}{SUFFIX}");
            let file = File::from(openat(directory, &*name, flags, mode)?);
            let temp_file = TempFile { directory, name, file, is_named: false };
            match flock(&temp_file.file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) if fstat(&temp_file.file)?.st_nlink > 0 => return Ok(temp_file),
                // A sweep took the file for an abandoned one before it was locked.
                Ok(()) | Err(Errno::WOULDBLOCK) => {}
                // The file system has no locks. No sweep removes the file there, because a sweep has to lock it first.
                Err(Errno::NOTSUP | Errno::NOSYS | Errno::INVAL | Errno::NOLCK) => return Ok(temp_file),
                Err(errno) => return Err(errno.into()),
            }
        }
        Err(io::Error::other("another process removes temporary files as soon as they are made"))
    }

    /// The temporary name.
    #[cfg(test)]
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Renames the file to `name`, replacing an existing file of that name.
    pub(crate) fn rename_over(mut self, name: impl Arg) -> io::Result<()> {
        renameat(self.directory, &*self.name, self.directory, name)?;
        self.is_named = true;
        Ok(())
    }

    /// Renames the file to `name` if the name is free.
    ///
    /// # Errors
    /// [`AlreadyExists`](io::ErrorKind::AlreadyExists) when the name is taken. A file system with neither
    /// `RENAME_NOREPLACE` nor hard links replaces the existing file instead.
    pub(crate) fn rename_new(mut self, name: impl Arg + Copy) -> io::Result<()> {
        let renamed =
            renameat_with(self.directory, &*self.name, self.directory, name, RenameFlags::NOREPLACE);
        match renamed {
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
            renamed => {
                renamed?;
                self.is_named = true;
                return Ok(());
            }
        }
        // Dropping the value removes the temporary name.
        match linkat(self.directory, &*self.name, self.directory, name, AtFlags::empty()) {
            Err(Errno::PERM | Errno::NOSYS | Errno::NOTSUP) => self.rename_over(name),
            linked => Ok(linked?),
        }
    }
}

impl Drop for TempFile<'_> {
    fn drop(&mut self) {
        if !self.is_named {
            // The write has already failed; a later sweep removes the file if this fails too.
            let _ = unlinkat(self.directory, &*self.name, AtFlags::empty());
        }
    }
}

/// Removes the temporary files that killed processes of this user abandoned in a directory, not beneath its
/// subdirectories.
pub(crate) fn sweep_directory(directory: BorrowedFd<'_>) {
    // A failed sweep does no harm: no agent can reach abandoned files.
    let _ = sweep_entries(directory, &mut 0, &mut drop);
}

/// Removes the abandoned temporary files among a directory's entries, and passes each subdirectory to `subdirectory`.
/// `seen` counts entries; the sweep stops after [`SWEPT_ENTRIES_MAX`].
pub(crate) fn sweep_entries(
    directory: BorrowedFd<'_>,
    seen: &mut usize,
    subdirectory: &mut impl FnMut(OwnedFd),
) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let readable = openat(directory, ".", flags, Mode::empty())?;
    for entry in Dir::read_from(&readable)? {
        let entry = entry?;
        *seen += 1;
        if *seen > SWEPT_ENTRIES_MAX {
            return Ok(());
        }
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        if is_temp_name(name.to_bytes()) {
            // This fails when the file has vanished, is locked, or belongs to another user.
            let _ = remove_abandoned(readable.as_fd(), name);
        } else if entry.file_type() == FileType::Directory {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            if let Ok(opened) = openat(&readable, name, flags, Mode::empty()) {
                subdirectory(opened);
            }
        }
    }
    Ok(())
}

/// Removes a temporary file unless a living process has locked it.
fn remove_abandoned(directory: BorrowedFd<'_>, name: &std::ffi::CStr) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    // Opening a fifo or a device has side effects.
    if !is_own_file(&statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?) {
        return Ok(());
    }
    let file = openat(directory, name, flags, Mode::empty())?;
    let stat = fstat(&file)?;
    if !is_own_file(&stat) {
        return Ok(());
    }
    flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    let there = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
    match (there.st_dev, there.st_ino) == (stat.st_dev, stat.st_ino) {
        true => unlinkat(directory, name, AtFlags::empty()),
        false => Ok(()),
    }
}

fn is_own_file(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
        && stat.st_uid == geteuid().as_raw()
        && stat.st_nlink == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temporary_file_is_known_by_its_exact_name() {
        assert!(is_temp_name(b".ak-0123456789abcdef.tmp"));
        for name in [
            ".ak-0123456789abcde.tmp",
            ".ak-0123456789abcdef0.tmp",
            ".ak-0123456789abcdeF.tmp",
            ".ak-0123456789abcdeg.tmp",
            "ak-0123456789abcdef.tmp",
            ".ak-0123456789abcdef.tmp~",
            ".ak-.tmp",
            ".ak-",
        ] {
            assert!(!is_temp_name(name.as_bytes()), "{name}");
        }
    }
}
