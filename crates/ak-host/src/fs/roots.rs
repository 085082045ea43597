//! The roots that a policy grants, resolved when it is loaded.
//!
//! A root may be reached through links, since the operator wrote it. It stands for what it led to when the policy was loaded; a link
//! that appears in it later is not followed.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    sync::Mutex,
};

use ak_policy::Policy;

use crate::fs::sweep::sweep;

/// Each granted root and what it stands for.
#[derive(Debug, Default)]
pub(crate) struct Roots {
    resolved: Mutex<BTreeMap<String, String>>,
    /// Locked while the roots of a policy are resolved, so that those of the newest policy are the last.
    resolving: Mutex<Swept>,
}

/// Roots that were swept of temporary files already.
#[derive(Debug, Default)]
struct Swept(BTreeSet<String>);

impl Roots {
    /// Resolves the roots of the policy in force; a root that cannot be resolved is refused when it is used. Writable roots are swept once
    /// of the temporary files that killed processes abandoned.
    pub(crate) fn resolve_all(&self, policy: impl FnOnce() -> Option<Policy>) {
        let mut resolving = self.resolving.lock();
        let Some(policy) = policy() else { return };
        let roots = policy.granted_roots().into_iter();
        let resolved = roots.filter_map(|root| Some((root.to_owned(), resolve(Path::new(root)).ok()?)));
        let resolved: BTreeMap<String, String> = resolved.collect();
        if let Ok(swept) = resolving.as_mut() {
            swept.sweep_new(&resolved, &policy);
        }
        if let Ok(mut resolved_roots) = self.resolved.lock() {
            *resolved_roots = resolved;
        }
    }

    /// What a root stands for.
    ///
    /// # Errors
    /// When it cannot be resolved.
    pub(crate) fn find(&self, root: &str) -> io::Result<String> {
        let mut resolved_roots =
            self.resolved.lock().map_err(|_| io::Error::other("a thread died while it held the roots"))?;
        if let Some(found) = resolved_roots.get(root) {
            return Ok(found.clone());
        }
        let found = resolve(Path::new(root))?;
        resolved_roots.insert(root.to_owned(), found.clone());
        Ok(found)
    }
}

impl Swept {
    fn sweep_new(&mut self, resolved: &BTreeMap<String, String>, policy: &Policy) {
        for root in policy.written_roots().into_iter().filter_map(|root| resolved.get(root)) {
            if self.0.insert(root.clone()) {
                sweep(Path::new(root));
            }
        }
    }
}

/// A path without links, as far as it is there; the rest as it is written.
fn resolve(path: &Path) -> io::Result<String> {
    let mut missing: Vec<OsString> = Vec::new();
    let mut there = path.to_path_buf();
    let mut found: PathBuf = loop {
        match there.canonicalize() {
            Ok(found) => break found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // A dangling link: nobody knows what it will lead to.
                if there.symlink_metadata().is_ok() {
                    return Err(error);
                }
                let (Some(parent), Some(name)) = (there.parent(), there.file_name()) else {
                    return Err(error);
                };
                missing.push(name.to_owned());
                there = parent.to_path_buf();
            }
            Err(error) => return Err(error),
        }
    };
    found.extend(missing.into_iter().rev());
    found
        .into_os_string()
        .into_string()
        .map_err(|_| io::Error::other("the root leads to a name that is no text"))
}
