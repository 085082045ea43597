//! What a policy says besides rules: budgets, the size of inferences, which modules and host calls WASM tools
//! may use.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use ak_json::{Object, Value};

use crate::budget::Dimension;
use crate::canonical;
use crate::pattern::Glob;

/// Settings of everyone, or of one agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) budgets: BTreeMap<Dimension, u64>,
    pub(crate) infer_max_tokens: Option<u64>,
    pub(crate) wasm_modules: NameList,
    pub(crate) wasm_hostcalls: NameList,
}

/// Names that are allowed, and names that are not.
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
    pub(crate) fn lower_budget(&mut self, dimension: Dimension, limit: u64) {
        let lowest = self.budgets.get(&dimension).map_or(limit, |own| limit.min(*own));
        self.budgets.insert(dimension, lowest);
    }

    pub(crate) fn lower_max_tokens(&mut self, max: u64) {
        self.infer_max_tokens = Some(self.infer_max_tokens.map_or(max, |own| max.min(own)));
    }

    /// Adds what another text says: of two numbers the lower, of two lists what stands in either.
    pub(crate) fn merge(&mut self, other: Settings) {
        for (dimension, limit) in other.budgets {
            self.lower_budget(dimension, limit);
        }
        if let Some(max) = other.infer_max_tokens {
            self.lower_max_tokens(max);
        }
        self.wasm_modules.merge(other.wasm_modules);
        self.wasm_hostcalls.merge(other.wasm_hostcalls);
    }

    /// Inserts the sections in canonical form.
    pub(crate) fn write(&self, object: &mut Object) {
        if !self.budgets.is_empty() {
            let budgets =
                self.budgets.iter().map(|(dimension, limit)| (dimension.as_str(), Value::from(*limit)));
            object.insert("budgets", budgets.collect::<Object>());
        }
        if let Some(max) = self.infer_max_tokens {
            object.insert("infer", ak_json::object! { "max_tokens": max });
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
