//! The directions that a crate states: which of its top-level modules may import which.

use std::collections::{BTreeMap, BTreeSet};

use super::graph::Graph;

/// The beginning of a line with directions in the `//!` comment of a root file.
const PREFIX: &str = "Imports:";
const ARROW: char = '→';

/// The directions of all lines of a crate.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Directions {
    /// Every module name in the lines.
    pub(super) names: BTreeSet<String>,
    /// The arrows: for each importing module, the modules that it may import.
    arrows: BTreeMap<String, BTreeSet<String>>,
    /// The pairs of modules that stand together in the braces of some line.
    peers: BTreeSet<(String, String)>,
}

impl Directions {
    /// Reads the lines of a crate's documentation; `None` if no line states directions.
    ///
    /// # Errors
    /// A line is not of the form ``Imports: `a → b → {c, d}` ``.
    pub(super) fn parse<'l>(docs: impl Iterator<Item = &'l str>) -> Result<Option<Directions>, String> {
        let lines: Vec<&str> = docs.filter(|line| line.starts_with(PREFIX)).collect();
        let mut directions = Directions::default();
        for line in &lines {
            directions
                .add(line)
                .ok_or_else(|| format!("{line:?} is not of the form \"{PREFIX} `a → b → {{c, d}}`\""))?;
        }
        Ok((!lines.is_empty()).then_some(directions))
    }

    fn add(&mut self, line: &str) -> Option<()> {
        let chain = line.strip_prefix(PREFIX)?.trim().strip_prefix('`')?.strip_suffix('`')?;
        let mut importers: Vec<String> = Vec::new();
        for element in chain.split(ARROW) {
            let modules = element_names(element.trim())?;
            for (position, module) in modules.iter().enumerate() {
                let others = modules.iter().skip(position + 1);
                self.peers.extend(others.map(|other| (module.clone(), other.clone())));
            }
            for importer in importers {
                self.arrows.entry(importer).or_default().extend(modules.iter().cloned());
            }
            self.names.extend(modules.iter().cloned());
            importers = modules;
        }
        Some(())
    }

    /// Whether a module may import another: one or more arrows lead from it to the other.
    pub(super) fn allows(&self, importer: &str, imported: &str) -> bool {
        self.graph().reaches(&importer, &imported)
    }

    /// The contradictions in the lines: modules that may import themselves, and peers that may import each other.
    pub(super) fn contradictions(&self) -> Vec<String> {
        let graph = self.graph();
        let cycles = graph.cycles().into_iter().map(|cycle| {
            let names: Vec<&str> = cycle.into_iter().collect();
            format!("the directions lead in a circle through {}", names.join(", "))
        });
        let peers = self.peers.iter().filter(|(a, b)| {
            graph.reaches(&a.as_str(), &b.as_str()) || graph.reaches(&b.as_str(), &a.as_str())
        });
        let peers =
            peers.map(|(a, b)| format!("the directions call `{a}` and `{b}` peers and join them by arrows"));
        cycles.chain(peers).collect()
    }

    fn graph(&self) -> Graph<&str> {
        let mut graph = Graph::default();
        for (importer, imported) in &self.arrows {
            imported.iter().for_each(|imported| graph.add(importer.as_str(), imported.as_str()));
        }
        graph
    }
}

/// The names in `name` or `{name, name}`.
fn element_names(element: &str) -> Option<Vec<String>> {
    let names = match element.strip_prefix('{') {
        Some(rest) => rest.strip_suffix('}')?.split(',').map(str::trim).collect(),
        None => vec![element],
    };
    let is_name = |name: &&str| {
        !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    names.iter().all(is_name).then(|| names.into_iter().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directions(lines: &[&str]) -> Directions {
        Directions::parse(lines.iter().copied()).unwrap().unwrap()
    }

    #[test]
    fn arrows_are_transitive_and_peers_do_not_import_each_other() {
        let directions = directions(&["Purpose.", "Imports: `a → b → {c, d} → e`", "Imports: `f → c`"]);
        for (importer, imported) in [("a", "b"), ("a", "e"), ("b", "c"), ("b", "d"), ("d", "e"), ("f", "e")] {
            assert!(directions.allows(importer, imported), "{importer} → {imported}");
        }
        for (importer, imported) in [("b", "a"), ("c", "d"), ("d", "c"), ("e", "d"), ("f", "d"), ("a", "f")] {
            assert!(!directions.allows(importer, imported), "{importer} → {imported}");
        }
        assert_eq!(directions.contradictions(), [""; 0]);
    }

    #[test]
    fn no_line_is_no_directions() {
        assert_eq!(Directions::parse(["What imports do."].into_iter()), Ok(None));
    }

    #[test]
    fn a_line_of_another_form_is_an_error() {
        for line in [
            "Imports: a → b",
            "Imports: `a -> b`",
            "Imports: `a → {b, c`",
            "Imports: ``",
            "Imports: `a → b`.",
        ] {
            Directions::parse([line].into_iter()).unwrap_err();
        }
    }

    #[test]
    fn circles_and_peers_with_arrows_are_contradictions() {
        assert_eq!(
            directions(&["Imports: `a → b`", "Imports: `b → a`"]).contradictions(),
            ["the directions lead in a circle through a, b"],
        );
        assert_eq!(
            directions(&["Imports: `a → {b, c}`", "Imports: `c → d → b`"]).contradictions(),
            ["the directions call `b` and `c` peers and join them by arrows"],
        );
    }
}
