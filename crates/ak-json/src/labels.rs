//! Labels: what is known about where a value came from and who may see it.

use alloc::collections::BTreeSet;

use crate::object;
use crate::value::Value;
use crate::value::array::Array;
use crate::value::text::Text;

/// A secrecy label has at most this many bytes.
pub const LABEL_BYTES_MAX: usize = 255;

/// Whether a value may steer decisions; ordered from better to worse.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Integrity {
    /// It comes from the owner, or from an agent that read nothing untrusted.
    #[default]
    Trusted,
    /// Something from outside had a hand in it.
    Untrusted,
}

/// The label of a value: a lattice with [`join`](Self::join) as its least upper bound.
///
/// Trusted without secrets is the bottom and the default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Labels {
    /// Untrusted as soon as anything untrusted was mixed in.
    pub integrity: Integrity,
    /// The secrets that were mixed in, by name.
    pub secrecy: BTreeSet<Text>,
}

/// Why a value is no [`Labels`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LabelsError {
    /// It is no object with exactly the members `integrity` and `secrecy`.
    #[error("labels are an object of 'integrity' and 'secrecy'")]
    Shape,
    /// `integrity` is neither `"trusted"` nor `"untrusted"`.
    #[error("integrity is neither 'trusted' nor 'untrusted'")]
    Integrity,
    /// `secrecy` is no array of strings.
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

    /// What a value made of both carries: untrusted if either is, and the secrets of both.
    #[must_use]
    pub fn join(&self, other: &Self) -> Self {
        let mut joined = self.clone();
        joined.absorb(other);
        joined
    }

    /// Joins `other` into this label.
    pub fn absorb(&mut self, other: &Self) {
        self.integrity = self.integrity.max(other.integrity);
        self.secrecy.extend(other.secrecy.iter().cloned());
    }

    /// Whether what carries this label may go where `other` is expected: `other` dominates this one.
    pub fn flows_to(&self, other: &Self) -> bool {
        self.integrity <= other.integrity && self.secrecy.is_subset(&other.secrecy)
    }

    /// Whether this is trusted without secrets.
    pub fn is_bottom(&self) -> bool {
        self.integrity == Integrity::Trusted && self.secrecy.is_empty()
    }

    /// The JSON form: `{"integrity":"trusted","secrecy":["name", …]}`, secrecy ascending.
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
    /// [`LabelsError`] when the value has another shape or a label another length.
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
