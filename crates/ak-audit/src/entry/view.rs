//! An entry's bytes in place: checks that they are an entry, without copying or allocating.

use ak_json::Integrity;

use crate::{
    entry::{Decision, Entry, EntryError, FIXED_BYTES, Kind, MAGIC},
    hash::{Hash, ZERO_HASH},
};

/// Offset of each fixed field, for the error that names where an entry is cut short.
const FIELDS: [(&str, usize); 18] = [
    ("magic", 0),
    ("seq", 4),
    ("time", 12),
    ("run", 20),
    ("operation", 36),
    ("kind", 38),
    ("decision", 39),
    ("code", 40),
    ("cause", 44),
    ("policy", 52),
    ("target", 84),
    ("request", 116),
    ("reply", 148),
    ("previous", 180),
    ("integrity", 212),
    ("agent length", 213),
    ("rule length", 214),
    ("secrecy length", 215),
];

/// The checked bytes of an entry, borrowed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View<'a> {
    fixed: &'a [u8; FIXED_BYTES],
    texts: &'a [u8],
}

impl<'a> View<'a> {
    /// Checks that these bytes are an entry.
    ///
    /// # Errors
    /// Names the first field that [`Entry::encode`] would not write like this.
    pub(crate) fn of(bytes: &'a [u8]) -> Result<View<'a>, EntryError> {
        let Some(view) = View::unchecked(bytes) else {
            let there = |(_, start): &&(&str, usize)| *start <= bytes.len();
            let (field, start) = FIELDS.iter().rev().find(there).copied().unwrap_or(("magic", 0));
            return Err(EntryError::new(field, start, "is cut short"));
        };
        view.check_fixed()?;
        view.check_texts()?;
        Ok(view)
    }

    fn unchecked(bytes: &'a [u8]) -> Option<View<'a>> {
        let (fixed, texts) = bytes.split_first_chunk()?;
        Some(View { fixed, texts })
    }

    /// The entry in these bytes, which were checked when their leaf was made.
    pub(crate) fn of_leaf(bytes: &'a [u8]) -> View<'a> {
        View::unchecked(bytes).unwrap_or(View { fixed: &[0; FIXED_BYTES], texts: &[] })
    }

    fn check_fixed(&self) -> Result<(), EntryError> {
        let fail = |field, offset, reason| Err(EntryError::new(field, offset, reason));
        if self.field::<0, 4>() != MAGIC {
            return fail("magic", 0, "is unknown");
        }
        let Some(kind) = self.kind() else { return fail("kind", 38, "is an unknown number") };
        if self.decision().is_none() {
            return fail("decision", 39, "is an unknown number");
        }
        if self.integrity().is_none() {
            return fail("integrity", 212, "is an unknown number");
        }
        let cause_fits = match kind {
            Kind::Decision | Kind::Notice => self.cause() == self.seq(),
            Kind::Step | Kind::Outcome => self.cause() < self.seq(),
        };
        if !cause_fits {
            return fail("cause", 44, "does not fit the kind of entry");
        }
        if self.seq() == 0 && self.previous() != ZERO_HASH {
            return fail("previous", 180, "is not zero in the first entry");
        }
        Ok(())
    }

    fn check_texts(&self) -> Result<(), EntryError> {
        let (agent, rule) = self.name_lengths();
        let rule_start = FIXED_BYTES + agent;
        let labels_start = rule_start + rule;
        let ascii = is_ascii(self.texts);
        let check = |field, offset, text: Option<&[u8]>| match text {
            None => Err(EntryError::new(field, offset, "is cut short")),
            Some(text) if !ascii && core::str::from_utf8(text).is_err() => {
                Err(EntryError::new(field, offset, "is not UTF-8"))
            }
            Some(_) => Ok(()),
        };
        check("agent", FIXED_BYTES, self.texts.get(..agent))?;
        check("rule", rule_start, self.texts.get(agent..agent + rule))?;
        let end = labels_start + usize::from(u16::from_le_bytes(self.field::<215, 2>()));
        let (mut at, mut last, mut ascending) = (labels_start, [].as_slice(), true);
        while at < end {
            let rest = self.texts.get(at - FIXED_BYTES..).unwrap_or_default();
            let Some((length, rest)) = rest.split_first() else {
                return Err(EntryError::new("secrecy", at, "is cut short"));
            };
            let label = rest.get(..usize::from(*length));
            check("secrecy", at + 1, label)?;
            let label = label.unwrap_or_default();
            // Fails for an empty label too, as nothing sorts before it.
            ascending &= last < label;
            (at, last) = (at + 1 + label.len(), label);
        }
        if at != end || FIXED_BYTES + self.texts.len() != end {
            return Err(EntryError::new("end", end, "is not where the lengths put it"));
        }
        if !ascending {
            return Err(EntryError::new("secrecy", 215, "is empty somewhere or does not ascend"));
        }
        Ok(())
    }

    fn field<const START: usize, const LENGTH: usize>(&self) -> [u8; LENGTH] {
        let field = self.fixed.get(START..).and_then(|rest| rest.first_chunk());
        field.copied().unwrap_or([0; LENGTH])
    }

    pub(crate) fn seq(&self) -> u64 {
        u64::from_le_bytes(self.field::<4, 8>())
    }

    pub(crate) fn time_us(&self) -> u64 {
        u64::from_le_bytes(self.field::<12, 8>())
    }

    pub(crate) fn operation(&self) -> u16 {
        u16::from_le_bytes(self.field::<36, 2>())
    }

    fn kind(&self) -> Option<Kind> {
        let [kind] = self.field::<38, 1>();
        Kind::from_byte(kind)
    }

    pub(crate) fn decision(&self) -> Option<Decision> {
        let [decision] = self.field::<39, 1>();
        Decision::from_byte(decision)
    }

    fn cause(&self) -> u64 {
        u64::from_le_bytes(self.field::<44, 8>())
    }

    pub(crate) fn previous(&self) -> Hash {
        self.field::<180, 32>()
    }

    fn integrity(&self) -> Option<Integrity> {
        match self.field::<212, 1>() {
            [0] => Some(Integrity::Trusted),
            [1] => Some(Integrity::Untrusted),
            _ => None,
        }
    }

    fn name_lengths(&self) -> (usize, usize) {
        let [agent, rule] = self.field::<213, 2>();
        (usize::from(agent), usize::from(rule))
    }

    pub(crate) fn agent(&self) -> &'a [u8] {
        let (agent, _) = self.name_lengths();
        self.texts.get(..agent).unwrap_or_default()
    }

    pub(crate) fn rule(&self) -> &'a [u8] {
        let (agent, rule) = self.name_lengths();
        self.texts.get(agent..agent + rule).unwrap_or_default()
    }

    /// The labels, which are stored with their lengths in front.
    fn labels(&self) -> impl Iterator<Item = &'a [u8]> {
        let (agent, rule) = self.name_lengths();
        let mut rest = self.texts.get(agent + rule..).unwrap_or_default();
        core::iter::from_fn(move || {
            let (length, after) = rest.split_first()?;
            let (label, after) = after.split_at_checked(usize::from(*length))?;
            rest = after;
            Some(label)
        })
    }

    /// Decodes the fields; texts are borrowed.
    pub(crate) fn entry(self) -> Entry<'a> {
        // The bytes were checked, so none of these defaults is ever used.
        let text = |bytes: &'a [u8]| core::str::from_utf8(bytes).unwrap_or_default();
        Entry {
            seq: self.seq(),
            time_us: self.time_us(),
            run: self.field::<20, 16>(),
            operation: self.operation(),
            kind: self.kind().unwrap_or(Kind::Notice),
            decision: self.decision().unwrap_or(Decision::Refused),
            code: i32::from_le_bytes(self.field::<40, 4>()),
            cause: self.cause(),
            policy: self.field::<52, 32>(),
            target: self.field::<84, 32>(),
            request: self.field::<116, 32>(),
            reply: self.field::<148, 32>(),
            previous: self.previous(),
            integrity: self.integrity().unwrap_or(Integrity::Untrusted),
            secrecy: self.labels().map(text).collect(),
            agent: text(self.agent()),
            rule: text(self.rule()),
        }
    }
}

/// Whether all bytes are ASCII. Checks eight at a time: texts are short, and most of them are ASCII.
fn is_ascii(bytes: &[u8]) -> bool {
    let Some(last) = bytes.last_chunk::<8>() else { return bytes.is_ascii() };
    let all = bytes
        .as_chunks::<8>()
        .0
        .iter()
        .fold(u64::from_le_bytes(*last), |all, word| all | u64::from_le_bytes(*word));
    all & 0x8080_8080_8080_8080 == 0
}
