//! Lints: warnings about rules that are shadowed, redundant, over-broad or unreliable.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::action::{Action, Actions};
use crate::agent::is_guest;
use crate::condition::{Condition, FormatPattern, Test};
use crate::model::rule::{Effect, Rule, Source};
use crate::pattern::{EndpointPattern, Glob, HostPattern, PathGlob, Pattern};
use crate::policy::Policy;

/// A warning about one rule of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lint {
    /// The id of the rule.
    pub rule_id: String,
    /// The check that found it.
    pub kind: LintKind,
    /// The warning in one sentence, in lower case without a full stop.
    pub text: String,
}

/// The kinds of [`Lint`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LintKind {
    /// A stronger rule always decides before the rule.
    Shadowed,
    /// Another rule with the same effect applies whenever the rule does.
    Redundant,
    /// The rule permits more than its author can have intended.
    Broad,
    /// The rule matches the text of a program (SQL, shell), which does not determine what the program does.
    Text,
    /// The rule matches a URL as text, not as a URL.
    LooseUrl,
}

impl fmt::Display for Lint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}': {}", self.rule_id, self.text)
    }
}

impl Policy {
    /// Looks for rules that are shadowed, redundant or over-broad, and for conditions that cannot guarantee what
    /// they seem to.
    ///
    /// Takes time quadratic in the number of rules.
    pub fn lint(&self) -> Vec<Lint> {
        let mut lints = Vec::new();
        for rule in self.rules().iter().filter(|rule| rule.source != Source::Baseline) {
            let mut lint = |kind, text| lints.push(Lint { rule_id: rule.id.as_str().into(), kind, text });
            if let Some((kind, text)) = self.find_covering(rule) {
                lint(kind, text);
            }
            if rule.effect == Effect::Permit {
                rule.targets.iter().filter_map(|target| why_broad(rule, &target.pattern)).for_each(|text| {
                    lint(LintKind::Broad, text.into());
                });
            }
            for condition in [&rule.when, &rule.unless].into_iter().flatten() {
                lint_condition(condition).into_iter().for_each(|(kind, text)| lint(kind, text));
            }
        }
        lints
    }

    fn find_covering(&self, rule: &Rule) -> Option<(LintKind, String)> {
        let stronger = |other: &&Rule| other.effect < rule.effect && other.covers(rule);
        if let Some(other) = self.rules().iter().find(stronger) {
            let text =
                alloc::format!("never applies, since {} '{}' decides before it", other.effect, other.id);
            return Some((LintKind::Shadowed, text));
        }
        // Of two equivalent rules only the one with the greater id is reported.
        let earlier = |other: &Rule| !rule.covers(other) || other.id < rule.id;
        let same = |other: &&Rule| {
            let distinct = other.id != rule.id && other.effect == rule.effect && other.grant.is_none();
            distinct && other.covers(rule) && earlier(other)
        };
        let other = self.rules().iter().find(same)?;
        Some((LintKind::Redundant, alloc::format!("says nothing that '{}' does not say", other.id)))
    }
}

impl Rule {
    /// Whether this rule applies to every request that `other` applies to; `false` when that cannot be decided.
    pub(crate) fn covers(&self, other: &Rule) -> bool {
        let unconditional = self.windows.is_empty()
            && self.when.is_none()
            && self.unless.is_none()
            && self.only.is_none()
            && self.grant.is_none();
        let agents = self.agents.is_empty() || {
            let named = |agent: &PathGlob| self.agents.iter().any(|own| own.covers(agent));
            !other.agents.is_empty() && other.agents.iter().all(named)
        };
        let targets = other.targets.iter().all(|target| {
            let kinds = other.actions.iter().filter(|action| target.pattern.fits(action.kind()));
            let fits: Vec<_> = kinds.map(Action::kind).collect();
            self.targets
                .iter()
                .any(|own| own.pattern.covers(&target.pattern) && fits.iter().all(|k| own.pattern.fits(*k)))
        });
        let actions = self.actions.intersection(other.actions) == other.actions;
        let conditions = unconditional || self.body() == other.body();
        // Baseline rules do not apply to guests.
        let is_no_guest = |agent: &PathGlob| agent.as_literal().is_some_and(|name| !is_guest(name));
        let agents = agents
            && (self.source != Source::Baseline
                || other.source == Source::Baseline
                || !other.agents.is_empty() && other.agents.iter().all(is_no_guest));
        conditions && (!self.owned || other.owned) && agents && actions && targets
    }
}

/// Why a permit's pattern is too broad; `None` when it is not.
fn why_broad(rule: &Rule, pattern: &Pattern) -> Option<&'static str> {
    let narrowed = rule.when.is_some() || rule.only.is_some();
    let has = |text: &str| Actions::parse(text).is_some_and(|own| !own.intersection(rule.actions).is_empty());
    match pattern {
        Pattern::Any if rule.actions.iter().count() > 1 => Some("permits several operations on everything"),
        Pattern::Any | Pattern::UrlAny if has("http.*") => Some("permits requests to every host"),
        Pattern::Any if has("connect") => Some("permits connections to every host"),
        Pattern::Any if has("execute") && !narrowed => Some("permits every tool, those to come among them"),
        Pattern::Tool(glob, None) if glob.is_any() && !narrowed => {
            Some("permits every tool, those to come among them")
        }
        Pattern::Path(glob) if *glob == PathGlob::deep() && has("fs.write") => {
            Some("permits to write every file")
        }
        Pattern::Path(glob) if *glob == PathGlob::deep() => Some("permits to read every file"),
        Pattern::Url(url) if url.is_any_host() => {
            Some("permits requests to every host: data can be sent anywhere")
        }
        Pattern::Endpoint(EndpointPattern::Host(HostPattern::Any, _)) => {
            Some("permits connections to every host")
        }
        Pattern::Endpoint(EndpointPattern::Net(range, _)) if range.is_vast() => {
            Some("permits connections to a large part of all addresses")
        }
        Pattern::Any
        | Pattern::UrlAny
        | Pattern::Path(_)
        | Pattern::Url(_)
        | Pattern::Host(_)
        | Pattern::Endpoint(_)
        | Pattern::Tool(..)
        | Pattern::Model(_)
        | Pattern::Agent(_)
        | Pattern::Heap(_)
        | Pattern::HeapAny
        | Pattern::Type(_)
        | Pattern::Audit(_)
        | Pattern::Literal(_) => None,
    }
}

/// Names of arguments that usually hold programs as text.
const PROGRAMS: [&str; 9] =
    ["sql", "query", "statement", "command", "cmd", "shell", "script", "code", "expression"];

fn lint_condition(condition: &Condition) -> Vec<(LintKind, String)> {
    let mut lints = Vec::new();
    for constraint in &condition.args {
        let pointer = constraint.selector.to_text();
        let name = pointer.rsplit('/').find(|token| *token != "*").unwrap_or_default().to_ascii_lowercase();
        let looks = constraint.tests.iter().any(|test| matches!(test, Test::Matches(_) | Test::Starts(_)));
        if looks && PROGRAMS.contains(&name.as_str()) {
            let text = alloc::format!(
                "'{pointer}' is a program: what it does cannot be told from how its text looks"
            );
            lints.push((LintKind::Text, text));
        }
        let loose =
            |pattern: &FormatPattern| matches!(pattern, FormatPattern::Text(glob) if names_a_scheme(glob));
        let urls = constraint.tests.iter().any(|test| match test {
            Test::Matches(patterns) => patterns.iter().any(loose),
            Test::Starts(prefixes) => prefixes.iter().any(|prefix| prefix.contains("://")),
            _ => false,
        });
        if urls {
            let text = alloc::format!(
                "'{pointer}' is matched as text: say format = \"url\", so that one URL is meant"
            );
            lints.push((LintKind::LooseUrl, text));
        }
    }
    lints
}

fn names_a_scheme(glob: &Glob) -> bool {
    glob.head().contains("://")
}
