//! The order of names in a large object.

use alloc::vec::Vec;
use core::cmp::Ordering;

use crate::object::Member;
use crate::tree::{Tree, WIDTH};

/// Positions of members, sorted by name: look-up by bisection, whatever names an adversary chooses.
#[derive(Clone)]
pub(crate) struct Index {
    positions: Vec<u32>,
}

impl Index {
    /// Sorts the members if there are many; gives the position of a repeated name when there is one.
    pub(crate) fn build(members: &[Member]) -> Result<Option<Self>, usize> {
        if members.len() <= WIDTH {
            return match repeated(members) {
                Some(position) => Err(position),
                None => Ok(None),
            };
        }
        let name = |position: &u32| members.get(*position as usize).map(|member| member.name.as_str());
        let mut positions: Vec<u32> = (0..members.len() as u32).collect();
        positions.sort_by(|a, b| name(a).cmp(&name(b)).then(a.cmp(b)));
        let repeated = positions.windows(2).filter_map(|pair| match pair {
            [a, b] if name(a) == name(b) => Some(*b as usize),
            _ => None,
        });
        match repeated.min() {
            Some(position) => Err(position),
            None => Ok(Some(Self { positions })),
        }
    }

    /// Where the name stands in the order, or would stand.
    fn search(&self, members: &Tree<Member>, name: &str) -> Result<usize, usize> {
        self.positions.binary_search_by(|position| {
            members.get(*position as usize).map_or(Ordering::Less, |member| member.name.as_str().cmp(name))
        })
    }

    /// The position of the member with the name.
    pub(crate) fn position(&self, members: &Tree<Member>, name: &str) -> Option<usize> {
        let at = self.search(members, name).ok()?;
        self.positions.get(at).map(|position| *position as usize)
    }

    /// Takes up the name that is about to be appended to the members.
    pub(crate) fn append(&mut self, members: &Tree<Member>, name: &str) {
        if let Err(at) = self.search(members, name) {
            self.positions.insert(at, members.len() as u32);
        }
    }

    /// Gives up a position whose member was removed.
    pub(crate) fn remove(&mut self, position: usize) {
        let position = position as u32;
        self.positions.retain(|other| *other != position);
        for other in &mut self.positions {
            *other -= u32::from(*other > position);
        }
    }
}

/// The position of the first of a few members whose name came before.
fn repeated(members: &[Member]) -> Option<usize> {
    let mut seen = 0u64;
    members.iter().enumerate().position(|(position, member)| {
        // Most names differ in this mark already, and need not be compared.
        let name = member.name.as_bytes();
        let ends = name.last().map_or(0, |last| last ^ name.first().map_or(0, |first| first << 3));
        let mark = 1u64 << ((usize::from(ends) + name.len()) % 64);
        let new = seen & mark == 0;
        seen |= mark;
        !new && members.iter().take(position).any(|other| other.name == member.name)
    })
}
