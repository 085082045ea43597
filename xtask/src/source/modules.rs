//! The module tree of a crate, read from its root file.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use super::scan::{Definition, Mention, ScannedModule, UseItem, is_test_only, scan};
use crate::run::Result;

/// The names that lead from the root of a crate to a module; empty for the root.
pub(crate) type ModulePath = Vec<String>;

/// A crate: one root file and the modules below it.
#[derive(Debug)]
pub(crate) struct Crate {
    /// The path of the root file in reports, such as `crates/ak-json/src/lib.rs`.
    pub(crate) root_file: PathBuf,
    /// The lines of the root file's `//!` comment.
    pub(crate) docs: Vec<String>,
    pub(crate) modules: BTreeMap<ModulePath, CrateModule>,
}

/// A module that is not for tests only.
#[derive(Debug)]
pub(crate) struct CrateModule {
    /// The file that holds it; an inline module shares that of its parent.
    pub(crate) file: PathBuf,
    /// Whether the module is declared as `pub`.
    pub(crate) is_public: bool,
    pub(crate) definitions: BTreeMap<String, Definition>,
    pub(crate) uses: Vec<UseItem>,
    pub(crate) mentions: Vec<Mention>,
    /// Every identifier outside `use` items.
    pub(crate) identifiers: BTreeSet<String>,
}

/// Returns the text of a file: from the disk, or in tests from a table.
type ReadFile<'r> = &'r dyn Fn(&Path) -> Option<String>;

impl Crate {
    /// Reads the crate with this root file. Paths in reports are relative to `base`.
    ///
    /// # Errors
    /// A file is missing or is not Rust.
    pub(crate) fn read(base: &Path, root_file: &Path) -> Result<Crate> {
        Crate::from_files(root_file, &|path| fs::read_to_string(base.join(path)).ok())
    }

    /// Reads the crate with this root file; `read` supplies the text of files.
    pub(crate) fn from_files(root_file: &Path, read: ReadFile<'_>) -> Result<Crate> {
        let text = read(root_file).ok_or_else(|| format!("{}: cannot be read", root_file.display()))?;
        let file = parse(root_file, &text)?;
        let mut found =
            Crate { root_file: root_file.to_owned(), docs: docs(&file), modules: BTreeMap::new() };
        let directory = root_file.parent().unwrap_or(Path::new("")).to_owned();
        found.add(Vec::new(), root_file, &directory, true, scan(&file), read)?;
        Ok(found)
    }

    /// Adds a scanned module and all modules below it, whose files are in `directory`.
    fn add(
        &mut self,
        path: ModulePath,
        file: &Path,
        directory: &Path,
        is_public: bool,
        scanned: ScannedModule,
        read: ReadFile<'_>,
    ) -> Result {
        let ScannedModule { definitions, uses, mentions, identifiers, file_modules, inline_modules } =
            scanned;
        let module =
            CrateModule { file: file.to_owned(), is_public, definitions, uses, mentions, identifiers };
        self.modules.insert(path.clone(), module);
        for (name, is_public, inline) in inline_modules {
            self.add(child(&path, &name), file, &directory.join(&name), is_public, inline, read)?;
        }
        for (name, is_public) in file_modules {
            let candidates =
                [directory.join(&name).with_extension("rs"), directory.join(&name).join("mod.rs")];
            let found = candidates.iter().find_map(|path| Some((path, read(path)?)));
            let Some((inner_file, text)) = found else {
                return Err(format!("{}: no file for `mod {name};`", file.display()));
            };
            let parsed = parse(inner_file, &text)?;
            if !is_test_only(&parsed.attrs) {
                self.add(
                    child(&path, &name),
                    inner_file,
                    &directory.join(&name),
                    is_public,
                    scan(&parsed),
                    read,
                )?;
            }
        }
        Ok(())
    }

    /// The names of the top-level modules with files of their own, in order, and whether each is a folder.
    pub(crate) fn top_level(&self) -> impl Iterator<Item = (&str, bool)> {
        let own_file = self.modules.iter().filter(|(_, module)| module.file != self.root_file);
        own_file.filter_map(|(path, _)| match path.as_slice() {
            [name] => Some((name.as_str(), self.is_folder(path))),
            _ => None,
        })
    }

    /// Whether the module is a folder: it has files of modules below it, or is a `mod.rs`.
    pub(crate) fn is_folder(&self, path: &[String]) -> bool {
        let Some(own) = self.modules.get(path) else { return false };
        own.file.file_name().is_some_and(|name| name == "mod.rs")
            || self.modules.iter().any(|(other, module)| {
                other.len() > path.len() && other.starts_with(path) && module.file != own.file
            })
    }
}

/// The path of a module inside another.
pub(super) fn child(path: &[String], name: &str) -> ModulePath {
    path.iter().cloned().chain([name.to_owned()]).collect()
}

fn parse(path: &Path, text: &str) -> Result<syn::File> {
    syn::parse_file(text).map_err(|error| {
        format!("{}:{}: cannot be parsed: {error}", path.display(), error.span().start().line)
    })
}

/// The lines of a file's `//!` comment.
fn docs(file: &syn::File) -> Vec<String> {
    let text = |attribute: &syn::Attribute| match &attribute.meta {
        syn::Meta::NameValue(pair) if pair.path.is_ident("doc") => match &pair.value {
            syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) => Some(text.value()),
            _ => None,
        },
        _ => None,
    };
    let all: Vec<String> = file.attrs.iter().filter_map(text).collect();
    all.iter().flat_map(|text| text.lines()).map(|line| line.trim().to_owned()).collect()
}
