//! Wildcards over names and over paths.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write};

use super::PatternError;

/// A pattern over one name: `*` stands for any characters, `\` takes the next character literally.
///
/// Matching takes time linear in pattern and text: the pieces between the stars are searched for from left to right, and the
/// leftmost place is always good enough.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Glob {
    head: Box<str>,
    /// What stands behind the first star; `None` when there is no star.
    rest: Option<Rest>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Rest {
    /// The pieces between stars.
    middle: Box<[Box<str>]>,
    /// The piece behind the last star.
    tail: Box<str>,
}

impl Glob {
    pub(crate) fn literal(text: &str) -> Self {
        Self { head: text.into(), rest: None }
    }

    pub(crate) fn any() -> Self {
        Self::beginning("")
    }

    /// Every text that begins so.
    pub(super) fn beginning(head: &str) -> Self {
        Self { head: head.into(), rest: Some(Rest::default()) }
    }

    pub(crate) fn parse(text: &str) -> Result<Self, PatternError> {
        Self::parse_with(text, Ok)
    }

    /// Parses, and puts every literal piece into its canonical form.
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

    /// The text before the first star.
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

fn write_literal(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    for c in text.chars() {
        if matches!(c, '*' | '\\') {
            f.write_char('\\')?;
        }
        f.write_char(c)?;
    }
    Ok(())
}

/// One step of a [`PathGlob`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    /// Exactly one segment.
    One(Glob),
    /// `**`: zero or more segments.
    Deep,
}

/// A pattern over segments that `/` separates.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PathGlob {
    steps: Box<[Step]>,
    /// For the most usual pattern, `app/data/**`: what stands before the `**`.
    below: Option<Box<str>>,
}

impl PathGlob {
    /// Parses segments; `segment` turns each into its glob. Empty text has no segments.
    pub(crate) fn parse(
        text: &str,
        segment: impl Fn(&str) -> Result<Glob, PatternError>,
    ) -> Result<Self, PatternError> {
        let mut steps = Vec::new();
        for part in Segments::of(text) {
            match part {
                "**" if steps.last() == Some(&Step::Deep) => {}
                "**" => steps.push(Step::Deep),
                part if part.contains("**") && !part.contains('\\') => return Err(PatternError::PartialDeep),
                part => steps.push(Step::One(segment(part)?)),
            }
        }
        Ok(Self::new(steps.into()))
    }

    fn new(steps: Box<[Step]>) -> Self {
        let below = match steps.split_last() {
            Some((Step::Deep, before)) => {
                literal(before).map(|text| text.strip_prefix('/').unwrap_or("").into())
            }
            Some((Step::One(_), _)) | None => None,
        };
        Self { steps, below }
    }

    /// The pattern of one path: every segment literal.
    pub(crate) fn literal(text: &str) -> Self {
        Self::new(Segments::of(text).map(|segment| Step::One(Glob::literal(segment))).collect())
    }

    /// The pattern of the URL path `/`, which is one empty segment.
    pub(crate) fn empty_segment() -> Self {
        Self::new(Box::new([Step::One(Glob::literal(""))]))
    }

    /// `**`: everything.
    pub(crate) fn deep() -> Self {
        Self::new(Box::new([Step::Deep]))
    }

    /// The one text that matches, when there is no wildcard.
    pub(crate) fn as_literal(&self) -> Option<String> {
        let (prefix, whole) = self.literal_prefix();
        whole.then(|| prefix.strip_prefix('/').unwrap_or(&prefix).into())
    }

    /// The segments of both, one behind the other.
    pub(crate) fn join(self, behind: Self) -> Self {
        Self::new(self.steps.into_iter().chain(behind.steps).collect())
    }

    /// The directory that holds everything the pattern matches: its literal segments, without the last
    /// one unless `**` follows it.
    pub(crate) fn root(&self) -> String {
        let (mut root, last) = (String::from("/"), self.steps.len().saturating_sub(1));
        for (at, step) in self.steps.iter().enumerate() {
            let Step::One(glob) = step else { break };
            let (Some(name), true) = (glob.as_literal(), at < last) else { break };
            if at > 0 {
                root.push('/');
            }
            root.push_str(name);
        }
        root
    }

    pub(super) fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Whether the pattern ends with `**`.
    pub(crate) fn is_deep(&self) -> bool {
        self.steps.last() == Some(&Step::Deep)
    }

    /// Matches the segments of `text`; the empty text has none.
    pub(crate) fn matches(&self, text: &str) -> bool {
        self.matches_segments(Segments::of(text))
    }

    /// Matches the path of a URL, which has at least one segment, be it empty.
    pub(crate) fn matches_url_path(&self, path: &str) -> bool {
        self.matches_segments(Segments(Some(path.strip_prefix('/').unwrap_or(path))))
    }

    /// A segment that does not fit is given back to the last `**` alone, so that every step meets every segment
    /// at most once: the time is linear in pattern × text.
    fn matches_segments(&self, mut rest: Segments<'_>) -> bool {
        if let (Some(below), Some(text)) = (&self.below, rest.0) {
            return below.is_empty()
                || text.strip_prefix(&**below).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        }
        let mut steps = &*self.steps;
        let mut retry = None;
        loop {
            match steps.split_first() {
                Some((Step::Deep, [])) => return true,
                Some((Step::Deep, behind)) => {
                    retry = Some((behind, rest));
                    steps = behind;
                    continue;
                }
                Some((Step::One(glob), behind)) => {
                    let mut ahead = rest;
                    // Fewer segments are left than steps: to skip more of them cannot help.
                    let Some(segment) = ahead.next() else { return false };
                    if glob.matches(segment) {
                        (steps, rest) = (behind, ahead);
                        continue;
                    }
                }
                None if rest.is_empty() => return true,
                None => {}
            }
            let Some((behind, start)) = &mut retry else { return false };
            if start.next().is_none() {
                return false;
            }
            (steps, rest) = (behind, *start);
        }
    }

    /// The text that every match begins with, where each segment stands behind a `/`, and whether it is
    /// the whole of the one text that matches.
    pub(crate) fn literal_prefix(&self) -> (String, bool) {
        let mut prefix = String::new();
        for step in &self.steps {
            let Step::One(glob) = step else { return (prefix, false) };
            prefix.push('/');
            prefix.push_str(glob.head());
            if glob.as_literal().is_none() {
                return (prefix, false);
            }
        }
        (prefix, true)
    }
}

/// The text of steps without wildcards, each segment behind a `/`.
fn literal(steps: &[Step]) -> Option<String> {
    steps.iter().try_fold(String::new(), |mut text, step| {
        let Step::One(glob) = step else { return None };
        text.push('/');
        text.push_str(glob.as_literal()?);
        Some(text)
    })
}

impl fmt::Display for PathGlob {
    /// Writes the segments with `/` between them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, step) in self.steps.iter().enumerate() {
            if at > 0 {
                f.write_char('/')?;
            }
            match step {
                Step::One(glob) => glob.fmt(f)?,
                Step::Deep => f.write_str("**")?,
            }
        }
        Ok(())
    }
}

/// The segments of a text; the empty text has none.
#[derive(Clone, Copy)]
struct Segments<'a>(Option<&'a str>);

impl<'a> Segments<'a> {
    fn of(text: &'a str) -> Self {
        Self((!text.is_empty()).then_some(text))
    }

    fn is_empty(self) -> bool {
        self.0.is_none()
    }
}

impl<'a> Iterator for Segments<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let text = self.0?;
        // Segments are short: a plain loop finds their end sooner than a search that must be set up.
        let (segment, rest) = match text.bytes().position(|byte| byte == b'/') {
            Some(end) => (text.get(..end)?, text.get(end + 1..)),
            None => (text, None),
        };
        self.0 = rest;
        Some(segment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
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
    fn segments() {
        let check = |pattern: &str, text: &str, expected: bool| {
            let glob = PathGlob::parse(pattern, Glob::parse).unwrap();
            assert_eq!(glob.matches(text), expected, "{pattern} on {text}");
            assert_eq!(glob.to_string(), pattern);
        };
        check("app/**", "app", true);
        check("app/**", "app/a/b", true);
        check("app/**", "apple/a", false);
        check("app/*", "app/a", true);
        check("app/*", "app/a/b", false);
        check("app/*", "app", false);
        check("**", "", true);
        check("**/x", "x", true);
        check("**/x", "a/b/x", true);
        check("**/x", "a/b/xx", false);
        check("a/**/b/**/c", "a/b/b/c/c", true);
        check("a/**/b/**/c", "a/c/b", false);
        check("a/**/*.rs", "a/b/c.rs", true);
        check("*", "", false);
        assert_eq!(PathGlob::parse("a/b**", Glob::parse), Err(PatternError::PartialDeep));
    }

    #[test]
    fn hostile_patterns_stay_linear() {
        let text = "a".repeat(100_000);
        assert!(!Glob::parse(&"*a".repeat(2_000)).unwrap().matches(&(text.clone() + "b")));
        let path = "a/".repeat(50_000) + "b";
        assert!(!PathGlob::parse(&("**/a/".repeat(500) + "c"), Glob::parse).unwrap().matches(&path));
    }

    /// The obvious matcher, exponential.
    fn naive(pattern: &[char], text: &[char]) -> bool {
        match pattern {
            [] => text.is_empty(),
            ['*', rest @ ..] => (0..=text.len()).any(|at| naive(rest, &text[at..])),
            [c, rest @ ..] => text.first() == Some(c) && naive(rest, &text[1..]),
        }
    }

    fn naive_path(pattern: &[&str], text: &[&str]) -> bool {
        let chars = |text: &str| text.chars().collect::<Vec<_>>();
        match pattern {
            [] => text.is_empty(),
            ["**", rest @ ..] => (0..=text.len()).any(|at| naive_path(rest, &text[at..])),
            [glob, rest @ ..] => {
                text.first().is_some_and(|segment| naive(&chars(glob), &chars(segment)))
                    && naive_path(rest, &text[1..])
            }
        }
    }

    proptest! {
        #[test]
        fn a_glob_matches_what_the_obvious_matcher_matches(pattern in "[ab*]{0,8}", text in "[ab]{0,10}") {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            prop_assert_eq!(Glob::parse(&pattern).unwrap().matches(&text), naive(&chars(&pattern), &chars(&text)));
        }

        #[test]
        fn a_path_glob_matches_what_the_obvious_matcher_matches(
            pattern in prop::collection::vec(prop::sample::select(alloc::vec!["**", "*", "a", "b", "a*", "*b"]), 1..6),
            text in prop::collection::vec(prop::sample::select(alloc::vec!["a", "b", "ab", "ba"]), 1..7),
        ) {
            let glob = PathGlob::parse(&pattern.join("/"), Glob::parse).unwrap();
            prop_assert_eq!(glob.matches(&text.join("/")), naive_path(&pattern, &text));
        }
    }
}
