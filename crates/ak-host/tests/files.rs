//! The opened file is the checked one.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use std::{fs, os::unix::fs::symlink, sync::Arc};

use ak_host::ak_kernel::{Code, FileRequest, HeapRequest, Reply, Request, ToolsRequest};
use ak_host::{Connection, Options};

use support::{Scratch, bytes, code, embedded, load};

fn read(path: &str) -> Request {
    Request::File(FileRequest::Read { path: path.into(), bytes_max: 100 })
}

fn write(path: &str, data: &[u8]) -> Request {
    Request::File(FileRequest::Write { path: path.into(), data: Arc::from(data) })
}

fn granted(scratch: &Scratch) -> String {
    let root = scratch.text("data");
    format!("[fs]\nread = [\"{root}/**\"]\nwrite = [\"{root}/**\"]")
}

#[test]
fn granted_operations_work() {
    let scratch = Scratch::new("files");
    fs::create_dir_all(scratch.join("data/sub")).unwrap();
    let kernel = embedded(&granted(&scratch));
    let path = scratch.text("data/sub/report.txt");
    kernel.call(write(&path, b"first")).unwrap();
    kernel.call(write(&path, b"second")).unwrap();
    assert_eq!(bytes(kernel.call(read(&path))), b"second");
    assert_eq!(fs::read_dir(scratch.join("data/sub")).unwrap().count(), 1, "no temporary file stays");

    let Ok(Reply::Value(list)) =
        kernel.call(Request::File(FileRequest::List { path: scratch.text("data").into() }))
    else {
        panic!()
    };
    assert_eq!(list.to_json(), r#"{"entries":[{"name":"sub","kind":"directory"}]}"#);
    let Ok(Reply::Value(stat)) = kernel.call(Request::File(FileRequest::Stat { path: path.as_str().into() }))
    else {
        panic!()
    };
    assert_eq!(stat.get("size").and_then(|size| size.as_u64()), Some(6));
    kernel.call(Request::File(FileRequest::Delete { path: path.as_str().into() })).unwrap();
    assert_eq!(code(kernel.call(read(&path))), Code::NotFound);
}

/// Every way out of the granted directory: a path relative to it, and the code of its failure.
#[test]
fn no_path_leads_out_of_the_root() {
    let scratch = Scratch::new("escape");
    let data = scratch.join("data");
    fs::create_dir_all(data.join("sub")).unwrap();
    fs::write(scratch.join("secret"), "secret").unwrap();
    fs::create_dir(scratch.join("outside")).unwrap();
    fs::write(scratch.join("outside/secret"), "secret").unwrap();
    symlink(scratch.join("secret"), data.join("link")).unwrap();
    symlink("../secret", data.join("relative-link")).unwrap();
    symlink(scratch.join("outside"), data.join("linked-dir")).unwrap();
    symlink("link", data.join("link-to-link")).unwrap();
    symlink(data.join("sub"), data.join("inner-dir-link")).unwrap();
    fs::write(data.join("sub/inside"), "inside").unwrap();
    symlink("sub/inside", data.join("inner-link")).unwrap();
    fs::hard_link(scratch.join("secret"), data.join("hard-link")).unwrap();
    let kernel = embedded(&granted(&scratch));
    let root = scratch.text("data");
    let rows = [
        ("../secret", Code::PolicyDeny),
        ("sub/../../secret", Code::PolicyDeny),
        ("link", Code::PolicyDeny),
        ("relative-link", Code::PolicyDeny),
        ("link-to-link", Code::PolicyDeny),
        ("inner-link", Code::PolicyDeny),
        ("linked-dir/secret", Code::PolicyDeny),
        ("inner-dir-link/inside", Code::PolicyDeny),
        ("sub", Code::Io),
        ("missing", Code::NotFound),
        ("sub/inside/below", Code::Io),
        ("nul\0", Code::InvalidArgument),
    ];
    for (path, expected) in rows {
        let path = format!("{root}/{path}");
        assert_eq!(code(kernel.call(read(&path))), expected, "read {path:?}");
        if expected != Code::NotFound {
            assert_eq!(code(kernel.call(write(&path, b"x"))), expected, "write {path:?}");
        }
    }
    assert_eq!(
        code(kernel.call(write(&format!("{root}/hard-link"), b"x"))),
        Code::PolicyDeny,
        "several links"
    );
    assert_eq!(fs::read_to_string(scratch.join("secret")).unwrap(), "secret");
    assert_eq!(fs::read_to_string(scratch.join("outside/secret")).unwrap(), "secret");
}

#[test]
fn only_regular_files_are_read() {
    let scratch = Scratch::new("fifo");
    fs::create_dir(scratch.join("data")).unwrap();
    let fifo = scratch.join("data/fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status().unwrap();
    assert!(made.success());
    let kernel = embedded(&granted(&scratch));
    assert_eq!(code(kernel.call(read(fifo.to_str().unwrap()))), Code::Io, "and it does not hang");
    load(&kernel, "[fs]\nread = [\"/proc/**\", \"/dev/**\"]");
    assert_eq!(code(kernel.call(read("/dev/null"))), Code::Io);
    assert_eq!(
        code(kernel.call(read("/proc/self/root/etc/passwd"))),
        Code::PolicyDeny,
        "a magic link is a link"
    );
}

#[test]
fn a_file_longer_than_the_limit_is_refused() {
    let scratch = Scratch::new("long");
    fs::create_dir(scratch.join("data")).unwrap();
    fs::write(scratch.join("data/long"), vec![b'x'; 101]).unwrap();
    fs::write(scratch.join("data/fits"), vec![b'x'; 100]).unwrap();
    let kernel = embedded(&granted(&scratch));
    assert_eq!(code(kernel.call(read(&scratch.text("data/long")))), Code::BufferOverflow);
    assert_eq!(bytes(kernel.call(read(&scratch.text("data/fits")))).len(), 100);
}

#[test]
fn the_kernel_s_own_files_are_out_of_reach() {
    let scratch = Scratch::new("own");
    let policy =
        format!("[fs]\nread = [\"{0}/**\"]\nwrite = [\"{0}/**\"]", scratch.text("").trim_end_matches('/'));
    fs::write(scratch.join("policy.toml"), &policy).unwrap();
    let options = Options {
        state_dir: Some(scratch.join("state")),
        policy: Some(scratch.join("policy.toml")),
        ..Options::default()
    };
    let kernel = Connection::open(&options).unwrap();
    kernel.call(write(&scratch.text("free"), b"fine")).unwrap();
    fs::hard_link(scratch.join("policy.toml"), scratch.join("alias")).unwrap();
    for path in ["policy.toml", "alias", "state/journal/lock", "state/x", "state"] {
        let path = scratch.text(path);
        assert_eq!(code(kernel.call(read(&path))), Code::PolicyDeny, "read {path}");
        assert_eq!(
            code(kernel.call(Request::File(FileRequest::Delete { path: path.as_str().into() }))),
            Code::PolicyDeny,
            "delete {path}"
        );
    }
    assert_eq!(code(kernel.call(write(&scratch.text("policy.toml"), b""))), Code::PolicyDeny);
    assert_eq!(code(kernel.call(write(&scratch.text("state/new"), b""))), Code::PolicyDeny);
    assert_eq!(fs::read_to_string(scratch.join("policy.toml")).unwrap(), policy);
}

#[test]
fn state_survives_and_only_one_kernel_has_it() {
    let scratch = Scratch::new("state");
    let options = Options { state_dir: Some(scratch.join("state")), ..Options::default() };
    let kernel = Connection::open(&options).unwrap();
    let content = ak_host::ak_kernel::ak_heap::Content::Json(ak_host::ak_json::object! { "value": 7 });
    let alloc =
        Request::Heap(HeapRequest::Alloc { type_name: "t".into(), content: content.clone(), subject: None });
    let Ok(Reply::Handle(handle)) = kernel.call(alloc) else { panic!() };
    assert!(Connection::open(&options).is_err(), "a second kernel is refused");
    kernel.close();
    assert!(kernel.call(Request::Tools(ToolsRequest::List)).is_err(), "a closed kernel answers nothing");
    let again = Connection::open(&options).unwrap();
    assert_eq!(
        again.call(Request::Heap(HeapRequest::Read { handle, version: None })),
        Ok(Reply::Content(content))
    );
}

/// Temporary files of a killed process are inaccessible, and are removed when the root is next granted.
#[test]
fn temporary_files_are_out_of_reach_and_swept() {
    let scratch = Scratch::new("under-way");
    fs::create_dir_all(scratch.join("data/sub")).unwrap();
    let left = scratch.text("data/sub/.ak-0123456789abcdef.tmp");
    fs::write(&left, "half").unwrap();
    let kernel = embedded(&granted(&scratch));
    assert!(fs::metadata(&left).is_err(), "it was removed");
    fs::write(&left, "half").unwrap();
    assert_eq!(code(kernel.call(read(&left))), Code::PolicyDeny);
    assert_eq!(code(kernel.call(write(&left, b"x"))), Code::PolicyDeny);
    assert_eq!(
        code(kernel.call(Request::File(FileRequest::Stat { path: left.as_str().into() }))),
        Code::PolicyDeny
    );
    assert_eq!(
        code(kernel.call(Request::File(FileRequest::Delete { path: left.as_str().into() }))),
        Code::PolicyDeny
    );
    let Ok(Reply::Value(list)) =
        kernel.call(Request::File(FileRequest::List { path: scratch.text("data/sub").into() }))
    else {
        panic!()
    };
    assert_eq!(list.to_json(), r#"{"entries":[]}"#);
    assert_eq!(fs::read_to_string(&left).unwrap(), "half");
}

/// The socket, the owner's token, and the temporary files of their creation.
#[test]
fn sockets_and_credentials_are_out_of_reach() {
    let scratch = Scratch::new("own-sockets");
    let root = scratch.text("").trim_end_matches('/').to_owned();
    let config = scratch.join("host.toml");
    fs::write(scratch.join("key"), "the-long-secret").unwrap();
    let secret = "[secret.x]\nfrom = \"file:key\"\nto = [\"https://a/**\"]\nin = [\"body\"]";
    fs::write(&config, secret).unwrap();
    let token = ak_host::owner_token(&scratch.join("token")).unwrap();
    let options = Options {
        state_dir: Some(scratch.join("state")),
        token_file: Some(scratch.join("token")),
        host_config: Some(config),
        ..Options::default()
    };
    let kernel = Connection::open(&options).unwrap();
    load(&kernel, &format!("[fs]\nread = [\"{root}/**\"]\nwrite = [\"{root}/**\"]"));
    let _server = ak_host::Server::bind(&kernel, &scratch.join("ak.sock"), &token).unwrap();
    kernel.call(write(&scratch.text("free"), b"fine")).unwrap();
    let names =
        ["ak.sock", "ak.sock.lock", "ak.sock.new", "token", "token.17.new", "key", "host.toml", "state"];
    for name in names {
        let path = scratch.text(name);
        for request in [
            read(&path),
            write(&path, b"x"),
            Request::File(FileRequest::Stat { path: path.as_str().into() }),
            Request::File(FileRequest::Delete { path: path.as_str().into() }),
        ] {
            assert_eq!(code(kernel.call(request.clone())), Code::PolicyDeny, "{request:?}");
        }
    }
    // Files with merely similar names are not protected.
    for name in ["token2", "token.toml", "ak.sock.txt", "tokens.17.new"] {
        kernel.call(write(&scratch.text(name), b"x")).unwrap_or_else(|failure| panic!("{name}: {failure}"));
    }
}

/// A credential file that another user could change is rejected.
#[test]
fn a_credential_file_of_another_user_is_refused() {
    let scratch = Scratch::new("foreign");
    ak_host::owner_token(&scratch.join("token")).unwrap();
    fs::write(scratch.join("key"), "the-long-secret").unwrap();
    let secret = "[secret.x]\nfrom = \"file:key\"\nto = [\"https://a/**\"]\nin = [\"body\"]";
    fs::write(scratch.join("host.toml"), secret).unwrap();
    let options = Options { host_config: Some(scratch.join("host.toml")), ..Options::default() };
    Connection::open(&options).unwrap();
    for name in ["token", "key"] {
        if std::os::unix::fs::chown(scratch.join(name), Some(54_321), None).is_err() {
            return eprintln!("SKIPPED: files cannot be given away here");
        }
    }
    let refused = ak_host::owner_token(&scratch.join("token")).unwrap_err().to_string();
    assert!(refused.contains("token: it belongs to user 54321"), "{refused}");
    let refused = Connection::open(&options).err().unwrap().message;
    assert!(refused.contains("file:key: it belongs to user 54321"), "{refused}");
    let remote = Options {
        url: Some(format!("unix://{}", scratch.text("ak.sock"))),
        token_file: Some(scratch.join("token")),
        ..Options::default()
    };
    let refused = Connection::open(&remote).err().unwrap().message;
    assert!(refused.contains("it belongs to user 54321"), "{refused}");
}

/// A process is killed while it writes, repeatedly: the file is always complete, and the next kernel finds no other
/// file.
#[test]
fn a_killed_writer_leaves_nothing_behind() {
    use std::io::{BufRead as _, BufReader};
    const VICTIM: &str = "AK_TEST_FILES_VICTIM";
    let granted = |root: &str| format!("[fs]\nread = [\"{root}/**\"]\nwrite = [\"{root}/**\"]");
    if let Ok(root) = std::env::var(VICTIM) {
        let kernel = embedded(&granted(&root));
        let path = format!("{root}/sub/file");
        for round in 0_u8.. {
            kernel.call(write(&path, &vec![round; 2 << 20])).unwrap();
            println!("written");
        }
    }
    let scratch = Scratch::new("killed");
    fs::create_dir_all(scratch.join("data/sub")).unwrap();
    let names = || -> Vec<_> {
        let entries = fs::read_dir(scratch.join("data/sub")).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    let mut left = 0;
    for _ in 0..12 {
        let mut victim = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_killed_writer_leaves_nothing_behind", "--nocapture"])
            .env(VICTIM, scratch.join("data"))
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(victim.stdout.take().unwrap()).lines();
        let mut written = lines.filter(|line| line.as_deref().is_ok_and(|line| line.contains("written")));
        assert!(written.next().is_some());
        // Waits for a moment in the middle of a write, as far as this process can see it.
        let soon = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while names().len() < 2 && std::time::Instant::now() < soon {}
        victim.kill().unwrap();
        victim.wait().unwrap();
        left += names().len() - 1;
        let kernel = embedded(&granted(&scratch.text("data")));
        assert_eq!(names(), ["file"]);
        let path = scratch.text("data/sub/file");
        let whole = bytes(
            kernel.call(Request::File(FileRequest::Read { path: path.as_str().into(), bytes_max: 4 << 20 })),
        );
        assert!(whole.len() == 2 << 20 && whole.iter().all(|byte| *byte == whole[0]));
    }
    eprintln!("{left} files were left under way");
}

fn mkdir(path: &str, parents: bool) -> Request {
    Request::File(FileRequest::MakeDirectory { path: path.into(), parents })
}

fn append(path: &str, data: &[u8]) -> Request {
    Request::File(FileRequest::Append { path: path.into(), data: Arc::from(data) })
}

fn rename(old: &str, new: &str) -> Request {
    Request::File(FileRequest::Rename { old: old.into(), new: new.into() })
}

/// Returns the matches of a glob, as paths relative to the scratch directory.
fn glob(kernel: &Connection, scratch: &Scratch, pattern: &str) -> Vec<String> {
    let pattern = scratch.text(pattern);
    let request = Request::File(FileRequest::Glob { pattern: pattern.into(), limit: 10_000 });
    let Ok(Reply::Value(found)) = kernel.call(request) else { panic!("the glob is permitted") };
    let base = scratch.text("");
    let relative = |path: &str| {
        path.strip_prefix(base.trim_end_matches('/')).unwrap().trim_start_matches('/').to_owned()
    };
    let paths = found.get("paths").unwrap();
    paths.as_array().unwrap().iter().map(|path| relative(path.as_str().unwrap())).collect()
}

#[test]
fn a_directory_is_created_with_its_parents_or_not_at_all() {
    let scratch = Scratch::new("mkdir");
    fs::create_dir(scratch.join("data")).unwrap();
    let closed = scratch.text("data/closed");
    let policy = format!(
        "{}\n[[rule]]\neffect = \"forbid\"\noperation = \"fs.write!\"\ntarget = \"{closed}\"\n",
        granted(&scratch)
    );
    let kernel = embedded(&policy);
    let make = |path: &str, parents| kernel.call(mkdir(&scratch.text(path), parents));
    make("data/a", false).unwrap();
    assert_eq!(code(make("data/a", false)), Code::Io, "it exists");
    assert_eq!(code(make("data/x/y", false)), Code::NotFound);
    make("data/x/y/z", true).unwrap();
    make("data/x/y/z", true).unwrap();
    assert!(scratch.join("data/x/y/z").is_dir());
    assert_eq!(code(make("data/closed/a", true)), Code::PolicyDeny, "the directory above may not be made");
    assert!(!scratch.join("data/closed").exists());
    fs::write(scratch.join("data/file"), "").unwrap();
    assert_eq!(code(make("data/file/a", true)), Code::Io);
    symlink(scratch.join("data/a"), scratch.join("data/link")).unwrap();
    assert_eq!(code(make("data/link/b", true)), Code::PolicyDeny);
    assert_eq!(fs::read_dir(scratch.join("data/a")).unwrap().count(), 0);
}

#[test]
fn an_append_keeps_what_stood_there() {
    let scratch = Scratch::new("append");
    fs::create_dir(scratch.join("data")).unwrap();
    let kernel = embedded(&granted(&scratch));
    let path = scratch.text("data/log");
    for part in ["one ", "two ", "three"] {
        kernel.call(append(&path, part.as_bytes())).unwrap();
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), "one two three");
    symlink(&path, scratch.join("data/link")).unwrap();
    fs::hard_link(&path, scratch.join("data/second")).unwrap();
    for (name, expected) in
        [("data/link", Code::PolicyDeny), ("data/second", Code::PolicyDeny), ("data", Code::Io)]
    {
        assert_eq!(code(kernel.call(append(&scratch.text(name), b"more"))), expected, "{name}");
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), "one two three");
}

#[test]
fn a_rename_replaces_a_file_and_moves_no_directory() {
    let scratch = Scratch::new("rename");
    for directory in ["data/sub/closed", "data/other"] {
        fs::create_dir_all(scratch.join(directory)).unwrap();
    }
    fs::write(scratch.join("data/a"), "new").unwrap();
    fs::write(scratch.join("data/b"), "old").unwrap();
    fs::write(scratch.join("data/sub/closed/secret"), "secret").unwrap();
    fs::write(scratch.join("outside"), "outside").unwrap();
    symlink(scratch.join("outside"), scratch.join("data/link")).unwrap();
    let kernel = embedded(&granted(&scratch));
    let rename = |old: &str, new: &str| kernel.call(rename(&scratch.text(old), &scratch.text(new)));
    rename("data/a", "data/b").unwrap();
    assert_eq!(fs::read_to_string(scratch.join("data/b")).unwrap(), "new");
    assert!(!scratch.join("data/a").exists());
    rename("data/b", "data/other/c").unwrap();
    assert_eq!(fs::read_to_string(scratch.join("data/other/c")).unwrap(), "new");
    for (old, new, expected) in [
        ("data/sub", "data/moved", Code::Io),
        ("data/other/c", "data/sub", Code::Io),
        ("data/none", "data/d", Code::NotFound),
        ("data/link", "data/d", Code::PolicyDeny),
        ("data/other/c", "data/link", Code::PolicyDeny),
        ("data/other/c", "outside", Code::PolicyDeny),
        ("outside", "data/d", Code::PolicyDeny),
    ] {
        assert_eq!(code(rename(old, new)), expected, "{old} to {new}");
    }
    assert_eq!(fs::read_to_string(scratch.join("outside")).unwrap(), "outside");
    assert!(scratch.join("data/sub/closed/secret").exists() && scratch.join("data/other/c").exists());
}

#[test]
fn a_glob_finds_what_may_be_read_and_follows_no_link() {
    let scratch = Scratch::new("glob");
    for directory in ["data/a/deep/deeper", "data/closed", "data/.hidden", "outside"] {
        fs::create_dir_all(scratch.join(directory)).unwrap();
    }
    for file in [
        "data/one.txt",
        "data/two.md",
        "data/a/three.txt",
        "data/a/deep/four.txt",
        "data/a/deep/deeper/five.txt",
        "data/closed/six.txt",
        "data/.hidden/seven.txt",
        "data/secret.txt",
        "outside/eight.txt",
    ] {
        fs::write(scratch.join(file), "").unwrap();
    }
    symlink(scratch.join("outside"), scratch.join("data/link")).unwrap();
    symlink(scratch.join("data/one.txt"), scratch.join("data/alias.txt")).unwrap();
    let rule = |operation: &str, target: &str| {
        let target = scratch.text(target);
        format!("[[rule]]\neffect = \"forbid\"\noperation = \"{operation}\"\ntarget = \"{target}\"\n")
    };
    let closed = rule("fs.list", "data/closed") + &rule("fs.read!", "data/secret.txt");
    let kernel = embedded(&format!("{}\n{closed}", granted(&scratch)));
    for (pattern, expected) in [
        ("data/*.txt", vec!["data/one.txt"]),
        ("data/*/*.txt", vec!["data/a/three.txt"]),
        (
            "data/**/*.txt",
            vec!["data/a/deep/deeper/five.txt", "data/a/deep/four.txt", "data/a/three.txt", "data/one.txt"],
        ),
        ("data/a/**/deeper/*", vec!["data/a/deep/deeper/five.txt"]),
        ("data/[ot]*", vec!["data/one.txt", "data/two.md"]),
        ("data/t?o.md", vec!["data/two.md"]),
        ("data/one.txt", vec!["data/one.txt"]),
        ("data/none/*", vec![]),
        ("data/link/*", vec![]),
        (
            "data/a/**",
            vec![
                "data/a/deep",
                "data/a/deep/deeper",
                "data/a/deep/deeper/five.txt",
                "data/a/deep/four.txt",
                "data/a/three.txt",
            ],
        ),
    ] {
        if pattern == "data/none/*" || pattern == "data/link/*" {
            let request =
                Request::File(FileRequest::Glob { pattern: scratch.text(pattern).into(), limit: 10 });
            assert!(matches!(code(kernel.call(request)), Code::NotFound | Code::PolicyDeny), "{pattern}");
            continue;
        }
        assert_eq!(glob(&kernel, &scratch, pattern), expected, "{pattern}");
    }
    let bad = Request::File(FileRequest::Glob { pattern: scratch.text("data/[a").into(), limit: 10 });
    assert_eq!(code(kernel.call(bad)), Code::InvalidArgument);
}
