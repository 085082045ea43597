//! Requests about tools.

use alloc::{sync::Arc, vec::Vec};

use ak_json::{Text, Value};

/// A request about tools.
#[derive(Clone, Debug, PartialEq)]
pub enum ToolsRequest {
    /// Calls a tool with JSON arguments.
    Call {
        /// `name` or `name@version`.
        tool: Text,
        /// The arguments.
        args: Value,
    },
    /// Registers a tool. The reply has `name`, `version` and `digest`, and `unjudged` as for a type's schema, with
    /// paths in the manifest.
    Register {
        /// The manifest: TOML text, or the same content as a JSON object.
        manifest: Value,
        /// The WebAssembly module.
        module: Arc<[u8]>,
        /// Environment variables. A WASI command sees those that its manifest lists. Only the host sets them:
        /// variables that a caller sends are replaced by what the operator configured.
        env: Vec<(Text, Text)>,
    },
    /// Lists the registered tools.
    List,
}
