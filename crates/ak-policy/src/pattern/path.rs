//! Wildcards over paths.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write};

use super::{Glob, PatternError};

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
                part if has_two_stars(part) => return Err(PatternError::PartialDeep),
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

    /// A segment that does not fit is given back to the last `**` alone, so that every step meets every
    /// segment at most once: the time is linear in pattern × text.
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

/// Whether two wildcards stand side by side.
fn has_two_stars(segment: &str) -> bool {
    let mut chars = segment.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => drop(chars.next()),
            '*' if chars.peek() == Some(&'*') => return true,
            _ => {}
        }
    }
    false
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
        check(r"a/\*\*", "a/**", true);
        check(r"a/\*\*", "a/b", false);
        check("*", "", false);
        for refused in ["a/b**", "a/**b", "a/***", r"a/\***"] {
            assert_eq!(PathGlob::parse(refused, Glob::parse), Err(PatternError::PartialDeep), "{refused}");
        }
    }

    #[test]
    fn hostile_patterns_stay_linear() {
        let path = "a/".repeat(50_000) + "b";
        assert!(!PathGlob::parse(&("**/a/".repeat(500) + "c"), Glob::parse).unwrap().matches(&path));
    }

    /// The obvious matcher, exponential.
    fn naive(pattern: &[&str], text: &[&str]) -> bool {
        match pattern {
            [] => text.is_empty(),
            ["**", rest @ ..] => (0..=text.len()).any(|at| naive(rest, &text[at..])),
            [glob, rest @ ..] => {
                text.first().is_some_and(|segment| Glob::parse(glob).unwrap().matches(segment))
                    && naive(rest, &text[1..])
            }
        }
    }

    proptest! {
        #[test]
        fn a_path_glob_matches_what_the_obvious_matcher_matches(
            pattern in prop::collection::vec(prop::sample::select(alloc::vec!["**", "*", "a", "b", "a*", "*b"]), 1..6),
            text in prop::collection::vec(prop::sample::select(alloc::vec!["a", "b", "ab", "ba"]), 1..7),
        ) {
            let glob = PathGlob::parse(&pattern.join("/"), Glob::parse).unwrap();
            prop_assert_eq!(glob.matches(&text.join("/")), naive(&pattern, &text));
        }
    }
}
