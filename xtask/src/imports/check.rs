//! Finds the faults in the imports of one crate.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use super::{
    directions::Directions,
    edges::{Import, imports},
    graph::Graph,
};
use crate::source::Crate;

/// A crate with no folder and at most this many modules need not state directions.
const UNDIRECTED_MODULES_MAX: usize = 5;

/// At most this many files of one folder may import each other in a circle.
const CYCLE_FILES_MAX: usize = 3;

/// All findings, each a line or a paragraph.
pub(super) fn check(source: &Crate) -> Vec<String> {
    let imports = imports(source);
    let mut findings = against_directions(source, &imports);
    let from_root = imports.iter().filter(|import| file(source, &import.imported) == source.root_file);
    findings.extend(from_root.map(|import| {
        let root = source.root_file.display();
        format!("{} imports {root}: a root file holds only re-exports", place(source, import))
    }));
    findings.extend(folder_cycles(source, &imports));
    findings.extend(file_cycles(source, &imports));
    findings
}

/// Checks the directions that the root file states, and every import against them.
fn against_directions(source: &Crate, imports: &[Import]) -> Vec<String> {
    let root = source.root_file.display();
    let modules: BTreeMap<&str, bool> = source.top_level().collect();
    let directions = match Directions::parse(source.docs.iter().map(String::as_str)) {
        Ok(Some(directions)) => directions,
        Ok(None) if modules.len() <= UNDIRECTED_MODULES_MAX && !modules.values().any(|folder| *folder) => {
            return Vec::new();
        }
        Ok(None) => return vec![format!("{root}: states no directions: no line \"Imports: `a → b`\"")],
        Err(error) => return vec![format!("{root}: {error}")],
    };
    let mut findings: Vec<String> =
        directions.contradictions().into_iter().map(|finding| format!("{root}: {finding}")).collect();
    let unnamed = modules.keys().filter(|name| !directions.names.contains(**name));
    findings.extend(unnamed.map(|name| format!("{root}: no line with directions names `{name}`")));
    let missing = directions.names.iter().filter(|name| !modules.contains_key(name.as_str()));
    findings.extend(missing.map(|name| format!("{root}: the directions name `{name}`, which is no module")));
    for import in imports {
        let Some(importer) = import.importer.first() else { continue };
        let passed = import.facades.iter().chain([&import.imported]).filter_map(|module| module.first());
        let wrong = passed.filter(|module| *module != importer && !directions.allows(importer, module));
        // Facades come first, since the line names them.
        if let Some(module) = wrong.take(1).next() {
            let (place, file) = (place(source, import), file(source, &import.imported).display());
            findings.push(format!(
                "{place} imports {file}: the directions do not let `{importer}` import `{module}`"
            ));
        }
    }
    findings
}

/// Finds folders that import each other, or a file beside them, in a circle.
fn folder_cycles(source: &Crate, imports: &[Import]) -> Vec<String> {
    let folders = source.modules.keys().filter(|path| path.is_empty() || source.is_folder(path));
    let mut findings = Vec::new();
    for folder in folders {
        let mut graph: Graph<&[String]> = Graph::default();
        let mut stated: BTreeMap<(&[String], &[String]), &Import> = BTreeMap::new();
        for import in imports {
            let below = |path: &'_ Vec<String>| path.len() > folder.len() && path.starts_with(folder);
            if !below(&import.importer) || !below(&import.imported) {
                continue;
            }
            let (Some(from), Some(to)) =
                (import.importer.get(..=folder.len()), import.imported.get(..=folder.len()))
            else {
                continue;
            };
            if from != to {
                graph.add(from, to);
                stated.entry((from, to)).or_insert(import);
            }
        }
        for cycle in graph.cycles() {
            if let Some(inner) = cycle.iter().find(|path| source.is_folder(path)) {
                let way = graph.path(inner, inner).unwrap_or_default();
                let names: Vec<String> = cycle.iter().map(|path| path.join("/")).collect();
                let steps =
                    way.windows(2).filter_map(|step| stated.get(&(*step.first()?, *step.last()?)).copied());
                findings.push(format!(
                    "folders import each other: {}{}",
                    names.join(", "),
                    listed(source, steps)
                ));
            }
        }
    }
    findings
}

/// Finds files that import each other in a circle: too many of one folder, or of several folders.
fn file_cycles(source: &Crate, imports: &[Import]) -> Vec<String> {
    let mut graph: Graph<&Path> = Graph::default();
    let mut stated: BTreeMap<(&Path, &Path), &Import> = BTreeMap::new();
    for import in imports {
        let (from, to) = (file(source, &import.importer), file(source, &import.imported));
        graph.add(from, to);
        stated.entry((from, to)).or_insert(import);
    }
    let mut findings = Vec::new();
    for cycle in graph.cycles() {
        let folders: BTreeSet<&[String]> = cycle.iter().map(|file| folder_of(source, file)).collect();
        let finding = if folders.len() > 1 {
            "files of different folders import each other"
        } else if cycle.len() > CYCLE_FILES_MAX {
            "too many files of one folder import each other"
        } else {
            continue;
        };
        let names: Vec<String> = cycle.iter().map(|file| file.display().to_string()).collect();
        let inside = stated.iter().filter(|((from, to), _)| cycle.contains(from) && cycle.contains(to));
        let steps = inside.map(|(_, import)| *import);
        findings.push(format!("{finding}: {}{}", names.join(", "), listed(source, steps)));
    }
    findings
}

/// The folder that contains a file. A folder's own file counts as inside the folder.
fn folder_of<'s>(source: &'s Crate, file: &Path) -> &'s [String] {
    let modules = source.modules.iter().filter(|(_, module)| module.file == file);
    let Some((own, _)) = modules.min_by_key(|(path, _)| path.len()) else { return &[] };
    if source.is_folder(own) { own } else { own.split_last().map_or(&[], |(_, folder)| folder) }
}

/// Each import on a line of its own.
fn listed<'i>(source: &Crate, imports: impl Iterator<Item = &'i Import>) -> String {
    let line = |import: &Import| {
        format!("\n    {} imports {}", place(source, import), file(source, &import.imported).display())
    };
    imports.map(line).collect()
}

/// The file and line of an import.
fn place(source: &Crate, import: &Import) -> String {
    format!("{}:{}", file(source, &import.importer).display(), import.line)
}

fn file<'s>(source: &'s Crate, module: &[String]) -> &'s Path {
    source.modules.get(module).map_or(&source.root_file, |module| &module.file)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The findings on a crate of these files; the first is the root file.
    fn findings(files: &[(&str, &str)]) -> Vec<String> {
        let read = |path: &Path| {
            let text = files.iter().find(|(name, _)| Path::new(name) == path);
            text.map(|(_, text)| (*text).to_owned())
        };
        check(&Crate::from_files(Path::new(files[0].0), &read).unwrap())
    }

    fn check_one(files: &[(&str, &str)], expected: &str) {
        assert_eq!(findings(files), [expected]);
    }

    const NONE: [&str; 0] = [];

    #[test]
    fn imports_along_the_directions_pass() {
        let files = [
            ("lib.rs", "//! Imports: `a → {b, c} → d`\nmod a; mod b; mod c; mod d; pub use a::A;"),
            ("a.rs", "use crate::{b::B, d};"),
            ("b.rs", "use crate::d::{self, D}; use std::fmt;"),
            ("c.rs", "fn f() { crate::d::g() }"),
            ("d/mod.rs", "mod e; pub(crate) use e::E;"),
            ("d/e.rs", "use super::D;"),
        ];
        assert_eq!(findings(&files), NONE);
    }

    #[test]
    fn an_import_against_the_directions_names_both_files() {
        check_one(
            &[
                ("lib.rs", "//! Imports: `a → b`\nmod a; mod b;"),
                ("a.rs", "pub(crate) struct A;"),
                ("b/mod.rs", "mod c;"),
                ("b/c.rs", "\nuse crate::a::A;"),
            ],
            "b/c.rs:2 imports a.rs: the directions do not let `b` import `a`",
        );
    }

    #[test]
    fn peers_do_not_import_each_other() {
        check_one(
            &[
                ("lib.rs", "//! Imports: `a → {b, c}`\nmod a; mod b; mod c;"),
                ("a.rs", ""),
                ("b.rs", "fn f() { vec![crate::c::G] }"),
                ("c.rs", ""),
            ],
            "b.rs:1 imports c.rs: the directions do not let `b` import `c`",
        );
    }

    #[test]
    fn a_reexport_hides_no_import() {
        check_one(
            &[
                ("lib.rs", "//! Imports: `a → b`\nmod a; mod b; pub use a::A;"),
                ("a.rs", "pub struct A;"),
                ("b.rs", "use crate::A;"),
            ],
            "b.rs:1 imports a.rs: the directions do not let `b` import `a`",
        );
        check_one(
            &[
                ("lib.rs", "//! Imports: `high → {middle, low}`\nmod high; mod middle; mod low;"),
                ("high.rs", "pub(crate) use crate::low::Low;"),
                ("middle.rs", "use crate::high::Low;"),
                ("low.rs", "pub(crate) struct Low;"),
            ],
            "middle.rs:1 imports low.rs: the directions do not let `middle` import `high`",
        );
    }

    #[test]
    fn every_module_is_named_and_every_name_is_a_module() {
        check_one(
            &[("lib.rs", "//! Imports: `a`\nmod a; mod b;"), ("a.rs", ""), ("b.rs", "")],
            "lib.rs: no line with directions names `b`",
        );
        check_one(
            &[("lib.rs", "//! Imports: `a → b`\nmod a;"), ("a.rs", "")],
            "lib.rs: the directions name `b`, which is no module",
        );
        let tests_only = [("lib.rs", "//! Imports: `a`\nmod a; #[cfg(test)] mod tests;"), ("a.rs", "")];
        assert_eq!(findings(&tests_only), NONE);
    }

    #[test]
    fn directions_are_stated_in_their_form_and_without_contradiction() {
        check_one(
            &[("lib.rs", "//! Imports: `a → {b}, c`\nmod a;"), ("a.rs", "")],
            "lib.rs: \"Imports: `a → {b}, c`\" is not of the form \"Imports: `a → b → {c, d}`\"",
        );
        check_one(
            &[("lib.rs", "//! Imports: `a → b → a`\nmod a; mod b;"), ("a.rs", ""), ("b.rs", "")],
            "lib.rs: the directions lead in a circle through a, b",
        );
    }

    #[test]
    fn a_crate_with_few_files_needs_no_directions_and_one_with_a_folder_does() {
        let few = [("main.rs", "mod a; mod b;"), ("a.rs", "use crate::b;"), ("b.rs", "")];
        assert_eq!(findings(&few), NONE);
        let expected = "lib.rs: states no directions: no line \"Imports: `a → b`\"";
        check_one(&[("lib.rs", "mod a;"), ("a/mod.rs", "")], expected);
        let many = "mod a; mod b; mod c; mod d; mod e; mod f;";
        let files = ["a.rs", "b.rs", "c.rs", "d.rs", "e.rs", "f.rs"].map(|name| (name, ""));
        check_one(&[&[("lib.rs", many)], &files[..]].concat(), expected);
    }

    #[test]
    fn nothing_imports_from_the_root_file() {
        check_one(
            &[("main.rs", "mod a; struct Failed;"), ("a.rs", "use crate::Failed;")],
            "a.rs:1 imports main.rs: a root file holds only re-exports",
        );
        check_one(
            &[("lib.rs", "mod a; mod inline { use crate::a; struct S; }"), ("a.rs", "use crate::inline::S;")],
            "a.rs:1 imports lib.rs: a root file holds only re-exports",
        );
    }

    #[test]
    fn folders_that_import_each_other_are_found_at_every_depth() {
        let root = ("lib.rs", "//! Imports: `a`\nmod a;");
        check_one(
            &[
                root,
                ("a/mod.rs", "mod x; mod y;"),
                ("a/x/mod.rs", "mod one; mod two;"),
                ("a/x/one.rs", "use crate::a::y::one::Y;"),
                ("a/x/two.rs", "pub(crate) struct X;"),
                ("a/y/mod.rs", "mod one; mod two;"),
                ("a/y/one.rs", "pub(crate) struct Y;"),
                ("a/y/two.rs", "use super::super::x::two::X;"),
            ],
            "folders import each other: a/x, a/y\
             \n    a/x/one.rs:1 imports a/y/one.rs\
             \n    a/y/two.rs:1 imports a/x/two.rs",
        );
        check_one(
            &[
                root,
                ("a/mod.rs", "mod x; use x::y::Y; pub(crate) struct A;"),
                ("a/x/mod.rs", "mod y;"),
                ("a/x/y.rs", "use crate::a::A; pub(crate) struct Y;"),
            ],
            "files of different folders import each other: a/mod.rs, a/x/y.rs\
             \n    a/mod.rs:1 imports a/x/y.rs\
             \n    a/x/y.rs:1 imports a/mod.rs",
        );
    }

    #[test]
    fn three_files_of_a_folder_may_import_each_other_and_four_may_not() {
        let root = ("lib.rs", "//! Imports: `a`\nmod a;");
        let three = [
            root,
            ("a/mod.rs", "mod x; mod y; mod z;"),
            ("a/x.rs", "use super::y::Y;"),
            ("a/y.rs", "use super::z::Z;"),
            ("a/z.rs", "use super::x::X;"),
        ];
        assert_eq!(findings(&three), NONE);
        let four = [
            root,
            ("a/mod.rs", "mod x; mod y; mod z; use x::X; pub(crate) struct A;"),
            ("a/x.rs", "use super::y::Y;"),
            ("a/y.rs", "use super::z::Z;"),
            ("a/z.rs", "use super::A;"),
        ];
        let found = findings(&four);
        assert_eq!(found.len(), 1);
        assert!(
            found[0].starts_with(
                "too many files of one folder import each other: a/mod.rs, a/x.rs, a/y.rs, a/z.rs"
            ),
            "{}",
            found[0]
        );
    }
}
