//! Performs file effects beneath the root that the gate granted.
//!
//! A path is resolved from the root's descriptor, through no symbolic link, and on the root's own mount. Canonical
//! paths contain no `..`. So the opened file is the checked file, even if other processes rename files meanwhile.

pub(crate) mod error;
pub(crate) mod glob;
mod links;
pub(crate) mod preserve;
pub(crate) mod protected;
pub(crate) mod resolve;
pub(crate) mod roots;
pub(crate) mod sweep;
pub(crate) mod target;

use std::{io, os::fd::AsFd};

use ak_kernel::{Completion, FileAction, Step, StepAnswer};
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
        glob::Search,
        links::{components, link_target},
        target::FileTarget,
    },
    temp_file::is_temp_name,
};

/// Performs file effects on unprotected files beneath granted roots.
#[derive(Debug, Default)]
pub(crate) struct FileEffects {
    pub(crate) protected: Protected,
    pub(crate) roots: Roots,
}

impl FileEffects {
    /// Performs one file effect. `ask` asks the kernel about each other path that the effect reaches: the target of a
    /// followed link, a searched directory, or a created parent directory.
    pub(crate) fn perform(
        &self,
        root: &str,
        path: &str,
        action: &FileAction,
        follows_links: bool,
        ask: &dyn Fn(Step) -> StepAnswer,
    ) -> Completion {
        let done = match action {
            FileAction::Read { .. }
            | FileAction::Write { .. }
            | FileAction::List
            | FileAction::Stat
            | FileAction::Delete
            | FileAction::Append { .. } => {
                return self.perform_following(root, path, action, follows_links, ask);
            }
            FileAction::MakeDirectory { parents: false } => self.attempt(root, path, action, false),
            FileAction::MakeDirectory { parents: true } => self.make_directories(root, path, ask),
            FileAction::Rename { root: new_root, path: new } => {
                self.rename((root, path), (new_root, new.as_str()))
            }
            FileAction::Glob { pattern, matches_max } => {
                Search::new(self, root, ask, *matches_max).run(path, pattern)
            }
        };
        done.unwrap_or_else(|error| failed(path, &error))
    }

    fn perform_following(
        &self,
        root: &str,
        path: &str,
        action: &FileAction,
        follows_links: bool,
        ask: &dyn Fn(Step) -> StepAnswer,
    ) -> Completion {
        let mut at = path.to_owned();
        for _ in 0..=LINKS_MAX {
            match self.attempt(root, &at, action, follows_links) {
                Ok(completion) => return completion,
                Err(FileError::Link) if follows_links => {
                    at = match self.next_target(root, &at, action) {
                        Ok(next) => next,
                        Err(error) => return failed(path, &error),
                    };
                    if let StepAnswer::Abort(failure) = ask(Step::Link { path: at.as_str().into() }) {
                        return Completion::failed(failure.code, failure.message);
                    }
                }
                Err(error) => return failed(path, &error),
            }
        }
        failed(path, &FileError::TooManyLinks)
    }

    /// Creates a directory with its missing parents. The kernel decides on each parent before it is created.
    fn make_directories(
        &self,
        root: &str,
        path: &str,
        ask: &dyn Fn(Step) -> StepAnswer,
    ) -> Result<Completion, FileError> {
        let names = components(root, path)?;
        let mut at = root.trim_end_matches('/').to_owned();
        for (index, name) in names.iter().enumerate() {
            at = format!("{at}/{name}");
            match self.with_target(root, &at, |target| target.is_directory()) {
                Ok(()) => continue,
                Err(FileError::System(error)) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            let is_last = index + 1 == names.len();
            if !is_last {
                match ask(Step::Path { path: at.as_str().into() }) {
                    StepAnswer::Continue => {}
                    StepAnswer::Abort(failure) => return Err(FileError::Refused(Box::new(failure))),
                    StepAnswer::Skip | StepAnswer::Connect(_) | StepAnswer::Follow(_) => {
                        return Err(FileError::OutsideRoot);
                    }
                }
            }
            match self.attempt(root, &at, &FileAction::MakeDirectory { parents: false }, false) {
                Ok(_) => {}
                // Another process created it. If it is not a directory, creating the next one in it fails.
                Err(FileError::System(error)) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Completion::Done)
    }

    /// Renames a file; fails for a directory.
    fn rename(&self, old: (&str, &str), new: (&str, &str)) -> Result<Completion, FileError> {
        self.with_target(old.0, old.1, |old| self.with_target(new.0, new.1, |new| old.rename_to(new)))
    }

    /// Resolves the first symbolic link of a path, and returns an absolute path without `.` and `..`.
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

    /// Performs the effect on one path; fails with [`FileError::Link`] if the path contains a link. A link as the last
    /// component can be the target, unless `follows`.
    fn attempt(
        &self,
        root: &str,
        path: &str,
        action: &FileAction,
        follows: bool,
    ) -> Result<Completion, FileError> {
        self.with_target(root, path, |target| match action {
            FileAction::Read { bytes_max } => target.read(*bytes_max),
            FileAction::Write { data } => target.write(data),
            FileAction::List => target.list(),
            FileAction::Stat => target.describe(follows),
            FileAction::Delete => target.delete(),
            FileAction::Append { data } => target.append(data),
            FileAction::MakeDirectory { .. } => target.make_directory(),
            // These effects concern more than one path, so they do not come here.
            FileAction::Rename { .. } | FileAction::Glob { .. } => Err(FileError::OutsideRoot),
        })
    }

    /// Opens the parent directory of a path, and calls `act` on its last name, unless that is protected.
    fn with_target<T>(
        &self,
        root: &str,
        path: &str,
        act: impl FnOnce(&FileTarget<'_>) -> Result<T, FileError>,
    ) -> Result<T, FileError> {
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
        // procfs shows the data of processes, such as this process's keys, in directories with numeric names.
        let is_process = |component: &str| component.bytes().all(|byte| byte.is_ascii_digit());
        let mut names =
            root.split('/').filter(|component| !component.is_empty()).chain(components).chain([name]);
        if names.any(is_process) && is_procfs(target.parent)? {
            return Err(FileError::Protected);
        }
        act(&target)
    }
}

fn failed(path: &str, error: &FileError) -> Completion {
    let is_missing = matches!(error, FileError::System(error) if error.kind() == io::ErrorKind::NotFound);
    let error =
        if is_missing && path.contains(char::REPLACEMENT_CHARACTER) { &FileError::NotUtf8 } else { error };
    Completion::failed(error.code(), format!("{path}: {error}"))
}
