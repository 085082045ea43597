//! One parsed file: the items of its modules, their `use` items, and every path in their code.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{TokenStream, TokenTree};
use syn::{
    Attribute, File, ImplItem, Item, ItemMod, ItemUse, Macro, Meta, Path, Token, UseTree, VisRestricted,
    Visibility, ext::IdentExt, punctuated::Punctuated, spanned::Spanned, visit, visit::Visit,
};

/// The kind of an item, as far as the checks distinguish kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ItemKind {
    /// A struct, enum, union, trait or type alias.
    Type,
    /// A macro that `#[macro_export]` puts at the root of the crate.
    ExportedMacro,
    Other,
}

/// An item that a module defines.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Definition {
    pub(crate) kind: ItemKind,
    pub(crate) is_public: bool,
}

/// One name of a `use` item; `use a::{b, c as d}` has two.
#[derive(Clone, Debug)]
pub(crate) struct UseItem {
    pub(crate) path: Vec<String>,
    /// The name that it binds; `None` for a glob.
    pub(crate) name: Option<String>,
    pub(crate) visibility: UseVisibility,
    /// Whether the `use` item is in the module itself and not inside a function.
    pub(crate) is_module_level: bool,
    pub(crate) line: usize,
}

/// The visibility of the name that a `use` item binds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UseVisibility {
    Private,
    /// `pub(crate)`, `pub(super)` and the like.
    Restricted,
    Public,
}

/// A path in the code of a module.
#[derive(Clone, Debug)]
pub(crate) struct Mention {
    pub(crate) path: Vec<String>,
    pub(crate) line: usize,
}

/// The contents of one module, found in its file.
#[derive(Debug, Default)]
pub(crate) struct ScannedModule {
    pub(crate) definitions: BTreeMap<String, Definition>,
    pub(crate) uses: Vec<UseItem>,
    pub(crate) mentions: Vec<Mention>,
    /// Every identifier outside `use` items.
    pub(crate) identifiers: BTreeSet<String>,
    /// Modules declared as `mod name;`, and whether they are `pub`.
    pub(crate) file_modules: Vec<(String, bool)>,
    /// Modules whose text is in this file, and whether they are `pub`.
    pub(crate) inline_modules: Vec<(String, bool, ScannedModule)>,
}

/// Scans a parsed file. Code that is compiled for tests only is left out.
pub(crate) fn scan(file: &File) -> ScannedModule {
    let mut scanner = Scanner { module: ScannedModule::default(), depth: 0 };
    scanner.visit_file(file);
    scanner.module
}

/// Whether an item with these attributes is compiled for tests only.
pub(crate) fn is_test_only(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<Meta>().is_ok_and(|meta| requires_test(&meta))
    })
}

/// Whether a `cfg` predicate can hold in tests only.
fn requires_test(predicate: &Meta) -> bool {
    match predicate {
        Meta::Path(path) => path.is_ident("test") || path.is_ident("doctest"),
        Meta::List(list) => {
            let Ok(inner) = list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated) else {
                return false;
            };
            if list.path.is_ident("all") {
                inner.iter().any(requires_test)
            } else {
                list.path.is_ident("any") && !inner.is_empty() && inner.iter().all(requires_test)
            }
        }
        Meta::NameValue(_) => false,
    }
}

struct Scanner {
    module: ScannedModule,
    /// How many items of the module enclose the current one.
    depth: usize,
}

impl Scanner {
    fn define(&mut self, item: &Item) {
        let kind_and_name = match item {
            Item::Struct(item) => Some((&item.ident, ItemKind::Type, &item.vis)),
            Item::Enum(item) => Some((&item.ident, ItemKind::Type, &item.vis)),
            Item::Union(item) => Some((&item.ident, ItemKind::Type, &item.vis)),
            Item::Trait(item) => Some((&item.ident, ItemKind::Type, &item.vis)),
            Item::Type(item) => Some((&item.ident, ItemKind::Type, &item.vis)),
            Item::Const(item) => Some((&item.ident, ItemKind::Other, &item.vis)),
            Item::Static(item) => Some((&item.ident, ItemKind::Other, &item.vis)),
            Item::Fn(item) => Some((&item.sig.ident, ItemKind::Other, &item.vis)),
            Item::Macro(item) => {
                let is_exported =
                    item.attrs.iter().any(|attribute| attribute.path().is_ident("macro_export"));
                if let Some(name) = &item.ident {
                    let kind = if is_exported { ItemKind::ExportedMacro } else { ItemKind::Other };
                    self.module.definitions.insert(unraw(name), Definition { kind, is_public: is_exported });
                }
                None
            }
            _ => None,
        };
        if let Some((name, kind, visibility)) = kind_and_name {
            let is_public = matches!(visibility, Visibility::Public(_));
            self.module.definitions.insert(unraw(name), Definition { kind, is_public });
        }
    }

    fn scan_module(&mut self, item: &ItemMod) {
        let (name, is_public) = (unraw(&item.ident), matches!(item.vis, Visibility::Public(_)));
        match &item.content {
            None => self.module.file_modules.push((name, is_public)),
            Some((_, items)) => {
                let mut inner = Scanner { module: ScannedModule::default(), depth: 0 };
                items.iter().for_each(|item| inner.visit_item(item));
                self.module.inline_modules.push((name, is_public, inner.module));
            }
        }
    }

    /// Finds paths in tokens that are not parsed: the arguments of macros.
    fn scan_tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let (mut line, mut colons) = (0, 0);
        for token in tokens {
            match &token {
                TokenTree::Ident(ident) => {
                    let name = unraw(ident);
                    self.module.identifiers.insert(name.clone());
                    if colons != 2 {
                        self.mention(std::mem::take(&mut path), line);
                        line = ident.span().start().line;
                    }
                    path.push(name);
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' && !path.is_empty() => colons += 1,
                TokenTree::Punct(_) | TokenTree::Literal(_) => {
                    self.mention(std::mem::take(&mut path), line);
                    colons = 0;
                }
                TokenTree::Group(group) => {
                    self.mention(std::mem::take(&mut path), line);
                    colons = 0;
                    self.scan_tokens(group.stream());
                }
            }
        }
        self.mention(path, line);
    }

    /// Records a path of at least two names. A path of one name is local or comes from a `use` item, which is
    /// recorded itself.
    fn mention(&mut self, path: Vec<String>, line: usize) {
        if path.len() > 1 {
            self.module.mentions.push(Mention { path, line });
        }
    }
}

impl Visit<'_> for Scanner {
    fn visit_item(&mut self, item: &Item) {
        if is_test_only(attributes(item)) {
            return;
        }
        if self.depth == 0 {
            self.define(item);
        }
        match item {
            Item::Mod(item) => self.scan_module(item),
            Item::Use(item) => self.visit_item_use(item),
            _ => {
                self.depth += 1;
                visit::visit_item(self, item);
                self.depth -= 1;
            }
        }
    }

    fn visit_impl_item(&mut self, item: &ImplItem) {
        let attributes = match item {
            ImplItem::Const(item) => &item.attrs,
            ImplItem::Fn(item) => &item.attrs,
            ImplItem::Type(item) => &item.attrs,
            ImplItem::Macro(item) => &item.attrs,
            _ => return visit::visit_impl_item(self, item),
        };
        if !is_test_only(attributes) {
            visit::visit_impl_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &ItemUse) {
        let visibility = match &item.vis {
            Visibility::Public(_) => UseVisibility::Public,
            Visibility::Restricted(_) => UseVisibility::Restricted,
            Visibility::Inherited => UseVisibility::Private,
        };
        let mut names = Vec::new();
        flatten(&item.tree, &mut Vec::new(), &mut names);
        let is_module_level = self.depth == 0;
        for (path, name, line) in names {
            self.module.uses.push(UseItem { path, name, visibility, is_module_level, line });
        }
    }

    fn visit_path(&mut self, path: &Path) {
        let names = path.segments.iter().map(|segment| unraw(&segment.ident)).collect();
        self.mention(names, path.span().start().line);
        visit::visit_path(self, path);
    }

    fn visit_ident(&mut self, ident: &syn::Ident) {
        self.module.identifiers.insert(unraw(ident));
    }

    fn visit_macro(&mut self, call: &Macro) {
        visit::visit_macro(self, call);
        self.scan_tokens(call.tokens.clone());
    }

    /// The path in `pub(in crate::a)` is no import.
    fn visit_vis_restricted(&mut self, _: &VisRestricted) {}

    fn visit_attribute(&mut self, _: &Attribute) {}
}

/// Adds every name of a `use` tree, with its path and line, to `names`.
fn flatten(tree: &UseTree, path: &mut Vec<String>, names: &mut Vec<(Vec<String>, Option<String>, usize)>) {
    let line = tree.span().start().line;
    match tree {
        UseTree::Path(inner) => {
            path.push(unraw(&inner.ident));
            flatten(&inner.tree, path, names);
            path.pop();
        }
        UseTree::Name(name) if name.ident == "self" => names.push((path.clone(), path.last().cloned(), line)),
        UseTree::Name(name) => {
            names.push((joined(path, &name.ident), Some(unraw(&name.ident)), line));
        }
        UseTree::Rename(rename) if rename.ident == "self" => {
            names.push((path.clone(), Some(unraw(&rename.rename)), line));
        }
        UseTree::Rename(rename) => {
            names.push((joined(path, &rename.ident), Some(unraw(&rename.rename)), line));
        }
        UseTree::Glob(_) => names.push((path.clone(), None, line)),
        UseTree::Group(group) => group.items.iter().for_each(|tree| flatten(tree, path, names)),
    }
}

fn joined(path: &[String], name: &syn::Ident) -> Vec<String> {
    path.iter().cloned().chain([unraw(name)]).collect()
}

fn unraw(ident: &syn::Ident) -> String {
    ident.unraw().to_string()
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::ExternCrate(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::ForeignMod(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::TraitAlias(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scanned(text: &str) -> ScannedModule {
        scan(&syn::parse_file(text).unwrap())
    }

    fn uses(text: &str) -> Vec<String> {
        scanned(text).uses.iter().map(|item| item.path.join("::")).collect()
    }

    fn mentions(text: &str) -> Vec<String> {
        scanned(text).mentions.iter().map(|mention| mention.path.join("::")).collect()
    }

    #[test]
    fn nested_braces_renames_self_and_globs_are_flattened() {
        let text = "use crate::{a::{self, B, c::{D as E, F}}, g::*};";
        assert_eq!(uses(text), ["crate::a", "crate::a::B", "crate::a::c::D", "crate::a::c::F", "crate::g"]);
    }

    #[test]
    fn the_line_is_that_of_the_name() {
        let module = scanned("use crate::{\n    a::B,\n    c::D,\n};\n");
        assert_eq!(module.uses.iter().map(|item| item.line).collect::<Vec<_>>(), [2, 3]);
    }

    #[test]
    fn uses_inside_functions_count() {
        assert_eq!(uses("fn f() { use super::a::B; }"), ["super::a::B"]);
    }

    #[test]
    fn code_for_tests_is_left_out() {
        assert_eq!(uses("#[cfg(test)] mod tests { use crate::a; }"), [""; 0]);
        assert_eq!(uses("#[cfg(test)] use crate::a;"), [""; 0]);
        assert_eq!(uses("#[cfg(all(test, unix))] mod tests { use crate::a; }"), [""; 0]);
        assert_eq!(uses("#[cfg(not(test))] use crate::a;"), ["crate::a"]);
        assert_eq!(uses("#[cfg(any(test, unix))] use crate::a;"), ["crate::a"]);
        assert_eq!(mentions("struct S; impl S { #[cfg(test)] fn f() { crate::a::g() } }"), [""; 0]);
    }

    #[test]
    fn paths_are_found_in_code_types_patterns_and_macros() {
        assert_eq!(mentions("fn f() { crate::a::g() }"), ["crate::a::g"]);
        assert_eq!(mentions("struct S { x: super::a::B }"), ["super::a::B"]);
        assert_eq!(mentions("impl crate::a::Trait for S {}"), ["crate::a::Trait"]);
        assert_eq!(mentions("fn f() { vec![g(crate::a::B, 1)] }"), ["crate::a::B"]);
        assert_eq!(mentions("macro_rules! m { () => { $crate::a::B } }"), ["crate::a::B"]);
    }

    #[test]
    fn a_restricted_visibility_is_no_import() {
        assert_eq!(mentions("pub(in crate::a) struct S;"), [""; 0]);
    }
}
