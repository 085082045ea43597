//! Settings, the parts of a policy besides rules: budgets, the size of inferences, and which modules and host calls
//! WASM tools may use.

use alloc::collections::BTreeMap;
use alloc::string::ToString;
use alloc::vec::Vec;

use ak_json::{Object, Value};

use crate::budget::Dimension;
use crate::canonical;
use crate::counters::rate::Period;
use crate::pattern::{Glob, PathGlob};

/// Limits by dimension and period in µs (`None` means for ever).
pub(crate) type Budgets = BTreeMap<(Dimension, Option<u64>), u64>;

/// The settings of everyone, or of one agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Limits on what the agent and its descendants use together.
    pub(crate) budgets: Budgets,
    /// Limits on what each of these agents uses by itself.
    pub(crate) each: Budgets,
    /// The pattern of the agents that `each` is for; `None` for the settings of everyone.
    pub(crate) named: Option<PathGlob>,
    pub(crate) infer_max_tokens: Option<u64>,
    /// Patterns over the names of provider tools that requests may use, such as `web_search`.
    pub(crate) provider_tools: Vec<Glob>,
    /// Whether requests may use and leave state at a model provider.
    pub(crate) stateful: bool,
    pub(crate) wasm_modules: NameList,
    pub(crate) wasm_hostcalls: NameList,
}

/// Names that are allowed, and names that are denied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NameList {
    /// `None` allows every name.
    pub(crate) allow: Option<Vec<Glob>>,
    pub(crate) deny: Vec<Glob>,
}

impl NameList {
    pub(crate) fn allows(&self, name: &str) -> bool {
        let matches = |globs: &[Glob]| globs.iter().any(|glob| glob.matches(name));
        self.allow.as_ref().is_none_or(|allow| matches(allow)) && !matches(&self.deny)
    }

    fn merge(&mut self, other: NameList) {
        if let Some(names) = other.allow {
            self.allow.get_or_insert_default().extend(names);
        }
        self.deny.extend(other.deny);
    }
}

impl Settings {
    pub(crate) fn lower_max_tokens(&mut self, max: u64) {
        self.infer_max_tokens = Some(self.infer_max_tokens.map_or(max, |own| max.min(own)));
    }

    /// Merges the settings of another text: the lower of two numbers, the union of two lists.
    pub(crate) fn merge(&mut self, other: Settings) {
        lower(&mut self.budgets, &other.budgets);
        lower(&mut self.each, &other.each);
        self.named = self.named.take().or(other.named);
        if let Some(max) = other.infer_max_tokens {
            self.lower_max_tokens(max);
        }
        self.provider_tools.extend(other.provider_tools);
        self.stateful |= other.stateful;
        self.wasm_modules.merge(other.wasm_modules);
        self.wasm_hostcalls.merge(other.wasm_hostcalls);
    }

    /// Inserts the settings as sections in canonical form.
    pub(crate) fn write(&self, object: &mut Object) {
        let mut budgets = budgets_to_value(&self.budgets);
        if !self.each.is_empty() {
            budgets.insert("each", budgets_to_value(&self.each));
        }
        if !budgets.is_empty() {
            object.insert("budgets", budgets);
        }
        let mut infer = Object::new();
        if let Some(max) = self.infer_max_tokens {
            infer.insert("max_tokens", max);
        }
        if !self.provider_tools.is_empty() {
            infer.insert("provider_tools", canonical::set(&self.provider_tools));
        }
        if self.stateful {
            infer.insert("stateful", true);
        }
        if !infer.is_empty() {
            object.insert("infer", infer);
        }
        let mut wasm = Object::new();
        if let Some(names) = &self.wasm_modules.allow {
            wasm.insert("modules", canonical::set(names));
        }
        if let Some(names) = &self.wasm_hostcalls.allow {
            wasm.insert("hostcalls", canonical::set(names));
        }
        if !self.wasm_modules.deny.is_empty() {
            wasm.insert("deny", canonical::set(&self.wasm_modules.deny));
        }
        if !wasm.is_empty() {
            object.insert("wasm", wasm);
        }
    }
}

/// Adds limits; of two limits on one dimension and period the lower counts.
pub(crate) fn lower(budgets: &mut Budgets, others: &Budgets) {
    for (key, max) in others {
        let own = budgets.entry(*key).or_insert(*max);
        *own = (*own).min(*max);
    }
}

/// The limits as a `[budgets]` table holds them: for each dimension a number, a table with a period, or a list.
fn budgets_to_value(budgets: &Budgets) -> Object {
    let mut object = Object::new();
    for dimension in Dimension::ALL {
        let own = budgets.range((dimension, None)..=(dimension, Some(u64::MAX)));
        let mut limits: Vec<Value> = own
            .map(|((_, per_us), max)| match per_us {
                None => Value::from(*max),
                Some(per_us) => ak_json::object! { "max": *max, "per": Period(*per_us).to_string() },
            })
            .collect();
        match limits.len() {
            0 => {}
            1 => drop(object.insert(dimension.as_str(), limits.pop())),
            _ => drop(object.insert(dimension.as_str(), limits)),
        }
    }
    object
}
