//! The reasons for which a module, or the tool that uses it, is rejected.

use alloc::string::String;

use ak_json::Digest;

use super::work::ModulePart;

/// Why a tool cannot be loaded.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ToolError {
    /// The module is larger than [`SandboxConfig::module_bytes_max`](crate::SandboxConfig::module_bytes_max).
    #[error("module of {bytes} bytes: the limit is {bytes_max}")]
    TooLarge {
        /// The size of the module, in bytes.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// The module's SHA-256 is not the one in the manifest.
    #[error("module has sha256 {actual}, the manifest says {expected}")]
    Changed {
        /// SHA-256 in the manifest.
        expected: Digest,
        /// SHA-256 of the module.
        actual: Digest,
    },
    /// A schema is still the path of a file, which the caller had to replace by the file's content.
    #[error("{which} schema {path:?} is not loaded")]
    SchemaNotLoaded {
        /// `input` or `output`.
        which: &'static str,
        /// The path in the manifest.
        path: String,
    },
    /// A schema is malformed or uses an unsupported feature.
    #[error("{which} schema: {reason}")]
    Schema {
        /// `input` or `output`.
        which: &'static str,
        /// What is wrong with the schema, and where.
        reason: String,
    },
    /// A function is too long to be translated in one go.
    #[error("function of {bytes} bytes: the limit is {bytes_max}; divide it")]
    FunctionTooLarge {
        /// The length of the first such function, in bytes.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// A function has so many locals that zeroing them takes more time than the fuel of a call pays for.
    #[error("function {function} has {locals} locals: the limit is {locals_max}")]
    TooManyLocals {
        /// Index of the function, imported functions included.
        function: u32,
        /// Number of its locals besides its parameters; a vector counts as two.
        locals: u64,
        /// The limit.
        locals_max: u64,
    },
    /// The calls, blocks and branches of a function take more values than can be translated in one go.
    #[error(
        "function {function}: calls, blocks and branches of {values} values, the limit is {values_max}; divide it"
    )]
    TooManyBranches {
        /// Index of the function, imported functions included.
        function: u32,
        /// Sum of the values of all calls, blocks and branch targets. Each block and target counts as the widest one
        /// so far, and at least as one.
        values: u64,
        /// The limit.
        values_max: u64,
    },
    /// A function returns, or a block takes, more values than a unit of fuel pays for.
    #[error("{what} {values} values: the limit is {values_max}; put them into memory")]
    TooWide {
        /// `a function gives` or `a block takes`.
        what: &'static str,
        /// The number of values.
        values: u64,
        /// The limit.
        values_max: u64,
    },
    /// A constant expression is too long; the engine would evaluate it by too deep a recursion.
    #[error("constant expression of more than {instructions_max} instructions: compute it in a function")]
    ConstantTooLong {
        /// The limit.
        instructions_max: u64,
    },
    /// Loading the module would take too much work, whatever its size.
    #[error(
        "too much work to load: {count} {}, the largest part of {work} units and more; the limit is {work_max}: strip or divide the module",
        part.name()
    )]
    TooMuchWork {
        /// The kind of part that takes most of the work.
        part: ModulePart,
        /// Number of these parts, as far as they were counted.
        count: u64,
        /// Units of work, as far as they were counted.
        work: u64,
        /// The limit.
        work_max: u64,
    },
    /// The module is malformed, exceeds a limit of the engine, or uses a feature that the sandbox does not support.
    #[error("invalid module: {reason}")]
    Invalid {
        /// The engine's message.
        reason: String,
    },
    /// The module imports something that the sandbox does not provide.
    #[error("unknown import {module:?} {name:?}")]
    UnknownImport {
        /// Module part of the import.
        module: String,
        /// Name part of the import.
        name: String,
    },
    /// The module imports or exports something under a known name, but with another type.
    #[error("{name:?} has the wrong type: expected {expected}")]
    WrongType {
        /// Name of the import or export.
        name: String,
        /// The type that it must have.
        expected: String,
    },
    /// The module lacks an export that its ABI requires.
    #[error("export {name:?} is missing")]
    MissingExport {
        /// Name of the export.
        name: &'static str,
    },
}
