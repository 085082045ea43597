//! Compares the tree and its proofs with `ct-merkle`.

use std::sync::Arc;

use ak_audit::{Chain, FullTree, leaf_hash, verifier};
use ct_merkle::{HashableLeaf, mem_backed_tree::MemoryBackedTree};
use measure::{Race, Report};
use sha2::Sha256;

use crate::{OURS, records};

const MERKLE: &str = "RFC 6962 tree of 100,000 entries of 332 B";
const APPEND: &str = "append";
const PROVE: &str = "make an inclusion proof";
const CHECK: &str = "check one";
const RIVAL: &str = "ct-merkle";

const LEAVES: usize = 100_000;

/// An entry as a leaf. Clones share its bytes.
#[derive(Clone)]
struct Leaf(Arc<[u8]>);

impl HashableLeaf for Leaf {
    fn hash<H: sha2::digest::Update>(&self, hasher: &mut H) {
        hasher.update(&self.0);
    }
}

pub fn race(report: &mut Report) {
    let entry: Arc<[u8]> = records::entry(&Chain::EMPTY).encode().expect("it fits").into();
    let (mut ours, mut kept) = (FullTree::new(), Vec::new());
    let mut theirs: MemoryBackedTree<Sha256, Leaf> = MemoryBackedTree::new();
    for index in 0..LEAVES {
        let mut bytes = entry.to_vec();
        bytes[4..12].copy_from_slice(&index.to_le_bytes());
        let bytes: Arc<[u8]> = bytes.into();
        ours.push(leaf_hash(&bytes));
        theirs.push(Leaf(bytes.clone()));
        kept.push(bytes);
    }
    let (root, their_root) = (ours.root(), theirs.root());
    assert_eq!(root, <[u8; 32]>::from(*their_root.as_bytes()), "both build the same tree");

    let (mut at, mut their_at) = (0, 0);
    let next = |at: &mut usize| {
        *at = (*at + 7919) % LEAVES;
        *at
    };
    let size = LEAVES as u64;
    let prove = Race::new()
        .cpu(OURS, || ours.inclusion_proof(next(&mut at) as u64, size))
        .cpu(RIVAL, || theirs.prove_inclusion(next(&mut their_at)));
    let prove = prove.run();

    let index = 77_777;
    let path = ours.inclusion_proof(index as u64, size).expect("it is there");
    let their_path = theirs.prove_inclusion(index);
    assert_eq!(path.as_flattened(), their_path.as_bytes(), "both make the same proof");
    let check = Race::new()
        .cpu(OURS, || {
            let leaf = leaf_hash(&kept[index]);
            verifier::verify_inclusion(&leaf, index as u64, size, &path, &root).expect("it holds");
        })
        .cpu(RIVAL, || {
            let leaf = Leaf(kept[index].clone());
            their_root.verify_inclusion(&leaf, index as u64, &their_path).expect("it holds");
        });
    let check = check.run();

    let append = Race::new()
        .cpu(OURS, || {
            ours.push(leaf_hash(&entry));
            kept.push(entry.clone());
        })
        .cpu(RIVAL, || theirs.push(Leaf(entry.clone())))
        .run();
    for (case, results) in [(APPEND, append), (PROVE, prove), (CHECK, check)] {
        report.add(MERKLE, case, results);
    }
}

pub fn targets(report: &mut Report) {
    for (case, bound) in [(APPEND, 3.0), (PROVE, 4.0)] {
        let ratio = report.ns(MERKLE, case, RIVAL) / report.ns(MERKLE, case, OURS);
        report.at_least(&format!("{case}, rate against {RIVAL}"), ratio, bound);
    }
}
