//! Secrets in files that only their owner may read.

use std::{
    fs::File,
    io::{self, Write},
    os::fd::AsFd,
    path::Path,
};

use rustix::fs::Mode;

use crate::{
    temp_file::{TempFile, sweep_directory},
    trusted_file::{self, Trust},
};

/// Maximum length of a key file, in bytes.
const BYTES_MAX: u64 = 64 << 10;

/// Reads a key file. A missing file is created atomically with the text that `make` returns, and synced before anything
/// depends on it.
///
/// # Errors
/// When the file cannot be read or created, other users may read it or could have written it, or it is not UTF-8. The
/// error names the file.
pub(crate) fn read_or_create(path: &Path, make: impl FnOnce() -> io::Result<String>) -> io::Result<String> {
    // A process that was killed while it created a file left a temporary file behind.
    if let Ok(directory) = File::open(directory_of(path)) {
        sweep_directory(directory.as_fd());
    }
    let found = match read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make().and_then(|text| create(path, &text)).and_then(|()| read(path))
        }
        found => found,
    };
    found.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

fn read(path: &Path) -> io::Result<String> {
    trusted_file::read(path, Trust::OwnerOnly, BYTES_MAX)
}

/// Creates the file under a temporary name first, so that no reader finds a partial file. If another process has
/// created it meanwhile, that file stays.
fn create(path: &Path, text: &str) -> io::Result<()> {
    let name = path.file_name().ok_or_else(|| io::Error::other("it has no name"))?;
    let opened = File::open(directory_of(path))?;
    let mut temp_file = TempFile::create(opened.as_fd(), Mode::RUSR | Mode::WUSR)?;
    temp_file.file.write_all(text.as_bytes())?;
    temp_file.file.sync_all()?;
    match temp_file.rename_new(name) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        placed => placed?,
    }
    opened.sync_all()
}

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Decodes a key of 32 bytes from 64 hexadecimal digits; `None` for any other text.
pub(crate) fn parse_hex_key(text: &str) -> Option<[u8; 32]> {
    let mut key = [0; 32];
    hex::decode_to_slice(text, &mut key).ok().map(|()| key)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_file_is_created_whole_and_once() {
        let directory = std::env::temp_dir().join(format!("ak-secret-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("key");
        // A temporary file of a process that died while it created the file is no obstacle.
        std::fs::write(directory.join(".ak-0123456789abcdef.tmp"), "ha").unwrap();
        let made = |text: &'static str| move || Ok(text.to_owned());
        assert_eq!(read_or_create(&path, made("first")).unwrap(), "first");
        assert_eq!(read_or_create(&path, made("second")).unwrap(), "first");
        create(&path, "late").unwrap();
        assert_eq!(read(&path).unwrap(), "first", "the faster one's stays");
        assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 1, "no temporary file is left");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let refused = read_or_create(&path, made("third")).unwrap_err().to_string();
        assert!(refused.contains("key: others may read it"), "{refused}");
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn a_key_is_64_hexadecimal_digits_and_nothing_else() {
        let key = crate::random::random_bytes().unwrap();
        assert_eq!(parse_hex_key(&hex::encode(key)), Some(key));
        for refused in ["", "0", &"0".repeat(63), &"0".repeat(65), &"g".repeat(64), &"é".repeat(32)] {
            assert_eq!(parse_hex_key(refused), None, "{refused}");
        }
    }
}
