//! The audit entry and its one byte form, `docs/decisions/0001-leaf-format.md`.

use alloc::vec::Vec;

use ak_json::Integrity;

use crate::hash::{Hash, ZERO_HASH};

/// What an entry starts with. To change the layout is to change these bytes.
pub const MAGIC: [u8; 4] = *b"AKL1";

/// Bytes before the three texts.
pub const FIXED_BYTES: usize = 217;

/// The longest an entry can be.
pub const ENTRY_BYTES_MAX: usize = FIXED_BYTES + 255 + 255 + 65_535;

/// What an entry records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// A request and what was decided about it.
    Decision = 1,
    /// A step of an effect under way, and what was decided about it.
    Step = 2,
    /// How a permitted effect ended.
    Outcome = 3,
    /// Made by the kernel itself.
    Notice = 4,
}

/// What was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Verdict {
    /// A rule or capability permits it.
    Permit = 1,
    /// Somebody must approve it first.
    Ask = 2,
    /// A rule forbids it.
    Forbid = 3,
    /// No rule permits it.
    DefaultDeny = 4,
    /// Refused before any policy was asked: malformed, over a limit, without standing.
    Refused = 5,
}

macro_rules! from_byte {
    ($type:ident { $($variant:ident),+ }) => {
        impl $type {
            /// Every value, in the order of the numbers.
            pub const ALL: &'static [$type] = &[$($type::$variant),+];

            /// The value with this number, if there is one.
            #[must_use]
            pub fn from_byte(byte: u8) -> Option<$type> {
                $type::ALL.iter().copied().find(|value| *value as u8 == byte)
            }
        }
    };
}
from_byte!(Kind { Decision, Step, Outcome, Notice });
from_byte!(Verdict { Permit, Ask, Forbid, DefaultDeny, Refused });

/// One audit entry. It borrows its texts: from the kernel when written, from the bytes when read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Position in the log, from 0, without gaps.
    pub seq: u64,
    /// Microseconds since the Unix epoch, never falling.
    pub time_us: u64,
    /// The log's identity, drawn from the entropy of its first input.
    pub run: [u8; 16],
    /// Number of the operation in the kernel's table.
    pub operation: u16,
    /// What this entry records.
    pub kind: Kind,
    /// What was decided.
    pub decision: Verdict,
    /// Result code; 0 is success.
    pub code: i32,
    /// `seq` of the decision this belongs to; its own for a decision or a notice.
    pub cause: u64,
    /// Digest of the policy in force.
    pub policy: Hash,
    /// Commitment to the canonical target, [`ZERO_HASH`] where there is none.
    pub target: Hash,
    /// Commitment to the input.
    pub request: Hash,
    /// Commitment to the reply, [`ZERO_HASH`] while it is still to come.
    pub reply: Hash,
    /// Leaf hash of the entry before, [`ZERO_HASH`] for `seq` 0.
    pub previous: Hash,
    /// Integrity of what flowed in.
    pub integrity: Integrity,
    /// Secrecy labels of what flowed in: each 1–255 bytes, strictly ascending, 65,535 bytes in all with one byte
    /// added for each.
    pub secrecy: Vec<&'a str>,
    /// Name of the agent, at most 255 bytes.
    pub agent: &'a str,
    /// Id of the rule that decided, at most 255 bytes; empty where none did.
    pub rule: &'a str,
}

/// Why bytes are no entry, or an entry has no bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("entry field {field} at byte {offset} {reason}")]
pub struct EntryError {
    /// The field, as named in the table of the format.
    pub field: &'static str,
    /// Where the field starts, in bytes from the start of the entry.
    pub offset: usize,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl EntryError {
    const fn new(field: &'static str, offset: usize, reason: &'static str) -> EntryError {
        EntryError { field, offset, reason }
    }
}

impl<'a> Entry<'a> {
    /// The entry's bytes.
    ///
    /// # Errors
    /// When a text is too long, the labels do not ascend, or `cause` or `previous` contradict `kind` and `seq`:
    /// exactly the entries that [`Entry::decode`] would refuse.
    pub fn encode(&self) -> Result<Vec<u8>, EntryError> {
        self.check()?;
        let agent = text_length("agent", 213, self.agent)?;
        let rule = text_length("rule", 214, self.rule)?;
        let secrecy = self.secrecy_length()?;
        let mut bytes =
            Vec::with_capacity(FIXED_BYTES + self.agent.len() + self.rule.len() + usize::from(secrecy));
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&self.seq.to_le_bytes());
        bytes.extend_from_slice(&self.time_us.to_le_bytes());
        bytes.extend_from_slice(&self.run);
        bytes.extend_from_slice(&self.operation.to_le_bytes());
        bytes.push(self.kind as u8);
        bytes.push(self.decision as u8);
        bytes.extend_from_slice(&self.code.to_le_bytes());
        bytes.extend_from_slice(&self.cause.to_le_bytes());
        for hash in [&self.policy, &self.target, &self.request, &self.reply, &self.previous] {
            bytes.extend_from_slice(hash);
        }
        let integrity = match self.integrity {
            Integrity::Trusted => 0,
            Integrity::Untrusted => 1,
        };
        bytes.extend_from_slice(&[integrity, agent, rule]);
        bytes.extend_from_slice(&secrecy.to_le_bytes());
        bytes.extend_from_slice(self.agent.as_bytes());
        bytes.extend_from_slice(self.rule.as_bytes());
        for label in &self.secrecy {
            bytes.push(text_length("secrecy", 215, label)?);
            bytes.extend_from_slice(label.as_bytes());
        }
        Ok(bytes)
    }

    /// Reads an entry back from its bytes, and only from them: whatever [`Entry::encode`] does not write is refused.
    ///
    /// # Errors
    /// Names the first field that is not as it must be.
    pub fn decode(bytes: &'a [u8]) -> Result<Entry<'a>, EntryError> {
        let mut reader = Reader { bytes, offset: 0 };
        if reader.array("magic")? != MAGIC {
            return Err(EntryError::new("magic", 0, "is unknown"));
        }
        let seq = u64::from_le_bytes(reader.array("seq")?);
        let time_us = u64::from_le_bytes(reader.array("time")?);
        let run = reader.array("run")?;
        let operation = u16::from_le_bytes(reader.array("operation")?);
        let kind = reader.number("kind", Kind::from_byte)?;
        let decision = reader.number("decision", Verdict::from_byte)?;
        let code = i32::from_le_bytes(reader.array("code")?);
        let cause = u64::from_le_bytes(reader.array("cause")?);
        let policy = reader.array("policy")?;
        let target = reader.array("target")?;
        let request = reader.array("request")?;
        let reply = reader.array("reply")?;
        let previous = reader.array("previous")?;
        let integrity = reader.number("integrity", |byte| match byte {
            0 => Some(Integrity::Trusted),
            1 => Some(Integrity::Untrusted),
            _ => None,
        })?;
        let [agent] = reader.array("agent length")?;
        let [rule] = reader.array("rule length")?;
        let secrecy_bytes = u16::from_le_bytes(reader.array("secrecy length")?);
        let agent = reader.text("agent", agent)?;
        let rule = reader.text("rule", rule)?;
        let end = reader.offset.saturating_add(usize::from(secrecy_bytes));
        let mut secrecy = Vec::new();
        while reader.offset < end {
            let [length] = reader.array("secrecy")?;
            secrecy.push(reader.text("secrecy", length)?);
        }
        if reader.offset != end || !reader.bytes.is_empty() {
            return Err(EntryError::new("end", end, "is not where the lengths put it"));
        }
        let entry = Entry {
            seq,
            time_us,
            run,
            operation,
            kind,
            decision,
            code,
            cause,
            policy,
            target,
            request,
            reply,
            previous,
            integrity,
            secrecy,
            agent,
            rule,
        };
        entry.check()?;
        Ok(entry)
    }

    /// The rules that bind several fields together.
    fn check(&self) -> Result<(), EntryError> {
        let cause_fits = match self.kind {
            Kind::Decision | Kind::Notice => self.cause == self.seq,
            Kind::Step | Kind::Outcome => self.cause < self.seq,
        };
        if !cause_fits {
            return Err(EntryError::new("cause", 44, "does not fit the kind of entry"));
        }
        if self.seq == 0 && self.previous != ZERO_HASH {
            return Err(EntryError::new("previous", 180, "is not zero in the first entry"));
        }
        let ascending = self.secrecy.iter().zip(self.secrecy.iter().skip(1)).all(|(low, high)| low < high);
        if !ascending || self.secrecy.iter().any(|label| label.is_empty()) {
            return Err(EntryError::new("secrecy", 215, "is empty somewhere or does not ascend"));
        }
        Ok(())
    }

    fn secrecy_length(&self) -> Result<u16, EntryError> {
        let bytes = self.secrecy.iter().fold(0usize, |sum, label| sum.saturating_add(label.len() + 1));
        u16::try_from(bytes).map_err(|_| EntryError::new("secrecy", 215, "is longer than 65535 bytes"))
    }
}

fn text_length(field: &'static str, offset: usize, text: &str) -> Result<u8, EntryError> {
    u8::try_from(text.len()).map_err(|_| EntryError::new(field, offset, "is longer than 255 bytes"))
}

struct Reader<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, field: &'static str, length: usize) -> Result<&'a [u8], EntryError> {
        let (taken, rest) =
            self.bytes.split_at_checked(length).ok_or(EntryError::new(field, self.offset, "is cut short"))?;
        self.bytes = rest;
        self.offset = self.offset.saturating_add(length);
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], EntryError> {
        let offset = self.offset;
        let taken = self.take(field, N)?;
        taken.try_into().map_err(|_| EntryError::new(field, offset, "is cut short"))
    }

    fn number<T>(&mut self, field: &'static str, from: fn(u8) -> Option<T>) -> Result<T, EntryError> {
        let offset = self.offset;
        let [byte] = self.array(field)?;
        from(byte).ok_or(EntryError::new(field, offset, "is an unknown number"))
    }

    fn text(&mut self, field: &'static str, length: u8) -> Result<&'a str, EntryError> {
        let offset = self.offset;
        let bytes = self.take(field, usize::from(length))?;
        core::str::from_utf8(bytes).map_err(|_| EntryError::new(field, offset, "is not UTF-8"))
    }
}
