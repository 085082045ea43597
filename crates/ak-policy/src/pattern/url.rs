//! Patterns over URLs.
//!
//! Servers read a URL in several ways, and the literal parts of a pattern can be read in the same ways. A permit
//! matches when the URL matches in every way in which both can be read; a forbid or an ask when some reading of the
//! URL matches some reading of the pattern. So a pattern permits its own text, and no URL that some server reads
//! differently.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use super::meter::{Meter, READ_STEPS_PER_BYTE};
use super::{
    error::PatternError,
    glob::Glob,
    limits::SEARCHED_BYTES_MIN,
    net::{HostPattern, Ports},
    path::{Part, PathGlob},
    reading::Reading,
};
use crate::target::{
    CanonicalIp, CanonicalUrl, HostOrIp, PathReading, ReadQuery, Readings, Scheme, TargetError, TooMany,
    check_segment, joint_paths, joint_queries, write_path_literal, write_query_literal,
};

/// A pattern over URLs: `https://HOST[:PORTS]/PATH[?QUERY]`, or `https://**` for every URL of the scheme.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct UrlPattern {
    scheme: Scheme,
    host: UrlHost,
    ports: Ports,
    path: PathGlob,
    query: Query,
    /// All readings, when there are several. They follow from the other fields, so comparing these suffices.
    readings: Option<Box<PatternReadings>>,
}

/// The readings of the literal parts of a pattern.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct PatternReadings {
    paths: Box<[PathGlobReading]>,
    /// The readings of the query; empty when the pattern has none.
    queries: Box<[Glob]>,
}

/// One reading of a pattern's path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct PathGlobReading {
    path: PathGlob,
    query: GlobQuery,
}

/// The part of a pattern that says what the query looks like, in a reading of its path; see [`ReadQuery`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum GlobQuery {
    Own,
    Cut,
    Behind(Glob),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum UrlHost {
    /// Names that match, and no address.
    Name(HostPattern),
    Ip(CanonicalIp),
    /// Every name and every address, which only `scheme://**` means.
    Any,
}

/// The pattern's part about the query.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Query {
    /// The path ends with `**`, which extends over the query.
    Any,
    /// The pattern has no query: a permit then matches only URLs without one, a forbid or ask any.
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
            let host = UrlHost::Any;
            return Ok(Self { scheme, host, ports: Ports::ALL, path, query: Query::Any, readings: None });
        }
        let (authority, tail) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let (host, ports) = parse_authority(authority, scheme)?;
        let (path, query) = tail.split_once('?').map_or((tail, None), |(path, query)| (path, Some(query)));
        // A path always begins with `/`, and its first segment may be empty: `/` has one empty segment.
        let segments = path.strip_prefix('/').unwrap_or(path);
        let path = if segments.is_empty() {
            PathGlob::empty_segment()
        } else {
            PathGlob::parse(segments, |segment| match segment {
                "." | ".." => Err(PatternError::Dots),
                segment => {
                    let glob = Glob::parse_with(segment, |piece| canonical(&piece, write_path_literal))?;
                    match glob.as_literal() {
                        // No canonical URL contains such a segment.
                        Some("." | "..") => Err(PatternError::Dots),
                        Some(text) => {
                            check_segment(text).map(|()| Part::from(glob)).map_err(PatternError::from)
                        }
                        None => Ok(Part::from(glob)),
                    }
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
        let readings =
            PatternReadings::of(&path, &query).map_err(|TooMany| TargetError::TooManyReadings)?.map(Box::new);
        Ok(Self { scheme, host, ports, path, query, readings })
    }

    /// Whether the URL matches, with the steps taken from the meter; once the meter is spent the result is
    /// meaningless.
    pub(crate) fn matches_within(&self, url: &CanonicalUrl, reading: Reading, meter: &Meter) -> bool {
        let host = match (&self.host, url.host()) {
            (UrlHost::Any, _) => true,
            (UrlHost::Name(pattern), HostOrIp::Host(host)) => pattern.matches(host),
            (UrlHost::Ip(own), HostOrIp::Ip(ip)) => own == ip,
            (UrlHost::Name(_), HostOrIp::Ip(_)) | (UrlHost::Ip(_), HostOrIp::Host(_)) => false,
        };
        host && self.scheme == url.scheme()
            && self.ports.contains(url.port())
            && match reading {
                Reading::Narrow => {
                    self.matches_as_written(url, meter)
                        && url.readings().is_none_or(|readings| self.matches_each(url, readings, meter))
                }
                Reading::Wide => self.matches_some(url, meter),
            }
    }

    /// Whether the URL as written matches, for a permit.
    fn matches_as_written(&self, url: &CanonicalUrl, meter: &Meter) -> bool {
        let query = match (&self.query, url.query()) {
            (Query::Any, _) | (Query::Unsaid, None) => true,
            (Query::Unsaid, Some(_)) | (Query::Glob(_), None) => false,
            (Query::Glob(glob), Some(query)) => glob.matches_within(query, meter),
        };
        query && self.may_match(&self.path, url, meter) && self.path.matches_url_path(url.path(), meter)
    }

    /// Whether the URL, which matches as written, also matches in every reading.
    fn matches_each(&self, url: &CanonicalUrl, readings: &Readings, meter: &Meter) -> bool {
        self.query == Query::Any && self.path == PathGlob::deep()
            || self.is_text_of(url)
            || self.path_matches_each(url, readings, meter) && self.query_matches_each(url, readings, meter)
    }

    /// Whether the pattern is exactly this path and query.
    fn is_text_of(&self, url: &CanonicalUrl) -> bool {
        let path = url.path().strip_prefix('/').unwrap_or(url.path());
        let query = match (&self.query, url.query()) {
            (Query::Unsaid, None) => true,
            (Query::Glob(glob), Some(query)) => glob.as_literal() == Some(query),
            (Query::Any, _) | (Query::Unsaid, Some(_)) | (Query::Glob(_), None) => false,
        };
        query && self.path.as_literal() == Some(path)
    }

    fn path_matches_each(&self, url: &CanonicalUrl, readings: &Readings, meter: &Meter) -> bool {
        let is_any = || match &self.query {
            Query::Any => true,
            Query::Unsaid => false,
            Query::Glob(glob) => glob.is_any(),
        };
        let query = |own: &GlobQuery, its: &ReadQuery| match (own, its) {
            (GlobQuery::Own, ReadQuery::Own) | (GlobQuery::Cut, ReadQuery::Cut) => true,
            (GlobQuery::Behind(own), ReadQuery::Behind(its)) => own.matches_within(its, meter),
            (GlobQuery::Own, ReadQuery::Cut) => matches!(self.query, Query::Any | Query::Unsaid),
            (GlobQuery::Own, ReadQuery::Behind(_)) => is_any(),
            (GlobQuery::Cut, ReadQuery::Own | ReadQuery::Behind(_))
            | (GlobQuery::Behind(_), ReadQuery::Own | ReadQuery::Cut) => false,
        };
        if self.readings.is_none() {
            return readings.paths.iter().all(|its| {
                query(&GlobQuery::Own, &its.query) && self.path.matches_url_path(&its.path, meter)
            });
        }
        let bytes_max = meter.left() / READ_STEPS_PER_BYTE;
        let joint = joint_paths(&self.path.reading_text(), url.path(), bytes_max);
        joint.is_ok_and(|joint| {
            joint.into_iter().all(|[own, its]| {
                let bytes = own.path.len() + its.path.len();
                let own = PathGlobReading::of(own);
                meter.take(bytes * READ_STEPS_PER_BYTE)
                    && query(&own.query, &its.query)
                    && own.path.matches_url_path(&its.path, meter)
            })
        })
    }

    fn query_matches_each(&self, url: &CanonicalUrl, readings: &Readings, meter: &Meter) -> bool {
        let (Query::Glob(glob), Some(query)) = (&self.query, url.query()) else { return true };
        if self.readings.as_ref().is_none_or(|own| own.queries.len() <= 1) {
            return readings.queries.iter().all(|query| glob.matches_within(query, meter));
        }
        let bytes_max = meter.left() / READ_STEPS_PER_BYTE;
        let joint = joint_queries(&glob.reading_text(), query, bytes_max);
        joint.is_ok_and(|joint| {
            joint.into_iter().all(|[own, its]| {
                meter.take((own.len() + its.len()) * READ_STEPS_PER_BYTE)
                    && Glob::of_reading(&own).matches_within(&its, meter)
            })
        })
    }

    /// Whether some reading of the URL matches some reading of the pattern, for a forbid or ask.
    fn matches_some(&self, url: &CanonicalUrl, meter: &Meter) -> bool {
        let of_path = |path: &PathGlob, own: &GlobQuery| {
            self.may_match(path, url, meter)
                && match url.readings() {
                    None => {
                        path.matches_url_path(url.path(), meter) && self.query_may_be(own, url, None, meter)
                    }
                    Some(readings) => readings.paths.iter().any(|its| {
                        path.matches_url_path(&its.path, meter)
                            && self.query_may_be(own, url, Some(&its.query), meter)
                    }),
                }
        };
        match &self.readings {
            None => of_path(&self.path, &GlobQuery::Own),
            Some(readings) => readings.paths.iter().any(|own| of_path(&own.path, &own.query)),
        }
    }

    /// Whether some server may read a query in the URL that the pattern matches.
    fn query_may_be(
        &self,
        own: &GlobQuery,
        url: &CanonicalUrl,
        its: Option<&ReadQuery>,
        meter: &Meter,
    ) -> bool {
        let (glob, globs): (Option<&Glob>, &[Glob]) = match (own, &self.query, &self.readings) {
            (GlobQuery::Cut, _, _) | (GlobQuery::Own, Query::Any | Query::Unsaid, _) => return true,
            (GlobQuery::Behind(glob), _, _) => (Some(glob), &[]),
            (GlobQuery::Own, Query::Glob(_), Some(own)) if !own.queries.is_empty() => (None, &own.queries),
            (GlobQuery::Own, Query::Glob(glob), _) => (Some(glob), &[]),
        };
        let matches =
            |query: &str| glob.into_iter().chain(globs).any(|glob| glob.matches_within(query, meter));
        match (its, url.query(), url.readings()) {
            (Some(ReadQuery::Cut), _, _) => false,
            (Some(ReadQuery::Behind(query)), _, _) => matches(query),
            (Some(ReadQuery::Own) | None, _, Some(readings)) if !readings.queries.is_empty() => {
                readings.queries.iter().any(|query| matches(query))
            }
            (Some(ReadQuery::Own) | None, query, _) => query.is_some_and(matches),
        }
    }

    /// Whether searching the path can succeed: it cannot when a literal segment of the pattern is nowhere in the
    /// URL.
    fn may_match(&self, path: &PathGlob, url: &CanonicalUrl, meter: &Meter) -> bool {
        if !path.searches() || url.path().len() < SEARCHED_BYTES_MIN {
            return true;
        }
        let others = url.readings().map_or(&[][..], |readings| &readings.paths);
        let texts = core::iter::once(url.path()).chain(others.iter().map(|reading| reading.path.as_str()));
        path.may_match(meter.segments(texts))
    }

    /// The texts with which every match begins, under a rule with this reading: one for each reading of the pattern
    /// that counts. `None` unless host and port are literal.
    pub(crate) fn literal_prefixes(&self, reading: Reading) -> Option<Vec<String>> {
        let port = self.ports.single()?;
        let mut origin = match &self.host {
            UrlHost::Name(HostPattern::Exactly(host)) => alloc::format!("{}://{host}", self.scheme.as_str()),
            UrlHost::Ip(ip) => alloc::format!("{}://{ip}", self.scheme.as_str()),
            UrlHost::Name(HostPattern::Any | HostPattern::Below(_)) | UrlHost::Any => return None,
        };
        if port != self.scheme.default_port() {
            origin.push(':');
            origin.push_str(&alloc::format!("{port}"));
        }
        let prefix = |path: &PathGlob| alloc::format!("{origin}{}", path.literal_prefix().0);
        let mut prefixes = match (&self.readings, reading) {
            (Some(readings), Reading::Wide) => {
                readings.paths.iter().map(|reading| prefix(&reading.path)).collect()
            }
            // A permit only matches URLs that match as written.
            (None, _) | (Some(_), Reading::Narrow) => alloc::vec![prefix(&self.path)],
        };
        prefixes.sort();
        prefixes.dedup();
        Some(prefixes)
    }

    /// The host pattern; `None` when the pattern names an address or matches every URL of the scheme.
    pub(crate) fn host(&self) -> Option<&HostPattern> {
        match &self.host {
            UrlHost::Name(host) => Some(host),
            UrlHost::Ip(_) | UrlHost::Any => None,
        }
    }

    /// Whether the pattern matches every host name.
    pub(crate) fn is_any_host(&self) -> bool {
        matches!(self.host, UrlHost::Any | UrlHost::Name(HostPattern::Any))
    }

    /// Whether this pattern matches every URL that `other` matches; `false` when that cannot be decided.
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
            && (self.readings.is_none() && other.readings.is_none() || self.covers_each(other))
    }

    /// Whether the path covers the other pattern's path in every way in which both can be read.
    fn covers_each(&self, other: &UrlPattern) -> bool {
        let query = |own: &GlobQuery, its: &GlobQuery| match (own, its) {
            (GlobQuery::Behind(own), GlobQuery::Behind(its)) => own.covers(its),
            (own, its) => own == its || *own == GlobQuery::Own && self.query == Query::Any,
        };
        let joint = joint_paths(&self.path.reading_text(), &other.path.reading_text(), usize::MAX);
        joint.is_ok_and(|joint| {
            joint.into_iter().all(|[own, its]| {
                let (own, its) = (PathGlobReading::of(own), PathGlobReading::of(its));
                query(&own.query, &its.query) && own.path.covers(&its.path)
            })
        })
    }
}

impl PatternReadings {
    fn of(path: &PathGlob, query: &Query) -> Result<Option<Self>, TooMany> {
        let (path, query) = (
            path.reading_text(),
            match query {
                Query::Any | Query::Unsaid => None,
                Query::Glob(glob) => Some(glob.reading_text()),
            },
        );
        let Some(readings) = Readings::of(&path, query.as_deref())? else { return Ok(None) };
        Ok(Some(Self {
            paths: readings.paths.into_iter().map(PathGlobReading::of).collect(),
            queries: readings.queries.iter().map(|query| Glob::of_reading(query)).collect(),
        }))
    }
}

impl PathGlobReading {
    fn of(reading: PathReading) -> Self {
        let query = match &reading.query {
            ReadQuery::Own => GlobQuery::Own,
            ReadQuery::Cut => GlobQuery::Cut,
            ReadQuery::Behind(query) => GlobQuery::Behind(Glob::of_reading(query)),
        };
        Self { path: PathGlob::of_reading(&reading.path), query }
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
            let matches = |reading| own.matches_within(&url, reading, &Meter::of_pattern());
            assert_eq!(matches(Reading::Narrow), narrow, "{pattern} on {url}");
            assert_eq!(matches(Reading::Wide), wide, "{pattern} on {url}, wide");
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
        check("https://h//**", "https://h/x", false, true);
        both("https://h//**", "https://h//x", true);
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
