//! The table of result codes. Every shim takes its numbers, names and exception classes from here.

use core::fmt;

/// The exception class of a code in Python, and its family elsewhere.
///
/// The Python binding defines the subclasses: `PatchTestFailed` is an `InvalidArgument`, `RateLimit` a
/// `BudgetExceeded`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// Transport, loading, internal faults, a closed kernel.
    Libak,
    /// The policy does not permit the request, or a grant has expired.
    OperationDenied,
    /// The owner must approve the request first.
    ApprovalRequired,
    /// Untrusted or secret data must not flow to this target.
    Taint,
    /// A presented token is not valid or not sufficient.
    Capability,
    /// A limit of `set_budget` or `[budgets]` is used up.
    BudgetExceeded,
    /// A rate is used up; the caller may try again later.
    RateLimit,
    /// The request itself is malformed or over a limit.
    InvalidArgument,
    /// A value does not satisfy its schema, or the schema is not supported.
    Schema,
    /// A `test` operation of a JSON Patch failed.
    PatchTestFailed,
    /// The object of the request does not exist.
    NotFound,
    /// The object's version is not the expected one.
    Conflict,
    /// The result is larger than the caller's own `max_…`.
    BufferOverflow,
    /// A deadline passed.
    Timeout,
    /// A quota of the kernel is used up.
    OutOfMemory,
    /// A tool failed.
    Tool,
    /// The audit log has no room or is damaged.
    Audit,
    /// It is unknown whether an effect happened.
    UnknownOutcome,
}

impl ErrorClass {
    /// The name of the Python exception.
    pub const fn exception(self) -> &'static str {
        match self {
            Self::Libak => "LibakError",
            Self::OperationDenied => "OperationDeniedError",
            Self::ApprovalRequired => "ApprovalRequiredError",
            Self::Taint => "TaintError",
            Self::Capability => "CapabilityError",
            Self::BudgetExceeded => "BudgetExceededError",
            Self::RateLimit => "RateLimitError",
            Self::InvalidArgument => "InvalidArgumentError",
            Self::Schema => "SchemaError",
            Self::PatchTestFailed => "PatchTestFailedError",
            Self::NotFound => "NotFoundError",
            Self::Conflict => "ConflictError",
            Self::BufferOverflow => "BufferOverflowError",
            Self::Timeout => "TimeoutError",
            Self::OutOfMemory => "OutOfMemoryError",
            Self::Tool => "ToolError",
            Self::Audit => "AuditError",
            Self::UnknownOutcome => "UnknownOutcomeError",
        }
    }
}

macro_rules! codes {
    ($($number:literal $variant:ident $name:literal $class:ident $doc:literal)*) => {
        /// Why a request failed: name, number and exception class. Success has no code; on the wire and in leaves
        /// it is 0.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(i32)]
        pub enum Code { $(#[doc = $doc] $variant = $number,)* }

        impl Code {
            /// Every code, highest number first.
            pub const ALL: &'static [Code] = &[$(Code::$variant,)*];

            /// The number on the wire, in C and in leaves.
            pub const fn number(self) -> i32 { self as i32 }

            /// The code with this number.
            pub const fn from_number(number: i32) -> Option<Code> {
                match number { $($number => Some(Code::$variant),)* _ => None }
            }

            /// The name in upper case, as on the wire.
            pub const fn name(self) -> &'static str {
                match self { $(Code::$variant => $name,)* }
            }

            /// Its meaning, in one sentence.
            pub const fn meaning(self) -> &'static str {
                match self { $(Code::$variant => $doc,)* }
            }

            /// The exception class.
            pub const fn class(self) -> ErrorClass {
                match self { $(Code::$variant => ErrorClass::$class,)* }
            }
        }
    };
}

codes! {
    -4001 FrameTooLarge "FRAME_TOO_LARGE" Libak "A wire frame is longer than allowed."
    -4002 SchemaInvalid "SCHEMA_INVALID" Schema "A value does not satisfy its type's schema, or a schema is malformed."
    -4003 SchemaUnknown "SCHEMA_UNKNOWN" Schema "A schema uses what is not supported."
    -4004 JsonInvalid "JSON_INVALID" InvalidArgument "A text is not JSON, or breaks a limit."
    -4005 FrameInvalid "FRAME_INVALID" Libak "A wire frame is malformed."
    -4006 InvalidArgument "INVALID_ARGUMENT" InvalidArgument "An argument is missing, unknown or of the wrong form."
    -4007 Version "VERSION" Libak "The other side speaks another version."
    -4100 CapMissing "CAP_MISSING" OperationDenied "No capability covers the request."
    -4101 CapInvalid "CAP_INVALID" Capability "A presented token is malformed or not ours."
    -4102 CapExpired "CAP_EXPIRED" OperationDenied "The grant or capability has expired, or its uses are spent."
    -4103 CapScope "CAP_SCOPE" OperationDenied "The capability does not cover this."
    -4104 CapRevoked "CAP_REVOKED" OperationDenied "The capability was revoked."
    -4105 CapRate "CAP_RATE" RateLimit "The rate of the grant or capability is reached."
    -4106 CapRunMismatch "CAP_RUN_MISMATCH" OperationDenied "The capability belongs to another run."
    -4200 Replay "REPLAY" Libak "The frame or request was seen before."
    -4201 PolicyDeny "POLICY_DENY" OperationDenied "The policy does not permit it."
    -4202 ApprovalRequired "APPROVAL_REQUIRED" ApprovalRequired "The policy asks for an approval first."
    -4203 Taint "TAINT" Taint "Labels forbid the flow."
    -4204 DlpBlock "DLP_BLOCK" OperationDenied "Blocked by data-loss prevention."
    -4205 PolicyInvalid "POLICY_INVALID" InvalidArgument "The policy text is rejected; the policy in force stays."
    -4206 NoPolicy "NO_POLICY" OperationDenied "There is no policy at all."
    -4300 BudgetExceeded "BUDGET_EXCEEDED" BudgetExceeded "A budget is used up."
    -4301 RateLimit "RATE_LIMIT" RateLimit "Too many requests."
    -4302 Deadline "DEADLINE" Timeout "The effect took too long."
    -4303 Quota "QUOTA" OutOfMemory "The kernel's own quota is used up."
    -4304 Limit "LIMIT" InvalidArgument "A value is larger than the kernel takes."
    -4400 Conflict "CONFLICT" Conflict "The object has another version."
    -4401 ToolFail "TOOL_FAIL" Tool "The tool failed."
    -4402 ToolTimeout "TOOL_TIMEOUT" Timeout "The tool took too long."
    -4403 NotFound "NOT_FOUND" NotFound "The thing that the request names does not exist."
    -4404 LogFull "LOG_FULL" Audit "The disk has no room for the log; nothing was done."
    -4405 LogCorrupt "LOG_CORRUPT" Audit "The log is damaged; it can only be read."
    -4406 NotConfigured "NOT_CONFIGURED" Libak "The host lacks a setting; the message names it."
    -4407 PatchTestFailed "PATCH_TEST_FAILED" PatchTestFailed "A `test` operation did not hold; nothing changed."
    -4408 Io "IO" Libak "The host could not perform the effect."
    -4409 UnknownOutcome "UNKNOWN_OUTCOME" UnknownOutcome "The effect may or may not have happened."
    -4410 BufferOverflow "BUFFER_OVERFLOW" BufferOverflow "The result exceeds the caller's own limit."
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_survives_its_number() {
        for &code in Code::ALL {
            assert_eq!(Code::from_number(code.number()), Some(code));
        }
        assert_eq!(Code::from_number(0), None);
    }

    #[test]
    fn numbers_fall_and_names_are_distinct() {
        for pair in Code::ALL.windows(2) {
            assert!(pair[0].number() > pair[1].number());
            assert_ne!(pair[0].name(), pair[1].name());
        }
    }
}
