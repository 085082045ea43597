//! Lints: warnings about rules that are shadowed, redundant, over-broad or unreliable.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::net::{Ipv4Addr, Ipv6Addr};

use ak_json::{Value, object};

use crate::action::{Action, Actions};
use crate::agent::is_guest;
use crate::condition::{Condition, Constraint, FormatPattern, Test};
use crate::model::rule::{Effect, Rule, Source};
use crate::pattern::{EndpointPattern, Glob, HostPattern, PathGlob, Pattern, Reading};
use crate::policy::Policy;
use crate::target::Target;

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
    /// Another permit applies whenever the rule does, without the rule's conditions: they restrict nothing.
    Bypassed,
    /// The permit tests some arguments of a tool and leaves all others free, for want of `only`.
    OpenArguments,
    /// The rule asks about requests that no rule permits, so that an approval permits by itself.
    Widening,
    /// The path of a URL looks like the prefix length of an address range.
    AddressRange,
    /// The schema of a registered tool rules the condition out: it never holds.
    Unmeetable,
    /// The rule permits more than its author can have intended.
    Broad,
    /// The rule matches the text of a program (SQL, shell), which does not determine what the program does.
    Text,
    /// The rule matches a URL as text, not as a URL.
    LooseUrl,
}

impl LintKind {
    /// Every kind.
    pub const ALL: [LintKind; 10] = [
        Self::Shadowed,
        Self::Redundant,
        Self::Bypassed,
        Self::OpenArguments,
        Self::Widening,
        Self::AddressRange,
        Self::Unmeetable,
        Self::Broad,
        Self::Text,
        Self::LooseUrl,
    ];

    /// The kind's name: `shadowed`, `open_arguments`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Shadowed => "shadowed",
            Self::Redundant => "redundant",
            Self::Bypassed => "bypassed",
            Self::OpenArguments => "open_arguments",
            Self::Widening => "widening",
            Self::AddressRange => "address_range",
            Self::Unmeetable => "unmeetable",
            Self::Broad => "broad",
            Self::Text => "text",
            Self::LooseUrl => "loose_url",
        }
    }
}

/// The most rules that are compared with each other: the time of this is quadratic. Of a policy with more, the lints that take
/// one rule to find are given.
pub const LINT_COMPARED_RULES_MAX: usize = 1_000;

impl Lint {
    /// The lint as JSON: `rule_id`, `kind`, `text`.
    pub fn to_value(&self) -> Value {
        object! { "rule_id": self.rule_id.as_str(), "kind": self.kind.as_str(), "text": self.text.as_str() }
    }

    /// Reads what [`to_value`](Self::to_value) gave; `None` for anything else.
    pub fn from_value(value: &Value) -> Option<Lint> {
        let text = |name| value.get(name).and_then(Value::as_str);
        let kind = LintKind::ALL.into_iter().find(|kind| Some(kind.as_str()) == text("kind"))?;
        Some(Lint { rule_id: text("rule_id")?.into(), kind, text: text("text")?.into() })
    }
}

impl fmt::Display for Lint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}': {}", self.rule_id, self.text)
    }
}

impl Policy {
    /// Looks for rules that are shadowed, redundant, bypassed or over-broad, for asks that widen, and for conditions that cannot
    /// guarantee what they seem to.
    ///
    /// Takes time quadratic in the number of rules, up to [`LINT_COMPARED_RULES_MAX`] of them.
    pub fn lint(&self) -> Vec<Lint> {
        let written = self.rules().iter().filter(|rule| rule.source != Source::Baseline);
        written.flat_map(|rule| self.lints_of(rule)).collect()
    }

    /// The lints about the rule with this id. Takes time linear in the number of rules.
    pub fn lint_rule(&self, rule_id: &str) -> Vec<Lint> {
        let named = |rule: &&Rule| rule.source != Source::Baseline && *rule.id == *rule_id;
        self.rules().iter().filter(named).flat_map(|rule| self.lints_of(rule)).collect()
    }

    /// Looks for conditions on arguments that no call of a registered tool can meet: each tool with the JSON Schema of its
    /// arguments.
    pub fn lint_tools<'t>(&self, tools: impl Iterator<Item = (&'t str, &'t Value)> + Clone) -> Vec<Lint> {
        let mut lints = Vec::new();
        let about_tools = self.rules().iter().filter(|rule| rule.actions.contains(Action::Execute));
        for rule in about_tools.filter(|rule| rule.source != Source::Baseline) {
            let conditions =
                [&rule.when, &rule.unless].into_iter().flatten().flat_map(|condition| &condition.args);
            for constraint in conditions {
                let matched = tools.clone().filter(|(name, _)| names_tool(rule, name));
                let misfits: Vec<_> =
                    matched.map(|(name, schema)| (name, misfit(constraint, schema))).collect();
                // A rule about several tools may mean one of them.
                if let Some((tool, Some(text))) = misfits.first()
                    && misfits.iter().all(|(_, misfit)| misfit.is_some())
                {
                    let text = alloc::format!("never holds for the tool {tool}: {text}");
                    lints.push(Lint { rule_id: rule.id.as_str().into(), kind: LintKind::Unmeetable, text });
                }
            }
        }
        lints
    }

    fn lints_of(&self, rule: &Rule) -> Vec<Lint> {
        let mut lints = Vec::new();
        let mut lint = |kind, text| lints.push(Lint { rule_id: rule.id.as_str().into(), kind, text });
        if self.rules().len() <= LINT_COMPARED_RULES_MAX {
            if let Some((kind, text)) = self.find_covering(rule) {
                lint(kind, text);
            } else if rule.effect == Effect::Ask
                && !self.rules().iter().any(|other| permits_same(other, rule))
            {
                let text = "asks about what no rule permits: an approval permits it by itself";
                lint(LintKind::Widening, text.into());
            }
        }
        if rule.effect == Effect::Permit {
            rule.targets.iter().filter_map(|target| why_broad(rule, &target.pattern)).for_each(|text| {
                lint(LintKind::Broad, text.into());
            });
            open_arguments(rule).into_iter().for_each(|text| lint(LintKind::OpenArguments, text));
        }
        rule.targets.iter().filter_map(|target| address_range(&target.pattern)).for_each(|range| {
            let text = alloc::format!(
                "{range} looks like a range of addresses and is the path /{} of one: ranges belong to [net] connect",
                range.rsplit_once('/').map_or("", |(_, length)| length)
            );
            lint(LintKind::AddressRange, text);
        });
        for condition in [&rule.when, &rule.unless].into_iter().flatten() {
            lint_condition(condition).into_iter().for_each(|(kind, text)| lint(kind, text));
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
        let is_conditioned = rule.when.is_some() || rule.unless.is_some() || rule.only.is_some();
        if rule.effect == Effect::Permit && is_conditioned && other.body() != rule.body() {
            let text = alloc::format!(
                "its conditions restrict nothing: '{}' permits the same without them",
                other.id
            );
            return Some((LintKind::Bypassed, text));
        }
        Some((LintKind::Redundant, alloc::format!("has the same effect as '{}' alone", other.id)))
    }
}

impl Rule {
    fn has_conditions_of(&self, other: &Rule) -> bool {
        self.when == other.when && self.unless == other.unless && self.only == other.only
    }

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
        let covers_targets = || {
            other.targets.iter().all(|target| {
                let kinds = other.actions.iter().filter(|action| target.pattern.fits(action.kind()));
                let fits: Vec<_> = kinds.map(Action::kind).collect();
                self.targets.iter().any(|own| {
                    own.pattern.covers(&target.pattern) && fits.iter().all(|k| own.pattern.fits(*k))
                })
            })
        };
        let actions = self.actions.intersection(other.actions) == other.actions;
        // Baseline rules do not apply to guests.
        let is_no_guest = |agent: &PathGlob| agent.as_literal().is_some_and(|name| !is_guest(name));
        let agents = agents
            && (self.source != Source::Baseline
                || other.source == Source::Baseline
                || !other.agents.is_empty() && other.agents.iter().all(is_no_guest));
        // The bodies are compared last: to build them takes long, and few rules get so far.
        (!self.owned || other.owned)
            && agents
            && actions
            && covers_targets()
            && (unconditional || self.has_conditions_of(other) && self.body() == other.body())
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
        Pattern::Any if has("execute") && !narrowed => {
            Some("permits every tool, also those that are registered later")
        }
        Pattern::Tool(glob, None) if glob.is_any() && !narrowed => {
            Some("permits every tool, also those that are registered later")
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

/// Whether a permit takes in all targets of an ask, whatever its conditions and agents.
fn permits_same(permit: &Rule, ask: &Rule) -> bool {
    permit.effect == Effect::Permit
        && permit.actions.intersection(ask.actions) == ask.actions
        && ask
            .targets
            .iter()
            .all(|target| permit.targets.iter().any(|own| own.pattern.covers(&target.pattern)))
}

/// What a permit of tools leaves free, where it tests some arguments and has no `only`.
fn open_arguments(rule: &Rule) -> Option<String> {
    let tested = rule.when.as_ref().filter(|when| !when.args.is_empty())?;
    if !rule.actions.contains(Action::Execute) || rule.only.is_some() {
        return None;
    }
    let named: Vec<_> = tested.args.iter().map(|constraint| constraint.selector.to_text()).collect();
    Some(alloc::format!(
        "leaves all arguments but {} free: list those that may be there in 'only'",
        named.join(", ")
    ))
}

/// The beginning of a URL pattern whose host is an address and whose path begins like a prefix length: `10.0.0.0/8`.
fn address_range(pattern: &Pattern) -> Option<String> {
    let Pattern::Url(url) = pattern else { return None };
    let text = url.to_string();
    let (_, rest) = text.split_once("://")?;
    let (host, path) = rest.split_once('/')?;
    let bits_max = if host.parse::<Ipv4Addr>().is_ok() {
        32
    } else {
        host.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok()?;
        128
    };
    let length = path.split('/').next()?;
    let is_length = length.parse::<u32>().is_ok_and(|bits| bits <= bits_max);
    is_length.then(|| alloc::format!("{host}/{length}"))
}

/// Whether a rule is about a tool of this name.
fn names_tool(rule: &Rule, name: &str) -> bool {
    let Ok(tool) = Target::tool(name) else { return false };
    rule.targets.iter().any(|target| target.pattern.matches(Action::Execute, &tool, Reading::Wide))
}

/// Why no arguments that a schema admits can meet a constraint; `None` where some might, or where it cannot be told.
fn misfit(constraint: &Constraint, schema: &Value) -> Option<String> {
    let pointer = constraint.selector.to_text();
    let name =
        pointer.strip_prefix('/').and_then(|rest| rest.split('/').next()).filter(|name| *name != "*")?;
    let properties = schema.get("properties").and_then(Value::as_object);
    let Some(property) = properties.and_then(|properties| properties.get(name)) else {
        let is_closed = schema.get("additionalProperties").and_then(Value::as_bool) == Some(false);
        let is_missing = is_closed && !constraint.optional && schema.get("patternProperties").is_none();
        return is_missing.then(|| alloc::format!("it has no argument '{name}'"));
    };
    // What lies deeper is not looked at.
    let wanted =
        constraint.tests.iter().find_map(Test::json_type).filter(|_| pointer.len() == name.len() + 1)?;
    let admitted = property.get("type")?;
    let admits = |admitted: &Value| admitted.as_str().is_none_or(|admitted| wanted.contains(&admitted));
    let admits_some = match admitted.as_array() {
        Some(several) => several.iter().any(admits),
        None => admits(admitted),
    };
    let given = admitted.as_str().unwrap_or("another type");
    (!admits_some).then(|| {
        alloc::format!("the argument '{name}' is {given}, and the condition wants {}", wanted.join(" or "))
    })
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
