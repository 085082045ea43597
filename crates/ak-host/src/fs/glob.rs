//! Finds paths by a pattern. Every directory below the first is asked for before it is entered; no link is followed.

use std::collections::BTreeSet;

use ak_json::Value;
use ak_kernel::{Completion, FileAction, Step, StepAnswer};
use glob::{MatchOptions, Pattern};

use crate::fs::{FileEffects, error::FileError};

/// Most directories that one glob enters.
const GLOB_DIRECTORIES_MAX: usize = 1_000;
/// Most directories and paths that one glob examines.
const GLOB_VISITED_MAX: usize = 200_000;

/// As a shell matches names: `*` and `?` stand for no leading dot.
const OPTIONS: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

/// One component of a pattern.
enum Component {
    /// A name as it stands.
    Literal(String),
    /// A pattern over one name.
    Names(Pattern),
    /// `**`: any number of directories; at the end everything in them.
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

/// One search.
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

    /// The paths beneath a directory that match, ascending.
    ///
    /// # Errors
    /// When the pattern is none, the directory cannot be listed, or the search takes too long.
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
                // No directory at all.
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

    /// Takes a path whose name matched: at the end of the pattern it is found, else the search goes on in it.
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
        // What a link leads to is not found by the link's name.
        if kind != "link" && self.found.len() < self.matches_max {
            self.found.insert(path.to_owned());
        }
        Ok(())
    }

    /// Whether a directory may be entered.
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

    /// The kind of what stands at a path; none where nothing does, or it is out of reach.
    fn kind(&mut self, path: &str) -> Result<Option<String>, FileError> {
        match self.effects.attempt(self.root, path, &FileAction::Stat, false) {
            Ok(Completion::Value(told)) => Ok(told.get("kind").and_then(Value::as_str).map(str::to_owned)),
            Ok(_) => Ok(None),
            Err(error) if error.is_out_of_reach() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Names and kinds in a directory. One that vanished, or that is out of reach, is empty.
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
            // A name that is not UTF-8 cannot be asked for.
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
