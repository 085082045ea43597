//! Resolves URI references, RFC 3986.

use alloc::string::String;
use alloc::vec::Vec;

/// A URI without fragment.
#[derive(Clone, Copy)]
struct Uri<'a> {
    scheme: Option<&'a str>,
    authority: Option<&'a str>,
    path: &'a str,
    query: Option<&'a str>,
}

impl<'a> Uri<'a> {
    fn split(uri: &'a str) -> Self {
        let (rest, query) = uri.split_once('?').map_or((uri, None), |(rest, query)| (rest, Some(query)));
        let (scheme, rest) = match rest.split_once(':') {
            Some((scheme, rest)) if !scheme.contains('/') => (Some(scheme), rest),
            _ => (None, rest),
        };
        let Some(rest) = rest.strip_prefix("//") else {
            return Self { scheme, authority: None, path: rest, query };
        };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        Self { scheme, authority: Some(authority), path, query }
    }

    fn join(self, path: &str) -> String {
        let mut uri = String::new();
        for (before, part, after) in [("", self.scheme, ":"), ("//", self.authority, "")] {
            if let Some(part) = part {
                uri.extend([before, part, after]);
            }
        }
        uri.push_str(path);
        if let Some(query) = self.query {
            uri.extend(["?", query]);
        }
        uri
    }
}

/// Resolves a reference against a base by §5.2; both are without fragment.
pub(super) fn resolve(base: &str, reference: &str) -> String {
    let (base, uri) = (Uri::split(base), Uri::split(reference));
    if uri.scheme.is_some() {
        return uri.join(&without_dots(uri.path));
    }
    let uri = Uri { scheme: base.scheme, ..uri };
    if uri.authority.is_some() {
        return uri.join(&without_dots(uri.path));
    }
    let uri = Uri { authority: base.authority, ..uri };
    if uri.path.is_empty() {
        return Uri { query: uri.query.or(base.query), ..uri }.join(base.path);
    }
    if uri.path.starts_with('/') {
        return uri.join(&without_dots(uri.path));
    }
    let folder = match base.path.rfind('/') {
        Some(slash) => base.path.get(..=slash).unwrap_or_default(),
        None if base.authority.is_some() => "/",
        None => "",
    };
    uri.join(&without_dots(&[folder, uri.path].concat()))
}

/// A path with `.` and `..` resolved by §5.2.4.
fn without_dots(path: &str) -> String {
    let mut segments = Vec::new();
    let last = path.split('/').count() - 1;
    for (index, segment) in path.split('/').enumerate() {
        match segment {
            "." | ".." => {
                // The first segment is the empty one before an absolute path's slash.
                if segment == ".." && segments.len() > 1 {
                    segments.pop();
                }
                if index == last {
                    segments.push("");
                }
            }
            _ => segments.push(segment),
        }
    }
    segments.join("/")
}

#[cfg(test)]
mod tests {
    use super::resolve;

    #[test]
    fn references_resolve_as_in_rfc_3986() {
        let check = |reference: &str, expected: &str| {
            assert_eq!(resolve("http://a/b/c/d;p?q", reference), expected, "{reference}");
        };
        check("g:h", "g:h");
        check("g", "http://a/b/c/g");
        check("./g", "http://a/b/c/g");
        check("g/", "http://a/b/c/g/");
        check("/g", "http://a/g");
        check("//g", "http://g");
        check("?y", "http://a/b/c/d;p?y");
        check("g?y", "http://a/b/c/g?y");
        check("", "http://a/b/c/d;p?q");
        check(".", "http://a/b/c/");
        check("..", "http://a/b/");
        check("../g", "http://a/b/g");
        check("../../g", "http://a/g");
        check("../../../g", "http://a/g");
        check("/./g", "http://a/g");
        check("g/../h", "http://a/b/c/h");
        assert_eq!(resolve("", "item.json"), "item.json");
        assert_eq!(resolve("http://a", "b"), "http://a/b");
        assert_eq!(resolve("urn:a:b", "urn:c:d?+e"), "urn:c:d?+e");
    }
}
