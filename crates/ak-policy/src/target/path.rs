//! File paths.

use alloc::string::String;
use core::fmt;

use ak_json::Text;

use super::TargetError;

/// The most bytes of a path (Linux's `PATH_MAX` without the NUL).
pub const PATH_BYTES_MAX: usize = 4095;

/// An absolute path without `.`, `..`, `//` and trailing `/`; everything else stays as written.
///
/// `..` is resolved on the text alone, without regard to symbolic links. That is safe because the host opens
/// exactly this path, and follows a symbolic link only after a separate decision on the path it leads to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CanonicalPath(Text);

impl CanonicalPath {
    /// Resolves `.`, `..` and `//`. Percent-encoding, backslashes, spaces and dots within names are literal.
    ///
    /// # Errors
    /// [`TargetError`] when the path is relative, too long or contains a NUL.
    pub fn parse(text: &str) -> Result<Self, TargetError> {
        if text.len() > PATH_BYTES_MAX {
            return Err(TargetError::TooLong { bytes_max: PATH_BYTES_MAX });
        }
        if text.contains('\0') {
            return Err(TargetError::Nul);
        }
        let relative = text.strip_prefix('/').ok_or(TargetError::NotAbsolute)?;
        let mut path = String::with_capacity(text.len());
        for segment in relative.split('/') {
            match segment {
                "" | "." => {}
                ".." => path.truncate(path.rfind('/').unwrap_or(0)),
                name => {
                    path.push('/');
                    path.push_str(name);
                }
            }
        }
        if path.is_empty() {
            path.push('/');
        }
        Ok(Self(path.into()))
    }

    /// The path.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The segments of the path: the path without its leading `/`.
    pub(crate) fn relative(&self) -> &str {
        self.0.strip_prefix('/').unwrap_or(&self.0)
    }
}

impl fmt::Display for CanonicalPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_one_form() {
        let check = |text: &str, expected: Result<&str, TargetError>| {
            let path = CanonicalPath::parse(text);
            assert_eq!(
                path.as_ref().map(CanonicalPath::as_str),
                expected.as_ref().map(|text| *text),
                "{text:?}"
            );
        };
        check("/", Ok("/"));
        check("//", Ok("/"));
        check("/..", Ok("/"));
        check("/../../etc/passwd", Ok("/etc/passwd"));
        check("/app/../etc", Ok("/etc"));
        check("/app/./data/", Ok("/app/data"));
        check("/app//data", Ok("/app/data"));
        check("/app/...", Ok("/app/..."));
        check("/app/.. ", Ok("/app/.. "));
        check("/app/. ./x", Ok("/app/. ./x"));
        check("/app/%2e%2e/x", Ok("/app/%2e%2e/x"));
        check("/app/..%2fx", Ok("/app/..%2fx"));
        check("/app\\..\\x", Ok("/app\\..\\x"));
        check("/App", Ok("/App"));
        check("/e\u{301}", Ok("/e\u{301}"));
        check("/\u{e9}", Ok("/\u{e9}"));
        check("/\u{ff0e}\u{ff0e}/x", Ok("/\u{ff0e}\u{ff0e}/x"));
        check("", Err(TargetError::NotAbsolute));
        check("app", Err(TargetError::NotAbsolute));
        check("./app", Err(TargetError::NotAbsolute));
        check("~/app", Err(TargetError::NotAbsolute));
        check("file:///app", Err(TargetError::NotAbsolute));
        check(" /app", Err(TargetError::NotAbsolute));
        check("/app\0.txt", Err(TargetError::Nul));
        check(&"/a".repeat(PATH_BYTES_MAX), Err(TargetError::TooLong { bytes_max: PATH_BYTES_MAX }));
    }
}
