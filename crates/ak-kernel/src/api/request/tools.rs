//! Requests about tools.

use alloc::{sync::Arc, vec::Vec};

use ak_json::{Text, Value};

/// A request about tools.
#[derive(Clone, Debug, PartialEq)]
pub enum ToolsRequest {
    /// Call a tool with JSON arguments.
    Call {
        /// `name` or `name@version`.
        tool: Text,
        /// The arguments.
        args: Value,
    },
    /// Register a tool. The reply is its `name`, `version` and `digest`, and `unjudged` as of a type's schema, with paths in
    /// the manifest.
    Register {
        /// The manifest: TOML text, or the same as an object.
        manifest: Value,
        /// The WebAssembly module.
        module: Arc<[u8]>,
        /// Variables of the environment: of these a WASI command sees the ones that its manifest lists. What an operator
        /// configures is the host's to say, whoever asks.
        env: Vec<(Text, Text)>,
    },
    /// List the registered tools.
    List,
}
