//! Reads files only if they cannot have been written by every user of the machine.

use std::{
    fs::{File, Metadata},
    io::{self, Read},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
};

use rustix::{fs::OFlags, process::geteuid};

/// Mode bit: every user may write.
const WRITTEN_BY_OTHERS: u32 = 0o002;
/// Mode bit of a directory: only the owner of a file in it may remove or replace that file.
const STICKY: u32 = 0o1000;
/// Mode bits: the group or every user has any access.
const OPEN_TO_OTHERS: u32 = 0o077;

/// The conditions that a file must satisfy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// The file is not writable by every user, nor can every user replace it.
    Settings,
    /// The file is also owned by this process's user or root.
    Credential,
    /// The file is also accessible to its owner alone.
    OwnerOnly,
}

/// Reads a trusted text file of at most `bytes_max` bytes. A symbolic link is checked by its target.
///
/// # Errors
/// When it cannot be read, is not a regular file, is not UTF-8, is longer, or fails a condition of `trust`.
pub(crate) fn read(path: &Path, trust: Trust, bytes_max: u64) -> io::Result<String> {
    let file = open(path, trust)?;
    let mut text = String::new();
    file.take(bytes_max.saturating_add(1)).read_to_string(&mut text)?;
    if text.len() as u64 > bytes_max {
        return Err(io::Error::other(format!("it is longer than {bytes_max} bytes")));
    }
    Ok(text)
}

/// Opens a trusted file.
///
/// # Errors
/// As for [`read`], except for errors in the content.
pub(crate) fn open(path: &Path, trust: Trust) -> io::Result<File> {
    // NONBLOCK: opening a fifo must not hang; `check_file` rejects it.
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    check_file(&file.metadata()?, trust, geteuid().as_raw())?;
    check_directory(path)?;
    check_directory(&path.canonicalize()?)?;
    Ok(file)
}

fn check_file(file: &Metadata, trust: Trust, own: u32) -> io::Result<()> {
    let (mode, uid) = (file.mode() & 0o7777, file.uid());
    if !file.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a file"));
    }
    if trust != Trust::Settings && uid != own && uid != 0 {
        return Err(refused(format!(
            "it belongs to user {uid}, who could change it, and not to this process's user ({own}) or root"
        )));
    }
    if trust == Trust::OwnerOnly && mode & OPEN_TO_OTHERS != 0 {
        return Err(refused(format!("others may read it (mode {mode:o}); make it 0600")));
    }
    if mode & WRITTEN_BY_OTHERS != 0 {
        return Err(refused(format!("everybody may write it (mode {mode:o})")));
    }
    Ok(())
}

/// Checks that not every user can replace the file at `path` in its directory.
fn check_directory(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mode = directory.metadata()?.mode() & 0o7777;
    if mode & WRITTEN_BY_OTHERS != 0 && mode & STICKY == 0 {
        return Err(refused(format!(
            "everybody may put another in its place: its directory {} has mode {mode:o}",
            directory.display()
        )));
    }
    Ok(())
}

fn refused(reason: String) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, reason)
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, Permissions},
        os::unix::fs::{PermissionsExt, chown, symlink},
    };

    use super::*;

    #[test]
    fn files_that_others_could_have_written_are_refused() {
        let root = std::env::temp_dir().join(format!("ak-trust-{}", std::process::id()));
        fs::create_dir_all(root.join("open")).unwrap();
        let set =
            |name: &str, mode| fs::set_permissions(root.join(name), Permissions::from_mode(mode)).unwrap();
        for name in ["key", "open/key"] {
            fs::write(root.join(name), "secret").unwrap();
            set(name, 0o600);
        }
        symlink("open/key", root.join("link")).unwrap();
        let check = |name: &str, trust: Trust, says: &str| match read(&root.join(name), trust, 6) {
            Ok(text) => assert_eq!((text.as_str(), says), ("secret", ""), "{name} {trust:?}"),
            Err(error) => {
                assert!(!says.is_empty() && error.to_string().contains(says), "{name} {trust:?}: {error}")
            }
        };
        let all = [Trust::Settings, Trust::Credential, Trust::OwnerOnly];
        all.iter().for_each(|trust| check("key", *trust, ""));
        set("key", 0o644);
        check("key", Trust::Credential, "");
        check("key", Trust::OwnerOnly, "others may read it (mode 644)");
        set("key", 0o622);
        all.iter().for_each(|trust| {
            check(
                "key",
                *trust,
                if *trust == Trust::OwnerOnly { "others may read" } else { "everybody may write it" },
            )
        });
        check("open", Trust::Settings, "it is not a file");
        all.iter().for_each(|trust| check("link", *trust, ""));
        set("open", 0o777);
        all.iter().for_each(|trust| check("open/key", *trust, "has mode 777"));
        all.iter().for_each(|trust| check("link", *trust, "has mode 777"));
        set("open", 0o1777);
        all.iter().for_each(|trust| check("link", *trust, ""));
        assert!(
            read(&root.join("link"), Trust::OwnerOnly, 5).unwrap_err().to_string().contains("longer than 5")
        );
        // The conditions apply to the link's target; the link itself may belong to any user.
        if chown(root.join("open/key"), Some(54_321), None).is_ok() {
            set("open/key", 0o600);
            check("link", Trust::Settings, "");
            check("link", Trust::Credential, "belongs to user 54321");
            check("open/key", Trust::OwnerOnly, "belongs to user 54321");
        } else {
            eprintln!("SKIPPED: files cannot be given away here");
        }
        fs::remove_dir_all(&root).unwrap();
    }
}
