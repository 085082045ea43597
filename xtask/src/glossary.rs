//! The stage `glossary`: `docs/glossary.md` has a row for every type that a crate exports, and no row for another.
//!
//! The section of a crate is headed by its name. Its rows are `` | `Type` | meaning | `file` | ``, where the file is relative to the
//! crate's `src` and is the one that defines the type.

use std::{collections::BTreeMap, fs, path::Path};

use crate::{
    imports::root_files,
    run::{Result, root},
    source::Crate,
};

const GLOSSARY: &str = "docs/glossary.md";

/// Checks the glossary against the crates.
pub(crate) fn check() -> Result {
    let text = fs::read_to_string(root().join(GLOSSARY)).map_err(|error| format!("{GLOSSARY}: {error}"))?;
    let findings = findings(&text, &exported()?);
    for finding in &findings {
        eprintln!("{GLOSSARY}: {finding}");
    }
    match findings.len() {
        0 => Ok(()),
        count => {
            Err(format!("{count} findings on the glossary; `cargo xtask glossary --fix` corrects files"))
        }
    }
}

/// Corrects the files in the rows of types that exist.
pub(crate) fn fix() -> Result {
    let wrong = |error| format!("{GLOSSARY}: {error}");
    let text = fs::read_to_string(root().join(GLOSSARY)).map_err(wrong)?;
    fs::write(root().join(GLOSSARY), fixed(&text, &exported()?)).map_err(wrong)?;
    check()
}

/// The exported types of a crate, each with the file that defines it.
type Types = BTreeMap<String, String>;

/// The exported types of each library, by the name of its package.
fn exported() -> Result<BTreeMap<String, Types>> {
    let mut crates = BTreeMap::new();
    for root_file in root_files(root())? {
        let Some(source_dir) = root_file.parent().filter(|_| root_file.ends_with("lib.rs")) else { continue };
        let source = Crate::read(root(), &root_file)?;
        let relative = |file: &Path| file.strip_prefix(source_dir).unwrap_or(file).display().to_string();
        let types: Types =
            source.exported_types().into_iter().map(|(name, file)| (name, relative(file))).collect();
        let package = source_dir.parent().and_then(Path::file_name).unwrap_or_default();
        if !types.is_empty() {
            crates.insert(package.to_string_lossy().into_owned(), types);
        }
    }
    Ok(crates)
}

/// A row of a crate's section.
struct Row<'t> {
    package: &'t str,
    name: &'t str,
    meaning: &'t str,
    file: &'t str,
}

/// The heading of a section, if a line is one.
fn heading(line: &str) -> Option<&str> {
    line.strip_prefix("## ").map(|title| title.trim().trim_matches('`'))
}

/// The row in a line of the section of `package`; `None` if the line is no row.
fn row<'t>(package: &'t str, line: &'t str) -> Option<Row<'t>> {
    let cells: Vec<&str> =
        line.trim().strip_prefix('|')?.strip_suffix('|')?.split(" | ").map(str::trim).collect();
    let (name, meaning, file) = match cells.as_slice() {
        [name, meaning, file] => (*name, *meaning, *file),
        _ => return None,
    };
    let code = |cell: &'t str| cell.strip_prefix('`')?.strip_suffix('`');
    Some(Row { package, name: code(name)?, meaning, file: code(file)? })
}

fn rows<'t>(text: &'t str, crates: &BTreeMap<String, Types>) -> Vec<Row<'t>> {
    let mut package = "";
    let mut rows = Vec::new();
    for line in text.lines() {
        match heading(line) {
            Some(title) => package = title,
            None if crates.contains_key(package) => rows.extend(row(package, line)),
            None => {}
        }
    }
    rows
}

fn findings(text: &str, crates: &BTreeMap<String, Types>) -> Vec<String> {
    let rows = rows(text, crates);
    let mut findings = Vec::new();
    for (package, types) in crates {
        for (name, file) in types {
            match rows
                .iter()
                .filter(|row| row.package == package && row.name == name)
                .collect::<Vec<_>>()
                .as_slice()
            {
                [] => findings.push(format!("{package}: no row for `{name}` of {file}")),
                [row] if row.meaning.is_empty() => {
                    findings.push(format!("{package}: `{name}` has no meaning"))
                }
                [row] if row.file != file => {
                    findings.push(format!("{package}: `{name}` is defined in {file}, not in {}", row.file));
                }
                [_] => {}
                [_, _, ..] => findings.push(format!("{package}: several rows for `{name}`")),
            }
        }
    }
    for row in &rows {
        if crates.get(row.package).is_some_and(|types| !types.contains_key(row.name)) {
            findings.push(format!("{}: exports no type `{}`", row.package, row.name));
        }
    }
    findings
}

fn fixed(text: &str, crates: &BTreeMap<String, Types>) -> String {
    let mut package = "";
    let mut out = String::new();
    for line in text.lines() {
        package = heading(line).unwrap_or(package);
        let current = row(package, line);
        let file = current.as_ref().and_then(|row| crates.get(row.package)?.get(row.name));
        match (current, file) {
            (Some(row), Some(file)) => {
                out.push_str(&format!("| `{}` | {} | `{file}` |", row.name, row.meaning))
            }
            _ => out.push_str(line),
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crates() -> BTreeMap<String, Types> {
        let types = [("Gate", "gate.rs"), ("Permit", "gate.rs")];
        let types = types.map(|(name, file)| (name.to_owned(), file.to_owned()));
        BTreeMap::from([("ak-kernel".to_owned(), Types::from(types))])
    }

    const COMPLETE: &str = "# Words\n\n| a | b | c |\n\n## ak-kernel\n\n| type | meaning | file |\n|---|---|---|\n\
                            | `Gate` | Decides. | `gate.rs` |\n| `Permit` | Proof. | `gate.rs` |\n";

    fn check_one(text: &str, expected: &str) {
        assert_eq!(findings(text, &crates()), [expected]);
    }

    #[test]
    fn a_complete_glossary_passes() {
        assert_eq!(findings(COMPLETE, &crates()), [""; 0]);
        assert_eq!(fixed(COMPLETE, &crates()), COMPLETE);
    }

    #[test]
    fn a_type_without_a_row_and_a_row_without_a_type_are_found() {
        check_one(
            &COMPLETE.replace("| `Gate` | Decides. | `gate.rs` |\n", ""),
            "ak-kernel: no row for `Gate` of gate.rs",
        );
        check_one(&format!("{COMPLETE}| `Old` | Gone. | `old.rs` |\n"), "ak-kernel: exports no type `Old`");
        check_one(
            &format!("{COMPLETE}| `Gate` | Again. | `gate.rs` |\n"),
            "ak-kernel: several rows for `Gate`",
        );
        let elsewhere = COMPLETE.replace("| `Gate` | Decides. | `gate.rs` |\n", "")
            + "## ak-json\n| `Gate` | Decides. | `gate.rs` |\n";
        check_one(&elsewhere, "ak-kernel: no row for `Gate` of gate.rs");
    }

    #[test]
    fn a_row_needs_a_meaning_and_the_file_that_defines_the_type() {
        check_one(&COMPLETE.replace("Proof.", " "), "ak-kernel: `Permit` has no meaning");
        let moved = COMPLETE.replace("| Proof. | `gate.rs`", "| Proof. | `permit.rs`");
        check_one(&moved, "ak-kernel: `Permit` is defined in gate.rs, not in permit.rs");
        assert_eq!(fixed(&moved, &crates()), COMPLETE);
    }
}
