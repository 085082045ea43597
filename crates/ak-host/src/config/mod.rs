//! The operator's settings: model servers, the network, and the destinations of secrets.
//!
//! The file is TOML, at a path that the operator names; there is no search path. No agent can access it. It contains no
//! secret's value, only the source of each.

pub(crate) mod options;
pub(crate) mod pattern;
pub(crate) mod price;
pub(crate) mod source;
pub(crate) mod tables;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use ak_json::Text;
use ak_policy::Scheme;

use crate::{
    config::{
        source::Url,
        tables::{ModelTable, NetConfig, RedactTable, SecretTable, Tables},
    },
    trusted_file::{self, Trust},
};

/// Maximum length of the host configuration, in bytes.
pub const CONFIG_BYTES_MAX: u64 = 1 << 20;
/// The host configuration, checked. It has the sources of secrets, which are not read yet.
#[derive(Debug, Default)]
pub(crate) struct HostFile {
    pub(crate) path: PathBuf,
    /// The directory of relative paths in the file.
    pub(crate) directory: PathBuf,
    pub(crate) net: NetConfig,
    /// The secrets by the names that requests use.
    pub(crate) secrets: BTreeMap<String, SecretTable>,
    pub(crate) models: Vec<ModelTable>,
    /// The environment variables that tools may request, with their values.
    pub(crate) env: Vec<(Text, Text)>,
    /// What is removed from completions beside secrets.
    pub(crate) redact: RedactTable,
    /// Files and directories that no agent may access: the paths under `protect`, certificate files, and the files of
    /// secrets.
    pub(crate) protected: Vec<PathBuf>,
}

impl HostFile {
    /// Reads the file at `path`. Relative paths in it are relative to its directory.
    ///
    /// # Errors
    /// One sentence with file, line and column; it contains no secret's value.
    pub(crate) fn read(path: &Path) -> Result<HostFile, String> {
        let located = |error: &dyn std::fmt::Display| locate(path, &error.to_string());
        let text = trusted_file::read(path, Trust::Settings, CONFIG_BYTES_MAX);
        let text = text.map_err(|error| located(&error))?;
        let absolute = std::path::absolute(path).map_err(|error| located(&error))?;
        let directory = absolute.parent().unwrap_or(Path::new("/"));
        let parsed = HostFile::parse(&text, directory).map_err(|error| located(&error))?;
        Ok(HostFile { path: path.to_owned(), ..parsed })
    }

    fn parse(text: &str, directory: &Path) -> Result<HostFile, String> {
        let tables: Tables = toml::from_str(text).map_err(|error| describe(text, &error))?;
        let within = |path: PathBuf| directory.join(path);
        let mut protected: Vec<PathBuf> = tables.protect.into_iter().map(within).collect();
        let ca: Vec<PathBuf> = tables.http.ca.into_iter().map(within).collect();
        // Anyone who can write these files decides which servers are trusted.
        protected.extend(ca.iter().cloned());
        if let Some(Url(proxy)) = &tables.http.proxy
            && (proxy.scheme() != Scheme::Http || proxy.path_and_query() != "/")
        {
            return Err("[http] proxy: expected http://HOST:PORT, which takes CONNECT".into());
        }
        let keys = tables.model.iter().filter_map(|table| table.key.as_ref());
        let sources = tables.secret.values().map(|table| &table.from).chain(keys);
        protected.extend(sources.filter_map(|source| source.file(directory)));
        let net =
            NetConfig { dns_servers: tables.dns.servers, proxy: tables.http.proxy.map(|proxy| proxy.0), ca };
        let env =
            tables.env.iter().map(|(name, value)| (name.as_str().into(), value.as_str().into())).collect();
        Ok(HostFile {
            path: PathBuf::new(),
            directory: directory.to_owned(),
            net,
            secrets: tables.secret,
            models: tables.model,
            env,
            redact: tables.redact,
            protected,
        })
    }
}

/// Returns an error message with the path of the host configuration.
pub(crate) fn locate(path: &Path, error: &str) -> String {
    format!("host configuration {}: {error}", path.display())
}

/// Returns line, column and message of an error, without quoting the file: the quoted text may be a misplaced secret.
fn describe(text: &str, error: &toml::de::Error) -> String {
    let offset = error.span().map_or(0, |span| span.start);
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    let column = before.get(start..).unwrap_or_default().chars().count() + 1;
    let message = error.message();
    // serde quotes the value that it found.
    let message = match (message.split_once("string \""), message.rsplit_once("\", expected")) {
        (Some((before, _)), Some((_, after))) => format!("{before}a string, expected{after}"),
        _ => match (message.split_once("unknown variant `"), message.rsplit_once("`, expected")) {
            (Some((before, _)), Some((_, after))) => format!("{before}unknown variant, expected{after}"),
            _ => message.to_owned(),
        },
    };
    format!("line {line}, column {column}: {}", message.lines().next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        HostFile::parse(text, Path::new("/nowhere")).unwrap_err()
    }

    #[test]
    fn an_error_names_line_and_column() {
        let check = |text: &str, place: &str, says: &str| {
            let error = refused(text);
            assert!(error.starts_with(place) && error.contains(says), "{text:?}: {error}");
        };
        check("[dns]\nserver = []", "line 2, column 1", "unknown field `server`");
        check("x = 1", "line 1, column 1", "unknown field `x`");
        check("[http]\nproxy = \"ftp://x\"", "line 2, column 9", "http");
        check("[dns]\nservers = [\n  \"nowhere\"\n]", "line 3, column 3", "socket address");
        check("[dns]\nservers = []\nservers = []", "line 3, column 1", "duplicate key");
        check(
            "[[model]]\nmatch = \"x\"\nformat = \"cobol\"\nurl = \"http://x\"",
            "line 3, column 10",
            "unknown variant",
        );
        check("[[model]]\nmatch = \"x\"", "line 1, column 1", "missing field `url`");
        check("[secret.x]\nfrom = \"env:X\"", "line 1, column 1", "missing field `to`");
    }

    #[test]
    fn no_error_shows_a_secret() {
        const KEY: &str = "sk-pasted-by-mistake";
        for text in [
            format!("[secret.x]\nfrom = \"{KEY}\"\nto = []\nin = []"),
            format!("secret.x = \"{KEY}\""),
            format!("[[model]]\nmatch = \"x\"\nurl = \"http://x\"\nkey = \"{KEY}\""),
            format!("[[model]]\nmatch = \"x\"\nurl = \"http://x\"\ntimeout_ms = \"{KEY}\""),
            format!("[dns]\nservers = [\"{KEY}\"]"),
            format!("[redact]\nbuiltin = \"{KEY}\""),
            format!("[[model]]\nmatch = \"x\"\nurl = \"http://x\"\nformat = \"{KEY}\""),
        ] {
            let error = refused(&text);
            assert!(error.starts_with("line ") && !error.contains(KEY), "{error}");
        }
    }

    #[test]
    fn a_proxy_is_spoken_to_in_clear_and_has_no_path() {
        for proxy in ["https://proxy:3128", "http://proxy:3128/there"] {
            let error = refused(&format!("[http]\nproxy = \"{proxy}\""));
            assert!(error.starts_with("[http] proxy: expected http://"), "{error}");
        }
        HostFile::parse("[http]\nproxy = \"http://proxy:3128\"", Path::new("/nowhere")).unwrap();
    }

    #[test]
    fn files_that_secrets_come_from_are_protected() {
        let directory = std::env::temp_dir().join(format!("ak-config-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("key"), "the-long-secret\n").unwrap();
        let text = "protect = [\"more\"]\n[secret.x]\nfrom = \"file:key\"\nto = [\"https://a/**\"]\nin = [\"header:x\"]";
        let file = HostFile::parse(text, &directory).unwrap();
        assert_eq!(file.protected, [directory.join("more"), directory.join("key")]);
        let secrets = crate::secrets::store::Secrets::new(file.secrets, &file.directory).unwrap();
        assert_eq!(
            secrets.redactor(Vec::new()).text("a the-long-secret b").as_deref(),
            Some("a secret://x b")
        );
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
