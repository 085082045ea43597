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

/// What agents may do: immutable, compiled once, cheap to clone.
#[derive(Clone)]
pub struct Policy(Arc<Compiled>);

struct Compiled {
    model: Model,
    index: Index,
    canonical: Value,
}

impl Policy {
    /// Reads a policy: JSON when its first character is `{`, TOML otherwise.
    ///
    /// `base_dir` is the absolute directory that `./` stands for; without one such patterns are refused.
    /// Profiles that are not built in are refused; see [`parse_with`](Self::parse_with).
    ///
    /// # Errors
    /// [`PolicyError`] with line, column and, where it can be guessed, what was meant. Nothing is read in
    /// part.
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

    /// The policy that [`to_value`](Self::to_value) gave, which may be longer than a text that
    /// [`parse`](Self::parse) takes: its sections are written out.
    ///
    /// # Errors
    /// [`PolicyError`] when the value is no policy; line and column are those of its JSON.
    pub fn from_value(value: &Value) -> Result<Policy, PolicyError> {
        language::read_value(value).map(Self::compile)
    }

    /// The built-in profile: one's own heap objects and audit entries and the pure tools; nothing that
    /// reaches outside.
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

    /// The policy in canonical form: a policy in JSON that says the same, whatever order, comments and
    /// sections the text had.
    pub fn to_value(&self) -> &Value {
        &self.0.canonical
    }

    /// The digest of the canonical form.
    pub fn digest(&self) -> Digest {
        self.0.canonical.digest()
    }

    /// The grants, in the order of their identities.
    pub fn grants(&self) -> &[Grant] {
        &self.0.model.grants
    }

    /// The limits of the account of exactly this agent, in the order of the dimensions; of two on the same the
    /// lower.
    ///
    /// On what the agent and all below it use: what its own `budgets` say; for `main`, below which everybody is,
    /// also what `[budgets]` says. On what the agent itself uses ([`BudgetLimit::each`]): what `budgets.each` says
    /// of everybody, and of every name or pattern that is the agent's or an ancestor's; and, for everybody but
    /// `main`, what `[budgets]` says.
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

    /// The most tokens that one inference may ask for.
    pub fn infer_max_tokens(&self) -> Option<u64> {
        self.0.model.everyone.infer_max_tokens
    }

    /// The most tokens that one inference of this agent may ask for: the lowest that is said of it and its
    /// ancestors.
    pub fn infer_max_tokens_of(&self, agent: &str) -> Option<u64> {
        self.settings_of(agent).filter_map(|settings| settings.infer_max_tokens).min()
    }

    /// Whether a model's provider may act on behalf of an agent by this means, such as `web_search`. Nothing may unless
    /// `[infer] provider_tools` names it, for everybody or for the outermost of the agent and its ancestors: what an
    /// ancestor may not, none below it may.
    pub fn permits_provider_tool(&self, agent: &str, name: &str) -> bool {
        self.outermost(agent).any(|settings| settings.provider_tools.iter().any(|glob| glob.matches(name)))
    }

    /// Whether an agent's requests to models may use and leave state at the provider: `[infer] stateful`, said as for
    /// [`permits_provider_tool`](Self::permits_provider_tool).
    pub fn permits_provider_state(&self, agent: &str) -> bool {
        self.outermost(agent).any(|settings| settings.stateful)
    }

    /// Settings of everyone, and of the outermost of an agent and its ancestors.
    fn outermost(&self, agent: &str) -> impl Iterator<Item = &Settings> {
        let first = lineage(agent).next().and_then(|name| self.0.model.agents.get(name));
        [&self.0.model.everyone].into_iter().chain(first)
    }

    /// Whether an agent may run this WASM module. It may as long as no `[wasm]` says otherwise.
    pub fn wasm_module_allowed(&self, agent: &str, module: &str) -> bool {
        self.settings_of(agent).all(|settings| settings.wasm_modules.allows(module))
    }

    /// Whether a WASM module that an agent runs may make this host call.
    pub fn wasm_hostcall_allowed(&self, agent: &str, hostcall: &str) -> bool {
        self.settings_of(agent).all(|settings| settings.wasm_hostcalls.allows(hostcall))
    }

    /// The directories beneath which files are granted to anybody, each once: the roots of permits and of asks.
    pub fn granted_roots(&self) -> alloc::collections::BTreeSet<&str> {
        let granting = self.rules().iter().filter(|rule| rule.effect != Effect::Forbid);
        granting.flat_map(|rule| &rule.targets).filter_map(|target| target.root.as_deref()).collect()
    }

    /// The granted directories beneath which an agent may write.
    pub fn written_roots(&self) -> alloc::collections::BTreeSet<&str> {
        let writing = |rule: &&Rule| rule.effect != Effect::Forbid && rule.actions.contains(Action::FsWrite);
        let granting = self.rules().iter().filter(writing);
        granting.flat_map(|rule| &rule.targets).filter_map(|target| target.root.as_deref()).collect()
    }

    /// Whether a written rule permits an agent to read heap objects of others. Without one only the owner can.
    pub fn may_permit_others_objects(&self) -> bool {
        let others = |rule: &Rule| {
            rule.effect == Effect::Permit && rule.actions.contains(Action::HeapRead) && !rule.owned
        };
        self.rules().iter().any(others)
    }

    /// Whether agents are told why they were denied (`denial_detail = "full"`).
    pub fn denial_detail_full(&self) -> bool {
        self.0.model.denial_detail_full
    }

    /// What a request adds to the cumulative limits that it falls under. `amounts` is what is set aside for it of
    /// the budgets, of which limits on `usage:…` take theirs.
    ///
    /// # Errors
    /// [`LimitError::NotAnAmount`] when a limit cannot tell what the request adds to it; [`LimitError::TooManySteps`] when
    /// it takes too long to tell which limits there are.
    pub fn charges(
        &self,
        query: &Query<'_>,
        amounts: &[(Dimension, u64)],
    ) -> Result<Vec<Charge>, LimitError> {
        let meter = query.meter();
        let charges = self.charges_within(query, amounts, &meter);
        meter.settle(query.steps);
        // A limit that was not looked at may be exceeded.
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

    /// Whether a limit counts what is used of a budget, such as `sum = "usage:tokens"`.
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

    /// The labels of results from a source: a tool, a URL, a file, a model, an agent.
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

    /// Settings of everyone, of the agent, and of its ancestors.
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
    /// Whether both say the same.
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
