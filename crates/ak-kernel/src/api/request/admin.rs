//! Requests about the policy.

use ak_json::{Text, Value};

use crate::api::policy_files::PolicyFiles;

/// A request about the policy.
#[derive(Clone, Debug, PartialEq)]
pub enum AdminRequest {
    /// The session's last denial.
    LastError,
    /// Ask whether a request would pass, without making it.
    Authorize {
        /// A rule operation, or a bare name that its target resolves.
        operation: Text,
        /// The target as the caller writes it.
        target: Text,
        /// The arguments the request would carry.
        args: Option<Value>,
    },
    /// Replace the policy.
    PolicyLoad {
        /// TOML or JSON.
        text: Text,
        /// What `./…` in the text is relative to.
        base_dir: Option<Text>,
        /// The files that it was read from, and those that it includes.
        files: PolicyFiles,
    },
}
