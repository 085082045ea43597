//! The audit entry and its one byte form, `docs/decisions/0001-leaf-format.md`.

mod json;
pub(crate) mod leaf;
pub(crate) mod view;

use alloc::{vec, vec::Vec};

use ak_json::Integrity;

use self::{leaf::Leaf, view::View};
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
pub enum Decision {
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
                match byte {
                    $(byte if byte == $type::$variant as u8 => Some($type::$variant),)+
                    _ => None,
                }
            }
        }
    };
}
from_byte!(Kind { Decision, Step, Outcome, Notice });
from_byte!(Decision { Permit, Ask, Forbid, DefaultDeny, Refused });

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
    pub decision: Decision,
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
    pub(crate) const fn new(field: &'static str, offset: usize, reason: &'static str) -> EntryError {
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
        let mut bytes = vec![0; self.length()?];
        self.write(&mut bytes);
        Ok(bytes)
    }

    /// The entry's bytes with their hash.
    ///
    /// # Errors
    /// As [`Entry::encode`].
    pub fn to_leaf(&self) -> Result<Leaf, EntryError> {
        Ok(Leaf::write(self.length()?, |bytes| self.write(bytes)))
    }

    /// Writes the entry, which was checked, to as many bytes as it has.
    fn write(&self, bytes: &mut [u8]) {
        let Some((fixed, mut texts)) = bytes.split_first_chunk_mut::<FIXED_BYTES>() else { return };
        fixed[..4].copy_from_slice(&MAGIC);
        fixed[4..12].copy_from_slice(&self.seq.to_le_bytes());
        fixed[12..20].copy_from_slice(&self.time_us.to_le_bytes());
        fixed[20..36].copy_from_slice(&self.run);
        fixed[36..38].copy_from_slice(&self.operation.to_le_bytes());
        fixed[38] = self.kind as u8;
        fixed[39] = self.decision as u8;
        fixed[40..44].copy_from_slice(&self.code.to_le_bytes());
        fixed[44..52].copy_from_slice(&self.cause.to_le_bytes());
        fixed[52..84].copy_from_slice(&self.policy);
        fixed[84..116].copy_from_slice(&self.target);
        fixed[116..148].copy_from_slice(&self.request);
        fixed[148..180].copy_from_slice(&self.reply);
        fixed[180..212].copy_from_slice(&self.previous);
        fixed[212] = match self.integrity {
            Integrity::Trusted => 0,
            Integrity::Untrusted => 1,
        };
        // All lengths were found to fit.
        let [agent, rule] = [self.agent, self.rule].map(|text| u8::try_from(text.len()).unwrap_or(u8::MAX));
        fixed[213] = agent;
        fixed[214] = rule;
        let secrecy = texts.len().saturating_sub(self.agent.len() + self.rule.len());
        fixed[215..].copy_from_slice(&u16::try_from(secrecy).unwrap_or(u16::MAX).to_le_bytes());
        let mut put = |part: &[u8]| {
            if let Some((to, rest)) = core::mem::take(&mut texts).split_at_mut_checked(part.len()) {
                to.copy_from_slice(part);
                texts = rest;
            }
        };
        put(self.agent.as_bytes());
        put(self.rule.as_bytes());
        for label in &self.secrecy {
            put(&[u8::try_from(label.len()).unwrap_or(u8::MAX)]);
            put(label.as_bytes());
        }
    }

    /// How many bytes it has, if it keeps to the rules.
    fn length(&self) -> Result<usize, EntryError> {
        self.check()?;
        text_length("agent", 213, self.agent)?;
        text_length("rule", 214, self.rule)?;
        let mut secrecy = 0usize;
        for label in &self.secrecy {
            secrecy = secrecy.saturating_add(1 + usize::from(text_length("secrecy", 215, label)?));
        }
        if secrecy > usize::from(u16::MAX) {
            return Err(EntryError::new("secrecy", 215, "is longer than 65535 bytes"));
        }
        Ok(FIXED_BYTES + self.agent.len() + self.rule.len() + secrecy)
    }

    /// Reads an entry back from its bytes, and only from them: whatever [`Entry::encode`] does not write is refused.
    ///
    /// # Errors
    /// Names the first field that is not as it must be.
    pub fn decode(bytes: &'a [u8]) -> Result<Entry<'a>, EntryError> {
        View::of(bytes).map(View::entry)
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
}

fn text_length(field: &'static str, offset: usize, text: &str) -> Result<u8, EntryError> {
    u8::try_from(text.len()).map_err(|_| EntryError::new(field, offset, "is longer than 255 bytes"))
}
