//! Permissions of a tool: the `needs` of its manifest.

use alloc::{format, string::String, sync::Arc, vec::Vec};

use ak_json::{Value, object};
use ak_policy::{
    Action, Actions, Query, TargetKind,
    capability::{Authority, Caveat, TargetPattern},
};
use ak_sandbox::{HostOperation, Manifest};

use crate::api::fields::{FieldError, Fields};

/// The host calls for the time and for random bytes, which have no target in the policy language.
const AMBIENT: [HostOperation; 2] = [HostOperation::Now, HostOperation::Random];

/// The `needs` of one tool, parsed.
#[derive(Debug, PartialEq)]
pub(crate) struct ToolPermissions {
    /// `name@version` of the tool.
    pub(crate) tool: String,
    /// The needs as the manifest writes them.
    pub(crate) texts: Vec<String>,
    /// One authority for each need.
    reach: Vec<Authority>,
    ambient: Vec<HostOperation>,
}

/// A need that the kernel does not accept.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the need {need:?}: {reason}")]
pub(crate) struct NeedError {
    need: String,
    reason: String,
}

impl ToolPermissions {
    /// Parses the needs of a manifest: `operation:pattern`, both as in a policy's rule, or `now:*` and `random:*`.
    ///
    /// # Errors
    /// [`NeedError`] names the first need that is not accepted.
    pub(crate) fn of(manifest: &Manifest) -> Result<ToolPermissions, NeedError> {
        ToolPermissions::parse(format!("{}@{}", manifest.name, manifest.version), manifest.needs.clone())
    }

    pub(crate) fn parse(tool: String, texts: Vec<String>) -> Result<ToolPermissions, NeedError> {
        let mut needs = ToolPermissions { tool, texts: Vec::new(), reach: Vec::new(), ambient: Vec::new() };
        for text in &texts {
            let wrong = |reason: String| NeedError { need: text.clone(), reason };
            let (operation, target) = text.split_once(':').unwrap_or((text, ""));
            if let Some(ambient) = AMBIENT.into_iter().find(|ambient| ambient.name() == operation) {
                if target != "*" {
                    return Err(wrong(format!("`{operation}` is needed as `{operation}:*`")));
                }
                needs.ambient.push(ambient);
                continue;
            }
            let actions = Actions::parse(operation)
                .ok_or_else(|| wrong(String::from("there is no such operation in the policy language")))?;
            let useful: Actions = actions.iter().filter(|action| is_useful(*action)).collect();
            if useful.is_empty() {
                return Err(wrong(String::from("no tool can do that")));
            }
            needs.reach.push(reach(useful, target).map_err(wrong)?);
        }
        Ok(ToolPermissions { texts, ..needs })
    }

    /// Whether one of the needs covers a request.
    pub(crate) fn cover(&self, query: &Query<'_>, run: &[u8; 16]) -> bool {
        self.reach.iter().any(|authority| authority.covers(query, run))
    }

    /// The form in a snapshot.
    pub(crate) fn to_value(&self) -> Value {
        let texts = self.texts.iter().map(|text| Value::from(text.as_str()));
        object! { "tool": self.tool.as_str(), "needs": texts.collect::<Vec<Value>>() }
    }

    pub(crate) fn from_value(value: &Value) -> Result<ToolPermissions, FieldError> {
        let mut fields = Fields::new("needs", value)?;
        let tool = String::from(&*fields.text("tool")?);
        let texts = fields.items("needs")?;
        let texts: Option<Vec<String>> = texts.iter().map(|text| text.as_str().map(String::from)).collect();
        let texts = texts.ok_or_else(|| fields.error("needs", "expected texts"))?;
        fields.finish()?;
        ToolPermissions::parse(tool, texts).map_err(|error| FieldError::new("needs", format!("{error}")))
    }

    /// Whether the needs contain this host call for the time or for random bytes.
    pub(crate) fn has(&self, ambient: HostOperation) -> bool {
        self.ambient.contains(&ambient)
    }
}

/// Whether a tool can request the action, or an action that implies it.
fn is_useful(action: Action) -> bool {
    match action {
        Action::FsRead
        | Action::FsList
        | Action::FsStat
        | Action::FsWrite
        | Action::FsDelete
        | Action::HeapRead
        | Action::HeapWrite
        | Action::Connect
        | Action::Execute
        | Action::Infer => true,
        action => action.method().is_some(),
    }
}

/// The authority for actions on the targets that match a pattern.
fn reach(actions: Actions, target: &str) -> Result<Authority, String> {
    let mut kinds: Vec<TargetKind> = actions.iter().map(|action| action.kind()).collect();
    kinds.dedup();
    let patterns: Result<Vec<TargetPattern>, _> =
        kinds.into_iter().map(|kind| TargetPattern::parse(kind, target)).collect();
    let patterns = patterns.map_err(|error| format!("{error}"))?;
    Ok([Caveat::Operations(actions), Caveat::targets(patterns)].into_iter().collect())
}

/// The tools on whose behalf a request is sent, the innermost last. The request must be within the needs of each.
pub(crate) type CallStack = Vec<Arc<ToolPermissions>>;

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use ak_policy::Target;

    use super::*;

    fn needs(texts: &[&str]) -> Result<ToolPermissions, NeedError> {
        ToolPermissions::parse("t@1.0.0".into(), texts.iter().map(|text| (*text).into()).collect())
    }

    #[test]
    fn a_need_covers_what_a_rule_of_its_words_would() {
        let needs = needs(&["fs.read:/data/**", "http.*:https://a.example/v1/*", "infer:gpt-4*"]).unwrap();
        let covers = |action, target: Target| needs.cover(&Query::new("main", action, &target), &[0; 16]);
        assert!(covers(Action::FsRead, Target::path("/data/x/y").unwrap()));
        assert!(covers(Action::FsStat, Target::path("/data/x").unwrap()));
        assert!(!covers(Action::FsWrite, Target::path("/data/x").unwrap()));
        assert!(!covers(Action::FsRead, Target::path("/etc/passwd").unwrap()));
        assert!(covers(Action::HttpPost, Target::url("https://a.example/v1/x").unwrap()));
        assert!(!covers(Action::HttpGet, Target::url("https://b.example/v1/x").unwrap()));
        assert!(covers(Action::Infer, Target::model("gpt-4o").unwrap()));
        assert!(!covers(Action::Infer, Target::model("claude").unwrap()));
        assert!(!needs.has(HostOperation::Now) && !needs.has(HostOperation::Random));
    }

    #[test]
    fn what_is_not_understood_is_refused_by_name() {
        for (text, says) in [
            ("fs.raed:/data/**", "no such operation"),
            ("fs.read:data", ""),
            ("http.get:ftp://x", ""),
            ("now:/data", "`now:*`"),
            ("infer:", ""),
            ("dns:a.example", "no tool can"),
            ("heap.alloc:*", "no tool can"),
            ("audit.read:*", "no tool can"),
        ] {
            let error = needs(&["heap.read:*", text]).unwrap_err().to_string();
            assert!(error.contains(&format!("{text:?}")) && error.contains(says), "{error}");
        }
    }
}
