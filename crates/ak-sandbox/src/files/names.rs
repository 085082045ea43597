//! The file names that a guest uses, none of which leads out of its directories.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::errno;

/// Longest path, in bytes.
pub(crate) const PATH_BYTES_MAX: u32 = 4096;

/// The path that a guest's name leads to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ResolvedPath {
    /// The absolute path.
    pub(crate) path: String,
    /// The name ends with `/`, `.` or `..`, as only a directory's may.
    pub(crate) directory: bool,
}

/// A number for a path: its FNV-1a hash, or 1 instead of 0.
pub(crate) fn serial(path: &str) -> u64 {
    let hash = path.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash.max(1)
}

/// The directories that a tool with these needs finds open: for each need of files, the directory of the target's
/// part before the first wildcard. The driver of the run still decides on every access in them.
pub(crate) fn preopens(needs: &[String]) -> Vec<String> {
    let mut directories = Vec::new();
    for need in needs {
        let Some((_, target)) = need.split_once(':').filter(|(operation, _)| operation.starts_with("fs."))
        else {
            continue;
        };
        let literal = literal(target);
        let Some((directory, _)) = literal.rsplit_once('/') else { continue };
        // Guests see absolute paths only, so a relative target opens no directory.
        if !target.starts_with('/') {
            continue;
        }
        let directory = if directory.is_empty() { "/".to_string() } else { directory.to_string() };
        if !directories.contains(&directory) {
            directories.push(directory);
        }
    }
    directories
}

/// The part of a pattern before its first wildcard. As in the policy language, `*` is a wildcard and `\` quotes the
/// next character.
fn literal(pattern: &str) -> String {
    let mut literal = String::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next().filter(|&c| c != '*') {
        literal.extend(if c == '\\' { chars.next() } else { Some(c) });
    }
    literal
}

/// The path of the entry `name` in a directory.
pub(crate) fn join(directory: &str, name: &str) -> String {
    alloc::format!("{}/{name}", directory.trim_end_matches('/'))
}

/// Resolves a name relative to a directory.
///
/// # Errors
/// `ENOTCAPABLE` for a name that leads out of the directory, which every absolute name does; `ENOENT` if empty,
/// `EINVAL` with a zero byte, `ENAMETOOLONG`.
pub(crate) fn resolve(directory: &str, name: &str) -> Result<ResolvedPath, i32> {
    if name.is_empty() {
        return Err(errno::NO_ENTRY);
    }
    if name.starts_with('/') {
        return Err(errno::NOT_CAPABLE);
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop().ok_or(errno::NOT_CAPABLE)?;
            }
            _ if part.contains('\0') => return Err(errno::INVALID),
            _ => parts.push(part),
        }
    }
    let mut path = String::from(directory.trim_end_matches('/'));
    for part in parts {
        path.push('/');
        path.push_str(part);
    }
    if path.is_empty() {
        path.push('/');
    }
    if path.len() > PATH_BYTES_MAX as usize {
        return Err(errno::NAME_TOO_LONG);
    }
    let directory = name.rsplit('/').next().is_some_and(|last| matches!(last, "" | "." | ".."));
    Ok(ResolvedPath { path, directory })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_beneath_its_directory() {
        for (directory, name, expected) in [
            ("/data", "a", Ok("/data/a")),
            ("/data", "a/./b//c/", Ok("/data/a/b/c")),
            ("/data", "a/../b", Ok("/data/b")),
            ("/data", ".", Ok("/data")),
            ("/", "etc/x", Ok("/etc/x")),
            ("/", ".", Ok("/")),
            ("/data", "..", Err(errno::NOT_CAPABLE)),
            ("/data", "a/../../b", Err(errno::NOT_CAPABLE)),
            ("/data", "/data/a", Err(errno::NOT_CAPABLE)),
            ("/data", "", Err(errno::NO_ENTRY)),
            ("/data", "a\0b", Err(errno::INVALID)),
        ] {
            let path = resolve(directory, name).map(|place| place.path);
            assert_eq!(path, expected.map(String::from), "{directory} {name:?}");
        }
        for (name, expected) in [("a", false), ("a/", true), ("a/.", true), ("a/b/..", true), ("a/.b", false)]
        {
            assert_eq!(resolve("/data", name).map(|place| place.directory), Ok(expected), "{name}");
        }
    }

    #[test]
    fn needs_of_files_open_directories() {
        let needs = [
            "fs.read:/data/**",
            "fs.write:/data/*.txt",
            "fs.read:/etc/hosts",
            "fs.*:/top",
            "infer:gpt-4*",
            "fs.read:relative/**",
            r"fs.read:/odd/a\*b/\\/*",
            "fs.read:/odd/[x]?{y}/*.txt",
            "http.get:https://a.example/**",
        ];
        assert_eq!(preopens(&needs.map(String::from)), ["/data", "/etc", "/", r"/odd/a*b/\", "/odd/[x]?{y}"]);
    }
}
