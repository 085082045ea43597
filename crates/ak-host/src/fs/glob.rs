//! Finds paths by a pattern. The kernel decides on every directory below the first one before the search enters it. No
//! link is followed.

use std::collections::BTreeSet;

use ak_json::Value;
use ak_kernel::{Completion, FileAction, Step, StepAnswer};
use glob::{MatchOptions, Pattern};

use crate::fs::{FileEffects, error::FileError};

/// Maximum number of directories that one search enters; a larger search fails.
const GLOB_DIRECTORIES_MAX: usize = 1_000;
/// Maximum number of names that one search examines; a larger search fails.
const GLOB_VISITED_MAX: usize = 200_000;

/// The matching rules of a shell: `*` and `?` do not match a leading dot.
const OPTIONS: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

/// One component of a pattern.
enum Component {
    /// A literal name.
    Literal(String),
    /// A pattern for one name.
    Names(Pattern),
    /// `**`: any number of directories; at the end of the pattern, everything in them.
    Deep,
}

impl Component {
    fn parse(text: &str) -> Result<Component, FileError> {
        match text {
            "**" => Ok(Component::Deep),
            "" | "." | ".." => Err(FileError::Pattern(format!("{text:?} is no name"))),
            _ if text.contains("**") => {
                Err(FileError::Pattern("`**` stands for directories and fills a component".into()))
            }
            _ if !text.contains(['*', '?', '[']) => Ok(Component::Literal(text.to_owned())),
            _ => Pattern::new(text)
                .map(Component::Names)
                .map_err(|error| FileError::Pattern(format!("{text:?}: {}", error.msg))),
        }
    }
}

/// One search, with its progress.
pub(super) struct Search<'s> {
    pub(super) effects: &'s FileEffects,
    pub(super) root: &'s str,
    pub(super) ask: &'s dyn Fn(Step) -> StepAnswer,
    pub(super) matches_max: usize,
    entered: usize,
    visited: usize,
    found: BTreeSet<String>,
}

impl<'s> Search<'s> {
    pub(super) fn new(
        effects: &'s FileEffects,
        root: &'s str,
        ask: &'s dyn Fn(Step) -> StepAnswer,
        matches_max: u64,
    ) -> Search<'s> {
        let matches_max = usize::try_from(matches_max).unwrap_or(usize::MAX);
        Search { effects, root, ask, matches_max, entered: 0, visited: 0, found: BTreeSet::new() }
    }

    /// Returns the matching paths beneath a directory, in ascending order, at most `matches_max`.
    ///
    /// # Errors
    /// When the pattern is invalid, the directory cannot be listed, the kernel aborts the search, or the search exceeds
    /// a limit.
    pub(super) fn run(mut self, directory: &str, pattern: &str) -> Result<Completion, FileError> {
        let components = pattern.split('/').map(Component::parse).collect::<Result<Vec<_>, _>>()?;
        self.search(directory, &components)?;
        Ok(Completion::Value(self.found.into_iter().map(Value::from).collect::<Vec<_>>().into()))
    }

    fn search(&mut self, directory: &str, components: &[Component]) -> Result<(), FileError> {
        let Some((component, rest)) = components.split_first() else { return Ok(()) };
        match component {
            Component::Literal(name) => {
                let path = join(directory, name);
                self.visit()?;
                let Some(kind) = self.kind(&path)? else { return Ok(()) };
                self.take(path, &kind, rest)
            }
            Component::Names(pattern) => {
                for (name, kind) in self.list(directory)? {
                    if pattern.matches_with(&name, OPTIONS) {
                        self.take(join(directory, &name), &kind, rest)?;
                    }
                }
                Ok(())
            }
            Component::Deep => {
                // `**` also matches no directory.
                self.search(directory, rest)?;
                for (name, kind) in self.list(directory)? {
                    if name.starts_with('.') {
                        continue;
                    }
                    let path = join(directory, &name);
                    if rest.is_empty() {
                        self.add(&path, &kind)?;
                    }
                    if kind == "directory" && self.enter(&path)? {
                        self.search(&path, components)?;
                    }
                }
                Ok(())
            }
        }
    }

    /// Handles a path whose name matched: adds it at the end of the pattern, else searches in it if it is a directory.
    fn take(&mut self, path: String, kind: &str, rest: &[Component]) -> Result<(), FileError> {
        if rest.is_empty() {
            return self.add(&path, kind);
        }
        if kind == "directory" && self.enter(&path)? {
            self.search(&path, rest)?;
        }
        Ok(())
    }

    fn add(&mut self, path: &str, kind: &str) -> Result<(), FileError> {
        // Links are not followed, so a link is not a match.
        if kind != "link" && self.found.len() < self.matches_max {
            self.found.insert(path.to_owned());
        }
        Ok(())
    }

    /// Asks the kernel whether the search may enter a directory.
    fn enter(&mut self, path: &str) -> Result<bool, FileError> {
        self.entered += 1;
        if self.entered > GLOB_DIRECTORIES_MAX {
            return Err(FileError::TooManyDirectories(GLOB_DIRECTORIES_MAX));
        }
        match (self.ask)(Step::Path { path: path.into() }) {
            StepAnswer::Continue => Ok(true),
            StepAnswer::Skip => Ok(false),
            StepAnswer::Abort(failure) => Err(FileError::Refused(Box::new(failure))),
            StepAnswer::Connect(_) | StepAnswer::Follow(_) => Ok(false),
        }
    }

    fn visit(&mut self) -> Result<(), FileError> {
        self.visited += 1;
        if self.visited > GLOB_VISITED_MAX {
            Err(FileError::TooLong(GLOB_VISITED_MAX as u64))
        } else {
            Ok(())
        }
    }

    /// Returns the kind of the file at a path; `None` when there is none or agents cannot reach it.
    fn kind(&mut self, path: &str) -> Result<Option<String>, FileError> {
        match self.effects.attempt(self.root, path, &FileAction::Stat, false) {
            Ok(Completion::Value(told)) => Ok(told.get("kind").and_then(Value::as_str).map(str::to_owned)),
            Ok(_) => Ok(None),
            Err(error) if error.is_out_of_reach() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns names and kinds of the files in a directory. Except for the first directory of the search, one that
    /// vanished or that agents cannot reach counts as empty.
    fn list(&mut self, directory: &str) -> Result<Vec<(String, String)>, FileError> {
        let listed = match self.effects.attempt(self.root, directory, &FileAction::List, false) {
            Ok(Completion::Value(listed)) => listed,
            Ok(_) => return Ok(Vec::new()),
            Err(error) if self.entered > 0 && error.is_out_of_reach() => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut names = Vec::new();
        for entry in listed.get("entries").and_then(Value::as_array).into_iter().flat_map(|all| all.iter()) {
            self.visit()?;
            let member = |name| entry.get(name).and_then(Value::as_str).map(str::to_owned);
            // No request can name a file whose name is not UTF-8.
            if let (Some(name), Some(kind), None) = (member("name"), member("kind"), entry.get("utf8")) {
                names.push((name, kind));
            }
        }
        Ok(names)
    }
}

fn join(directory: &str, name: &str) -> String {
    format!("{}/{name}", directory.trim_end_matches('/'))
}
