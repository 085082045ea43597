//! A verifier does not panic for any numbers and hashes, accepts every valid proof, and rejects each valid
//! proof that was changed.
#![no_main]

use ak_audit::{FullTree, Hash, leaf_hash, verifier};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: ([u64; 4], u8, u8, u8, Vec<Hash>)| {
    let ([a, b, c, bits], size, index, change, hashes) = input;
    let _ = verifier::verify_subtree_inclusion(&[0; 32], a, b, c, &hashes, &[1; 32]);
    let _ = verifier::verify_subtree_consistency(a, b, c, &hashes, &[0; 32], &[1; 32]);
    assert!(verifier::verify_inclusion(&[0; 32], a, b, &hashes, &[1; 32]).is_err());

    let (size, index) = (u64::from(size).max(1), u64::from(index));
    let mut tree = FullTree::new();
    (0..size).for_each(|leaf| tree.push(leaf_hash(&leaf.to_le_bytes())));
    let leaf = leaf_hash(&index.to_le_bytes());
    let Ok(mut path) = tree.inclusion_proof(index, size) else { return assert!(index >= size) };
    assert_eq!(verifier::verify_inclusion(&leaf, index, size, &path, &tree.root()), Ok(()));
    let old = index.max(1);
    let old_root = tree.root_at(old).expect("it was there");
    let mut chain = tree.consistency_proof(old, size).expect("both were there");
    assert_eq!(verifier::verify_consistency(old, size, &chain, &old_root, &tree.root()), Ok(()));
    for hashes in [&mut path, &mut chain] {
        let at = usize::from(change) % hashes.len().max(1);
        match (bits % 3, hashes.get_mut(at)) {
            (0, Some(hash)) => hash[(bits >> 8) as usize % 32] ^= 1 << (bits >> 16 & 7),
            (1, Some(_)) => drop(hashes.remove(at)),
            _ => hashes.insert(at, hashes.get(at).copied().unwrap_or(leaf)),
        }
    }
    assert!(verifier::verify_inclusion(&leaf, index, size, &path, &tree.root()).is_err());
    assert!(verifier::verify_consistency(old, size, &chain, &old_root, &tree.root()).is_err());
});
