//! A small directed graph, and its cycles.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A directed graph. It has only nodes with edges.
#[derive(Debug)]
pub(super) struct Graph<N> {
    edges: BTreeMap<N, BTreeSet<N>>,
}

impl<N> Default for Graph<N> {
    fn default() -> Self {
        Graph { edges: BTreeMap::new() }
    }
}

impl<N: Ord + Clone> Graph<N> {
    pub(super) fn add(&mut self, from: N, to: N) {
        self.edges.entry(from).or_default().insert(to);
    }

    /// Whether a path of one or more edges leads from a node to another.
    pub(super) fn reaches(&self, from: &N, to: &N) -> bool {
        self.path(from, to).is_some()
    }

    /// The sets of two nodes or more that all reach each other.
    pub(super) fn cycles(&self) -> Vec<BTreeSet<N>> {
        let mut found: Vec<BTreeSet<N>> = Vec::new();
        for node in self.edges.keys() {
            if found.iter().any(|cycle| cycle.contains(node)) {
                continue;
            }
            let mutual = |other: &&N| self.reaches(node, other) && self.reaches(other, node);
            let mut cycle: BTreeSet<N> = self.edges.keys().filter(mutual).cloned().collect();
            cycle.insert(node.clone());
            if cycle.len() > 1 {
                found.push(cycle);
            }
        }
        found
    }

    /// The nodes of a shortest path from a node to another, both included.
    pub(super) fn path(&self, from: &N, to: &N) -> Option<Vec<N>> {
        let mut came_from: BTreeMap<&N, &N> = BTreeMap::new();
        let mut queue = VecDeque::from([from]);
        while let Some(node) = queue.pop_front() {
            for next in self.edges.get(node).into_iter().flatten() {
                if came_from.contains_key(next) {
                    continue;
                }
                came_from.insert(next, node);
                if next == to {
                    let mut path = vec![next.clone()];
                    let mut node = node;
                    while node != from {
                        path.push(node.clone());
                        node = came_from.get(node)?;
                    }
                    path.push(from.clone());
                    path.reverse();
                    return Some(path);
                }
                queue.push_back(next);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(edges: &[(u8, u8)]) -> Graph<u8> {
        let mut graph = Graph::default();
        edges.iter().for_each(|&(from, to)| graph.add(from, to));
        graph
    }

    #[test]
    fn cycles_are_the_sets_that_reach_each_other() {
        let graph = graph(&[(1, 2), (2, 3), (3, 1), (3, 4), (4, 5), (6, 7), (7, 6), (8, 8)]);
        assert_eq!(graph.cycles(), [BTreeSet::from([1, 2, 3]), BTreeSet::from([6, 7])]);
    }

    #[test]
    fn a_path_is_a_shortest_one() {
        let graph = graph(&[(1, 2), (2, 3), (3, 4), (2, 4), (4, 1)]);
        assert_eq!(graph.path(&1, &4), Some(vec![1, 2, 4]));
        assert_eq!(graph.path(&1, &1), Some(vec![1, 2, 4, 1]));
        assert_eq!(graph.path(&1, &9), None);
    }
}
