//! `[[capability]]` tables.

use alloc::string::ToString;
use alloc::vec::Vec;

use ak_json::{Object, Text, Value};

use super::pattern_fault;
use super::reader::{Node, Read};
use crate::action::{Action, Actions, TargetKind};
use crate::canonical;
use crate::grant::Grant;
use crate::pattern::{EndpointPattern, Pattern};
use crate::rate::Rate;
use crate::rule::{Effect, Rule, Source};

const MINUTE_US: u64 = 60_000_000;

/// What a name stands for: the actions by method, and what they are done to.
struct Family {
    methods: &'static [(&'static str, &'static str)],
    /// Whether the methods may be left out, since there is only one.
    single: bool,
}

const FS: Family = Family {
    methods: &[
        ("read", "fs.read"),
        ("list", "fs.list"),
        ("stat", "fs.stat"),
        ("write", "fs.write"),
        ("delete", "fs.delete"),
    ],
    single: false,
};
const HTTP: Family = Family {
    methods: &[
        ("get", "http.get"),
        ("head", "http.head"),
        ("post", "http.post"),
        ("put", "http.put"),
        ("patch", "http.patch"),
        ("delete", "http.delete"),
        ("options", "http.options"),
    ],
    single: false,
};
const NET: Family = Family {
    methods: &[("dns", "dns"), ("connect", "connect"), ("bind", "bind"), ("listen", "listen")],
    single: false,
};
const INFER: Family = Family { methods: &[("infer", "infer")], single: true };
const SPAWN: Family = Family { methods: &[("spawn", "spawn")], single: true };
const TOOL: Family = Family { methods: &[("execute", "execute")], single: true };

/// Reads one `[[capability]]`: the grant, and the permit that hangs on it.
pub(crate) fn capability(node: &Node<'_>, base: Option<&str>) -> Read<(Grant, Rule)> {
    let table = node.table(&["name", "resource", "methods", "expires_minutes", "rate"])?;
    let name_node = table.need("name")?;
    let name = name_node.text()?;
    let family = match name {
        "fs" => FS,
        "http" => HTTP,
        "net" => NET,
        "infer" => INFER,
        "spawn" => SPAWN,
        _ => TOOL,
    };
    let methods = methods(table.find("methods").as_ref(), &family, node)?;
    let resource_node = table.find("resource");
    let resource = resource_node.as_ref().map(|node| node.text()).transpose()?;
    let resource = resource.filter(|resource| *resource != "*").zip(resource_node.as_ref());
    let patterns = match (name, resource) {
        ("fs", Some((text, at))) => parse(TargetKind::Path, text, base, at)?,
        ("http", Some((text, at))) => parse(TargetKind::Url, text, None, at)?,
        ("infer", Some((text, at))) => parse(TargetKind::Model, text, None, at)?,
        ("spawn", Some((text, at))) => parse(TargetKind::Agent, text, None, at)?,
        ("net", Some((text, at))) => net(text, at)?,
        ("fs" | "http" | "infer" | "spawn" | "net", None) => alloc::vec![Pattern::Any],
        (tool, None) => parse(TargetKind::Tool, tool, None, &name_node)?,
        (_, Some((_, at))) => {
            return Err(at
                .fault("a tool has no resources")
                .with_hint("leave it out, or write resource = \"*\""));
        }
    };
    let fits = |action: &Action| patterns.iter().any(|pattern| pattern.fits(action.kind()));
    let actions: Actions = methods.iter().filter(fits).collect();
    if actions.is_empty() {
        return Err(node.fault("no method is done to such a resource"));
    }
    let ttl_us = match table.find("expires_minutes") {
        Some(node) => Some(
            node.unsigned()?
                .checked_mul(MINUTE_US)
                .ok_or_else(|| node.fault("more minutes than a clock can count"))?,
        ),
        None => None,
    };
    let rate = match table.find("rate") {
        Some(node) => Some(Rate::parse(node.text()?).map_err(|error| {
            node.fault(error.to_string()).with_hint("write '10/min', '5/s' or '100/24h'")
        })?),
        None => None,
    };
    let grant = Grant::new(
        name.into(),
        ttl_us,
        rate,
        canonical_table(name, &patterns, &actions, &family, ttl_us, rate),
    );
    let mut rule = Rule::new(rule_id(&grant), Effect::Permit, actions, patterns);
    rule.grant = Some(grant.id());
    rule.source = Source::Capability;
    Ok((grant, rule))
}

fn rule_id(grant: &Grant) -> Text {
    let digest = grant.id().digest().to_string();
    let name: alloc::string::String = grant.name().chars().filter(|c| !c.is_control()).take(40).collect();
    alloc::format!("capability:{name}:{}", digest.get(..16).unwrap_or(&digest)).into()
}

fn methods(node: Option<&Node<'_>>, family: &Family, table: &Node<'_>) -> Read<Actions> {
    let Some(node) = node else {
        return if family.single {
            Ok(all(family))
        } else {
            Err(table.fault("'methods' is missing").with_hint("write methods = [\"*\"] for all of them"))
        };
    };
    let names: Vec<_> = family.methods.iter().map(|(name, _)| *name).collect();
    let mut actions = Actions::NONE;
    for item in node.one_or_many()? {
        let text = item.text()?;
        let own = match text {
            "*" => all(family),
            text => {
                let found = family.methods.iter().find(|(name, _)| text.eq_ignore_ascii_case(name));
                found
                    .and_then(|(_, action)| Actions::parse(action))
                    .ok_or_else(|| item.unknown(text, &names))?
            }
        };
        actions = actions.union(own);
    }
    Ok(actions)
}

fn all(family: &Family) -> Actions {
    family.methods.iter().filter_map(|(_, action)| Actions::parse(action)).fold(Actions::NONE, Actions::union)
}

fn parse(kind: TargetKind, text: &str, base: Option<&str>, at: &Node<'_>) -> Read<Vec<Pattern>> {
    Pattern::parse(kind, text, base)
        .map(|pattern| alloc::vec![pattern])
        .map_err(|error| pattern_fault(at, error))
}

/// `dns:HOST:PORTS` and `ip:RANGE:PORTS` for connections, `dns:HOST` for looking up.
fn net(text: &str, at: &Node<'_>) -> Read<Vec<Pattern>> {
    let kind = match text.split_once(':') {
        Some(("dns", host)) if !host.contains(':') => TargetKind::Host,
        Some(_) => TargetKind::Endpoint,
        None => TargetKind::Host,
    };
    let mut patterns = parse(kind, text, None, at)?;
    // Who may connect to a host may look it up.
    if let Some(Pattern::Endpoint(EndpointPattern::Host(host, _))) = patterns.first() {
        let host = Pattern::Host(host.clone());
        patterns.push(host);
    }
    Ok(patterns)
}

fn canonical_table(
    name: &str,
    patterns: &[Pattern],
    actions: &Actions,
    family: &Family,
    ttl_us: Option<u64>,
    rate: Option<Rate>,
) -> Value {
    let granted =
        |action: &str| Actions::parse(action).is_some_and(|own| own.iter().all(|one| actions.contains(one)));
    let methods = family.methods.iter().filter(|(_, action)| granted(action)).map(|(method, _)| *method);
    let mut table = Object::new();
    if let Some(ttl_us) = ttl_us {
        table.insert("expires_minutes", ttl_us / MINUTE_US);
    }
    table.insert("methods", canonical::set(methods));
    table.insert("name", name);
    if let Some(rate) = rate {
        table.insert("rate", rate.to_string());
    }
    let resource = match patterns.first() {
        Some(Pattern::Tool(..)) | None => "*".into(),
        Some(pattern) => pattern.to_string(),
    };
    table.insert("resource", resource);
    Value::Object(table)
}
