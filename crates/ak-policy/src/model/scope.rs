//! The scope of a capability: its name (a tool, or `fs`, `http`, `net`, `infer`, `spawn`), resource and methods.

use alloc::string::String;
use alloc::vec::Vec;

use crate::action::{Action, Actions, TargetKind};
use crate::pattern::{EndpointPattern, Pattern, PatternError};

/// The methods that a capability's name has, each with the operation it stands for.
pub(crate) struct MethodTable {
    pub(crate) methods: &'static [(&'static str, &'static str)],
}

/// Why a name, a resource and methods do not form a scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ScopeError {
    #[error(transparent)]
    Pattern(#[from] PatternError),
    #[error("a tool has no resources")]
    ToolResource,
    #[error("'methods' is missing")]
    MethodsMissing,
    #[error("'{0}' is not known here")]
    Method(String),
    #[error("no method is done to such a resource")]
    Unfit,
}

impl MethodTable {
    pub(crate) fn of(name: &str) -> Self {
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
        Self { methods }
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
                    method => self.method(method).ok_or_else(|| ScopeError::Method(method.into()))?,
                }))
            }),
        }
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
        (_, _) => Err(ScopeError::ToolResource),
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
