//! The roots that a policy grants, resolved when it is loaded.
//!
//! A root may be reached through links: the operator wrote it. What it led to then is what it stands for as long as the
//! policy is in force; a link that appears in it later leads nowhere.

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
    /// Held by whoever resolves the roots of a policy, so that the newest policy is the last one.
    resolving: Mutex<Swept>,
}

/// Where this process has looked already for files that a killed one left under way.
#[derive(Debug, Default)]
struct Swept(BTreeSet<String>);

impl Roots {
    /// Resolves the roots of the policy in force. One that cannot be resolved is refused when it is used. Where somebody may
    /// write, what a killed process left under way is removed, once for each root.
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
                // A link that leads nowhere is there, and nobody knows what it will lead to.
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
