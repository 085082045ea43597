//! The tests a constraint makes on one value.

use alloc::boxed::Box;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::mem::discriminant;

use ak_json::{Number, Text, Value};

use super::{Format, FormatPattern, LabelTest, Only, Outcome, Place, SourcePattern, Subject, origin};
use crate::pattern::Reading;

/// One test on one value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Test {
    Equals(Value),
    In(Box<[Value]>),
    Matches(Box<[FormatPattern]>),
    Starts(Box<[Text]>),
    Min(Number),
    Max(Number),
    MaxLength(u64),
    Type(JsonType),
    Format(Format),
    Only(Only),
    Label(Box<[LabelTest]>),
    From(Box<[SourcePattern]>),
}

/// The types of JSON Schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum JsonType {
    Null,
    Boolean,
    Number,
    Integer,
    String,
    Array,
    Object,
}

impl JsonType {
    pub(crate) const ALL: [JsonType; 7] =
        [Self::Null, Self::Boolean, Self::Number, Self::Integer, Self::String, Self::Array, Self::Object];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Boolean => "boolean",
            Self::Number => "number",
            Self::Integer => "integer",
            Self::String => "string",
            Self::Array => "array",
            Self::Object => "object",
        }
    }

    fn outcome(self, value: &Value) -> Outcome {
        match (self, value) {
            // Some readers take `1.0` for an integer.
            (Self::Integer, Value::Number(number)) if number.is_float() => Outcome::Doubt,
            (Self::Null, Value::Null)
            | (Self::Boolean, Value::Bool(_))
            | (Self::Number | Self::Integer, Value::Number(_))
            | (Self::String, Value::String(_))
            | (Self::Array, Value::Array(_))
            | (Self::Object, Value::Object(_)) => Outcome::Holds,
            (
                Self::Null
                | Self::Boolean
                | Self::Number
                | Self::Integer
                | Self::String
                | Self::Array
                | Self::Object,
                _,
            ) => Outcome::Fails,
        }
    }
}

impl Test {
    /// Tests a value; one of a type that the test is not about leaves doubt.
    pub(super) fn on(
        &self,
        value: &Value,
        place: &Place<'_>,
        subject: Subject<'_>,
        reading: Reading,
    ) -> Outcome {
        match self {
            Self::Equals(expected) => equals(expected, value),
            Self::In(expected) => any(expected.iter().map(|expected| equals(expected, value))),
            Self::Matches(patterns) => on_text(value, |text| {
                any(patterns
                    .iter()
                    .map(|pattern| pattern.matches(text, reading).map_or(Outcome::Doubt, Outcome::of)))
            }),
            Self::Starts(prefixes) => on_text(value, |text| {
                if text.contains(char::is_control) {
                    return Outcome::Doubt;
                }
                Outcome::of(prefixes.iter().any(|prefix| text.starts_with(&**prefix)))
            }),
            Self::Min(min) => on_number(value, |number| number >= min),
            Self::Max(max) => on_number(value, |number| number <= max),
            Self::MaxLength(max) => match value {
                Value::String(text) => Outcome::of(is_at_most(text.chars().count(), *max)),
                Value::Array(array) => Outcome::of(is_at_most(array.len(), *max)),
                Value::Object(object) => Outcome::of(is_at_most(object.len(), *max)),
                Value::Null | Value::Bool(_) | Value::Number(_) => Outcome::Doubt,
            },
            Self::Type(own) => own.outcome(value),
            Self::Format(format) => {
                // What is malformed here may be well formed to somebody else.
                on_text(value, |text| if format.accepts(text) { Outcome::Holds } else { Outcome::Doubt })
            }
            Self::Only(only) => Outcome::of(only.covers(Some(value))),
            Self::Label(tests) => origin::test_label(tests, place, subject),
            Self::From(patterns) => origin::test_sources(patterns, place, subject),
        }
    }

    /// The test as it stands in a policy.
    pub(super) fn to_members(&self) -> Option<(&'static str, Value)> {
        let texts = |texts: Vec<Value>| Value::from(texts);
        Some(match self {
            Self::Equals(value) => ("equals", value.clone()),
            Self::In(values) => ("in", Value::from(values.to_vec())),
            Self::Matches(patterns) => {
                ("matches", texts(patterns.iter().map(|p| p.to_string().into()).collect()))
            }
            Self::Starts(prefixes) => ("starts", texts(prefixes.iter().map(Value::from).collect())),
            Self::Min(min) => ("min", Value::Number(*min)),
            Self::Max(max) => ("max", Value::Number(*max)),
            Self::MaxLength(max) => ("max_length", Value::from(*max)),
            Self::Type(own) => ("type", own.as_str().into()),
            Self::Format(format) => ("format", format.as_str().into()),
            Self::Only(only) => ("only", texts(only.places().iter().map(|p| p.to_text().into()).collect())),
            Self::Label(tests) => ("label", origin::labels_to_value(tests)),
            Self::From(patterns) => {
                ("from", texts(patterns.iter().map(|p| p.0.to_string().into()).collect()))
            }
        })
    }
}

fn is_at_most(length: usize, max: u64) -> bool {
    u64::try_from(length).is_ok_and(|length| length <= max)
}

fn equals(expected: &Value, value: &Value) -> Outcome {
    if discriminant(expected) == discriminant(value) {
        Outcome::of(expected == value)
    } else {
        Outcome::Doubt
    }
}

/// One that holds decides, then one in doubt.
fn any(outcomes: impl Iterator<Item = Outcome>) -> Outcome {
    outcomes.fold(Outcome::Fails, |so_far, outcome| match (so_far, outcome) {
        (Outcome::Holds, _) | (_, Outcome::Holds) => Outcome::Holds,
        (Outcome::Doubt, _) | (_, Outcome::Doubt) => Outcome::Doubt,
        (Outcome::Fails, Outcome::Fails) => Outcome::Fails,
    })
}

fn on_text(value: &Value, test: impl FnOnce(&str) -> Outcome) -> Outcome {
    value.as_str().map_or(Outcome::Doubt, test)
}

fn on_number(value: &Value, test: impl FnOnce(&Number) -> bool) -> Outcome {
    value.as_number().map_or(Outcome::Doubt, |number| Outcome::of(test(number)))
}
