//! Secrets in files that only their owner may read.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
};

/// Longest file of secrets, in bytes.
const BYTES_MAX: u64 = 64 << 10;

/// What a file of secrets holds. Where it is not there it is made, with what `make` gives, and is on the disk before
/// anything rests on it.
///
/// # Errors
/// When the file cannot be read or made, others may read it, or it is not text.
pub(crate) fn read_or_make(path: &Path, make: impl FnOnce() -> io::Result<String>) -> io::Result<String> {
    match File::open(path) {
        Ok(file) => {
            let mode = file.metadata()?.permissions().mode();
            if mode & 0o077 != 0 {
                let message =
                    format!("{}: others may read it (mode {:o}); make it 0600", path.display(), mode & 0o777);
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
            }
            let mut text = String::new();
            file.take(BYTES_MAX).read_to_string(&mut text)?;
            Ok(text)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let text = make()?;
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            Ok(text)
        }
        Err(error) => Err(error),
    }
}

/// 32 fresh bytes from the system's random source.
///
/// # Errors
/// When there is none.
pub(crate) fn random() -> io::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(bytes)
}

pub(crate) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// 32 bytes from 64 hexadecimal digits.
pub(crate) fn from_hex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        for digit in pair {
            let value = char::from(*digit).to_digit(16).and_then(|value| u8::try_from(value).ok())?;
            *byte = *byte << 4 | value;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_digits_come_back_as_bytes() {
        let bytes = random().unwrap();
        assert_eq!(from_hex(&to_hex(&bytes)), Some(bytes));
        for refused in ["", "0", &"0".repeat(63), &"0".repeat(65), &"g".repeat(64), &"é".repeat(32)] {
            assert_eq!(from_hex(refused), None, "{refused}");
        }
    }
}
