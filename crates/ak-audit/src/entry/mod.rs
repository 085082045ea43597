//! The audit entry and its encoding, `docs/decisions/0001-leaf-format.md`.

mod json;
pub(crate) mod leaf;
pub(crate) mod view;

use alloc::{vec, vec::Vec};

use ak_json::Integrity;

use self::{leaf::Leaf, view::View};
use crate::hash::{Hash, ZERO_HASH};

/// The first bytes of every entry; they change with the layout.
pub const MAGIC: [u8; 4] = *b"AKL1";

/// Bytes of an entry before its three texts.
pub const FIXED_BYTES: usize = 217;

/// The greatest length of an entry in bytes.
pub const ENTRY_BYTES_MAX: usize = FIXED_BYTES + 255 + 255 + 65_535;

/// The kinds of entry: decision, step, outcome or notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// A request and the decision on it.
    Decision = 1,
    /// A step of a pending effect and the decision on it.
    Step = 2,
    /// The outcome of a permitted effect.
    Outcome = 3,
    /// An entry that the kernel makes itself, without a request.
    Notice = 4,
}

/// The decision that an entry records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Decision {
    /// A rule or capability permits the request.
    Permit = 1,
    /// The owner must approve the request first.
    Ask = 2,
    /// A rule forbids the request.
    Forbid = 3,
    /// No rule permits the request.
    DefaultDeny = 4,
    /// Rejected without a decision of the policy: malformed, over a limit, or not allowed for this caller.
    Refused = 5,
}

macro_rules! from_byte {
    ($type:ident { $($variant:ident),+ }) => {
        impl $type {
            /// Every value, in the order of their numbers.
            pub const ALL: &'static [$type] = &[$($type::$variant),+];

            /// The value with this number; `None` if there is none.
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

/// One decoded entry of the log. It borrows its texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Position in the log, from 0, without gaps.
    pub seq: u64,
    /// Wall-clock time in microseconds since the Unix epoch; it may be earlier than that of the entry before.
    pub time_us: u64,
    /// Identity of the log, taken from the entropy of its first input.
    pub run: [u8; 16],
    /// Number of the operation in the kernel's table.
    pub operation: u16,
    /// What this entry records.
    pub kind: Kind,
    /// The decision.
    pub decision: Decision,
    /// Result code; 0 is success.
    pub code: i32,
    /// `seq` of the decision that this entry belongs to, or of the step by which a tool asked for it; the entry's own
    /// `seq` for a decision or a notice.
    pub cause: u64,
    /// Digest of the policy in force.
    pub policy: Hash,
    /// Commitment to the canonical target; [`ZERO_HASH`] if there is none.
    pub target: Hash,
    /// Commitment to the input.
    pub request: Hash,
    /// Commitment to the reply; [`ZERO_HASH`] if there is none yet.
    pub reply: Hash,
    /// Leaf hash of the entry before; [`ZERO_HASH`] for `seq` 0.
    pub previous: Hash,
    /// Integrity of the data that the request used.
    pub integrity: Integrity,
    /// Secrecy labels of the data that the request used, in strictly ascending order. Each has 1 to 255 bytes; all
    /// together, with one more byte for each, have at most 65,535.
    pub secrecy: Vec<&'a str>,
    /// Name of the agent, at most 255 bytes.
    pub agent: &'a str,
    /// Id of the rule that decided, at most 255 bytes; empty if no rule did.
    pub rule: &'a str,
}

/// Why bytes are not an entry, or an entry cannot be encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("entry field {field} at byte {offset} {reason}")]
pub struct EntryError {
    /// The name of the field in the format's table.
    pub field: &'static str,
    /// Offset of the field in bytes from the start of the entry.
    pub offset: usize,
    /// What is wrong with the field, such as "is cut short".
    pub reason: &'static str,
}

impl EntryError {
    pub(crate) const fn new(field: &'static str, offset: usize, reason: &'static str) -> EntryError {
        EntryError { field, offset, reason }
    }
}

impl<'a> Entry<'a> {
    /// Encodes the entry.
    ///
    /// # Errors
    /// When a text is too long, the labels are empty or do not ascend, or `cause` or `previous` contradicts `kind`
    /// and `seq`: exactly the entries that [`Entry::decode`] would reject.
    pub fn encode(&self) -> Result<Vec<u8>, EntryError> {
        let mut bytes = vec![0; self.length()?];
        self.write(&mut bytes);
        Ok(bytes)
    }

    /// Encodes the entry and computes its leaf hash.
    ///
    /// # Errors
    /// As [`Entry::encode`].
    pub fn to_leaf(&self) -> Result<Leaf, EntryError> {
        Ok(Leaf::write(self.length()?, |bytes| self.write(bytes)))
    }

    /// Writes the entry, which was checked, to `bytes`, which has its exact length.
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
        // `length` has checked that all lengths fit.
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

    /// The length of the encoded entry in bytes; fails if the entry cannot be encoded.
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

    /// Decodes an entry. Rejects any bytes that [`Entry::encode`] would not write.
    ///
    /// # Errors
    /// Names the first field that is wrong.
    pub fn decode(bytes: &'a [u8]) -> Result<Entry<'a>, EntryError> {
        View::of(bytes).map(View::entry)
    }

    /// Checks the rules that involve several fields.
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
