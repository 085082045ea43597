//! The stage `imports`: no crate imports against the directions that its root file states.
//!
//! A root file states directions on lines of its `//!` comment: ``Imports: `a → b → {c, d} → e` ``. An arrow means "may import" and
//! is transitive; `{c, d}` are peers that do not import each other. The stage checks, without exceptions:
//!
//! - each top-level module is named by some line, and each name is a module
//! - no import goes against the directions
//! - no folders import each other in a circle, and inside one folder no more than three files do
//! - nothing imports an item of the root file, which is a map of the crate and contains only re-exports
//!
//! A name that a module re-exports counts as an import of the file that defines it, so no re-export hides a direction.
//! Code for tests is not checked.

mod check;
mod directions;
mod edges;
mod graph;

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    run::{Result, root},
    source::Crate,
};

/// Checks every crate of the workspace that has modules.
pub(crate) fn imports() -> Result {
    let mut failures = Vec::new();
    for root_file in root_files(root())? {
        match Crate::read(root(), &root_file) {
            Ok(source) => failures.extend(check::check(&source)),
            Err(error) => failures.push(error),
        }
    }
    for failure in &failures {
        eprintln!("{failure}");
    }
    match failures.len() {
        0 => Ok(()),
        count => Err(format!("{count} findings on imports")),
    }
}

/// The root files of all crates, relative to the root of the repository.
pub(crate) fn root_files(base: &Path) -> Result<Vec<PathBuf>> {
    let mut packages = vec![PathBuf::from("bindings/python"), PathBuf::from("xtask")];
    for entry in fs::read_dir(base.join("crates")).map_err(|error| format!("crates: {error}"))? {
        let entry = entry.map_err(|error| format!("crates: {error}"))?;
        packages.push(Path::new("crates").join(entry.file_name()));
    }
    packages.sort();
    let mut found = Vec::new();
    for package in packages {
        find_roots(base, &package.join("src"), &mut found)?;
    }
    Ok(found)
}

/// Finds `lib.rs` and `main.rs` in a directory and all below it.
fn find_roots(base: &Path, directory: &Path, found: &mut Vec<PathBuf>) -> Result {
    let wrong = |error: std::io::Error| format!("{}: {error}", directory.display());
    let mut entries = Vec::new();
    for entry in fs::read_dir(base.join(directory)).map_err(wrong)? {
        entries.push(directory.join(entry.map_err(wrong)?.file_name()));
    }
    entries.sort();
    for path in entries {
        if base.join(&path).is_dir() {
            find_roots(base, &path, found)?;
        } else if path.file_name().is_some_and(|name| name == "lib.rs" || name == "main.rs") {
            found.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_roots_of_libraries_and_programs_are_found() {
        let found = root_files(root()).unwrap();
        for path in ["crates/ak-json/src/lib.rs", "crates/ak-image/src/boot/main.rs", "xtask/src/main.rs"] {
            assert!(found.contains(&PathBuf::from(path)), "{path}");
        }
    }
}
