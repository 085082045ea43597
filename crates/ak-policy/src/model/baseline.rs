//! The built-in profile `baseline`, which permits nothing that reaches outside the kernel.

use alloc::vec::Vec;

use crate::action::{Action, Actions};
use crate::model::rule::{Effect, Rule, Source};
use crate::pattern::{Glob, Pattern};

/// The tools without side effects that are shipped with the kernel.
const PURE_TOOLS: [&str; 2] = ["add", "concat"];

/// The rules of the profile: an agent's own heap objects, its own audit entries, and the pure tools.
pub(crate) fn rules() -> Vec<Rule> {
    let rule = |id: &str, actions: &[Action], patterns: Vec<Pattern>, owned: bool| {
        let mut rule =
            Rule::new(id.into(), Effect::Permit, actions.iter().copied().collect::<Actions>(), patterns);
        rule.owned = owned;
        rule.source = Source::Baseline;
        rule
    };
    let any = || alloc::vec![Pattern::Any];
    let tools = PURE_TOOLS.iter().map(|name| Pattern::Tool(Glob::literal(name), None)).collect();
    alloc::vec![
        rule("baseline:heap.new", &[Action::HeapAlloc, Action::HeapQuery], any(), false),
        rule("baseline:heap.own", &[Action::HeapRead, Action::HeapWrite, Action::HeapDelete], any(), true),
        rule("baseline:audit.log", &[Action::AuditLog], any(), false),
        rule("baseline:audit.own", &[Action::AuditRead], any(), true),
        rule("baseline:tools", &[Action::Execute], tools, false),
    ]
}
