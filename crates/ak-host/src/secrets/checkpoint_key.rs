//! The key that signs checkpoints of the log.

use std::{io, path::Path};

use ak_audit::{SigningKey, note::KeyKind};

use crate::{random::random_bytes, secrets::key_file};

/// Name of the file in the state directory that holds the seed of the key that signs checkpoints.
pub const CHECKPOINT_KEY: &str = "checkpoint.key";

/// Reads the key from the state directory, where it is created at first use. Without a directory it makes a key that
/// lasts as long as the process. The key's name contains `run`, the id of the kernel's log.
///
/// # Errors
/// When the key cannot be read or created, or other users may read it.
pub(crate) fn open(directory: Option<&Path>, run: &[u8; 16]) -> io::Result<SigningKey> {
    let seed = match directory {
        None => random_bytes()?,
        Some(directory) => {
            let made = || Ok(hex::encode(random_bytes()?));
            let digits = key_file::read_or_create(&directory.join(CHECKPOINT_KEY), made)?;
            key_file::parse_hex_key(digits.trim()).ok_or_else(|| invalid("expected 64 hexadecimal digits"))?
        }
    };
    SigningKey::from_seed(&format!("authority-kernel/{}", hex::encode(run)), KeyKind::Log, &seed)
        .map_err(invalid)
}

fn invalid(error: impl ToString) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{CHECKPOINT_KEY}: {}", error.to_string()))
}
