//! Journals of random runs, and random edits by an editor who can compute hashes but knows no salt and no key.

use std::collections::BTreeMap;

use ak_audit::{Decision, Entry, Kind};
use ak_heap::{Content, Handle};
use ak_json::{Digest, Limits, Number, Object, Value, object};
use ak_kernel::{
    AgentRequest, AuditFilter, AuditRequest, BatchPart, Code, Completion, Effect, EntryStatus, HeapRequest,
    HttpRequest, HttpResponse, InferRequest, LogVerifier, Operation, Reply, Request, SessionId, Step,
    StoredBody, ToolReplay, ak_audit, ak_heap, ak_json, ak_policy, export,
};
use ak_policy::budget::Dimension;

use crate::support::{Machine, alloc, file_read, json, load, new, relay, tool, write};

/// Source of random choices: the given bytes first, then a generator with a seed.
pub(crate) struct Dice<'b> {
    bytes: &'b [u8],
    seed: u64,
}

impl<'b> Dice<'b> {
    pub(crate) fn new(bytes: &'b [u8], seed: u64) -> Dice<'b> {
        Dice { bytes, seed }
    }

    /// SplitMix64.
    fn draw(&mut self) -> u64 {
        if let Some((byte, rest)) = self.bytes.split_first() {
            self.bytes = rest;
            return u64::from(*byte);
        }
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.seed ^ (self.seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.draw() % end.max(1) as u64).unwrap()
    }

    fn one<'t, T>(&mut self, of: &'t [T]) -> &'t T {
        &of[self.below(of.len())]
    }

    fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}

/// One entry of an exported journal.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Piece {
    pub(crate) leaf: Vec<u8>,
    /// Empty if it was erased.
    pub(crate) body: Vec<u8>,
    pub(crate) snapshot: Vec<u8>,
    pub(crate) subjects: Vec<u64>,
}

pub(crate) type Pieces = Vec<Piece>;

/// Encodes the pieces as an exported journal.
fn encode(pieces: &[Piece]) -> Vec<u8> {
    let mut out = Vec::from(export::MAGIC);
    for piece in pieces {
        let subjects: Vec<u8> = piece.subjects.iter().flat_map(|subject| subject.to_le_bytes()).collect();
        for part in [&piece.leaf, &piece.body, &piece.snapshot, &subjects] {
            out.extend((part.len() as u64).to_le_bytes());
            out.extend(part);
        }
    }
    out
}

/// The result of verifying an exported journal, as `ak replay` does it.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) wrong: Option<(u64, String)>,
    pub(crate) complete: bool,
    pub(crate) head: Option<Digest>,
    /// Which entries were verified.
    follows: Vec<bool>,
}

pub(crate) fn report(pieces: &[Piece]) -> Report {
    let bytes = encode(pieces);
    let mut examination = LogVerifier::new(0, ToolReplay::Recorded);
    let mut follows = Vec::new();
    let mut unreadable = None;
    for entry in export::decode(&bytes).unwrap() {
        match entry {
            Ok(export::ExportedEntry { leaf, body, snapshot, subjects }) => {
                let standing = examination.examine(leaf, StoredBody { body, subjects: &subjects }, snapshot);
                follows.push(matches!(standing, EntryStatus::Verified(_)));
                if matches!(standing, EntryStatus::Invalid(_)) {
                    break;
                }
            }
            Err(error) => {
                unreadable = Some((examination.entries(), error.to_string()));
                break;
            }
        }
    }
    let wrong = unreadable.or_else(|| examination.first_wrong());
    Report { wrong, complete: examination.is_complete(), head: examination.head(), follows }
}

/// The outcome of an edit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Outcome {
    /// Nothing was changed.
    Same,
    /// Verification reports a fault.
    Found,
    /// The entries before the first change are unchanged, and every later one is, byte for byte, what a kernel
    /// writes for its input: the end was cut off, or inputs were repeated, omitted or reordered and the chain was
    /// made anew. This is another valid log, and its head differs from the original's.
    Another,
    /// One more body is gone under an erased subject, and the body of that erasure, with the number of erased
    /// entries, is gone too. All leaves are unchanged.
    Uncounted,
    /// The edit was accepted without any of these.
    Accepted,
}

pub(crate) fn outcome(pieces: &[Piece], edited: &[Piece]) -> Outcome {
    if pieces == edited {
        return Outcome::Same;
    }
    let found = report(edited);
    if found.wrong.is_some() || edited.is_empty() {
        return Outcome::Found;
    }
    let changed = pieces.iter().zip(edited).take_while(|(before, after)| before == after).count();
    let head = pieces.last().map(|last| Digest::from(ak_audit::leaf_hash(&last.leaf)));
    if found.follows.iter().skip(changed).all(|follows| *follows) && found.head != head {
        return Outcome::Another;
    }
    let is_uncounted = |piece: &Piece| {
        piece.body.is_empty()
            && Entry::decode(&piece.leaf).is_ok_and(|entry| {
                (entry.kind, entry.operation) == (Kind::Outcome, Operation::AuditErase.number())
            })
    };
    let only_blanked = pieces.len() == edited.len()
        && pieces.iter().zip(edited).all(|(before, after)| {
            before.leaf == after.leaf
                && before.snapshot == after.snapshot
                && (before.body == after.body || after.body.is_empty())
        });
    if only_blanked && pieces.iter().any(is_uncounted) { Outcome::Uncounted } else { Outcome::Accepted }
}

const POLICIES: [&str; 3] = [
    "[fs]\nread = [\"/data/**\"]\nwrite = [\"/data/out/**\"]\n[http]\nallow = [\"GET https://a.example/**\"]\n[infer]\nmodels = [\"m-*\"]\n[tools]\nallow = [\"*\"]\n",
    "profiles = []\n[[rule]]\nid = \"shared\"\neffect = \"permit\"\noperation = \"heap.*\"\ntarget = \"*\"\n",
    "[tools]\ndeny = [\"add\"]\n[budgets]\ntool_calls = 2\ntokens = 400\n",
];
const NAMES: [&str; 3] = ["a", "b", "crew/c"];
const ERASED: [&str; 4] = ["alice", "bob", "a", "main"];

/// The journal of a random run.
pub(crate) fn journal(dice: &mut Dice<'_>) -> Pieces {
    let mut machine = Machine::new();
    machine.policy(POLICIES[0]);
    machine.call(relay("read", "fs_read", &["fs.read:/data/x"])).unwrap();
    machine.call(relay("draw", "random", &["random:*"])).unwrap();
    let mut sessions = vec![SessionId::OWNER];
    sessions.extend(NAMES.map(|name| machine.agent(name)));
    let mut objects = vec![Handle::from_raw(1)];
    let mut snapshots: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    for _ in 0..5 + dice.below(30) {
        let session = *dice.one(&sessions);
        let object = *dice.one(&objects);
        let number = dice.below(1000);
        let request = match dice.below(22) {
            0 | 1 => Request::Heap(HeapRequest::Alloc {
                type_name: "counter".into(),
                content: Content::Json(object! { "value": number as u64 }),
                subject: [None, Some("alice".into()), Some("bob".into())][dice.below(3)].clone(),
            }),
            2 => Request::Heap(HeapRequest::Read { handle: object, version: None }),
            3 => write(object, &format!("[{{\"op\":\"add\",\"path\":\"/value\",\"value\":{number}}}]"), None),
            4 => Request::Heap(HeapRequest::Delete { handle: object, expected_version: None }),
            5 => Request::Heap(HeapRequest::Query { form: Object::new() }),
            6 => Request::Heap(HeapRequest::Batch {
                parts: vec![
                    new("counter", "1"),
                    BatchPart::Delete { target: object.into(), expected_version: None },
                ],
            }),
            7 => tool("add", r#"{"a":1,"b":2}"#),
            8 => tool("read", r#"{"path":"/data/x"}"#),
            9 => tool("draw", r#"{"bytes":3}"#),
            10 => file_read(["/data/x", "/etc/passwd"][dice.below(2)]),
            11 => Request::Http(HttpRequest {
                method: "GET".into(),
                url: ["https://a.example/x", "https://evil.example/"][dice.below(2)].into(),
                headers: Vec::new(),
                body: None,
                response_bytes_max: 100,
                timeout_ms: 1000,
            }),
            12 => Request::Infer(InferRequest {
                request: json(
                    r#"{"model":"m-1","max_tokens":50,"messages":[{"role":"user","content":"hi"}]}"#,
                ),
                stream: false,
                price: None,
            }),
            13 => Request::Audit(AuditRequest::Log {
                event: "shipped".into(),
                details: object! { "n": number as u64 },
                subject: Some(["alice", "bob"][dice.below(2)].into()),
            }),
            14 => Request::Audit(AuditRequest::Query(AuditFilter {
                newest: true,
                limit: Some(5),
                ..AuditFilter::default()
            })),
            15 => load(POLICIES[dice.below(3)]),
            16 => Request::Agent(AgentRequest::BudgetSet {
                dimension: *dice.one(&Dimension::ALL),
                limit: Some(1_000_000),
                agent: Some("a".into()),
            }),
            17 => {
                sessions.push(machine.agent(["a", "d", "crew"][dice.below(3)]));
                continue;
            }
            18 => {
                let terms = r#"{"agent":"b","name":"fs","resource":"/data/**","rate":"9/min"}"#;
                Request::decode(Operation::CapGrant, &json(terms)).unwrap()
            }
            19 => {
                let snapshot = machine.snapshot();
                snapshots.insert(machine.kernel.entries() - 2, snapshot);
                continue;
            }
            20 => {
                if let Ok((seq, snapshot)) = machine.erase(ERASED[dice.below(ERASED.len())]) {
                    snapshots = BTreeMap::from([(seq, snapshot)]);
                }
                continue;
            }
            _ => {
                match dice.below(3) {
                    0 => machine.sleep_ms(number as u64 * 10),
                    1 => machine.step_wall_us(-(number as i64) * 1000),
                    _ => {
                        let _ = machine.try_dispatch(session, alloc("note", "1"));
                    }
                }
                continue;
            }
        };
        let Ok(call) = machine.try_dispatch(session, request) else { continue };
        while let Some((ticket, effect)) = machine.effects.pop() {
            let completion = match effect {
                effect @ Effect::RunTool { .. } => {
                    let world = &mut |_: &mut Machine, _, _: &Effect| Completion::File(b"content"[..].into());
                    machine.run_tool(ticket, effect, world);
                    continue;
                }
                Effect::Http { .. } => {
                    machine.progress(ticket, Step::Resolved(vec!["8.8.8.8".parse().unwrap()]));
                    let url = ["https://a.example/next", "https://other.example/"][dice.below(2)].into();
                    machine.progress(ticket, Step::Redirect { method: "GET".into(), url });
                    Completion::Http(HttpResponse { status: 200, headers: vec![], body: b"ok"[..].into() })
                }
                Effect::Infer { .. } => {
                    Completion::Inferred { response: object! { "choices": Vec::new() }, tokens: 20 }
                }
                Effect::File { .. } if dice.once_in(3) => Completion::failed(Code::Io, "the disk is on fire"),
                Effect::File { .. } => Completion::File(b"content"[..].into()),
                Effect::Log(_) => Completion::Value(object! { "consistent": true }),
            };
            machine.complete(ticket, completion);
        }
        if let Some(Ok(Reply::Handle(handle))) = machine.replies.get(&call) {
            objects.push(*handle);
        }
    }
    if dice.once_in(3) {
        let snapshot = machine.snapshot();
        snapshots.insert(machine.kernel.entries() - 2, snapshot);
    }
    let bytes = export::encode(&machine.records, &snapshots);
    let pieces = export::decode(&bytes).unwrap().map(|entry| {
        let export::ExportedEntry { leaf, body, snapshot, subjects } = entry.unwrap();
        Piece {
            leaf: leaf.to_vec(),
            body: body.unwrap_or_default().to_vec(),
            snapshot: snapshot.unwrap_or_default().to_vec(),
            subjects,
        }
    });
    pieces.collect()
}

/// Edits a journal once or several times. `other` is the journal of another run, from which parts are taken.
/// Returns a description of the edits.
pub(crate) fn edit(dice: &mut Dice<'_>, pieces: &[Piece], other: &[Piece]) -> (Pieces, String) {
    let mut edited = pieces.to_vec();
    let mut done = Vec::new();
    let mut first = edited.len();
    for _ in 0..1 + usize::from(dice.once_in(4)) + usize::from(dice.once_in(6)) {
        if edited.is_empty() {
            break;
        }
        let (what, at) = edit_once(dice, &mut edited, other);
        first = first.min(at);
        done.push(format!("{what} at {at}"));
    }
    if dice.below(3) > 0 {
        chain(&mut edited, first);
        done.push("chained again".to_string());
    }
    (edited, done.join(", "))
}

/// Sets number and link of each entry according to its position.
fn chain(pieces: &mut [Piece], first: usize) {
    let mut previous = match first.checked_sub(1).and_then(|before| pieces.get(before)) {
        Some(before) => ak_audit::leaf_hash(&before.leaf),
        None => [0; 32],
    };
    for (seq, piece) in pieces.iter_mut().enumerate().skip(first) {
        change_leaf(piece, |entry| {
            let (from, to) = (entry.seq, seq as u64);
            entry.previous = previous;
            entry.seq = to;
            entry.cause = if entry.cause == from { to } else { entry.cause.min(to.saturating_sub(1)) };
        });
        previous = ak_audit::leaf_hash(&piece.leaf);
    }
}

fn change_leaf(piece: &mut Piece, change: impl FnOnce(&mut Entry<'_>)) {
    let leaf = piece.leaf.clone();
    if let Ok(mut entry) = Entry::decode(&leaf) {
        change(&mut entry);
        if let Ok(bytes) = entry.encode() {
            piece.leaf = bytes;
        }
    }
}

fn erase_outcome(piece: &Piece) -> bool {
    Entry::decode(&piece.leaf).is_ok_and(|entry| entry.operation == Operation::AuditErase.number())
}

/// The index of the first changed entry, and a description of the change.
fn edit_once(dice: &mut Dice<'_>, pieces: &mut Pieces, other: &[Piece]) -> (&'static str, usize) {
    let at = dice.below(pieces.len());
    let elsewhere = dice.below(pieces.len());
    match dice.below(17) {
        0 => {
            pieces.truncate(at);
            ("cut", at)
        }
        1 => {
            pieces.remove(at);
            ("removed", at)
        }
        2 => {
            let copy = pieces[elsewhere].clone();
            pieces.insert(at, copy);
            ("inserted a copy", at)
        }
        3 => {
            pieces.insert(at, dice.one(other).clone());
            ("inserted another log's", at)
        }
        4 => {
            pieces.swap(at, elsewhere);
            ("swapped", at.min(elsewhere))
        }
        5 | 6 => (edit_leaf(dice, &mut pieces[at]), at),
        7 => {
            let donor = dice.one(other).clone();
            pieces[at].body = donor.body;
            ("another log's body", at)
        }
        8..=10 => (edit_body(dice, &mut pieces[at]), at),
        11 | 12 => {
            // Removes a body, perhaps under an erased subject, perhaps with a changed decision.
            let erased: Vec<Vec<u64>> = pieces
                .iter()
                .filter(|piece| piece.body.is_empty())
                .map(|piece| piece.subjects.clone())
                .collect();
            pieces[at].body.clear();
            pieces[at].subjects = match dice.below(4) {
                0 => Vec::new(),
                1 => Vec::from([dice.below(6) as u64]),
                _ if !erased.is_empty() => dice.one(&erased).clone(),
                _ => Vec::from([1]),
            };
            if dice.once_in(2) {
                edit_leaf(dice, &mut pieces[at]);
                return ("blanked with another leaf", at);
            }
            ("blanked", at)
        }
        13 => {
            let snapshots: Vec<usize> =
                (0..pieces.len()).filter(|at| !pieces[*at].snapshot.is_empty()).collect();
            let Some(from) = snapshots.get(dice.below(snapshots.len())).copied() else {
                return ("nothing", at);
            };
            match dice.below(4) {
                0 => {
                    let bytes = &mut pieces[from].snapshot;
                    let byte = dice.below(bytes.len());
                    bytes[byte] ^= 1 << dice.below(8);
                    ("bent the snapshot", from)
                }
                1 => {
                    let snapshot = core::mem::take(&mut pieces[from].snapshot);
                    pieces[at].snapshot = snapshot;
                    ("moved the snapshot", at.min(from))
                }
                2 => {
                    pieces[at].snapshot = pieces[from].snapshot.clone();
                    ("copied the snapshot", at)
                }
                _ => {
                    let bytes = &mut pieces[from].snapshot;
                    if dice.once_in(2) {
                        bytes.truncate(dice.below(bytes.len()).max(1));
                    } else {
                        bytes.push(0);
                    }
                    ("another length of the snapshot", from)
                }
            }
        }
        14 => {
            // Removes the outcomes of erasures, and perhaps the subjects of erased bodies.
            let first = pieces.iter().position(erase_outcome);
            pieces.retain(|piece| !erase_outcome(piece));
            ("dropped the erasures", first.unwrap_or(at).min(pieces.len()))
        }
        15 => {
            pieces[at].subjects = match dice.below(3) {
                0 => Vec::new(),
                1 => Vec::from([dice.below(8) as u64]),
                _ => pieces[elsewhere].subjects.clone(),
            };
            ("other subjects", at)
        }
        _ => {
            let bytes = match dice.once_in(2) {
                true => &mut pieces[at].leaf,
                false => &mut pieces[at].body,
            };
            let byte = dice.below(bytes.len());
            if let Some(byte) = bytes.get_mut(byte) {
                *byte ^= 1 << dice.below(8);
            }
            ("bent a byte", at)
        }
    }
}

fn edit_leaf(dice: &mut Dice<'_>, piece: &mut Piece) -> &'static str {
    let field = dice.below(15);
    let number = dice.draw();
    let byte = u8::try_from(number % 256).unwrap();
    change_leaf(piece, |entry| match field {
        0 => entry.time_us = entry.time_us.wrapping_add(number % 3 + 1),
        1 => entry.run[3] ^= byte,
        2 => entry.operation ^= 1 + u16::from(byte % 16),
        3 => entry.kind = Kind::from_byte(byte % 4).unwrap_or(Kind::Notice),
        4 | 5 => (entry.decision, entry.code) = (Decision::Permit, 0),
        6 => entry.decision = Decision::from_byte(byte % 5).unwrap_or(Decision::Forbid),
        7 => entry.code = i32::from(byte),
        8 => entry.cause = number % entry.seq.max(1),
        9 => entry.policy[0] ^= byte,
        10 => entry.target[0] ^= byte,
        11 => entry.request[0] ^= byte,
        12 => entry.reply[0] ^= byte,
        13 => entry.agent = ["main", "a", "b", ""][usize::from(byte % 4)],
        _ => entry.rule = ["", "owner-only", "session", "batch"][usize::from(byte % 4)],
    });
    "another leaf"
}

const FIELDS: [&str; 16] = [
    "entropy",
    "session",
    "time",
    "uptime",
    "boot",
    "args",
    "op",
    "in",
    "ticket",
    "result",
    "step",
    "state",
    "semantics",
    "config",
    "request",
    "cap",
];

/// Changes a member of a body, at the top or further down.
fn edit_body(dice: &mut Dice<'_>, piece: &mut Piece) -> &'static str {
    let Ok(Value::Object(mut body)) = Value::parse(&piece.body, &Limits::default()) else { return "nothing" };
    let names: Vec<String> = body.iter().map(|(name, _)| name.to_string()).collect();
    let name = dice.one(&names).clone();
    match dice.below(4) {
        0 => {
            body.remove(&name);
        }
        1 => {
            let absent = *dice.one(&FIELDS);
            body.insert(absent, changed(dice, &Value::from(1)));
        }
        _ => {
            if let Some(value) = body.get(&name).cloned() {
                body.insert(name.as_str(), changed(dice, &value));
            }
        }
    }
    piece.body = Value::from(body).to_json().into_bytes();
    "another body"
}

fn changed(dice: &mut Dice<'_>, value: &Value) -> Value {
    match value {
        Value::Object(members) if !members.is_empty() && !dice.once_in(4) => {
            let names: Vec<String> = members.iter().map(|(name, _)| name.to_string()).collect();
            let name = dice.one(&names);
            let mut members = members.clone();
            if let Some(inner) = members.get(name).cloned() {
                members.insert(name.as_str(), changed(dice, &inner));
            }
            members.into()
        }
        Value::String(text) if !text.is_empty() => {
            let mut bytes = text.as_bytes().to_vec();
            let at = dice.below(bytes.len());
            bytes[at] = *dice.one(b"abAB01_-/");
            String::from_utf8(bytes).map_or(Value::Null, Value::from)
        }
        Value::Number(_) => match (value.as_u64(), dice.below(3)) {
            (Some(number), 0) => number.wrapping_add(1).into(),
            (Some(number), 1) => number.saturating_sub(1).into(),
            (Some(_), _) => Value::from(dice.draw() % 10),
            (None, _) => Number::from_f64(0.5).map_or(Value::Null, Value::from),
        },
        _ => [Value::Null, Value::from(7), Value::from("text"), object! {}, Value::from(false)]
            [dice.below(5)]
        .clone(),
    }
}
