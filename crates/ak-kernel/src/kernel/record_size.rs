//! Bounds on the journal space that a request may need, so that the host can check for it before anything happens.
//! The same bounds hold for what is recorded: a step or completion that would take more is refused or shortened
//! before it becomes an input.
//!
//! The bounds are not part of the state. Inputs in a journal were within them when they arrived and are not checked
//! again.

use alloc::{format, string::String};

use ak_json::{Object, Value};

use crate::{
    api::{
        code::Code,
        effect::{Completion, Spent, Step, Ticket},
        prepared::PreparedCompletion,
        presented::AuthenticatedRequest,
        reply::Failure,
        tool_request::ToolRequest,
    },
    operations::{EffectSize, http::ADDRESSES_MAX, infer::answer_bytes_max},
    record::entry::Record,
    state::Kernel,
};

/// Upper bound in bytes of what a record takes besides its input and subjects: entry, frames, seal, names of
/// members.
const RECORD_BYTES: u64 = 2 << 10;
/// Upper bound in bytes of the records of one input besides its content: its own record, and a CLOCK_STEP record
/// before it.
const INPUT_BYTES: u64 = 2 * RECORD_BYTES;
/// Upper bound in bytes of the seal and frames around one record, including the frame of its batch.
const FRAMES_BYTES: u64 = 256;
/// Bytes that each subject takes in a sealed body.
const SUBJECT_BYTES: u64 = 8;
/// Bytes that each agent takes in a throttling record.
const THROTTLED_AGENT_BYTES: u64 = 64;

/// Most bytes of the JSON of an outcome besides its data.
pub const OUTCOME_BYTES_MAX: u64 = 128 << 10;

/// Most bytes of the message that a shortened failure keeps.
const MESSAGE_BYTES_MAX: usize = 1 << 10;
const FACTS_MAX: usize = 16;
const FACT_NAME_BYTES_MAX: usize = 64;

/// Longest outcome of an effect in the journal's form, in bytes.
const fn outcome_bytes_max(size: &EffectSize) -> u64 {
    size.outcome_bytes_max.saturating_add(OUTCOME_BYTES_MAX)
}

impl Kernel {
    /// Upper bound in bytes of the throttling record, including `more` further agents; 0 if there are no throttled
    /// requests. A host without room for it does not call [`throttle`](Self::throttle): throttled requests must not
    /// fill a disk.
    pub fn throttled_bytes(&self, more: u64) -> u64 {
        match self.throttled_requests().saturating_add(more) {
            0 => 0,
            agents => INPUT_BYTES.saturating_add(agents.saturating_mul(THROTTLED_AGENT_BYTES)),
        }
    }

    /// Upper bound in bytes of a record that the kernel makes without a request, such as that of a snapshot.
    pub const fn own_record_bytes_max() -> u64 {
        INPUT_BYTES
    }

    /// Upper bound in bytes that the records not polled yet take in a journal.
    pub fn unpolled_bytes(&self) -> u64 {
        self.unpolled().map(Record::journal_bytes_max).fold(0, u64::saturating_add)
    }

    /// Upper bound in bytes of the records of a host call: see [`record_bytes_max`](Self::record_bytes_max).
    pub fn host_call_bytes_max(&self, request: &ToolRequest) -> u64 {
        match request.request() {
            Some(request) => self.record_bytes_max(&request.clone().into()),
            None => INPUT_BYTES.saturating_add(self.throttled_bytes(0)),
        }
    }

    /// Upper bound in bytes of the records of a request: the decision, and for an effect its steps and outcome,
    /// except the chunks of a streamed answer (see [`step_bytes_max`](Self::step_bytes_max)). A host without that
    /// much room answers LOG_FULL and does not dispatch the request.
    pub fn record_bytes_max(
        &self,
        AuthenticatedRequest { request, presented, prepared }: &AuthenticatedRequest,
    ) -> u64 {
        let outcome = request.effect_size(&self.config).map_or(0, |size| {
            // During the effect the wall time of its agent may end, and an erasure adds the begin and the end of a
            // snapshot. These are inputs too, each with a possible CLOCK_STEP record before it.
            outcome_bytes_max(&size).saturating_add(6 * INPUT_BYTES).saturating_add(size.steps_bytes_max)
        });
        let subjects_max = request.operations().saturating_add(1);
        let presented = presented.as_ref().map_or(0, |presented| presented.to_value().json_len() as u64);
        INPUT_BYTES
            .saturating_add(self.throttled_bytes(0))
            .saturating_add(subjects_max.saturating_mul(SUBJECT_BYTES))
            .saturating_add(presented)
            .saturating_add(prepared.args(request).json_len() as u64)
            .saturating_add(outcome)
    }

    /// Upper bound in bytes of the record that completes an effect as unknown after a restart: see
    /// [`tickets`](Self::tickets).
    pub const fn unknown_bytes_max() -> u64 {
        INPUT_BYTES
    }

    /// Upper bound in bytes of the records of a step, unless [`record_bytes_max`](Self::record_bytes_max) includes
    /// them. The length of a streamed answer is unknown in advance, so the host checks for room before each chunk.
    /// If there is none, it stops the effect.
    pub fn step_bytes_max(&self, ticket: Ticket, step: &Step) -> u64 {
        match step {
            Step::Chunk { .. } if self.pending.contains_key(&ticket) => {
                INPUT_BYTES.saturating_add(step.to_value().json_len() as u64)
            }
            Step::Chunk { .. }
            | Step::Resolved(_)
            | Step::Redirect { .. }
            | Step::Link { .. }
            | Step::Path { .. }
            | Step::Resend => 0,
        }
    }

    /// Whether a ticket names a pending effect.
    pub fn is_under_way(&self, ticket: Ticket) -> bool {
        self.pending.contains_key(&ticket)
    }

    /// Refuses every further step of an effect without recording it, because the host has no room for one. The host
    /// must stop the effect, which ends with this failure.
    pub fn refuse_steps(&mut self, ticket: Ticket, failure: Failure) {
        if let Some(pending) = self.pending.get_mut(&ticket) {
            pending.refused.get_or_insert(failure);
        }
    }

    /// Checks a step against its bound, and takes its record from the bytes that are planned for the effect's
    /// steps.
    ///
    /// # Errors
    /// LIMIT if the step is too long, or the effect had too many steps. The host must stop the effect.
    pub(crate) fn bounded_step(&mut self, ticket: Ticket, step: Step) -> Result<Step, Failure> {
        let answer_max = answer_bytes_max(&self.config);
        if let Some(failure) = self.pending.get(&ticket).and_then(|pending| pending.refused.clone()) {
            return Err(failure);
        }
        let step = match step {
            Step::Resolved(mut addresses) => {
                addresses.truncate(ADDRESSES_MAX);
                Step::Resolved(addresses)
            }
            Step::Redirect { .. }
            | Step::Link { .. }
            | Step::Path { .. }
            | Step::Resend
            | Step::Chunk { .. } => step,
        };
        let length = step.to_value().json_len() as u64;
        let Some(pending) = self.pending.get_mut(&ticket) else {
            let too_long = || Failure::new(Code::Limit, "no pending effect has this ticket");
            return if length <= RECORD_BYTES { Ok(step) } else { Err(too_long()) };
        };
        let refused = if matches!(step, Step::Chunk { .. }) {
            (length > answer_max)
                .then(|| format!("one chunk of the answer takes {length} bytes, the limit is {answer_max}"))
        } else {
            let taken = pending.steps_bytes.saturating_add(INPUT_BYTES).saturating_add(length);
            let max = pending.request.effect_size(&self.config).map_or(0, |size| size.steps_bytes_max);
            pending.steps_bytes = taken.min(max);
            (taken > max)
                .then(|| format!("the steps of this effect exceed the {max} bytes that are recorded of them"))
        };
        match refused {
            None => Ok(step),
            Some(message) => {
                let failure = Failure::new(Code::Limit, message);
                pending.refused = Some(failure.clone());
                Err(failure)
            }
        }
    }

    /// Bounds a completion to the bytes that are planned for it.
    pub(crate) fn bounded_end(&self, ticket: Ticket, ended: PreparedCompletion) -> PreparedCompletion {
        let Some(pending) = self.pending.get(&ticket) else {
            // The completion has no consequence, so its content is dropped.
            return Completion::Unknown.into();
        };
        let ended = match &pending.refused {
            None => ended,
            Some(failure) => refused(ended.completion, failure).into(),
        };
        let size = pending.request.effect_size(&self.config).unwrap_or(EffectSize::SMALL);
        let max = outcome_bytes_max(&size);
        let length = ended.journal_bytes();
        if length <= max { ended } else { shortened(ended.completion, length, max).into() }
    }
}

impl Record {
    /// Upper bound in bytes that a journal takes for the record: entry and body with seal and frames.
    pub fn journal_bytes_max(&self) -> u64 {
        let own = self.leaf.len().saturating_add(self.body.len()) as u64;
        own.saturating_add(FRAMES_BYTES).saturating_add(self.subjects.len() as u64 * SUBJECT_BYTES)
    }
}

/// What an effect used up, according to its completion. The log is left out, since it may be what is too long.
fn spent(completion: &Completion) -> Spent {
    match completion {
        Completion::Http(response) => Spent::from(response.body.len() as u64),
        Completion::Inferred { tokens, .. } => Spent::from(*tokens),
        Completion::Tool { fuel, .. } => Spent::from(*fuel),
        Completion::Failed { spent, .. } => Spent { log: None, ..spent.clone() },
        Completion::Done | Completion::File(_) | Completion::Value(_) | Completion::Unknown => {
            Spent::default()
        }
    }
}

/// The completion of an effect that had a step refused: the refusal's failure, with what the effect used up.
fn refused(completion: Completion, failure: &Failure) -> Completion {
    let (spent, context) = (spent(&completion), facts(&completion));
    match completion {
        Completion::Unknown => Completion::Unknown,
        Completion::Done
        | Completion::File(_)
        | Completion::Value(_)
        | Completion::Http(_)
        | Completion::Inferred { .. }
        | Completion::Tool { .. }
        | Completion::Failed { .. } => {
            Completion::Failed { code: failure.code, message: failure.message.clone(), context, spent }
        }
    }
}

/// A failure in place of a completion that takes more bytes than were planned. It never counts as made by a tool's
/// own run.
fn shortened(completion: Completion, length: u64, max: u64) -> Completion {
    let (spent, context) = (spent(&completion), facts(&completion));
    match completion {
        Completion::Failed { code, message, .. } => {
            let code = if code == Code::ToolFail { Code::BufferOverflow } else { code };
            Completion::Failed { code, message: clipped(&message), context, spent }
        }
        Completion::Done
        | Completion::File(_)
        | Completion::Value(_)
        | Completion::Http(_)
        | Completion::Inferred { .. }
        | Completion::Tool { .. }
        | Completion::Unknown => Completion::Failed {
            code: Code::BufferOverflow,
            message: format!("the effect's result takes {length} bytes in the log, the limit is {max}"),
            context,
            spent,
        },
    }
}

/// Those members of a failure's context that are short: numbers, booleans and nulls.
fn facts(completion: &Completion) -> Object {
    let Completion::Failed { context, .. } = completion else { return Object::new() };
    let short = context.iter().filter(|(name, value)| {
        name.len() <= FACT_NAME_BYTES_MAX && matches!(value, Value::Null | Value::Bool(_) | Value::Number(_))
    });
    short.take(FACTS_MAX).map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn clipped(message: &str) -> String {
    let mut end = message.len().min(MESSAGE_BYTES_MAX);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    String::from(message.get(..end).unwrap_or_default())
}
