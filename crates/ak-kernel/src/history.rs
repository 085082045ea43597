//! Recent entries in readable form, for queries. Derived from the journal, so it is never written anywhere.

use alloc::{string::String, vec::Vec};

use ak_audit::{Kind, Verdict};
use ak_json::{Object, ObjectBuilder, Text, Value, object};

use crate::{
    fields::{FieldError, Fields},
    form::insert_some,
    operation::Operation,
    record::Facts,
    shared::SharedQueue,
    time::Time,
};

/// Most entries that one query returns.
pub const QUERY_LIMIT_MAX: u64 = 10_000;
/// Most bytes of entries that one query returns. An entry that is longer comes alone.
const QUERY_BYTES_MAX: u64 = 2 << 20;
/// Most entries that one query looks at. What it did not look at, the next query goes on with.
const QUERY_SCANNED_MAX: usize = 50_000;
/// Most subjects of which one query tells.
const QUERY_SUBJECTS_MAX: usize = 1_000;
/// How many entries a query returns that names no limit.
pub const QUERY_LIMIT: u64 = 1_000;

/// Which entries a query wants. Conditions that are absent hold for every entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The event.
    pub event_type: Option<Text>,
    /// The agent.
    pub actor: Option<Text>,
    /// Not before, in µs since the Unix epoch.
    pub since: Option<u64>,
    /// Not after, in µs since the Unix epoch.
    pub until: Option<u64>,
    /// The operation's name, in any case.
    pub operation: Option<Text>,
    /// `permit`, `ask`, `forbid`, `deny` or `refused`.
    pub decision: Option<Text>,
    /// What the canonical target begins with.
    pub target: Option<Text>,
    /// The rule that decided.
    pub rule: Option<Text>,
    /// Only entries after this `seq`: the last one seen, to go on from the oldest to newer ones.
    pub cursor: Option<u64>,
    /// Only entries before this `seq`: the first one seen, to go on from the newest to older ones.
    pub before: Option<u64>,
    /// The newest entries instead of the oldest. They still come oldest first.
    pub newest: bool,
    /// At most so many; 1,000 where absent.
    pub limit: Option<u64>,
}

impl Filter {
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

    /// Takes a filter from a JSON object with the members of this type.
    ///
    /// # Errors
    /// [`FieldError`] names the member that is unknown or of the wrong type.
    pub fn decode(value: &Value) -> Result<Filter, FieldError> {
        let mut fields = Fields::new("query", value)?;
        let filter = Filter::from_fields(&mut fields)?;
        fields.finish()?;
        Ok(filter)
    }

    pub(crate) fn from_fields(fields: &mut Fields<'_>) -> Result<Filter, FieldError> {
        let filter = Filter {
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

    /// Bytes of everything in it that a caller chooses.
    pub(crate) fn size(&self) -> u64 {
        let texts =
            [&self.event_type, &self.actor, &self.operation, &self.decision, &self.target, &self.rule];
        texts.into_iter().flatten().map(|text| text.len() as u64).fold(0, u64::saturating_add)
    }

    fn admits(&self, view: &View) -> bool {
        self.event_type.as_ref().is_none_or(|event| *event == view.event)
            && self.actor.as_ref().is_none_or(|actor| *actor == view.actor)
            && self.since.is_none_or(|since| view.time_us >= since)
            && self.until.is_none_or(|until| view.time_us <= until)
            && self.operation.as_ref().is_none_or(|name| name.eq_ignore_ascii_case(view.operation))
            && self.decision.as_ref().is_none_or(|decision| **decision == *view.decision)
            && self.target.as_ref().is_none_or(|start| view.text("target").starts_with(&**start))
            && self.rule.as_ref().is_none_or(|rule| view.text("rule_id") == &**rule)
    }
}

/// One entry as people read it.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) seq: u64,
    pub(crate) time_us: u64,
    pub(crate) actor: Text,
    pub(crate) event: Text,
    pub(crate) operation: &'static str,
    pub(crate) decision: &'static str,
    /// Whom it is about or tells of; nobody beside the kernel itself where empty.
    pub(crate) about: Vec<Text>,
    /// The whole of it, as the query returns it, but for the message.
    pub(crate) json: Value,
    /// What it says for people. It is in no digest, and gone after a restart from a snapshot.
    message: Option<Text>,
}

impl View {
    pub(crate) fn new(
        seq: u64,
        time: Time,
        facts: &Facts,
        about: Vec<Text>,
        details: Value,
        message: Option<String>,
    ) -> View {
        let (event, origin) = match &facts.event {
            Some(event) => (event.clone(), "agent"),
            None => (Text::from(facts.operation.event()), "kernel"),
        };
        let kind = match facts.kind {
            Kind::Decision => "decision",
            Kind::Step => "step",
            Kind::Outcome => "outcome",
            Kind::Notice => "notice",
        };
        let decision = decision_name(facts.decision);
        let operation = facts.operation.name();
        let details = if let Value::Object(details) = details { details } else { Object::new() };
        let mut json = ObjectBuilder::with_capacity(12 + details.len());
        json.insert("seq", seq);
        json.insert("timestamp", time.as_micros());
        json.insert("event", event.clone());
        json.insert("actor", facts.agent.clone());
        json.insert("origin", origin);
        json.insert("operation", operation);
        json.insert("kind", kind);
        json.insert("target", facts.target.as_deref().map_or(Value::Null, Value::from));
        json.insert("decision", decision);
        json.insert("code", facts.code);
        if !facts.rule.is_empty() {
            json.insert("rule_id", facts.rule.clone());
        }
        if let Some(cause) = facts.cause {
            json.insert("cause", cause);
        }
        for (name, value) in &details {
            json.insert(name.clone(), value.clone());
        }
        let actor = facts.agent.clone();
        let json = json.finish().into();
        let message = message.map(Text::from);
        View { seq, time_us: time.as_micros(), actor, event, operation, decision, about, json, message }
    }

    /// What the query returns.
    fn shown(&self) -> Value {
        match (&self.message, &self.json) {
            (Some(message), Value::Object(members)) => {
                let mut members = members.clone();
                members.insert("message", message.clone());
                members.into()
            }
            (_, json) => json.clone(),
        }
    }

    fn text(&self, name: &str) -> &str {
        self.json.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    fn to_value(&self) -> Value {
        object! { "about": self.about.iter().cloned().map(Value::from).collect::<Vec<Value>>(), "entry": self.json.clone() }
    }

    fn from_value(value: &Value) -> Result<View, FieldError> {
        let mut fields = Fields::new("history", value)?;
        let json = fields.value("entry")?;
        let about = fields.texts("about")?;
        fields.finish()?;
        let unknown = |what: &str| FieldError::new("history.entry", alloc::format!("has no known {what}"));
        let member = |name: &'static str| json.get(name).ok_or_else(|| unknown(name));
        let number = |name| member(name)?.as_u64().ok_or_else(|| unknown(name));
        let text = |name| member(name)?.as_text().cloned().ok_or_else(|| unknown(name));
        let operation = Operation::from_name(&text("operation")?).ok_or_else(|| unknown("operation"))?.name();
        let decision = text("decision")?;
        let mut decisions = Verdict::ALL.iter().map(|decision| decision_name(*decision));
        let decision = decisions.find(|name| *name == &*decision).ok_or_else(|| unknown("decision"))?;
        let (seq, time_us) = (number("seq")?, number("timestamp")?);
        let (actor, event) = (text("actor")?, text("event")?);
        Ok(View { seq, time_us, actor, event, operation, decision, about, json, message: None })
    }
}

/// What a decision is called in readable entries.
pub(crate) const fn decision_name(decision: Verdict) -> &'static str {
    match decision {
        Verdict::Permit => "permit",
        Verdict::Ask => "ask",
        Verdict::Forbid => "forbid",
        Verdict::DefaultDeny => "deny",
        Verdict::Refused => "refused",
    }
}

/// What a name takes beside its bytes.
const NAME_BYTES: u64 = 24;

/// The newest entries, as many as fit. A copy shares them.
#[derive(Clone, Debug)]
pub(crate) struct History {
    /// With the bytes that each counts for.
    views: SharedQueue<(View, u64)>,
    bytes: u64,
    bytes_max: u64,
}

impl History {
    pub(crate) fn new(bytes_max: u64) -> History {
        History { views: SharedQueue::default(), bytes: 0, bytes_max }
    }

    pub(crate) fn push(&mut self, view: View) {
        // Whether it has a message, a snapshot does not tell: what is kept must not depend on it.
        let about = view.about.iter().map(|name| name.len() as u64 + NAME_BYTES).fold(0, u64::saturating_add);
        let size = (view.json.json_len() as u64).saturating_add(about);
        self.bytes = self.bytes.saturating_add(size);
        self.views.push_back((view, size));
        while self.bytes > self.bytes_max {
            let Some((_, size)) = self.views.pop_front_but_last() else { break };
            self.bytes = self.bytes.saturating_sub(size);
        }
    }

    /// Forgets what is about a subject, or tells of it.
    pub(crate) fn forget(&mut self, subject: &Text) {
        self.views.retain(|(view, _)| !view.about.contains(subject));
        self.bytes = self.views.iter().map(|(_, size)| *size).sum();
    }

    /// Whom the entry `seq` is about, while it is at hand.
    pub(crate) fn about(&self, seq: u64) -> &[Text] {
        let mut found = self.views.between(|(view, _)| view.seq < seq, |(view, _)| view.seq <= seq);
        found.next().map_or(&[], |(view, _)| &view.about)
    }

    pub(crate) fn to_value(&self) -> Value {
        self.views.iter().map(|(view, _)| view.to_value()).collect::<Vec<Value>>().into()
    }

    pub(crate) fn from_value(value: &Value, bytes_max: u64) -> Result<History, FieldError> {
        let rows = value.as_array().ok_or_else(|| FieldError::new("history", "expected an array"))?;
        let mut history = History::new(bytes_max);
        for row in rows.iter() {
            history.push(View::from_value(row)?);
        }
        Ok(history)
    }

    /// The entries that `filter` admits, oldest first; only those of `actor` where one is given. Where there may be more of
    /// them, `next` is the cursor from which another query goes on: `cursor`, or `before` from the newest to older ones.
    pub(crate) fn query(&self, filter: &Filter, actor: Option<&str>) -> Value {
        let first = self.views.front().map_or(0, |(view, _)| view.seq);
        let (after, end) = (filter.cursor, filter.before);
        let views = self.views.between(
            move |(view, _)| after.is_some_and(|after| view.seq <= after),
            move |(view, _)| end.is_none_or(|end| view.seq < end),
        );
        let mut page = Page::new(filter, actor);
        if filter.newest {
            page.fill(views.rev());
            page.found.reverse();
        } else {
            page.fill(views);
        }
        object! { "entries": page.found, "pruned_below": first, "next": page.next }
    }
}

/// What one query returns, as far as it got.
struct Page<'q> {
    filter: &'q Filter,
    actor: Option<&'q str>,
    found: Vec<Value>,
    next: Option<u64>,
}

impl<'q> Page<'q> {
    fn new(filter: &'q Filter, actor: Option<&'q str>) -> Page<'q> {
        Page { filter, actor, found: Vec::new(), next: None }
    }

    fn fill<'v>(&mut self, views: impl Iterator<Item = &'v (View, u64)>) {
        let limit = usize::try_from(self.filter.limit.unwrap_or(QUERY_LIMIT)).unwrap_or(usize::MAX);
        let (mut bytes, mut subjects) = (0u64, 0usize);
        let mut last = None;
        for (scanned, (view, size)) in views.enumerate() {
            let admitted = self.actor.is_none_or(|actor| *view.actor == *actor) && self.filter.admits(view);
            let (more, told) = (bytes.saturating_add(*size), subjects.saturating_add(view.about.len()));
            let fits = more <= QUERY_BYTES_MAX && told <= QUERY_SUBJECTS_MAX || self.found.is_empty();
            if scanned == QUERY_SCANNED_MAX || admitted && (self.found.len() == limit || !fits) {
                // With a limit of zero nothing was seen yet.
                self.next = last;
                return;
            }
            if admitted {
                (bytes, subjects) = (more, told);
                self.found.push(view.shown());
            }
            last = Some(view.seq);
        }
    }
}
