//! A host for file calls: files in a map, and a list of what was asked.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::collections::{BTreeMap, BTreeSet};

use ak_json::{Object, Value};
use ak_sandbox::{HostCall, HostOperation};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

#[derive(Default)]
pub(crate) struct Disk {
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    /// Empty ones; of the others the files tell.
    pub(crate) directories: BTreeSet<String>,
    /// What was asked, as `fs_read /data/a`.
    pub(crate) asked: Vec<String>,
    /// What is refused, as it would be asked; a refusal by a policy.
    pub(crate) refused: Vec<&'static str>,
}

fn object<const N: usize>(members: [(&str, Value); N]) -> Value {
    Value::from(Object::from_iter(members))
}

fn error(name: &str) -> Value {
    object([("name", Value::from(name))])
}

impl Disk {
    pub(crate) fn with(files: &[(&str, &str)]) -> Self {
        let files = files.iter().map(|(path, text)| (path.to_string(), text.as_bytes().to_vec()));
        Self { files: files.collect(), ..Self::default() }
    }

    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path).map(|bytes| std::str::from_utf8(bytes).unwrap())
    }

    fn is_directory(&self, path: &str) -> bool {
        let beneath = format!("{}/", path.trim_end_matches('/'));
        self.directories.contains(path) || self.files.keys().any(|file| file.starts_with(&beneath))
    }

    pub(crate) fn answer(&mut self, call: &HostCall) -> Result<Value, Value> {
        let path = call.args.get("path").and_then(Value::as_str).unwrap_or_default().to_string();
        let asked = format!("{} {path}", call.operation.name());
        let refused = self.refused.contains(&&*asked);
        self.asked.push(asked);
        if refused {
            return Err(error("POLICY_DENY"));
        }
        match call.operation {
            HostOperation::FsStat => {
                let (kind, size) = match self.files.get(&path) {
                    Some(bytes) => ("file", bytes.len() as u64),
                    None if self.is_directory(&path) => ("directory", 0),
                    None => return Err(error("NOT_FOUND")),
                };
                let modified = Value::from(1_700_000_000_000_000u64);
                Ok(object([("kind", Value::from(kind)), ("size", Value::from(size)), ("modified", modified)]))
            }
            HostOperation::FsRead => {
                let bytes = self.files.get(&path).ok_or_else(|| error("NOT_FOUND"))?;
                Ok(object([("bytes", Value::from(URL_SAFE_NO_PAD.encode(bytes)))]))
            }
            HostOperation::FsWrite => {
                let data = call.args.get("data").and_then(Value::as_str);
                let data = data.and_then(|data| URL_SAFE_NO_PAD.decode(data).ok());
                self.files.insert(path, data.ok_or_else(|| error("INVALID_ARGUMENT"))?);
                Ok(object([]))
            }
            HostOperation::FsList => {
                let beneath = format!("{}/", path.trim_end_matches('/'));
                let names = self.files.keys().filter_map(|file| file.strip_prefix(&beneath));
                let mut entries: Vec<(String, &str)> = names
                    .map(|rest| match rest.split_once('/') {
                        Some((directory, _)) => (directory.to_string(), "directory"),
                        None => (rest.to_string(), "file"),
                    })
                    .collect();
                entries.dedup();
                let entries = entries.into_iter();
                let entries = entries
                    .map(|(name, kind)| object([("name", Value::from(name)), ("kind", Value::from(kind))]));
                Ok(object([("entries", Value::from(entries.collect::<Vec<_>>()))]))
            }
            HostOperation::FsDelete => {
                let gone = self.files.remove(&path).is_some() || self.directories.remove(&path);
                if gone { Ok(object([])) } else { Err(error("NOT_FOUND")) }
            }
            _ => Err(error("POLICY_DENY")),
        }
    }
}
