//! Where argument values come from, and tests on that.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use ak_json::{Integrity, Labels, Pointer, Text, Value};

use super::select::ArgumentPath;
use super::{ConditionInput, Outcome};
use crate::pattern::Glob;
use crate::target::CanonicalUrl;

/// What is known about the origin of one part of the arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The part: the value here and all below it, unless another origin says more about that.
    pub pointer: Pointer,
    /// What the value carries.
    pub labels: Labels,
    /// Where it came from: `user`, `tool:search@1.0`, `http:https://example.com/`, `agent:crew/writer`.
    pub sources: Box<[Text]>,
}

/// What a value's label is tested for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum LabelTest {
    Trusted,
    Untrusted,
    /// No secrecy label.
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

/// A pattern over sources. `tool:NAME` covers every version of the tool.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SourcePattern(pub(crate) Glob);

impl SourcePattern {
    fn matches(&self, source: &str) -> bool {
        let unversioned =
            source.strip_prefix("tool:").and_then(|_| source.rsplit_once('@')).map(|(tool, _)| tool);
        self.0.matches(source) || unversioned.is_some_and(|tool| self.0.matches(tool))
    }
}

/// The origins that speak about a value: the closest one around it, and all those within it.
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

/// Tests the label of a value; one whose origin is unknown carries the request's own label.
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

/// Tests where a value came from; an unknown origin leaves doubt.
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
        // What a server reads in the URL may be what another source is.
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

/// The source as servers may read the URL in it; nothing when all of them read what stands there.
fn readings(source: &str) -> Vec<Text> {
    let url = source.strip_prefix("http:").and_then(|url| CanonicalUrl::parse(url).ok());
    let texts = url.map(|url| url.reading_texts()).unwrap_or_default();
    texts.into_iter().map(|text| Text::from(alloc::format!("http:{text}"))).collect()
}

/// The label of the whole request: its own, and that of every part.
pub(super) fn request_labels(input: ConditionInput<'_>) -> Labels {
    input.origins.iter().fold(input.labels.clone(), |joined, origin| joined.join(&origin.labels))
}
