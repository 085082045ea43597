//! The tests that a constraint makes on one value.

use alloc::boxed::Box;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::mem::discriminant;

use ak_json::{Number, Text, Value};

use super::{
    ArgumentPath, ConditionInput, Format, FormatPattern, LabelTest, Only, Outcome, SourcePattern, origin,
};
use crate::pattern::{COMPARED_BYTES_PER_STEP, Meter, Reading, SEARCHED_BYTES_PER_STEP};

/// One test on one value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Test {
    Equals(Value),
    In(Choice),
    Matches(Box<[FormatPattern]>),
    Starts(Prefixes),
    Min(Number),
    Max(Number),
    MaxLength(u64),
    Type(JsonType),
    Format(Format),
    Only(Only),
    Label(Box<[LabelTest]>),
    From(Box<[SourcePattern]>),
}

/// The values of which one must be equal.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Choice {
    /// The values as written in the policy.
    values: Box<[Value]>,
    /// The texts among the values in ascending order, so that only a few of thousands are compared.
    texts: Box<[Text]>,
    /// Whether there are values other than texts.
    mixed: bool,
}

impl Choice {
    pub(crate) fn new(values: Vec<Value>) -> Self {
        let mut texts: Vec<Text> = values.iter().filter_map(Value::as_text).cloned().collect();
        let mixed = texts.len() < values.len();
        texts.sort_unstable();
        texts.dedup();
        Self { values: values.into(), texts: texts.into(), mixed }
    }

    fn holds(&self, value: &Value, meter: &Meter) -> Outcome {
        let Value::String(text) = value else {
            return any(self.values.iter().map(|expected| equals(expected, value, meter)));
        };
        let compared = self.texts.len().checked_ilog2().unwrap_or(0) as usize + 1;
        if !meter.take(compared * (1 + text.len() / COMPARED_BYTES_PER_STEP)) {
            return Outcome::Doubt;
        }
        match self.texts.binary_search(text) {
            Ok(_) => Outcome::Holds,
            Err(_) if self.mixed => Outcome::Doubt,
            Err(_) => Outcome::Fails,
        }
    }
}

/// The prefixes of which one must begin a text.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Prefixes {
    /// The prefixes as written in the policy.
    written: Box<[Text]>,
    /// The prefixes in ascending order, without those that begin with another one. Of all that are not greater than
    /// a text, only the last can begin it.
    sorted: Box<[Text]>,
}

impl Prefixes {
    pub(crate) fn new(written: Vec<Text>) -> Self {
        let mut sorted = written.clone();
        sorted.sort_unstable();
        // Texts that begin with a text follow it directly.
        sorted.dedup_by(|longer, shorter| longer.starts_with(&**shorter));
        Self { written: written.into(), sorted: sorted.into() }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Text> {
        self.written.iter()
    }

    fn begin(&self, text: &str) -> bool {
        let above = self.sorted.partition_point(|prefix| **prefix <= *text);
        let last = above.checked_sub(1).and_then(|last| self.sorted.get(last));
        last.is_some_and(|prefix| text.starts_with(&**prefix))
    }
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
            // Some programs accept `1.0` as an integer.
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
    /// The types of JSON Schema that a value must have to pass; `None` where several kinds of values can.
    pub(crate) fn json_type(&self) -> Option<&'static [&'static str]> {
        const STRING: &[&str] = &["string"];
        const NUMBER: &[&str] = &["number", "integer"];
        match self {
            Self::Matches(_) | Self::Starts(_) | Self::Format(_) => Some(STRING),
            Self::Equals(Value::String(_)) => Some(STRING),
            Self::In(choice) if !choice.mixed => Some(STRING),
            Self::Min(_) | Self::Max(_) | Self::Equals(Value::Number(_)) => Some(NUMBER),
            Self::Equals(Value::Bool(_)) | Self::Type(JsonType::Boolean) => Some(&["boolean"]),
            Self::Type(JsonType::String) => Some(STRING),
            Self::Type(JsonType::Number | JsonType::Integer) => Some(NUMBER),
            Self::Type(JsonType::Null) => Some(&["null"]),
            Self::Type(JsonType::Array) => Some(&["array"]),
            Self::Type(JsonType::Object) => Some(&["object"]),
            Self::Equals(Value::Null | Value::Array(_) | Value::Object(_))
            | Self::In(_)
            | Self::MaxLength(_)
            | Self::Only(_)
            | Self::Label(_)
            | Self::From(_) => None,
        }
    }

    /// Tests a value. A value of a type that the test is not about leaves doubt, and so does a test for which the
    /// meter has too few steps.
    pub(super) fn on(
        &self,
        value: &Value,
        place: &ArgumentPath<'_>,
        input: ConditionInput<'_>,
        reading: Reading,
    ) -> Outcome {
        let meter = input.meter;
        match self {
            Self::Equals(expected) => equals(expected, value, meter),
            Self::In(choice) => choice.holds(value, meter),
            Self::Matches(patterns) => on_text(value, |text| {
                let matches = |pattern: &FormatPattern| {
                    pattern.matches(text, reading, meter).map_or(Outcome::Doubt, Outcome::of)
                };
                any(patterns.iter().map(matches))
            }),
            Self::Starts(prefixes) => on_text(value, |text| {
                if !meter.take(1 + text.len() / SEARCHED_BYTES_PER_STEP) || text.contains(char::is_control) {
                    return Outcome::Doubt;
                }
                Outcome::of(prefixes.begin(text))
            }),
            Self::Min(min) => on_number(value, |number| number >= min),
            Self::Max(max) => on_number(value, |number| number <= max),
            Self::MaxLength(max) => match value {
                Value::String(text) if !meter.take(text.len() / COMPARED_BYTES_PER_STEP) => Outcome::Doubt,
                Value::String(text) => Outcome::of(is_at_most(text.chars().count(), *max)),
                Value::Array(array) => Outcome::of(is_at_most(array.len(), *max)),
                Value::Object(object) => Outcome::of(is_at_most(object.len(), *max)),
                Value::Null | Value::Bool(_) | Value::Number(_) => Outcome::Doubt,
            },
            Self::Type(own) => own.outcome(value),
            Self::Format(format) => {
                // A text that is malformed here may be well formed to other programs.
                on_text(value, |text| {
                    let accepts = meter.take(format.steps(text)) && format.accepts(text);
                    if accepts { Outcome::Holds } else { Outcome::Doubt }
                })
            }
            Self::Only(only) => Outcome::of(only.covers(Some(value), meter)),
            Self::Label(tests) => origin::test_label(tests, place, input),
            Self::From(patterns) => origin::test_sources(patterns, place, input),
        }
    }

    /// The test as written in a policy.
    pub(super) fn to_members(&self) -> Option<(&'static str, Value)> {
        let texts = |texts: Vec<Value>| Value::from(texts);
        Some(match self {
            Self::Equals(value) => ("equals", value.clone()),
            Self::In(choice) => ("in", Value::from(choice.values.to_vec())),
            Self::Matches(patterns) => {
                ("matches", texts(patterns.iter().map(|p| p.to_string().into()).collect()))
            }
            Self::Starts(prefixes) => ("starts", texts(prefixes.written.iter().map(Value::from).collect())),
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

fn equals(expected: &Value, value: &Value, meter: &Meter) -> Outcome {
    if discriminant(expected) != discriminant(value) {
        return Outcome::Doubt;
    }
    let steps = match expected {
        Value::Null | Value::Bool(_) | Value::Number(_) => 1,
        Value::String(text) => 1 + text.len() / COMPARED_BYTES_PER_STEP,
        // A comparison goes through both values only as far as they are equal.
        Value::Array(_) | Value::Object(_) => 1 + expected.json_len(),
    };
    if meter.take(steps) { Outcome::of(expected == value) } else { Outcome::Doubt }
}

/// The outcome of alternatives: success if one holds, otherwise doubt if one is in doubt.
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_text_begins_with_a_prefix_that_one_by_one_is_found(
            prefixes in proptest::collection::vec("[ab]{0,4}", 0..8), text in "[ab]{0,6}",
        ) {
            let expected = prefixes.iter().any(|prefix| text.starts_with(prefix));
            prop_assert_eq!(Prefixes::new(prefixes.iter().map(Text::from).collect()).begin(&text), expected);
        }

        #[test]
        fn a_choice_holds_what_one_by_one_is_found(
            texts in proptest::collection::vec("[ab]{0,2}", 0..8), number in proptest::bool::ANY, value in "[ab]{0,2}",
        ) {
            let own = texts.iter().map(Value::from).chain(number.then(|| Value::from(1)));
            let choice: Vec<Value> = own.collect();
            let meter = Meter::of_pattern();
            let expected = super::any(choice.iter().map(|expected| equals(expected, &Value::from(&value), &meter)));
            prop_assert_eq!(Choice::new(choice).holds(&Value::from(&value), &meter), expected);
        }
    }
}
