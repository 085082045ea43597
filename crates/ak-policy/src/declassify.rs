//! Declassification: a named grant, the only way to lower labels.

use alloc::collections::BTreeSet;

use ak_json::{Integrity, LABEL_BYTES_MAX, Labels, Text, Value, object};

/// The most bytes that the name of a declassification may have.
pub const DECLASSIFICATION_NAME_BYTES_MAX: usize = 255;

/// A named grant to lower labels: it removes the secrets it lists, and makes values trusted if it vouches for them.
///
/// Labels rise automatically wherever values mix; only such a grant lowers them. Its name alone identifies the
/// grant, so the log keeps the name with the labels before and after: see [`Declassified::to_value`].
///
/// ```
/// use ak_json::{Integrity, Labels};
/// use ak_policy::Declassification;
///
/// let grant = Declassification::new("redacted-by-hand", ["pii".into()], false)?;
/// let labels = Labels { integrity: Integrity::Untrusted, secrecy: ["pii".into(), "salary".into()].into() };
/// let lowered = grant.lower(&labels);
/// assert_eq!(lowered.after().secrecy, ["salary".into()].into());
/// assert_eq!(lowered.after().integrity, Integrity::Untrusted, "only what the grant names");
/// # Ok::<(), ak_policy::DeclassificationError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declassification {
    name: Text,
    secrecy: BTreeSet<Text>,
    vouches: bool,
}

/// Why a declassification is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeclassificationError {
    /// The name is empty or longer than [`DECLASSIFICATION_NAME_BYTES_MAX`] bytes.
    #[error("a declassification's name has 1 to {DECLASSIFICATION_NAME_BYTES_MAX} bytes")]
    Name,
    /// A listed secret is empty or longer than [`LABEL_BYTES_MAX`] bytes, so that no label can have it.
    #[error("a secrecy label has 1 to {LABEL_BYTES_MAX} bytes")]
    Label,
    /// The declassification lists no secret and does not vouch, so it would lower nothing.
    #[error("a declassification names secrets or vouches for integrity")]
    Nothing,
}

impl Declassification {
    /// A grant of this name that removes these secrets; with `vouches` it also makes untrusted values trusted.
    ///
    /// # Errors
    /// [`DeclassificationError`] when the name or a secret is empty or too long, or when the grant would lower
    /// nothing.
    pub fn new(
        name: impl Into<Text>,
        secrecy: impl IntoIterator<Item = Text>,
        vouches: bool,
    ) -> Result<Declassification, DeclassificationError> {
        let (name, secrecy) = (name.into(), secrecy.into_iter().collect::<BTreeSet<Text>>());
        if name.is_empty() || name.len() > DECLASSIFICATION_NAME_BYTES_MAX {
            return Err(DeclassificationError::Name);
        }
        if secrecy.iter().any(|secret| secret.is_empty() || secret.len() > LABEL_BYTES_MAX) {
            return Err(DeclassificationError::Label);
        }
        if secrecy.is_empty() && !vouches {
            return Err(DeclassificationError::Nothing);
        }
        Ok(Declassification { name, secrecy, vouches })
    }

    /// The name, which the log keeps.
    pub fn name(&self) -> &Text {
        &self.name
    }

    /// Lowers labels: removes this grant's secrets, and sets the integrity to trusted if it vouches.
    pub fn lower(&self, labels: &Labels) -> Declassified {
        let integrity = if self.vouches { Integrity::Trusted } else { labels.integrity };
        let secrecy = labels.secrecy.difference(&self.secrecy).cloned().collect();
        Declassified { by: self.name.clone(), before: labels.clone(), after: Labels { integrity, secrecy } }
    }
}

/// Labels that were lowered, the labels before, and the name of the grant; only [`Declassification::lower`] makes
/// one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declassified {
    by: Text,
    before: Labels,
    after: Labels,
}

impl Declassified {
    /// The labels after declassification.
    pub fn after(&self) -> &Labels {
        &self.after
    }

    /// The value that the log keeps: `{"by": name, "before": labels, "after": labels}`.
    pub fn to_value(&self) -> Value {
        object! { "by": self.by.clone(), "before": self.before.to_value(), "after": self.after.to_value() }
    }
}
