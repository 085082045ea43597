//! Patterns over URLs.

use alloc::string::String;
use core::fmt;

use super::{Glob, HostPattern, Part, PathGlob, PatternError, Ports, Reading};
use crate::target::{CanonicalIp, CanonicalUrl, HostOrIp, Scheme, write_path_literal, write_query_literal};

/// A pattern over URLs: `https://HOST[:PORTS]/PATH[?QUERY]`, or `https://**` for every URL of the scheme.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct UrlPattern {
    scheme: Scheme,
    host: UrlHost,
    ports: Ports,
    path: PathGlob,
    query: Query,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum UrlHost {
    /// Every name, and no address.
    Name(HostPattern),
    Ip(CanonicalIp),
    /// Every name and every address: only `scheme://**` says so.
    Any,
}

/// What the pattern says of the query.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Query {
    /// The path ends with `**`, which goes on over the query.
    Any,
    /// Nothing: a permit then wants none, a forbid takes every one.
    Unsaid,
    Glob(Glob),
}

impl UrlPattern {
    pub(crate) fn parse(text: &str) -> Result<Self, PatternError> {
        let (scheme, rest) = text.split_once("://").ok_or(PatternError::Url)?;
        let scheme = [Scheme::Http, Scheme::Https]
            .into_iter()
            .find(|known| known.as_str().eq_ignore_ascii_case(scheme))
            .ok_or(PatternError::Url)?;
        if rest.contains(|c: char| c.is_control() || c == ' ' || c == '#') {
            return Err(PatternError::UrlCharacter);
        }
        if rest == "**" {
            let path = PathGlob::deep();
            return Ok(Self { scheme, host: UrlHost::Any, ports: Ports::ALL, path, query: Query::Any });
        }
        let (authority, tail) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let (host, ports) = parse_authority(authority, scheme)?;
        let (path, query) = tail.split_once('?').map_or((tail, None), |(path, query)| (path, Some(query)));
        // A path always begins with `/`, and its first segment may be empty: `/` is one empty segment.
        let segments = path.strip_prefix('/').unwrap_or(path);
        let path = if segments.is_empty() {
            PathGlob::empty_segment()
        } else {
            PathGlob::parse(segments, |segment| match segment {
                "." | ".." => Err(PatternError::Dots),
                segment => {
                    Glob::parse_with(segment, |piece| canonical(&piece, write_path_literal)).map(Part::from)
                }
            })?
        };
        let query = match query {
            Some(query) => {
                Query::Glob(Glob::parse_with(query, |piece| canonical(&piece, write_query_literal))?)
            }
            None if path.is_deep() => Query::Any,
            None => Query::Unsaid,
        };
        Ok(Self { scheme, host, ports, path, query })
    }

    pub(crate) fn matches(&self, url: &CanonicalUrl, reading: Reading) -> bool {
        let host = match (&self.host, url.host()) {
            (UrlHost::Any, _) => true,
            (UrlHost::Name(pattern), HostOrIp::Host(host)) => pattern.matches(host),
            (UrlHost::Ip(own), HostOrIp::Ip(ip)) => own == ip,
            (UrlHost::Name(_), HostOrIp::Ip(_)) | (UrlHost::Ip(_), HostOrIp::Host(_)) => false,
        };
        let query = |url: &CanonicalUrl| match (&self.query, url.query(), reading) {
            (Query::Any, _, _) | (Query::Unsaid, None, _) | (Query::Unsaid, Some(_), Reading::Wide) => true,
            (Query::Unsaid, Some(_), Reading::Narrow) => false,
            (Query::Glob(glob), query, _) => query.is_some_and(|query| glob.matches(query)),
        };
        host && self.scheme == url.scheme()
            && self.ports.contains(url.port())
            && self.path_matches(url, reading)
            && query(url)
    }

    /// Matches the path in every way that a server may read it: a permit wants all of them to fit, a forbid
    /// one.
    fn path_matches(&self, url: &CanonicalUrl, reading: Reading) -> bool {
        let plain = self.path.matches_url_path(url.path());
        match (url.collapsed(), reading) {
            (None, _) => plain,
            (Some((_, path)), Reading::Narrow) => plain && self.path.matches_url_path(&path),
            (Some((_, path)), Reading::Wide) => plain || self.path.matches_url_path(&path),
        }
    }

    /// The text every match begins with, when host and port are literal.
    pub(crate) fn literal_prefix(&self) -> Option<String> {
        let port = self.ports.single()?;
        let mut prefix = match &self.host {
            UrlHost::Name(HostPattern::Exactly(host)) => alloc::format!("{}://{host}", self.scheme.as_str()),
            UrlHost::Ip(ip) => alloc::format!("{}://{ip}", self.scheme.as_str()),
            UrlHost::Name(HostPattern::Any | HostPattern::Below(_)) | UrlHost::Any => return None,
        };
        if port != self.scheme.default_port() {
            prefix.push(':');
            prefix.push_str(&alloc::format!("{port}"));
        }
        prefix.push_str(&self.path.literal_prefix().0);
        Some(prefix)
    }

    /// The host pattern, unless the pattern names an address or takes every URL.
    pub(crate) fn host(&self) -> Option<&HostPattern> {
        match &self.host {
            UrlHost::Name(host) => Some(host),
            UrlHost::Ip(_) | UrlHost::Any => None,
        }
    }

    /// Whether hosts of every name match.
    pub(crate) fn is_any_host(&self) -> bool {
        matches!(self.host, UrlHost::Any | UrlHost::Name(HostPattern::Any))
    }

    /// Whether every URL that `other` matches is matched by this one; `false` when that cannot be told.
    pub(super) fn covers(&self, other: &UrlPattern) -> bool {
        let host = match (&self.host, &other.host) {
            (UrlHost::Any, _) => true,
            (UrlHost::Name(own), UrlHost::Name(other)) => own.covers(other),
            (UrlHost::Ip(own), UrlHost::Ip(other)) => own == other,
            (UrlHost::Name(_) | UrlHost::Ip(_), _) => false,
        };
        let query = self.query == Query::Any || self.query == other.query;
        host && query
            && self.scheme == other.scheme
            && self.ports.covers(other.ports)
            && self.path.covers(&other.path)
    }
}

fn parse_authority(authority: &str, scheme: Scheme) -> Result<(UrlHost, Ports), PatternError> {
    if authority.contains('@') {
        return Err(PatternError::Url);
    }
    let host_end = authority.rfind(']').unwrap_or(0);
    let colon = authority.get(host_end..).and_then(|rest| rest.find(':')).map(|at| host_end + at);
    let (host, ports) = match colon {
        Some(colon) => {
            let (host, port) = authority.split_at(colon);
            (host, Ports::parse(port.get(1..).unwrap_or_default())?)
        }
        None => (authority, Ports::only(scheme.default_port())),
    };
    let host = match HostOrIp::parse(host) {
        Ok(HostOrIp::Ip(ip)) => UrlHost::Ip(ip),
        Ok(HostOrIp::Host(host)) => UrlHost::Name(HostPattern::Exactly(host)),
        Err(_) => UrlHost::Name(HostPattern::parse(host)?),
    };
    Ok((host, ports))
}

fn canonical(
    piece: &str,
    write: fn(&mut String, &str) -> Result<(), crate::TargetError>,
) -> Result<String, PatternError> {
    let mut text = String::with_capacity(piece.len());
    write(&mut text, piece)?;
    Ok(text)
}

impl fmt::Display for UrlPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.scheme.as_str())?;
        match &self.host {
            UrlHost::Any => return f.write_str("**"),
            UrlHost::Name(host) => host.fmt(f)?,
            UrlHost::Ip(ip) => ip.fmt(f)?,
        }
        if self.ports != Ports::only(self.scheme.default_port()) {
            write!(f, ":{}", self.ports)?;
        }
        write!(f, "/{}", self.path)?;
        match &self.query {
            Query::Any | Query::Unsaid => Ok(()),
            Query::Glob(query) => write!(f, "?{query}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn urls() {
        let check = |pattern: &str, url: &str, narrow: bool, wide: bool| {
            let own = UrlPattern::parse(pattern).unwrap();
            let url = CanonicalUrl::parse(url).unwrap();
            assert_eq!(own.matches(&url, Reading::Narrow), narrow, "{pattern} on {url}");
            assert_eq!(own.matches(&url, Reading::Wide), wide, "{pattern} on {url}, wide");
            assert_eq!(UrlPattern::parse(&own.to_string()), Ok(own), "{pattern}");
        };
        let both = |pattern: &str, url: &str, expected: bool| check(pattern, url, expected, expected);
        both("https://api.github.com/**", "https://api.github.com/", true);
        both("https://api.github.com/**", "https://API.GitHub.com:443/repos?x=/1", true);
        both("https://api.github.com/**", "http://api.github.com/", false);
        both("https://api.github.com/**", "https://api.github.com:8443/", false);
        both("https://api.github.com/**", "https://api.github.com.evil.net/", false);
        both("https://api.github.com:*/**", "https://api.github.com:8443/", true);
        both("https://h:8000-8099/**", "https://h:8042/", true);
        both("https://h:8000-8099/**", "https://h/", false);
        both("https://h", "https://h/", true);
        both("https://h", "https://h/a", false);
        both("https://h/a/*", "https://h/a/b", true);
        both("https://h/a/*", "https://h/a/b/c", false);
        both("https://h/a/*", "https://h/a/../secret", false);
        both("https://h/a/**", "https://h/a/../secret", false);
        check("https://h/a/*", "https://h/a/b?c=d", false, true);
        check("https://h/a", "https://h/a?", false, true);
        both("https://h/a?**", "https://h/a?c=/d", true);
        both("https://h/a?q=*", "https://h/a?q=1&r=2", true);
        both("https://h/a?q=*", "https://h/a", false);
        check("https://h/a/*", "https://h/a/b%2Fc", false, true);
        check("https://h/a/**", "https://h/a//b%2Fc", true, true);
        check("https://h/admin/**", "https://h//admin/x", false, true);
        both("https://h//**", "https://h/x", false);
        check("https://h//**", "https://h//x", false, true);
        check("https://h/admin/**", "https://h/%2Fadmin%2Fx", false, true);
        both("https://h/caf\u{e9}/%7ex", "https://h/caf%C3%A9/~x", true);
        both("https://*.h.com/**", "https://a.h.com/", true);
        both("https://*.h.com/**", "https://h.com/", false);
        both("https://*/**", "https://a.h.com/x", true);
        both("https://*/**", "https://127.0.0.1/x", false);
        both("https://**", "https://[::1]:8443/x?y", true);
        both("http://127.0.0.1:8080/**", "http://127.0.0.1:8080/x", true);
        both("http://[::ffff:127.0.0.1]/**", "http://127.0.0.1/x", true);
        for refused in [
            "",
            "h",
            "ftp://h/**",
            "https://",
            "https:///x",
            "https://u@h/",
            "https://h/../x",
            "https://h/./x",
            "https://h/a b",
            "https://h/a#b",
            "https://h/%zz",
            "https://h/a**",
            "https://h:99999/",
            "https://a*b/",
            "https://0x7f.1/",
            "*://h/",
            "https://h/\\",
            "//h/x",
        ] {
            assert!(UrlPattern::parse(refused).is_err(), "{refused}");
        }
    }
}
