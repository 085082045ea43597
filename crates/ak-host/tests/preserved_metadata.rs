//! A rewritten file keeps its owner and permissions.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use std::{
    fs::{self, File, Permissions},
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use ak_host::Connection;
use ak_host::ak_kernel::{Code, FileRequest, Outcome, Request};
use rustix::fs::{IFlags, XattrFlags, getxattr, ioctl_setflags, setxattr};
use rustix::io::Errno;
use rustix::process::{geteuid, umask};

use support::{Scratch, code, embedded};

const ACCESS: &str = "system.posix_acl_access";
const DEFAULT: &str = "system.posix_acl_default";
/// The id of a user who does not run the test.
const OTHER: u32 = 54_321;

fn write(kernel: &Connection, path: &Path) -> Outcome {
    kernel.call(Request::File(FileRequest::Write {
        path: path.to_str().unwrap().into(),
        data: Arc::from(&b"new"[..]),
    }))
}

fn writing_into(scratch: &Scratch) -> Connection {
    fs::create_dir_all(scratch.join("data")).unwrap();
    embedded(&format!("[fs]\nread = [\"{0}/**\"]\nwrite = [\"{0}/**\"]", scratch.text("data")))
}

/// Encodes an access list as the file system stores it (acl(5), version 2): tag, permissions and id.
fn access_list(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut bytes = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, who) in entries {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(permissions.to_le_bytes());
        bytes.extend(who.to_le_bytes());
    }
    bytes
}

const NOBODY: u32 = u32::MAX;
const OWNER: u16 = 1;
const USER: u16 = 2;
const GROUP: u16 = 4;
const MASK: u16 = 0x10;
const OTHERS: u16 = 0x20;

/// Returns a list by which the owner reads and writes, one other user reads, and the group has no access.
fn one_more_reads() -> Vec<u8> {
    access_list(&[
        (OWNER, 6, NOBODY),
        (USER, 4, OTHER),
        (GROUP, 0, NOBODY),
        (MASK, 4, NOBODY),
        (OTHERS, 0, NOBODY),
    ])
}

fn attribute(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 4096];
    match getxattr(path, name, value.as_mut_slice()) {
        Ok(length) => {
            value.truncate(length);
            Some(value)
        }
        Err(Errno::NODATA | Errno::NOTSUP) => None,
        Err(errno) => panic!("{name}: {errno}"),
    }
}

/// Sets an attribute; returns false, and prints that, when the file system or the user may not have such attributes.
fn set(path: &Path, name: &str, value: &[u8]) -> bool {
    match setxattr(path, name, value, XattrFlags::empty()) {
        Ok(()) => true,
        Err(errno) => {
            eprintln!("SKIPPED: {name} cannot be set here ({errno})");
            false
        }
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn the_access_list_of_a_file_is_preserved() {
    let scratch = Scratch::new("acl");
    let kernel = writing_into(&scratch);
    let path = scratch.join("data/file");
    fs::write(&path, "old").unwrap();
    if !set(&path, ACCESS, &one_more_reads()) {
        return;
    }
    assert_eq!(mode(&path), 0o640, "the group's bits are the list's mask");
    write(&kernel, &path).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
    assert_eq!(attribute(&path, ACCESS), Some(one_more_reads()));
    assert_eq!(mode(&path), 0o640);
}

/// A file without an access list does not get the directory's default list.
#[test]
fn the_directory_s_default_list_does_not_widen_an_old_file() {
    let scratch = Scratch::new("acl-default");
    let kernel = writing_into(&scratch);
    let path = scratch.join("data/file");
    fs::write(&path, "old").unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
    if !set(&scratch.join("data"), DEFAULT, &one_more_reads()) {
        return;
    }
    write(&kernel, &path).unwrap();
    assert_eq!((attribute(&path, ACCESS), mode(&path)), (None, 0o640));
    // A new file gets the default list, as with every program.
    let (new, by_the_system) = (scratch.join("data/new"), scratch.join("data/by-the-system"));
    write(&kernel, &new).unwrap();
    fs::write(&by_the_system, "x").unwrap();
    assert!(attribute(&new, ACCESS).is_some());
    assert_eq!(attribute(&new, ACCESS), attribute(&by_the_system, ACCESS));
    assert_eq!(mode(&new), mode(&by_the_system));
}

#[test]
fn other_attributes_are_preserved() {
    let scratch = Scratch::new("xattr");
    let kernel = writing_into(&scratch);
    let path = scratch.join("data/file");
    fs::write(&path, "old").unwrap();
    let long = vec![b'x'; 2_000];
    let rows: [(&str, &[u8]); 4] = [
        ("user.origin", b"https://example.com"),
        ("user.empty", b""),
        ("user.long", &long),
        ("trusted.mark", b"\x00\xff"),
    ];
    let there: Vec<_> = rows.iter().filter(|(name, value)| set(&path, name, value)).collect();
    write(&kernel, &path).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
    for (name, value) in &there {
        assert_eq!(attribute(&path, name).as_deref(), Some(*value), "{name}");
    }
    eprintln!("{} of {} attributes could be tried", there.len(), rows.len());
}

#[test]
fn mode_owner_and_group_are_preserved_without_set_id_bits() {
    let scratch = Scratch::new("mode");
    let kernel = writing_into(&scratch);
    let path = scratch.join("data/file");
    fs::write(&path, "old").unwrap();
    for (before, after) in
        [(0o600, 0o600), (0o666, 0o666), (0o4755, 0o755), (0o2711, 0o711), (0o1644, 0o1644)]
    {
        fs::set_permissions(&path, Permissions::from_mode(before)).unwrap();
        write(&kernel, &path).unwrap();
        assert_eq!(mode(&path), after, "{before:o}");
    }
    if chown(&path, Some(OTHER), Some(OTHER + 1)).is_err() {
        return eprintln!("SKIPPED: files cannot be given away here");
    }
    fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
    write(&kernel, &path).unwrap();
    let told = fs::metadata(&path).unwrap();
    assert_eq!((told.uid(), told.gid(), mode(&path)), (OTHER, OTHER + 1, 0o640));
}

/// In a directory with set-group-ID new files get its group; an old file keeps its own.
#[test]
fn a_group_s_directory_does_not_give_its_group_to_an_old_file() {
    let scratch = Scratch::new("setgid");
    let kernel = writing_into(&scratch);
    let (data, path) = (scratch.join("data"), scratch.join("data/file"));
    fs::write(&path, "old").unwrap();
    let group = fs::metadata(&path).unwrap().gid();
    if chown(&data, None, Some(OTHER)).is_err() {
        return eprintln!("SKIPPED: directories cannot be given to another group here");
    }
    fs::set_permissions(&data, Permissions::from_mode(0o2775)).unwrap();
    write(&kernel, &path).unwrap();
    write(&kernel, &scratch.join("data/new")).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().gid(), group);
    assert_eq!(fs::metadata(scratch.join("data/new")).unwrap().gid(), OTHER);
}

#[test]
fn a_new_file_has_the_mode_that_the_process_gives_new_files() {
    let scratch = Scratch::new("umask");
    let kernel = writing_into(&scratch);
    let mask = umask(rustix::fs::Mode::from_raw_mode(0o022));
    umask(mask);
    write(&kernel, &scratch.join("data/new")).unwrap();
    assert_eq!(mode(&scratch.join("data/new")), 0o666 & !mask.bits());
}

/// A file that must not be changed is not replaced either.
#[test]
fn a_file_that_is_marked_as_unchangeable_is_refused() {
    let scratch = Scratch::new("immutable");
    let kernel = writing_into(&scratch);
    for flag in [IFlags::IMMUTABLE, IFlags::APPEND] {
        let path = scratch.join("data/file");
        fs::write(&path, "old").unwrap();
        let file = File::open(&path).unwrap();
        if let Err(errno) = ioctl_setflags(&file, flag) {
            return eprintln!("SKIPPED: files cannot be marked here ({errno})");
        }
        let refused = code(write(&kernel, &path));
        let (content, names) =
            (fs::read(&path).unwrap(), fs::read_dir(scratch.join("data")).unwrap().count());
        ioctl_setflags(&file, IFlags::empty()).unwrap();
        assert_eq!((refused, content, names), (Code::Io, b"old".to_vec(), 1));
    }
}

/// The temporary file of a write is readable only by users who may read the old file.
#[test]
fn the_temporary_file_is_no_more_accessible_than_the_old_one() {
    let scratch = Scratch::new("window");
    let kernel = writing_into(&scratch);
    let path = scratch.join("data/file");
    fs::write(&path, "old").unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    let is_default_set = set(&scratch.join("data"), DEFAULT, &one_more_reads());
    let (done, directory) = (Arc::new(AtomicBool::new(false)), scratch.join("data"));
    let watched = done.clone();
    let watcher = std::thread::spawn(move || {
        let mut seen = 0;
        while !watched.load(Ordering::Relaxed) {
            for entry in fs::read_dir(&directory).unwrap().flatten() {
                if let Ok(told) = entry.metadata() {
                    seen += 1;
                    assert_eq!(told.mode() & 0o077, 0, "{:?}", entry.file_name());
                }
            }
        }
        seen
    });
    for _ in 0..50 {
        write(&kernel, &path).unwrap();
    }
    done.store(true, Ordering::Relaxed);
    let seen = watcher.join().unwrap();
    eprintln!("{seen} looks, default access list: {is_default_set}");
    assert_eq!(mode(&path), 0o600);
}

/// A file of another user, which this process may write, but whose owner it cannot set.
#[test]
fn a_file_whose_owner_cannot_be_preserved_is_refused() {
    const HERE: &str = "AK_TEST_KEEP_AS_OTHER";
    if let Ok(directory) = std::env::var(HERE) {
        let kernel = embedded(&format!("[fs]\nread = [\"{directory}/**\"]\nwrite = [\"{directory}/**\"]"));
        let failure = write(&kernel, &Path::new(&directory).join("file")).unwrap_err();
        assert_eq!(failure.code, Code::Io);
        assert!(failure.message.contains("owner and group"), "{failure}");
        let failure = write(&kernel, &Path::new(&directory).join("read-only")).unwrap_err();
        assert!(failure.message.contains("ermission"), "{failure}");
        return;
    }
    if !geteuid().is_root() {
        return eprintln!("SKIPPED: only root can make files of others");
    }
    // Other users may have no access to the test's own directory.
    let directory = std::env::temp_dir().join(format!("ak-keep-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    fs::set_permissions(&directory, Permissions::from_mode(0o777)).unwrap();
    fs::write(directory.join("file"), "old").unwrap();
    fs::set_permissions(directory.join("file"), Permissions::from_mode(0o666)).unwrap();
    fs::write(directory.join("read-only"), "old").unwrap();
    fs::set_permissions(directory.join("read-only"), Permissions::from_mode(0o444)).unwrap();
    let program = directory.join("test");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    let mut command = std::process::Command::new(&program);
    std::os::unix::process::CommandExt::uid(&mut command, OTHER);
    command.args(["--exact", "a_file_whose_owner_cannot_be_preserved_is_refused"]).env(HERE, &directory);
    let told = command.current_dir("/").output().unwrap();
    let kept = fs::read_to_string(directory.join("file")).unwrap();
    let names = fs::read_dir(&directory).unwrap().count();
    fs::remove_dir_all(&directory).unwrap();
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stdout));
    assert_eq!((kept.as_str(), names), ("old", 3));
}
