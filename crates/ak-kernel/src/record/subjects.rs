//! The subjects of records. Data about a subject is committed to with the subject's salt and stored under the
//! subject's key, so that destroying both erases it.

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

/// The name of the kernel itself, which is never erased.
const KERNEL: &str = "";

/// All subjects of records.
#[derive(Debug)]
pub(crate) struct Subjects {
    known: SharedMap<Text, Subject>,
    /// Subjects of objects that are not about their owner, as long as the heap knows the objects.
    objects: SharedMap<Handle, Text>,
    /// The same objects by subject, so that an erasure need not search those of other subjects.
    objects_about: BTreeMap<Text, BTreeSet<Handle>>,
    /// The names that each agent used. What an agent may still name depends on its own names only, which reveals
    /// nothing of others.
    named: BTreeMap<AgentId, SharedMap<Text, ()>>,
    next_id: SubjectId,
}

/// The subjects in a snapshot. It shares most of its memory with the kernel.
#[derive(Clone, Debug)]
pub(crate) struct SubjectsImage {
    known: SharedMap<Text, Subject>,
    objects: SharedMap<Handle, Text>,
    named: BTreeMap<AgentId, SharedMap<Text, ()>>,
    next_id: SubjectId,
}

/// Longest name of a subject, in bytes.
pub const SUBJECT_BYTES_MAX: usize = 255;
/// Bytes that an agent's memory budget is charged for a subject that it names, besides the name: for the salt, and
/// for the key that the host stores.
pub(crate) const SUBJECT_BYTES: u64 = 256;

#[derive(Debug, Clone, Copy)]
struct Subject {
    id: SubjectId,
    salt: [u8; 32],
    /// The number of entries about it; `None` if an earlier version did not count them from the start.
    entries: Option<u64>,
}

/// The result of a search for the salt of a commitment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// The salt of these subjects; of the kernel itself if the list is empty.
    Salt(Vec<SubjectId>),
    /// No salt of known subjects fits.
    None,
    /// There are too many salts to try.
    TooMany,
}

/// Most salts that are tried for one commitment.
const SALTS_TRIED_MAX: u32 = 20_000;

/// The subjects of one record.
#[derive(Debug)]
pub(crate) struct RecordSubjects {
    pub(crate) names: Vec<Text>,
    /// Their ids, ascending, without the kernel's.
    pub(crate) ids: Vec<SubjectId>,
    pub(crate) salt: [u8; 32],
    /// Whether the record has a new subject, whose salt came from the input's entropy.
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

    /// The number of names that all agents together used, and the number that `by` used.
    pub(crate) fn named(&self, by: AgentId) -> (u64, u64) {
        let all = self.named.values().map(|names| names.len() as u64).sum();
        (all, self.named.get(&by).map_or(0, |names| names.len() as u64))
    }

    /// Whether an agent used the name before.
    pub(crate) fn is_named_by(&self, name: &Text, by: AgentId) -> bool {
        self.named.get(&by).is_some_and(|names| names.contains_key(name))
    }

    /// The number of entries about a subject; `None` if it is unknown or was not counted from the start.
    pub(crate) fn entries(&self, name: &Text) -> Option<u64> {
        self.known.get(name)?.entries
    }

    pub(crate) fn id(&self, name: &Text) -> Option<SubjectId> {
        self.known.get(name).map(|subject| subject.id)
    }

    /// The subjects of a record with these names; unknown names become new subjects. No names mean the kernel
    /// itself. `named` is a name that an agent chose.
    pub(crate) fn intern(
        &mut self,
        mut names: Vec<Text>,
        entropy: &[u8; 32],
        named: Option<(&Text, AgentId)>,
    ) -> RecordSubjects {
        // All guests share one subject, since there may be any number of them.
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

    /// Removes a name from the names that agents used; returns those agents.
    pub(crate) fn forget_named(&mut self, name: &Text) -> Vec<AgentId> {
        let named = self.named.iter_mut().filter_map(|(by, names)| names.remove(name).map(|()| *by));
        named.collect()
    }

    /// The salt for data of `others` in addition to the record's subjects.
    pub(crate) fn salt_with(&self, about: &RecordSubjects, others: &[Text]) -> [u8; 32] {
        if others.iter().all(|other| about.names.contains(other)) {
            return about.salt;
        }
        self.bound(about.names.iter().chain(others)).1
    }

    /// Ids and salt of subjects. For several subjects the salt is derived from all of theirs, so it is lost with
    /// any of them.
    fn bound<'n>(&self, names: impl Iterator<Item = &'n Text>) -> (Vec<SubjectId>, [u8; 32]) {
        let mut found: Vec<Subject> = names.filter_map(|name| self.known.get(name).copied()).collect();
        found.sort_by_key(|subject| subject.id);
        found.dedup_by_key(|subject| subject.id);
        let salt = salt_of(&found);
        (found.into_iter().map(|subject| subject.id).filter(|id| *id > 0).collect(), salt)
    }

    /// The number of entries about each known subject whose entries were counted from the start. The kernel's own
    /// are those without other subjects.
    pub(crate) fn counted(&self) -> impl Iterator<Item = (SubjectId, u64)> {
        self.known.iter().filter_map(|(_, subject)| Some((subject.id, subject.entries?)))
    }

    /// Returns a function that tells whether a subject was erased: ids are assigned in ascending order, each once.
    pub(crate) fn erasure_outcome(&self) -> impl Fn(SubjectId) -> bool {
        let known: BTreeSet<SubjectId> = self.known.iter().map(|(_, subject)| subject.id).collect();
        let next = self.next_id;
        move |id| id > 0 && id < next && !known.contains(&id)
    }

    /// The salt that `fits` accepts, among those of the `likely` sets of subjects of an entry. A subject that is
    /// unknown may be new in this very entry; then the salt comes from the entry's `entropy`, and the subject is
    /// known from now on.
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

    /// Searches for known subjects whose salt `fits` accepts. The `likely` sets are tried first; an empty set means
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
        // Single subjects, then pairs and so on, in ascending order of ids, as the salt of several is defined.
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

    /// The subject of an object, while the heap has it or its tombstone.
    pub(crate) fn of_object<'k>(&'k self, heap: &'k Heap, handle: Handle) -> Option<&'k Text> {
        let object = heap.any(handle)?;
        Some(self.objects.get(&handle).unwrap_or_else(|| object.owner()))
    }

    /// Stores the subject of an object that is not about its owner.
    pub(crate) fn note_object(&mut self, handle: Handle, subject: Text) {
        self.objects_about.entry(subject.clone()).or_default().insert(handle);
        self.objects.insert(handle, subject);
    }

    /// Removes an object that the heap no longer knows.
    pub(crate) fn forget_object(&mut self, handle: Handle) {
        let Some(subject) = self.objects.remove(&handle) else { return };
        if let Some(handles) = self.objects_about.get_mut(&subject) {
            handles.remove(&handle);
            if handles.is_empty() {
                self.objects_about.remove(&subject);
            }
        }
    }

    /// Removes a subject; returns the objects that were about it.
    pub(crate) fn forget(&mut self, heap: &Heap, name: &Text) -> Vec<Handle> {
        let own = heap.owned_by(name).into_iter().filter(|handle| !self.objects.contains_key(handle));
        let mut handles: Vec<Handle> = own.collect();
        for handle in self.objects_about.remove(name).unwrap_or_default() {
            self.objects.remove(&handle);
            handles.push(handle);
        }
        // Sorted by index, since the heap reuses indexes in this order.
        handles.sort_by_key(|handle| handle.index());
        self.known.remove(name);
        handles
    }

    /// A copy for a snapshot. It costs one pointer per 32 or so names and objects.
    pub(crate) fn image(&self) -> SubjectsImage {
        SubjectsImage {
            known: self.known.clone(),
            objects: self.objects.clone(),
            named: self.named.clone(),
            next_id: self.next_id,
        }
    }

    /// Reads the subjects from a snapshot. Objects that the heap does not know are skipped.
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

/// The distinct subjects of these names: all guests are one, and no names mean the kernel itself.
fn names_met(names: &[Text]) -> BTreeSet<Text> {
    let guests = |name: &Text| if name.starts_with("guest/") { Text::from(GUEST) } else { name.clone() };
    let mut met: BTreeSet<Text> = names.iter().map(guests).collect();
    if met.is_empty() {
        met.insert(Text::from(KERNEL));
    }
    met
}

/// The salt of one subject, or of several in ascending order of ids.
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

/// Advances to the next combination of as many indexes below `of`, in order. Returns false after the last one.
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
