//! Why a module is refused, or a tool that has it.

use alloc::string::String;

use ak_json::Digest;

use super::work::ModulePart;

/// Why a tool cannot be loaded.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ToolError {
    /// The module is larger than the sandbox takes.
    #[error("module of {bytes} bytes: the limit is {bytes_max}")]
    TooLarge {
        /// The module's.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// The module is not the one that the manifest was written for.
    #[error("module has sha256 {actual}, the manifest says {expected}")]
    Changed {
        /// In the manifest.
        expected: Digest,
        /// The module's.
        actual: Digest,
    },
    /// A schema is still the path of a file.
    #[error("{which} schema {path:?} is not loaded")]
    SchemaNotLoaded {
        /// `input` or `output`.
        which: &'static str,
        /// As in the manifest.
        path: String,
    },
    /// A schema is malformed, or uses what is not supported.
    #[error("{which} schema: {reason}")]
    Schema {
        /// `input` or `output`.
        which: &'static str,
        /// What is wrong, and where.
        reason: String,
    },
    /// A function is too long to be translated without interruption.
    #[error("function of {bytes} bytes: the limit is {bytes_max}; divide it")]
    FunctionTooLarge {
        /// The longest function's.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// A function has more locals than are put to zero for what a call costs.
    #[error("function {function} has {locals} locals: the limit is {locals_max}")]
    TooManyLocals {
        /// Its index, imports included.
        function: u32,
        /// Besides its parameters.
        locals: u64,
        /// The limit.
        locals_max: u64,
    },
    /// The calls, blocks and branches of a function take more values than can be translated without interruption.
    #[error(
        "function {function}: calls, blocks and branches of {values} values, the limit is {values_max}; divide it"
    )]
    TooManyBranches {
        /// Its index, imports included.
        function: u32,
        /// Of all calls, blocks and targets of branches, each of these as if it were the widest so far; at least one per target.
        values: u64,
        /// The limit.
        values_max: u64,
    },
    /// More values are moved at once than a unit of fuel pays for.
    #[error("{what} {values} values: the limit is {values_max}; put them into memory")]
    TooWide {
        /// `a function gives` or `a block takes`.
        what: &'static str,
        /// How many.
        values: u64,
        /// The limit.
        values_max: u64,
    },
    /// A constant expression that the engine would evaluate by too many calls within calls.
    #[error("constant expression of more than {instructions_max} instructions: compute it in a function")]
    ConstantTooLong {
        /// The limit.
        instructions_max: u64,
    },
    /// The module would take too long to load, whatever its size.
    #[error(
        "too much work to load: {count} {}, the largest part of {work} units and more; the limit is {work_max}: strip or divide the module",
        part.name()
    )]
    TooMuchWork {
        /// What takes most of it.
        part: ModulePart,
        /// How many of these there are, as far as they were counted.
        count: u64,
        /// All work, as far as it was counted.
        work: u64,
        /// The limit.
        work_max: u64,
    },
    /// The module is malformed, breaks a limit on modules, or uses a feature beyond what the sandbox takes.
    #[error("invalid module: {reason}")]
    Invalid {
        /// From the validator.
        reason: String,
    },
    /// The module imports what no sandbox offers.
    #[error("unknown import {module:?} {name:?}")]
    UnknownImport {
        /// Module part of the import.
        module: String,
        /// Name part of the import.
        name: String,
    },
    /// The module imports or exports something under a known name, but of another type.
    #[error("{name:?} has the wrong type: expected {expected}")]
    WrongType {
        /// Of the import or export.
        name: String,
        /// Its proper type.
        expected: String,
    },
    /// The module lacks an export that its ABI demands.
    #[error("export {name:?} is missing")]
    MissingExport {
        /// Its name.
        name: &'static str,
    },
}
