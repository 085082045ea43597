//! Regular expressions of the operator's, whose longest match is known.

use regex::bytes::Regex;
use serde::Deserialize;

/// Longest piece of a stream that is held back until it shows whether it must be cut, in bytes: so much a pattern may match.
pub const REDACT_BUFFER_BYTES_MAX: usize = 16 << 10;

/// A regular expression of the operator's, looked for as far as it reaches.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Pattern {
    pub(crate) regex: Regex,
    pub(crate) reach: Reach,
}

/// How much of a text must be known until a pattern is known to match or not.
#[derive(Clone, Debug)]
pub(crate) enum Reach {
    /// So many bytes from where it begins.
    Bytes(usize),
    /// The word that it lies in.
    Word,
    /// From the line that the pattern finds to what ends the block.
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
            return Err("the pattern matches where nothing is".into());
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
