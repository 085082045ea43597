//! Copies the metadata of a file to its replacement: owner, group, mode, access list and other extended attributes.
//!
//! The replacement is created readable by its owner alone, and gets its metadata before its final name. So at no moment
//! can it be read by a user who could not read the old file.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, BorrowedFd},
};

use rustix::{
    fs::{
        Gid, Mode, Stat, Uid, XattrFlags, fchmod, fchown, fgetxattr, flistxattr, fremovexattr, fsetxattr,
        fstat,
    },
    io::Errno,
};

/// Maximum length of the value of an extended attribute, and of a list of attribute names, in bytes (`XATTR_SIZE_MAX`,
/// `XATTR_LIST_MAX`).
const XATTR_BYTES_MAX: usize = 64 << 10;
/// Attributes that are bound to the old content, and that Linux also drops or recomputes on a write: capabilities and
/// measurements.
const BOUND_TO_CONTENT: [&str; 3] = ["security.capability", "security.ima", "security.evm"];
/// The namespaces of attributes in xattr(7). Others belong to the file system.
const KINDS: [&str; 4] = ["user.", "security.", "trusted.", "system."];
/// The permission bits and the sticky bit. Set-user-ID and set-group-ID are dropped, as by every write.
const MODE_PRESERVED: u32 = 0o1777;

/// Why the metadata of a file cannot be copied to its replacement.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PreserveError {
    #[error(
        "its owner and group ({0}:{1}) cannot be kept by this process ({2}), and it is not given to another"
    )]
    Owner(u32, u32, io::Error),
    #[error("its attribute {0} cannot be kept ({1}), and the file is not replaced without it")]
    Attribute(String, io::Error),
    #[error("its attributes cannot be listed ({0}), and the file is not replaced without them")]
    Attributes(io::Error),
    #[error("its mode cannot be kept: {0}")]
    Mode(io::Error),
}

/// Gives `new` the owner, group, mode and extended attributes of `old`, whose stat is `stat`.
///
/// # Errors
/// When one of them cannot be kept. Attributes that the process cannot see are not copied: `trusted.*`, if it lacks
/// `CAP_SYS_ADMIN`.
pub(crate) fn preserve_metadata(old: BorrowedFd<'_>, stat: &Stat, new: &File) -> Result<(), PreserveError> {
    copy_owner(stat, new)?;
    let names = names(old).map_err(PreserveError::Attributes)?;
    drop_inherited(&names, new)?;
    for name in names.iter().filter(|name| !BOUND_TO_CONTENT.contains(&name.as_str())) {
        let kept = copy_attribute(old, new, name);
        // A file system may show attributes of its own that cannot be set.
        let is_known = KINDS.iter().any(|kind| name.starts_with(kind));
        kept.or_else(|error| if is_known { Err(error) } else { Ok(()) })
            .map_err(|error| PreserveError::Attribute(name.clone(), error))?;
    }
    // The mode comes last: until now only the owner can read the file, and those whom the old access list names. With
    // an access list, the group bits of the mode are the list's mask.
    fchmod(new, Mode::from_raw_mode(stat.st_mode & MODE_PRESERVED))
        .map_err(|errno| PreserveError::Mode(errno.into()))
}

fn copy_owner(stat: &Stat, new: &File) -> Result<(), PreserveError> {
    let (uid, gid) = (stat.st_uid, stat.st_gid);
    let own = fstat(new).map_err(|errno| PreserveError::Owner(uid, gid, errno.into()))?;
    if (own.st_uid, own.st_gid) == (uid, gid) {
        return Ok(());
    }
    fchown(new, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
        .map_err(|errno| PreserveError::Owner(uid, gid, errno.into()))
}

/// Removes access lists that the new file inherited from its directory and the old file lacks. Labels of security
/// modules stay, since every file has one.
fn drop_inherited(kept: &[String], new: &File) -> Result<(), PreserveError> {
    let inherited = names(new.as_fd()).map_err(PreserveError::Attributes)?;
    for name in inherited.iter().filter(|name| name.starts_with("system.") && !kept.contains(name)) {
        match fremovexattr(new, name.as_str()) {
            Ok(()) | Err(Errno::NODATA) => {}
            Err(errno) => return Err(PreserveError::Attribute(name.clone(), errno.into())),
        }
    }
    Ok(())
}

fn copy_attribute(old: BorrowedFd<'_>, new: &File, name: &str) -> io::Result<()> {
    let Some(value) = value_of(old, name)? else { return Ok(()) };
    // Setting an attribute needs a permission; an attribute that is already equal needs none.
    if value_of(new.as_fd(), name).ok().flatten().as_ref() == Some(&value) {
        return Ok(());
    }
    Ok(fsetxattr(new, name, &value, XattrFlags::empty())?)
}

/// Returns the value of an attribute; `None` when it does not exist.
fn value_of(file: BorrowedFd<'_>, name: &str) -> io::Result<Option<Vec<u8>>> {
    let mut value = vec![0; XATTR_BYTES_MAX];
    match fgetxattr(file, name, value.as_mut_slice()) {
        Ok(length) => {
            value.truncate(length);
            Ok(Some(value))
        }
        Err(Errno::NODATA) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Returns the names of a file's attributes; none on a file system without attributes.
fn names(file: BorrowedFd<'_>) -> io::Result<Vec<String>> {
    let mut list = vec![0_u8; XATTR_BYTES_MAX];
    let length = match flistxattr(file, list.as_mut_slice()) {
        Ok(length) => length,
        Err(Errno::NOTSUP | Errno::NOSYS) => 0,
        Err(errno) => return Err(errno.into()),
    };
    list.truncate(length);
    let names = list.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    names
        .map(|name| {
            String::from_utf8(name.to_vec())
                .map_err(|_| io::Error::other("the name of an extended attribute is not UTF-8"))
        })
        .collect()
}
