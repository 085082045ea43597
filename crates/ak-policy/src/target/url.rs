//! HTTP URLs.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt::{self, Write};
use core::ops::Range;

use ak_json::Text;

use super::readings::{PathReading, ReadQuery, Readings, TooMany};
use super::{CanonicalHost, CanonicalIp, TargetError};

/// The most bytes of a URL, before and after normalising.
pub const URL_BYTES_MAX: usize = 8192;

/// The schemes of URLs that agents may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// `http`, with port 80 unless the URL names another.
    Http,
    /// `https`, with port 443 unless the URL names another.
    Https,
}

impl Scheme {
    /// The scheme's name in lower case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port of a URL that names none.
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// The host of a URL or an endpoint: a name to look up, or an address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostOrIp {
    /// A host name, to be looked up.
    Host(CanonicalHost),
    /// An IP address.
    Ip(CanonicalIp),
}

impl HostOrIp {
    /// Reads a host name, a dotted quad, or an IPv6 address in brackets.
    ///
    /// # Errors
    /// [`TargetError`] when the text is none of these.
    pub fn parse(text: &str) -> Result<Self, TargetError> {
        if let Some(inner) = text.strip_prefix('[') {
            let inner =
                inner.strip_suffix(']').filter(|inner| inner.contains(':')).ok_or(TargetError::Address)?;
            return CanonicalIp::parse(inner).map(Self::Ip);
        }
        match CanonicalIp::parse(text) {
            Ok(ip) if !text.contains(':') => Ok(Self::Ip(ip)),
            _ => CanonicalHost::parse(text).map(Self::Host),
        }
    }
}

impl fmt::Display for HostOrIp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(host) => host.fmt(f),
            Self::Ip(ip) => ip.fmt(f),
        }
    }
}

/// An `http` or `https` URL with one spelling, which is the one that is sent.
///
/// Scheme and host are in lower case, a default port is dropped, `.` and `..` are resolved, percent-encoding is in
/// upper case and only where it is necessary, and the fragment, which is never sent, is dropped.
#[derive(Clone, Debug)]
pub struct CanonicalUrl {
    text: Text,
    scheme: Scheme,
    host: HostOrIp,
    port: u16,
    path: Range<usize>,
    /// All readings, when there are several.
    readings: Option<Arc<Readings>>,
}

impl CanonicalUrl {
    /// Normalises a URL (RFC 3986 §6.2.2, with what the WHATWG URL standard adds for characters outside ASCII).
    ///
    /// # Errors
    /// [`TargetError`] when the URL is one that programs read differently: it is relative, has another scheme, a
    /// user name or password, a backslash, white space or a control character, a malformed escape, an escape that
    /// hides a NUL or a `..` in the path, or too many readings (more than 64, or 64 KiB, of path or query).
    pub fn parse(text: &str) -> Result<Self, TargetError> {
        if text.len() > URL_BYTES_MAX {
            return Err(TargetError::TooLong { bytes_max: URL_BYTES_MAX });
        }
        if text.contains(|c: char| c.is_control() || c.is_whitespace() || c == '\\') {
            return Err(TargetError::UrlCharacter);
        }
        let (scheme, rest) = text.split_once("://").ok_or(TargetError::Scheme)?;
        let scheme = [Scheme::Http, Scheme::Https]
            .into_iter()
            .find(|known| known.as_str().eq_ignore_ascii_case(scheme))
            .ok_or(TargetError::Scheme)?;
        let rest = rest.split_once('#').map_or(rest, |(sent, _)| sent);
        let (authority, tail) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(TargetError::Credentials);
        }
        let (host, port) = split_port(authority)?;
        let host = HostOrIp::parse(host)?;
        let port = port.unwrap_or(scheme.default_port());
        let (path, query) = tail.split_once('?').map_or((tail, None), |(path, query)| (path, Some(query)));

        let mut url = String::with_capacity(text.len() + 1);
        // Writing to a String cannot fail.
        let _ = write!(url, "{}://{host}", scheme.as_str());
        if port != scheme.default_port() {
            let _ = write!(url, ":{port}");
        }
        let start = url.len();
        write_path(&mut url, path)?;
        let end = url.len();
        if let Some(query) = query {
            url.push('?');
            write_escaped(&mut url, query, is_query_byte)?;
        }
        if url.len() > URL_BYTES_MAX {
            return Err(TargetError::TooLong { bytes_max: URL_BYTES_MAX });
        }
        let mut url = Self { text: url.into(), scheme, host, port, path: start..end, readings: None };
        if url.query().is_some_and(|query| query.contains('%') && decoded(query).contains(&0)) {
            return Err(TargetError::Nul);
        }
        url.readings = Readings::of(url.path(), url.query())
            .map_err(|TooMany| TargetError::TooManyReadings)?
            .map(Arc::new);
        Ok(url)
    }

    /// The whole URL.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The scheme.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The host or address.
    pub fn host(&self) -> &HostOrIp {
        &self.host
    }

    /// The port; the scheme's default port when the URL names none.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The path, which begins with `/`.
    pub fn path(&self) -> &str {
        self.text.get(self.path.clone()).unwrap_or("/")
    }

    /// The text after the `?`; `None` without a `?`.
    pub fn query(&self) -> Option<&str> {
        self.text.get(self.path.end..)?.strip_prefix('?')
    }

    /// Path and query: the target of the request line (RFC 9112 §3.2.1).
    pub fn path_and_query(&self) -> &str {
        self.text.get(self.path.start..).unwrap_or("/")
    }

    /// What servers may read in path and query; `None` when all of them read them as written.
    pub(crate) fn readings(&self) -> Option<&Readings> {
        self.readings.as_deref()
    }

    /// Whether some server's reading of this URL is the same as some server's reading of the other.
    pub(crate) fn may_be(&self, other: &Self) -> bool {
        if self.origin() != other.origin() {
            return false;
        }
        let (own, its) = (self.path_readings(), other.path_readings());
        own.iter().any(|own| {
            its.iter().any(|its| {
                own.path == its.path && {
                    let (own, its) = (self.queries_of(own), other.queries_of(its));
                    own.clone().any(|own| its.clone().any(|its| own == its))
                }
            })
        })
    }

    /// The URL in each of its readings, which are not canonical URLs; empty when there is only one.
    pub(crate) fn reading_texts(&self) -> Vec<String> {
        if self.readings.is_none() {
            return Vec::new();
        }
        let mut texts = Vec::new();
        for reading in self.path_readings().iter() {
            for query in self.queries_of(reading) {
                let mark = if query.is_empty() { "" } else { "?" };
                texts.push(alloc::format!("{}{}{mark}{query}", self.origin(), reading.path));
            }
        }
        texts
    }

    fn path_readings(&self) -> Cow<'_, [PathReading]> {
        match self.readings() {
            Some(readings) => Cow::Borrowed(&*readings.paths),
            None => Cow::Owned(alloc::vec![PathReading::own(self.path())]),
        }
    }

    /// The queries that go with a reading of the path; a missing query counts as an empty one.
    fn queries_of<'a>(&'a self, reading: &'a PathReading) -> impl Iterator<Item = &'a str> + Clone {
        let (own, other): (&'a [String], Option<&'a str>) = match (&reading.query, self.readings()) {
            (ReadQuery::Behind(query), _) => (&[], Some(query)),
            (ReadQuery::Cut, _) => (&[], Some("")),
            (ReadQuery::Own, Some(readings)) if !readings.queries.is_empty() => (&readings.queries, None),
            (ReadQuery::Own, _) => (&[], Some(self.query().unwrap_or_default())),
        };
        own.iter().map(String::as_str).chain(other)
    }

    /// Scheme, host and port: `https://example.com`, `http://[::1]:8080` (RFC 6454).
    pub fn origin(&self) -> &str {
        self.text.get(..self.path.start).unwrap_or_default()
    }
}

impl PartialEq for CanonicalUrl {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for CanonicalUrl {}

impl fmt::Display for CanonicalUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Splits `host:port`, where the host may be an address in brackets.
pub(crate) fn split_port(authority: &str) -> Result<(&str, Option<u16>), TargetError> {
    let host_end = authority.rfind(']').unwrap_or(0);
    let Some(colon) = authority.get(host_end..).and_then(|rest| rest.find(':')).map(|at| host_end + at)
    else {
        return Ok((authority, None));
    };
    let (host, port) = authority.split_at(colon);
    parse_port(port.get(1..).unwrap_or_default()).map(|port| (host, Some(port)))
}

/// Reads a decimal port without sign or leading zeros.
pub(crate) fn parse_port(text: &str) -> Result<u16, TargetError> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain).ok_or(TargetError::Port)
}

fn write_path(url: &mut String, path: &str) -> Result<(), TargetError> {
    let start = url.len();
    let mut escaped = String::with_capacity(path.len());
    write_escaped(&mut escaped, path.strip_prefix('/').unwrap_or(path), is_path_byte)?;
    escaped.split('/').try_for_each(check_segment)?;
    let mut segments = escaped.split('/').peekable();
    while let Some(segment) = segments.next() {
        match segment {
            "." | ".." => {
                if segment == ".." {
                    url.truncate(
                        url.get(start..).and_then(|path| path.rfind('/')).map_or(start, |at| start + at),
                    );
                }
                // `.` or `..` at the end leaves a directory: `/a/.` is `/a/`.
                if segments.peek().is_none() {
                    url.push('/');
                }
            }
            name => {
                url.push('/');
                url.push_str(name);
            }
        }
    }
    Ok(())
}

/// Rejects a segment in which `.`, `..` or a NUL appears to a server that decodes more often than the standard
/// requires, or treats a part of the segment as a whole one. Unreserved characters of the segment are already
/// decoded.
///
/// A plain `.` or `..`, and `%2e` alone, have an agreed meaning and are accepted.
pub(crate) fn check_segment(segment: &str) -> Result<(), TargetError> {
    if !segment.contains(['%', ';']) {
        return Ok(());
    }
    let decoded = decoded(segment);
    if decoded.contains(&0) {
        return Err(TargetError::Nul);
    }
    let mut parts = decoded.split(|byte| b"/\\;?#".contains(byte));
    if parts.any(|part| matches!(part.trim_ascii_end(), b"." | b"..")) {
        Err(TargetError::HiddenStep)
    } else {
        Ok(())
    }
}

/// Decodes the escapes of a text until none is left, and drops the tabs and line breaks that URL parsers drop: they
/// read `%25%092e` as `%2e`, and then as `.`.
fn decoded(text: &str) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    for byte in text.bytes() {
        decoded.push(byte);
        // A decoded byte can complete another escape, and so can the byte after a dropped one.
        while let [.., b'%', high, low] = *decoded.as_slice()
            && let Some(byte) = hex_pair((Some(high), Some(low)))
        {
            decoded.truncate(decoded.len() - 3);
            decoded.push(byte);
        }
        if let Some(b'\t' | b'\n' | b'\r') = decoded.last() {
            decoded.pop();
        }
    }
    decoded
}

/// Writes a piece of a pattern's path as a canonical URL would contain it.
pub(crate) fn write_path_literal(url: &mut String, piece: &str) -> Result<(), TargetError> {
    write_escaped(url, piece, is_path_byte)
}

/// Writes a piece of a pattern's query as a canonical URL would contain it.
pub(crate) fn write_query_literal(url: &mut String, piece: &str) -> Result<(), TargetError> {
    write_escaped(url, piece, is_query_byte)
}

/// Writes `text` with every byte escaped that must be, and no other; `plain` tells which bytes need no escape.
fn write_escaped(url: &mut String, text: &str, plain: fn(u8) -> bool) -> Result<(), TargetError> {
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let (byte, escaped) = match byte {
            b'%' => (hex_pair((bytes.next(), bytes.next())).ok_or(TargetError::Escape)?, true),
            byte => (byte, false),
        };
        if byte == 0 {
            return Err(TargetError::Nul);
        }
        if if escaped { is_unreserved(byte) } else { plain(byte) } {
            url.push(char::from(byte));
        } else {
            let _ = write!(url, "%{byte:02X}");
        }
    }
    Ok(())
}

fn hex_pair(digits: (Option<u8>, Option<u8>)) -> Option<u8> {
    let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
    u8::try_from(digit(digits.0)? << 4 | digit(digits.1)?).ok()
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

fn is_path_byte(byte: u8) -> bool {
    is_unreserved(byte) || b"/!$&'()*+,;=:@".contains(&byte)
}

/// Like a path byte, plus `?`, minus `'`, which browsers and their libraries escape.
fn is_query_byte(byte: u8) -> bool {
    byte == b'?' || byte != b'\'' && is_path_byte(byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn no_reading_has_a_step_upwards(
            pieces in prop::collection::vec(prop::sample::select(alloc::vec![
                "a", "/", ".", "..", "%2e", "%252e", "%25", "2", "5", "e", "%32%65", "%2F", "%5C", ";", "%3B", "%3F", "%23",
                "%09", "%20", "%00", "%2500",
            ]), 0..9),
        ) {
            let Ok(url) = CanonicalUrl::parse(&alloc::format!("https://h/{}", pieces.concat())) else { return Ok(()) };
            for reading in url.path_readings().iter() {
                prop_assert!(!reading.path.split('/').any(|part| matches!(part, "." | "..")), "{} is {:?}", url, reading);
                prop_assert!(!reading.path.contains("%00"), "{} is {:?}", url, reading);
            }
        }
    }
}
