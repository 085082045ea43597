//! Policies in files, with their includes: recorded whole, and protected from every agent while they are in force.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use std::{fs, sync::Arc};

use ak_host::ak_kernel::{
    AdminRequest, AuditRequest, Code, FileRequest, POLICY_FILES_MAX, PolicyFile, PolicyFiles, Reply, Request,
};
use ak_host::{Connection, Options, policy_request, read_journal};

use support::{Scratch, bytes, code, over_a_socket};

fn read(scratch: &Scratch, name: &str) -> Request {
    Request::File(FileRequest::Read { path: scratch.text(name).into(), bytes_max: 10_000 })
}

fn write(scratch: &Scratch, name: &str) -> Request {
    Request::File(FileRequest::Write { path: scratch.text(name).into(), data: Arc::from(&b"[fs]"[..]) })
}

/// Writes a policy in three files, which lets an agent read and write everything beside them.
fn policy(scratch: &Scratch) {
    fs::create_dir_all(scratch.join("sub")).unwrap();
    let root = scratch.text("").trim_end_matches('/').to_owned();
    fs::write(scratch.join("policy.toml"), "profiles = [\"baseline\", \"./sub/inc.toml\"]").unwrap();
    let grants = format!("profiles = [\"../more.toml\"]\n[fs]\nwrite = [\"{root}/**\"]");
    fs::write(scratch.join("sub/inc.toml"), grants).unwrap();
    fs::write(scratch.join("more.toml"), format!("[fs]\nread = [\"{root}/**\"]")).unwrap();
    fs::write(scratch.join("free"), "free").unwrap();
}

const FILES: [&str; 3] = ["policy.toml", "sub/inc.toml", "more.toml"];

fn check_closed(kernel: &Connection, scratch: &Scratch, names: &[&str]) {
    assert_eq!(bytes(kernel.call(read(scratch, "free"))), b"free", "what is beside them is granted");
    for name in names {
        assert_eq!(code(kernel.call(read(scratch, name))), Code::PolicyDeny, "read {name}");
        assert_eq!(code(kernel.call(write(scratch, name))), Code::PolicyDeny, "write {name}");
        let delete = Request::File(FileRequest::Delete { path: scratch.text(name).into() });
        assert_eq!(code(kernel.call(delete)), Code::PolicyDeny, "delete {name}");
    }
}

fn durable(scratch: &Scratch) -> Connection {
    let options = Options { state_dir: Some(scratch.join("state")), ..Options::default() };
    Connection::open(&options).unwrap_or_else(|failure| panic!("{failure}"))
}

#[test]
fn a_policy_s_files_are_out_of_reach_after_a_restart() {
    let scratch = Scratch::new("policy-files");
    policy(&scratch);
    let kernel = durable(&scratch);
    assert_eq!(
        kernel.load_policy_file(&scratch.join("policy.toml")).unwrap().unprotected,
        Vec::<String>::new()
    );
    check_closed(&kernel, &scratch, &FILES);
    kernel.close();
    drop(kernel);

    let kernel = durable(&scratch);
    check_closed(&kernel, &scratch, &FILES);
    // Files are protected by inode, under any other name and wherever they are moved.
    fs::hard_link(scratch.join("policy.toml"), scratch.join("alias")).unwrap();
    fs::rename(scratch.join("more.toml"), scratch.join("moved.toml")).unwrap();
    check_closed(&kernel, &scratch, &["alias", "moved.toml", "more.toml"]);
    fs::rename(scratch.join("moved.toml"), scratch.join("more.toml")).unwrap();
    fs::remove_file(scratch.join("alias")).unwrap();

    // After another policy is loaded, the files of this one are free at the next start.
    let text = fs::read_to_string(scratch.join("sub/inc.toml")).unwrap().replace("../more.toml", "baseline");
    let text = format!("{text}\nread = [\"{}/**\"]", scratch.text("").trim_end_matches('/'));
    support::load(&kernel, &text);
    kernel.close();
    drop(kernel);
    let kernel = durable(&scratch);
    kernel.call(write(&scratch, "more.toml")).unwrap();
    let verdict = kernel.call(Request::Audit(AuditRequest::Verify { key: None, anchor: None }));
    let Ok(Reply::Value(verdict)) = verdict else { panic!("{verdict:?}") };
    assert_eq!(verdict.get("consistent").and_then(|told| told.as_bool()), Some(true), "{verdict:?}");
}

/// A replay of the journal needs no file: the journal contains all texts.
#[test]
fn included_files_are_recorded_whole() {
    let scratch = Scratch::new("policy-recorded");
    policy(&scratch);
    let kernel = durable(&scratch);
    kernel.load_policy_file(&scratch.join("policy.toml")).unwrap();
    kernel.close();
    drop(kernel);
    FILES.iter().for_each(|name| fs::remove_file(scratch.join(name)).unwrap());
    read_journal(&scratch.join("state")).unwrap();
    let kernel = durable(&scratch);
    assert_eq!(bytes(kernel.call(read(&scratch, "free"))), b"free");
    // The paths stay protected though no files exist there.
    check_closed(&kernel, &scratch, &FILES);
}

#[test]
fn a_policy_that_is_loaded_over_a_socket_is_protected_where_it_is_the_same_file() {
    let scratch = Scratch::new("policy-remote");
    policy(&scratch);
    let kernel = Connection::open(&Options::default()).unwrap();
    let client = over_a_socket(&kernel, &scratch);
    assert_eq!(
        client.load_policy_file(&scratch.join("policy.toml")).unwrap().unprotected,
        Vec::<String>::new()
    );
    check_closed(&client, &scratch, &FILES);
    check_closed(&kernel, &scratch, &FILES);

    // Files of another machine: on this machine the paths have other files, or none.
    let mut request = policy_request(&scratch.join("policy.toml")).unwrap();
    let Request::Admin(AdminRequest::PolicyLoad { files, base_dir, .. }) = &mut request else { panic!() };
    let (other, none) = (scratch.text("free"), scratch.text("nothing.toml"));
    files.source = Some(none.as_str().into());
    files.included.push(PolicyFile { path: other.as_str().into(), text: "[fs]".into() });
    // The client's own list `here` is ignored.
    files.here.push(other.as_str().into());
    assert!(base_dir.is_some());
    let Ok(Reply::Value(told)) = client.call(request) else { panic!() };
    assert_eq!(told, ak_host::ak_json::object! { "unprotected": ak_host::ak_json::array![none, other] });
    assert_eq!(bytes(client.call(read(&scratch, "free"))), b"free");
}

/// An agent learns nothing about the content of files: it is refused whether it guesses the content or not.
#[test]
fn an_agent_learns_nothing_of_files_by_naming_them() {
    let scratch = Scratch::new("policy-guess");
    policy(&scratch);
    let kernel = Connection::open(&Options::default()).unwrap();
    kernel.load_policy_file(&scratch.join("policy.toml")).unwrap();
    let agent = kernel.agent("worker").unwrap();
    let guess = |text: &str| {
        let files = PolicyFiles { source: Some(scratch.text("free").into()), ..PolicyFiles::default() };
        agent
            .call(Request::Admin(AdminRequest::PolicyLoad { text: text.into(), base_dir: None, files }))
            .unwrap_err()
    };
    let (right, wrong) = (guess("free"), guess("nope"));
    assert_eq!((right.code, &right.message, &right.context), (wrong.code, &wrong.message, &wrong.context));
    let root = scratch.text("").trim_end_matches('/').to_owned();
    assert!(!format!("{right:?}").contains(&root), "{right:?}");
    assert_eq!(bytes(agent.call(read(&scratch, "free"))), b"free", "and it is not protected for that");
    let denied = agent.call(read(&scratch, "policy.toml")).unwrap_err();
    assert!(!denied.message.contains("sub/inc.toml"), "{denied}");
}

#[test]
fn a_policy_that_cannot_be_read_whole_is_refused() {
    let scratch = Scratch::new("policy-broken");
    let kernel = Connection::open(&Options::default()).unwrap();
    let check = |text: &str, expected: Code, says: &str| {
        fs::write(scratch.join("policy.toml"), text).unwrap();
        let failure = kernel.load_policy_file(&scratch.join("policy.toml")).unwrap_err();
        assert!(failure.code == expected && failure.message.contains(says), "{text}: {failure}");
    };
    check("profiles = [\"./none.toml\"]", Code::NotFound, &scratch.text("none.toml"));
    check("profiles = [\"./policy.toml\"]", Code::PolicyInvalid, "includes itself");
    fs::write(scratch.join("inc.toml"), "\nnonsense = 1").unwrap();
    check("profiles = [\"./inc.toml\"]", Code::PolicyInvalid, "./inc.toml: line 2, column 1");
    fs::write(scratch.join("inc.toml"), b"\xff").unwrap();
    check("profiles = [\"./inc.toml\"]", Code::Io, "inc.toml");
    let many = |count: usize| {
        (0..count).for_each(|at| fs::write(scratch.join(&format!("{at}.toml")), "").unwrap());
        let names: Vec<String> = (0..count).map(|at| format!("\"./{at}.toml\"")).collect();
        format!("profiles = [{}]", names.join(", "))
    };
    check(&many(POLICY_FILES_MAX), Code::Limit, "more than 256 files");
    fs::write(scratch.join("policy.toml"), many(POLICY_FILES_MAX - 1)).unwrap();
    kernel.load_policy_file(&scratch.join("policy.toml")).unwrap();

    // A policy text without a file cannot include files. The kernel itself refuses missing files, and too many of them.
    let load = |text: &str, base_dir: Option<&str>, files: PolicyFiles| {
        let text = text.into();
        kernel
            .call(Request::Admin(AdminRequest::PolicyLoad {
                text,
                base_dir: base_dir.map(Into::into),
                files,
            }))
            .unwrap_err()
    };
    let failure = load("profiles = [\"./inc.toml\"]", None, PolicyFiles::default());
    assert!(
        failure.code == Code::PolicyInvalid && failure.message.contains("loaded from a file"),
        "{failure}"
    );
    let failure = load("profiles = [\"./inc.toml\"]", Some("/etc"), PolicyFiles::default());
    assert!(
        failure.code == Code::PolicyInvalid && failure.message.contains("was not sent with the request"),
        "{failure}"
    );
    let file = PolicyFile { path: "/x".into(), text: "".into() };
    let failure =
        load("", None, PolicyFiles { included: vec![file; POLICY_FILES_MAX], ..Default::default() });
    assert_eq!(failure.code, Code::Limit);
    let failure = load("", None, PolicyFiles { source: Some("x".into()), ..PolicyFiles::default() });
    assert_eq!(failure.code, Code::InvalidArgument);
}
