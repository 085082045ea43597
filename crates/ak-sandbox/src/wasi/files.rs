//! The files that a guest has open, and the names it has for them. Nothing here reaches a disk: contents come and go
//! by host calls.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::errno;
use crate::RunLimits;

/// The first number after the standard streams.
const FIRST: u32 = 3;

/// Longest path, in bytes.
pub(super) const PATH_BYTES_MAX: u32 = 4096;

/// What stands in a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Unknown,
    Directory,
    File,
    Link,
}

impl Kind {
    /// By the name that a host gives it.
    pub(super) fn named(name: &str) -> Self {
        match name {
            "directory" => Self::Directory,
            "file" => Self::File,
            "link" => Self::Link,
            _ => Self::Unknown,
        }
    }

    /// `filetype` of `wasi_snapshot_preview1`.
    pub(super) fn number(self) -> u8 {
        match self {
            Self::Unknown => 0,
            Self::Directory => 3,
            Self::File => 4,
            Self::Link => 7,
        }
    }
}

/// What a host says of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) kind: Kind,
    pub(super) bytes: u64,
    pub(super) modified_us: u64,
    /// Of the path: the same for the same path, and never 0, which a C library takes for unknown.
    pub(super) serial: u64,
}

/// FNV-1a of a path.
pub(super) fn serial(path: &str) -> u64 {
    let hash = path.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash.max(1)
}

/// One open file or directory, by the number that the guest has for it.
pub(super) enum Open {
    Directory(Directory),
    File(File),
}

pub(super) struct Directory {
    pub(super) path: String,
    /// Handed to the guest before it runs.
    pub(super) preopened: bool,
    /// Once they were asked for.
    pub(super) entries: Option<Vec<(String, Kind)>>,
}

pub(super) struct File {
    pub(super) path: String,
    pub(super) stat: Stat,
    /// All of it, once it was asked for.
    pub(super) content: Option<Vec<u8>>,
    pub(super) position: u64,
    pub(super) readable: bool,
    pub(super) writable: bool,
    pub(super) append: bool,
    /// The content is newer than what the host has.
    pub(super) changed: bool,
}

impl File {
    pub(super) fn size(&self) -> u64 {
        self.content.as_ref().map_or(self.stat.bytes, |content| content.len() as u64)
    }
}

/// All that a run has open.
pub(crate) struct Files {
    open: Vec<Option<Open>>,
    files_max: u32,
    bytes_max: u64,
}

impl Files {
    /// The directories that a guest finds open.
    pub(crate) fn new(preopens: &[String], limits: &RunLimits) -> Self {
        let directory = |path: &String| {
            Some(Open::Directory(Directory { path: path.clone(), preopened: true, entries: None }))
        };
        Self {
            open: preopens.iter().map(directory).collect(),
            files_max: limits.files_max,
            bytes_max: limits.file_bytes_max,
        }
    }

    /// Closes all, without writing anything.
    pub(crate) fn clear(&mut self) {
        self.open.clear();
    }

    pub(super) fn at(&mut self, number: u32) -> Option<&mut Open> {
        self.open.get_mut(number.checked_sub(FIRST)? as usize)?.as_mut()
    }

    pub(super) fn file(&mut self, number: u32) -> Result<&mut File, i32> {
        match self.at(number) {
            Some(Open::File(file)) => Ok(file),
            Some(Open::Directory(_)) => Err(errno::IS_DIRECTORY),
            None => Err(errno::BAD_FILE),
        }
    }

    pub(super) fn directory(&mut self, number: u32) -> Result<&mut Directory, i32> {
        match self.at(number) {
            Some(Open::Directory(directory)) => Ok(directory),
            Some(Open::File(_)) => Err(errno::NOT_DIRECTORY),
            None => Err(errno::BAD_FILE),
        }
    }

    /// Whether one more can be opened.
    pub(super) fn has_room(&self) -> bool {
        self.open.iter().flatten().count() < self.files_max as usize
    }

    /// Opens under the lowest number that is free.
    pub(super) fn insert(&mut self, open: Open) -> Result<u32, i32> {
        if !self.has_room() {
            return Err(errno::TOO_MANY_FILES);
        }
        let free = self.open.iter().position(Option::is_none);
        let index = free.unwrap_or(self.open.len());
        match self.open.get_mut(index) {
            Some(place) => *place = Some(open),
            None => self.open.push(Some(open)),
        }
        u32::try_from(index).map(|index| index.saturating_add(FIRST)).map_err(|_| errno::TOO_MANY_FILES)
    }

    pub(super) fn close(&mut self, number: u32) {
        if let Some(place) = number.checked_sub(FIRST).and_then(|index| self.open.get_mut(index as usize)) {
            *place = None;
        }
    }

    /// Whether contents may grow by so many bytes: those of all open files count together.
    pub(super) fn admits(&self, bytes: u64) -> bool {
        let held = self.open.iter().flatten().map(|open| match open {
            Open::File(file) => file.content.as_ref().map_or(0, |content| content.len() as u64),
            Open::Directory(directory) => {
                directory.entries.iter().flatten().map(|(name, _)| name.len() as u64).sum()
            }
        });
        held.fold(bytes, u64::saturating_add) <= self.bytes_max
    }

    /// A file whose content the host has not got yet.
    pub(super) fn changed(&self) -> Option<u32> {
        let index =
            self.open.iter().position(|open| matches!(open, Some(Open::File(File { changed: true, .. }))))?;
        u32::try_from(index).ok()?.checked_add(FIRST)
    }
}

/// The directories that a tool with these needs finds open: for each need of files the longest path without a pattern
/// that leads there. What is asked for beneath them is decided by whoever drives the run.
pub(crate) fn preopens(needs: &[String]) -> Vec<String> {
    let mut directories = Vec::new();
    for need in needs {
        let Some((_, target)) = need.split_once(':').filter(|(operation, _)| operation.starts_with("fs."))
        else {
            continue;
        };
        let literal = target.split(['*', '?', '[', '{']).next().unwrap_or_default();
        let Some((directory, _)) = literal.rsplit_once('/') else { continue };
        // A path that is not absolute belongs to no directory that the guest could name.
        if !target.starts_with('/') {
            continue;
        }
        let directory = if directory.is_empty() { "/".to_string() } else { directory.to_string() };
        if !directories.contains(&directory) {
            directories.push(directory);
        }
    }
    directories
}

/// The path of what stands in a directory under this name.
pub(super) fn join(directory: &str, name: &str) -> String {
    alloc::format!("{}/{name}", directory.trim_end_matches('/'))
}

/// The absolute path of a name beneath a directory.
///
/// # Errors
/// `ENOTCAPABLE` for a name that leads out of it, as an absolute one does.
pub(super) fn resolve(directory: &str, name: &str) -> Result<String, i32> {
    if name.is_empty() {
        return Err(errno::NO_ENTRY);
    }
    if name.starts_with('/') {
        return Err(errno::NOT_CAPABLE);
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop().ok_or(errno::NOT_CAPABLE)?;
            }
            _ if part.contains('\0') => return Err(errno::INVALID),
            _ => parts.push(part),
        }
    }
    let mut path = String::from(directory.trim_end_matches('/'));
    for part in parts {
        path.push('/');
        path.push_str(part);
    }
    if path.is_empty() {
        path.push('/');
    }
    if path.len() > PATH_BYTES_MAX as usize { Err(errno::NAME_TOO_LONG) } else { Ok(path) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_beneath_its_directory() {
        for (directory, name, expected) in [
            ("/data", "a", Ok("/data/a")),
            ("/data", "a/./b//c/", Ok("/data/a/b/c")),
            ("/data", "a/../b", Ok("/data/b")),
            ("/data", ".", Ok("/data")),
            ("/", "etc/x", Ok("/etc/x")),
            ("/", ".", Ok("/")),
            ("/data", "..", Err(errno::NOT_CAPABLE)),
            ("/data", "a/../../b", Err(errno::NOT_CAPABLE)),
            ("/data", "/data/a", Err(errno::NOT_CAPABLE)),
            ("/data", "", Err(errno::NO_ENTRY)),
            ("/data", "a\0b", Err(errno::INVALID)),
        ] {
            assert_eq!(resolve(directory, name), expected.map(String::from), "{directory} {name:?}");
        }
    }

    #[test]
    fn needs_of_files_open_directories() {
        let needs = [
            "fs.read:/data/**",
            "fs.write:/data/*.txt",
            "fs.read:/etc/hosts",
            "fs.*:/top",
            "infer:gpt-4*",
            "fs.read:relative/**",
            "http.get:https://a.example/**",
        ];
        assert_eq!(preopens(&needs.map(String::from)), ["/data", "/etc", "/"]);
    }
}
