//! Finds which modules of a crate import which.

use std::collections::BTreeMap;

use crate::source::{Crate, CrateModule, ModulePath, UseItem, UseVisibility};

/// One import: the importing module, the line, and the imported module.
#[derive(Clone, Debug)]
pub(super) struct Import {
    pub(super) importer: ModulePath,
    pub(super) line: usize,
    /// The module that defines the imported item.
    pub(super) imported: ModulePath,
    /// The modules through whose re-exports the import leads.
    pub(super) facades: Vec<ModulePath>,
}

/// The imports of a crate, at most one for each pair of modules and facades between them. Imports of the root file are
/// left out: it is a map of the crate.
pub(super) fn imports(source: &Crate) -> Vec<Import> {
    let mut found: BTreeMap<(ModulePath, ModulePath, Vec<ModulePath>), Import> = BTreeMap::new();
    for (importer, module) in source.modules.iter().filter(|(_, module)| module.file != source.root_file) {
        let uses = module.uses.iter().filter(|item| !is_map_entry(source, importer, module, item));
        let uses = uses.map(|item| (&item.path, item.line));
        let mentions = module.mentions.iter().map(|mention| (&mention.path, mention.line));
        for (path, line) in uses.chain(mentions) {
            let Some(resolved) = source.resolve(importer, path) else { continue };
            if source.modules.get(&resolved.module).is_none_or(|imported| imported.file == module.file) {
                continue;
            }
            let facades: Vec<ModulePath> = resolved
                .facades
                .into_iter()
                .filter(|facade| facade != importer && !facade.is_empty())
                .collect();
            let key = (importer.clone(), resolved.module.clone(), facades.clone());
            let import = Import { importer: importer.clone(), line, imported: resolved.module, facades };
            found.entry(key).or_insert(import);
        }
    }
    found.into_values().collect()
}

/// Whether a `use` item of a folder's own file only re-exports an item from below, without the file itself using the
/// name. Such an item is no import.
fn is_map_entry(source: &Crate, importer: &[String], module: &CrateModule, item: &UseItem) -> bool {
    let uses_it = item.name.as_ref().is_some_and(|name| module.identifiers.contains(name));
    item.visibility != UseVisibility::Private
        && item.is_module_level
        && !uses_it
        && source.is_folder(importer)
        && source.resolve(importer, &item.path).is_some_and(|resolved| resolved.module.starts_with(importer))
}
