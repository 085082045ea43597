//! Sources of secrets, and URLs: values of the host configuration that are checked when it is parsed.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use ak_policy::CanonicalUrl;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::trusted_file::{self, Trust};

/// Maximum length of the file of a secret, in bytes.
const SECRET_FILE_BYTES_MAX: u64 = 64 << 10;

/// Where the value of a secret comes from.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(try_from = "String")]
pub(crate) enum Source {
    /// An environment variable.
    Env(String),
    /// A file.
    File(PathBuf),
}

impl TryFrom<String> for Source {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Source, &'static str> {
        match text.split_once(':') {
            Some(("env", name)) if !name.is_empty() => Ok(Source::Env(name.into())),
            Some(("file", path)) if !path.is_empty() => Ok(Source::File(path.into())),
            // The text is not quoted, because it may be the secret itself.
            _ => Err("expected env:NAME or file:PATH; a secret itself does not belong in this file"),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "env:{name}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
        }
    }
}

impl Source {
    /// Returns the path of the source's file, relative to the directory of the host configuration; `None` for a
    /// variable.
    pub(crate) fn file(&self, directory: &Path) -> Option<PathBuf> {
        match self {
            Self::Env(_) => None,
            Self::File(path) => Some(directory.join(path)),
        }
    }

    /// Reads the secret, without line breaks at its end. A relative path is relative to `directory`.
    ///
    /// # Errors
    /// Names the source and why it cannot be read.
    pub(crate) fn read(&self, directory: &Path) -> Result<Zeroizing<String>, String> {
        let read = match self {
            Self::Env(name) => {
                std::env::var(name).map_err(|_| String::from("the variable is not set, or no text"))
            }
            Self::File(path) => {
                let path = directory.join(path);
                let text = trusted_file::read(&path, Trust::Credential, SECRET_FILE_BYTES_MAX);
                text.map_err(|error| error.to_string())
            }
        };
        let text = Zeroizing::new(read.map_err(|error| format!("{self}: {error}"))?);
        Ok(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()))
    }
}

/// An absolute HTTP or HTTPS URL, without `/` at its end.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Url(pub(crate) CanonicalUrl);

impl TryFrom<String> for Url {
    type Error = ak_policy::TargetError;

    fn try_from(text: String) -> Result<Url, ak_policy::TargetError> {
        CanonicalUrl::parse(text.trim_end_matches('/')).map(Url)
    }
}
