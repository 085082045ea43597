//! The policy language: reads TOML and JSON texts into one model.

mod budgets;
mod capability;
mod constraint;
mod document;
mod error;
mod hint;
mod legacy;
mod limits;
mod profile;
mod reader;
mod rules;
mod sections;

use alloc::collections::BTreeSet;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use ak_json::{Text, Value};

use crate::model::Model;
use crate::target::Target;
pub(crate) use document::Document;
use document::Fault;
pub use document::POLICY_BYTES_MAX;
pub use error::PolicyError;
pub use hint::did_you_mean;
pub use profile::profile_path;
pub(crate) use reader::{Node, ReadResult, Table};
use sections::{SECTIONS, Sections};

/// The most levels of profiles that include profiles.
const INCLUDE_DEPTH_MAX: usize = 16;
/// The most rules of a policy, including those of its included profiles.
pub const RULES_MAX: usize = 100_000;

/// Reads profiles that a policy includes; implemented by the host, so that this crate opens no files.
pub trait Loader {
    /// Reads the profile `name`, as written in a text whose directory is `base_dir`.
    ///
    /// A message that says why the profile cannot be read, which becomes part of the policy error.
    fn load(&self, name: &str, base_dir: Option<&str>) -> Result<Included, String>;
}

/// A profile that a policy includes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Included {
    /// The absolute path of the profile, which identifies it: a profile is read only once, however often it is
    /// included.
    pub identity: String,
    /// The text of the profile.
    pub text: String,
    /// The absolute directory that `./` in the text stands for.
    pub base_dir: Option<String>,
}

/// A loader for texts that include only built-in profiles.
struct NoIncludes;

impl Loader for NoIncludes {
    fn load(&self, _name: &str, _base_dir: Option<&str>) -> Result<Included, String> {
        Err("profiles cannot be read from here".into())
    }
}

/// The keys of a policy text besides its sections.
const KEYS: [&str; 8] =
    ["version", "profiles", "denial_detail", "capability", "rule", "limit", "label", "agent"];

/// Reads a policy text and all profiles that it includes.
pub(crate) fn read(
    text: &str,
    base_dir: Option<&str>,
    loader: Option<&dyn Loader>,
) -> Result<Model, PolicyError> {
    let mut reading = Reading::new(loader.unwrap_or(&NoIncludes));
    reading.text(text, base_dir, &["baseline"])?;
    Ok(reading.model)
}

/// Reads a policy that is already a value, whatever the length of its text.
pub(crate) fn read_value(value: &Value) -> Result<Model, PolicyError> {
    let text = value.to_json();
    let mut reading = Reading::new(&NoIncludes);
    reading.strict = false;
    reading.whole(&Document::of(value, &text), None, &["baseline"])?;
    Ok(reading.model)
}

struct Reading<'l> {
    loader: &'l dyn Loader,
    model: Model,
    /// Whether to reject what can never work. Not for a saved policy, which an earlier version may have accepted.
    strict: bool,
    /// The ids of rules and limits so far.
    ids: BTreeSet<Text>,
    /// The profiles being read, outermost first.
    including: Vec<String>,
    /// The profiles that were read or are being read.
    included: BTreeSet<String>,
}

/// Why a text cannot be read: a fault in it, or an error in a profile that it includes.
enum ParseError {
    Here(Fault),
    Included(PolicyError),
}

impl From<Fault> for ParseError {
    fn from(fault: Fault) -> Self {
        Self::Here(fault)
    }
}

impl<'l> Reading<'l> {
    fn new(loader: &'l dyn Loader) -> Self {
        Self {
            loader,
            model: Model::default(),
            strict: true,
            ids: BTreeSet::new(),
            including: Vec::new(),
            included: BTreeSet::new(),
        }
    }

    fn text(&mut self, text: &str, base: Option<&str>, default_profiles: &[&str]) -> Result<(), PolicyError> {
        self.whole(&Document::parse(text)?, base, default_profiles)
    }

    fn whole(
        &mut self,
        document: &Document<'_>,
        base: Option<&str>,
        default_profiles: &[&str],
    ) -> Result<(), PolicyError> {
        self.document(&document.value, base, default_profiles).map_err(|error| match error {
            ParseError::Here(fault) => document.locate(fault),
            ParseError::Included(error) => error,
        })
    }

    fn document(
        &mut self,
        value: &Value,
        base: Option<&str>,
        default_profiles: &[&str],
    ) -> Result<(), ParseError> {
        let allowed: Vec<_> = KEYS.into_iter().chain(SECTIONS).collect();
        let table = Node::root(value).table(&allowed)?;
        if let Some(node) = table.find("version")
            && !matches!(node.text()?, "1" | "1.0")
        {
            return Err(node
                .fault("this version of the language is not known")
                .with_hint("write \"1.0\"")
                .into());
        }
        match table.find("profiles") {
            Some(node) => node.items()?.iter().try_for_each(|item| self.profile(item, base))?,
            None => self.model.baseline |= default_profiles.contains(&"baseline"),
        }
        if let Some(node) = table.find("denial_detail") {
            self.model.denial_detail_full |=
                node.choice(&[true, false], |full| if full { "full" } else { "brief" })?;
        }
        self.sections(&table, None, base)?;
        for (agent, node) in table.find("agent").map(|node| node.members()).transpose()?.unwrap_or_default() {
            Target::agent(agent).map_err(|error| node.key_fault(error.to_string()))?;
            let table = node.table(&SECTIONS)?;
            if self.strict {
                budgets::check_pool(agent, &table)?;
                check_pattern(agent, &table)?;
            }
            self.sections(&table, Some(agent), base)?;
        }
        for node in array(&table, "rule")? {
            let rule = rules::rule(&node, base)?;
            self.check_id(&rule.id, &node)?;
            self.model.rules.push(rule);
        }
        for node in array(&table, "capability")? {
            let (grant, rule) = capability::capability(&node, base)?;
            self.model.grants.push(grant);
            self.model.rules.push(rule);
        }
        for node in array(&table, "limit")? {
            let limit = limits::limit(&node, base, self.strict)?;
            self.check_id(limit.id_text(), &node)?;
            self.model.limits.push(limit);
        }
        for node in array(&table, "label")? {
            self.model.labels.push(limits::label(&node, base)?);
        }
        if self.model.rules.len() > RULES_MAX {
            return Err(table.fault(alloc::format!("more than {RULES_MAX} rules")).into());
        }
        Ok(())
    }

    fn sections(&mut self, table: &Table<'_>, agent: Option<&str>, base: Option<&str>) -> ReadResult<()> {
        let sections = Sections::read(table, agent, base)?;
        self.model.rules.extend(sections.rules);
        self.model.settings_of(agent).merge(sections.settings);
        Ok(())
    }

    /// Requires ids to be distinct. Ids that are digests of rules may repeat, when a rule occurs twice.
    fn check_id(&mut self, id: &Text, node: &Node<'_>) -> ReadResult<()> {
        if id.starts_with("rule:") || self.ids.insert(id.clone()) {
            return Ok(());
        }
        Err(node.fault(alloc::format!("the id '{id}' is taken")))
    }

    fn profile(&mut self, item: &Node<'_>, base: Option<&str>) -> Result<(), ParseError> {
        let name = item.text()?;
        if name == "baseline" {
            self.model.baseline = true;
            return Ok(());
        }
        if !name.contains(['/', '.']) {
            let fault = item.unknown(name, &["baseline"]);
            return Err(Fault { message: alloc::format!("there is no profile '{name}'"), ..fault }.into());
        }
        let included =
            self.loader.load(name, base).map_err(|why| item.fault(alloc::format!("'{name}': {why}")))?;
        if self.including.contains(&included.identity) {
            return Err(item.fault(alloc::format!("'{name}' includes itself")).into());
        }
        if self.including.len() >= INCLUDE_DEPTH_MAX {
            return Err(item.fault(alloc::format!("profiles nest deeper than {INCLUDE_DEPTH_MAX}")).into());
        }
        if !self.included.insert(included.identity.clone()) {
            return Ok(());
        }
        self.including.push(included.identity);
        let read = self.text(&included.text, included.base_dir.as_deref(), &[]);
        self.including.pop();
        read.map_err(|error| {
            ParseError::Included(PolicyError {
                source: error.source.or_else(|| Some(name.to_string())),
                ..error
            })
        })
    }
}

/// Rejects sections for a pattern of agents, other than `budgets`: they are looked up by exact name and would never
/// apply.
fn check_pattern(agent: &str, table: &Table<'_>) -> ReadResult<()> {
    let section = SECTIONS.iter().filter(|name| **name != "budgets").find_map(|name| table.find(name));
    match section.filter(|_| agent.contains('*')) {
        None => Ok(()),
        Some(node) => {
            let fault = node.fault(alloc::format!("the pattern '{agent}' has no section but 'budgets.each'"));
            Err(fault.with_hint("name the agent, or write a [[rule]] with agent = …"))
        }
    }
}

/// The tables of an array under a key; none when the key is absent.
fn array<'v>(table: &Table<'v>, key: &str) -> ReadResult<Vec<Node<'v>>> {
    table.find(key).map(|node| node.items()).transpose().map(Option::unwrap_or_default)
}
