//! Regular expressions of the operator, whose longest match is known.

use regex::bytes::Regex;
use serde::Deserialize;

/// Maximum length of the text that a stream holds back until it is known whether to redact it, in bytes; also the
/// maximum length of a pattern's match.
pub const REDACT_BUFFER_BYTES_MAX: usize = 16 << 10;

/// A regular expression with the extent of its matches.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Pattern {
    pub(crate) regex: Regex,
    pub(crate) reach: Reach,
}

/// How much of a text must be known to decide whether a pattern matches.
#[derive(Clone, Debug)]
pub(crate) enum Reach {
    /// This number of bytes from the beginning of the match.
    Bytes(usize),
    /// The word that contains the match.
    Word,
    /// The block from the line that matches the pattern to the line that matches `end`.
    Block { end: Regex },
}

impl TryFrom<String> for Pattern {
    type Error = String;

    fn try_from(text: String) -> Result<Pattern, String> {
        let short = |error: &dyn std::fmt::Display| {
            error.to_string().lines().last().unwrap_or_default().trim().to_owned()
        };
        let regex = Regex::new(&text).map_err(|error| short(&error))?;
        let parsed = regex_syntax::ParserBuilder::new().utf8(false).build().parse(&text);
        let parsed = parsed.map_err(|error| short(&error))?;
        if parsed.properties().minimum_len().is_none_or(|least| least == 0) {
            return Err("the pattern matches the empty text".into());
        }
        match parsed.properties().maximum_len() {
            None => Err(format!(
                "the pattern has no longest match, and a stream can be held back for {REDACT_BUFFER_BYTES_MAX} bytes at most: \
                 write {{1,200}} for +, {{0,200}} for *"
            )),
            Some(most) if most > REDACT_BUFFER_BYTES_MAX => Err(format!(
                "the pattern matches up to {most} bytes, and a stream can be held back for {REDACT_BUFFER_BYTES_MAX} at most"
            )),
            Some(most) => Ok(Pattern { regex, reach: Reach::Bytes(most) }),
        }
    }
}
