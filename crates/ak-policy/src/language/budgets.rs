//! Reads `[budgets]`.

use super::limits::period_us;

use super::reader::{Node, ReadResult, Table, pattern_fault};
use crate::budget::{Dimension, PERIODS_MAX};
use crate::model::settings::{Budgets, lower};
use crate::pattern::parse_agent;

/// Reads the limits of a table whose keys are dimensions.
pub(super) fn read(table: &Table<'_>) -> ReadResult<Budgets> {
    let mut budgets = Budgets::new();
    for dimension in Dimension::ALL {
        let Some(node) = table.find(dimension.as_str()) else { continue };
        let limits = node.one_or_many()?;
        if limits.len() > PERIODS_MAX {
            return Err(node.fault(alloc::format!("more than {PERIODS_MAX} limits")));
        }
        for item in limits {
            let (per_us, max) = limit(dimension, &item)?;
            lower(&mut budgets, &Budgets::from([((dimension, per_us), max)]));
        }
    }
    Ok(budgets)
}

/// Reads a number, or `{ max, per }`.
fn limit(dimension: Dimension, node: &Node<'_>) -> ReadResult<(Option<u64>, u64)> {
    if node.value.as_object().is_none() {
        return Ok((None, node.unsigned()?));
    }
    let table = node.table(&["max", "per"])?;
    let max = table.need("max")?.unsigned()?;
    let Some(per) = table.find("per") else { return Ok((None, max)) };
    if !dimension.takes_period() {
        let message = alloc::format!("{dimension} takes no 'per': a period is for what is consumed");
        return Err(per.key_fault(message).with_hint(&alloc::format!("write {dimension} = {max}")));
    }
    Ok((Some(period_us(&per)?), max))
}

/// Rejects a pool for a pattern of agents: only a single agent has an account with a pool.
pub(super) fn check_pool(agent: &str, table: &Table<'_>) -> ReadResult<()> {
    let Some(node) = table.find("budgets") else { return Ok(()) };
    let pattern = parse_agent(agent).map_err(|error| pattern_fault(&node, error))?;
    let pools = node.value.as_object().is_some_and(|object| object.keys().any(|name| &**name != "each"));
    if pattern.as_literal().is_none() && pools {
        let fault =
            node.key_fault(alloc::format!("'{agent}' names several agents, which have no account together"));
        return Err(fault.with_hint("write budgets.each, or the name of one agent"));
    }
    Ok(())
}
