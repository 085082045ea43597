//! Recent entries in readable form, for queries. They are derived from the journal and stored nowhere else.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use ak_json::{Text, Value, object};

use crate::{
    api::{
        audit_filter::{AuditFilter, QUERY_LIMIT},
        fields::FieldError,
        operation::Operation,
    },
    record::{
        shared::SharedQueue,
        view::{View, stored_decision},
    },
};

/// Most bytes of entries that one query returns. A longer entry is returned alone.
const QUERY_BYTES_MAX: u64 = 2 << 20;
/// Most entries that one query examines. The next query continues after them.
const QUERY_SCANNED_MAX: usize = 50_000;
/// Most subjects of the entries that one query returns.
const QUERY_SUBJECTS_MAX: usize = 1_000;

impl AuditFilter {
    /// Whether an entry is wanted. `operation` is the one that the filter names, read once for all entries.
    fn admits(&self, view: &View, operation: Option<Operation>) -> bool {
        // Earlier versions called a default denial `deny`.
        let is_so_decided = |name: &Text| {
            let decision = view.decision();
            **name == *decision.name() || **name == *stored_decision(decision)
        };
        self.since.is_none_or(|since| view.time_us() >= since)
            && self.until.is_none_or(|until| view.time_us() <= until)
            && (self.operation.is_none() || operation == Some(view.operation()))
            && self.decision.as_ref().is_none_or(is_so_decided)
            && self.event_type.as_ref().is_none_or(|event| view.is_event(event))
            && self.actor.as_ref().is_none_or(|actor| view.is_by(actor))
            && self.target.as_ref().is_none_or(|start| view.target_begins_with(start))
            && self.rule.as_ref().is_none_or(|rule| view.is_ruled_by(rule))
    }
}

/// The newest entries, up to a number of bytes.
#[derive(Debug)]
pub(crate) struct History {
    views: Views,
    /// The `seq`s of the entries about each subject, so that an erasure need not search the others.
    about: BTreeMap<Text, BTreeSet<u64>>,
    bytes: u64,
    bytes_max: u64,
}

/// The entries in order. A clone shares them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Views(SharedQueue<View>);

impl Views {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.front().is_none()
    }

    /// Each entry in the form of a snapshot, in order.
    pub(crate) fn values(&self) -> impl Iterator<Item = Value> {
        self.0.iter().map(View::to_value)
    }
}

impl History {
    pub(crate) fn new(bytes_max: u64) -> History {
        History { views: Views::default(), about: BTreeMap::new(), bytes: 0, bytes_max }
    }

    pub(crate) fn push(&mut self, view: View) {
        self.bytes = self.bytes.saturating_add(view.counted());
        for name in view.about() {
            match self.about.get_mut(name) {
                Some(seqs) => seqs.insert(view.seq),
                None => self.about.entry(Text::from(name)).or_default().insert(view.seq),
            };
        }
        self.views.0.push_back(view);
        while self.bytes > self.bytes_max {
            let Some(oldest) = self.views.0.pop_front_but_last() else { break };
            self.bytes = self.bytes.saturating_sub(oldest.counted());
            unlist(&mut self.about, &oldest);
        }
    }

    /// Removes the entries that are about a subject or contain its data.
    pub(crate) fn forget(&mut self, subject: &Text) {
        let seqs = self.about.remove(subject).unwrap_or_default();
        for view in self.views.0.remove(seqs.into_iter(), |view| view.seq) {
            self.bytes = self.bytes.saturating_sub(view.counted());
            unlist(&mut self.about, &view);
        }
    }

    /// The subjects of the entry `seq`, if the entry is still in memory.
    pub(crate) fn about(&self, seq: u64) -> impl Iterator<Item = &str> {
        let mut found = self.views.0.between(move |view| view.seq < seq, move |view| view.seq <= seq);
        found.next().into_iter().flat_map(View::about)
    }

    /// The current entries. The copy costs one pointer per 64 entries.
    pub(crate) fn views(&self) -> Views {
        self.views.clone()
    }

    pub(crate) fn from_value(value: &Value, bytes_max: u64) -> Result<History, FieldError> {
        let rows = value.as_array().ok_or_else(|| FieldError::new("history", "expected an array"))?;
        let mut history = History::new(bytes_max);
        for row in rows.iter() {
            history.push(View::from_value(row)?);
        }
        Ok(history)
    }

    /// The entries that match `filter`, ascending; only those of `actor` if it is given. If there may be more,
    /// `next` is the value for the next query's `cursor`, or for its `before` if the newest are returned first.
    pub(crate) fn query(&self, filter: &AuditFilter, actor: Option<&str>) -> Value {
        let first = self.views.0.front().map_or(0, |view| view.seq);
        let (after, end) = (filter.cursor, filter.before);
        let views = self.views.0.between(
            move |view| after.is_some_and(|after| view.seq <= after),
            move |view| end.is_none_or(|end| view.seq < end),
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

/// Removes an entry from the lists of its subjects.
fn unlist(about: &mut BTreeMap<Text, BTreeSet<u64>>, view: &View) {
    for name in view.about() {
        if let Some(seqs) = about.get_mut(name) {
            seqs.remove(&view.seq);
            if seqs.is_empty() {
                about.remove(name);
            }
        }
    }
}

/// The result of one query while it is collected.
struct Page<'q> {
    filter: &'q AuditFilter,
    actor: Option<&'q str>,
    found: Vec<Value>,
    next: Option<u64>,
}

impl<'q> Page<'q> {
    fn new(filter: &'q AuditFilter, actor: Option<&'q str>) -> Page<'q> {
        Page { filter, actor, found: Vec::new(), next: None }
    }

    fn fill<'v>(&mut self, views: impl Iterator<Item = &'v View>) {
        let limit = usize::try_from(self.filter.limit.unwrap_or(QUERY_LIMIT)).unwrap_or(usize::MAX);
        let (mut bytes, mut subjects) = (0u64, 0usize);
        let mut last = None;
        let operation = self.filter.operation.as_deref().and_then(Operation::from_word);
        for (scanned, view) in views.enumerate() {
            let admitted =
                self.actor.is_none_or(|actor| view.is_by(actor)) && self.filter.admits(view, operation);
            let names = if admitted { view.about().count_left() } else { 0 };
            let (more, told) = (bytes.saturating_add(view.counted()), subjects.saturating_add(names));
            let fits = more <= QUERY_BYTES_MAX && told <= QUERY_SUBJECTS_MAX || self.found.is_empty();
            if scanned == QUERY_SCANNED_MAX || admitted && (self.found.len() == limit || !fits) {
                // With a limit of zero no entry was examined yet.
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

#[cfg(test)]
mod tests {
    use alloc::{collections::VecDeque, format};

    use proptest::prelude::*;

    use super::*;

    fn view(seq: u64, about: &[&str]) -> View {
        let entry = object! {
            "seq": seq, "timestamp": seq, "event": "read", "actor": about.first().copied().unwrap_or(""), "origin": "kernel",
            "operation": "READ", "kind": "decision", "target": Value::Null, "decision": "permit", "code": 0u64, "of": seq,
        };
        let about = about.iter().copied().map(Value::from).collect::<Vec<Value>>();
        View::from_value(&object! { "about": about, "entry": entry }).unwrap()
    }

    #[derive(Clone, Debug)]
    enum Op {
        Push(Vec<u8>),
        Forget(u8),
        Copy,
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            20 => prop::collection::btree_set(0..6u8, 0..3).prop_map(|names| Op::Push(names.into_iter().collect())),
            1 => (0..6u8).prop_map(Op::Forget),
            1 => Just(Op::Copy),
        ]
    }

    fn name(number: u8) -> Text {
        format!("subject-{number}").into()
    }

    proptest! {
        #[test]
        fn to_forget_a_subject_takes_its_entries_and_no_others(
            ops in prop::collection::vec(op(), 1..600),
            bytes_max in 500..60_000u64,
        ) {
            let mut history = History::new(bytes_max);
            let mut model: VecDeque<(Vec<Text>, Value, u64)> = VecDeque::new();
            let mut copies = Vec::new();
            let of = |model: &VecDeque<(Vec<Text>, Value, u64)>| -> Vec<Value> {
                model.iter().map(|(_, value, _)| value.clone()).collect()
            };
            for (seq, op) in (1..).zip(ops) {
                match op {
                    Op::Push(numbers) => {
                        let names: Vec<Text> = numbers.into_iter().map(name).collect();
                        let view = view(seq, &names.iter().map(|name| &**name).collect::<Vec<&str>>());
                        model.push_back((names, view.to_value(), view.counted()));
                        while model.iter().map(|(_, _, counted)| counted).sum::<u64>() > bytes_max && model.len() > 1 {
                            model.pop_front();
                        }
                        history.push(view);
                    }
                    Op::Forget(number) => {
                        history.forget(&name(number));
                        model.retain(|(names, ..)| !names.contains(&name(number)));
                    }
                    Op::Copy => copies.push((history.views(), of(&model))),
                }
                prop_assert_eq!(history.bytes, model.iter().map(|(_, _, counted)| counted).sum::<u64>());
                let listed: usize = history.about.values().map(BTreeSet::len).sum();
                prop_assert_eq!(listed, model.iter().map(|(names, ..)| names.len()).sum::<usize>());
            }
            copies.push((history.views(), of(&model)));
            for (views, expected) in copies {
                prop_assert!(views.values().eq(expected));
            }
        }
    }

    #[test]
    fn a_query_asks_about_each_field() {
        let mut history = History::new(1 << 20);
        (1..=100).for_each(|seq| history.push(view(seq, &["a"])));
        let seqs = |filter: AuditFilter, actor: Option<&str>| -> Vec<u64> {
            let found = history.query(&filter, actor);
            let entries = found.get("entries").and_then(Value::as_array).cloned().unwrap();
            entries.iter().filter_map(|entry| entry.get("seq")?.as_u64()).collect()
        };
        let all: Vec<u64> = (1..=100).collect();
        assert_eq!(seqs(AuditFilter::default(), Some("a")), all);
        assert_eq!(seqs(AuditFilter::default(), Some("b")), []);
        let of = |value: Value| AuditFilter::decode(&value).unwrap();
        assert_eq!(
            seqs(
                of(object! { "event_type": "read", "operation": "read", "target": "", "rule_id": "" }),
                None
            ),
            all
        );
        for none in [
            object! { "event_type": "write" },
            object! { "operation": "write" },
            object! { "target": "h" },
            object! { "rule_id": "r" },
            object! { "decision": "deny" },
            object! { "actor": "b" },
        ] {
            assert_eq!(seqs(of(none), None), []);
        }
        assert_eq!(
            seqs(of(object! { "since": 40u64, "until": 42u64, "decision": "permit" }), None),
            [40, 41, 42]
        );
        assert_eq!(seqs(of(object! { "newest": true, "before": 50u64, "limit": 2u64 }), None), [48, 49]);
        assert_eq!(history.about(7).collect::<Vec<&str>>(), ["a"]);
        assert_eq!(history.about(101).count(), 0);
    }
}
