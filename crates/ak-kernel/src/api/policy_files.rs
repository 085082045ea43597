//! The files that a policy was read from. The kernel reads no files, so they come with the request and are recorded
//! with it.

use alloc::{format, string::String, vec::Vec};

use ak_json::{Object, Text, Value, object};
use ak_policy::{Included, Loader, Policy, PolicyError, profile_path};

use crate::api::{
    code::Code,
    fields::{FieldError, Fields, insert_some},
    reply::Failure,
};

/// Most files that one policy is read from.
pub const POLICY_FILES_MAX: usize = 256;

/// The files that a policy was read from: its own and those that it includes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyFiles {
    /// The absolute path of the file that holds the policy's own text; `None` if the text came from no file.
    pub source: Option<Text>,
    /// The files that the policy includes, directly or through others.
    pub included: Vec<PolicyFile>,
    /// Those of the paths that lead to these files on the kernel's machine. The host sets them and denies agents
    /// access to them while the policy is in force; a client's own list is replaced.
    pub here: Vec<Text>,
}

/// A file that a policy includes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyFile {
    /// Absolute path, without `.` and `..`.
    pub path: Text,
    /// The content of the file.
    pub text: Text,
}

impl PolicyFiles {
    /// Path and text of each file. The file of the policy's own `text` comes first.
    pub fn each<'f>(&'f self, text: &'f Text) -> impl Iterator<Item = (&'f Text, &'f Text)> {
        let own = self.source.iter().map(move |path| (path, text));
        own.chain(self.included.iter().map(|file| (&file.path, &file.text)))
    }

    /// Parses a policy with these files as its includes.
    pub(crate) fn parse(&self, text: &str, base_dir: Option<&str>) -> Result<Policy, PolicyError> {
        Policy::parse_with(text, base_dir, &IncludedFiles(self))
    }

    /// Checks the paths.
    ///
    /// # Errors
    /// INVALID_ARGUMENT if a path is not absolute, LIMIT if there are more than [`POLICY_FILES_MAX`] files.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        let included = self.included.iter().map(|file| &file.path);
        let mut paths = self.source.iter().chain(included).chain(&self.here);
        if self.included.len() >= POLICY_FILES_MAX || self.here.len() > POLICY_FILES_MAX {
            let message =
                format!("the policy is refused: it is read from more than {POLICY_FILES_MAX} files");
            return Err(Failure::new(Code::Limit, message));
        }
        match paths.find(|path| !path.starts_with('/')) {
            None => Ok(()),
            Some(path) => {
                let message = format!("the policy is refused: {:?} is no absolute path", &**path);
                Err(Failure::new(Code::InvalidArgument, message))
            }
        }
    }

    /// Bytes of all paths, and of the texts of the included files.
    pub(crate) fn size(&self) -> u64 {
        let included = self.included.iter().map(|file| file.path.len().saturating_add(file.text.len()));
        let paths = self.source.iter().chain(&self.here).map(|path| path.len());
        included.chain(paths).fold(0, |sum, bytes| sum.saturating_add(bytes as u64))
    }

    pub(crate) fn insert_into(&self, args: &mut Object) {
        insert_some(args, "source", self.source.clone());
        if !self.included.is_empty() {
            let row = |file: &PolicyFile| object! { "path": file.path.clone(), "text": file.text.clone() };
            args.insert("included", self.included.iter().map(row).collect::<Vec<Value>>());
        }
        if !self.here.is_empty() {
            args.insert("here", paths_to_value(&self.here));
        }
    }

    pub(crate) fn from_fields(fields: &mut Fields<'_>) -> Result<PolicyFiles, FieldError> {
        let source = fields.optional_text("source")?;
        let included = match fields.member("included") {
            None => Vec::new(),
            Some(rows) => {
                let rows =
                    rows.as_array().cloned().ok_or_else(|| fields.error("included", "expected a list"))?;
                rows.iter().map(PolicyFile::from_value).collect::<Result<_, _>>()?
            }
        };
        let here = match fields.member("here") {
            None => Vec::new(),
            Some(paths) => {
                paths_from_value(&paths).ok_or_else(|| fields.error("here", "expected a list of paths"))?
            }
        };
        Ok(PolicyFiles { source, included, here })
    }
}

impl PolicyFile {
    fn from_value(value: &Value) -> Result<PolicyFile, FieldError> {
        let mut fields = Fields::new("included", value)?;
        let file = PolicyFile { path: fields.text("path")?, text: fields.text("text")? };
        fields.finish()?;
        Ok(file)
    }
}

pub(crate) fn paths_to_value(paths: &[Text]) -> Value {
    paths.iter().cloned().map(Value::from).collect::<Vec<Value>>().into()
}

pub(crate) fn paths_from_value(value: &Value) -> Option<Vec<Text>> {
    value.as_array()?.iter().map(|path| path.as_text().cloned()).collect()
}

/// Finds an included file among the files that came with the policy.
struct IncludedFiles<'f>(&'f PolicyFiles);

impl Loader for IncludedFiles<'_> {
    fn load(&self, name: &str, base_dir: Option<&str>) -> Result<Included, String> {
        let path = profile_path(base_dir, name)
            .ok_or("a relative include needs a policy that was loaded from a file")?;
        let file = self.0.included.iter().find(|file| *file.path == *path);
        let file = file.ok_or("the included file was not sent with the request")?;
        let directory = path.rsplit_once('/').map(|(directory, _)| String::from(directory));
        let base_dir = directory.map(|directory| if directory.is_empty() { "/".into() } else { directory });
        Ok(Included { identity: path, text: file.text.as_ref().into(), base_dir })
    }
}
