//! Requests on the audit log.

use ak_json::{Text, Value};

use crate::api::audit_filter::AuditFilter;

/// A request on the audit log.
#[derive(Clone, Debug, PartialEq)]
pub enum AuditRequest {
    /// Writes an entry with an event type and details of the caller's choice.
    Log {
        /// The event type. It must not be empty, nor the event name of an operation.
        event: Text,
        /// Any JSON value.
        details: Value,
        /// The name of the subject that the entry is about; `None` means the agent.
        subject: Option<Text>,
    },
    /// Returns the entries that match a filter.
    Query(AuditFilter),
    /// Verifies the whole log and re-executes it.
    Verify {
        /// The key that the caller trusts to sign checkpoints, as text (C2SP signed-note).
        key: Option<Text>,
        /// A signed checkpoint that the caller kept from earlier.
        anchor: Option<Text>,
    },
    /// Signs a checkpoint of the log in its current state.
    Checkpoint,
    /// Proves that an entry is part of the log.
    Prove {
        /// The `seq` of the entry.
        seq: u64,
    },
    /// Erases everything that is recorded about a subject.
    Erase {
        /// The subject's name: an agent's name, or a name that was given to ALLOC or AUDIT_LOG.
        subject: Text,
    },
}
