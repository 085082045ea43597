//! Policies in files: the client reads a policy with its includes, and the kernel's host protects the files from every
//! agent.

use std::{
    cell::RefCell,
    fs::File,
    io::{self, Read},
    path::Path,
};

use ak_json::{Object, Text, Value};
use ak_kernel::{
    AdminRequest, Code, Failure, Outcome, POLICY_FILES_MAX, PolicyFile, PolicyFiles, Reply, Request,
};
use ak_policy::{Included, Lint, Loader, POLICY_BYTES_MAX, Policy, profile_path};

use crate::fs::protected::Protected;

/// Returns the request that loads the policy file at `path` with the files that it includes. A path `./…` in a file is
/// relative to the directory of that file.
///
/// # Errors
/// When a file cannot be read or is not UTF-8, or there are more than [`POLICY_FILES_MAX`] files.
pub fn policy_request(path: &Path) -> Result<Request, Failure> {
    let unreadable = |error: &io::Error| failed("policy", path, error);
    let source = std::path::absolute(path).map_err(|error| unreadable(&error))?;
    let text = read(&source).map_err(|error| unreadable(&error))?;
    let not_text = || unreadable(&io::Error::other("the path is not UTF-8"));
    let source = source.to_str().ok_or_else(not_text)?;
    let base_dir = Path::new(source).parent().and_then(Path::to_str);
    let files = IncludeReader::default();
    // A parse error is ignored here: the kernel parses the text again, refuses it and records that.
    let _ = Policy::parse_with(&text, base_dir, &files);
    if let Some(failure) = files.failure.into_inner() {
        return Err(failure);
    }
    let (source, included) = (Some(Text::from(source)), files.included.into_inner());
    Ok(Request::Admin(AdminRequest::PolicyLoad {
        text: Text::from(text),
        base_dir: base_dir.map(Text::from),
        files: PolicyFiles { source, included, here: Vec::new() },
    }))
}

/// Reads at most one byte more than [`POLICY_BYTES_MAX`], so that the kernel refuses a longer policy for its length.
fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(POLICY_BYTES_MAX as u64 + 1).read_to_string(&mut text)?;
    Ok(text)
}

fn failed(what: &str, path: &Path, error: &io::Error) -> Failure {
    let code = if error.kind() == io::ErrorKind::NotFound { Code::NotFound } else { Code::Io };
    Failure::new(code, format!("{what} {}: {error}", path.display()))
}

/// Reads the files that a policy includes, and keeps their paths and texts.
#[derive(Default)]
struct IncludeReader {
    included: RefCell<Vec<PolicyFile>>,
    /// Why the first unreadable file cannot be read.
    failure: RefCell<Option<Failure>>,
}

impl Loader for IncludeReader {
    fn load(&self, name: &str, base_dir: Option<&str>) -> Result<Included, String> {
        let path = profile_path(base_dir, name).ok_or("it is relative to no file")?;
        let directory = Path::new(&path).parent().and_then(Path::to_str).map(String::from);
        let known =
            self.included.borrow().iter().find(|file| *file.path == *path).map(|file| file.text.clone());
        let text = match known {
            Some(text) => text,
            None => self
                .add(&path)
                .inspect_err(|failure| {
                    self.failure.borrow_mut().get_or_insert_with(|| failure.clone());
                })
                .map_err(|failure| failure.message)?,
        };
        Ok(Included { identity: path, text: text.as_ref().into(), base_dir: directory })
    }
}

impl IncludeReader {
    fn add(&self, path: &str) -> Result<Text, Failure> {
        let mut included = self.included.borrow_mut();
        if included.len() + 1 >= POLICY_FILES_MAX {
            let message = format!("the policy is read from more than {POLICY_FILES_MAX} files");
            return Err(Failure::new(Code::Limit, message));
        }
        let text = read(Path::new(path)).map_err(|error| failed("policy", Path::new(path), &error))?;
        let text = Text::from(text);
        included.push(PolicyFile { path: Text::from(path), text: text.clone() });
        Ok(text)
    }
}

/// Paths of the policy files that are not on the kernel's machine, or differ there from what was read; they are not
/// protected from agents.
#[derive(Debug, Default)]
pub(crate) struct UnprotectedFiles(Vec<Text>);

impl UnprotectedFiles {
    /// Protects the files of a policy that are on this machine, and lists the others. For requests that are not the
    /// owner's it examines no file.
    ///
    /// # Errors
    /// When a file is on this machine and cannot be protected.
    pub(crate) fn protect_local(
        request: &mut Request,
        is_owners: bool,
        protected: &Protected,
    ) -> Result<UnprotectedFiles, Failure> {
        let Request::Admin(AdminRequest::PolicyLoad { text, files, .. }) = request else {
            return Ok(UnprotectedFiles::default());
        };
        files.here.clear();
        if !is_owners {
            return Ok(UnprotectedFiles::default());
        }
        let paths = files.each(text).take(POLICY_FILES_MAX);
        let (here, others): (Vec<_>, Vec<_>) = paths.partition(|(path, text)| is_local(path, text));
        let here: Vec<Text> = here.into_iter().map(|(path, _)| path.clone()).collect();
        let others = others.into_iter().map(|(path, _)| path.clone()).collect();
        for path in &here {
            // Protect the file before the policy is in force, so that no agent can change it in between.
            protected.add(Path::new(&**path)).map_err(|error| {
                Failure::new(Code::Io, format!("cannot protect the policy {}: {error}", &**path))
            })?;
        }
        files.here = here;
        Ok(UnprotectedFiles(others))
    }

    pub(crate) fn into_paths(self) -> Vec<String> {
        self.0.iter().map(|path| String::from(&**path)).collect()
    }
}

/// What loading a policy brought to light.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyReport {
    /// The paths of the policy's files that are not on the kernel's machine, or differ there from what was read: agents are not
    /// kept from them.
    pub unprotected: Vec<String>,
    /// Warnings about rules.
    pub lints: Vec<Lint>,
}

impl PolicyReport {
    /// The reply to a request that loaded a policy: nothing where there is nothing to report.
    pub(crate) fn into_reply(self) -> Reply {
        let mut told = Object::new();
        if !self.unprotected.is_empty() {
            told.insert("unprotected", self.unprotected.into_iter().map(Value::from).collect::<Vec<_>>());
        }
        if !self.lints.is_empty() {
            told.insert("lints", self.lints.iter().map(Lint::to_value).collect::<Vec<_>>());
        }
        if told.is_empty() { Reply::Done } else { Reply::Value(told.into()) }
    }

    /// Reads the report out of the outcome of a POLICY_LOAD.
    ///
    /// # Errors
    /// The failure of the request.
    pub fn from_outcome(outcome: Outcome) -> Result<PolicyReport, Failure> {
        let Reply::Value(told) = outcome? else { return Ok(PolicyReport::default()) };
        let list = |name| told.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
        let unprotected = list("unprotected").iter().filter_map(Value::as_str).map(String::from).collect();
        Ok(PolicyReport { unprotected, lints: list("lints").iter().filter_map(Lint::from_value).collect() })
    }
}

/// Whether the file at the absolute `path` on this machine contains exactly `text`.
fn is_local(path: &str, text: &str) -> bool {
    // Opening a fifo or a device has side effects, so only regular files are opened.
    let is_file =
        std::fs::metadata(path).is_ok_and(|there| there.is_file() && there.len() == text.len() as u64);
    let mut there = Vec::new();
    let read = |there: &mut Vec<u8>| File::open(path)?.take(text.len() as u64 + 1).read_to_end(there);
    path.starts_with('/') && is_file && read(&mut there).is_ok() && there == text.as_bytes()
}
