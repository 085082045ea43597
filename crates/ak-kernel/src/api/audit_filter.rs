//! Filters for queries on the audit log.

use alloc::{format, vec::Vec};

use ak_audit::Decision;
use ak_json::{Object, Text, Value};
use ak_policy::did_you_mean;

use crate::api::{
    code::Code,
    fields::{FieldError, Fields, insert_some},
    operation::Operation,
    reply::Failure,
};

/// Most entries that one query returns.
pub const QUERY_LIMIT_MAX: u64 = 10_000;
/// Entries that a query returns at most if it sets no limit.
pub const QUERY_LIMIT: u64 = 1_000;

/// Most characters of a word that an error repeats.
const QUOTED_CHARACTERS_MAX: usize = 64;

/// The beginning of a word, for an error that repeats it.
pub(crate) fn quoted(word: &str) -> &str {
    word.char_indices().nth(QUOTED_CHARACTERS_MAX).map_or(word, |(end, _)| word.get(..end).unwrap_or(word))
}

/// The conditions of an audit query. An absent condition holds for every entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// The event type, compared exactly.
    pub event_type: Option<Text>,
    /// The name of the agent.
    pub actor: Option<Text>,
    /// Earliest time, in µs since the Unix epoch.
    pub since: Option<u64>,
    /// Latest time, in µs since the Unix epoch.
    pub until: Option<u64>,
    /// The name of the operation, upper or lower case.
    pub operation: Option<Text>,
    /// The decision: `permit`, `ask`, `forbid`, `default_deny` or `refused`.
    pub decision: Option<Text>,
    /// The beginning of the canonical target.
    pub target: Option<Text>,
    /// The id of the rule that decided.
    pub rule: Option<Text>,
    /// Only entries with a higher `seq`. To page forwards, pass the last `seq` of the page before.
    pub cursor: Option<u64>,
    /// Only entries with a lower `seq`. To page backwards, pass the first `seq` of the page before.
    pub before: Option<u64>,
    /// Whether to return the newest entries instead of the oldest. The order stays ascending.
    pub newest: bool,
    /// Most entries to return, up to [`QUERY_LIMIT_MAX`]; `None` means [`QUERY_LIMIT`].
    pub limit: Option<u64>,
}

impl AuditFilter {
    pub(crate) fn to_value(&self) -> Value {
        let mut args = Object::new();
        insert_some(&mut args, "event_type", self.event_type.clone());
        insert_some(&mut args, "actor", self.actor.clone());
        insert_some(&mut args, "since", self.since);
        insert_some(&mut args, "until", self.until);
        insert_some(&mut args, "operation", self.operation.clone());
        insert_some(&mut args, "decision", self.decision.clone());
        insert_some(&mut args, "target", self.target.clone());
        insert_some(&mut args, "rule_id", self.rule.clone());
        insert_some(&mut args, "cursor", self.cursor);
        insert_some(&mut args, "before", self.before);
        insert_some(&mut args, "newest", self.newest.then_some(true));
        insert_some(&mut args, "limit", self.limit);
        args.into()
    }

    /// Reads a filter from a JSON object.
    ///
    /// # Errors
    /// [`FieldError`] names the member that is unknown, of the wrong type or above its limit.
    pub fn decode(value: &Value) -> Result<AuditFilter, FieldError> {
        let mut fields = Fields::new("query", value)?;
        let filter = AuditFilter::from_fields(&mut fields)?;
        fields.finish()?;
        Ok(filter)
    }

    pub(crate) fn from_fields(fields: &mut Fields<'_>) -> Result<AuditFilter, FieldError> {
        let filter = AuditFilter {
            event_type: fields.optional_text("event_type")?,
            actor: fields.optional_text("actor")?,
            since: fields.optional_u64("since")?,
            until: fields.optional_u64("until")?,
            operation: fields.optional_text("operation")?,
            decision: fields.optional_text("decision")?,
            target: fields.optional_text("target")?,
            rule: fields.optional_text("rule_id")?,
            cursor: fields.optional_u64("cursor")?,
            before: fields.optional_u64("before")?,
            newest: fields.flag("newest")?,
            limit: fields.optional_u64("limit")?,
        };
        match filter.limit {
            Some(limit) if limit > QUERY_LIMIT_MAX => Err(fields.error("limit", "is above 10000")),
            _ => Ok(filter),
        }
    }

    /// Why nothing can match it: its limit is above the most, or it names a decision or an operation that does not exist.
    pub(crate) fn rejection(&self) -> Option<Failure> {
        let invalid = |message| Some(Failure::new(Code::InvalidArgument, message));
        if self.limit.is_some_and(|limit| limit > QUERY_LIMIT_MAX) {
            return Some(Failure::new(Code::Limit, format!("args.limit: is above {QUERY_LIMIT_MAX}")));
        }
        if let Some(name) = self.decision.as_deref()
            && Decision::ALL.iter().all(|decision| decision.name() != name)
        {
            let known: Vec<&str> = Decision::ALL.iter().map(|decision| decision.name()).collect();
            let hint = match name {
                "denied" | "deny" => "a denial is forbid, default_deny or refused".into(),
                name => did_you_mean(name, &known),
            };
            return invalid(format!("args.decision: {:?} is no decision: {hint}", quoted(name)));
        }
        if let Some(name) = self.operation.as_deref()
            && Operation::from_word(name).is_none()
        {
            let known: Vec<&str> = Operation::ALL.iter().map(|operation| operation.event()).collect();
            let hint = did_you_mean(&name.replace('.', "_"), &known);
            return invalid(format!("args.operation: {:?} is no operation: {hint}", quoted(name)));
        }
        None
    }

    /// Bytes of the texts that the caller chose.
    pub(crate) fn size(&self) -> u64 {
        let texts =
            [&self.event_type, &self.actor, &self.operation, &self.decision, &self.target, &self.rule];
        texts.into_iter().flatten().map(|text| text.len() as u64).fold(0, u64::saturating_add)
    }
}
