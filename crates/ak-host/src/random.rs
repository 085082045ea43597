//! The system's random source.

use std::io;

/// Returns 32 fresh bytes from the system's random source.
///
/// # Errors
/// When the system has no random source.
pub(crate) fn random_bytes() -> io::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(bytes)
}
