//! Patterns with wildcards over paths.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write};

use super::glob::{is_plain, write_literal};
use super::meter::{COMPARED_BYTES_PER_STEP, Meter, SegmentSet};
use super::{error::PatternError, glob::Glob, limits::DEEP_MAX};
use crate::target::{DEEP, STAR};

/// One step of a [`PathGlob`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    /// Exactly one segment.
    One(Glob),
    /// `**`: zero or more segments.
    Deep,
}

/// One segment of a pattern, as parsed.
pub(crate) enum Part<'t> {
    /// Exactly this segment.
    Literal(Cow<'t, str>),
    /// A segment with a wildcard.
    Glob(Glob),
}

impl<'t> Part<'t> {
    pub(crate) fn parse(text: &'t str) -> Result<Self, PatternError> {
        if is_plain(text) { Ok(Self::Literal(text.into())) } else { Glob::parse(text).map(Self::from) }
    }
}

impl From<Glob> for Part<'_> {
    fn from(glob: Glob) -> Self {
        match glob.as_literal() {
            Some(text) => Self::Literal(Cow::Owned(text.into())),
            None => Self::Glob(glob),
        }
    }
}

/// A pattern over the segments of a path, in canonical form.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PathGlob {
    /// The literal segments at the start; `None` when there are none.
    head: Option<Box<str>>,
    rest: Rest,
}

/// The part after the literal segments.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rest {
    Nothing,
    /// `**`: the most common case, `app/data/**`.
    Deep,
    /// Anything else; the first step is not a literal segment.
    Steps(Box<[Step]>),
}

impl PathGlob {
    /// Parses the segments of a text, each with `segment`. The empty text has no segments.
    pub(crate) fn parse<'t>(
        text: &'t str,
        segment: impl Fn(&'t str) -> Result<Part<'t>, PatternError>,
    ) -> Result<Self, PatternError> {
        let mut head: Option<Cow<'t, str>> = None;
        let mut steps = Vec::new();
        let mut parts = Segments::of(text);
        while let Some(part) = parts.next() {
            match part {
                "**" if steps.is_empty() && parts.is_empty() => {
                    return Ok(Self { head: head.map(Box::from), rest: Rest::Deep });
                }
                "**" if steps.last() == Some(&Step::Deep) => {}
                "**" if steps.iter().filter(|step| **step == Step::Deep).count() == DEEP_MAX => {
                    return Err(PatternError::TooManyDeep);
                }
                "**" => steps.push(Step::Deep),
                part => match segment(part)? {
                    Part::Literal(name) if steps.is_empty() => {
                        head = Some(match (head, name) {
                            // As long as segments are unchanged, the head is a slice of the text.
                            (None | Some(Cow::Borrowed(_)), Cow::Borrowed(_)) => parts.before(text).into(),
                            (None, name) => name,
                            (Some(head), name) => Cow::Owned(head.into_owned() + "/" + &name),
                        });
                    }
                    Part::Literal(name) => steps.push(Step::One(Glob::literal(&name))),
                    Part::Glob(_) if has_two_stars(part) => return Err(PatternError::PartialDeep),
                    Part::Glob(glob) => steps.push(Step::One(glob)),
                },
            }
        }
        let rest = match steps.as_slice() {
            [] => Rest::Nothing,
            [Step::Deep] => Rest::Deep,
            [..] => Rest::Steps(steps.into()),
        };
        Ok(Self { head: head.map(Box::from), rest })
    }

    /// The pattern that matches exactly this path.
    pub(crate) fn literal(text: &str) -> Self {
        Self { head: Segments::of(text).0.map(Box::from), rest: Rest::Nothing }
    }

    /// The pattern of the URL path `/`, which is one empty segment.
    pub(crate) fn empty_segment() -> Self {
        Self { head: Some(Box::default()), rest: Rest::Nothing }
    }

    /// `**`: matches every path.
    pub(crate) fn deep() -> Self {
        Self { head: None, rest: Rest::Deep }
    }

    /// The only text that matches, when the pattern has no wildcard.
    pub(crate) fn as_literal(&self) -> Option<&str> {
        (self.rest == Rest::Nothing).then(|| self.head())
    }

    /// The pattern with a directory put before it.
    pub(crate) fn below(self, directory: &str) -> Self {
        let head = match (Segments::of(directory).0, self.head) {
            (Some(directory), Some(own)) => Some(alloc::format!("{directory}/{own}").into()),
            (directory, own) => directory.map(Box::from).or(own),
        };
        Self { head, rest: self.rest }
    }

    /// The directory that holds everything the pattern matches: its literal segments, without the last one when
    /// nothing follows it.
    pub(crate) fn root(&self) -> String {
        let directory = match &self.rest {
            Rest::Nothing => self.head().rsplit_once('/').map_or("", |(directory, _)| directory),
            Rest::Deep | Rest::Steps(_) => self.head(),
        };
        alloc::format!("/{directory}")
    }

    /// Whether this pattern matches every text that `other` matches; `false` when that cannot be decided.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        let begins = || self.behind_head(Segments(other.head.as_deref())).is_some();
        match &self.rest {
            Rest::Nothing => self == other,
            Rest::Deep => begins(),
            Rest::Steps(_) => self == other || other.as_literal().is_some_and(|text| self.matches(text)),
        }
    }

    /// Whether the pattern ends with `**`.
    pub(crate) fn is_deep(&self) -> bool {
        match &self.rest {
            Rest::Nothing => false,
            Rest::Deep => true,
            Rest::Steps(steps) => steps.last() == Some(&Step::Deep),
        }
    }

    /// Whether the segments of `text` match; the empty text has no segments.
    pub(crate) fn matches(&self, text: &str) -> bool {
        self.matches_within(text, &Meter::of_pattern())
    }

    /// Like [`matches`](Self::matches), with the steps taken from the meter.
    pub(crate) fn matches_within(&self, text: &str, meter: &Meter) -> bool {
        meter.take(1) && self.matches_segments(Segments::of(text), meter)
    }

    /// Matches the path of a URL, which always has at least one segment, possibly empty.
    pub(super) fn matches_url_path(&self, path: &str, meter: &Meter) -> bool {
        self.matches_segments(Segments(Some(path.strip_prefix('/').unwrap_or(path))), meter)
    }

    fn matches_segments(&self, text: Segments<'_>, meter: &Meter) -> bool {
        let Some(behind) = self.behind_head(text) else { return false };
        match &self.rest {
            Rest::Nothing => behind.is_empty(),
            Rest::Deep => true,
            Rest::Steps(steps) => ends_match(steps, behind, meter) && steps_match(steps, behind, meter),
        }
    }

    /// Whether matching may have to skip over many segments.
    pub(super) fn searches(&self) -> bool {
        match &self.rest {
            Rest::Nothing | Rest::Deep => false,
            Rest::Steps(steps) => steps.contains(&Step::Deep),
        }
    }

    /// Whether the set may hold every literal segment that follows the first wildcard.
    pub(super) fn may_match(&self, segments: &SegmentSet) -> bool {
        let Rest::Steps(steps) = &self.rest else { return true };
        let literals = steps.iter().filter_map(|step| match step {
            Step::One(glob) => glob.as_literal(),
            Step::Deep => None,
        });
        literals.into_iter().all(|literal| segments.may_hold(literal))
    }

    /// The text from which the readings of a URL pattern's path are made, with [`STAR`] for each `*` and [`DEEP`]
    /// for each `**`.
    pub(super) fn reading_text(&self) -> String {
        let mut text = self.head.as_ref().map_or_else(String::new, |head| alloc::format!("/{head}"));
        let steps = match &self.rest {
            Rest::Nothing => &[],
            Rest::Deep => &[Step::Deep][..],
            Rest::Steps(steps) => steps,
        };
        for step in steps {
            text.push('/');
            match step {
                Step::One(glob) => text.push_str(&glob.reading_text()),
                Step::Deep => text.push(DEEP),
            }
        }
        text
    }

    /// The pattern of a reading of such a text.
    pub(super) fn of_reading(text: &str) -> Self {
        let (mut head, mut steps) = (None::<String>, Vec::new());
        for segment in text.strip_prefix('/').unwrap_or(text).split('/') {
            let step = if segment.contains(DEEP) { Step::Deep } else { Step::One(Glob::of_reading(segment)) };
            match step {
                Step::One(_) if steps.is_empty() && !segment.contains(STAR) => {
                    head = Some(head.map_or_else(|| segment.into(), |head| head + "/" + segment));
                }
                Step::Deep if steps.last() == Some(&Step::Deep) => {}
                step => steps.push(step),
            }
        }
        let rest = match steps.as_slice() {
            [] => Rest::Nothing,
            [Step::Deep] => Rest::Deep,
            [..] => Rest::Steps(steps.into()),
        };
        Self { head: head.map(Box::from), rest }
    }

    /// The segments after the literal ones, when the text begins with these; otherwise `None`.
    fn behind_head<'t>(&self, text: Segments<'t>) -> Option<Segments<'t>> {
        let Some(head) = &self.head else { return Some(text) };
        let behind = text.0?.strip_prefix(&**head)?;
        if behind.is_empty() { Some(Segments(None)) } else { Some(Segments(Some(behind.strip_prefix('/')?))) }
    }

    fn head(&self) -> &str {
        self.head.as_deref().unwrap_or_default()
    }

    /// The text that every match begins with, with a `/` before each segment, and whether it is the only text that
    /// matches.
    pub(crate) fn literal_prefix(&self) -> (String, bool) {
        let mut prefix = self.head.as_ref().map_or_else(String::new, |head| alloc::format!("/{head}"));
        if let Rest::Steps(steps) = &self.rest
            && let Some(Step::One(glob)) = steps.first()
        {
            prefix.push('/');
            prefix.push_str(glob.head());
        }
        (prefix, self.rest == Rest::Nothing)
    }
}

/// Whether the last segment can match the last step; if not, no search is needed.
fn ends_match(steps: &[Step], rest: Segments<'_>, meter: &Meter) -> bool {
    match (steps.last(), rest.0) {
        (Some(Step::One(glob)), Some(text)) => {
            let Some(before) = text.strip_suffix(glob.tail()) else { return false };
            let whole = glob.as_literal().is_none() || before.is_empty() || before.ends_with('/');
            meter.take(1) && whole
        }
        (Some(Step::One(_)), None) => false,
        (Some(Step::Deep) | None, _) => true,
    }
}

/// Backtracks only to the last `**`, so that every step is compared with every segment at most once: the time is
/// linear in pattern × text.
fn steps_match(mut steps: &[Step], mut rest: Segments<'_>, meter: &Meter) -> bool {
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
                // Fewer segments than steps are left, so skipping more segments cannot help.
                let Some(segment) = ahead.next() else { return false };
                if !meter.take(segment.len() / COMPARED_BYTES_PER_STEP) {
                    return false;
                }
                if glob.matches_within(segment, meter) {
                    (steps, rest) = (behind, ahead);
                    continue;
                }
            }
            None if rest.is_empty() => return true,
            None => {}
        }
        let Some((behind, start)) = &mut retry else { return false };
        if meter.is_spent() || start.next().is_none() {
            return false;
        }
        (steps, rest) = (behind, *start);
    }
}

/// Whether two unescaped wildcards are adjacent.
fn has_two_stars(segment: &str) -> bool {
    let (mut escaped, mut star) = (false, false);
    for byte in segment.bytes() {
        if star && byte == b'*' {
            return true;
        }
        star = byte == b'*' && !escaped;
        escaped = byte == b'\\' && !escaped;
    }
    false
}

impl fmt::Display for PathGlob {
    /// Writes the segments separated by `/`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_literal(f, self.head())?;
        let steps = match &self.rest {
            Rest::Nothing => &[],
            Rest::Deep => &[Step::Deep][..],
            Rest::Steps(steps) => steps,
        };
        for (at, step) in steps.iter().enumerate() {
            if at > 0 || self.head.is_some() {
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

    /// The segments of `text` that this iterator has already returned, without the `/` after them.
    fn before(self, text: &str) -> &str {
        let behind = self.0.map_or(0, |rest| rest.len() + 1);
        text.get(..text.len().saturating_sub(behind)).unwrap_or_default()
    }
}

impl<'a> Iterator for Segments<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let text = self.0?;
        // Segments are short, so a plain loop finds their end faster than a search that needs a set-up.
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
            let glob = PathGlob::parse(pattern, Part::parse).unwrap();
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
            assert_eq!(PathGlob::parse(refused, Part::parse), Err(PatternError::PartialDeep), "{refused}");
        }
    }

    #[test]
    fn hostile_patterns_stay_linear() {
        let path = "a/".repeat(50_000) + "b";
        let meter = Meter::of_pattern();
        let glob = PathGlob::parse(&("**/a/".repeat(DEEP_MAX) + "*c"), Part::parse).unwrap();
        assert!(!glob.matches_within(&path, &meter) && !meter.is_spent());
        // A pattern that takes too many steps is given up.
        let glob = PathGlob::parse(&("**/".to_string() + &"a/".repeat(4_000) + "*/b"), Part::parse).unwrap();
        assert!(!glob.matches_within(&path, &meter) && meter.is_spent());
        let many = |count: usize| PathGlob::parse(&"**/a/".repeat(count), Part::parse).err();
        assert_eq!(many(DEEP_MAX), None);
        assert_eq!(many(DEEP_MAX + 1), Some(PatternError::TooManyDeep));
    }

    /// The obvious matcher, which takes exponential time.
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
            let glob = PathGlob::parse(&pattern.join("/"), Part::parse).unwrap();
            prop_assert_eq!(glob.matches(&text.join("/")), naive(&pattern, &text));
        }
    }
}
