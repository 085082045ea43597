//! Patterns with wildcards over one name.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write};

use super::error::PatternError;
use super::meter::{Meter, PIECE_STEPS, SEARCHED_BYTES_PER_STEP};
use crate::target::{DEEP, STAR};

/// A pattern over one name: `*` stands for any characters, `\` makes the next character literal.
///
/// Matching takes time linear in pattern and text: the pieces between the stars are searched for from left to
/// right, and taking the leftmost match of each piece never misses a match.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Glob {
    head: Box<str>,
    /// The pieces after the first star; `None` without a star.
    rest: Option<Rest>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Rest {
    /// The non-empty pieces between stars.
    middle: Box<[Box<str>]>,
    /// The piece after the last star.
    tail: Box<str>,
}

impl Glob {
    pub(crate) fn literal(text: &str) -> Self {
        Self { head: text.into(), rest: None }
    }

    pub(crate) fn any() -> Self {
        Self::beginning("")
    }

    /// The pattern of every text that begins with `head`.
    pub(super) fn beginning(head: &str) -> Self {
        Self { head: head.into(), rest: Some(Rest::default()) }
    }

    pub(crate) fn parse(text: &str) -> Result<Self, PatternError> {
        Self::parse_with(text, Ok)
    }

    /// Parses a pattern whose literal pieces `canonical` puts into canonical form.
    pub(crate) fn parse_with(
        text: &str,
        canonical: impl Fn(String) -> Result<String, PatternError>,
    ) -> Result<Self, PatternError> {
        let mut pieces = Vec::new();
        let mut piece = String::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            match c {
                '\\' => piece.push(chars.next().ok_or(PatternError::Escape)?),
                '*' => pieces.push(canonical(core::mem::take(&mut piece))?.into_boxed_str()),
                c => piece.push(c),
            }
        }
        let last = canonical(piece)?.into_boxed_str();
        if pieces.is_empty() {
            return Ok(Self { head: last, rest: None });
        }
        let head = pieces.remove(0);
        pieces.retain(|piece| !piece.is_empty());
        Ok(Self { head, rest: Some(Rest { middle: pieces.into(), tail: last }) })
    }

    pub(crate) fn matches(&self, text: &str) -> bool {
        let Some(Rest { middle, tail }) = &self.rest else { return text == &*self.head };
        let Some(mut text) = text.strip_prefix(&*self.head).and_then(|text| text.strip_suffix(&**tail))
        else {
            return false;
        };
        for piece in middle {
            let Some((_, behind)) = text.split_once(&**piece) else { return false };
            text = behind;
        }
        true
    }

    /// Like [`matches`](Self::matches), with the steps taken from the meter.
    pub(crate) fn matches_within(&self, text: &str, meter: &Meter) -> bool {
        match &self.rest {
            Some(Rest { middle, tail }) if !middle.is_empty() => {
                // Comparing the two ends is cheap, so it comes before searching the text between them.
                let steps = 1 + middle.len() * PIECE_STEPS + text.len() / SEARCHED_BYTES_PER_STEP;
                let ends = text.starts_with(&*self.head) && text.ends_with(&**tail);
                meter.take(if ends { steps } else { 1 }) && ends && self.matches(text)
            }
            _ => meter.take(1) && self.matches(text),
        }
    }

    /// The text after the last star, or the whole text without a star.
    pub(super) fn tail(&self) -> &str {
        self.rest.as_ref().map_or(&self.head, |rest| &rest.tail)
    }

    /// The text from which the pattern's readings are made, with [`STAR`] for each star.
    pub(super) fn reading_text(&self) -> String {
        let mut text = String::from(&*self.head);
        if let Some(Rest { middle, tail }) = &self.rest {
            for piece in middle.iter().chain([tail]) {
                text.push(STAR);
                text.push_str(piece);
            }
        }
        text
    }

    /// The pattern of a reading of such a text; [`DEEP`] also becomes a star.
    pub(super) fn of_reading(text: &str) -> Self {
        let mut pieces = text.split([STAR, DEEP]);
        let head = pieces.next().unwrap_or_default().into();
        let mut pieces: Vec<Box<str>> = pieces.map(Box::from).collect();
        let rest = pieces.pop().map(|tail| {
            pieces.retain(|piece| !piece.is_empty());
            Rest { middle: pieces.into(), tail }
        });
        Self { head, rest }
    }

    /// The text before the first star, or the whole text without a star.
    pub(crate) fn head(&self) -> &str {
        &self.head
    }

    /// The one text that matches, when there is no star.
    pub(crate) fn as_literal(&self) -> Option<&str> {
        self.rest.is_none().then_some(&self.head)
    }

    /// Whether every text matches.
    pub(crate) fn is_any(&self) -> bool {
        self.head.is_empty() && self.rest.as_ref() == Some(&Rest::default())
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_literal(f, &self.head)?;
        let Some(Rest { middle, tail }) = &self.rest else { return Ok(()) };
        for piece in middle.iter().chain([tail]) {
            f.write_char('*')?;
            write_literal(f, piece)?;
        }
        Ok(())
    }
}

/// Whether a text contains neither wildcards nor escapes.
pub(super) fn is_plain(text: &str) -> bool {
    !text.bytes().any(|byte| matches!(byte, b'*' | b'\\'))
}

/// Writes a literal text, with its wildcards and backslashes escaped.
pub(super) fn write_literal(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    if is_plain(text) {
        return f.write_str(text);
    }
    for piece in text.split_inclusive(['*', '\\']) {
        match piece.strip_suffix(['*', '\\']) {
            Some(plain) => write!(f, "{plain}\\{}", piece.get(plain.len()..).unwrap_or_default())?,
            None => f.write_str(piece)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names() {
        let check = |pattern: &str, text: &str, expected: bool| {
            assert_eq!(Glob::parse(pattern).unwrap().matches(text), expected, "{pattern} on {text}");
        };
        check("add", "add", true);
        check("add", "adds", false);
        check("file_*", "file_", true);
        check("file_*", "my_file_", false);
        check("*_file", "read_file", true);
        check("a*a", "a", false);
        check("a*a", "aa", true);
        check("*ab*ab*", "abxab", true);
        check("*ab*ab*", "abab", true);
        check("*ab*ab*", "xabx", false);
        check("a**b", "ab", true);
        check(r"\*", "*", true);
        check(r"\*", "a", false);
        check(r"a\\*", r"a\b", true);
        check("*", "", true);
        assert_eq!(Glob::parse(r"a\"), Err(PatternError::Escape));
    }

    #[test]
    fn hostile_patterns_stay_linear() {
        let text = "a".repeat(100_000) + "b";
        assert!(!Glob::parse(&"*a".repeat(2_000)).unwrap().matches(&text));
    }

    /// The obvious matcher, which takes exponential time.
    fn naive(pattern: &[char], text: &[char]) -> bool {
        match pattern {
            [] => text.is_empty(),
            ['*', rest @ ..] => (0..=text.len()).any(|at| naive(rest, &text[at..])),
            [c, rest @ ..] => text.first() == Some(c) && naive(rest, &text[1..]),
        }
    }

    proptest! {
        #[test]
        fn a_glob_matches_what_the_obvious_matcher_matches(pattern in "[ab*]{0,8}", text in "[ab]{0,10}") {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            prop_assert_eq!(Glob::parse(&pattern).unwrap().matches(&text), naive(&chars(&pattern), &chars(&text)));
        }
    }
}
