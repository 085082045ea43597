//! A file that is open more than once, or open and deleted.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "support/command.rs"]
mod command;
#[path = "support/disk.rs"]
mod disk;
mod support;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::rc::Rc;

use ak_sandbox::RunLimits;
use command::*;
use disk::Disk;
use proptest::prelude::*;
use support::{cases, drive, json, limits};

#[test]
fn all_who_have_a_file_open_see_one_content() {
    let (open_log, write) = (open(3, CREAT, WRITING, APPEND), |file| on("write", file));
    let body =
        [open_log.clone(), open_log, write(4), write(5), write(4), on("close", 4), on("close", 5)].concat();
    let disk = check(
        "log",
        &body,
        "[1,100,100,100,100,100,100,100]",
        &["fs_stat /data/log", "fs_write /data/log", "fs_write /data/log"],
    );
    assert_eq!(disk.text("/data/log"), Some("hellohellohello"));
    // Written by one, it is seen by another and by its size, before the host has it.
    let body = [
        open(1, CREAT | TRUNC, WRITING, 0),
        open(1, 0, READING, 0),
        on("write", 4),
        on("size_of", 5),
        of_path("stat", 1),
        "(call $try (i32.load (i32.const 632)))".to_string(),
        on("read", 5),
        "(call $try (i32.load (i32.const 32)))".to_string(),
    ]
    .concat();
    check("x", &body, "[1,100,100,100,100,105,100,105,100,105]", &["fs_write /data/x"; 2]);
    // Opened once more to be cut, it is cut for all.
    let body = [
        open(1, 0, BOTH, 0),
        on("write", 4),
        open(1, TRUNC, WRITING, 0),
        on("size_of", 4),
        open(1, CREAT | EXCL, WRITING, 0),
    ]
    .concat();
    let asked = ["fs_stat /data/a", "fs_read /data/a", "fs_write /data/a"];
    let disk = check("a", &body, "[1,100,100,100,100,100,120]", &asked);
    assert_eq!(disk.text("/data/a"), Some(""));
}

#[test]
fn what_is_deleted_does_not_come_back() {
    let body = [
        open(3, CREAT | TRUNC, BOTH, 0),
        on("write", 4),
        of_path("unlink", 3),
        on("write", 4),
        on("size_of", 4),
        on("sync", 4),
        on("close", 4),
    ]
    .concat();
    let disk = check(
        "tmp",
        &body,
        "[1,100,100,100,100,100,110,100,100]",
        &["fs_write /data/tmp", "fs_delete /data/tmp"],
    );
    assert_eq!(disk.text("/data/tmp"), None);
    // Another of the same name is another file.
    let body = [
        open(3, CREAT | TRUNC, BOTH, 0),
        on("write", 4),
        of_path("unlink", 3),
        open(3, CREAT | TRUNC, BOTH, 0),
        on("size_of", 5),
        on("size_of", 4),
    ]
    .concat();
    let disk = check(
        "tmp",
        &body,
        "[1,100,100,100,100,100,100,100,105]",
        &["fs_write /data/tmp", "fs_delete /data/tmp", "fs_write /data/tmp"],
    );
    assert_eq!(disk.text("/data/tmp"), Some(""));
}

#[test]
fn a_synchronous_file_goes_out_with_every_write() {
    let body = [
        open(1, CREAT | TRUNC, WRITING, SYNC | APPEND),
        on("write", 4),
        on("write", 4),
        "(call $try (call $fdstat (i32.const 4) (i32.const 600)))".to_string(),
        "(call $try (i32.load16_u (i32.const 602)))".to_string(),
        on("close", 4),
    ]
    .concat();
    check("x", &body, "[1,100,100,100,100,117,100]", &["fs_write /data/x"; 3]);
}

/// What a command does with the files `a` and `b`; descriptors count from 4.
#[derive(Clone, Copy, Debug)]
enum Action {
    Open { name: char, truncate: bool, append: bool },
    Write(u32),
    Read(u32),
    Seek(u32, u32),
    Resize(u32, u32),
    Size(u32),
    Close(u32),
    Unlink(char),
    Stat(char),
}

fn action() -> impl Strategy<Value = Action> {
    use Action::*;
    let (file, name) = (4u32..9, prop_oneof![Just('a'), Just('b')]);
    prop_oneof![
        3 => (name.clone(), any::<bool>(), any::<bool>())
            .prop_map(|(name, truncate, append)| Open { name, truncate, append }),
        4 => file.clone().prop_map(Write),
        2 => file.clone().prop_map(Read),
        2 => (file.clone(), 0u32..30).prop_map(|(file, to)| Seek(file, to)),
        1 => (file.clone(), 0u32..30).prop_map(|(file, bytes)| Resize(file, bytes)),
        1 => file.clone().prop_map(Size),
        2 => file.prop_map(Close),
        1 => name.clone().prop_map(Unlink),
        1 => name.prop_map(Stat),
    ]
}

/// A number of two digits that is printed beside the error numbers.
fn printed(value: &str) -> String {
    format!("(call $try (i32.rem_u {value} (i32.const 100)))")
}

impl Action {
    fn wat(self) -> String {
        let named = |name: char| format!("(i32.store8 (i32.const 64) (i32.const {}))", name as u32);
        match self {
            Self::Open { name, truncate, append } => {
                let flags = CREAT | if truncate { TRUNC } else { 0 };
                format!("{} {}", named(name), open(1, flags, BOTH, if append { APPEND } else { 0 }))
            }
            Self::Write(file) => on("write", file),
            Self::Read(file) => format!(
                "(i32.store (i32.const 32) (i32.const 0)) (i32.store8 (i32.const 512) (i32.const 0)) {} {} {}",
                on("read", file),
                printed("(i32.load (i32.const 32))"),
                printed("(i32.load8_u (i32.const 512))"),
            ),
            Self::Seek(file, to) => {
                format!(
                    "(call $try (call $seek (i32.const {file}) (i64.const {to}) (i32.const 0) (i32.const 48)))"
                )
            }
            Self::Resize(file, bytes) => {
                format!("(call $try (call $resize (i32.const {file}) (i64.const {bytes})))")
            }
            Self::Size(file) => format!("(i32.store (i32.const 632) (i32.const 0)) {}", on("size_of", file)),
            Self::Close(file) => on("close", file),
            Self::Unlink(name) => format!("{} {}", named(name), of_path("unlink", 1)),
            Self::Stat(name) => format!(
                "(i32.store (i32.const 632) (i32.const 0)) {} {} {}",
                named(name),
                of_path("stat", 1),
                printed("(i32.load (i32.const 632))")
            ),
        }
    }
}

#[derive(Default)]
struct Node {
    bytes: Vec<u8>,
    /// The command has got the content.
    held: bool,
    unlinked: bool,
}

/// The content, the position, and whether what is written is appended.
type Descriptor = (Rc<RefCell<Node>>, usize, bool);

#[derive(Default)]
struct Model {
    names: BTreeMap<char, Rc<RefCell<Node>>>,
    open: [Option<Descriptor>; 4],
    out: String,
}

impl Model {
    fn print(&mut self, number: usize) {
        write!(self.out, ",1{:02}", number % 100).unwrap();
    }

    /// What an open file comes to, which must have its content.
    fn with(&mut self, file: u32, act: impl FnOnce(&mut Vec<u8>, &mut usize, bool)) {
        let number = match self.open.get_mut(file as usize - 4) {
            Some(Some((node, position, append))) => {
                let node = &mut *node.borrow_mut();
                // What was deleted before anybody looked at it is gone.
                if node.unlinked && !node.held {
                    44
                } else {
                    node.held = true;
                    act(&mut node.bytes, position, *append);
                    0
                }
            }
            _ => 8,
        };
        self.print(number);
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Open { name, truncate, append } => {
                let Some(free) = self.open.iter().position(Option::is_none) else { return self.print(33) };
                let known = self.names.contains_key(&name);
                let node = self.names.entry(name).or_default().clone();
                // Its name and this one.
                let first = Rc::strong_count(&node) == 2;
                let content = &mut *node.borrow_mut();
                if truncate || !known {
                    (content.bytes, content.held) = (Vec::new(), true);
                } else if first {
                    content.held = false;
                }
                self.open[free] = Some((node.clone(), 0, append));
                self.print(0);
            }
            Action::Write(file) => self.with(file, |bytes, position, append| {
                let at = if append { bytes.len() } else { *position };
                bytes.resize(bytes.len().max(at + 5), 0);
                bytes[at..at + 5].copy_from_slice(b"hello");
                *position = at + 5;
            }),
            Action::Read(file) => {
                let mut got = Vec::new();
                self.with(file, |bytes, position, _| {
                    got = bytes.iter().skip(*position).take(5).copied().collect();
                    *position += got.len();
                });
                self.print(got.len());
                self.print(got.first().copied().unwrap_or(0).into());
            }
            Action::Seek(file, to) => match self.open.get_mut(file as usize - 4) {
                Some(Some((_, position, _))) => {
                    *position = to as usize;
                    self.print(0);
                }
                _ => self.print(8),
            },
            Action::Resize(file, length) => self.with(file, |bytes, _, _| bytes.resize(length as usize, 0)),
            Action::Size(file) => match self.open.get(file as usize - 4) {
                Some(Some((node, ..))) => {
                    let size = node.borrow().bytes.len();
                    self.print(0);
                    self.print(size);
                }
                _ => {
                    self.print(8);
                    self.print(0);
                }
            },
            Action::Close(file) => {
                let closed = self.open.get_mut(file as usize - 4).and_then(Option::take);
                self.print(if closed.is_some() { 0 } else { 8 });
            }
            Action::Unlink(name) => match self.names.remove(&name) {
                Some(node) => {
                    node.borrow_mut().unlinked = true;
                    self.print(0);
                }
                None => self.print(44),
            },
            Action::Stat(name) => {
                let size = self.names.get(&name).map(|node| node.borrow().bytes.len());
                self.print(if size.is_some() { 0 } else { 44 });
                self.print(size.unwrap_or(0));
            }
        }
    }
}

proptest! {
    #![proptest_config(cases(192))]

    #[test]
    fn open_files_are_as_on_any_other_system(actions in proptest::collection::vec(action(), 0..40)) {
        let mut model = Model::default();
        actions.iter().for_each(|&action| model.act(action));

        let body: String = actions.iter().map(|action| action.wat()).collect();
        let mut disk = Disk::with(&[("/data/sub/c", "")]);
        let limits = RunLimits { host_calls_max: 1_000, host_call_bytes_max: 4_096, file_bytes_max: 65_536, ..limits() };
        let done = drive(&tool(&command("a", &body)), &json("{}"), limits, 1_000, |call| disk.answer(call));
        prop_assert_eq!(done.unwrap().output.to_json(), format!("[1{}]", model.out));
        disk.files.remove("/data/sub/c");
        let left: BTreeMap<_, _> =
            model.names.iter().map(|(name, node)| (format!("/data/{name}"), node.borrow().bytes.clone())).collect();
        prop_assert_eq!(disk.files, left);
    }
}
