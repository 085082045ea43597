//! Labels and sources of argument values, and tests of them.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use ak_json::{Integrity, Labels, Pointer, Text, Value};

use super::select::ArgumentPath;
use super::{ConditionInput, Outcome};
use crate::pattern::Glob;
use crate::target::CanonicalUrl;

/// The labels and sources of one part of the arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The part: the value here and everything below it, except where another origin is for a deeper part.
    pub pointer: Pointer,
    /// The labels of the part.
    pub labels: Labels,
    /// The sources of the part: `user`, `tool:search@1.0`, `http:https://example.com/`, `agent:crew/writer`.
    pub sources: Box<[Text]>,
}

/// A test of the labels of a value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum LabelTest {
    Trusted,
    Untrusted,
    /// No secrecy labels.
    Public,
    Carries(Text),
    Lacks(Text),
}

impl LabelTest {
    /// Reads `trusted`, `untrusted`, `public`, `NAME` or `!NAME`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "" | "!" => return None,
            "trusted" => Self::Trusted,
            "untrusted" => Self::Untrusted,
            "public" => Self::Public,
            name => match name.strip_prefix('!') {
                Some(name) => Self::Lacks(name.into()),
                None => Self::Carries(name.into()),
            },
        })
    }

    pub(crate) fn holds(&self, labels: &Labels) -> bool {
        match self {
            Self::Trusted => labels.integrity == Integrity::Trusted,
            Self::Untrusted => labels.integrity == Integrity::Untrusted,
            Self::Public => labels.secrecy.is_empty(),
            Self::Carries(name) => labels.secrecy.contains(name),
            Self::Lacks(name) => !labels.secrecy.contains(name),
        }
    }
}

impl fmt::Display for LabelTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Trusted => f.write_str("trusted"),
            Self::Untrusted => f.write_str("untrusted"),
            Self::Public => f.write_str("public"),
            Self::Carries(name) => f.write_str(name),
            Self::Lacks(name) => write!(f, "!{name}"),
        }
    }
}

pub(super) fn labels_to_value(tests: &[LabelTest]) -> Value {
    Value::from(tests.iter().map(|test| Value::from(alloc::format!("{test}"))).collect::<Vec<_>>())
}

/// A pattern over sources; `tool:NAME` matches every version of the tool.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SourcePattern(pub(crate) Glob);

impl SourcePattern {
    fn matches(&self, source: &str) -> bool {
        let unversioned =
            source.strip_prefix("tool:").and_then(|_| source.rsplit_once('@')).map(|(tool, _)| tool);
        self.0.matches(source) || unversioned.is_some_and(|tool| self.0.matches(tool))
    }
}

/// The origins that apply to a value: the innermost one around it, and all within it.
fn about<'a>(place: &ArgumentPath<'_>, origins: &'a [Origin]) -> impl Iterator<Item = &'a Origin> {
    let pointer = if origins.is_empty() { Pointer::root() } else { place.pointer() };
    let around = origins.iter().filter(|origin| pointer.starts_with(&origin.pointer));
    let closest = around.map(|origin| origin.pointer.tokens().len()).max();
    origins.iter().filter(move |origin| {
        let depth = origin.pointer.tokens().len();
        let within = origin.pointer.starts_with(&pointer);
        within || closest == Some(depth) && pointer.starts_with(&origin.pointer)
    })
}

/// Tests the labels of a value; a value without an origin has the labels of the request.
pub(super) fn test_label(
    tests: &[LabelTest],
    place: &ArgumentPath<'_>,
    input: ConditionInput<'_>,
) -> Outcome {
    let joined = about(place, input.origins).fold(None::<Labels>, |joined, origin| match joined {
        Some(joined) => Some(joined.join(&origin.labels)),
        None => Some(origin.labels.clone()),
    });
    let labels = joined.as_ref().unwrap_or(input.labels);
    Outcome::of(tests.iter().all(|test| test.holds(labels)))
}

/// Tests the sources of a value; a value without an origin is in doubt.
pub(super) fn test_sources(
    patterns: &[SourcePattern],
    place: &ArgumentPath<'_>,
    input: ConditionInput<'_>,
) -> Outcome {
    let matching = |source: &Text| patterns.iter().any(|pattern| pattern.matches(source));
    let (mut matched, mut other) = (false, false);
    for source in about(place, input.origins).flat_map(|origin| origin.sources.iter()) {
        if matching(source) {
            matched = true;
        } else {
            other = true;
        }
        // A server may read the URL as another source, which counts against every pattern that is not literally
        // this source.
        let its_own = patterns.iter().any(|pattern| pattern.0.as_literal() == Some(&**source));
        for reading in readings(source) {
            if matching(&reading) {
                matched = true;
            } else if !its_own {
                other = true;
            }
        }
    }
    match (matched, other) {
        (true, false) => Outcome::Holds,
        (false, true) => Outcome::Fails,
        (true, true) | (false, false) => Outcome::Doubt,
    }
}

/// The source as servers may read the URL in it; empty when all of them read it as written.
fn readings(source: &str) -> Vec<Text> {
    let url = source.strip_prefix("http:").and_then(|url| CanonicalUrl::parse(url).ok());
    let texts = url.map(|url| url.reading_texts()).unwrap_or_default();
    texts.into_iter().map(|text| Text::from(alloc::format!("http:{text}"))).collect()
}

/// The labels of the whole request: its own joined with those of every part.
pub(super) fn request_labels(input: ConditionInput<'_>) -> Labels {
    input.origins.iter().fold(input.labels.clone(), |joined, origin| joined.join(&origin.labels))
}
