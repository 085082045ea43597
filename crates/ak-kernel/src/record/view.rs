//! One entry in readable form. Hundreds of thousands are kept, so each is packed: fields for the conditions of
//! queries, and JSON text for the rest.

use alloc::{boxed::Box, vec::Vec};

use ak_audit::{Decision, Kind};
use ak_json::{Limits, Object, ObjectBuilder, Text, Value, json_string_len as string_len, object};

use crate::{
    api::{
        fields::{FieldError, Fields},
        operation::Operation,
        time::Time,
    },
    record::entry::EntryFields,
};

/// Longest JSON text, in bytes, as which an entry's details are packed. Longer details stay a value, because
/// encoding and parsing them would keep the lock too long.
const TEXT_BYTES_MAX: usize = 4 << 10;
/// Bytes that a name counts for besides its own.
const NAME_BYTES: u64 = 24;

/// One entry in readable form, packed.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) seq: u64,
    time_us: u64,
    /// The bytes that it counts for: its JSON text, and the names of its subjects.
    counted: u64,
    code: i32,
    operation: Operation,
    decision: Decision,
    kind: Kind,
    marks: Marks,
    /// Texts, each after its length: the actor, then the parts that `marks` lists, then the rest as JSON text.
    packed: Box<[u8]>,
    /// The rest, if it is too long to be packed.
    long: Option<Box<Value>>,
}

/// The parts that an entry has, one bit for each.
#[derive(Clone, Copy, Debug, Default)]
struct Marks(u8);

impl Marks {
    /// The event type was chosen by an agent.
    const EVENT: Marks = Marks(1);
    const TARGET: Marks = Marks(2);
    const RULE: Marks = Marks(4);
    const CAUSE: Marks = Marks(8);
    /// The actor is the only subject, so the names are not stored again.
    const ABOUT_ACTOR: Marks = Marks(16);
    /// A message for people. No digest includes it, and a restart from a snapshot loses it.
    const MESSAGE: Marks = Marks(32);
    /// The rest is the whole entry, because its members are not in this kernel's order or form.
    const WHOLE: Marks = Marks(64);

    const fn has(self, mark: Marks) -> bool {
        self.0 & mark.0 != 0
    }

    fn set_if(&mut self, mark: Marks, holds: bool) {
        if holds {
            self.0 |= mark.0;
        }
    }
}

/// The members that all entries have.
struct Common<'e> {
    seq: u64,
    time_us: u64,
    event: Option<&'e str>,
    actor: &'e str,
    operation: Operation,
    kind: Kind,
    target: Option<&'e str>,
    decision: Decision,
    code: i32,
    rule: Option<&'e str>,
    cause: Option<u64>,
}

/// The parts of a packed entry.
struct Parts<'v> {
    actor: &'v [u8],
    event: Option<&'v [u8]>,
    target: Option<&'v [u8]>,
    rule: Option<&'v [u8]>,
    cause: Option<u64>,
    about: Names<'v>,
    message: Option<&'v [u8]>,
    rest: &'v [u8],
}

impl View {
    pub(crate) fn new(
        seq: u64,
        time: Time,
        facts: &EntryFields,
        about: &[Text],
        details: Value,
        message: Option<&str>,
    ) -> View {
        let common = Common {
            seq,
            time_us: time.as_micros(),
            event: facts.event.as_deref(),
            actor: &facts.agent,
            operation: facts.operation,
            kind: facts.kind,
            target: facts.target.as_deref(),
            decision: facts.decision,
            code: facts.code,
            rule: Some(&*facts.rule).filter(|rule| !rule.is_empty()),
            cause: facts.cause,
        };
        let details = if let Value::Object(details) = details { details } else { Object::new() };
        if details.keys().any(|name| is_common(name)) {
            return View::whole(&common, about, common.with(&details, None).into(), message);
        }
        View::regular(&common, about, details, message)
    }

    /// An entry in this kernel's form: the common members, then the details.
    fn regular(common: &Common<'_>, about: &[Text], details: Object, message: Option<&str>) -> View {
        let len = common.json_len(&details);
        View::pack(common, about, details.into(), len, Marks::default(), message)
    }

    fn whole(common: &Common<'_>, about: &[Text], entry: Value, message: Option<&str>) -> View {
        let len = entry.json_len();
        View::pack(common, about, entry, len, Marks::WHOLE, message)
    }

    fn pack(
        common: &Common<'_>,
        about: &[Text],
        rest: Value,
        len: usize,
        mut marks: Marks,
        message: Option<&str>,
    ) -> View {
        let mut out = Vec::new();
        put_text(&mut out, common.actor);
        for (mark, text) in
            [(Marks::EVENT, common.event), (Marks::TARGET, common.target), (Marks::RULE, common.rule)]
        {
            marks.set_if(mark, text.is_some());
            text.into_iter().for_each(|text| put_text(&mut out, text));
        }
        marks.set_if(Marks::CAUSE, common.cause.is_some());
        common.cause.into_iter().for_each(|cause| put_number(&mut out, cause));
        let about_actor = matches!(about, [one] if **one == *common.actor);
        marks.set_if(Marks::ABOUT_ACTOR, about_actor);
        if !about_actor {
            put_number(&mut out, about.len() as u64);
            about.iter().for_each(|name| put_text(&mut out, name));
        }
        marks.set_if(Marks::MESSAGE, message.is_some());
        message.into_iter().for_each(|message| put_text(&mut out, message));
        // Empty details are stored as no bytes.
        let is_empty = rest.as_object().is_some_and(Object::is_empty);
        let is_long = rest.json_len() > TEXT_BYTES_MAX;
        if !is_long && !is_empty {
            rest.write_json(&mut out);
        }
        // Snapshots contain no messages, so a message must not change what an entry counts for.
        let names = about.iter().map(|name| name.len() as u64 + NAME_BYTES).fold(0, u64::saturating_add);
        View {
            seq: common.seq,
            time_us: common.time_us,
            counted: (len as u64).saturating_add(names),
            code: common.code,
            operation: common.operation,
            decision: common.decision,
            kind: common.kind,
            marks,
            packed: out.into_boxed_slice(),
            long: is_long.then(|| Box::new(rest)),
        }
    }

    fn parts(&self) -> Parts<'_> {
        let mut left = Packed(&self.packed);
        let actor = left.text();
        let mut text_if = |mark| self.marks.has(mark).then(|| left.text());
        let (event, target, rule) = (text_if(Marks::EVENT), text_if(Marks::TARGET), text_if(Marks::RULE));
        let cause = self.marks.has(Marks::CAUSE).then(|| left.number());
        let about = if self.marks.has(Marks::ABOUT_ACTOR) {
            Names { count: 1, left: Packed(&self.packed) }
        } else {
            let names = Names { count: left.number(), left };
            for _ in 0..names.count {
                left.text();
            }
            names
        };
        let message = self.marks.has(Marks::MESSAGE).then(|| left.text());
        Parts { actor, event, target, rule, cause, about, message, rest: left.0 }
    }

    /// The bytes that it counts for.
    pub(crate) const fn counted(&self) -> u64 {
        self.counted
    }

    /// The subjects that it is about or contains data of; empty if it is about the kernel itself only.
    pub(crate) fn about(&self) -> Names<'_> {
        self.parts().about
    }

    /// The wall time of the entry, in µs since the Unix epoch.
    pub(crate) const fn time_us(&self) -> u64 {
        self.time_us
    }

    pub(crate) const fn operation(&self) -> Operation {
        self.operation
    }

    pub(crate) const fn decision(&self) -> Decision {
        self.decision
    }

    pub(crate) fn is_by(&self, actor: &str) -> bool {
        self.parts().actor == actor.as_bytes()
    }

    pub(crate) fn is_event(&self, event: &str) -> bool {
        self.parts().event.map_or(self.operation.event() == event, |own| own == event.as_bytes())
    }

    pub(crate) fn target_begins_with(&self, start: &str) -> bool {
        self.parts().target.unwrap_or_default().starts_with(start.as_bytes())
    }

    pub(crate) fn is_ruled_by(&self, rule: &str) -> bool {
        self.parts().rule.unwrap_or_default() == rule.as_bytes()
    }

    /// The entry as an object, with `message` if it is given.
    fn entry(&self, parts: &Parts<'_>, message: Option<&str>) -> Object {
        let rest = match &self.long {
            Some(rest) => rest.as_object().cloned().unwrap_or_default(),
            None if parts.rest.is_empty() => Object::new(),
            None => match Value::parse(parts.rest, &WRITTEN_HERE) {
                Ok(Value::Object(rest)) => rest,
                Ok(_) | Err(_) => Object::new(),
            },
        };
        if self.marks.has(Marks::WHOLE) {
            let mut entry = rest;
            if let Some(message) = message {
                entry.insert("message", message);
            }
            return entry;
        }
        let common = Common {
            seq: self.seq,
            time_us: self.time_us,
            event: parts.event.map(utf8),
            actor: utf8(parts.actor),
            operation: self.operation,
            kind: self.kind,
            target: parts.target.map(utf8),
            decision: self.decision,
            code: self.code,
            rule: parts.rule.map(utf8),
            cause: parts.cause,
        };
        common.with(&rest, message)
    }

    /// The entry as a query returns it.
    pub(crate) fn shown(&self) -> Value {
        let parts = self.parts();
        with_names_of_decisions(self.entry(&parts, parts.message.map(utf8))).into()
    }

    /// The entry in the form of a snapshot.
    pub(crate) fn to_value(&self) -> Value {
        let parts = self.parts();
        let entry = self.entry(&parts, None);
        object! { "about": parts.about.map(Value::from).collect::<Vec<Value>>(), "entry": entry }
    }

    pub(crate) fn from_value(value: &Value) -> Result<View, FieldError> {
        let mut fields = Fields::new("history", value)?;
        let json = fields.value("entry")?;
        let about = fields.texts("about")?;
        fields.finish()?;
        if let Some((common, details)) = json.as_object().and_then(Common::of_regular) {
            return Ok(View::regular(&common, &about, details, None));
        }
        let unknown = |what: &str| FieldError::new("history.entry", alloc::format!("has no known {what}"));
        let member = |name: &'static str| json.get(name).ok_or_else(|| unknown(name));
        let number = |name| member(name)?.as_u64().ok_or_else(|| unknown(name));
        let text = |name| member(name)?.as_str().ok_or_else(|| unknown(name));
        let operation = Operation::from_name(text("operation")?).ok_or_else(|| unknown("operation"))?;
        let decision = decision_of(text("decision")?).ok_or_else(|| unknown("decision"))?;
        let event = text("event")?;
        let common = Common {
            seq: number("seq")?,
            time_us: number("timestamp")?,
            event: Some(event).filter(|event| *event != operation.event()),
            actor: text("actor")?,
            operation,
            kind: Kind::Notice,
            target: json.get("target").and_then(Value::as_str),
            decision,
            code: 0,
            rule: json.get("rule_id").and_then(Value::as_str),
            cause: None,
        };
        Ok(View::whole(&common, &about, json.clone(), None))
    }
}

/// The names of the common members, in the order in which they are written.
const COMMON: [&str; 12] = [
    "seq",
    "timestamp",
    "event",
    "actor",
    "origin",
    "operation",
    "kind",
    "target",
    "decision",
    "code",
    "rule_id",
    "cause",
];

fn is_common(name: &str) -> bool {
    COMMON.contains(&name)
}

impl<'e> Common<'e> {
    /// The event type, and who wrote the entry.
    fn event_and_origin(&self) -> (&'e str, &'static str) {
        match self.event {
            Some(event) => (event, "agent"),
            None => (self.operation.event(), "kernel"),
        }
    }

    /// The common members with their values.
    fn members(&self) -> impl Iterator<Item = (&'static str, Value)> {
        let (event, origin) = self.event_and_origin();
        let values = [
            Some(self.seq.into()),
            Some(self.time_us.into()),
            Some(event.into()),
            Some(self.actor.into()),
            Some(origin.into()),
            Some(self.operation.name().into()),
            Some(kind_name(self.kind).into()),
            Some(self.target.map_or(Value::Null, Value::from)),
            Some(stored_decision(self.decision).into()),
            Some(i64::from(self.code).into()),
            self.rule.map(Value::from),
            self.cause.map(Value::from),
        ];
        COMMON.into_iter().zip(values).filter_map(|(name, value)| Some((name, value?)))
    }

    /// The entry with its details, which replace common members of the same name, and a message.
    fn with(&self, details: &Object, message: Option<&str>) -> Object {
        let mut entry = ObjectBuilder::with_capacity(COMMON.len() + details.len() + 1);
        self.members().for_each(|(name, value)| entry.insert(name, value));
        details.iter().for_each(|(name, value)| entry.insert(name.clone(), value.clone()));
        message.into_iter().for_each(|message| entry.insert("message", message));
        entry.finish()
    }

    /// The length of the JSON text of the entry with these details, in bytes.
    fn json_len(&self, details: &Object) -> usize {
        let number = |number: u64| number.checked_ilog10().unwrap_or(0) as usize + 1;
        let (event, origin) = self.event_and_origin();
        let values = [
            Some(number(self.seq)),
            Some(number(self.time_us)),
            Some(string_len(event)),
            Some(string_len(self.actor)),
            Some(string_len(origin)),
            Some(string_len(self.operation.name())),
            Some(string_len(kind_name(self.kind))),
            Some(self.target.map_or("null".len(), string_len)),
            Some(string_len(stored_decision(self.decision))),
            Some(number(self.code.unsigned_abs().into()) + usize::from(self.code < 0)),
            self.rule.map(string_len),
            self.cause.map(number),
        ];
        // Each member has a name in quotes, a colon, and a comma or the closing brace; the opening brace is one
        // more.
        let members = COMMON.into_iter().zip(values).filter_map(|(name, len)| Some(name.len() + 4 + len?));
        let common = members.fold(1, usize::saturating_add);
        match details.is_empty() {
            true => common,
            // Of the two braces of the details, one stands for the comma, the other for the entry's closing brace.
            false => common.saturating_add(Value::from(details.clone()).json_len()) - 1,
        }
    }

    /// The common members and the details, if all members are present in the order of [`COMMON`].
    fn of_regular(entry: &'e Object) -> Option<(Common<'e>, Object)> {
        let mut members = entry.iter().peekable();
        let mut next = |name: &str| members.next_if(|(member, _)| **member == *name).map(|(_, value)| value);
        let (seq, time_us) = (next("seq")?.as_u64()?, next("timestamp")?.as_u64()?);
        let (event, actor, origin) = (next("event")?.as_str()?, next("actor")?.as_str()?, next("origin")?);
        let operation = Operation::from_name(next("operation")?.as_str()?)?;
        let kind = kind_of(next("kind")?.as_str()?)?;
        let target = match next("target")? {
            Value::Null => None,
            target => Some(target.as_str()?),
        };
        let decision = decision_of(next("decision")?.as_str()?)?;
        let code = i32::try_from(next("code")?.as_i64()?).ok()?;
        let rule = next("rule_id").map(|rule| rule.as_str().ok_or(())).transpose().ok()?;
        let cause = next("cause").map(|cause| cause.as_u64().ok_or(())).transpose().ok()?;
        let event = match origin.as_str()? {
            "agent" => Some(event),
            "kernel" if event == operation.event() => None,
            _ => return None,
        };
        let details: Object = members.map(|(name, value)| (name.clone(), value.clone())).collect();
        if details.keys().any(|name| is_common(name)) {
            return None;
        }
        let common =
            Common { seq, time_us, event, actor, operation, kind, target, decision, code, rule, cause };
        Some((common, details))
    }
}

/// The name of a decision in the state. Digests of the state in journals fix it; queries return [`Decision::name`]
/// instead.
pub(crate) const fn stored_decision(decision: Decision) -> &'static str {
    match decision {
        Decision::DefaultDeny => "deny",
        Decision::Permit | Decision::Ask | Decision::Forbid | Decision::Refused => decision.name(),
    }
}

/// Replaces the stored names of decisions by those that queries return, also for the operations of a batch.
fn with_names_of_decisions(mut entry: Object) -> Object {
    let by_name = |stored: &Value| stored.as_str().and_then(decision_of).map(Decision::name);
    if let Some(name) = entry.get("decision").and_then(by_name) {
        entry.insert("decision", name);
    }
    if entry.get("operation").and_then(Value::as_str) == Some(Operation::Batch.name())
        && let Some(operations) = entry.get("operations").and_then(Value::as_array)
    {
        let named = |row: &Value| match (row.as_object(), row.get("decision").and_then(by_name)) {
            (Some(row), Some(name)) => {
                let mut row = row.clone();
                row.insert("decision", name);
                row.into()
            }
            _ => row.clone(),
        };
        let operations: Vec<Value> = operations.iter().map(named).collect();
        entry.insert("operations", operations);
    }
    entry
}

fn decision_of(name: &str) -> Option<Decision> {
    Decision::ALL.iter().copied().find(|decision| stored_decision(*decision) == name)
}

const fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Decision => "decision",
        Kind::Step => "step",
        Kind::Outcome => "outcome",
        Kind::Notice => "notice",
    }
}

fn kind_of(name: &str) -> Option<Kind> {
    Kind::ALL.iter().copied().find(|kind| kind_name(*kind) == name)
}

/// The names of an entry's subjects.
#[derive(Clone, Copy)]
pub(crate) struct Names<'v> {
    count: u64,
    left: Packed<'v>,
}

impl<'v> Iterator for Names<'v> {
    type Item = &'v str;

    fn next(&mut self) -> Option<&'v str> {
        self.count = self.count.checked_sub(1)?;
        Some(utf8(self.left.text()))
    }
}

impl Names<'_> {
    /// How many there are.
    pub(crate) fn count_left(&self) -> usize {
        usize::try_from(self.count).unwrap_or(usize::MAX)
    }
}

/// Numbers and texts in sequence.
#[derive(Clone, Copy)]
struct Packed<'v>(&'v [u8]);

impl<'v> Packed<'v> {
    /// Reads a number in groups of seven bits, lowest first; the high bit of a byte marks that more follow.
    fn number(&mut self) -> u64 {
        let (mut number, mut shift) = (0u64, 0u32);
        while let Some((byte, left)) = self.0.split_first() {
            self.0 = left;
            number |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
            if *byte < 0x80 {
                break;
            }
            shift += 7;
        }
        number
    }

    fn text(&mut self) -> &'v [u8] {
        let len = usize::try_from(self.number()).unwrap_or(usize::MAX);
        let (text, left) = self.0.split_at_checked(len).unwrap_or_default();
        self.0 = left;
        text
    }
}

fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_number(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

/// The packed bytes of a text.
fn utf8(bytes: &[u8]) -> &str {
    core::str::from_utf8(bytes).unwrap_or_default()
}

/// The rest was encoded here, so it is parsed without limits.
const WRITTEN_HERE: Limits =
    Limits { depth_max: usize::MAX, bytes_max: usize::MAX, members_max: usize::MAX, values_max: usize::MAX };

#[cfg(test)]
mod tests {
    use alloc::{
        format,
        string::{String, ToString},
        vec,
    };

    use ak_json::{Digest, array};

    use super::*;

    const SEQ: u64 = 1 << 40;
    const TIME: Time = Time::from_micros(1_764_590_000_123_456);

    fn facts(event: Option<&str>, target: Option<String>, rule: &str, cause: Option<u64>) -> EntryFields {
        EntryFields {
            operation: Operation::Http,
            kind: Kind::Outcome,
            decision: Decision::DefaultDeny,
            code: -7,
            cause,
            policy: Digest::from([0; 32]),
            target,
            reply: None,
            message: None,
            others: Vec::new(),
            agent: "crew/\"é\"".into(),
            rule: rule.into(),
            event: event.map(Text::from),
        }
    }

    /// The entry in readable form, built member by member.
    fn plain(facts: &EntryFields, details: &Object, message: Option<&str>) -> Value {
        let mut entry = Object::new();
        entry.insert("seq", SEQ);
        entry.insert("timestamp", TIME.as_micros());
        entry.insert("event", facts.event.clone().unwrap_or_else(|| "http".into()));
        entry.insert("actor", facts.agent.clone());
        entry.insert("origin", if facts.event.is_some() { "agent" } else { "kernel" });
        entry.insert("operation", "HTTP");
        entry.insert("kind", "outcome");
        entry.insert("target", facts.target.as_deref().map_or(Value::Null, Value::from));
        entry.insert("decision", "deny");
        entry.insert("code", -7);
        if !facts.rule.is_empty() {
            entry.insert("rule_id", facts.rule.clone());
        }
        if let Some(cause) = facts.cause {
            entry.insert("cause", cause);
        }
        for (name, value) in details {
            entry.insert(name.clone(), value.clone());
        }
        if let Some(message) = message {
            entry.insert("message", message);
        }
        entry.into()
    }

    fn all_facts() -> Vec<EntryFields> {
        let mut all = Vec::new();
        for event in [None, Some("met \u{1f600}"), Some("http"), Some("")] {
            for target in
                [None, Some(String::new()), Some("https://a.example/".to_string() + &"x".repeat(300))]
            {
                for rule in ["", "rule-7"] {
                    for cause in [None, Some(0), Some(u64::MAX)] {
                        all.push(facts(event, target.clone(), rule, cause));
                    }
                }
            }
        }
        all
    }

    fn parsed(text: &str) -> Value {
        Value::parse(text.as_bytes(), &Limits::default()).unwrap()
    }

    fn all_details() -> Vec<Object> {
        let texts = (0..2000u64).map(|number| Value::from(format!("text {number}"))).collect::<Vec<Value>>();
        [
            object! {},
            object! { "status": 200u64, "of": parsed("[1.5, -3, 1e-9, 2.0, true, null, {}, [[\"a\"]]]") },
            object! { "message": "its own", "z": "\u{7f}\n\"" },
            object! { "long": texts },
            // These names collide with the kernel's own members.
            object! { "cause": "somebody", "code": 3u64, "more": 1u64 },
            object! { "rule_id": "another" },
        ]
        .into_iter()
        .filter_map(|value| value.as_object().cloned())
        .collect()
    }

    #[test]
    fn a_packed_entry_is_the_plain_one() {
        for facts in all_facts() {
            for details in all_details() {
                for message in [None, Some("no rule permits it")] {
                    for about in [vec![], vec![facts.agent.clone()], vec!["alice".into(), "bob".into()]] {
                        let view = View::new(SEQ, TIME, &facts, &about, details.clone().into(), message);
                        let entry = plain(&facts, &details, None);
                        let mut shown = plain(&facts, &details, message);
                        if let Value::Object(shown) = &mut shown {
                            let name = Value::from("default_deny");
                            shown.insert("decision", name);
                        }
                        assert_eq!(view.shown().to_json(), shown.to_json());
                        let names: Vec<&str> = about.iter().map(|name| &**name).collect();
                        assert_eq!(view.about().collect::<Vec<&str>>(), names);
                        assert_eq!(view.about().count_left(), names.len());
                        let bytes: usize = names.iter().map(|name| name.len() + 24).sum();
                        assert_eq!(view.counted(), (entry.json_len() + bytes) as u64);
                        let kept = object! { "about": names.iter().copied().map(Value::from).collect::<Vec<Value>>(), "entry": entry };
                        assert_eq!(view.to_value().to_json(), kept.to_json());
                        assert_eq!(view.to_value().digest(), kept.digest());
                    }
                }
            }
        }
    }

    #[test]
    fn an_entry_comes_back_from_a_snapshot_as_it_was() {
        for facts in all_facts() {
            for details in all_details().into_iter().filter(|details| details.get("cause").is_none()) {
                let about = [facts.agent.clone(), "alice".into()];
                let view = View::new(SEQ, TIME, &facts, &about, details.into(), Some("gone by then"));
                let kept = Value::parse(view.to_value().to_json().as_bytes(), &Limits::default()).unwrap();
                let again = View::from_value(&kept).unwrap();
                assert_eq!(again.to_value().to_json(), kept.to_json());
                assert_eq!(again.to_value().digest(), view.to_value().digest());
                assert_eq!(again.counted(), view.counted());
                assert_eq!((again.seq, again.time_us()), (SEQ, TIME.as_micros()));
                assert!(again.is_by(&facts.agent) && again.operation() == Operation::Http);
                assert!(again.is_event(facts.event.as_deref().unwrap_or("http")));
                assert!(again.target_begins_with(facts.target.as_deref().unwrap_or_default()));
                assert!(!again.target_begins_with("https://b") && !again.is_ruled_by("rule"));
                assert_eq!(again.decision(), Decision::DefaultDeny);
            }
        }
    }

    #[test]
    fn an_entry_whose_members_stand_otherwise_stays_as_it_is() {
        let entry = object! {
            "decision": "ask", "note": 1u64, "seq": 7u64, "timestamp": 9u64, "event": "read", "actor": "a",
            "operation": "READ", "target": "heap:1", "rule_id": "r",
        };
        let kept = object! { "about": array!["a"], "entry": entry.clone() };
        let view = View::from_value(&kept).unwrap();
        assert_eq!(view.to_value().to_json(), kept.to_json());
        assert_eq!(view.shown().to_json(), entry.to_json());
        assert!(view.is_by("a") && view.is_event("read") && view.is_ruled_by("r"));
        assert!(view.target_begins_with("heap:") && view.decision() == Decision::Ask);
        let nameless = object! { "about": array![], "entry": object! { "seq": 7u64 } };
        assert!(View::from_value(&nameless).is_err());
    }

    #[test]
    fn a_long_entry_shares_what_was_recorded() {
        let details = object! { "text": "x".repeat(TEXT_BYTES_MAX) };
        let view = View::new(SEQ, TIME, &facts(None, None, "", None), &[], details, None);
        assert!(view.long.is_some() && view.packed.len() < 64);
        let details = object! { "text": "x".repeat(TEXT_BYTES_MAX - 11) };
        let view = View::new(SEQ, TIME, &facts(None, None, "", None), &[], details, None);
        assert!(view.long.is_none() && view.packed.len() > TEXT_BYTES_MAX);
    }
}
