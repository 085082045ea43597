//! `[[limit]]` and `[[label]]` tables.

use alloc::string::ToString;

use ak_json::{Integrity, LABEL_BYTES_MAX, Labels, Pointer, Text};

use super::reader::{Node, ReadResult, pattern_fault};
use super::rules;
use crate::action::{Action, Actions, TargetKind};
use crate::budget::Dimension;
use crate::condition::Selector;
use crate::counters::rate::parse_period_us;
use crate::model::amount::Amount;
use crate::model::label::LabelRule;
use crate::model::limit::{Limit, Measure, USAGE_DIMENSIONS, USAGE_PREFIX};
use crate::model::rule::{Effect, Rule};
use crate::pattern::{Pattern, PatternError};

/// Reads one `[[limit]]`. With `strict` a sum that no request can have is rejected.
pub(crate) fn limit(node: &Node<'_>, base: Option<&str>, strict: bool) -> ReadResult<Limit> {
    let table = node.table(&["id", "operation", "target", "agent", "by", "sum", "count", "max", "per"])?;
    let id = rules::id(&table.need("id")?)?;
    let operations = rules::operations(&table.need("operation")?)?;
    let targets = rules::targets(&table.need("target")?, &operations, base)?;
    let actions = rules::fitting(&operations, &targets);
    // In doubt a request counts, so a limit's patterns are read widely, like those of a forbid.
    let mut scope = Rule::new(id, Effect::Forbid, actions, targets);
    if let Some(node) = table.find("agent") {
        scope.agents = rules::agents(&node)?.into();
    }
    let count = table.find("count").map(|node| node.boolean()).transpose()?.unwrap_or(false);
    let measure = match (table.find("sum"), count) {
        (Some(node), false) => sum(&node, scope.actions, strict)?,
        (None, true) => Measure::Count,
        (Some(_), true) => return Err(node.fault("both 'sum' and 'count' are given")),
        (None, false) => {
            return Err(node
                .fault("neither 'sum' nor 'count' is given")
                .with_hint("write sum = \"/pointer\" or count = true"));
        }
    };
    let max_node = table.need("max")?;
    let max = Amount::at_most(&max_node.number()?)
        .ok_or_else(|| max_node.fault("expected a number that is neither negative nor too large"))?;
    let per_node = table.need("per")?;
    let per_us = period_us(&per_node)?;
    let by_agent = match table.find("by") {
        Some(node) => node.choice(&[true], |_| "agent")?,
        None => false,
    };
    Ok(Limit::new(scope, measure, by_agent, max, per_us))
}

/// Reads a period in µs.
pub(super) fn period_us(node: &Node<'_>) -> ReadResult<u64> {
    let fault = || node.fault("not a period").with_hint("write '24h', '30min', '7d'");
    parse_period_us(node.text()?).ok_or_else(fault)
}

/// Top-level members of a model's answer that never occur in a request.
const ANSWERED: [&str; 4] = ["usage", "choices", "created", "system_fingerprint"];

/// The operations that have a target but no arguments.
const WITHOUT_ARGUMENTS: [Action; 10] = [
    Action::Dns,
    Action::Connect,
    Action::Bind,
    Action::Listen,
    Action::FsList,
    Action::FsStat,
    Action::FsDelete,
    Action::HeapRead,
    Action::HeapDelete,
    Action::AuditRead,
];

/// Reads a `sum`: a pointer into the arguments, or `usage:…`.
fn sum(node: &Node<'_>, actions: Actions, strict: bool) -> ReadResult<Measure> {
    let text = node.any_text()?;
    if let Some(name) = text.strip_prefix(USAGE_PREFIX) {
        let known = USAGE_DIMENSIONS.map(|dimension| alloc::format!("{USAGE_PREFIX}{dimension}"));
        let dimension = Dimension::from_name(name).filter(|own| USAGE_DIMENSIONS.contains(own));
        let dimension = dimension.ok_or_else(|| node.unknown(text, &known.each_ref().map(|text| &**text)))?;
        if actions != Actions::of(Action::Infer) {
            let fault = node.fault(alloc::format!("only the operation infer has a '{text}'"));
            return Err(fault.with_hint("write operation = \"infer\""));
        }
        return Ok(Measure::Usage(dimension));
    }
    let selector = Selector::parse(text).map_err(|error| node.fault(error.to_string()))?;
    if strict && actions.iter().all(|action| WITHOUT_ARGUMENTS.contains(&action)) {
        let fault = node.fault("the limit's operations have no arguments to sum up");
        return Err(fault.with_hint("write count = true"));
    }
    let first = text.split('/').nth(1).unwrap_or_default();
    if strict && actions.contains(Action::Infer) && ANSWERED.contains(&first) {
        let message = alloc::format!("'{text}' is in a model's answer, not in the request that is limited");
        let hint = "write sum = \"usage:tokens\" or sum = \"usage:cost_micro_usd\"";
        return Err(node.fault(message).with_hint(hint));
    }
    Ok(Measure::Sum(selector))
}

/// Reads one `[[label]]`.
pub(crate) fn label(node: &Node<'_>, base: Option<&str>) -> ReadResult<LabelRule> {
    let table = node.table(&["source", "pointer", "integrity", "secrecy"])?;
    let source = source(&table.need("source")?, base)?;
    let pointer = match table.find("pointer") {
        Some(node) => Pointer::parse(node.any_text()?).map_err(|error| node.fault(error.to_string()))?,
        None => Pointer::root(),
    };
    let integrity = match table.find("integrity") {
        Some(node) => {
            Some(node.choice(&[Integrity::Trusted, Integrity::Untrusted], |integrity| match integrity {
                Integrity::Trusted => "trusted",
                Integrity::Untrusted => "untrusted",
            })?)
        }
        None => None,
    };
    let mut labels = Labels::default();
    if let Some(node) = table.find("secrecy") {
        for item in node.items()? {
            labels.secrecy.insert(secrecy(&item)?);
        }
    }
    if integrity.is_none() && labels.secrecy.is_empty() {
        return Err(node.fault("neither 'integrity' nor 'secrecy' is given"));
    }
    Ok(LabelRule { source, pointer, integrity, secrecy: labels.secrecy })
}

fn secrecy(node: &Node<'_>) -> ReadResult<Text> {
    let text = node.text()?;
    let reserved = matches!(text, "trusted" | "untrusted" | "public") || text.starts_with('!');
    if reserved || text.len() > LABEL_BYTES_MAX || text.contains(char::is_control) {
        return Err(node
            .fault("not a secrecy label")
            .with_hint("any short name but trusted, untrusted and public"));
    }
    Ok(text.into())
}

fn source(node: &Node<'_>, base: Option<&str>) -> ReadResult<Pattern> {
    let text = node.text()?;
    let known = ["tool", "http", "fs", "model", "agent"];
    let (prefix, rest) = text.split_once(':').ok_or_else(|| node.unknown(text, &known))?;
    let pattern = match prefix {
        "tool" => Pattern::parse(TargetKind::Tool, rest, None),
        "http" if rest == "*" => Ok(Pattern::UrlAny),
        "http" => Pattern::parse(TargetKind::Url, rest, None),
        "fs" if rest == "*" => Pattern::parse(TargetKind::Path, "/**", None),
        "fs" => Pattern::parse(TargetKind::Path, rest, base),
        "model" => Pattern::parse(TargetKind::Model, rest, None),
        "agent" => Pattern::parse(TargetKind::Agent, rest, None),
        other => return Err(node.unknown(other, &known)),
    };
    pattern.map_err(|error: PatternError| pattern_fault(node, error))
}
