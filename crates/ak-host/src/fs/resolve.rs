//! Opens paths strictly beneath an open directory, through no symbolic link and no mount.
//!
//! Where the system has `openat2` (Linux 5.6), one call resolves the path under these rules. Elsewhere, or where a
//! sandbox forbids the call, the path is walked component by component, with the same result.

use std::{os::fd::AsFd, os::fd::BorrowedFd, os::fd::OwnedFd, sync::OnceLock};

use rustix::{
    fs::{
        AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, StatxFlags, fstat, fstatfs, openat, openat2,
        statat, statx,
    },
    io::Errno,
};

use crate::fs::error::FileError;

/// How a path is resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resolver {
    /// `openat2`: the operating system resolves the path in one call.
    Openat2,
    /// This module walks the path component by component.
    Walk,
}

/// Maximum number of calls of `openat2` when renames interfere with one.
const TRIES_MAX: usize = 8;
/// The type of procfs (`PROC_SUPER_MAGIC`, statfs(2)).
const PROCFS: i64 = 0x9fa0;

impl Resolver {
    /// Returns the better resolver that this system supports.
    pub(crate) fn detect() -> Resolver {
        static BEST: OnceLock<Resolver> = OnceLock::new();
        *BEST.get_or_init(|| {
            match openat2(CWD, "/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::NO_SYMLINKS)
            {
                Ok(_) => Resolver::Openat2,
                Err(_) => Resolver::Walk,
            }
        })
    }

    /// Opens a directory by an absolute path that was resolved before. It may be on any mount; fails if a component has
    /// become a link since.
    pub(crate) fn open_root(self, path: &str) -> Result<OwnedFd, FileError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let top = openat(CWD, "/", flags, Mode::empty())?;
        let components: Vec<&str> = path.split('/').filter(|component| !component.is_empty()).collect();
        match self {
            _ if components.is_empty() => Ok(top),
            Resolver::Openat2 => {
                let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
                open_with_openat2(top.as_fd(), &components.join("/"), flags, resolve)
            }
            Resolver::Walk => walk(top, &components, flags | OFlags::NOFOLLOW, false),
        }
    }

    /// Opens the file or directory at `components` beneath an open directory.
    pub(crate) fn open(
        self,
        beneath: BorrowedFd<'_>,
        components: &[&str],
        flags: OFlags,
    ) -> Result<OwnedFd, FileError> {
        // With NOFOLLOW, `openat2` can open a link at the end of the path itself; without it, the rules below reject
        // the link.
        let own = if self == Resolver::Walk { OFlags::NOFOLLOW } else { OFlags::empty() };
        let flags = flags | own | OFlags::CLOEXEC;
        match (self, components) {
            (_, []) => Ok(openat(beneath, ".", flags, Mode::empty())?),
            (Resolver::Openat2, components) => {
                let resolve = ResolveFlags::BENEATH
                    | ResolveFlags::NO_SYMLINKS
                    | ResolveFlags::NO_MAGICLINKS
                    | ResolveFlags::NO_XDEV;
                open_with_openat2(beneath, &components.join("/"), flags, resolve)
            }
            (Resolver::Walk, components) => {
                let start =
                    openat(beneath, ".", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
                walk(start, components, flags, true)
            }
        }
    }
}

fn open_with_openat2(
    beneath: BorrowedFd<'_>,
    path: &str,
    flags: OFlags,
    resolve: ResolveFlags,
) -> Result<OwnedFd, FileError> {
    for _ in 0..TRIES_MAX {
        match openat2(beneath, path, flags, Mode::empty(), resolve) {
            Ok(opened) => return reject_link(opened),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(Errno::LOOP) => return Err(FileError::Link),
            Err(Errno::XDEV) => return Err(FileError::CrossesMount),
            Err(errno) => return Err(errno.into()),
        }
    }
    Err(FileError::System(std::io::Error::other(format!(
        "the path kept changing while it was resolved; gave up after {TRIES_MAX} tries"
    ))))
}

/// Walks down from a directory, and opens the last component with `flags`.
fn walk(start: OwnedFd, components: &[&str], flags: OFlags, one_mount: bool) -> Result<OwnedFd, FileError> {
    let mount = Mount::of(start.as_fd())?;
    let mut current = start;
    for (index, component) in components.iter().enumerate() {
        let last = index + 1 == components.len();
        let through = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let next = openat(&current, *component, if last { flags } else { through }, Mode::empty());
        current = next.map_err(|errno| link_or_errno(current.as_fd(), component, errno))?;
        if one_mount && Mount::of(current.as_fd())? != mount {
            return Err(FileError::CrossesMount);
        }
    }
    reject_link(current)
}

/// Rejects a descriptor of a symbolic link itself, which `PATH` may open.
fn reject_link(opened: OwnedFd) -> Result<OwnedFd, FileError> {
    match FileType::from_raw_mode(fstat(&opened)?.st_mode) {
        FileType::Symlink => Err(FileError::Link),
        _ => Ok(opened),
    }
}

/// Returns the error for a component that cannot be opened: [`FileError::Link`] if it is a symbolic link.
fn link_or_errno(parent: BorrowedFd<'_>, name: &str, errno: Errno) -> FileError {
    match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        _ if errno == Errno::LOOP => FileError::Link,
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink => FileError::Link,
        Ok(_) | Err(_) => errno.into(),
    }
}

/// Identifies the mount of a file: by mount id, since a file system may be mounted in several places, or by device
/// where the system reports no mount ids (before Linux 5.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mount {
    Id(u64),
    Device(u64),
}

impl Mount {
    pub(crate) fn of(opened: BorrowedFd<'_>) -> Result<Mount, FileError> {
        match statx(opened, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID) {
            Ok(told) if StatxFlags::from_bits_retain(told.stx_mask).contains(StatxFlags::MNT_ID) => {
                Ok(Mount::Id(told.stx_mnt_id))
            }
            Ok(_) | Err(_) => Ok(Mount::Device(fstat(opened)?.st_dev)),
        }
    }
}

/// Whether a file is on procfs, where processes show their data.
pub(crate) fn is_procfs(opened: BorrowedFd<'_>) -> Result<bool, FileError> {
    Ok(fstatfs(opened)?.f_type == PROCFS)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// Both resolvers open the same files, and reject the others for the same reasons.
    #[test]
    fn both_resolvers_agree() {
        let base = std::env::temp_dir().join(format!("ak-beneath-{}", std::process::id()));
        std::fs::create_dir_all(base.join("root/a/b")).unwrap();
        let base = base.canonicalize().unwrap();
        std::fs::write(base.join("root/a/b/file"), "inside").unwrap();
        std::fs::write(base.join("outside"), "outside").unwrap();
        symlink(base.join("outside"), base.join("root/link")).unwrap();
        symlink("b/file", base.join("root/a/inner")).unwrap();
        symlink("..", base.join("root/a/up")).unwrap();
        symlink("/proc", base.join("root/proc")).unwrap();
        let root = base.join("root");
        let check = |root: &str, path: &str, expected: &str| {
            let components: Vec<&str> = path.split('/').filter(|component| !component.is_empty()).collect();
            for resolver in [Resolver::detect(), Resolver::Walk] {
                let opened = resolver.open_root(root).and_then(|root| {
                    resolver.open(root.as_fd(), &components, OFlags::RDONLY | OFlags::NONBLOCK)
                });
                let told = match opened {
                    Ok(_) => "opened".to_owned(),
                    Err(error) => error.to_string(),
                };
                assert!(told.starts_with(expected), "{resolver:?} {root} {path}: {told}");
            }
        };
        let (root, link) = (root.to_str().unwrap(), "there is a symbolic link");
        check(root, "", "opened");
        check(root, "a", "opened");
        check(root, "a/b/file", "opened");
        check(root, "a/b/none", "No such file");
        check(root, "a/b/file/below", "Not a directory");
        check(root, "link", link);
        check(root, "proc", link);
        check(root, "a/inner", link);
        check(root, "a/up/a", link);
        check(root, "proc/version", link);
        check(&format!("{root}/a/up"), "a", link);
        check("/", "proc/version", "the path crosses");
        check("/", "proc", "the path crosses");
        check("/proc", "version", "opened");
        check("/proc", "self/root", link);
        std::fs::remove_dir_all(&base).unwrap();
    }
}
