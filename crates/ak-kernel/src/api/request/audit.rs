//! Requests on the log.

use ak_json::{Text, Value};

use crate::api::audit_filter::AuditFilter;

/// A request on the log.
#[derive(Clone, Debug, PartialEq)]
pub enum AuditRequest {
    /// Write an entry of one's own.
    Log {
        /// The event type; kernel names are reserved.
        event: Text,
        /// Anything.
        details: Value,
        /// Whom it is about.
        subject: Option<Text>,
    },
    /// Read entries.
    Query(AuditFilter),
    /// Verify the whole log and re-execute it.
    Verify {
        /// The key that is trusted to sign checkpoints, as text (C2SP signed-note).
        key: Option<Text>,
        /// A signed checkpoint that the caller kept.
        anchor: Option<Text>,
    },
    /// Sign a checkpoint of the log as it stands.
    Checkpoint,
    /// Prove that an entry stands in the log.
    Prove {
        /// Which.
        seq: u64,
    },
    /// Erase all that is recorded about a subject.
    Erase {
        /// Its name: an agent's, or as it was given to ALLOC or AUDIT_LOG.
        subject: Text,
    },
}
