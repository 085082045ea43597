//! No path leads an agent out of its granted root, however it is spelled and whatever files exist there.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use ak_host::ak_kernel::{Code, FileRequest, Outcome, Reply, Request};
use ak_host::{Connection, Options};
use support::{PATIENCE, Scratch, bytes, code, embedded, load};

const SECRET: &str = "the secret outside";
const INSIDE: &str = "the content inside";

fn read(path: &str) -> Request {
    Request::File(FileRequest::Read { path: path.into(), bytes_max: 1000 })
}

fn write(path: &str) -> Request {
    Request::File(FileRequest::Write { path: path.into(), data: Arc::from(&b"overwritten"[..]) })
}

/// Creates the files: `data` is granted, everything else is not. Each link in `data/links` leads out of `data`.
fn tree(scratch: &Scratch) {
    for directory in ["data/sub/deeper", "data/links", "data/empty", "outside/sub", "data-2", "dat"] {
        fs::create_dir_all(scratch.join(directory)).unwrap();
    }
    for file in [
        "data/file",
        "data/sub/file",
        "data/sub/deeper/file",
        "data/..file",
        "data/.file",
        "data/ file",
        "data/%2e%2e",
    ] {
        fs::write(scratch.join(file), INSIDE).unwrap();
    }
    for file in
        ["secret", "outside/secret", "outside/sub/secret", "data-2/secret", "dat/secret", "datasecret"]
    {
        fs::write(scratch.join(file), SECRET).unwrap();
    }
    let links = scratch.join("data/links");
    let link = |to: &Path, name: &str| symlink(to, links.join(name)).unwrap();
    link(&scratch.join("secret"), "absolute");
    link(Path::new("../../secret"), "relative");
    link(&scratch.join("outside"), "directory");
    link(Path::new("../.."), "up");
    link(Path::new("/"), "root");
    link(Path::new("/proc/self/root"), "magic");
    link(Path::new("/proc/self/cwd"), "cwd");
    link(Path::new("/proc/self/fd"), "fd");
    link(Path::new("/dev/fd/0"), "stdin");
    link(Path::new("absolute"), "chained");
    link(Path::new("chained"), "chained-twice");
    link(Path::new("directory/../secret"), "through");
    link(Path::new("loop-b"), "loop-a");
    link(Path::new("loop-a"), "loop-b");
    link(Path::new("loop-self"), "loop-self");
    link(Path::new("../file"), "inward");
    link(Path::new("../sub"), "inward-directory");
    link(Path::new("/nowhere/at/all"), "dangling");
    link(Path::new(&"x/".repeat(600)), "long");
    link(Path::new("."), "here");
    fs::hard_link(scratch.join("secret"), links.join("hard")).unwrap();
}

/// Paths from `data` to other directories. Each of `TAILS` exists beneath them.
const WAYS_OUT: &[&str] = &[
    "..",
    "../",
    "../.",
    ".././",
    "./..",
    "sub/../..",
    "sub/./../..",
    "sub/deeper/../../..",
    "sub//..//..",
    "..//",
    "//..",
    "/..",
    "../data/..",
    "../data/../data/..",
    "../data/sub/../..",
    "missing/../..",
    "file/../..",
    "empty/../..",
    "links/../..",
    "links/directory",
    "links/up",
    "links/up/../..",
    "links/root/../..",
    "links/inward-directory/../../..",
    "links/here/../../..",
    "../outside",
    "../outside/.",
    "../outside/sub/..",
    "../data-2",
    "../dat",
    "links/directory/sub/..",
    "links/here/directory",
    "links/here/here/directory",
    "links/through/..",
    "links/chained/..",
];
const TAILS: &[&str] = &[
    "secret",
    "./secret",
    "outside/secret",
    "outside/sub/secret",
    "sub/secret",
    "data-2/secret",
    "datasecret",
];

/// Names that some programs read as a step to the parent. For a file system they are ordinary names, and no such file
/// exists.
const MERE_NAMES: &[&str] = &[
    "..%2fsecret",
    "..%2Fsecret",
    "%2e%2e/secret",
    "%2e%2e%2fsecret",
    "%252e%252e%252fsecret",
    "..%252fsecret",
    "..%c0%afsecret",
    "..%c1%9csecret",
    "%c0%ae%c0%ae/secret",
    "%u002e%u002e/secret",
    "..\\secret",
    "..\\..\\secret",
    "..%5csecret",
    "..;/secret",
    "..;/..;/secret",
    "..\u{2215}secret",
    "..\u{2044}secret",
    "..\u{ff0f}secret",
    "\u{ff0e}\u{ff0e}/secret",
    "\u{2024}\u{2024}/secret",
    "..\u{200b}/secret",
    "\u{202e}..\u{202c}/secret",
    ". ./secret",
    "... /secret",
    ".../secret",
    "..../secret",
    "..../..../secret",
    "....//secret",
    ".. /secret",
    " ../secret",
    "..\t/secret",
    "..\n/secret",
    "..\r\n/secret",
    "..\u{7f}/secret",
    "~/secret",
    "~root/secret",
    "$HOME/secret",
    "${HOME}/secret",
    "$(pwd)/secret",
    "`pwd`/secret",
    "*/secret",
    "?/secret",
    "[.][.]/secret",
    "{..,x}/secret",
    "C:/secret",
    "C:\\secret",
    "\\\\host\\share",
    "//host/share/secret",
    "file:///secret",
    "file://localhost/secret",
    "secret::$DATA",
    "..|secret",
    "..&secret",
    "..'/secret",
    "..\"/secret",
    "..#/secret",
    "..?/secret",
    "..@/secret",
    "..=/secret",
    "..,/secret",
    "-rf",
    "--",
    "CON",
    "nul",
    "aux.txt",
    "\u{fe52}\u{fe52}/secret",
    "\u{3002}\u{3002}/secret",
    "..\u{ad}/secret",
    "\u{feff}../secret",
    "..\u{301}/secret",
];

/// Links in `data/links`, with paths that an attacker would try behind them.
const LINKS: &[&str] = &[
    "absolute",
    "relative",
    "chained",
    "chained-twice",
    "through",
    "directory",
    "directory/secret",
    "directory/sub/secret",
    "up/secret",
    "up/outside/secret",
    "up/data/file",
    "root/etc/passwd",
    "root",
    "magic",
    "magic/etc/passwd",
    "cwd",
    "cwd/Cargo.toml",
    "fd",
    "fd/0",
    "stdin",
    "loop-a",
    "loop-b",
    "loop-self",
    "loop-a/secret",
    "inward",
    "inward-directory/file",
    "dangling",
    "dangling/x",
    "long",
    "here/absolute",
    "here/here/relative",
    "here/hard/..",
    "./absolute",
    "../links/relative",
    "directory/../absolute",
];

/// Checks that no file outside is read, written, listed, described or deleted.
fn check(kernel: &Connection, path: &str) {
    let content = match kernel.call(read(path)) {
        Ok(Reply::Bytes(content)) => String::from_utf8_lossy(&content).into_owned(),
        Ok(other) => panic!("{path:?}: {other:?}"),
        Err(failure) => {
            let expected = [Code::PolicyDeny, Code::NotFound, Code::InvalidArgument, Code::Io];
            assert!(expected.contains(&failure.code), "{path:?}: {failure:?}");
            assert!(!failure.message.contains(SECRET));
            return;
        }
    };
    assert_eq!(content, INSIDE, "{path:?} leads out");
}

fn refused(kernel: &Connection, path: &str, request: impl Fn(&str) -> Request) {
    let outcome: Outcome = kernel.call(request(path));
    let expected = [Code::PolicyDeny, Code::NotFound, Code::InvalidArgument, Code::Io];
    match outcome {
        Err(failure) => assert!(expected.contains(&failure.code), "{path:?}: {failure:?}"),
        Ok(reply) => panic!("{path:?}: {reply:?}"),
    }
}

fn granted(scratch: &Scratch) -> Connection {
    let root = scratch.text("data");
    embedded(&format!("[fs]\nread = [\"{root}/**\"]\nwrite = [\"{root}/**\"]"))
}

#[test]
fn path_lists_produce_denials_and_no_content() {
    let scratch = Scratch::new("escape-list");
    tree(&scratch);
    let (kernel, data) = (granted(&scratch), scratch.text("data"));
    let mut cases = 0;
    let mut paths: Vec<String> = Vec::new();
    for way in WAYS_OUT {
        paths.extend(TAILS.iter().map(|tail| format!("{data}/{way}/{tail}")));
    }
    paths.extend(MERE_NAMES.iter().map(|name| format!("{data}/{name}")));
    paths.extend(LINKS.iter().map(|link| format!("{data}/links/{link}")));
    paths.extend(
        ["", ".", "..", "secret", "data/../secret", "./data/file", "~", "\0", "file:///etc/passwd"]
            .map(String::from),
    );
    paths.extend([
        format!("{data}/file\0"),
        format!("{data}\0/../secret"),
        format!("{data}/sub\0file"),
        format!("{data}file"),
    ]);
    paths.extend([
        format!("{data}secret"),
        format!("{data}-2/secret"),
        scratch.text("dat/secret"),
        scratch.text("secret"),
    ]);
    paths.push(format!("{data}/{}secret", "../".repeat(1200)));
    paths.push(format!("{data}/{}", "a/".repeat(3000)));
    paths.push(format!("{data}/{}", "a".repeat(300)));
    for path in &paths {
        check(&kernel, path);
        cases += 1;
    }
    assert!(cases >= 300, "only {cases} cases");
    for link in LINKS.iter().map(|link| format!("{data}/links/{link}")) {
        // A canonical path may mean a file inside, judging by its text alone.
        if !link.contains("..") {
            refused(&kernel, &link, write);
            refused(&kernel, &link, |path| Request::File(FileRequest::List { path: path.into() }));
        }
    }
    for way in WAYS_OUT.iter().filter(|way| !way.starts_with("links/")) {
        for tail in TAILS {
            let path = format!("{data}/{way}/{tail}");
            refused(&kernel, &path, write);
            refused(&kernel, &path, |path| Request::File(FileRequest::Delete { path: path.into() }));
            refused(&kernel, &path, |path| Request::File(FileRequest::Stat { path: path.into() }));
        }
    }
    for file in
        ["secret", "outside/secret", "outside/sub/secret", "data-2/secret", "dat/secret", "datasecret"]
    {
        assert_eq!(fs::read_to_string(scratch.join(file)).unwrap(), SECRET, "{file}");
    }
}

#[test]
fn names_of_dots_are_ordinary_names() {
    let scratch = Scratch::new("escape-names");
    tree(&scratch);
    let (kernel, data) = (granted(&scratch), scratch.text("data"));
    for path in ["..file", ".file", " file", "%2e%2e", "sub/../file", "./file", "sub//file", "links/../file"]
    {
        assert_eq!(bytes(kernel.call(read(&format!("{data}/{path}")))), INSIDE.as_bytes(), "{path}");
    }
    assert_eq!(code(kernel.call(write(&format!("{data}/links/hard")))), Code::PolicyDeny, "several links");
    kernel
        .call(Request::File(FileRequest::Delete { path: format!("{data}/links/absolute").into() }))
        .unwrap();
    assert_eq!(
        fs::read_to_string(scratch.join("secret")).unwrap(),
        SECRET,
        "a link is deleted, not what it leads to"
    );
}

/// Beneath `/` are other mounts, and procfs, which shows the data of processes.
#[test]
fn mounts_and_processes_are_closed() {
    let kernel = embedded("[fs]\nread = [\"/**\"]");
    assert_eq!(code(kernel.call(read("/proc/version"))), Code::PolicyDeny, "another mount");
    assert_eq!(
        code(kernel.call(Request::File(FileRequest::Stat { path: "/proc".into() }))),
        Code::PolicyDeny
    );
    load(&kernel, "[fs]\nread = [\"/proc/**\"]");
    assert!(matches!(kernel.call(read("/proc/version")), Ok(Reply::Bytes(_))));
    let own = std::process::id();
    for path in [
        format!("/proc/{own}/environ"),
        format!("/proc/{own}/mem"),
        format!("/proc/{own}/maps"),
        format!("/proc/{own}/cmdline"),
        format!("/proc/{own}/fd/0"),
        format!("/proc/{own}/root/etc/passwd"),
        format!("/proc/{own}/cwd/Cargo.toml"),
        format!("/proc/{own}/task/{own}/environ"),
        "/proc/1/environ".into(),
        "/proc/self/environ".into(),
        "/proc/thread-self/environ".into(),
        "/proc/self/fd/0".into(),
        "/proc/self/root/etc/passwd".into(),
    ] {
        assert_eq!(code(kernel.call(read(&path))), Code::PolicyDeny, "{path}");
    }
    load(&kernel, "[fs]\nread = [\"/proc/self/**\"]");
    assert_eq!(code(kernel.call(read("/proc/self/environ"))), Code::PolicyDeny, "even granted by name");
}

/// A root that is a link when the policy is loaded stands for the link's target at that time.
#[test]
fn a_root_stands_for_what_it_led_to_at_load() {
    let scratch = Scratch::new("escape-root");
    tree(&scratch);
    symlink(scratch.join("data"), scratch.join("alias")).unwrap();
    let alias = scratch.text("alias");
    let kernel = embedded(&format!("[fs]\nread = [\"{alias}/**\"]"));
    fs::remove_file(scratch.join("alias")).unwrap();
    symlink(scratch.join("outside"), scratch.join("alias")).unwrap();
    assert_eq!(bytes(kernel.call(read(&format!("{alias}/file")))), INSIDE.as_bytes());
    assert_eq!(code(kernel.call(read(&format!("{alias}/secret")))), Code::NotFound);
    // A root that becomes a link later leads nowhere.
    let root = scratch.text("data");
    load(&kernel, &format!("[fs]\nread = [\"{root}/**\"]"));
    fs::rename(scratch.join("data"), scratch.join("moved")).unwrap();
    symlink(scratch.join("outside"), scratch.join("data")).unwrap();
    assert_eq!(code(kernel.call(read(&format!("{root}/secret")))), Code::PolicyDeny);
}

/// Number of reads of a file while its directory is exchanged.
const RACES: u32 = 3000;

/// While names are exchanged all the time, each read gets a file inside or fails.
#[test]
fn racing_renames_do_not_escape_the_root() {
    let scratch = Scratch::new("escape-race");
    tree(&scratch);
    let (kernel, data) = (granted(&scratch), scratch.text("data"));
    fs::write(scratch.join("data/sub/secret"), INSIDE).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let racer = std::thread::spawn({
        let (stop, sub, link) =
            (stop.clone(), scratch.join("data/sub"), scratch.join("data/links/directory"));
        move || {
            while !stop.load(Ordering::Relaxed) {
                // Exchanging both names in one step leaves no moment in which a name is free.
                rustix::fs::renameat_with(
                    rustix::fs::CWD,
                    &sub,
                    rustix::fs::CWD,
                    &link,
                    rustix::fs::RenameFlags::EXCHANGE,
                )
                .unwrap();
            }
        }
    });
    let (mut inside, mut refusals) = (0, 0);
    let started = Instant::now();
    let mut turn = 0;
    // As long as it takes for both to be seen: a host that refuses every read does not pass.
    while turn < RACES || inside == 0 || refusals == 0 {
        assert!(started.elapsed() < PATIENCE, "{inside} read, {refusals} refused");
        match kernel.call(read(&format!("{data}/sub/secret"))) {
            Ok(Reply::Bytes(content)) => {
                assert_eq!(&*content, INSIDE.as_bytes(), "it was read through the link");
                inside += 1;
            }
            Ok(other) => panic!("{other:?}"),
            Err(_) => refusals += 1,
        }
        // Few writes, because each one is synced and takes long.
        if turn % 30 == 0 {
            let _ = kernel.call(write(&format!("{data}/sub/new")));
        }
        turn += 1;
    }
    stop.store(true, Ordering::Relaxed);
    racer.join().unwrap();
    assert!(!scratch.join("outside/new").exists(), "it was written through the link");
}

/// A file that replaces a protected file is protected too, and so is a protected path without a file.
#[test]
fn protected_paths_stay_protected() {
    let scratch = Scratch::new("escape-protected");
    let root = scratch.text("").trim_end_matches('/').to_owned();
    let everything = format!("[fs]\nread = [\"{root}/**\"]\nwrite = [\"{root}/**\"]");
    fs::write(scratch.join("policy.toml"), &everything).unwrap();
    fs::write(scratch.join("later.toml"), &everything).unwrap();
    fs::write(scratch.join("key"), "a-key-of-a-model").unwrap();
    fs::write(
        scratch.join("host.toml"),
        "protect = [\"vault\", \"absent\"]\n[[model]]\nmatch = \"*\"\nurl = \"http://127.0.0.1:1\"\nkey = \"file:key\"",
    )
    .unwrap();
    fs::create_dir_all(scratch.join("vault/deep")).unwrap();
    fs::write(scratch.join("vault/deep/file"), SECRET).unwrap();
    let options = Options {
        policy: Some(scratch.join("policy.toml")),
        host_config: Some(scratch.join("host.toml")),
        ..Options::default()
    };
    let kernel = Connection::open(&options).unwrap();
    kernel.call(write(&scratch.text("later.toml"))).unwrap();
    fs::write(scratch.join("later.toml"), &everything).unwrap();
    kernel.load_policy_file(&scratch.join("later.toml")).unwrap();
    // Editors replace the old file by a new one.
    fs::write(scratch.join("draft"), &everything).unwrap();
    fs::rename(scratch.join("policy.toml"), scratch.join("old-policy")).unwrap();
    fs::rename(scratch.join("draft"), scratch.join("policy.toml")).unwrap();
    fs::hard_link(scratch.join("key"), scratch.join("alias")).unwrap();
    fs::hard_link(scratch.join("vault/deep/file"), scratch.join("inner-alias")).unwrap();
    for name in [
        "policy.toml",
        "old-policy",
        "later.toml",
        "host.toml",
        "key",
        "alias",
        "inner-alias",
        "vault",
        "vault/deep/file",
        "vault/new",
        "absent",
    ] {
        let path = scratch.text(name);
        assert_eq!(code(kernel.call(read(&path))), Code::PolicyDeny, "read {name}");
        assert_eq!(code(kernel.call(write(&path))), Code::PolicyDeny, "write {name}");
        assert_eq!(
            code(kernel.call(Request::File(FileRequest::Delete { path: path.as_str().into() }))),
            Code::PolicyDeny,
            "delete {name}"
        );
        assert_eq!(
            code(kernel.call(Request::File(FileRequest::Stat { path: path.as_str().into() }))),
            Code::PolicyDeny,
            "stat {name}"
        );
    }
    assert!(kernel.call(write(&scratch.text("free"))).is_ok());
    // A file with several links is not rejected for that alone.
    fs::hard_link(scratch.join("free"), scratch.join("free-too")).unwrap();
    assert!(kernel.call(read(&scratch.text("free-too"))).is_ok());
}

/// No other path leads to a file of the kernel.
#[test]
fn no_other_name_leads_into_the_state() {
    let scratch = Scratch::new("escape-state");
    let root = scratch.text("").trim_end_matches('/').to_owned();
    fs::create_dir(scratch.join("data")).unwrap();
    let options = Options { state_dir: Some(scratch.join("state")), ..Options::default() };
    let kernel = Connection::open(&options).unwrap();
    load(&kernel, &format!("[fs]\nread = [\"{root}/data/**\"]\nwrite = [\"{root}/data/**\"]"));
    let (mut directories, mut files) = (vec![scratch.join("state")], 0);
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
                continue;
            }
            let alias = scratch.text(&format!("data/{files}"));
            fs::hard_link(&path, &alias).unwrap();
            files += 1;
            assert_eq!(code(kernel.call(read(&alias))), Code::PolicyDeny, "{}", path.display());
        }
    }
    assert!(files > 3, "the state is more than {files} files");
}

/// A deleted protected file leaves nothing protected: the next file with its inode number is an ordinary one.
#[test]
fn a_deleted_file_does_not_protect_its_reused_inode() {
    let scratch = Scratch::new("escape-reuse");
    let root = scratch.text("").trim_end_matches('/').to_owned();
    let policy = format!("[fs]\nread = [\"{root}/data/**\"]\nwrite = [\"{root}/data/**\"]");
    fs::create_dir(scratch.join("data")).unwrap();
    fs::write(scratch.join("policy.toml"), &policy).unwrap();
    let options = Options { policy: Some(scratch.join("policy.toml")), ..Options::default() };
    let kernel = Connection::open(&options).unwrap();
    fs::remove_file(scratch.join("policy.toml")).unwrap();
    for number in 0..20 {
        let path = scratch.text(&format!("data/{number}"));
        kernel.call(write(&path)).unwrap();
        kernel.call(read(&path)).unwrap();
    }
}

/// Describing a fifo does not open it: a writer that waits for a reader continues to wait.
#[test]
fn a_fifo_is_not_opened() {
    let scratch = Scratch::new("escape-fifo");
    let root = scratch.text("").trim_end_matches('/').to_owned();
    let kernel = embedded(&format!("[fs]\nread = [\"{root}/**\"]"));
    let path = scratch.join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0)
        .unwrap();
    let (opened, seen) = std::sync::mpsc::channel();
    let writer = std::thread::spawn({
        let path = path.clone();
        move || {
            let file = fs::OpenOptions::new().write(true).open(path);
            opened.send(()).unwrap();
            drop(file);
        }
    });
    for _ in 0..100 {
        assert_eq!(code(kernel.call(read(&scratch.text("fifo")))), Code::Io);
    }
    assert!(seen.try_recv().is_err(), "the writer found a reader");
    drop(fs::File::open(&path).unwrap());
    writer.join().unwrap();
}
