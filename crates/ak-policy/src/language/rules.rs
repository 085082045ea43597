//! Reads `[[rule]]` tables.

use alloc::vec::Vec;

use ak_json::Text;

use super::constraint;
use super::reader::{Node, ReadResult, pattern_fault};
use crate::action::{Action, Actions, TargetKind};
use crate::model::rule::{Effect, FOLLOW_BENEATH, Rule};
use crate::model::window::Window;
use crate::pattern::{PathGlob, Pattern, PatternError, parse_agent};
use crate::target::Target;

/// The most bytes of a rule's id, which is what a leaf of the audit log has room for.
pub(crate) const ID_BYTES_MAX: usize = 255;

const KEYS: [&str; 10] =
    ["id", "effect", "operation", "target", "agent", "time", "when", "unless", "only", "follow"];

/// Reads one `[[rule]]`.
pub(crate) fn rule(node: &Node<'_>, base: Option<&str>) -> ReadResult<Rule> {
    let table = node.table(&KEYS)?;
    let effect = table.need("effect")?.choice(&Effect::ALL, Effect::as_str)?;
    let operations = operations(&table.need("operation")?)?;
    let targets = targets(&table.need("target")?, &operations, base)?;
    let actions = fitting(&operations, &targets);
    let mut rule = Rule::new(Text::new(), effect, actions, targets);
    if let Some(node) = table.find("agent") {
        rule.agents = agents(&node)?.into();
    }
    if let Some(node) = table.find("time") {
        rule.windows = windows(&node)?.into();
    }
    rule.when = table.find("when").map(|node| constraint::condition(&node)).transpose()?;
    rule.unless = table.find("unless").map(|node| constraint::condition(&node)).transpose()?;
    rule.only = table.find("only").map(|node| constraint::only(&node)).transpose()?;
    if let Some(node) = table.find("follow") {
        rule.follows = follows(&node)?;
        let of_files = rule.actions.iter().all(|action| action.kind() == TargetKind::Path);
        if effect != Effect::Permit || !of_files {
            return Err(node.fault("only a permit of files has a 'follow'"));
        }
    }
    rule.id = match table.find("id") {
        Some(node) => id(&node)?,
        None => anonymous_id(&rule),
    };
    Ok(rule)
}

/// Reads a `follow`, whose only value is `beneath`.
pub(crate) fn follows(node: &Node<'_>) -> ReadResult<bool> {
    node.choice(&[FOLLOW_BENEATH], |text| text).map(|_| true)
}

/// An id that depends only on the content of the rule.
fn anonymous_id(rule: &Rule) -> Text {
    let digest = alloc::format!("{}", rule.body().digest());
    alloc::format!("rule:{}", digest.get(..16).unwrap_or(&digest)).into()
}

/// Reads an `id`.
pub(crate) fn id(node: &Node<'_>) -> ReadResult<Text> {
    let text = node.text()?;
    if text.len() > ID_BYTES_MAX {
        return Err(node.fault(alloc::format!("id is longer than {ID_BYTES_MAX} bytes")));
    }
    if text.contains(char::is_control) {
        return Err(node.fault("id holds a control character"));
    }
    Ok(text.into())
}

/// One text of a rule's `operation`.
pub(crate) struct Operation<'a> {
    node: Node<'a>,
    pub(crate) actions: Actions,
    reach: Reach,
}

/// What an operation text means, beside what its targets say.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// Each of these: a target must fit.
    Named,
    /// Those of a family (`fs.*`) that are done to the rule's targets.
    Family,
    /// One verb (`read`) of whichever family is done to the rule's targets.
    Verb,
}

/// Reads an `operation`.
pub(crate) fn operations<'a>(node: &Node<'a>) -> ReadResult<Vec<Operation<'a>>> {
    let operation = |item: Node<'a>| {
        let text = item.text()?;
        let known = || Action::ALL.iter().map(|action| action.as_str()).collect::<Vec<_>>();
        let reach = if text.ends_with('*') { Reach::Family } else { Reach::Named };
        let named = Actions::parse(text).map(|actions| (actions, reach));
        let found = named.or_else(|| Some((Actions::of_verb(text)?, Reach::Verb)));
        let (actions, reach) = found.ok_or_else(|| item.unknown(text, &known()))?;
        Ok(Operation { node: item, actions, reach })
    };
    node.one_or_many()?.into_iter().map(operation).collect()
}

/// The operations that act on targets of the patterns' kinds; a family such as `*` means only those.
pub(crate) fn fitting(operations: &[Operation<'_>], targets: &[Pattern]) -> Actions {
    let actions = operations.iter().fold(Actions::NONE, |all, operation| all.union(operation.actions));
    let fits = |action: &Action| targets.iter().any(|target| target.fits(action.kind()));
    actions.iter().filter(fits).collect()
}

/// Reads a `target`. Every pattern must fit an operation, and every operation that is not a family must fit a
/// pattern.
pub(crate) fn targets(
    node: &Node<'_>,
    operations: &[Operation<'_>],
    base: Option<&str>,
) -> ReadResult<Vec<Pattern>> {
    let mut kinds: Vec<_> =
        operations.iter().flat_map(|operation| operation.actions.iter()).map(Action::kind).collect();
    kinds.sort();
    kinds.dedup();
    let mut patterns = Vec::new();
    for item in node.one_or_many()? {
        let pattern = target(&item, &kinds, base)?;
        if !kinds.iter().any(|kind| pattern.fits(*kind)) {
            return Err(item.fault("no operation of the rule applies to this kind of target"));
        }
        patterns.push(pattern);
    }
    for Operation { node, actions, reach } in operations.iter() {
        let fits = |action: &Action| patterns.iter().any(|pattern| pattern.fits(action.kind()));
        let fitting: Actions = actions.iter().filter(fits).collect();
        match reach {
            Reach::Family => {}
            Reach::Named | Reach::Verb if fitting.is_empty() => {
                return Err(node.fault("no target of the rule fits this operation"));
            }
            Reach::Named => {}
            // Authority over objects is not to come along with authority over files.
            Reach::Verb => {
                let mut kinds: Vec<_> = fitting.iter().map(Action::kind).collect();
                kinds.dedup();
                if kinds.len() > 1 {
                    let names: Vec<_> = fitting.iter().map(|action| alloc::format!("'{action}'")).collect();
                    let hint = alloc::format!("write {}", names.join(" or "));
                    return Err(node
                        .fault("the targets do not tell which operation this is")
                        .with_hint(&hint));
                }
            }
        }
    }
    patterns.sort();
    patterns.dedup();
    Ok(patterns)
}

fn target(item: &Node<'_>, kinds: &[TargetKind], base: Option<&str>) -> ReadResult<Pattern> {
    if item.value.as_object().is_some() {
        let node = item.table(&["literal"])?.need("literal")?;
        let text = node.text()?;
        let kind = kind_of(text, kinds).ok_or_else(|| pattern_fault(&node, PatternError::Kind))?;
        let target = Target::parse(kind, text).map_err(|error| pattern_fault(&node, error.into()))?;
        return Ok(Pattern::literal(&target));
    }
    let text = item.text()?;
    if text == "*" {
        return Ok(Pattern::Any);
    }
    let kind = kind_of(text, kinds).ok_or_else(|| pattern_fault(item, PatternError::Kind))?;
    Pattern::parse(kind, text, base).map_err(|error| pattern_fault(item, error))
}

/// The kind of target that a text names, by its form or else by the only kind the operations act on.
fn kind_of(text: &str, kinds: &[TargetKind]) -> Option<TargetKind> {
    let endpoint = |name: &str| {
        if name.trim_start_matches("[").contains(':') { TargetKind::Endpoint } else { TargetKind::Host }
    };
    match text.split_once(':') {
        _ if text.starts_with('/') || text.starts_with("./") => Some(TargetKind::Path),
        Some(("dns", rest)) => Some(endpoint(rest)),
        Some(("ip", _)) => Some(TargetKind::Endpoint),
        Some(("tool", _)) => Some(TargetKind::Tool),
        Some(("model", _)) => Some(TargetKind::Model),
        Some(("agent", _)) => Some(TargetKind::Agent),
        Some(("heap", _)) => Some(TargetKind::Heap),
        Some(("type", _)) => Some(TargetKind::Type),
        Some(("audit", _)) => Some(TargetKind::Audit),
        Some((_, rest)) if rest.starts_with("//") => Some(TargetKind::Url),
        _ => match kinds {
            [only] => Some(*only),
            _ => None,
        },
    }
}

/// Reads an `agent`.
pub(crate) fn agents(node: &Node<'_>) -> ReadResult<Vec<PathGlob>> {
    let agent = |item: &Node<'_>| parse_agent(item.text()?).map_err(|error| pattern_fault(item, error));
    let mut agents = node.one_or_many()?.iter().map(agent).collect::<ReadResult<Vec<_>>>()?;
    agents.sort();
    agents.dedup();
    Ok(agents)
}

fn windows(node: &Node<'_>) -> ReadResult<Vec<Window>> {
    let window = |item: &Node<'_>| {
        Window::parse(item.text()?).map_err(|error| {
            item.fault(alloc::format!("{error}")).with_hint(
                "write 'Mon-Fri 08:00-18:00' or '2026-01-01T00:00:00Z/2026-02-01T00:00:00Z', in UTC",
            )
        })
    };
    let mut windows = node.one_or_many()?.iter().map(window).collect::<ReadResult<Vec<_>>>()?;
    windows.sort();
    windows.dedup();
    Ok(windows)
}
