use alloc::string::String;
use alloc::vec::Vec;

use wasmi::TrapCode;
use wasmi::errors::{ErrorKind, InstantiationError, MemoryError, TableError};

/// A run that ended without a result: the reason, the fuel spent and the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{failure}")]
pub struct RunError {
    /// The reason.
    pub failure: Failure,
    /// Fuel spent, at most the run's limit.
    pub fuel: u64,
    /// The end of the guest's log, written by `ak.log` or to stderr.
    pub log: Vec<u8>,
}

/// Why a run ended without a result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The tool reports failure, by `ak.fail` or by an exit code other than 0.
    #[error("{message}")]
    ToolFailed {
        /// The tool's message, at most 4,096 bytes; for a WASI command the end of its stderr, or its exit code if
        /// that is empty.
        message: String,
        /// The exit code of a WASI command; `None` for `ak.fail`.
        exit_code: Option<u32>,
    },
    /// The run would need more fuel than its limit.
    #[error("out of fuel: the limit is {fuel_max}")]
    OutOfFuel {
        /// The limit, in units of fuel.
        fuel_max: u64,
    },
    /// The guest requested more memory than its limit.
    #[error("memory limit: more than {bytes_max} bytes asked for")]
    MemoryLimit {
        /// The limit, in bytes.
        bytes_max: u64,
    },
    /// The tables have too many elements, or the guest tried to grow a table, which is not supported.
    #[error("table limit: more than {elements_max} elements, or a table growing at run time")]
    TableLimit {
        /// The limit on the elements of all tables.
        elements_max: u64,
    },
    /// The host itself has no memory left for the guest.
    #[error("the host has no memory left for the guest")]
    HostMemory,
    /// Calls are nested too deeply.
    #[error("stack overflow")]
    StackOverflow,
    /// The result is longer than its limit.
    #[error("output too large: the limit is {bytes_max} bytes")]
    OutputTooLarge {
        /// The limit, in bytes.
        bytes_max: u64,
    },
    /// The result is not JSON.
    #[error("output is not JSON: {reason}")]
    InvalidJsonOutput {
        /// What is wrong with the result, and where.
        reason: String,
    },
    /// The arguments do not satisfy the tool's input schema.
    #[error("argument {reason}")]
    InvalidInput {
        /// Which part of the arguments violates which part of the schema.
        reason: String,
    },
    /// The result is JSON, but does not satisfy the tool's output schema.
    #[error("result {reason}")]
    InvalidOutput {
        /// Which part of the result violates which part of the schema.
        reason: String,
    },
    /// A pointer and length that lie outside the guest's memory.
    #[error("bad pointer given to or by `{call}`: {length} bytes at {at}")]
    BadPointer {
        /// The function that took or returned the pointer.
        call: &'static str,
        /// The address.
        at: u32,
        /// The length in bytes.
        length: u32,
    },
    /// An invalid call of a host function.
    #[error("bad host call `{call}`: {reason}")]
    BadHostCall {
        /// Name of the function.
        call: &'static str,
        /// What is wrong with the call.
        reason: String,
    },
    /// The host rejected writing a file after the WASI command had ended successfully.
    #[error("file not written: {path}: {reason}")]
    FileNotWritten {
        /// Path of the file.
        path: String,
        /// The host's error, as JSON.
        reason: String,
    },
    /// The guest made more host calls than one run may make.
    #[error("too many host calls: the limit is {calls_max}")]
    HostCallLimit {
        /// The limit on the number of host calls.
        calls_max: u32,
    },
    /// The guest's code trapped.
    #[error("trap: {0}")]
    Trap(Trap),
    /// The reply does not fit the host call. This is an error of the host, not of the guest.
    #[error("the host's reply to `{call}` does not fit: {reason}")]
    BadReply {
        /// Name of the host call.
        call: &'static str,
        /// What is wrong with the reply.
        reason: String,
    },
    /// The run was driven out of order: a step after its end or while a reply is due, or a reply when none is due.
    #[error("run driven out of order: {0}")]
    OutOfOrder(&'static str),
    /// The engine cannot run the module for a reason that it finds only at run time, such as a function too large to
    /// translate.
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
    /// An indirect call of a function with another signature.
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
            // The limiter and the meter report these first and with the limit. These cases are for when they did not.
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
            // The engine gives the reason only the first time, and a run's result must not depend on earlier runs.
            ErrorKind::Translation(_) => Self::Unrunnable(String::from("a function cannot be translated")),
            _ => Self::Unrunnable(alloc::string::ToString::to_string(&error)),
        }
    }
}
