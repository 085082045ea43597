//! The differences between two policies, as widened or narrowed authority.

use alloc::collections::BTreeSet;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use ak_json::{Text, Value};

use crate::counters::rate::Period;
use crate::model::grant::Grant;
use crate::model::rule::{Effect, Rule, Source};
use crate::model::settings::{Budgets, Settings};
use crate::pattern::Glob;
use crate::policy::Policy;

/// Whether a change of policy widens authority, narrows it or does neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// The change permits more.
    Widens,
    /// The change permits less.
    Narrows,
    /// Other rules have the same effect; or the direction cannot be decided, and [`Change::text`] asks for a
    /// review.
    Neutral,
}

/// One difference between two policies, with its direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Whether the difference widens or narrows authority.
    pub direction: Direction,
    /// A description, in lower case without a full stop.
    pub text: String,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.direction {
            Direction::Widens => '+',
            Direction::Narrows => '-',
            Direction::Neutral => '=',
        };
        write!(f, "{sign} {}", self.text)
    }
}

const BUDGETS: fn(&Settings) -> &Budgets = |settings| &settings.budgets;
const EACH: fn(&Settings) -> &Budgets = |settings| &settings.each;

impl Policy {
    /// The differences when `new` replaces this policy, widening ones first.
    ///
    /// Rules are compared by their content, not by their ids. Takes time proportional to the product of both
    /// numbers of rules.
    pub fn diff(&self, new: &Policy) -> Vec<Change> {
        let mut changes = Vec::new();
        for rule in absent(self, new) {
            let direction =
                if rule.effect == Effect::Permit { Direction::Narrows } else { Direction::Widens };
            changes.push(change(rule, "no longer", direction, new));
        }
        for rule in absent(new, self) {
            let direction =
                if rule.effect == Effect::Permit { Direction::Widens } else { Direction::Narrows };
            changes.push(change(rule, "now", direction, self));
        }
        self.diff_grants(new, &mut changes);
        self.diff_budgets(new, &mut changes);
        self.diff_rest(new, &mut changes);
        changes.sort_by(|a, b| (a.direction, &a.text).cmp(&(b.direction, &b.text)));
        changes
    }

    fn diff_grants(&self, new: &Policy, changes: &mut Vec<Change>) {
        let lacks = |policy: &Policy, grant: &Grant| {
            policy.grant(grant.id()).is_none_or(|other| other.table != grant.table)
        };
        let mut tell = |grant: &Grant, when: &str, direction| {
            changes.push(Change {
                direction,
                text: alloc::format!("{when} granted: {}", grant.table.to_json()),
            });
        };
        self.grants()
            .iter()
            .filter(|grant| lacks(new, grant))
            .for_each(|grant| tell(grant, "no longer", Direction::Narrows));
        new.grants()
            .iter()
            .filter(|grant| lacks(self, grant))
            .for_each(|grant| tell(grant, "now", Direction::Widens));
    }

    fn diff_budgets(&self, new: &Policy, changes: &mut Vec<Change>) {
        let mut agents: Vec<&Text> = self.agents().chain(new.agents()).collect();
        agents.sort();
        agents.dedup();
        for agent in [None].into_iter().chain(agents.into_iter().map(Some)) {
            let whose = agent.map_or(String::new(), |agent| alloc::format!(" of '{agent}'"));
            let (old, new) = (self.settings(agent), new.settings(agent));
            for (kind, of) in [("budget", BUDGETS), ("budget of each", EACH)] {
                let budgets = |settings: Option<&Settings>| settings.map(of).cloned().unwrap_or_default();
                let (old, new) = (budgets(old), budgets(new));
                let mut keys: Vec<_> = old.keys().chain(new.keys()).collect();
                keys.sort();
                keys.dedup();
                for key @ (dimension, per_us) in keys {
                    let per =
                        per_us.map_or(String::new(), |per_us| alloc::format!(" per {}", Period(per_us)));
                    let what = alloc::format!("{kind} {dimension}{per}{whose}");
                    changes.extend(change_of_limit(&what, old.get(key).copied(), new.get(key).copied()));
                }
            }
            let max = |settings: Option<&Settings>| settings?.infer_max_tokens;
            changes.extend(change_of_limit(
                &alloc::format!("tokens of one inference{whose}"),
                max(old),
                max(new),
            ));
            let acts = |settings: Option<&Settings>| {
                let tools = settings.into_iter().flat_map(|settings| &settings.provider_tools);
                let state = settings.is_some_and(|settings| settings.stateful).then(|| "state".into());
                tools.map(Glob::to_string).chain(state).collect::<BTreeSet<String>>()
            };
            let (old, new) = (acts(old), acts(new));
            let change = |name: &String, verb: &str, direction| Change {
                direction,
                text: alloc::format!("{name} at a model's provider{whose} {verb}"),
            };
            changes.extend(new.difference(&old).map(|name| change(name, "is permitted", Direction::Widens)));
            changes.extend(
                old.difference(&new).map(|name| change(name, "is no longer permitted", Direction::Narrows)),
            );
        }
    }

    /// Compares as a whole: limits, labels, `[wasm]`, and the detail of denials.
    fn diff_rest(&self, new: &Policy, changes: &mut Vec<Change>) {
        let part = |policy: &Policy, key: &str| policy.to_value().get(key).map(Value::to_json);
        for key in ["limit", "label", "wasm", "denial_detail"] {
            let (old, new) = (part(self, key), part(new, key));
            if old != new {
                let shown = |value: Option<String>| value.unwrap_or_else(|| "nothing".into());
                let text =
                    alloc::format!("'{key}' was {} and becomes {}; to be reviewed", shown(old), shown(new));
                changes.push(Change { direction: Direction::Neutral, text });
            }
        }
    }
}

/// The rules of one policy that the other does not have, except those of grants.
fn absent<'p>(policy: &'p Policy, other: &Policy) -> impl Iterator<Item = &'p Rule> {
    // A baseline rule does not apply to guests, and some only apply to owned targets, which the body does not say.
    let key = |rule: &Rule| (rule.source == Source::Baseline, rule.body().to_json());
    let known: BTreeSet<(bool, String)> = other.rules().iter().map(key).collect();
    let plain = policy.rules().iter().filter(|rule| rule.source != Source::Capability);
    plain.filter(move |rule| !known.contains(&key(rule)))
}

/// The difference that a new or removed rule makes; neutral when a rule of the other policy covers it.
fn change(rule: &Rule, when: &str, direction: Direction, other: &Policy) -> Change {
    let verb = match rule.effect {
        Effect::Forbid => "forbidden",
        Effect::Ask => "asked about",
        Effect::Permit => "permitted",
    };
    let covered = other.rules().iter().find(|own| own.effect == rule.effect && own.covers(rule));
    let text = alloc::format!("{when} {verb}: '{}' {}", rule.id, rule.body().to_json());
    match covered {
        Some(own) => {
            Change { direction: Direction::Neutral, text: alloc::format!("{text}, as '{}' says too", own.id) }
        }
        None => Change { direction, text },
    }
}

/// The difference that a changed limit makes; `None` (unlimited) is higher than any number.
fn change_of_limit(what: &str, old: Option<u64>, new: Option<u64>) -> Option<Change> {
    if old == new {
        return None;
    }
    let key = |limit: Option<u64>| limit.map_or((1, 0), |limit| (0, limit));
    let shown = |limit: Option<u64>| limit.map_or("unlimited".to_string(), |limit| limit.to_string());
    let direction = if key(new) > key(old) { Direction::Widens } else { Direction::Narrows };
    Some(Change { direction, text: alloc::format!("{what}: {} becomes {}", shown(old), shown(new)) })
}
