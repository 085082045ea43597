//! The value of a secret: shown nowhere, cleared when dropped.

use std::{fmt, sync::Arc};

use zeroize::Zeroizing;

/// Shorter values are refused, in bytes: to cut them from replies would cut what only looks like them.
pub const SECRET_BYTES_MIN: usize = 8;

/// The value of a secret. Neither its `Debug` nor any error shows it; its memory is cleared.
#[derive(Clone)]
pub(crate) struct SecretValue(Arc<Zeroizing<String>>);

impl SecretValue {
    /// Takes a value as it is to be sent.
    ///
    /// # Errors
    /// When it is shorter than [`SECRET_BYTES_MIN`] or holds what no header may hold.
    pub(crate) fn new(value: Zeroizing<String>) -> Result<SecretValue, String> {
        if value.len() < SECRET_BYTES_MIN {
            return Err(format!("the value is shorter than {SECRET_BYTES_MIN} bytes"));
        }
        if value.contains(|c: char| c.is_control()) {
            return Err("the value holds a line break or another control character".into());
        }
        Ok(SecretValue(Arc::new(value)))
    }

    /// Takes the key of a server, which may be shorter than [`SECRET_BYTES_MIN`]: local servers take any key.
    ///
    /// # Errors
    /// When it holds what no header may hold.
    pub(crate) fn new_key(key: Zeroizing<String>) -> Result<SecretValue, String> {
        if (1..SECRET_BYTES_MIN).contains(&key.len()) && !key.contains(char::is_control) {
            return Ok(SecretValue(Arc::new(key)));
        }
        SecretValue::new(key)
    }

    /// Whether it is too short to be looked for in replies.
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
