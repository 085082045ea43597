//! Finds the path of an included profile.

use alloc::{string::String, vec::Vec};

/// The absolute path of the profile `name`, as written in a text whose directory is `base_dir`. `.` and `..` are
/// resolved on the text alone. `None` for a relative name in a text without a directory.
pub fn profile_path(base_dir: Option<&str>, name: &str) -> Option<String> {
    let base = if name.starts_with('/') { "" } else { base_dir? };
    let mut names: Vec<&str> = Vec::new();
    for part in base.split('/').chain(name.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(names.pop()),
            part => names.push(part),
        }
    }
    Some(alloc::format!("/{}", names.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_found_by_its_text() {
        let check = |base: Option<&str>, name: &str, expected: Option<&str>| {
            assert_eq!(profile_path(base, name).as_deref(), expected, "{base:?} {name}");
        };
        check(Some("/etc/ak"), "./inc.toml", Some("/etc/ak/inc.toml"));
        check(Some("/etc/ak/"), "../x/./inc.toml", Some("/etc/x/inc.toml"));
        check(Some("/"), "../../inc.toml", Some("/inc.toml"));
        check(Some("/etc"), "/opt//inc.toml", Some("/opt/inc.toml"));
        check(None, "/opt/inc.toml", Some("/opt/inc.toml"));
        check(None, "./inc.toml", None);
    }
}
