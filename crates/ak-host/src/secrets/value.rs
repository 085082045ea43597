//! The value of a secret: never displayed, and wiped when dropped.

use std::{fmt, sync::Arc};

use zeroize::Zeroizing;

/// Minimum length of a secret, in bytes. A shorter one is rejected: removing it from completions would remove text that
/// only looks like it.
pub const SECRET_BYTES_MIN: usize = 8;

/// The value of a secret. Neither its `Debug` nor any error shows it, and its memory is wiped when the last clone is
/// dropped.
#[derive(Clone)]
pub(crate) struct SecretValue(Arc<Zeroizing<String>>);

impl SecretValue {
    /// Takes the value of a secret exactly as it is sent.
    ///
    /// # Errors
    /// When it is shorter than [`SECRET_BYTES_MIN`] or contains a control character, which no header may contain.
    pub(crate) fn new(value: Zeroizing<String>) -> Result<SecretValue, String> {
        if value.len() < SECRET_BYTES_MIN {
            return Err(format!("the value is shorter than {SECRET_BYTES_MIN} bytes"));
        }
        if value.contains(|c: char| c.is_control()) {
            return Err("the value holds a line break or another control character".into());
        }
        Ok(SecretValue(Arc::new(value)))
    }

    /// Takes the key of a server, which may be shorter than [`SECRET_BYTES_MIN`], because local servers accept any key.
    ///
    /// # Errors
    /// When it contains a control character, which no header may contain.
    pub(crate) fn new_key(key: Zeroizing<String>) -> Result<SecretValue, String> {
        if (1..SECRET_BYTES_MIN).contains(&key.len()) && !key.contains(char::is_control) {
            return Ok(SecretValue(Arc::new(key)));
        }
        SecretValue::new(key)
    }

    /// Whether the value is too short to be removed from completions.
    pub(crate) fn is_short(&self) -> bool {
        self.0.len() < SECRET_BYTES_MIN
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretValue(…)")
    }
}
