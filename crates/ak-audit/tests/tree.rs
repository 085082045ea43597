//! The trees, the proofs and their verifier against the definitions of RFC 6962, followed to the letter.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]

use ak_audit::{FullTree, Hash, ProofError, Tree, empty_root, leaf_hash, node_hash, verifier};
use proptest::prelude::*;

fn leaves(count: u64) -> Vec<Hash> {
    (0..count).map(|index| leaf_hash(&index.to_le_bytes())).collect()
}

/// RFC 6962 §2.1: MTH.
fn root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => empty_root(),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(split(leaves.len()));
            node_hash(&root(left), &root(right))
        }
    }
}

/// The largest power of two below `count`.
fn split(count: usize) -> usize {
    count.next_power_of_two() / 2
}

/// RFC 6962 §2.1.1: PATH.
fn path(index: usize, leaves: &[Hash]) -> Vec<Hash> {
    if leaves.len() == 1 {
        return Vec::new();
    }
    let (left, right) = leaves.split_at(split(leaves.len()));
    let (mut below, beside) = match index.checked_sub(left.len()) {
        None => (path(index, left), root(right)),
        Some(index) => (path(index, right), root(left)),
    };
    below.push(beside);
    below
}

/// RFC 6962 §2.1.2: SUBPROOF.
fn subproof(old: usize, leaves: &[Hash], whole: bool) -> Vec<Hash> {
    if old == leaves.len() {
        return if whole { Vec::new() } else { vec![root(leaves)] };
    }
    let (left, right) = leaves.split_at(split(leaves.len()));
    let (mut below, beside) = match old.checked_sub(left.len()) {
        None | Some(0) => (subproof(old, left, whole), root(right)),
        Some(old) => (subproof(old, right, false), root(left)),
    };
    below.push(beside);
    below
}

fn full(leaves: &[Hash]) -> FullTree {
    let mut tree = FullTree::new();
    leaves.iter().for_each(|leaf| tree.push(*leaf));
    tree
}

#[test]
fn every_proof_up_to_70_leaves_is_the_one_of_the_rfc_and_verifies() {
    let all = leaves(70);
    let tree = full(&all);
    let mut edge = Tree::new();
    assert_eq!(tree.root_at(0), Ok(empty_root()));
    for size in 1..=all.len() {
        edge.push(all[size - 1]);
        let (leaves, new) = (&all[..size], size as u64);
        let new_root = root(leaves);
        assert_eq!((edge.root(), edge.size()), (new_root, new));
        assert_eq!(tree.root_at(new), Ok(new_root));
        assert_eq!(tree.edge(new).unwrap(), edge);
        for index in 0..size {
            let path = path(index, leaves);
            assert_eq!(tree.inclusion_proof(index as u64, new), Ok(path.clone()));
            assert_eq!(
                verifier::verify_inclusion(&leaves[index], index as u64, new, &path, &new_root),
                Ok(())
            );
        }
        for old in 1..=size {
            let subproof = subproof(old, leaves, true);
            let old_root = root(&leaves[..old]);
            assert_eq!(tree.consistency_proof(old as u64, new), Ok(subproof.clone()));
            assert_eq!(
                verifier::verify_consistency(old as u64, new, &subproof, &old_root, &new_root),
                Ok(())
            );
        }
    }
}

#[test]
fn what_is_not_there_is_not_proven() {
    let tree = full(&leaves(5));
    let check = |result: Result<Vec<Hash>, ProofError>| assert_eq!(result, Err(ProofError::Range));
    check(tree.inclusion_proof(5, 5));
    check(tree.inclusion_proof(0, 6));
    check(tree.inclusion_proof(0, 0));
    check(tree.consistency_proof(0, 5));
    check(tree.consistency_proof(4, 3));
    check(tree.consistency_proof(3, 6));
}

proptest! {
    #[test]
    fn a_pruned_tree_proves_everything_about_what_it_kept(size in 1u64..300, cut in 0u64..300, more in 0u64..40) {
        let all = leaves(size + more);
        let whole = full(&all);
        let cut = cut.min(size);
        let mut pruned = full(&all[..size as usize]);
        pruned.prune(cut);
        let mut edge = Tree::new();
        all[..cut as usize].iter().for_each(|leaf| edge.push(*leaf));
        let mut taken_up = FullTree::from_edge(&edge);
        all[cut as usize..size as usize].iter().for_each(|leaf| taken_up.push(*leaf));
        let total = size + more;
        for mut tree in [pruned, taken_up] {
            all[size as usize..].iter().for_each(|leaf| tree.push(*leaf));
            prop_assert_eq!(tree.root(), whole.root());
            for old in cut.max(1)..=total {
                prop_assert_eq!(tree.root_at(old), whole.root_at(old));
                prop_assert_eq!(tree.consistency_proof(old, total), whole.consistency_proof(old, total));
            }
            for index in cut..total {
                prop_assert_eq!(tree.inclusion_proof(index, total), whole.inclusion_proof(index, total));
            }
            if let Some(index) = cut.checked_sub(1) {
                prop_assert_eq!(tree.inclusion_proof(index, total), Err(ProofError::Pruned));
                prop_assert_eq!(tree.leaf(index), None);
            }
        }
    }

    #[test]
    fn a_changed_inclusion_proof_proves_nothing(size in 1u64..200, pick: u64, damage in damage()) {
        let all = leaves(size);
        let index = pick % size;
        let mut path = full(&all).inclusion_proof(index, size).unwrap();
        let root = root(&all);
        prop_assume!(damage.apply(&mut path));
        prop_assert!(verifier::verify_inclusion(&all[index as usize], index, size, &path, &root).is_err());
    }

    #[test]
    fn a_changed_consistency_proof_proves_nothing(size in 1u64..200, pick: u64, damage in damage()) {
        let all = leaves(size);
        let old = pick % size + 1;
        let mut hashes = full(&all).consistency_proof(old, size).unwrap();
        let roots = (root(&all[..old as usize]), root(&all));
        prop_assume!(damage.apply(&mut hashes));
        prop_assert!(verifier::verify_consistency(old, size, &hashes, &roots.0, &roots.1).is_err());
    }

    #[test]
    fn the_verifier_survives_anything(
        numbers: [u64; 3], hashes: [[u8; 32]; 3], proof in proptest::collection::vec(any::<[u8; 32]>(), 0..70),
    ) {
        let ([a, b, c], [x, y, _]) = (numbers, hashes);
        prop_assert!(verifier::verify_subtree_inclusion(&x, a, b, c, &proof, &y).is_err());
        prop_assert!(verifier::verify_subtree_consistency(a, b, c, &proof, &x, &y).is_err());
        prop_assert!(verifier::verify_consistency(a, u64::MAX, &proof, &x, &y).is_err());
        prop_assert!(verifier::verify_inclusion(&x, a, u64::MAX, &proof, &y).is_err());
    }
}

#[derive(Debug, Clone)]
enum Damage {
    Flip(usize, u8),
    Drop(usize),
    Repeat(usize),
    Swap(usize),
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        (any::<usize>(), any::<u8>()).prop_map(|(at, bit)| Damage::Flip(at, bit)),
        any::<usize>().prop_map(Damage::Drop),
        any::<usize>().prop_map(Damage::Repeat),
        any::<usize>().prop_map(Damage::Swap),
    ]
}

impl Damage {
    /// Whether there was something to change.
    fn apply(&self, proof: &mut Vec<Hash>) -> bool {
        if proof.is_empty() {
            proof.push([7; 32]);
            return true;
        }
        let length = proof.len();
        match *self {
            Damage::Flip(at, bit) => proof[at % length][usize::from(bit >> 3)] ^= 1 << (bit & 7),
            Damage::Drop(at) => drop(proof.remove(at % length)),
            Damage::Repeat(at) => proof.insert(at % length, proof[at % length]),
            Damage::Swap(at) if length > 1 => proof.swap(at % length, (at % length + 1) % length),
            Damage::Swap(_) => return false,
        }
        true
    }
}
