//! File effects, performed beneath the root that the gate granted.
//!
//! A path is resolved from the root's descriptor, through no symbolic link and on the root's own mount. Canonical paths hold no `..`.
//! So the file that is opened is the one that was checked, whatever is renamed meanwhile.

pub(crate) mod error;
mod links;
pub(crate) mod preserve;
pub(crate) mod protected;
pub(crate) mod resolve;
pub(crate) mod roots;
pub(crate) mod sweep;
pub(crate) mod target;

use std::{io, os::fd::AsFd};

use ak_kernel::{Completion, FileAction, StepAnswer};
use rustix::{
    fs::{OFlags, readlinkat},
    io::Errno,
};

use crate::{
    fs::error::{FileError, LINKS_MAX},
    fs::protected::Protected,
    fs::resolve::{Resolver, is_procfs},
    fs::roots::Roots,
    fs::{
        links::{components, link_target},
        target::FileTarget,
    },
    temp_file::is_temp_name,
};

/// Performs file effects.
#[derive(Debug, Default)]
pub(crate) struct FileEffects {
    pub(crate) protected: Protected,
    pub(crate) roots: Roots,
}

impl FileEffects {
    /// Performs one file effect. If links are followed, `ask` judges each path that one leads to.
    pub(crate) fn perform(
        &self,
        root: &str,
        path: &str,
        action: &FileAction,
        ask: Option<&dyn Fn(&str) -> StepAnswer>,
    ) -> Completion {
        let mut at = path.to_owned();
        for _ in 0..=LINKS_MAX {
            match (self.attempt(root, &at, action, ask.is_some()), ask) {
                (Ok(completion), _) => return completion,
                (Err(FileError::Link), Some(ask)) => {
                    at = match self.next_target(root, &at, action) {
                        Ok(next) => next,
                        Err(error) => return failed(path, &error),
                    };
                    if let StepAnswer::Abort(failure) = ask(&at) {
                        return Completion::failed(failure.code, failure.message);
                    }
                }
                (Err(error), _) => return failed(path, &error),
            }
        }
        failed(path, &FileError::TooManyLinks)
    }

    /// Resolves the first symbolic link of a path; returns an absolute path without `.` and `..`.
    fn next_target(&self, root: &str, path: &str, action: &FileAction) -> Result<String, FileError> {
        let components = components(root, path)?;
        let resolved = self.roots.find(root)?;
        let resolver = Resolver::detect();
        let mut directory = resolver.open_root(&resolved)?;
        for (index, component) in components.iter().enumerate() {
            let is_last = index + 1 == components.len();
            // Deleting a link deletes the link itself.
            if is_last && matches!(action, FileAction::Delete) {
                break;
            }
            match readlinkat(&directory, *component, Vec::new()) {
                Ok(target) => {
                    let target = target.into_string().map_err(|_| FileError::NotUtf8)?;
                    let (before, after) = components.split_at(index);
                    return link_target(root, &resolved, before, &target, after.get(1..).unwrap_or_default());
                }
                // Not a link.
                Err(Errno::INVAL) if is_last => break,
                Err(Errno::INVAL) => {
                    directory =
                        resolver.open(directory.as_fd(), &[component], OFlags::PATH | OFlags::DIRECTORY)?;
                }
                Err(errno) => return Err(errno.into()),
            }
        }
        // The link was replaced meanwhile.
        Err(FileError::Link)
    }

    /// Performs the effect, unless the path contains a link. With `follows` a link at its end is not the target either.
    fn attempt(
        &self,
        root: &str,
        path: &str,
        action: &FileAction,
        follows: bool,
    ) -> Result<Completion, FileError> {
        let mut components = components(root, path)?;
        let name = components.pop().unwrap_or(".");
        let (resolver, root) = (Resolver::detect(), self.roots.find(root)?);
        let parent = resolver.open(
            resolver.open_root(&root)?.as_fd(),
            &components,
            OFlags::PATH | OFlags::DIRECTORY,
        )?;
        let protected = self.protected.paths()?;
        let target = FileTarget { resolver, parent: parent.as_fd(), name, protected: &protected };
        if is_temp_name(name.as_bytes())
            || protected.covers_directory(target.parent)?
            || protected.covers_name(target.parent, name)?
        {
            return Err(FileError::Protected);
        }
        // What processes hold, such as the keys of this one, shows on procfs in directories named by numbers.
        let is_process = |component: &str| component.bytes().all(|byte| byte.is_ascii_digit());
        let mut names =
            root.split('/').filter(|component| !component.is_empty()).chain(components).chain([name]);
        if names.any(is_process) && is_procfs(target.parent)? {
            return Err(FileError::Protected);
        }
        match action {
            FileAction::Read { bytes_max } => target.read(*bytes_max),
            FileAction::Write { data } => target.write(data),
            FileAction::List => target.list(),
            FileAction::Stat => target.describe(follows),
            FileAction::Delete => target.delete(),
        }
    }
}

fn failed(path: &str, error: &FileError) -> Completion {
    let is_missing = matches!(error, FileError::System(error) if error.kind() == io::ErrorKind::NotFound);
    let error =
        if is_missing && path.contains(char::REPLACEMENT_CHARACTER) { &FileError::NotUtf8 } else { error };
    Completion::failed(error.code(), format!("{path}: {error}"))
}
