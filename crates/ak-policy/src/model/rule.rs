//! Rules, into which sections, `[[rule]]` and `[[capability]]` tables are compiled.

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use ak_json::{Digest, Object, Pointer, Text, Value, object};

use crate::action::{Action, Actions};
use crate::agent::is_guest;
use crate::canonical;
use crate::condition::{Condition, ConditionInput, Only, Quantifier};
use crate::model::grant::GrantId;
use crate::model::window::Window;
use crate::pattern::{Meter, PathGlob, Pattern, Reading};
use crate::target::Target;

/// What a rule does with requests that match: permit, ask or forbid. The first rule that applies decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// The request is forbidden.
    Forbid,
    /// A person with authority must approve the request first.
    Ask,
    /// The request is permitted.
    Permit,
}

impl Effect {
    /// Every effect, the strongest first: forbid, ask, permit.
    pub const ALL: [Effect; 3] = [Self::Forbid, Self::Ask, Self::Permit];

    /// The effect's name in policies.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Forbid => "forbid",
            Self::Ask => "ask",
            Self::Permit => "permit",
        }
    }

    /// How patterns of a rule with this effect are read when several readings are possible.
    pub(crate) const fn reading(self) -> Reading {
        match self {
            Self::Forbid | Self::Ask => Reading::Wide,
            Self::Permit => Reading::Narrow,
        }
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A compiled rule.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) id: Text,
    pub(crate) effect: Effect,
    pub(crate) actions: Actions,
    pub(crate) targets: Box<[RuleTarget]>,
    /// The agents that the rule applies to; empty means every agent.
    pub(crate) agents: Box<[PathGlob]>,
    /// The times at which the rule applies; empty means always.
    pub(crate) windows: Box<[Window]>,
    pub(crate) when: Option<Condition>,
    pub(crate) unless: Option<Condition>,
    pub(crate) only: Option<Only>,
    /// Whether the rule applies only to targets that the asking agent owns.
    pub(crate) owned: bool,
    /// Whether symbolic links are followed as long as they stay beneath the root.
    pub(crate) follows: bool,
    /// The grant whose clock and rate restrict the permit.
    pub(crate) grant: Option<GrantId>,
    pub(crate) source: Source,
}

/// A pattern of a rule, and the deepest directory that holds everything the pattern matches (only for paths).
#[derive(Clone, Debug)]
pub(crate) struct RuleTarget {
    pub(crate) pattern: Pattern,
    pub(crate) root: Option<Text>,
}

/// The part of the policy that a rule comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The built-in profile.
    Baseline,
    /// A section, or a `[[rule]]`.
    Written,
    /// A `[[capability]]`.
    Capability,
}

/// The parts of a request that a rule's conditions test.
#[derive(Clone, Copy)]
pub(crate) struct RuleContext<'a> {
    pub(crate) agent: &'a str,
    pub(crate) now_us: u64,
    pub(crate) owned: bool,
    pub(crate) input: ConditionInput<'a>,
}

/// Why a rule whose pattern matches a target does not apply to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mismatch {
    Agent,
    Owner,
    Time,
    When,
    Unless,
    Only,
}

impl From<Pattern> for RuleTarget {
    fn from(pattern: Pattern) -> Self {
        let root = pattern.root().map(Text::from);
        Self { pattern, root }
    }
}

impl Rule {
    /// A rule without conditions.
    pub(crate) fn new(id: Text, effect: Effect, actions: Actions, targets: Vec<Pattern>) -> Self {
        Self {
            id,
            effect,
            actions,
            targets: targets.into_iter().map(RuleTarget::from).collect(),
            agents: Box::default(),
            windows: Box::default(),
            when: None,
            unless: None,
            only: None,
            owned: false,
            follows: false,
            grant: None,
            source: Source::Written,
        }
    }

    /// Checks whether the rule's agents, times and conditions let it apply; the caller has already matched its
    /// pattern.
    pub(crate) fn applies(&self, context: RuleContext<'_>) -> Result<(), Mismatch> {
        if !self.agents.is_empty()
            && !self.agents.iter().any(|agent| agent.matches_within(context.agent, context.input.meter))
        {
            return Err(Mismatch::Agent);
        }
        // The baseline does not apply to guests: only written rules permit them anything.
        if self.source == Source::Baseline && is_guest(context.agent) {
            return Err(Mismatch::Agent);
        }
        if self.owned && !context.owned {
            return Err(Mismatch::Owner);
        }
        if !self.windows.is_empty() && !self.windows.iter().any(|window| window.contains(context.now_us)) {
            return Err(Mismatch::Time);
        }
        let (when, unless) = self.quantifiers();
        // An argument outside `only` makes a permit fail, and a forbid or ask apply whatever its conditions are.
        if let Some(only) = &self.only
            && !only.covers(context.input.args, context.input.meter)
        {
            return match self.effect {
                Effect::Permit => Err(Mismatch::Only),
                Effect::Forbid | Effect::Ask => Ok(()),
            };
        }
        if let Some(condition) = &self.when
            && !condition.holds(context.input, when)
        {
            return Err(Mismatch::When);
        }
        match &self.unless {
            Some(condition) if condition.holds(context.input, unless) => Err(Mismatch::Unless),
            // A forbid or ask whose only condition is `only` applies to requests with other arguments alone.
            None if self.is_only_alone() => Err(Mismatch::Only),
            Some(_) | None => Ok(()),
        }
    }

    fn is_only_alone(&self) -> bool {
        self.effect != Effect::Permit && self.only.is_some() && self.when.is_none()
    }

    /// How many of the selected values must satisfy `when`, and how many `unless`.
    fn quantifiers(&self) -> (Quantifier, Quantifier) {
        match self.effect {
            Effect::Permit => (Quantifier::Every, Quantifier::Some),
            Effect::Forbid | Effect::Ask => (Quantifier::Some, Quantifier::Every),
        }
    }

    /// The place in the arguments that determines the result of [`applies`](Self::applies), if there is one.
    pub(crate) fn witness(&self, context: RuleContext<'_>) -> Option<Pointer> {
        let (when, unless) = self.quantifiers();
        let by_only =
            || self.only.as_ref().and_then(|only| only.witness(context.input.args, context.input.meter));
        let by_when = || self.when.as_ref().and_then(|condition| condition.witness(context.input, when));
        let by_unless =
            || self.unless.as_ref().and_then(|condition| condition.witness(context.input, unless));
        match self.applies(context) {
            Ok(()) => by_only().or_else(by_unless).or_else(by_when),
            Err(Mismatch::Only) => by_only(),
            Err(Mismatch::When) => by_when(),
            Err(Mismatch::Unless) => by_unless(),
            Err(Mismatch::Agent | Mismatch::Owner | Mismatch::Time) => None,
        }
    }

    /// Whether the rule's actions and one of its target patterns match; the meter counts the steps.
    pub(crate) fn matches_within(&self, action: Action, target: &Target, meter: &Meter) -> bool {
        let reading = self.effect.reading();
        let matches = |own: &RuleTarget| own.pattern.matches_within(action, target, reading, meter);
        self.actions.contains(action) && self.targets.iter().any(matches)
    }

    /// The rule as a `[[rule]]` in canonical form, without its id.
    pub(crate) fn body(&self) -> Value {
        let mut body = Object::new();
        body.insert("effect", self.effect.as_str());
        body.insert("operation", canonical::set(self.actions.all_names()));
        body.insert("target", targets_to_value(&self.targets));
        if !self.agents.is_empty() {
            body.insert("agent", canonical::set(self.agents.iter()));
        }
        if !self.windows.is_empty() {
            body.insert("time", canonical::set(self.windows.iter()));
        }
        if let Some(condition) = &self.when {
            body.insert("when", condition.to_value());
        }
        if let Some(condition) = &self.unless {
            body.insert("unless", condition.to_value());
        }
        if let Some(only) = &self.only {
            body.insert("only", canonical::set(only.places().iter().map(|place| place.to_text())));
        }
        if self.follows {
            body.insert("follow", FOLLOW_BENEATH);
        }
        canonical::sorted(&Value::Object(body))
    }
}

/// The value of `follow` for a rule under which links that stay beneath its root are followed.
pub(crate) const FOLLOW_BENEATH: &str = "beneath";

/// The first 40 characters of an id, made distinct by 16 digits of a digest.
pub(crate) fn shortened_id(id: &str, digest: Digest) -> Text {
    let digest = digest.to_string();
    let kept: String = id.chars().filter(|c| !c.is_control()).take(40).collect();
    alloc::format!("{kept}…{}", digest.get(..16).unwrap_or(&digest)).into()
}

/// The patterns in ascending order: texts, and literals as `{"literal": …}`.
pub(crate) fn targets_to_value(targets: &[RuleTarget]) -> Value {
    let mut patterns: Vec<_> = targets.iter().map(|target| &target.pattern).collect();
    patterns.sort();
    patterns.dedup();
    let value = |pattern: &Pattern| match pattern {
        Pattern::Literal(literal) => object! { "literal": literal.0.to_string() },
        other => Value::from(other.to_string()),
    };
    Value::from(patterns.into_iter().map(value).collect::<Vec<_>>())
}
