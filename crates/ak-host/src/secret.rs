//! Secrets in files that only their owner may read.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
};

/// Longest file of secrets, in bytes.
const BYTES_MAX: u64 = 64 << 10;

/// What a file of secrets holds. Where it is not there it is made, with what `make` gives, whole or not at all, and is
/// on the disk before anything rests on it.
///
/// # Errors
/// When the file cannot be read or made, others may read it, or it is not text; the error names it.
pub(crate) fn read_or_make(path: &Path, make: impl FnOnce() -> io::Result<String>) -> io::Result<String> {
    let found = match read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make().and_then(|text| put(path, &text)).and_then(|()| read(path))
        }
        found => found,
    };
    found.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

fn read(path: &Path) -> io::Result<String> {
    let file = File::open(path)?;
    let mode = file.metadata()?.permissions().mode();
    if mode & 0o077 != 0 {
        let message = format!("others may read it (mode {:o}); make it 0600", mode & 0o777);
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
    }
    let mut text = String::new();
    file.take(BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

/// Puts a new file in its place under another name first, so that nobody ever finds half of it. Where another process
/// was faster, its file stays.
fn put(path: &Path, text: &str) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let draft = Path::new(&name);
    match std::fs::remove_file(draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    let placed = match std::fs::hard_link(draft, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        placed => placed,
    };
    std::fs::remove_file(draft)?;
    placed?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
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
    fn a_secret_is_made_whole_and_once() {
        let directory = std::env::temp_dir().join(format!("ak-secret-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("key");
        // What a process left that died while it made the file is in nobody's way.
        std::fs::write(directory.join(format!("key.{}.new", std::process::id())), "ha").unwrap();
        let made = |text: &'static str| move || Ok(text.to_owned());
        assert_eq!(read_or_make(&path, made("first")).unwrap(), "first");
        assert_eq!(read_or_make(&path, made("second")).unwrap(), "first");
        put(&path, "late").unwrap();
        assert_eq!(read(&path).unwrap(), "first", "the faster one's stays");
        assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 1, "no draft is left");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let refused = read_or_make(&path, made("third")).unwrap_err().to_string();
        assert!(refused.contains("key: others may read it"), "{refused}");
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn hexadecimal_digits_come_back_as_bytes() {
        let bytes = random().unwrap();
        assert_eq!(from_hex(&to_hex(&bytes)), Some(bytes));
        for refused in ["", "0", &"0".repeat(63), &"0".repeat(65), &"g".repeat(64), &"é".repeat(32)] {
            assert_eq!(from_hex(refused), None, "{refused}");
        }
    }
}
