//! Well-formed texts: e-mail addresses, hosts, URLs, paths.

use core::fmt;

use crate::action::TargetKind;
use crate::pattern::{
    Glob, HostPattern, Meter, PathGlob, Pattern, PatternError, Reading, SEARCHED_BYTES_PER_STEP, UrlPattern,
};
use crate::target::{CanonicalHost, CanonicalPath, CanonicalUrl, HostOrIp};

/// A format that a whole string must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Format {
    /// One e-mail address (RFC 5321 §4.1.2 without quoting), without display name; not a list.
    Email,
    /// One host name.
    Host,
    /// One `http` or `https` URL.
    Url,
    /// One absolute path in canonical form.
    Path,
}

impl Format {
    pub(crate) const ALL: [Format; 4] = [Self::Email, Self::Host, Self::Url, Self::Path];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Host => "host",
            Self::Url => "url",
            Self::Path => "path",
        }
    }

    /// The steps that reading a text takes.
    pub(crate) fn steps(self, text: &str) -> usize {
        let per_byte = match self {
            Self::Email | Self::Host | Self::Path => 2,
            // A URL is read in all its readings.
            Self::Url => 8,
        };
        per_byte * (16 + text.len())
    }

    /// Whether the text is well formed.
    pub(crate) fn accepts(self, text: &str) -> bool {
        Formed::read(self, text).is_some()
    }
}

/// A pattern over strings of one format, or over plain text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum FormatPattern {
    Text(Glob),
    /// Patterns over local part and domain.
    Email(Glob, HostPattern),
    Host(HostPattern),
    Url(UrlPattern),
    Path(PathGlob),
}

impl FormatPattern {
    pub(crate) fn parse(format: Option<Format>, text: &str) -> Result<Self, PatternError> {
        match format {
            None => Glob::parse(text).map(Self::Text),
            Some(Format::Email) if text == "*" => Ok(Self::Email(Glob::any(), HostPattern::Any)),
            Some(Format::Email) => {
                let (local, domain) = text.rsplit_once('@').ok_or(PatternError::Email)?;
                Ok(Self::Email(Glob::parse(local)?, HostPattern::parse(domain)?))
            }
            Some(Format::Host) => HostPattern::parse(text).map(Self::Host),
            Some(Format::Url) => UrlPattern::parse(text).map(Self::Url),
            Some(Format::Path) => match Pattern::parse(TargetKind::Path, text, None)? {
                Pattern::Path(glob) => Ok(Self::Path(glob)),
                _ => Err(PatternError::NotAbsolute),
            },
        }
    }

    /// Whether the whole text matches; `None` when the text does not have the pattern's format, or the meter is
    /// spent.
    pub(crate) fn matches(&self, text: &str, reading: Reading, meter: &Meter) -> Option<bool> {
        let format = match self {
            Self::Text(_) => None,
            Self::Email(..) => Some(Format::Email),
            Self::Host(_) => Some(Format::Host),
            Self::Url(_) => Some(Format::Url),
            Self::Path(_) => Some(Format::Path),
        };
        let steps = format.map_or(1 + text.len() / SEARCHED_BYTES_PER_STEP, |format| format.steps(text));
        if !meter.take(steps) {
            return None;
        }
        let matches = self.matches_within(text, reading, meter);
        if meter.is_spent() { None } else { matches }
    }

    fn matches_within(&self, text: &str, reading: Reading, meter: &Meter) -> Option<bool> {
        if text.contains(char::is_control) {
            return None;
        }
        let formed = match self {
            Self::Text(glob) => return Some(glob.matches_within(text, meter)),
            Self::Email(..) => Formed::read(Format::Email, text)?,
            Self::Host(_) => Formed::read(Format::Host, text)?,
            Self::Url(_) => Formed::read(Format::Url, text)?,
            Self::Path(_) => Formed::read(Format::Path, text)?,
        };
        Some(match (self, &formed) {
            (Self::Email(local, domain), Formed::Email(own, host)) => {
                local.matches_within(own, meter) && domain.matches(host)
            }
            (Self::Host(pattern), Formed::Host(host)) => pattern.matches(host),
            (Self::Url(pattern), Formed::Url(url)) => pattern.matches_within(url, reading, meter),
            (Self::Path(glob), Formed::Path(path)) => glob.matches_within(path.relative(), meter),
            (Self::Text(_) | Self::Email(..) | Self::Host(_) | Self::Url(_) | Self::Path(_), _) => false,
        })
    }
}

impl fmt::Display for FormatPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(glob) => glob.fmt(f),
            Self::Email(local, domain) => write!(f, "{local}@{domain}"),
            Self::Host(host) => host.fmt(f),
            Self::Url(url) => url.fmt(f),
            Self::Path(glob) => write!(f, "/{glob}"),
        }
    }
}

/// A well-formed text, parsed.
enum Formed<'a> {
    Email(&'a str, CanonicalHost),
    Host(CanonicalHost),
    Url(CanonicalUrl),
    Path(CanonicalPath),
}

impl<'a> Formed<'a> {
    fn read(format: Format, text: &'a str) -> Option<Self> {
        // Programs cut such texts, or show another.
        if text.contains(char::is_control) {
            return None;
        }
        match format {
            Format::Email => {
                let (local, domain) = text.split_once('@')?;
                is_local_part(local).then_some(())?;
                plain_host(domain).map(|host| Self::Email(local, host))
            }
            Format::Host => plain_host(text).map(Self::Host),
            Format::Url => CanonicalUrl::parse(text).ok().map(Self::Url),
            // `/a/../b` names `/b` only if `/a` is not a symbolic link.
            Format::Path => {
                CanonicalPath::parse(text).ok().filter(|path| path.as_str() == text).map(Self::Path)
            }
        }
    }
}

/// A host name that is canonical except for case, so that no program reads it as another name.
fn plain_host(text: &str) -> Option<CanonicalHost> {
    match HostOrIp::parse(text) {
        Ok(HostOrIp::Host(host)) if host.as_str().eq_ignore_ascii_case(text) => Some(host),
        Ok(HostOrIp::Host(_) | HostOrIp::Ip(_)) | Err(_) => None,
    }
}

/// `Dot-string` of RFC 5321 §4.1.2, at most 64 bytes.
fn is_local_part(text: &str) -> bool {
    let atext = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte);
    text.len() <= 64 && text.split('.').all(|atom| !atom.is_empty() && atom.bytes().all(atext))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn well_formed() {
        let check = |format: Format, text: &str, expected: bool| {
            assert_eq!(format.accepts(text), expected, "{} {text:?}", format.as_str());
        };
        check(Format::Email, "bob@example.com", true);
        check(Format::Email, "bob.smith+tag@Example.com", true);
        for bad in [
            "",
            "bob",
            "@example.com",
            "bob@",
            "bob@@example.com",
            "a@b@example.com",
            "bob@example.com,eve@evil.com",
            "bob@example.com;eve@evil.com",
            "bob@example.com eve@evil.com",
            "Bob <bob@example.com>",
            "\"bob\"@example.com",
            "bob@example.com\n",
            "bob@example.com\nBcc: eve@evil.com",
            ".bob@example.com",
            "bob.@example.com",
            "b..b@example.com",
            "bob@[127.0.0.1]",
            "bob@127.0.0.1",
            "bob@example.com.",
            "bob@exämple.com",
            "bob(comment)@example.com",
            "bob%40evil.com@example.com ",
        ] {
            check(Format::Email, bad, false);
        }
        check(Format::Host, "example.com", true);
        check(Format::Host, "127.0.0.1", false);
        check(Format::Host, "a.com,b.com", false);
        check(Format::Url, "https://example.com/x", true);
        check(Format::Url, "https://example.com/x https://evil.com", false);
        check(Format::Url, "https://u:p@example.com/", false);
        check(Format::Url, "javascript:alert(1)", false);
        for bad in ["/data/a\nb", "/data/\u{7}", "/data/\u{85}", "/data\t"] {
            check(Format::Path, bad, false);
        }
        check(Format::Path, "/data/x", true);
        check(Format::Path, "/data/../x", false);
        check(Format::Path, "/data/", false);
        check(Format::Path, "data", false);
    }

    #[test]
    fn patterns_match_what_is_named() {
        let check = |format: Option<Format>, pattern: &str, text: &str, expected: Option<bool>| {
            let own = FormatPattern::parse(format, pattern).unwrap();
            assert_eq!(
                own.matches(text, Reading::Narrow, &Meter::of_pattern()),
                expected,
                "{pattern} on {text:?}"
            );
        };
        let (email, url, path) = (Some(Format::Email), Some(Format::Url), Some(Format::Path));
        check(email, "*@example.com", "bob@example.com", Some(true));
        check(email, "*@example.com", "bob@EXAMPLE.com", Some(true));
        check(email, "*@example.com", "bob@evilexample.com", Some(false));
        check(email, "*@example.com", "eve@evil.com,bob@example.com", None);
        check(email, "*@*.example.com", "bob@mail.example.com", Some(true));
        check(url, "https://h/a/*", "https://h/a/../b", Some(false));
        check(path, "/data/**", "/data/x/y", Some(true));
        check(path, "/data/**", "/data/../etc", None);
        check(None, "*.txt", "a/b.txt", Some(true));
        check(None, "*.txt", "a\n.txt", None);
        check(Some(Format::Host), "*.x.com", "a.x.com", Some(true));
    }
}
