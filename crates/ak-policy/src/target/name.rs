//! Names that are compared byte for byte: tools, models, agents, types, audit events.

use core::fmt;

use ak_json::Text;

use super::TargetError;

/// The most bytes of a name.
pub const NAME_BYTES_MAX: usize = 256;

/// A name of 1 to [`NAME_BYTES_MAX`] bytes without control characters, compared byte for byte.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CanonicalName(Text);

impl CanonicalName {
    /// Checks a name, and keeps it unchanged.
    ///
    /// # Errors
    /// [`TargetError`] when the name is empty or too long, begins or ends with white space, or contains a control
    /// character.
    pub fn parse(text: &str) -> Result<Self, TargetError> {
        if text.is_empty() {
            return Err(TargetError::Empty);
        }
        if text.len() > NAME_BYTES_MAX {
            return Err(TargetError::TooLong { bytes_max: NAME_BYTES_MAX });
        }
        if text.contains('\0') {
            return Err(TargetError::Nul);
        }
        if text.contains(char::is_control) || text.trim() != text {
            return Err(TargetError::NameCharacter);
        }
        Ok(Self(text.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CanonicalName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A tool: `name` or `name@version`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CanonicalTool {
    name: CanonicalName,
    version: Option<CanonicalName>,
}

impl CanonicalTool {
    /// Splits at the last `@` after the first character: `@scope/name@1.0` has a version, `@scope/name` has none.
    ///
    /// # Errors
    /// [`TargetError`] when name or version is not a valid name, or the name contains another `@`.
    pub fn parse(text: &str) -> Result<Self, TargetError> {
        let at = text.char_indices().rfind(|&(at, c)| c == '@' && at > 0).map(|(at, _)| at);
        let (name, version) = match at {
            Some(at) => (text.get(..at).unwrap_or_default(), text.get(at + 1..)),
            None => (text, None),
        };
        if name.chars().skip(1).any(|c| c == '@') {
            return Err(TargetError::NameCharacter);
        }
        Ok(Self {
            name: CanonicalName::parse(name)?,
            version: version.map(CanonicalName::parse).transpose()?,
        })
    }

    /// The name, without the version.
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// The version; `None` when the text names none.
    pub fn version(&self) -> Option<&str> {
        self.version.as_ref().map(CanonicalName::as_str)
    }
}

impl fmt::Display for CanonicalTool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name.fmt(f)?;
        self.version.iter().try_for_each(|version| write!(f, "@{version}"))
    }
}
