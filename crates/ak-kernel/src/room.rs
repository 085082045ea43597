//! How much room in the journal a request may need, so that it can be found before anything happens.

use crate::{kernel::Kernel, presented::Asked, request::Request, tool_request::ToolRequest};

/// What a record takes beside what its input holds: entry, frame, names of members.
const RECORD_BYTES: u64 = 2 << 10;
/// What a capability that comes with a request takes: the caveats of its token, in base64url.
const PRESENTED_BYTES: u64 = 6 << 10;
/// What each agent takes in a record of those who were turned away.
const TURNED_AWAY_BYTES: u64 = 64;
/// How many steps an effect is expected to take at most: addresses, redirects.
const STEPS: u64 = 32;

impl Kernel {
    /// Bytes that the record of those takes at most who were turned away, and of so many more; 0 where there is nobody. A
    /// host that finds no such room does not call [`turn_away`](Self::turn_away): what is refused may fill no disk.
    pub fn turned_away_bytes(&self, more: u64) -> u64 {
        match self.turned_away().saturating_add(more) {
            0 => 0,
            agents => RECORD_BYTES.saturating_add(agents.saturating_mul(TURNED_AWAY_BYTES)),
        }
    }

    /// Bytes that the records of what a running tool asks for take in a journal at most: see
    /// [`record_bytes_max`](Self::record_bytes_max).
    pub fn host_call_bytes_max(&self, request: &ToolRequest) -> u64 {
        match request.request() {
            Some(request) => self.record_bytes_max(&request.clone().into()),
            None => RECORD_BYTES.saturating_add(self.turned_away_bytes(0)),
        }
    }

    /// Bytes that the records of a request take in a journal at most: the decision, and for an effect its steps and
    /// its outcome. A host that finds no such room answers LOG_FULL and does not dispatch.
    pub fn record_bytes_max(&self, Asked { request, presented, prepared }: &Asked) -> u64 {
        // Bytes travel in base64url: four characters for three.
        let encoded = |bytes: u64| bytes.saturating_add(bytes / 3).saturating_add(STEPS * RECORD_BYTES);
        let outcome = match request {
            Request::FsRead { bytes_max, .. } => encoded((*bytes_max).min(self.config.input_bytes_max)),
            Request::Http(http) => encoded(http.response_bytes_max.min(self.config.response_bytes_max)),
            // Each chunk is a step of its own, and has at least a token.
            Request::Inference { .. } => encoded(self.config.response_bytes_max),
            Request::Call { .. } => encoded(self.config.tool_output_bytes_max),
            Request::FsList { .. } => encoded(self.config.input_bytes_max),
            Request::FsWrite { .. }
            | Request::FsStat { .. }
            | Request::FsDelete { .. }
            | Request::AuditVerify { .. }
            | Request::Commit
            | Request::AuditProof { .. }
            | Request::Erase { .. } => encoded(RECORD_BYTES),
            // What is answered at once has no record but the decision.
            _ => 0,
        };
        let presented = if presented.is_some() { PRESENTED_BYTES } else { 0 };
        RECORD_BYTES
            .saturating_add(self.turned_away_bytes(0))
            .saturating_add(presented)
            .saturating_add(prepared.args(request).json_len() as u64)
            .saturating_add(outcome)
    }
}
