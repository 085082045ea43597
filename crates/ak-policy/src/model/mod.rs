//! The model of a policy, which policy texts are read into, and its canonical form.

pub(crate) mod amount;
pub(crate) mod baseline;
pub(crate) mod grant;
pub(crate) mod label;
pub(crate) mod limit;
pub(crate) mod rule;
pub(crate) mod scope;
pub(crate) mod settings;
pub(crate) mod window;

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use ak_json::{Digest, Object, Text, Value};

use crate::canonical;
use grant::{Grant, tables};
use label::LabelRule;
use limit::Limit;
use rule::{Rule, Source, shortened_id};
use settings::Settings;

/// All contents of a policy.
#[derive(Debug, Default)]
pub(crate) struct Model {
    pub(crate) baseline: bool,
    pub(crate) denial_detail_full: bool,
    pub(crate) rules: Vec<Rule>,
    pub(crate) grants: Vec<Grant>,
    pub(crate) limits: Vec<Limit>,
    pub(crate) labels: Vec<LabelRule>,
    pub(crate) everyone: Settings,
    pub(crate) agents: BTreeMap<Text, Settings>,
}

impl Model {
    /// The settings of everyone, or of one agent, to be changed.
    pub(crate) fn settings_of(&mut self, agent: Option<&str>) -> &mut Settings {
        match agent {
            Some(agent) => self.agents.entry(agent.into()).or_default(),
            None => &mut self.everyone,
        }
    }

    /// Sorts everything into canonical order, in which the first rule that applies decides: forbids before asks
    /// before permits, and plain permits before those of a grant. Also merges duplicates and makes ids distinct.
    pub(crate) fn finish(mut self) -> Self {
        if self.baseline {
            self.rules.extend(baseline::rules());
        }
        self.sort_rules();
        self.rules.dedup_by(|a, b| a.id == b.id && a.effect == b.effect && a.body() == b.body());
        if self.assign_distinct_ids() {
            self.sort_rules();
        }
        // Tables with the same name, resource and methods are one grant.
        self.grants.sort_by_key(|grant| grant.id);
        self.grants.dedup_by(|other, grant| {
            let is_same = grant.id == other.id;
            if is_same {
                grant.merge(other);
            }
            is_same
        });
        self.limits.sort_by(|a, b| a.id_text().cmp(b.id_text()));
        self.labels.sort_by_cached_key(|label| label.to_value().to_json());
        self.labels.dedup();
        self
    }

    fn sort_rules(&mut self) {
        self.rules.sort_by_cached_key(|rule| {
            (rule.effect, rule.grant.is_some(), rule.id.clone(), rule.body().to_json())
        });
    }

    /// Gives rules that share an id distinct ids, and returns whether it changed any. A section names its rules by
    /// their text, so two rules can share an id: `./x` in two profiles, or a text that is also the id of a
    /// `[[rule]]`. In canonical form all ids are distinct.
    fn assign_distinct_ids(&mut self) -> bool {
        // An id that is a digest of its rule is distinct already.
        let is_named = |rule: &&mut Rule| rule.source == Source::Written && !rule.id.starts_with("rule:");
        let mut owners: BTreeMap<Text, usize> = BTreeMap::new();
        let limits = self.limits.iter().map(|limit| limit.id_text().clone());
        let rules = self.rules.iter_mut().filter(is_named).map(|rule| rule.id.clone());
        limits.chain(rules).for_each(|id| *owners.entry(id).or_default() += 1);
        let is_shared = |rule: &&mut Rule| owners.get(&rule.id).is_some_and(|owners| *owners > 1);
        let mut any = false;
        for rule in self.rules.iter_mut().filter(is_named).filter(is_shared) {
            let body = rule.body().digest();
            rule.id = shortened_id(&rule.id, Digest::of_parts([rule.id.as_bytes(), body.as_ref()]));
            any = true;
        }
        any
    }

    /// The canonical form, which is itself a policy text in JSON.
    pub(crate) fn to_value(&self) -> Value {
        let mut policy = Object::new();
        if !self.agents.is_empty() {
            let agents = self.agents.iter().map(|(name, settings)| {
                let mut agent = Object::new();
                settings.write(&mut agent);
                (name, Value::Object(agent))
            });
            policy.insert("agent", agents.collect::<Object>());
        }
        if !self.grants.is_empty() {
            policy.insert("capability", tables(&self.grants));
        }
        if self.denial_detail_full {
            policy.insert("denial_detail", "full");
        }
        if !self.labels.is_empty() {
            policy.insert("label", self.labels.iter().map(LabelRule::to_value).collect::<Vec<_>>());
        }
        if !self.limits.is_empty() {
            policy.insert("limit", self.limits.iter().map(|limit| limit.table.clone()).collect::<Vec<_>>());
        }
        let profiles: Vec<Value> = if self.baseline { alloc::vec!["baseline".into()] } else { Vec::new() };
        policy.insert("profiles", profiles);
        let rules: Vec<_> =
            self.rules.iter().filter(|rule| rule.source == Source::Written).map(written).collect();
        if !rules.is_empty() {
            policy.insert("rule", rules);
        }
        policy.insert("version", "1.0");
        self.everyone.write(&mut policy);
        canonical::sorted(&Value::Object(policy))
    }
}

fn written(rule: &Rule) -> Value {
    let mut table = Object::new();
    table.insert("id", rule.id.clone());
    if let Value::Object(body) = rule.body() {
        for (name, value) in body.iter() {
            table.insert(name.clone(), value.clone());
        }
    }
    canonical::sorted(&Value::Object(table))
}
