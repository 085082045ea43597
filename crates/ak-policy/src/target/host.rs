//! Host names.

use alloc::borrow::Cow;
use core::fmt;

use ak_json::Text;
use idna::AsciiDenyList;
use idna::uts46::{DnsLength, Hyphens, Uts46};

use super::TargetError;

/// A host name in the form in which it is looked up: lower case, IDN as Punycode (UTS #46), without trailing dot,
/// and never an address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CanonicalHost(Text);

impl CanonicalHost {
    /// Normalises case, one trailing dot and internationalised labels.
    ///
    /// # Errors
    /// [`TargetError::Host`] when the text is not a host name: it has empty or overlong labels, characters other
    /// than letters, digits, `-` and `_`, or a last label that is a number (programs read such a name as an IPv4
    /// address).
    pub fn parse(text: &str) -> Result<Self, TargetError> {
        let text = text.strip_suffix('.').unwrap_or(text);
        let ascii = to_ascii(text)?;
        if ascii.is_empty() || ascii.len() > 253 || !ascii.split('.').all(is_label) {
            return Err(TargetError::Host);
        }
        if ascii.rsplit('.').next().is_none_or(is_number) {
            return Err(TargetError::Host);
        }
        Ok(Self(Text::from(&*ascii)))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn to_ascii(text: &str) -> Result<Cow<'_, str>, TargetError> {
    let plain = |byte: u8| byte.is_ascii() && !byte.is_ascii_uppercase();
    // Only a label in Punycode, in upper case or outside ASCII can be changed by the mapping.
    if text.bytes().all(plain) && !text.contains("xn--") {
        return Ok(Cow::Borrowed(text));
    }
    Uts46::new()
        .to_ascii(text.as_bytes(), AsciiDenyList::EMPTY, Hyphens::Allow, DnsLength::Verify)
        .map_err(|_| TargetError::Host)
}

fn is_label(label: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_';
    (1..=63).contains(&label.len())
        && label.bytes().all(inner)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// Whether some programs read a name with this last label as an IPv4 address (WHATWG URL, "ends in a number").
fn is_number(label: &str) -> bool {
    let hexadecimal =
        label.strip_prefix("0x").is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
    hexadecimal || label.bytes().all(|byte| byte.is_ascii_digit())
}

impl fmt::Display for CanonicalHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_one_form() {
        let check = |text: &str, expected: Option<&str>| {
            let host = CanonicalHost::parse(text).ok();
            assert_eq!(host.as_ref().map(CanonicalHost::as_str), expected, "{text:?}");
        };
        check("example.com", Some("example.com"));
        check("Example.COM.", Some("example.com"));
        check("localhost", Some("localhost"));
        check("_dmarc.example.com", Some("_dmarc.example.com"));
        check("bücher.example", Some("xn--bcher-kva.example"));
        check("BÜCHER.example", Some("xn--bcher-kva.example"));
        check("xn--bcher-kva.example", Some("xn--bcher-kva.example"));
        check("XN--BCHER-KVA.example", Some("xn--bcher-kva.example"));
        check("ｅｘａｍｐｌｅ．com", Some("example.com"));
        check("example。com", Some("example.com"));
        check("faß.de", Some("xn--fa-hia.de"));
        check("1password.com", Some("1password.com"));
        for refused in [
            "",
            ".",
            "..",
            "a..b",
            ".a",
            "a..",
            "-a.com",
            "a-.com",
            "a b.com",
            "a\tb.com",
            "a/b",
            "a:80",
            "a@b",
            "a%2eb.com",
            "a\\b",
            "[::1]",
            "127.0.0.1",
            "127.0.0.1.",
            "1.2.3",
            "2130706433",
            "0x7f.1",
            "0x7f000001",
            "0177.0.0.1",
            "a.1",
            "a.0x",
            "１２７.０.０.１",
            "⑫7.0.0.1",
            "xn--zzzzzz--.com",
            "xn--a.com",
            "*.com",
            "a*",
            "exa\u{0}mple.com",
            "example.com\n",
            "a?b",
            "a#b",
            "\u{ad}",
        ] {
            check(refused, None);
        }
        check(&"a".repeat(63), Some(&"a".repeat(63)));
        check(&"a".repeat(64), None);
        check(&alloc::format!("{}com", "a.".repeat(125)), Some(&alloc::format!("{}com", "a.".repeat(125))));
        check(&alloc::format!("{}com", "a.".repeat(126)), None);
    }
}
