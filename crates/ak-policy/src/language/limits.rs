//! `[[limit]]` and `[[label]]` tables.

use alloc::string::ToString;

use ak_json::{Integrity, LABEL_BYTES_MAX, Labels, Pointer, Text};

use super::pattern_fault;
use super::reader::{Node, Read};
use super::rules;
use crate::action::TargetKind;
use crate::condition::Selector;
use crate::label::LabelRule;
use crate::limit::{Amount, Limit, Measure};
use crate::pattern::{Pattern, PatternError};
use crate::rate::parse_period_us;
use crate::rule::{Effect, Rule};

/// Reads one `[[limit]]`.
pub(crate) fn limit(node: &Node<'_>, base: Option<&str>) -> Read<Limit> {
    let table = node.table(&["id", "operation", "target", "agent", "sum", "count", "max", "per"])?;
    let id = rules::id(&table.need("id")?)?;
    let operations = rules::operations(&table.need("operation")?)?;
    let targets = rules::targets(&table.need("target")?, &operations, base)?;
    let actions = rules::fitting(&operations, &targets);
    // What a limit is about is read as widely as what a forbid is about.
    let mut scope = Rule::new(id, Effect::Forbid, actions, targets);
    if let Some(node) = table.find("agent") {
        scope.agents = rules::agents(&node)?.into();
    }
    let count = table.find("count").map(|node| node.boolean()).transpose()?.unwrap_or(false);
    let measure = match (table.find("sum"), count) {
        (Some(node), false) => {
            Measure::Sum(Selector::parse(node.any_text()?).map_err(|error| node.fault(error.to_string()))?)
        }
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
    let per_us = parse_period_us(per_node.text()?)
        .ok_or_else(|| per_node.fault("not a period").with_hint("write '24h', '30min', '7d'"))?;
    Ok(Limit::new(scope, measure, max, per_us))
}

/// Reads one `[[label]]`.
pub(crate) fn label(node: &Node<'_>, base: Option<&str>) -> Read<LabelRule> {
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

fn secrecy(node: &Node<'_>) -> Read<Text> {
    let text = node.text()?;
    let reserved = matches!(text, "trusted" | "untrusted" | "public") || text.starts_with('!');
    if reserved || text.len() > LABEL_BYTES_MAX || text.contains(char::is_control) {
        return Err(node
            .fault("not a secrecy label")
            .with_hint("any short name but trusted, untrusted and public"));
    }
    Ok(text.into())
}

fn source(node: &Node<'_>, base: Option<&str>) -> Read<Pattern> {
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
