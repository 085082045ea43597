//! A compiled policy.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use ak_json::{Digest, Text, Value};

use crate::action::Action;
use crate::agent::{MAIN, lineage};
use crate::budget::{BudgetLimit, Dimension};
use crate::index::Index;
use crate::language::{self, Loader, PolicyError};
use crate::model::Model;
use crate::model::grant::Grant;
use crate::model::label::{SourceLabels, labels_of};
use crate::model::limit::{Charge, Limit, LimitError};
use crate::model::rule::{Effect, Rule};
use crate::model::settings::{Budgets, Settings, lower};
use crate::pattern::Meter;
use crate::query::Query;
use crate::target::Target;

/// A compiled policy, which says what agents may do: immutable and cheap to clone.
#[derive(Clone)]
pub struct Policy(Arc<Compiled>);

struct Compiled {
    model: Model,
    index: Index,
    canonical: Value,
}

impl Policy {
    /// Reads a policy: JSON when its first character other than white space is `{`, TOML otherwise.
    ///
    /// `base_dir` is the absolute directory that `./` in patterns stands for; without it such patterns are
    /// rejected. Profiles that are not built in are rejected; see [`parse_with`](Self::parse_with).
    ///
    /// # Errors
    /// [`PolicyError`] with line, column and, where one can be guessed, a suggestion. A text with an error is
    /// rejected as a whole.
    pub fn parse(text: &str, base_dir: Option<&str>) -> Result<Policy, PolicyError> {
        language::read(text, base_dir, None).map(Self::compile)
    }

    /// Reads a policy and the profiles that it includes.
    ///
    /// # Errors
    /// As [`parse`](Self::parse); also when a profile cannot be read, or includes itself.
    pub fn parse_with(
        text: &str,
        base_dir: Option<&str>,
        loader: &dyn Loader,
    ) -> Result<Policy, PolicyError> {
        language::read(text, base_dir, Some(loader)).map(Self::compile)
    }

    /// Reads the value that [`to_value`](Self::to_value) returned. It may be longer than a text that
    /// [`parse`](Self::parse) accepts, because the canonical form writes sections out as rules.
    ///
    /// # Errors
    /// [`PolicyError`] when the value is not a policy; line and column are those of its JSON text.
    pub fn from_value(value: &Value) -> Result<Policy, PolicyError> {
        language::read_value(value).map(Self::compile)
    }

    /// The built-in profile: an agent's own heap objects and audit entries and the pure tools, and nothing that
    /// reaches outside the kernel.
    pub fn baseline() -> Policy {
        Self::compile(Model { baseline: true, ..Model::default() })
    }

    /// The policy that permits nothing.
    pub fn deny_all() -> Policy {
        Self::compile(Model::default())
    }

    fn compile(model: Model) -> Policy {
        let model = model.finish();
        let index = Index::build(&model.rules);
        let canonical = model.to_value();
        Self(Arc::new(Compiled { model, index, canonical }))
    }

    /// The policy in canonical form: a policy in JSON with the same meaning, independent of the text's order,
    /// comments and sections.
    pub fn to_value(&self) -> &Value {
        &self.0.canonical
    }

    /// The digest of the canonical form.
    pub fn digest(&self) -> Digest {
        self.0.canonical.digest()
    }

    /// The grants, in ascending order of their ids.
    pub fn grants(&self) -> &[Grant] {
        &self.0.model.grants
    }

    /// The budget limits of exactly this agent's account, in the order of the dimensions; of two on the same
    /// dimension, period and scope the lower.
    ///
    /// Limits on what the agent and all its descendants use together: those of its own `budgets`; for `main`, the
    /// ancestor of all agents, also those of `[budgets]`. Limits on what the agent uses by itself
    /// ([`BudgetLimit::each`]): those of `budgets.each` for everyone and for every name or pattern that matches the
    /// agent or an ancestor; and, for all agents except `main`, also those of `[budgets]`.
    pub fn budget_limits(&self, agent: &str) -> Vec<(Dimension, BudgetLimit)> {
        let Model { everyone, agents, .. } = &self.0.model;
        let (mut pool, mut each) = (Budgets::new(), everyone.each.clone());
        lower(if agent == MAIN { &mut pool } else { &mut each }, &everyone.budgets);
        if let Some(own) = agents.get(agent) {
            lower(&mut pool, &own.budgets);
        }
        for (name, settings) in agents.iter().filter(|(_, settings)| !settings.each.is_empty()) {
            let names = |agent: &str| settings.named.as_ref().is_some_and(|named| named.matches(agent));
            if &**name == MAIN || lineage(agent).any(names) {
                lower(&mut each, &settings.each);
            }
        }
        let limits = |budgets: Budgets, each| {
            budgets
                .into_iter()
                .map(move |((dimension, per_us), max)| (dimension, BudgetLimit { each, per_us, max }))
        };
        let mut limits: Vec<_> = limits(pool, false).chain(limits(each, true)).collect();
        limits.sort();
        limits
    }

    /// The most tokens that one inference of any agent may request; `None` means no limit.
    pub fn infer_max_tokens(&self) -> Option<u64> {
        self.0.model.everyone.infer_max_tokens
    }

    /// The most tokens that one inference of this agent may request: the lowest limit of everyone, the agent and
    /// its ancestors. `None` means no limit.
    pub fn infer_max_tokens_of(&self, agent: &str) -> Option<u64> {
        self.settings_of(agent).filter_map(|settings| settings.infer_max_tokens).min()
    }

    /// Whether a model's provider may use this tool, such as `web_search`, on behalf of an agent. It may only when
    /// `[infer] provider_tools` names the tool, for everyone or for the outermost of the agent and its ancestors: a
    /// descendant may not use a tool that its outermost ancestor may not.
    pub fn permits_provider_tool(&self, agent: &str, name: &str) -> bool {
        self.outermost(agent).any(|settings| settings.provider_tools.iter().any(|glob| glob.matches(name)))
    }

    /// Whether an agent's requests to models may use and leave state at the provider: `[infer] stateful`, set as
    /// for [`permits_provider_tool`](Self::permits_provider_tool).
    pub fn permits_provider_state(&self, agent: &str) -> bool {
        self.outermost(agent).any(|settings| settings.stateful)
    }

    /// The settings of everyone, and of the outermost of an agent and its ancestors.
    fn outermost(&self, agent: &str) -> impl Iterator<Item = &Settings> {
        let first = lineage(agent).next().and_then(|name| self.0.model.agents.get(name));
        [&self.0.model.everyone].into_iter().chain(first)
    }

    /// Whether an agent may run this WASM module. It may unless a `[wasm]` section restricts modules.
    pub fn wasm_module_allowed(&self, agent: &str, module: &str) -> bool {
        self.settings_of(agent).all(|settings| settings.wasm_modules.allows(module))
    }

    /// Whether a WASM module that an agent runs may make this host call. It may unless a `[wasm]` section restricts
    /// host calls.
    pub fn wasm_hostcall_allowed(&self, agent: &str, hostcall: &str) -> bool {
        self.settings_of(agent).all(|settings| settings.wasm_hostcalls.allows(hostcall))
    }

    /// The root directories of all permits and asks over files, for any agent, without duplicates.
    pub fn granted_roots(&self) -> alloc::collections::BTreeSet<&str> {
        let granting = self.rules().iter().filter(|rule| rule.effect != Effect::Forbid);
        granting.flat_map(|rule| &rule.targets).filter_map(|target| target.root.as_deref()).collect()
    }

    /// The root directories of all permits and asks that include `fs.write`, for any agent, without duplicates.
    pub fn written_roots(&self) -> alloc::collections::BTreeSet<&str> {
        let writing = |rule: &&Rule| rule.effect != Effect::Forbid && rule.actions.contains(Action::FsWrite);
        let granting = self.rules().iter().filter(writing);
        granting.flat_map(|rule| &rule.targets).filter_map(|target| target.root.as_deref()).collect()
    }

    /// Whether a written rule may permit an agent to read heap objects of others. Without such a rule only the
    /// owner can.
    pub fn may_permit_others_objects(&self) -> bool {
        let others = |rule: &Rule| {
            rule.effect == Effect::Permit && rule.actions.contains(Action::HeapRead) && !rule.owned
        };
        self.rules().iter().any(others)
    }

    /// Whether agents are told why a request was denied (`denial_detail = "full"`).
    pub fn denial_detail_full(&self) -> bool {
        self.0.model.denial_detail_full
    }

    /// What a request adds to the cumulative limits that apply to it. `amounts` are the budget amounts reserved for
    /// the request; limits on `usage:…` count these.
    ///
    /// # Errors
    /// [`LimitError::NotAnAmount`] when a limit cannot determine what the request adds to it;
    /// [`LimitError::TooManySteps`] when finding the limits that apply takes too many steps.
    pub fn charges(
        &self,
        query: &Query<'_>,
        amounts: &[(Dimension, u64)],
    ) -> Result<Vec<Charge>, LimitError> {
        let meter = query.meter();
        let charges = self.charges_within(query, amounts, &meter);
        meter.settle(query.steps);
        // A limit that was not examined might be exceeded.
        if meter.is_spent() { Err(LimitError::TooManySteps) } else { charges }
    }

    fn charges_within(
        &self,
        query: &Query<'_>,
        amounts: &[(Dimension, u64)],
        meter: &Meter,
    ) -> Result<Vec<Charge>, LimitError> {
        let mut charges = Vec::new();
        for limit in &self.0.model.limits {
            if !meter.take(1) {
                break;
            }
            if !limit.scope.matches_within(query.action, query.target, meter) {
                continue;
            }
            let is_about = |agent: &&str| limit.scope.applies(query.rule_context(agent, meter)).is_ok();
            let agents: Vec<_> = lineage(query.agent).filter(is_about).collect();
            if !agents.is_empty() {
                charges.extend(limit.charges(query.args, amounts, &agents, meter)?);
            }
        }
        Ok(charges)
    }

    /// Whether a limit counts usage of a budget, such as `sum = "usage:tokens"`.
    pub fn limits_usage(&self) -> bool {
        self.0.model.limits.iter().any(Limit::is_of_usage)
    }

    pub(crate) fn limits(&self) -> &[Limit] {
        &self.0.model.limits
    }

    /// Whether the policy has a `[[label]]`.
    pub fn labels_sources(&self) -> bool {
        !self.0.model.labels.is_empty()
    }

    /// The labels of results from a source: a tool, a URL, a file, a model or an agent.
    pub fn labels_of(&self, source: &Target) -> SourceLabels {
        labels_of(&self.0.model.labels, source)
    }

    /// The agents that have settings of their own.
    pub(crate) fn agents(&self) -> impl Iterator<Item = &Text> {
        self.0.model.agents.keys()
    }

    /// The settings of everyone, or of one agent.
    pub(crate) fn settings(&self, agent: Option<&Text>) -> Option<&Settings> {
        match agent {
            Some(agent) => self.0.model.agents.get(agent),
            None => Some(&self.0.model.everyone),
        }
    }

    /// The settings of everyone, of the agent, and of its ancestors.
    fn settings_of(&self, agent: &str) -> impl Iterator<Item = &Settings> {
        let named = lineage(agent).filter_map(|name| self.0.model.agents.get(name));
        [&self.0.model.everyone].into_iter().chain(named)
    }

    pub(crate) fn rules(&self) -> &[Rule] {
        &self.0.model.rules
    }

    pub(crate) fn index(&self) -> &Index {
        &self.0.index
    }
}

impl PartialEq for Policy {
    /// Whether both have the same canonical form.
    fn eq(&self, other: &Self) -> bool {
        self.digest() == other.digest()
    }
}

impl Eq for Policy {}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Policy").field(&self.digest()).finish()
    }
}
