//! The open files of a guest, and the names it uses for them. Nothing here reaches a disk: contents are read and
//! written by host calls.

pub(crate) mod errno;
pub(crate) mod names;
pub(crate) mod pending;

use alloc::string::String;
use alloc::vec::Vec;

use crate::limits::RunLimits;

/// The first file descriptor after the standard streams.
const FIRST: u32 = 3;

/// The kind of a directory entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Unknown,
    Directory,
    File,
    Link,
}

impl Kind {
    /// The kind with the name that the host uses for it.
    pub(crate) fn named(name: &str) -> Self {
        match name {
            "directory" => Self::Directory,
            "file" => Self::File,
            "link" => Self::Link,
            _ => Self::Unknown,
        }
    }

    /// The kind's `filetype` in `wasi_snapshot_preview1`.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Unknown => 0,
            Self::Directory => 3,
            Self::File => 4,
            Self::Link => 7,
        }
    }
}

/// The host's description of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) kind: Kind,
    pub(crate) bytes: u64,
    pub(crate) modified_us: u64,
    /// A number for the path: always the same for the same path, and never 0, which a C library takes for unknown.
    pub(crate) serial: u64,
}

/// An open file or directory of the guest.
pub(crate) enum Open {
    Directory(Directory),
    File(File),
}

pub(crate) struct Directory {
    pub(crate) path: String,
    /// The directory was open before the guest started.
    pub(crate) preopened: bool,
    /// The directory's entries, once they were listed.
    entries: Option<Vec<(String, Kind)>>,
}

impl Directory {
    pub(crate) fn new(path: String, preopened: bool) -> Self {
        Self { path, preopened, entries: None }
    }

    pub(crate) fn entries(&self) -> Option<&[(String, Kind)]> {
        self.entries.as_deref()
    }
}

/// Bytes that a directory entry counts as besides its name; the same on every machine.
const ENTRY_BYTES: u64 = 32;

/// Bytes that directory entries count as.
pub(crate) fn entries_bytes(entries: &[(String, Kind)]) -> u64 {
    entries.iter().map(|(name, _)| ENTRY_BYTES + name.len() as u64).sum()
}

/// One descriptor of an open file.
pub(crate) struct File {
    /// Index in [`Files::contents`].
    content: usize,
    pub(crate) position: u64,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    /// The descriptor's `fdflags`, as WASI numbers them.
    pub(crate) flags: u16,
}

/// The content of an open file, shared by all descriptors of its path.
pub(crate) struct Content {
    pub(crate) path: String,
    pub(crate) stat: Stat,
    /// The whole content, once it was read.
    bytes: Option<Vec<u8>>,
    /// The content differs from what the host has.
    pub(crate) changed: bool,
    /// The path was deleted or names another file now, so the content is never written back.
    unlinked: bool,
}

impl Content {
    pub(crate) fn size(&self) -> u64 {
        self.bytes.as_ref().map_or(self.stat.bytes, |bytes| bytes.len() as u64)
    }

    pub(crate) fn bytes(&self) -> Option<&[u8]> {
        self.bytes.as_deref()
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        self.bytes.as_deref_mut().unwrap_or_default()
    }

    pub(crate) fn is_unlinked(&self) -> bool {
        self.unlinked
    }

    /// Whether the content still has to be written to the host.
    pub(crate) fn is_unwritten(&self) -> bool {
        self.changed && !self.unlinked
    }

    fn memory_bytes(&self) -> u64 {
        self.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)
    }
}

/// All open files and directories of a run.
pub(crate) struct Files {
    open: Vec<Option<Open>>,
    /// An index stays the same as long as any descriptor refers to it.
    contents: Vec<Option<Content>>,
    /// Number of files and directories that the guest has opened itself.
    opened: u32,
    /// Bytes of all contents and directory entries.
    memory_bytes: u64,
    files_max: u32,
    bytes_max: u64,
}

impl Files {
    /// The open files of a guest at its start: the directories `preopens`.
    pub(crate) fn new(preopens: &[String], limits: &RunLimits) -> Self {
        let directory = |path: &String| Some(Open::Directory(Directory::new(path.clone(), true)));
        Self {
            open: preopens.iter().map(directory).collect(),
            contents: Vec::new(),
            opened: 0,
            memory_bytes: 0,
            files_max: limits.files_max,
            bytes_max: limits.file_bytes_max,
        }
    }

    /// Closes everything without writing anything.
    pub(crate) fn clear(&mut self) {
        self.open.clear();
        self.contents.clear();
        (self.opened, self.memory_bytes) = (0, 0);
    }

    pub(crate) fn at(&mut self, number: u32) -> Option<&mut Open> {
        self.open.get_mut(number.checked_sub(FIRST)? as usize)?.as_mut()
    }

    /// An open file and its content, or the error number.
    pub(crate) fn file(&mut self, number: u32) -> Result<(&mut File, &mut Content), i32> {
        let index = number.checked_sub(FIRST).ok_or(errno::BAD_FILE)?;
        match self.open.get_mut(index as usize) {
            Some(Some(Open::File(file))) => {
                let content = self.contents.get_mut(file.content).and_then(Option::as_mut);
                content.map(|content| (file, content)).ok_or(errno::BAD_FILE)
            }
            Some(Some(Open::Directory(_))) => Err(errno::IS_DIRECTORY),
            Some(None) | None => Err(errno::BAD_FILE),
        }
    }

    pub(crate) fn directory(&mut self, number: u32) -> Result<&mut Directory, i32> {
        match self.at(number) {
            Some(Open::Directory(directory)) => Ok(directory),
            Some(Open::File(_)) => Err(errno::NOT_DIRECTORY),
            None => Err(errno::BAD_FILE),
        }
    }

    /// Whether one more file can be opened. Preopened directories do not count.
    pub(crate) fn has_room(&self) -> bool {
        self.opened < self.files_max
    }

    /// The description of a path that some descriptor has open.
    pub(crate) fn known(&self, path: &str) -> Option<Stat> {
        let content = self.contents.get(self.content(path)?)?.as_ref()?;
        Some(Stat { bytes: content.size(), ..content.stat })
    }

    /// Index of the content that `path` names now.
    fn content(&self, path: &str) -> Option<usize> {
        let is_it = |content: &Content| content.path == path && !content.unlinked;
        self.contents.iter().position(|content| content.as_ref().is_some_and(is_it))
    }

    /// Opens a file whose content is not read yet, or shares the content if the path is already open.
    pub(crate) fn open_file(
        &mut self,
        path: String,
        stat: Stat,
        (readable, writable): (bool, bool),
        flags: u16,
    ) -> Result<u32, i32> {
        if !self.has_room() {
            return Err(errno::TOO_MANY_FILES);
        }
        let content = self.content(&path).unwrap_or_else(|| {
            let content = Content { path, stat, bytes: None, changed: false, unlinked: false };
            place(&mut self.contents, content)
        });
        self.insert(Open::File(File { content, position: 0, readable, writable, flags }))
    }

    /// Opens a directory and returns its descriptor.
    pub(crate) fn open_directory(&mut self, path: String) -> Result<u32, i32> {
        self.insert(Open::Directory(Directory::new(path, false)))
    }

    /// Stores an open file or directory under the lowest free descriptor.
    fn insert(&mut self, open: Open) -> Result<u32, i32> {
        if !self.has_room() {
            return Err(errno::TOO_MANY_FILES);
        }
        self.opened += 1;
        let index = u32::try_from(place(&mut self.open, open));
        index.map(|index| index.saturating_add(FIRST)).map_err(|_| errno::TOO_MANY_FILES)
    }

    /// Closes a descriptor; the last descriptor of a file takes its content with it.
    pub(crate) fn close(&mut self, number: u32) {
        let place = number.checked_sub(FIRST).and_then(|index| self.open.get_mut(index as usize));
        match place.and_then(Option::take) {
            None => {}
            Some(Open::Directory(directory)) => {
                self.opened = self.opened.saturating_sub(u32::from(!directory.preopened));
                let bytes = entries_bytes(directory.entries().unwrap_or_default());
                self.memory_bytes = self.memory_bytes.saturating_sub(bytes);
            }
            Some(Open::File(File { content, .. })) => {
                self.opened = self.opened.saturating_sub(1);
                let others = self.open.iter().flatten();
                let mut others =
                    others.filter(|open| matches!(open, Open::File(file) if file.content == content));
                if others.next().is_none()
                    && let Some(content) = self.contents.get_mut(content).and_then(Option::take)
                {
                    self.memory_bytes = self.memory_bytes.saturating_sub(content.memory_bytes());
                }
            }
        }
    }

    /// Whether contents and entries may grow by `bytes`.
    pub(crate) fn admits(&self, bytes: u64) -> bool {
        self.memory_bytes.saturating_add(bytes) <= self.bytes_max
    }

    /// Sets the content of a file.
    pub(crate) fn fill(&mut self, number: u32, bytes: Vec<u8>) -> Result<(), i32> {
        let (_, content) = self.file(number)?;
        let (before, after) = (content.memory_bytes(), bytes.len() as u64);
        content.bytes = Some(bytes);
        self.memory_bytes = self.memory_bytes.saturating_sub(before).saturating_add(after);
        Ok(())
    }

    /// Truncates a file's content, or extends it with zeros.
    pub(crate) fn resize(&mut self, number: u32, length: usize) -> Result<(), i32> {
        let (_, content) = self.file(number)?;
        let before = content.memory_bytes();
        let bytes = content.bytes.get_or_insert_default();
        let shorter = length < bytes.len();
        bytes.resize(length, 0);
        if shorter {
            // Free the memory too, as it no longer counts.
            bytes.shrink_to_fit();
        }
        self.memory_bytes = self.memory_bytes.saturating_sub(before).saturating_add(length as u64);
        Ok(())
    }

    /// Sets the entries of a directory.
    pub(crate) fn list(&mut self, number: u32, entries: Vec<(String, Kind)>) -> Result<(), i32> {
        let directory = self.directory(number)?;
        let before = entries_bytes(directory.entries().unwrap_or_default());
        let after = entries_bytes(&entries);
        directory.entries = Some(entries);
        self.memory_bytes = self.memory_bytes.saturating_sub(before).saturating_add(after);
        Ok(())
    }

    /// Marks the content at a deleted path: descriptors that have it open keep it.
    pub(crate) fn unlink(&mut self, path: &str) {
        let index = self.content(path);
        if let Some(content) = index.and_then(|index| self.contents.get_mut(index)?.as_mut()) {
            content.unlinked = true;
        }
    }

    /// A descriptor whose content still has to be written to the host.
    pub(crate) fn unwritten(&self) -> Option<u32> {
        let index = self.open.iter().position(|open| match open {
            Some(Open::File(file)) => {
                let content = self.contents.get(file.content).and_then(Option::as_ref);
                content.is_some_and(Content::is_unwritten)
            }
            Some(Open::Directory(_)) | None => false,
        });
        u32::try_from(index?).ok()?.checked_add(FIRST)
    }
}

/// Puts an item into the first free slot and returns its index.
fn place<T>(places: &mut Vec<Option<T>>, item: T) -> usize {
    match places.iter_mut().enumerate().find(|(_, place)| place.is_none()) {
        Some((index, place)) => {
            *place = Some(item);
            index
        }
        None => {
            places.push(Some(item));
            places.len() - 1
        }
    }
}
