//! The older table form: `[[fs.allow]]`, `[[net.allow]]`, `[[dns.allow]]`, `[[tools.allow]]`,
//! `[[inference.allow]]`.

use alloc::vec::Vec;

use ak_json::Text;

use super::reader::{Node, ReadResult, Table, pattern_fault};
use crate::action::{Action, Actions, TargetKind};
use crate::pattern::Pattern;

/// The tables under a key; none when the key is absent.
pub(crate) fn items<'v>(table: &Table<'v>, key: &str) -> ReadResult<Vec<Node<'v>>> {
    table.find(key).map(|node| node.items()).transpose().map(Option::unwrap_or_default)
}

/// Reads `path`, its operations (`read = true`, `write = true`), and whether links beneath it are followed.
pub(crate) fn fs<'v>(item: &Node<'v>) -> ReadResult<(Actions, Node<'v>, bool)> {
    let table = item.table(&["path", "read", "write", "follow"])?;
    let follows = table.find("follow").map(|node| super::rules::follows(&node)).transpose()?.unwrap_or(false);
    let path = table.need("path")?;
    let mut allowed = Actions::NONE;
    for (key, actions) in [("read", "fs.read"), ("write", "fs.write")] {
        if let Some(node) = table.find(key)
            && node.boolean()?
        {
            allowed = allowed.union(Actions::parse(actions).unwrap_or_default());
        }
    }
    if table.find("read").is_none() && table.find("write").is_none() {
        return Err(item.fault("neither read nor write is given"));
    }
    Ok((allowed, path, follows))
}

/// Reads `pattern = "host:port"` and its operations: `connect`, `bind`, `listen`; `connect` when none is given.
pub(crate) fn net(item: &Node<'_>) -> ReadResult<(Actions, Pattern, Text)> {
    let keys = [("connect", Action::Connect), ("bind", Action::Bind), ("listen", Action::Listen)];
    let table = item.table(&["pattern", "connect", "bind", "listen"])?;
    let node = table.need("pattern")?;
    let text = node.text()?;
    let mut actions = Actions::NONE;
    let mut said = false;
    for (key, action) in keys {
        if let Some(node) = table.find(key) {
            said = true;
            actions = if node.boolean()? { actions.union(Actions::of(action)) } else { actions };
        }
    }
    if !said {
        actions = Actions::of(Action::Connect);
    }
    let prefixed = text.starts_with("dns:") || text.starts_with("ip:");
    let is_address = text.starts_with('[')
        || text.split([':', '/']).next().is_some_and(|host| host.parse::<core::net::Ipv4Addr>().is_ok());
    let whole = match (prefixed, is_address) {
        (true, _) => text.into(),
        (false, true) => alloc::format!("ip:{text}"),
        (false, false) => alloc::format!("dns:{text}"),
    };
    let pattern =
        Pattern::parse(TargetKind::Endpoint, &whole, None).map_err(|error| pattern_fault(&node, error))?;
    Ok((actions, pattern, text.into()))
}

/// Reads `name` and `version`; without a version, or with `*`, the pattern matches any version.
pub(crate) fn tool(item: &Node<'_>) -> ReadResult<(Pattern, Text)> {
    let table = item.table(&["name", "version"])?;
    let name = table.need("name")?;
    let version =
        table.find("version").map(|node| node.text()).transpose()?.filter(|version| *version != "*");
    let text = match version {
        Some(version) => alloc::format!("{}@{version}", name.text()?),
        None => name.text()?.into(),
    };
    let pattern =
        Pattern::parse(TargetKind::Tool, &text, None).map_err(|error| pattern_fault(&name, error))?;
    Ok((pattern, text.into()))
}
