//! Files, opened beneath the root that the gate granted.
//!
//! A path is resolved from the root's descriptor, through no symbolic link and on the root's own mount. Canonical paths
//! hold no `..`. So what is opened is what was checked, whatever is renamed meanwhile.

pub(crate) mod error;
mod links;
pub(crate) mod preserve;
pub(crate) mod protected;
pub(crate) mod resolve;
pub(crate) mod roots;
pub(crate) mod sweep;
pub(crate) mod target;

use std::{io, os::fd::AsFd};

use ak_kernel::{Completion, FileAction, Verdict};
use rustix::{
    fs::{OFlags, readlinkat},
    io::Errno,
};

use crate::{
    fs::error::{FileError, LINKS_MAX},
    fs::preserve::keep,
    fs::protected::{Fence, Protected},
    fs::resolve::{Way, is_procfs},
    fs::roots::Roots,
    fs::{
        links::{components, follow},
        target::Place,
    },
    temp_file::{Draft, is_draft},
};

/// What file effects rest on.
#[derive(Debug, Default)]
pub(crate) struct Files {
    pub(crate) protected: Protected,
    pub(crate) roots: Roots,
}

impl Files {
    /// Performs one file effect. Where links are followed, `ask` is asked about each path that one leads to.
    pub(crate) fn perform(
        &self,
        root: &str,
        path: &str,
        action: &FileAction,
        ask: Option<&dyn Fn(&str) -> Verdict>,
    ) -> Completion {
        let mut at = path.to_owned();
        for _ in 0..=LINKS_MAX {
            match (self.attempt(root, &at, action, ask.is_some()), ask) {
                (Ok(completion), _) => return completion,
                (Err(FileError::Link), Some(ask)) => {
                    at = match self.leads_to(root, &at, action) {
                        Ok(next) => next,
                        Err(error) => return failed(path, &error),
                    };
                    if let Verdict::Abort(failure) = ask(&at) {
                        return Completion::failed(failure.code, failure.message);
                    }
                }
                (Err(error), _) => return failed(path, &error),
            }
        }
        failed(path, &FileError::Links)
    }

    /// Where a path leads whose first symbolic link is followed: an absolute path without `.` and `..`.
    fn leads_to(&self, root: &str, path: &str, action: &FileAction) -> Result<String, FileError> {
        let components = components(root, path)?;
        let resolved = self.roots.find(root)?;
        let way = Way::best();
        let mut directory = way.root(&resolved)?;
        for (index, component) in components.iter().enumerate() {
            let is_last = index + 1 == components.len();
            // What is deleted is the link itself.
            if is_last && matches!(action, FileAction::Delete) {
                break;
            }
            match readlinkat(&directory, *component, Vec::new()) {
                Ok(target) => {
                    let target = target.into_string().map_err(|_| FileError::Nameless)?;
                    let (before, after) = components.split_at(index);
                    return follow(root, &resolved, before, &target, after.get(1..).unwrap_or_default());
                }
                // It is no link.
                Err(Errno::INVAL) if is_last => break,
                Err(Errno::INVAL) => {
                    directory =
                        way.open(directory.as_fd(), &[component], OFlags::PATH | OFlags::DIRECTORY)?;
                }
                Err(errno) => return Err(errno.into()),
            }
        }
        // It was one a moment ago.
        Err(FileError::Link)
    }

    /// Does it, unless there is a link in the path. `follows` says that a link at its end is not what is meant.
    fn attempt(
        &self,
        root: &str,
        path: &str,
        action: &FileAction,
        follows: bool,
    ) -> Result<Completion, FileError> {
        let mut components = components(root, path)?;
        let name = components.pop().unwrap_or(".");
        let (way, root) = (Way::best(), self.roots.find(root)?);
        let parent = way.open(way.root(&root)?.as_fd(), &components, OFlags::PATH | OFlags::DIRECTORY)?;
        let fence = self.protected.fence()?;
        let place = Place { way, parent: parent.as_fd(), name, fence: &fence };
        if is_draft(name.as_bytes())
            || fence.covers_directory(place.parent)?
            || fence.covers_name(place.parent, name)?
        {
            return Err(FileError::Protected);
        }
        // What processes hold, this one's keys among it, lies on procfs in directories named by numbers.
        let is_process = |component: &str| component.bytes().all(|byte| byte.is_ascii_digit());
        let mut names =
            root.split('/').filter(|component| !component.is_empty()).chain(components).chain([name]);
        if names.any(is_process) && is_procfs(place.parent)? {
            return Err(FileError::Protected);
        }
        match action {
            FileAction::Read { bytes_max } => place.read(*bytes_max),
            FileAction::Write { data } => place.write(data),
            FileAction::List => place.list(),
            FileAction::Stat => place.describe(follows),
            FileAction::Delete => place.delete(),
        }
    }
}

fn failed(path: &str, error: &FileError) -> Completion {
    let is_missing = matches!(error, FileError::System(error) if error.kind() == io::ErrorKind::NotFound);
    let error =
        if is_missing && path.contains(char::REPLACEMENT_CHARACTER) { &FileError::Nameless } else { error };
    Completion::failed(error.code(), format!("{path}: {error}"))
}
