use alloc::string::String;
use alloc::vec::Vec;

use wasmi::TrapCode;
use wasmi::errors::{ErrorKind, InstantiationError, MemoryError, TableError};

/// Why a run ended without a result, what it had cost by then and what it had logged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{failure}")]
pub struct RunError {
    /// The reason.
    pub failure: Failure,
    /// Fuel spent, at most the limit.
    pub fuel: u64,
    /// The guest's log: `ak.log` or stderr.
    pub log: Vec<u8>,
}

/// Why a run ended without a result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The tool says that it failed: by `ak.fail`, or by an exit code other than 0.
    #[error("{message}")]
    ToolFailed {
        /// What the tool said; for a WASI command the end of its stderr.
        message: String,
        /// Of a WASI command.
        exit_code: Option<u32>,
    },
    /// The fuel is spent.
    #[error("out of fuel: the limit is {fuel_max}")]
    OutOfFuel {
        /// The limit that was met.
        fuel_max: u64,
    },
    /// The guest asked for more memory than it may have.
    #[error("memory limit: more than {bytes_max} bytes asked for")]
    MemoryLimit {
        /// The limit that was met.
        bytes_max: u64,
    },
    /// Tables with too many elements, or a table that was to grow while running.
    #[error("table limit: more than {elements_max} elements, or a table growing at run time")]
    TableLimit {
        /// The limit that was met.
        elements_max: u64,
    },
    /// The host itself has no memory left for the guest.
    #[error("the host has no memory left for the guest")]
    HostMemory,
    /// Calls nested too deeply.
    #[error("stack overflow")]
    StackOverflow,
    /// The result is longer than it may be.
    #[error("output too large: the limit is {bytes_max} bytes")]
    OutputTooLarge {
        /// The limit that was met.
        bytes_max: u64,
    },
    /// The result is not JSON.
    #[error("output is not JSON: {reason}")]
    InvalidJsonOutput {
        /// What is wrong with it, and where.
        reason: String,
    },
    /// The arguments are not what the tool takes.
    #[error("argument {reason}")]
    InvalidInput {
        /// Which part breaks which part of the schema.
        reason: String,
    },
    /// The result is JSON, but not what the tool gives.
    #[error("result {reason}")]
    InvalidOutput {
        /// Which part breaks which part of the schema.
        reason: String,
    },
    /// A pointer and a length that leave the guest's memory.
    #[error("bad pointer given to or by `{call}`: {length} bytes at {at}")]
    BadPointer {
        /// The function that took or returned it.
        call: &'static str,
        /// Address.
        at: u32,
        /// Bytes.
        length: u32,
    },
    /// A host call that makes no sense.
    #[error("bad host call `{call}`: {reason}")]
    BadHostCall {
        /// The function.
        call: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// A command ended well, but what it had written to a file was refused.
    #[error("file not written: {path}: {reason}")]
    FileNotWritten {
        /// Which.
        path: String,
        /// The error that the host gave.
        reason: String,
    },
    /// More host calls than one run may make.
    #[error("too many host calls: the limit is {calls_max}")]
    HostCallLimit {
        /// The limit that was met.
        calls_max: u32,
    },
    /// The guest's code trapped.
    #[error("trap: {0}")]
    Trap(Trap),
    /// The host's reply does not fit the call: the host is at fault, not the guest.
    #[error("the host's reply to `{call}` does not fit: {reason}")]
    BadReply {
        /// The function.
        call: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The run was driven out of order: a step after its end or while a reply is due, or a reply that nobody
    /// waits for.
    #[error("run driven out of order: {0}")]
    OutOfOrder(&'static str),
    /// The engine cannot run the module for a reason that shows only now: a function too big to translate,
    /// say.
    #[error("cannot be run: {0}")]
    Unrunnable(String),
}

/// A trap of the WebAssembly specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trap {
    /// `unreachable` was reached.
    #[error("unreachable code reached")]
    Unreachable,
    /// A memory access out of bounds.
    #[error("memory access out of bounds")]
    MemoryOutOfBounds,
    /// A table access out of bounds.
    #[error("table access out of bounds")]
    TableOutOfBounds,
    /// An indirect call through an empty table element.
    #[error("indirect call to null")]
    IndirectCallToNull,
    /// An indirect call with another signature than the callee's.
    #[error("indirect call with another signature")]
    BadSignature,
    /// Division by zero.
    #[error("integer division by zero")]
    DivisionByZero,
    /// A quotient or conversion that its type cannot hold.
    #[error("integer overflow")]
    IntegerOverflow,
    /// NaN or an infinity converted to an integer.
    #[error("bad conversion to integer")]
    BadConversion,
}

impl From<TrapCode> for Failure {
    fn from(code: TrapCode) -> Self {
        match code {
            TrapCode::UnreachableCodeReached => Self::Trap(Trap::Unreachable),
            TrapCode::MemoryOutOfBounds => Self::Trap(Trap::MemoryOutOfBounds),
            TrapCode::TableOutOfBounds => Self::Trap(Trap::TableOutOfBounds),
            TrapCode::IndirectCallToNull => Self::Trap(Trap::IndirectCallToNull),
            TrapCode::IntegerDivisionByZero => Self::Trap(Trap::DivisionByZero),
            TrapCode::IntegerOverflow => Self::Trap(Trap::IntegerOverflow),
            TrapCode::BadConversionToInteger => Self::Trap(Trap::BadConversion),
            TrapCode::BadSignature => Self::Trap(Trap::BadSignature),
            TrapCode::StackOverflow => Self::StackOverflow,
            // The limiter and the meter know the limits and speak first; these are what is left when they did
            // not.
            TrapCode::OutOfFuel => Self::OutOfFuel { fuel_max: 0 },
            TrapCode::GrowthOperationLimited | TrapCode::OutOfSystemMemory => Self::HostMemory,
        }
    }
}

impl From<wasmi::Error> for Failure {
    fn from(error: wasmi::Error) -> Self {
        if let Some(code) = error.as_trap_code() {
            return code.into();
        }
        match error.kind() {
            ErrorKind::Instantiation(InstantiationError::ElementSegmentDoesNotFit { .. })
            | ErrorKind::Table(TableError::InitOutOfBounds) => Self::Trap(Trap::TableOutOfBounds),
            ErrorKind::Memory(MemoryError::OutOfBoundsAccess) => Self::Trap(Trap::MemoryOutOfBounds),
            // The engine says why only the first time, and a run must not show what ran before it.
            ErrorKind::Translation(_) => Self::Unrunnable(String::from("a function cannot be translated")),
            _ => Self::Unrunnable(alloc::string::ToString::to_string(&error)),
        }
    }
}
