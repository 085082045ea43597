//! Links that a permit follows lead only to permitted paths beneath the same root.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use std::{ffi::OsStr, fs, os::unix::ffi::OsStrExt, os::unix::fs::symlink, sync::Arc};

use ak_host::Connection;
use ak_host::ak_json::Value;
use ak_host::ak_kernel::{Code, FileRequest, Operation, Reply, Request};

use support::{Scratch, bytes, code, embedded};

fn read(path: &str) -> Request {
    Request::File(FileRequest::Read { path: path.into(), bytes_max: 1_000 })
}

fn write(path: &str) -> Request {
    Request::File(FileRequest::Write { path: path.into(), data: Arc::from(&b"new"[..]) })
}

/// A kernel whose policy permits files beneath `data` and follows links there, with further rules in `more`.
fn following(scratch: &Scratch, rights: &str, more: &str) -> Connection {
    let root = scratch.text("data");
    embedded(&format!("[[fs.allow]]\npath = \"{root}/**\"\n{rights}\nfollow = \"beneath\"\n{more}"))
}

/// Creates a directory as Kubernetes mounts it: `app.yaml` → `..data/app.yaml`, `..data` → `..2026_01_01`.
fn config_map(name: &str) -> Scratch {
    let scratch = Scratch::new(name);
    let data = scratch.join("data");
    fs::create_dir_all(data.join("..2026_01_01")).unwrap();
    fs::write(data.join("..2026_01_01/app.yaml"), "port: 1").unwrap();
    symlink("..2026_01_01", data.join("..data")).unwrap();
    symlink("..data/app.yaml", data.join("app.yaml")).unwrap();
    fs::write(scratch.join("secret"), "secret").unwrap();
    scratch
}

fn members(outcome: ak_host::ak_kernel::Outcome) -> Value {
    let Ok(Reply::Value(value)) = outcome else { panic!("{outcome:?}") };
    value
}

#[test]
fn a_mounted_directory_of_links_is_read() {
    let scratch = config_map("config-map");
    let path = scratch.text("data/app.yaml");
    let kernel = following(&scratch, "read = true", "");
    assert_eq!(bytes(kernel.call(read(&path))), b"port: 1");
    let stat = members(kernel.call(Request::File(FileRequest::Stat { path: path.as_str().into() })));
    assert_eq!(
        (stat.get("kind").unwrap().as_str(), stat.get("size").unwrap().as_u64()),
        (Some("file"), Some(7))
    );
    let list =
        members(kernel.call(Request::File(FileRequest::List { path: scratch.text("data/..data").into() })));
    assert_eq!(list.to_json(), r#"{"entries":[{"name":"app.yaml","kind":"file"}]}"#);
    // Both steps are recorded, each with the path to which it leads.
    let records = kernel.driver().unwrap().records().unwrap();
    let steps = records.iter().filter(|record| {
        let entry = ak_audit::Entry::decode(&record.leaf).unwrap();
        entry.operation == Operation::FsRead.number() && entry.kind == ak_audit::Kind::Step
    });
    assert_eq!(steps.count(), 2);
    // Without `follow` links are not followed, and the failure says which setting would follow them.
    let root = scratch.text("data");
    let plain = embedded(&format!("[fs]\nread = [\"{root}/**\"]"));
    let refused = plain.call(read(&path)).unwrap_err();
    assert!(
        refused.code == Code::PolicyDeny && refused.message.contains("follow = \"beneath\""),
        "{refused}"
    );
}

#[test]
fn the_target_of_a_link_is_judged_under_its_own_path() {
    let scratch = config_map("links-judged");
    let data = scratch.join("data");
    fs::create_dir_all(data.join("private")).unwrap();
    fs::write(data.join("private/key"), "key").unwrap();
    symlink("private/key", data.join("open")).unwrap();
    symlink("private", data.join("door")).unwrap();
    fs::write(data.join("plain"), "plain").unwrap();
    symlink("plain", data.join("to-plain")).unwrap();
    let root = scratch.text("data");
    let kernel =
        following(&scratch, "read = true\nwrite = true", &format!("[fs]\ndeny = [\"{root}/private/**\"]"));
    for path in ["open", "door/key"] {
        assert_eq!(code(kernel.call(read(&format!("{root}/{path}")))), Code::PolicyDeny, "{path}");
        assert_eq!(code(kernel.call(write(&format!("{root}/{path}")))), Code::PolicyDeny, "{path}");
    }
    assert_eq!(fs::read(data.join("private/key")).unwrap(), b"key");
    // A write changes the link's target, and the link stays.
    kernel.call(write(&format!("{root}/to-plain"))).unwrap();
    assert_eq!(fs::read(data.join("plain")).unwrap(), b"new");
    assert!(fs::symlink_metadata(data.join("to-plain")).unwrap().is_symlink());
    // A delete removes the link, not its target.
    kernel.call(Request::File(FileRequest::Delete { path: format!("{root}/to-plain").into() })).unwrap();
    assert!(data.join("plain").exists() && !data.join("to-plain").exists());
    // A permit to read does not permit writing.
    let kernel = following(&scratch, "read = true", "");
    symlink("plain", data.join("again")).unwrap();
    assert_eq!(code(kernel.call(write(&format!("{root}/again")))), Code::PolicyDeny);
}

#[test]
fn no_link_leads_out_of_the_root() {
    let scratch = config_map("links-out");
    let data = scratch.join("data");
    fs::create_dir_all(data.join("sub/deep")).unwrap();
    fs::create_dir_all(scratch.join("data-beside")).unwrap();
    fs::write(scratch.join("data-beside/f"), "beside").unwrap();
    fs::write(data.join("inside"), "inside").unwrap();
    for (link, target) in [
        ("absolute-out", scratch.text("secret")),
        ("relative-out", "../secret".into()),
        ("deep-out", "sub/../../secret".into()),
        ("beside", "../data-beside/f".into()),
        ("absolute-beside", scratch.text("data-beside/f")),
        ("proc", "/proc/self/environ".into()),
        ("round-1", "round-2".into()),
        ("round-2", "round-1".into()),
        ("itself", "itself".into()),
        ("behind-a-name", "sub/../inside".into()),
        ("absolute-in", scratch.text("data/inside")),
        ("relative-in", "./sub/../inside".into()),
        ("sub/deep/up", "../../inside".into()),
        ("none", "nowhere".into()),
        ("root", ".".into()),
    ] {
        symlink(target, data.join(link)).unwrap();
    }
    let kernel = following(&scratch, "read = true\nwrite = true", "");
    let told = |link: &str| match kernel.call(read(&scratch.text(&format!("data/{link}")))) {
        Ok(Reply::Bytes(bytes)) => String::from_utf8(bytes.to_vec()).unwrap(),
        Ok(other) => panic!("{other:?}"),
        Err(failure) => format!("{}", failure.code),
    };
    for link in [
        "absolute-out",
        "relative-out",
        "deep-out",
        "beside",
        "absolute-beside",
        "proc",
        "round-1",
        "itself",
        "behind-a-name",
        "relative-in",
    ] {
        assert_eq!(told(link), "POLICY_DENY", "{link}");
    }
    for link in ["absolute-in", "sub/deep/up", "root/inside", "root/root/inside"] {
        assert_eq!(told(link), "inside", "{link}");
    }
    assert_eq!(told("none"), "NOT_FOUND");
    assert!(kernel.call(write(&scratch.text("data/relative-out"))).is_err());
    assert_eq!(fs::read(scratch.join("secret")).unwrap(), b"secret");
}

#[test]
fn a_name_that_is_not_utf8_is_listed_and_refused() {
    let scratch = Scratch::new("no-text");
    fs::create_dir_all(scratch.join("data")).unwrap();
    let odd = scratch.join("data").join(OsStr::from_bytes(b"caf\xe9"));
    if fs::write(&odd, "x").is_err() {
        // Some file systems do not allow such names.
        return;
    }
    let root = scratch.text("data");
    let kernel = embedded(&format!("[fs]\nread = [\"{root}/**\"]"));
    let list = members(kernel.call(Request::File(FileRequest::List { path: root.as_str().into() })));
    assert_eq!(list.to_json(), "{\"entries\":[{\"name\":\"caf\u{fffd}\",\"kind\":\"file\",\"utf8\":false}]}");
    let refused = kernel.call(read(&format!("{root}/caf\u{fffd}"))).unwrap_err();
    assert!(
        refused.code == Code::NotFound && refused.message.contains("names of files in requests are UTF-8"),
        "{refused}"
    );
}
