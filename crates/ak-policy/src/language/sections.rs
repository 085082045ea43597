//! Reads the sections of the whole policy and of one agent.

use alloc::boxed::Box;
use alloc::vec::Vec;

use ak_json::Text;

use super::reader::{Node, ReadResult, Table, pattern_fault};
use super::{budgets, legacy};
use crate::action::{Action, Actions, TargetKind};
use crate::budget::Dimension;
use crate::model::rule::{Effect, Rule, shortened_id};
use crate::model::settings::{NameList, Settings};
use crate::pattern::{Glob, PathGlob, Pattern, PatternError, parse_agent};

/// The sections that a policy, and an agent's part of it, may have.
pub(crate) const SECTIONS: [&str; 10] =
    ["fs", "net", "dns", "http", "tools", "wasm", "infer", "inference", "spawn", "budgets"];

/// Collects the rules and settings of sections.
pub(crate) struct Sections<'a> {
    pub(crate) rules: Vec<Rule>,
    pub(crate) settings: Settings,
    /// The agent that the sections are for; `None` for sections of everyone.
    pub(crate) agent: Option<&'a str>,
    base: Option<&'a str>,
}

type Reader<'a> = fn(&mut Sections<'a>, &Node<'_>) -> ReadResult<()>;

impl<'a> Sections<'a> {
    /// Reads the sections in a table.
    pub(crate) fn read(table: &Table<'_>, agent: Option<&'a str>, base: Option<&'a str>) -> ReadResult<Self> {
        let mut sections = Self { rules: Vec::new(), settings: Settings::default(), agent, base };
        let readers: [(&str, Reader<'a>); 10] = [
            ("fs", Self::fs),
            ("net", Self::net),
            ("dns", Self::dns),
            ("http", Self::http),
            ("tools", Self::tools),
            ("wasm", Self::wasm),
            ("infer", Self::infer),
            ("inference", Self::inference),
            ("spawn", Self::spawn),
            ("budgets", Self::budgets),
        ];
        for (name, reader) in readers {
            if let Some(node) = table.find(name) {
                reader(&mut sections, &node)?;
            }
        }
        Ok(sections)
    }

    fn fs(&mut self, node: &Node<'_>) -> ReadResult<()> {
        let table = node.table(&["read", "write", "deny", "allow"])?;
        let all = actions("fs.*");
        self.patterns(&table, "fs.read", Effect::Permit, actions("fs.read"), TargetKind::Path)?;
        self.patterns(&table, "fs.write", Effect::Permit, actions("fs.write"), TargetKind::Path)?;
        self.patterns(&table, "fs.deny", Effect::Forbid, all, TargetKind::Path)?;
        for item in legacy::items(&table, "allow")? {
            let (actions, path, follows) = legacy::fs(&item)?;
            let before = self.rules.len();
            self.pattern(&path, "fs.allow", Effect::Permit, actions, TargetKind::Path)?;
            self.rules.iter_mut().skip(before).for_each(|rule| rule.follows = follows);
        }
        Ok(())
    }

    fn net(&mut self, node: &Node<'_>) -> ReadResult<()> {
        let table = node.table(&["dns", "connect", "bind", "listen", "deny", "allow"])?;
        self.patterns(&table, "net.dns", Effect::Permit, Actions::of(Action::Dns), TargetKind::Host)?;
        self.patterns(
            &table,
            "net.connect",
            Effect::Permit,
            Actions::of(Action::Connect),
            TargetKind::Endpoint,
        )?;
        self.patterns(&table, "net.bind", Effect::Permit, Actions::of(Action::Bind), TargetKind::Endpoint)?;
        self.patterns(
            &table,
            "net.listen",
            Effect::Permit,
            Actions::of(Action::Listen),
            TargetKind::Endpoint,
        )?;
        for item in list(&table, "deny")? {
            let patterns = net_deny(&item)?;
            let connections = actions_of(&[Action::Dns, Action::Connect, Action::Bind, Action::Listen]);
            self.rule("net.deny", item.text()?, Effect::Forbid, connections, patterns);
        }
        for item in legacy::items(&table, "allow")? {
            let (actions, pattern, text) = legacy::net(&item)?;
            self.rule("net.allow", &text, Effect::Permit, actions, alloc::vec![pattern]);
        }
        Ok(())
    }

    fn dns(&mut self, node: &Node<'_>) -> ReadResult<()> {
        let table = node.table(&["allow"])?;
        for item in legacy::items(&table, "allow")? {
            let pattern = item.table(&["pattern"])?.need("pattern")?;
            self.pattern(&pattern, "dns.allow", Effect::Permit, Actions::of(Action::Dns), TargetKind::Host)?;
        }
        Ok(())
    }

    fn http(&mut self, node: &Node<'_>) -> ReadResult<()> {
        let table = node.table(&["allow", "deny"])?;
        for (key, effect) in [("allow", Effect::Permit), ("deny", Effect::Forbid)] {
            for item in list(&table, key)? {
                let text = item.text()?;
                let (method, url) =
                    text.split_once(' ').map_or((None, text), |(method, url)| (Some(method), url));
                let actions = match method {
                    Some("*") => actions("http.*"),
                    // One, or several: `GET,HEAD`.
                    Some(methods) => methods.split(',').try_fold(Actions::NONE, |actions, method| {
                        let action =
                            Action::from_method(method).ok_or_else(|| unknown_method(&item, method))?;
                        Ok(actions.union(Actions::of(action)))
                    })?,
                    None if effect == Effect::Forbid => actions("http.*"),
                    None => {
                        let fault = item.fault("the method is missing");
                        return Err(
                            fault.with_hint("write 'GET https://…', or '* https://…' for every method")
                        );
                    }
                };
                let pattern = Pattern::parse(TargetKind::Url, url, None)
                    .map_err(|error| pattern_fault(&item, error))?;
                self.rule(&alloc::format!("http.{key}"), text, effect, actions, alloc::vec![pattern]);
            }
        }
        Ok(())
    }

    fn tools(&mut self, node: &Node<'_>) -> ReadResult<()> {
        let table = node.table(&["allow", "deny"])?;
        for (key, effect) in [("allow", Effect::Permit), ("deny", Effect::Forbid)] {
            let id = alloc::format!("tools.{key}");
            for item in table.find(key).map(|node| node.items()).transpose()?.unwrap_or_default() {
                if item.value.as_object().is_some() {
                    let (pattern, text) = legacy::tool(&item)?;
                    self.rule(&id, &text, effect, Actions::of(Action::Execute), alloc::vec![pattern]);
                } else {
                    self.pattern(&item, &id, effect, Actions::of(Action::Execute), TargetKind::Tool)?;
                }
            }
        }
        Ok(())
    }

    fn wasm(&mut self, node: &Node<'_>) -> ReadResult<()> {
        let table = node.table(&["modules", "hostcalls", "deny", "allow"])?;
        let globs = |key: &str| table.find(key).map(|_| self::globs(&list(&table, key)?)).transpose();
        let mut modules = globs("modules")?;
        for item in legacy::items(&table, "allow")? {
            let module = item.table(&["module"])?.need("module")?;
            modules.get_or_insert_default().extend(self::globs(&[module])?);
        }
        let settings = &mut self.settings;
        settings.wasm_modules = NameList { allow: modules, deny: globs("deny")?.unwrap_or_default() };
        settings.wasm_hostcalls = NameList { allow: hostcalls(&table)?, deny: Vec::new() };
        Ok(())
    }

    fn infer(&mut self, node: &Node<'_>) -> ReadResult<()> {
        let table = node.table(&["models", "max_tokens", "deny", "provider_tools", "stateful"])?;
        let infer = Actions::of(Action::Infer);
        self.patterns(&table, "infer.models", Effect::Permit, infer, TargetKind::Model)?;
        self.patterns(&table, "infer.deny", Effect::Forbid, infer, TargetKind::Model)?;
        if let Some(node) = table.find("max_tokens") {
            self.settings.lower_max_tokens(node.unsigned()?);
        }
        self.settings.provider_tools = globs(&list(&table, "provider_tools")?)?;
        self.settings.stateful =
            table.find("stateful").map(|node| node.boolean()).transpose()?.unwrap_or(false);
        Ok(())
    }

    fn inference(&mut self, node: &Node<'_>) -> ReadResult<()> {
        let table = node.table(&["allow"])?;
        for item in legacy::items(&table, "allow")? {
            let table = item.table(&["model", "max_tokens"])?;
            let infer = Actions::of(Action::Infer);
            self.pattern(&table.need("model")?, "inference.allow", Effect::Permit, infer, TargetKind::Model)?;
            if let Some(node) = table.find("max_tokens") {
                self.settings.lower_max_tokens(node.unsigned()?);
            }
        }
        Ok(())
    }

    fn spawn(&mut self, node: &Node<'_>) -> ReadResult<()> {
        let table = node.table(&["allow", "deny"])?;
        let spawn = Actions::of(Action::Spawn);
        self.patterns(&table, "spawn.allow", Effect::Permit, spawn, TargetKind::Agent)?;
        self.patterns(&table, "spawn.deny", Effect::Forbid, spawn, TargetKind::Agent)
    }

    fn budgets(&mut self, node: &Node<'_>) -> ReadResult<()> {
        let names: Vec<_> = Dimension::ALL.into_iter().map(Dimension::as_str).chain(["each"]).collect();
        let table = node.table(&names)?;
        self.settings.budgets = budgets::read(&table)?;
        if let Some(node) = table.find("each") {
            self.settings.each = budgets::read(&node.table(&Dimension::ALL.map(Dimension::as_str))?)?;
            let pattern = |agent| parse_agent(agent).map_err(|error| pattern_fault(&node, error));
            self.settings.named = self.agent.map(pattern).transpose()?;
        }
        Ok(())
    }

    /// Adds one rule for each pattern in the list whose key is the last part of `id`.
    fn patterns(
        &mut self,
        table: &Table<'_>,
        id: &str,
        effect: Effect,
        actions: Actions,
        kind: TargetKind,
    ) -> ReadResult<()> {
        let key = id.rsplit_once('.').map_or(id, |(_, key)| key);
        list(table, key)?.iter().try_for_each(|item| self.pattern(item, id, effect, actions, kind))
    }

    fn pattern(
        &mut self,
        item: &Node<'_>,
        id: &str,
        effect: Effect,
        actions: Actions,
        kind: TargetKind,
    ) -> ReadResult<()> {
        let text = item.text()?;
        let pattern = Pattern::parse(kind, text, self.base).map_err(|error| pattern_fault(item, error))?;
        self.rule(id, text, effect, actions, alloc::vec![pattern]);
        Ok(())
    }

    fn rule(&mut self, id: &str, text: &str, effect: Effect, actions: Actions, patterns: Vec<Pattern>) {
        let fits = |action: &Action| patterns.iter().any(|pattern| pattern.fits(action.kind()));
        let actions: Actions = actions.iter().filter(fits).collect();
        if actions.is_empty() {
            return;
        }
        let mut rule = Rule::new(section_id(self.agent, id, text), effect, actions, patterns);
        if let Some(agent) = self.agent {
            rule.agents = Box::new([PathGlob::literal(agent)]);
        }
        self.rules.push(rule);
    }
}

/// The id of a section's rule: `fs.read:/app/**`, `agent.crew/writer.fs.read:/app/**`. A text too long for an id is
/// cut, and made distinct by its digest.
fn section_id(agent: Option<&str>, section: &str, text: &str) -> Text {
    let id = match agent {
        Some(agent) => alloc::format!("agent.{agent}.{section}:{text}"),
        None => alloc::format!("{section}:{text}"),
    };
    if id.len() <= super::rules::ID_BYTES_MAX && !id.contains(char::is_control) {
        return id.into();
    }
    shortened_id(&id, ak_json::sha256(id.as_bytes()))
}

/// The strings under a key; none when the key is absent.
fn list<'v>(table: &Table<'v>, key: &str) -> ReadResult<Vec<Node<'v>>> {
    table.find(key).map(|node| node.items()).transpose().map(Option::unwrap_or_default)
}

fn globs(items: &[Node<'_>]) -> ReadResult<Vec<Glob>> {
    items.iter().map(|item| Glob::parse(item.text()?).map_err(|error| pattern_fault(item, error))).collect()
}

fn actions(text: &str) -> Actions {
    Actions::parse(text).unwrap_or_default()
}

fn actions_of(actions: &[Action]) -> Actions {
    actions.iter().copied().collect()
}

/// Reads `hostcalls`, which may be spelled as rules are (`fs.read`) or as modules import them (`fs_read`).
fn hostcalls(table: &Table<'_>) -> ReadResult<Option<Vec<Glob>>> {
    let Some(node) = table.find("hostcalls") else { return Ok(None) };
    let glob = |item: Node<'_>| {
        let text = item.text()?.replace('.', "_");
        Glob::parse(&text).map_err(|error| pattern_fault(&item, error))
    };
    node.items()?.into_iter().map(glob).collect::<ReadResult<_>>().map(Some)
}

fn unknown_method(item: &Node<'_>, method: &str) -> super::document::Fault {
    let methods: Vec<_> = Action::ALL.iter().filter_map(|action| action.method()).collect();
    item.unknown(method, &methods)
}

/// Reads an item of `[net] deny`: `HOST`, `dns:HOST[:PORTS]`, `ip:RANGE[:PORTS]`; without ports all ports are
/// forbidden.
fn net_deny(item: &Node<'_>) -> ReadResult<Vec<Pattern>> {
    let text = item.text()?;
    let parse = |kind, text: &str| Pattern::parse(kind, text, None);
    let patterns = match text.split_once(':') {
        Some(("ip", range)) => {
            let ported =
                range.rsplit_once(':').is_some_and(|(head, _)| !head.starts_with('[') || head.contains(']'));
            let whole = if ported { text.into() } else { alloc::format!("{text}:*") };
            parse(TargetKind::Endpoint, &whole).map(|pattern| alloc::vec![pattern])
        }
        Some(("dns", host)) if host.contains(':') => {
            parse(TargetKind::Endpoint, text).map(|pattern| alloc::vec![pattern])
        }
        Some(("dns", host)) => deny_host(host),
        Some(_) => Err(PatternError::Kind),
        None => deny_host(text),
    };
    patterns.map_err(|error| pattern_fault(item, error))
}

fn deny_host(host: &str) -> Result<Vec<Pattern>, PatternError> {
    Ok(alloc::vec![
        Pattern::parse(TargetKind::Host, &alloc::format!("dns:{host}"), None)?,
        Pattern::parse(TargetKind::Endpoint, &alloc::format!("dns:{host}:*"), None)?,
    ])
}
