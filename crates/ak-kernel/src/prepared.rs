//! What of a request can be worked out before it reaches the kernel, and so without keeping others waiting: a policy is
//! parsed, a tool is checked.
//!
//! It follows from the request alone and is made from it here, so it is in no journal: whoever executes that again works it
//! out then.

use alloc::{string::String, sync::Arc};

use ak_policy::{Policy, PolicyError};
use ak_sandbox::Tool;

use crate::{request::Request, toolbox};

/// What was worked out, if anything.
#[derive(Clone, Debug, Default)]
pub(crate) struct Prepared(Option<Arc<Work>>);

#[derive(Debug)]
enum Work {
    Policy(Result<Policy, PolicyError>),
    /// Or why the tool is refused.
    Tool(Result<Tool, String>),
}

/// Two that were made from the same request are the same, whether there was time for it or not.
impl PartialEq for Prepared {
    fn eq(&self, _: &Prepared) -> bool {
        true
    }
}

impl Prepared {
    pub(crate) fn of(request: &Request) -> Prepared {
        let work = match request {
            Request::PolicyLoad { text, base_dir } => {
                let policy = Policy::parse(text, base_dir.as_deref());
                Work::Policy(policy.inspect(|policy| {
                    // It is kept from then on.
                    let _ = policy.digest();
                }))
            }
            Request::ToolRegister { manifest, module, .. } => {
                Work::Tool(toolbox::checked(manifest, module.clone()))
            }
            _ => return Prepared(None),
        };
        Prepared(Some(Arc::new(work)))
    }

    /// The policy of a request to load one.
    pub(crate) fn policy(&self, text: &str, base_dir: Option<&str>) -> Result<Policy, PolicyError> {
        match self.0.as_deref() {
            Some(Work::Policy(policy)) => policy.clone(),
            Some(Work::Tool(_)) | None => Policy::parse(text, base_dir),
        }
    }

    /// The tool of a request to register one.
    pub(crate) fn tool(&self) -> Option<Result<Tool, String>> {
        match self.0.as_deref() {
            Some(Work::Tool(tool)) => Some(tool.clone()),
            Some(Work::Policy(_)) | None => None,
        }
    }
}
