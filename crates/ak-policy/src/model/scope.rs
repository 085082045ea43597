//! The scope of a capability: its name (a tool, or `fs`, `http`, `net`, `infer`, `spawn`), resource and methods.

use alloc::string::String;
use alloc::vec::Vec;

use crate::action::{Action, Actions, TargetKind};
use crate::pattern::{EndpointPattern, Pattern, PatternError};

/// The names that are not tools.
const FAMILIES: [&str; 5] = ["fs", "http", "net", "infer", "spawn"];
/// Other words for them.
const FAMILY_WORDS: [(&str, &str); 13] = [
    ("file", "fs"),
    ("files", "fs"),
    ("filesystem", "fs"),
    ("path", "fs"),
    ("https", "http"),
    ("url", "http"),
    ("web", "http"),
    ("network", "net"),
    ("dns", "net"),
    ("model", "infer"),
    ("inference", "infer"),
    ("llm", "infer"),
    ("agent", "spawn"),
];

/// The name that another word for it stands for.
fn family_of(word: &str) -> Option<&'static str> {
    let word = word.to_lowercase();
    FAMILY_WORDS.iter().find(|(other, _)| *other == word).map(|(_, name)| *name)
}

fn read_as_tool(name: &str) -> ScopeError {
    let hint = match family_of(name) {
        Some(family) => alloc::format!("write '{family}'"),
        None => alloc::format!("leave the resource out; {} have resources", FAMILIES.join(", ")),
    };
    ScopeError::Tool { name: name.into(), hint }
}

/// The methods that a capability's name has, each with the operation it stands for.
pub(crate) struct MethodTable<'n> {
    name: &'n str,
    pub(crate) methods: &'static [(&'static str, &'static str)],
}

/// Why a name, a resource and methods do not form a scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ScopeError {
    #[error(transparent)]
    Pattern(#[from] PatternError),
    #[error("'{name}' was read as the name of a tool, which has no resources and the method 'execute' alone")]
    Tool { name: String, hint: String },
    #[error("'methods' is missing")]
    MethodsMissing,
    #[error("'{method}' is no method of '{name}', which has {known}")]
    Method { method: String, name: String, known: String },
    #[error("none of the methods applies to this kind of resource")]
    Unfit,
}

impl<'n> MethodTable<'n> {
    pub(crate) fn of(name: &'n str) -> Self {
        let methods: &[_] = match name {
            "fs" => &[
                ("read", "fs.read"),
                ("list", "fs.list"),
                ("stat", "fs.stat"),
                ("write", "fs.write!"),
                ("delete", "fs.delete"),
            ],
            "http" => &[
                ("get", "http.get"),
                ("head", "http.head"),
                ("post", "http.post"),
                ("put", "http.put"),
                ("patch", "http.patch"),
                ("delete", "http.delete"),
                ("options", "http.options"),
            ],
            "net" => &[("dns", "dns"), ("connect", "connect"), ("bind", "bind"), ("listen", "listen")],
            "infer" => &[("infer", "infer")],
            "spawn" => &[("spawn", "spawn")],
            _ => &[("execute", "execute")],
        };
        Self { name, methods }
    }

    /// The operations of the methods, `*` for all; without methods, the operation of the only method there is.
    pub(crate) fn actions(&self, methods: &[&str]) -> Result<Actions, ScopeError> {
        let all = || self.methods.iter().filter_map(|(_, action)| Actions::parse(action));
        match (methods, self.methods) {
            ([], [_]) => Ok(all().fold(Actions::NONE, Actions::union)),
            ([], _) => Err(ScopeError::MethodsMissing),
            (methods, _) => methods.iter().try_fold(Actions::NONE, |actions, method| {
                Ok(actions.union(match *method {
                    "*" => all().fold(Actions::NONE, Actions::union),
                    method => self.method(method).ok_or_else(|| self.unknown(method))?,
                }))
            }),
        }
    }

    fn unknown(&self, method: &str) -> ScopeError {
        if family_of(self.name).is_some() {
            return read_as_tool(self.name);
        }
        let known: Vec<_> = self.methods.iter().map(|(name, _)| *name).collect();
        ScopeError::Method { method: method.into(), name: self.name.into(), known: known.join(", ") }
    }

    fn method(&self, method: &str) -> Option<Actions> {
        let (_, action) = self.methods.iter().find(|(name, _)| method.eq_ignore_ascii_case(name))?;
        Actions::parse(action)
    }

    /// The methods whose operations are all in the set.
    pub(crate) fn methods_of(&self, actions: Actions) -> impl Iterator<Item = &'static str> {
        let within =
            move |action: &str| Actions::parse(action).is_some_and(|own| own.intersection(actions) == own);
        self.methods.iter().filter(move |(_, action)| within(action)).map(|(method, _)| *method)
    }
}

/// The patterns that a name and its resource stand for; `*` is every resource.
pub(crate) fn patterns(name: &str, resource: &str, base: Option<&str>) -> Result<Vec<Pattern>, ScopeError> {
    let one = |kind, text| Ok(alloc::vec![Pattern::parse(kind, text, base)?]);
    match (name, resource) {
        ("fs" | "http" | "infer" | "spawn" | "net", "*") => Ok(alloc::vec![Pattern::Any]),
        ("fs", path) => one(TargetKind::Path, path),
        ("http", url) => one(TargetKind::Url, url),
        ("infer", model) => one(TargetKind::Model, model),
        ("spawn", agent) => one(TargetKind::Agent, agent),
        ("net", endpoint) => net(endpoint),
        (tool, "*") => one(TargetKind::Tool, tool),
        (tool, _) => Err(read_as_tool(tool)),
    }
}

/// Reads `dns:HOST:PORTS` and `ip:RANGE:PORTS` for connections, `dns:HOST` for looking up.
fn net(text: &str) -> Result<Vec<Pattern>, ScopeError> {
    let kind = match text.split_once(':') {
        Some(("dns", host)) if !host.contains(':') => TargetKind::Host,
        Some(_) => TargetKind::Endpoint,
        None => TargetKind::Host,
    };
    let pattern = Pattern::parse(kind, text, None)?;
    // An agent that may connect to a host may also look it up.
    let host = match &pattern {
        Pattern::Endpoint(EndpointPattern::Host(host, _)) => Some(Pattern::Host(host.clone())),
        _ => None,
    };
    Ok([pattern].into_iter().chain(host).collect())
}

/// The given operations that act on targets of the kinds the patterns match.
pub(crate) fn fitting(actions: Actions, patterns: &[Pattern]) -> Result<Actions, ScopeError> {
    let fits = |action: &Action| patterns.iter().any(|pattern| pattern.fits(action.kind()));
    let fitting: Actions = actions.iter().filter(fits).collect();
    if fitting.is_empty() { Err(ScopeError::Unfit) } else { Ok(fitting) }
}
