//! Reads `[[capability]]` tables.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use ak_json::{Object, Text};

use super::reader::{Fault, Node, ReadResult, pattern_fault};
use crate::canonical;
use crate::counters::rate::Rate;
use crate::model::grant::Grant;
use crate::model::rule::{Effect, Rule, Source};
use crate::model::scope::{self, MethodTable, ScopeError};
use crate::pattern::Pattern;

const MINUTE_US: u64 = 60_000_000;

/// Reads one `[[capability]]`: the grant, and the permit that the grant restricts.
pub(crate) fn capability(node: &Node<'_>, base: Option<&str>) -> ReadResult<(Grant, Rule)> {
    let table = node.table(&["name", "resource", "methods", "expires_minutes", "rate"])?;
    let name_node = table.need("name")?;
    let name = name_node.text()?;
    let method_table = MethodTable::of(name);
    let methods = table.find("methods").map(|node| node.one_or_many()).transpose()?.unwrap_or_default();
    let texts = methods.iter().map(|item| item.text()).collect::<ReadResult<Vec<_>>>()?;
    let actions =
        method_table.actions(&texts).map_err(|error| method_fault(node, &methods, &method_table, error))?;
    let resource = table.find("resource");
    let text = resource.as_ref().map(|node| node.text()).transpose()?.unwrap_or("*");
    let patterns = scope::patterns(name, text, base).map_err(|error| {
        resource_fault(resource.as_ref().filter(|_| text != "*").unwrap_or(&name_node), error)
    })?;
    let actions = scope::fitting(actions, &patterns).map_err(|error| node.fault(error.to_string()))?;
    let ttl_us = table.find("expires_minutes").map(|node| minutes_us(&node)).transpose()?;
    let rate = table.find("rate").map(|node| rate(&node)).transpose()?;

    let scope = canonical_scope(name, &patterns, method_table.methods_of(actions));
    let grant = Grant::new(name.into(), scope, ttl_us, rate);
    let mut rule = Rule::new(rule_id(&grant), Effect::Permit, actions, patterns);
    rule.grant = Some(grant.id());
    rule.source = Source::Capability;
    Ok((grant, rule))
}

fn method_fault(
    node: &Node<'_>,
    methods: &[Node<'_>],
    method_table: &MethodTable<'_>,
    error: ScopeError,
) -> Fault {
    let unknown = |method: &str| methods.iter().find(|item| item.text().is_ok_and(|text| text == method));
    let known: Vec<_> = method_table.methods.iter().map(|(method, _)| *method).collect();
    match &error {
        ScopeError::Method { method, .. } => unknown(method).unwrap_or(node).unknown(method, &known),
        ScopeError::Tool { hint, .. } => node.fault(error.to_string()).with_hint(hint),
        ScopeError::MethodsMissing | ScopeError::Unfit | ScopeError::Pattern(_) => {
            node.fault(error.to_string()).with_hint("write methods = [\"*\"] for all of them")
        }
    }
}

fn resource_fault(node: &Node<'_>, error: ScopeError) -> Fault {
    match error {
        ScopeError::Pattern(error) => pattern_fault(node, error),
        ScopeError::Tool { ref hint, .. } => node.fault(error.to_string()).with_hint(hint),
        ScopeError::MethodsMissing | ScopeError::Method { .. } | ScopeError::Unfit => {
            node.fault(error.to_string()).with_hint("leave it out, or write resource = \"*\"")
        }
    }
}

fn minutes_us(node: &Node<'_>) -> ReadResult<u64> {
    node.unsigned()?.checked_mul(MINUTE_US).ok_or_else(|| node.fault("expires_minutes is too large"))
}

fn rate(node: &Node<'_>) -> ReadResult<Rate> {
    let hint = "write '10/min', '5/s' or '100/24h'";
    Rate::parse(node.text()?).map_err(|error| node.fault(error.to_string()).with_hint(hint))
}

fn rule_id(grant: &Grant) -> Text {
    let digest = grant.id().digest().to_string();
    let name: String = grant.name().chars().filter(|c| !c.is_control()).take(40).collect();
    alloc::format!("capability:{name}:{}", digest.get(..16).unwrap_or(&digest)).into()
}

/// Name, resource and methods in canonical form.
fn canonical_scope(name: &str, patterns: &[Pattern], methods: impl Iterator<Item = &'static str>) -> Object {
    let mut scope = Object::new();
    scope.insert("methods", canonical::set(methods));
    scope.insert("name", name);
    let resource = match patterns.first() {
        Some(Pattern::Tool(..)) | None => "*".into(),
        Some(pattern) => pattern.to_string(),
    };
    scope.insert("resource", resource);
    scope
}
