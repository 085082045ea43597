//! Requests about the policy.

use ak_json::{Text, Value};

use crate::api::policy_files::PolicyFiles;

/// A request about the policy.
#[derive(Clone, Debug, PartialEq)]
pub enum AdminRequest {
    /// Returns the last denial of the session's agent.
    LastError,
    /// Returns the decision on a request that is not made.
    Authorize {
        /// An operation of the policy language such as `fs.read`, or a bare name that the target completes.
        operation: Text,
        /// The target as the caller writes it.
        target: Text,
        /// The arguments that the request would have.
        args: Option<Value>,
    },
    /// Replaces the policy in force.
    PolicyLoad {
        /// The policy text, TOML or JSON.
        text: Text,
        /// The directory to which `./…` in the text is relative.
        base_dir: Option<Text>,
        /// The file that the text was read from, and the files that it includes.
        files: PolicyFiles,
    },
}
