//! The tree of digests over the slots of a heap.

use alloc::vec::Vec;

use ak_json::Digest;

/// Number of digests under one node.
const WIDTH: usize = 16;

/// A Merkle tree over the slots: level 0 has their digests, and each level above has one digest for 16 of the level
/// below.
#[derive(Clone, Debug, Default)]
pub(crate) struct DigestTree {
    levels: Vec<Vec<Digest>>,
}

impl DigestTree {
    /// Sets the digests of some slots, given in ascending order of their indexes, and returns the digest of the root.
    pub(crate) fn update(&mut self, slots: Vec<(usize, Digest)>) -> Digest {
        let mut changed = slots;
        let mut height = 0;
        loop {
            if self.levels.len() == height {
                self.levels.push(Vec::new());
            }
            let Some(level) = self.levels.get_mut(height) else { return node(&[]) };
            for (index, digest) in &changed {
                match level.get_mut(*index) {
                    Some(place) => *place = *digest,
                    None => level.push(*digest),
                }
            }
            if level.len() <= 1 {
                return level.first().copied().unwrap_or_else(|| node(&[]));
            }
            let mut parents: Vec<usize> = changed.iter().map(|(index, _)| index / WIDTH).collect();
            parents.dedup();
            let parent = |index| {
                let below = level.iter().skip(index * WIDTH).take(WIDTH);
                (index, node(&below.copied().collect::<Vec<_>>()))
            };
            changed = parents.into_iter().map(parent).collect();
            height += 1;
        }
    }
}

fn node(below: &[Digest]) -> Digest {
    Digest::of_parts([[0x32].as_slice()].into_iter().chain(below.iter().map(Digest::as_ref)))
}
