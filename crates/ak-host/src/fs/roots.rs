//! The roots that a policy grants, resolved when the policy is loaded.
//!
//! The operator may write a root that contains links. It stands for the directory to which it led when the policy was
//! loaded; links that are put into it later are not followed.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    sync::Mutex,
};

use ak_policy::Policy;

use crate::fs::sweep::sweep;

/// The granted roots, each with its resolved path.
#[derive(Debug, Default)]
pub(crate) struct Roots {
    resolved: Mutex<BTreeMap<String, String>>,
    /// Locked while the roots of a policy are resolved, so that the newest policy is resolved last.
    resolving: Mutex<Swept>,
}

/// Resolved roots that were already swept of temporary files.
#[derive(Debug, Default)]
struct Swept(BTreeSet<String>);

impl Roots {
    /// Resolves the roots of the policy in force. A root that cannot be resolved is resolved again when it is used. In
    /// each writable root, temporary files that killed processes abandoned are removed once.
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

    /// Returns the resolved path of a root.
    ///
    /// # Errors
    /// When the root cannot be resolved.
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

/// Resolves the links in the existing part of a path; the missing rest stays as written.
fn resolve(path: &Path) -> io::Result<String> {
    let mut missing: Vec<OsString> = Vec::new();
    let mut there = path.to_path_buf();
    let mut found: PathBuf = loop {
        match there.canonicalize() {
            Ok(found) => break found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // A dangling link is rejected: it could lead anywhere later.
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
