//! Resolves paths to the modules of a crate, by Rust's rules as far as they concern modules.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use super::{
    modules::{Crate, ModulePath, child},
    scan::{Definition, ItemKind, UseItem, UseVisibility},
};

/// The item or module of the crate that a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Resolved {
    /// The module that holds the definition; for a path to a module, that module.
    pub(crate) module: ModulePath,
    /// The name of the item; `None` if the path names a module.
    pub(crate) item: Option<String>,
    /// The modules through whose re-exports the path leads.
    pub(crate) facades: Vec<ModulePath>,
}

/// A chain of re-exports longer than this is taken for a circle.
const REEXPORTS_MAX: usize = 32;

impl Crate {
    /// Resolves a path in the code of a module; `None` if it leaves the crate or names nothing in the crate.
    pub(crate) fn resolve(&self, from: &[String], path: &[String]) -> Option<Resolved> {
        self.resolve_from(from, path, Vec::new())
    }

    fn resolve_from(&self, from: &[String], path: &[String], facades: Vec<ModulePath>) -> Option<Resolved> {
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" => self.walk(Vec::new(), rest, facades),
            "self" => self.walk(from.to_vec(), rest, facades),
            "super" => {
                let (_, parent) = from.split_last()?;
                let mut parent = parent.to_vec();
                let mut rest = rest;
                while let Some((_, after)) = rest.split_first().filter(|(next, _)| *next == "super") {
                    parent.pop()?;
                    rest = after;
                }
                self.walk(parent, rest, facades)
            }
            name if self.modules.contains_key(&child(from, name)) => {
                self.walk(child(from, name), rest, facades)
            }
            // A name that a `use` item imported.
            name => {
                let import = self.import(from, name).filter(|import| import.path.first() != Some(first))?;
                let found = self.resolve_from(from, &import.path, deeper(facades, from)?)?;
                if found.item.is_some() {
                    return Some(found);
                }
                self.walk(found.module, rest, found.facades)
            }
        }
    }

    /// Follows names from a module down to the modules below it.
    fn walk(&self, mut module: ModulePath, names: &[String], facades: Vec<ModulePath>) -> Option<Resolved> {
        let mut names = names;
        while let Some((name, rest)) = names.split_first() {
            let inner = child(&module, name);
            if !self.modules.contains_key(&inner) {
                return self.item(module, name, rest, facades);
            }
            (module, names) = (inner, rest);
        }
        Some(Resolved { module, item: None, facades })
    }

    /// Finds an item by its name in a module: one that the module defines, imports or re-exports.
    fn item(
        &self,
        module: ModulePath,
        name: &str,
        rest: &[String],
        facades: Vec<ModulePath>,
    ) -> Option<Resolved> {
        let own = self.modules.get(&module)?;
        if own.definitions.contains_key(name) {
            return Some(Resolved { module, item: Some(name.to_owned()), facades });
        }
        if let Some(import) = self.import(&module, name) {
            let path: Vec<String> = import.path.iter().chain(rest).cloned().collect();
            return self.resolve_from(&module, &path, deeper(facades, &module)?);
        }
        let globs = own.uses.iter().filter(|item| item.is_module_level && item.name.is_none());
        for glob in globs {
            let path: Vec<String> = glob.path.iter().cloned().chain([name.to_owned()]).collect();
            let found = self.resolve_from(&module, &path, deeper(facades.clone(), &module)?);
            if found.as_ref().is_some_and(|found| self.holds(found)) {
                return found;
            }
        }
        let is_macro = |definition: &Definition| definition.kind == ItemKind::ExportedMacro;
        if module.is_empty() {
            let exported =
                self.modules.iter().find(|(_, module)| module.definitions.get(name).is_some_and(is_macro));
            if let Some((holder, _)) = exported {
                return Some(Resolved { module: holder.clone(), item: Some(name.to_owned()), facades });
            }
        }
        // A macro may have made the item. It is taken for an item of the module that the path names.
        Some(Resolved { module, item: Some(name.to_owned()), facades })
    }

    /// Whether the module that was found defines the item that was found.
    fn holds(&self, found: &Resolved) -> bool {
        let Some(module) = self.modules.get(&found.module) else { return false };
        found.item.as_ref().is_none_or(|item| module.definitions.contains_key(item))
    }

    /// The `use` item that binds a name in a module.
    fn import(&self, module: &[String], name: &str) -> Option<&UseItem> {
        let uses = &self.modules.get(module)?.uses;
        uses.iter().find(|item| item.is_module_level && item.name.as_deref() == Some(name))
    }

    /// The types that a user of the crate can name, each with the file that defines it.
    pub(crate) fn exported_types(&self) -> BTreeMap<String, &Path> {
        let mut types = BTreeMap::new();
        self.add_exported_types(&Vec::new(), &mut BTreeSet::new(), &mut types);
        types
    }

    fn add_exported_types<'c>(
        &'c self,
        path: &ModulePath,
        visited: &mut BTreeSet<ModulePath>,
        types: &mut BTreeMap<String, &'c Path>,
    ) {
        let Some(module) = self.modules.get(path).filter(|_| visited.insert(path.clone())) else { return };
        let own = module.definitions.iter();
        let own = own.filter(|(_, definition)| definition.is_public && definition.kind == ItemKind::Type);
        types.extend(own.map(|(name, _)| (name.clone(), module.file.as_path())));
        for item in module.uses.iter().filter(|item| item.visibility == UseVisibility::Public) {
            let Some(found) = self.resolve(path, &item.path) else { continue };
            let (holder, Some(original)) = (self.modules.get(&found.module), &found.item) else {
                // The path names a module: the module itself or everything in it is re-exported.
                self.add_exported_types(&found.module, visited, types);
                continue;
            };
            let (Some(holder), Some(name)) = (holder, &item.name) else { continue };
            let is_type = match holder.definitions.get(original) {
                Some(definition) => definition.kind == ItemKind::Type,
                // A macro made the item, so only its name shows whether it is a type.
                None => is_type_name(original),
            };
            if is_type {
                types.insert(name.clone(), holder.file.as_path());
            }
        }
        for (inner, _) in self.modules.iter().filter(|(other, inner)| {
            inner.is_public && other.len() == path.len() + 1 && other.starts_with(path)
        }) {
            self.add_exported_types(inner, visited, types);
        }
    }
}

/// Whether a name is written like that of a type: upper case first, with lower case in it.
fn is_type_name(name: &str) -> bool {
    name.starts_with(char::is_uppercase) && name.contains(char::is_lowercase)
}

/// The facades with one more; `None` if they exceed [`REEXPORTS_MAX`].
fn deeper(mut facades: Vec<ModulePath>, facade: &[String]) -> Option<Vec<ModulePath>> {
    facades.push(facade.to_vec());
    (facades.len() <= REEXPORTS_MAX).then_some(facades)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> Crate {
        let read = |path: &Path| {
            let text = files.iter().find(|(name, _)| Path::new(name) == path);
            text.map(|(_, text)| (*text).to_owned())
        };
        Crate::from_files(Path::new("lib.rs"), &read).unwrap()
    }

    fn leads_to(tree: &Crate, from: &str, path: &str) -> Option<String> {
        let names = |text: &str| -> Vec<String> {
            text.split("::").filter(|name| !name.is_empty()).map(str::to_owned).collect()
        };
        let found = tree.resolve(&names(from), &names(path))?;
        Some(found.module.into_iter().chain(found.item).collect::<Vec<_>>().join("::"))
    }

    #[test]
    fn paths_follow_modules_imports_and_reexports() {
        let tree = tree(&[
            ("lib.rs", "mod a; mod b; pub use a::Inner; pub use a::deep as shallow;"),
            ("a/mod.rs", "mod deep; pub(crate) use deep::Inner; pub(crate) use deep::*; fn own() {}"),
            (
                "a/deep.rs",
                "pub struct Inner; pub struct Other; #[macro_export] macro_rules! make { () => {} }",
            ),
            ("b.rs", "use crate::a::deep; use outside::Thing;"),
        ]);
        let check = |from, path, expected: Option<&str>| {
            assert_eq!(leads_to(&tree, from, path).as_deref(), expected, "{path} from {from}");
        };
        check("b", "crate::a::own", Some("a::own"));
        check("b", "crate::a", Some("a"));
        check("b", "crate::a::Inner", Some("a::deep::Inner"));
        check("b", "crate::a::Other", Some("a::deep::Other"));
        check("b", "crate::Inner", Some("a::deep::Inner"));
        check("b", "crate::shallow::Inner", Some("a::deep::Inner"));
        check("b", "deep::Other", Some("a::deep::Other"));
        check("b", "crate::make", Some("a::deep::make"));
        check("a::deep", "super::own", Some("a::own"));
        check("a::deep", "super::super::b", Some("b"));
        check("a", "deep::Inner::new", Some("a::deep::Inner"));
        check("b", "outside::Thing", None);
        check("b", "Thing::new", None);
        check("b", "std::fmt", None);
    }

    #[test]
    fn a_circle_of_reexports_leads_nowhere() {
        let tree = tree(&[
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", "pub(crate) use crate::b::X;"),
            ("b.rs", "pub(crate) use crate::a::X; use y::z; use z::y;"),
        ]);
        assert_eq!(leads_to(&tree, "a", "crate::b::X"), None);
        assert_eq!(leads_to(&tree, "b", "y::w"), None);
    }

    #[test]
    fn exported_types_are_those_that_a_user_can_name() {
        let tree = tree(&[
            (
                "lib.rs",
                "mod a; pub mod open; pub use a::{MADE_MAX, Made, Shown, shown as other, function}; pub use a::part;",
            ),
            (
                "a/mod.rs",
                "pub(crate) mod part; pub struct Shown; pub struct Hidden; pub fn function() {} pub use part::In as shown;",
            ),
            ("a/part.rs", "pub enum In {} enum Private {} pub const LIMIT: u8 = 1;"),
            ("open.rs", "pub trait Open {} pub(crate) struct Closed; mod inner { pub struct Sealed; }"),
        ]);
        let names: Vec<String> = tree.exported_types().into_keys().collect();
        assert_eq!(names, ["In", "Made", "Open", "Shown", "other"]);
    }
}
