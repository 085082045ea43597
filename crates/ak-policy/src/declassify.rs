//! Declassification: the only way down for labels, by a grant that has a name.

use alloc::collections::BTreeSet;

use ak_json::{Integrity, LABEL_BYTES_MAX, Labels, Text, Value, object};

/// The name of a declassification has at most this many bytes.
pub const DECLASSIFICATION_NAME_BYTES_MAX: usize = 255;

/// A named grant to lower labels: it takes away the secrets it lists, and vouches for integrity if it says so.
///
/// Labels rise by themselves wherever values mix; nothing but such a grant lowers them. Whoever holds one decides by
/// its name alone, so the name stands in the log with what was lowered: see [`Declassified::to_value`].
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

/// Why something is no declassification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeclassificationError {
    /// The name is empty or longer than [`DECLASSIFICATION_NAME_BYTES_MAX`].
    #[error("a declassification's name has 1 to {DECLASSIFICATION_NAME_BYTES_MAX} bytes")]
    Name,
    /// It lists a secret whose name no label can have.
    #[error("a secrecy label has 1 to {LABEL_BYTES_MAX} bytes")]
    Label,
    /// It lowers nothing.
    #[error("a declassification names secrets or vouches for integrity")]
    Nothing,
}

impl Declassification {
    /// A grant of this name over these secrets; `vouches` makes untrusted values trusted.
    ///
    /// # Errors
    /// When the name or a secret has no or too many bytes, or nothing would be lowered.
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

    /// The name that stands in the log.
    pub fn name(&self) -> &Text {
        &self.name
    }

    /// The labels without what this grant takes away.
    pub fn lower(&self, labels: &Labels) -> Declassified {
        let integrity = if self.vouches { Integrity::Trusted } else { labels.integrity };
        let secrecy = labels.secrecy.difference(&self.secrecy).cloned().collect();
        Declassified { by: self.name.clone(), before: labels.clone(), after: Labels { integrity, secrecy } }
    }
}

/// Labels that were lowered, by which grant, and what they were: only [`Declassification::lower`] makes one.
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

    /// What the log has to keep: `{"by": name, "before": labels, "after": labels}`.
    pub fn to_value(&self) -> Value {
        object! { "by": self.by.clone(), "before": self.before.to_value(), "after": self.after.to_value() }
    }
}
