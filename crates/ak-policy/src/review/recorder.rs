//! Drafts a policy from the requests of a run.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::action::Actions;
use crate::pattern::PathGlob;
use crate::policy::Policy;
use crate::query::Query;
use crate::toml_text::Quoted;

/// Collects requests and writes the least policy that permits them, with every target literal. The policy is a
/// draft for people to review, and to generalise where they mean more.
///
/// ```
/// use ak_policy::{Action, Query, Recorder, Target};
/// let mut recorder = Recorder::default();
/// recorder.note(&Query::new("main", Action::FsRead, &Target::path("/app/data.csv")?));
/// assert!(recorder.to_toml().contains(r#"{ literal = "/app/data.csv" }"#));
/// # Ok::<(), ak_policy::TargetError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Recorder {
    /// The actions on each target, by agent and target.
    needed: BTreeMap<(String, String), Actions>,
}

impl Recorder {
    /// Records a request, whatever the decision on it was; a request that the baseline permits needs no rule.
    pub fn note(&mut self, query: &Query<'_>) {
        let baseline = Policy::baseline();
        if query.action.kind() != query.target.kind() || baseline.decide(query).decision.is_permit() {
            return;
        }
        // Every ancestor must be permitted the same.
        for agent in crate::agent::lineage(query.agent) {
            let actions = self.needed.entry((agent.into(), query.target.to_string())).or_default();
            *actions = actions.union(Actions::of(query.action));
        }
    }

    /// The policy in TOML, with one rule for each agent and set of operations.
    pub fn to_toml(&self) -> String {
        let mut rules: BTreeMap<(&str, Actions), BTreeSet<&str>> = BTreeMap::new();
        for ((agent, target), actions) in &self.needed {
            // Operations that a listed one covers are not listed.
            rules.entry((agent, *actions)).or_default().insert(target);
        }
        let mut text = String::from("version = \"1.0\"\nprofiles = [\"baseline\"]\n");
        for ((agent, actions), targets) in rules {
            let operations: Vec<_> = actions.names().map(|name| Quoted(name).to_string()).collect();
            let targets: Vec<_> = targets
                .iter()
                .map(|target| alloc::format!("    {{ literal = {} }},\n", Quoted(target)))
                .collect();
            text.push_str(&alloc::format!(
                "\n[[rule]]\neffect = \"permit\"\noperation = [{}]\nagent = {}\ntarget = [\n{}]\n",
                operations.join(", "),
                Quoted(&PathGlob::literal(agent).to_string()),
                targets.concat(),
            ));
        }
        text
    }
}
