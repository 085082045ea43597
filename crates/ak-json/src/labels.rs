//! Labels: whether a value can be trusted, and which secrets it contains.

use alloc::collections::BTreeSet;

use crate::object;
use crate::value::Value;
use crate::value::array::Array;
use crate::value::text::Text;

/// The most bytes of a secrecy label.
pub const LABEL_BYTES_MAX: usize = 255;

/// Trusted or untrusted: whether a value may steer decisions. Ordered from better to worse.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Integrity {
    /// The value comes from the owner, or from an agent that read nothing untrusted.
    #[default]
    Trusted,
    /// Something from outside influenced the value.
    Untrusted,
}

/// Integrity and secrets of a value: a lattice with [`join`](Self::join) as its least upper bound.
///
/// Trusted without secrets is the bottom and the default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Labels {
    /// Untrusted as soon as anything untrusted was mixed in.
    pub integrity: Integrity,
    /// The names of the secrets that were mixed in.
    pub secrecy: BTreeSet<Text>,
}

/// Why a value is not [`Labels`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LabelsError {
    /// The value is not an object with exactly the members `integrity` and `secrecy`.
    #[error("labels are an object of 'integrity' and 'secrecy'")]
    Shape,
    /// `integrity` is neither `"trusted"` nor `"untrusted"`.
    #[error("integrity is neither 'trusted' nor 'untrusted'")]
    Integrity,
    /// `secrecy` is not an array of strings.
    #[error("secrecy is not an array of strings")]
    Secrecy,
    /// A secrecy label is empty or longer than [`LABEL_BYTES_MAX`].
    #[error("a secrecy label has 1 to {LABEL_BYTES_MAX} bytes")]
    Label,
}

impl Labels {
    /// Untrusted, without secrets.
    pub fn untrusted() -> Self {
        Self { integrity: Integrity::Untrusted, secrecy: BTreeSet::new() }
    }

    /// The labels of a value made of both: untrusted if either is, with the secrets of both.
    #[must_use]
    pub fn join(&self, other: &Self) -> Self {
        let mut joined = self.clone();
        joined.absorb(other);
        joined
    }

    /// Joins `other` into these labels.
    pub fn absorb(&mut self, other: &Self) {
        self.integrity = self.integrity.max(other.integrity);
        self.secrecy.extend(other.secrecy.iter().cloned());
    }

    /// Whether data with these labels may go where `other` is the most that is allowed: `other` dominates these.
    pub fn flows_to(&self, other: &Self) -> bool {
        self.integrity <= other.integrity && self.secrecy.is_subset(&other.secrecy)
    }

    /// Whether the labels are trusted without secrets.
    pub fn is_bottom(&self) -> bool {
        self.integrity == Integrity::Trusted && self.secrecy.is_empty()
    }

    /// The JSON form: `{"integrity":"trusted","secrecy":["name", …]}`, with `secrecy` in ascending order.
    pub fn to_value(&self) -> Value {
        object! {
            "integrity": match self.integrity {
                Integrity::Trusted => "trusted",
                Integrity::Untrusted => "untrusted",
            },
            "secrecy": self.secrecy.iter().cloned().map(Value::String).collect::<Array>(),
        }
    }

    /// Reads the JSON form.
    ///
    /// # Errors
    /// [`LabelsError`] when the value has another shape, or a label is empty or too long.
    pub fn from_value(value: &Value) -> Result<Self, LabelsError> {
        let object = value.as_object().ok_or(LabelsError::Shape)?;
        let (2, Some(integrity), Some(secrecy)) =
            (object.len(), object.get("integrity"), object.get("secrecy"))
        else {
            return Err(LabelsError::Shape);
        };
        let integrity = match integrity.as_str() {
            Some("trusted") => Integrity::Trusted,
            Some("untrusted") => Integrity::Untrusted,
            _ => return Err(LabelsError::Integrity),
        };
        let names = secrecy.as_array().ok_or(LabelsError::Secrecy)?;
        let label = |name: &Value| match name.as_text() {
            None => Err(LabelsError::Secrecy),
            Some(name) if name.is_empty() || name.len() > LABEL_BYTES_MAX => Err(LabelsError::Label),
            Some(name) => Ok(name.clone()),
        };
        Ok(Self { integrity, secrecy: names.iter().map(label).collect::<Result<_, _>>()? })
    }
}
