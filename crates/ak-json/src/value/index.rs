//! Finds names in large objects.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cmp::Ordering;

use crate::value::text::Text;
use crate::value::tree::Tree;

/// A run that reaches this length is split in two.
const RUN_MAX: usize = 512;

/// The positions of names, sorted by name: look-up by bisection, whatever names an adversary chooses.
///
/// The positions are in runs, so that adding a name does not move all others, and versions of an object share
/// unchanged runs.
#[derive(Clone)]
pub(crate) struct Index {
    /// The runs in order, none of them empty.
    runs: Vec<Arc<Vec<u32>>>,
}

impl Index {
    /// Sorts the names; the error is the position of the first repeated name.
    pub(crate) fn build(names: &[Text]) -> Result<Self, usize> {
        let name = |position: &u32| names.get(*position as usize);
        let mut positions: Vec<u32> = (0..).take(names.len()).collect();
        positions.sort_by_key(name);
        // The sort is stable, so the later of two equal names comes second.
        let again = positions.windows(2).filter_map(|pair| match pair {
            [a, b] if name(a) == name(b) => Some(*b as usize),
            _ => None,
        });
        match again.min() {
            Some(position) => Err(position),
            None => {
                let runs = positions.chunks(RUN_MAX / 2).map(|run| Arc::new(run.into()));
                Ok(Self { runs: runs.collect() })
            }
        }
    }

    /// The run for the name, and the name's place in it, or the place to insert it.
    fn search(&self, names: &Tree<Text>, name: &str) -> (usize, Result<usize, usize>) {
        let compare = |position: &u32| {
            names.get(*position as usize).map_or(Ordering::Less, |other| other.as_str().cmp(name))
        };
        let starts_before = |run: &Arc<Vec<u32>>| run.first().is_some_and(|first| compare(first).is_le());
        let at = self.runs.partition_point(starts_before).saturating_sub(1);
        let found = self.runs.get(at).map_or(Err(0), |run| run.binary_search_by(compare));
        (at, found)
    }

    /// The position of the name; `None` when there is no such name.
    pub(crate) fn position(&self, names: &Tree<Text>, name: &str) -> Option<usize> {
        let (run, found) = self.search(names, name);
        self.runs.get(run)?.get(found.ok()?).map(|position| *position as usize)
    }

    /// Adds a new name, which is about to be appended to `names`.
    pub(crate) fn append(&mut self, names: &Tree<Text>, name: &str) {
        let (at, Err(place)) = self.search(names, name) else { return };
        let Some(run) = self.runs.get_mut(at).map(Arc::make_mut) else { return };
        run.insert(place, names.len() as u32);
        if run.len() == RUN_MAX {
            let second = run.split_off(RUN_MAX / 2);
            self.runs.insert(at + 1, Arc::new(second));
        }
    }

    /// Removes the position of a removed name; later positions move down.
    pub(crate) fn remove(&mut self, position: usize) {
        let position = position as u32;
        for run in &mut self.runs {
            let run = Arc::make_mut(run);
            run.retain(|other| *other != position);
            for other in run {
                *other -= u32::from(*other > position);
            }
        }
        self.runs.retain(|run| !run.is_empty());
    }
}
