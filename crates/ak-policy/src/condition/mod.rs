//! Conditions on the arguments, labels and provenance of a request.
//!
//! A condition is read in one of two ways, so that doubt never widens authority. Where the condition must hold for
//! authority to be given (a permit's `when`, a forbid's or ask's `unless`), **every** selected value must satisfy
//! it. Where the condition takes authority away (a forbid's or ask's `when`, a permit's `unless`), it suffices that
//! **one** value satisfies it or leaves it in doubt.

mod format;
mod only;
mod origin;
mod select;
mod test;

use alloc::boxed::Box;

use ak_json::{Object, Pointer, Value};

pub(crate) use format::{Format, FormatPattern};
pub(crate) use only::{Only, PLACES_MAX};
pub use origin::Origin;
pub(crate) use origin::{LabelTest, SourcePattern};
pub(crate) use select::{ArgumentPath, Found, Selector};
pub(crate) use test::{Choice, JsonType, Prefixes, Test};

use crate::pattern::{Meter, Reading};

/// How many of the selected values must satisfy a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quantifier {
    /// Every value, without doubt, and there must be at least one.
    Every,
    /// One value suffices, even in doubt.
    Some,
}

/// The result of testing a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The value satisfies the test.
    Holds,
    /// The value does not satisfy the test.
    Fails,
    /// The value is of a type or form that the test cannot judge.
    Doubt,
}

impl Outcome {
    pub(crate) fn of(holds: bool) -> Self {
        if holds { Self::Holds } else { Self::Fails }
    }

    fn satisfies(self, quantifier: Quantifier) -> bool {
        match (self, quantifier) {
            (Self::Holds, _) | (Self::Doubt, Quantifier::Some) => true,
            (Self::Fails, _) | (Self::Doubt, Quantifier::Every) => false,
        }
    }
}

/// The parts of a request that conditions test.
#[derive(Clone, Copy)]
pub(crate) struct ConditionInput<'a> {
    pub(crate) args: Option<&'a Value>,
    pub(crate) labels: &'a ak_json::Labels,
    pub(crate) origins: &'a [Origin],
    /// Counts the steps of testing. Once it is spent, no result counts.
    pub(crate) meter: &'a Meter,
}

/// A `when` or `unless`; all its parts must hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Condition {
    pub(crate) args: Box<[Constraint]>,
    pub(crate) labels: Box<[LabelTest]>,
}

/// The tests on the values that one pointer selects.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Constraint {
    pub(crate) selector: Selector,
    pub(crate) tests: Box<[Test]>,
    /// Whether a missing value satisfies the constraint.
    pub(crate) optional: bool,
}

impl Condition {
    /// Whether the condition holds.
    pub(crate) fn holds(&self, input: ConditionInput<'_>, quantifier: Quantifier) -> bool {
        let labels = || origin::request_labels(input);
        (self.labels.is_empty() || self.labels.iter().all(|test| test.holds(&labels())))
            && self.args.iter().all(|constraint| constraint.holds(input, quantifier))
    }

    /// The place in the arguments that determines the condition's result: the value that violates the condition
    /// when it does not hold, the value that satisfies it when it does.
    pub(crate) fn witness(&self, input: ConditionInput<'_>, quantifier: Quantifier) -> Option<Pointer> {
        let holds = self.holds(input, quantifier);
        let telling = self.args.iter().find(|constraint| constraint.holds(input, quantifier) == holds)?;
        Some(telling.witness(input, quantifier))
    }

    pub(crate) fn to_value(&self) -> Value {
        let mut condition = Object::new();
        if !self.args.is_empty() {
            let args =
                self.args.iter().map(|constraint| (constraint.selector.to_text(), constraint.to_value()));
            condition.insert("args", args.collect::<Object>());
        }
        if !self.labels.is_empty() {
            condition.insert("label", origin::labels_to_value(&self.labels));
        }
        Value::Object(condition)
    }
}

impl Constraint {
    fn holds(&self, input: ConditionInput<'_>, quantifier: Quantifier) -> bool {
        let mut any = false;
        let mut every = true;
        let mut seen = false;
        self.selector.select(input.args, input.meter, &mut |found| {
            let satisfies = match found {
                Found::Value(value, place) => {
                    seen = true;
                    self.outcome(value, place, input, quantifier).satisfies(quantifier)
                }
                Found::Missing(_) => self.optional,
                Found::Blocked(_) => Outcome::Doubt.satisfies(quantifier),
            };
            any |= satisfies;
            every &= satisfies;
            // The remaining values cannot change the result.
            match quantifier {
                Quantifier::Every => every,
                Quantifier::Some => !any,
            }
        });
        match quantifier {
            Quantifier::Every => every && (seen || self.optional),
            Quantifier::Some => any,
        }
    }

    /// The outcome of all tests together: failure if one fails, otherwise doubt if one is in doubt.
    fn outcome(
        &self,
        value: &Value,
        place: &ArgumentPath<'_>,
        input: ConditionInput<'_>,
        quantifier: Quantifier,
    ) -> Outcome {
        let reading = match quantifier {
            Quantifier::Every => Reading::Narrow,
            Quantifier::Some => Reading::Wide,
        };
        self.tests.iter().fold(Outcome::Holds, |so_far, test| match so_far {
            Outcome::Fails => Outcome::Fails,
            Outcome::Holds => test.on(value, place, input, reading),
            Outcome::Doubt => match test.on(value, place, input, reading) {
                Outcome::Fails => Outcome::Fails,
                Outcome::Holds | Outcome::Doubt => Outcome::Doubt,
            },
        })
    }

    fn witness(&self, input: ConditionInput<'_>, quantifier: Quantifier) -> Pointer {
        let mut witness = None;
        self.selector.select(input.args, input.meter, &mut |found| {
            let (satisfies, place) = match found {
                Found::Value(value, place) => {
                    (self.outcome(value, place, input, quantifier).satisfies(quantifier), place)
                }
                Found::Missing(place) => (self.optional, place),
                Found::Blocked(place) => (Outcome::Doubt.satisfies(quantifier), place),
            };
            // When one value suffices, the satisfying value is reported; when every value must satisfy, the one
            // that does not.
            let telling = satisfies == (quantifier == Quantifier::Some);
            if telling {
                witness = Some(place.pointer());
            }
            !telling
        });
        witness.unwrap_or_else(|| self.selector.literal_pointer())
    }

    fn to_value(&self) -> Value {
        let mut tests: Object = self.tests.iter().flat_map(Test::to_members).collect();
        if self.optional {
            tests.insert("optional", true);
        }
        crate::canonical::sorted(&Value::Object(tests))
    }
}
