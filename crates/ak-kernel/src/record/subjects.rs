//! Whom records are about. What is recorded about a subject is committed to with the subject's salt and kept under the
//! subject's key, so that both can be taken away together.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    string::ToString,
    vec::Vec,
};

use ak_heap::{Handle, Heap};
use ak_json::{Object, Text, Value, object};
use sha2::{Digest as _, Sha256};

use crate::{
    api::{
        fields::{FieldError, Fields, base64url},
        session::{AgentId, GUEST},
        subject::SubjectId,
    },
    record::{entry::derive, shared::SharedMap},
};

/// The kernel itself, which is never erased: policies, tools, grants, agents.
const KERNEL: &str = "";

/// Everybody there is a record about.
#[derive(Debug)]
pub(crate) struct Subjects {
    known: SharedMap<Text, Subject>,
    /// Objects that are about somebody else than their owner, as long as the heap knows them.
    objects: SharedMap<Handle, Text>,
    /// The same by whom they are about, so that to forget somebody costs nothing for the objects of others.
    objects_about: BTreeMap<Text, BTreeSet<Handle>>,
    /// Whom each agent named. What an agent may name yet depends on this alone, so that it tells nothing of others.
    named: BTreeMap<AgentId, SharedMap<Text, ()>>,
    next_id: SubjectId,
}

/// What a snapshot holds of subjects. It shares most of it.
#[derive(Clone, Debug)]
pub(crate) struct SubjectsImage {
    known: SharedMap<Text, Subject>,
    objects: SharedMap<Handle, Text>,
    named: BTreeMap<AgentId, SharedMap<Text, ()>>,
    next_id: SubjectId,
}

/// Longest name of a subject, in bytes.
pub const SUBJECT_BYTES_MAX: usize = 255;
/// What an agent's memory budget is charged for a subject that it names, beside the name, in bytes: the salt, and the key that a
/// host keeps.
pub(crate) const SUBJECT_BYTES: u64 = 256;

#[derive(Debug, Clone, Copy)]
struct Subject {
    id: SubjectId,
    salt: [u8; 32],
    /// How many entries are about it. Of one that an earlier version knew before nobody counted.
    entries: Option<u64>,
}

/// What came of a search for the salt of a commitment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// It is that of these; of the kernel itself where there are none.
    Salt(Vec<SubjectId>),
    /// It is that of nobody who is known.
    None,
    /// There are too many to try them all.
    TooMany,
}

/// How many salts are tried for one commitment.
const SALTS_TRIED_MAX: u32 = 20_000;

/// Whom one record is about.
#[derive(Debug)]
pub(crate) struct RecordSubjects {
    pub(crate) names: Vec<Text>,
    /// Ascending; the kernel itself is not among them.
    pub(crate) ids: Vec<SubjectId>,
    pub(crate) salt: [u8; 32],
    /// Whether somebody was met for the first time, whose salt came from the input's entropy.
    pub(crate) used_entropy: bool,
}

impl Subjects {
    pub(crate) fn new() -> Subjects {
        Subjects {
            known: SharedMap::default(),
            objects: SharedMap::default(),
            objects_about: BTreeMap::new(),
            named: BTreeMap::new(),
            next_id: 0,
        }
    }

    /// How many names all agents together, and how many one of them has used.
    pub(crate) fn named(&self, by: AgentId) -> (u64, u64) {
        let all = self.named.values().map(|names| names.len() as u64).sum();
        (all, self.named.get(&by).map_or(0, |names| names.len() as u64))
    }

    /// Whether an agent used the name before.
    pub(crate) fn is_named_by(&self, name: &Text, by: AgentId) -> bool {
        self.named.get(&by).is_some_and(|names| names.contains_key(name))
    }

    /// How many entries are about a subject, where somebody counted from the first.
    pub(crate) fn entries(&self, name: &Text) -> Option<u64> {
        self.known.get(name)?.entries
    }

    pub(crate) fn id(&self, name: &Text) -> Option<SubjectId> {
        self.known.get(name).map(|subject| subject.id)
    }

    /// The record's subjects, those that nobody named before among them. Nobody is the kernel itself. `named` is a subject that
    /// an agent itself names.
    pub(crate) fn intern(
        &mut self,
        mut names: Vec<Text>,
        entropy: &[u8; 32],
        named: Option<(&Text, AgentId)>,
    ) -> RecordSubjects {
        // Guests come and go: what is recorded about any of them is about the guests.
        names.iter_mut().filter(|name| name.starts_with("guest/")).for_each(|name| *name = Text::from(GUEST));
        names.sort();
        names.dedup();
        if names.is_empty() {
            names.push(Text::from(KERNEL));
        }
        let before = self.next_id;
        for name in &names {
            if !self.known.contains_key(name) {
                let salt = derive(entropy, "salt", name);
                let subject = Subject { id: self.next_id, salt, entries: Some(0) };
                self.known.insert(name.clone(), subject);
                self.next_id = self.next_id.saturating_add(1);
            }
            if let Some(subject) = self.known.get_mut(name) {
                subject.entries = subject.entries.map(|entries| entries.saturating_add(1));
            }
        }
        if let Some((name, by)) = named
            && !self.is_named_by(name, by)
        {
            self.named.entry(by).or_default().insert(name.clone(), ());
        }
        let (ids, salt) = self.bound(names.iter());
        RecordSubjects { names, ids, salt, used_entropy: self.next_id > before }
    }

    /// Forgets who named a subject; gives them.
    pub(crate) fn forget_named(&mut self, name: &Text) -> Vec<AgentId> {
        let named = self.named.iter_mut().filter_map(|(by, names)| names.remove(name).map(|()| *by));
        named.collect()
    }

    /// The salt for what tells of others too.
    pub(crate) fn salt_with(&self, about: &RecordSubjects, others: &[Text]) -> [u8; 32] {
        if others.iter().all(|other| about.names.contains(other)) {
            return about.salt;
        }
        self.bound(about.names.iter().chain(others)).1
    }

    /// One subject's own salt, or one for several that is gone with any of theirs.
    fn bound<'n>(&self, names: impl Iterator<Item = &'n Text>) -> (Vec<SubjectId>, [u8; 32]) {
        let mut found: Vec<Subject> = names.filter_map(|name| self.known.get(name).copied()).collect();
        found.sort_by_key(|subject| subject.id);
        found.dedup_by_key(|subject| subject.id);
        let salt = salt_of(&found);
        (found.into_iter().map(|subject| subject.id).filter(|id| *id > 0).collect(), salt)
    }

    /// How many entries are about each of those who are known, where somebody counted from the first. The kernel's are those
    /// that are about nobody else.
    pub(crate) fn counted(&self) -> impl Iterator<Item = (SubjectId, u64)> {
        self.known.iter().filter_map(|(_, subject)| Some((subject.id, subject.entries?)))
    }

    /// Says whether a subject was erased, going by its number: numbers are given out in turn, each once.
    pub(crate) fn erasure_outcome(&self) -> impl Fn(SubjectId) -> bool {
        let known: BTreeSet<SubjectId> = self.known.iter().map(|(_, subject)| subject.id).collect();
        let next = self.next_id;
        move |id| id > 0 && id < next && !known.contains(&id)
    }

    /// The salt that `fits` takes, of one of the sets of whom an entry is probably about. Who is not known yet may have been met
    /// with this very entry, which then holds the entropy that the salt comes from, and is known from here on.
    pub(crate) fn guess_salt(
        &mut self,
        likely: &[Vec<Text>],
        entropy: Option<&[u8; 32]>,
        fits: impl Fn(&[u8; 32]) -> bool,
    ) -> Option<[u8; 32]> {
        for names in likely {
            let mut found = Vec::new();
            let mut met = Vec::new();
            for name in names_met(names) {
                match (self.known.get(&name), entropy) {
                    (Some(subject), _) => found.push(*subject),
                    (None, Some(entropy)) => {
                        let id = self.next_id.saturating_add(met.len() as u64);
                        let subject = Subject { id, salt: derive(entropy, "salt", &name), entries: None };
                        met.push((name, subject));
                    }
                    (None, None) => {}
                }
            }
            if found.len() + met.len() < names_met(names).len() {
                continue;
            }
            found.extend(met.iter().map(|(_, subject)| *subject));
            found.sort_by_key(|subject| subject.id);
            let salt = salt_of(&found);
            if fits(&salt) {
                self.next_id = self.next_id.saturating_add(met.len() as u64);
                met.into_iter().for_each(|(name, subject)| self.known.insert(name, subject));
                return Some(salt);
            }
        }
        None
    }

    /// Whether `fits` takes the salt of some of those who are known. `likely` are sets of whom it is probably about; nobody is
    /// the kernel itself.
    pub(crate) fn find_salt(&self, likely: &[Vec<Text>], fits: impl Fn(&[u8; 32]) -> bool) -> Found {
        for names in likely {
            let names = names_met(names);
            let (ids, salt) = self.bound(names.iter());
            if names.iter().all(|name| self.known.contains_key(name)) && fits(&salt) {
                return Found::Salt(ids);
            }
        }
        let mut tries = SALTS_TRIED_MAX;
        let mut try_salt = |subjects: &[Subject]| {
            tries = tries.checked_sub(1)?;
            Some(fits(&salt_of(subjects)))
        };
        let mut all: Vec<Subject> = self.known.iter().map(|(_, subject)| *subject).collect();
        all.sort_by_key(|subject| subject.id);
        // One alone, then two of them, and so on: ascending numbers, as the salt of several takes them.
        for size in 1..=all.len() {
            let mut chosen: Vec<usize> = (0..size).collect();
            loop {
                let subjects: Vec<Subject> = chosen.iter().filter_map(|at| all.get(*at).copied()).collect();
                match try_salt(&subjects) {
                    Some(true) => {
                        let ids = subjects.iter().map(|subject| subject.id);
                        return Found::Salt(ids.filter(|id| *id > 0).collect());
                    }
                    Some(false) => {}
                    None => return Found::TooMany,
                }
                if !next_choice(&mut chosen, all.len()) {
                    break;
                }
            }
        }
        Found::None
    }

    /// Whom an object is about, while the heap holds it or its tombstone.
    pub(crate) fn of_object<'k>(&'k self, heap: &'k Heap, handle: Handle) -> Option<&'k Text> {
        let object = heap.any(handle)?;
        Some(self.objects.get(&handle).unwrap_or_else(|| object.owner()))
    }

    /// Notes whom an object is about, which is somebody else than its owner.
    pub(crate) fn note_object(&mut self, handle: Handle, subject: Text) {
        self.objects_about.entry(subject.clone()).or_default().insert(handle);
        self.objects.insert(handle, subject);
    }

    /// Takes note that the heap knows an object no more.
    pub(crate) fn forget_object(&mut self, handle: Handle) {
        let Some(subject) = self.objects.remove(&handle) else { return };
        if let Some(handles) = self.objects_about.get_mut(&subject) {
            handles.remove(&handle);
            if handles.is_empty() {
                self.objects_about.remove(&subject);
            }
        }
    }

    /// Forgets a subject; gives the objects that were about it.
    pub(crate) fn forget(&mut self, heap: &Heap, name: &Text) -> Vec<Handle> {
        let own = heap.owned_by(name).into_iter().filter(|handle| !self.objects.contains_key(handle));
        let mut handles: Vec<Handle> = own.collect();
        for handle in self.objects_about.remove(name).unwrap_or_default() {
            self.objects.remove(&handle);
            handles.push(handle);
        }
        // In the order of their places, in which those are given out again.
        handles.sort_by_key(|handle| handle.index());
        self.known.remove(name);
        handles
    }

    /// All of it as it is now. It costs a pointer for each 32 or so names and objects.
    pub(crate) fn image(&self) -> SubjectsImage {
        SubjectsImage {
            known: self.known.clone(),
            objects: self.objects.clone(),
            named: self.named.clone(),
            next_id: self.next_id,
        }
    }

    /// Objects that the heap does not know have no subject.
    pub(crate) fn from_value(value: &Value, heap: &Heap) -> Result<Subjects, FieldError> {
        let mut fields = Fields::new("subjects", value)?;
        let mut subjects = Subjects { next_id: fields.u64("next")?, ..Subjects::new() };
        for (name, value) in &fields.members("known")? {
            let mut fields = Fields::new("subjects.known", value)?;
            let salt = <[u8; 32]>::try_from(&*fields.bytes("salt")?);
            let salt = salt.map_err(|_| fields.error("salt", "expected 32 bytes"))?;
            let (id, entries) = (fields.u64("id")?, fields.optional_u64("entries")?);
            fields.finish()?;
            subjects.known.insert(name.clone(), Subject { id, salt, entries });
        }
        for pair in fields.items("named")?.iter() {
            let read = || {
                let mut items = pair.as_array()?.iter();
                let by = u32::try_from(items.next()?.as_u64()?).ok()?;
                let mut names = SharedMap::default();
                for name in items.next()?.as_array()?.iter() {
                    names.insert(name.as_text()?.clone(), ());
                }
                Some((AgentId::from_number(by), names))
            };
            let (by, names) = read().ok_or_else(|| fields.error("named", "expected agents and names"))?;
            subjects.named.insert(by, names);
        }
        for (handle, name) in &fields.members("objects")? {
            let handle: Result<Handle, _> = handle.parse();
            match (handle, name) {
                (Ok(handle), Value::String(name)) if heap.any(handle).is_some() => {
                    subjects.note_object(handle, name.clone());
                }
                (Ok(_), Value::String(_)) => {}
                (Ok(_) | Err(_), _) => return Err(fields.error("objects", "expected handles and names")),
            }
        }
        fields.finish()?;
        Ok(subjects)
    }
}

impl SubjectsImage {
    pub(crate) fn to_value(&self) -> Value {
        let known = self.known.iter().map(|(name, subject)| {
            (name.clone(), object! {
                "id": subject.id, "salt": base64url(&subject.salt), "entries": subject.entries.map(Value::from),
            })
        });
        let named = self.named.iter().map(|(by, names)| {
            let names: Vec<Value> = names.iter().map(|(name, ())| Value::from(name.clone())).collect();
            ak_json::array![u64::from(by.number()), names]
        });
        let objects =
            self.objects.iter().map(|(handle, name)| (handle.to_string(), Value::from(name.clone())));
        object! {
            "known": known.collect::<Object>(), "named": named.collect::<Vec<Value>>(),
            "objects": objects.collect::<Object>(), "next": self.next_id,
        }
    }
}

/// Whom an entry about these names is about, each once: guests are one, and nobody is the kernel itself.
fn names_met(names: &[Text]) -> BTreeSet<Text> {
    let guests = |name: &Text| if name.starts_with("guest/") { Text::from(GUEST) } else { name.clone() };
    let mut met: BTreeSet<Text> = names.iter().map(guests).collect();
    if met.is_empty() {
        met.insert(Text::from(KERNEL));
    }
    met
}

/// One subject's own salt, or one for several, whose numbers ascend.
fn salt_of(subjects: &[Subject]) -> [u8; 32] {
    match subjects {
        [one] => one.salt,
        several => {
            let mut hash = Sha256::new();
            hash.update(b"ak-kernel salt of several subjects\n");
            several.iter().for_each(|subject| hash.update(subject.salt));
            hash.finalize().into()
        }
    }
}

/// Moves on to the next of all choices of as many from so many, in order. Whether there is one.
fn next_choice(chosen: &mut [usize], of: usize) -> bool {
    let size = chosen.len();
    let movable = |(at, index): (usize, &usize)| *index < of.saturating_sub(size - at);
    let Some(at) = chosen.iter().enumerate().rposition(movable) else { return false };
    let first = chosen.get(at).copied().unwrap_or_default();
    for (index, next) in chosen.iter_mut().skip(at).zip(first + 1..) {
        *index = next;
    }
    true
}
