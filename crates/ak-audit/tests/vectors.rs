//! transparency-dev/merkle test vectors, read from `$AK_VECTORS/merkle`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use ak_audit::{Hash, leaf_hash, verifier};
use ak_json::{Limits, Value};
use base64::{Engine as _, engine::general_purpose::STANDARD};

/// One vector: the arguments of the check by name.
struct Vector(Value);

impl Vector {
    fn number(&self, name: &str) -> u64 {
        self.0.get(name).and_then(Value::as_u64).unwrap_or_else(|| panic!("{name} is no number"))
    }

    fn hash(&self, name: &str) -> Hash {
        decode(self.0.get(name).unwrap_or_else(|| panic!("{name} is missing")))
    }

    /// The leaf's hash; of another length it is refused before any proof is looked at.
    fn leaf(&self) -> Result<Hash, verifier::InvalidProof> {
        let bytes = STANDARD.decode(self.0.get("leafHash").and_then(Value::as_str).unwrap()).unwrap();
        bytes.try_into().map_err(|_| verifier::InvalidProof::Root)
    }

    fn proof(&self) -> Vec<Hash> {
        match self.0.get("proof") {
            Some(Value::Array(hashes)) => hashes.iter().map(decode).collect(),
            Some(Value::Null) => Vec::new(),
            other => panic!("proof is {other:?}"),
        }
    }
}

/// Some vectors hold bytes of another length where a hash belongs. A `Hash` cannot; the hash of those bytes stands in for
/// them, which keeps what is equal equal and what differs different.
fn decode(text: &Value) -> Hash {
    let bytes = STANDARD.decode(text.as_str().unwrap()).unwrap();
    bytes.as_slice().try_into().unwrap_or_else(|_| leaf_hash(&bytes))
}

/// Every JSON file below `directory` with its name, in order.
fn read(directory: &Path) -> Vec<(PathBuf, Vector)> {
    let mut found = Vec::new();
    let mut entries: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            found.extend(read(&path));
        } else {
            let value = Value::parse(&fs::read(&path).unwrap(), &Limits::default()).unwrap();
            found.push((path, Vector(value)));
        }
    }
    found
}

/// Runs one folder of vectors through `verify`.
fn check(folder: &str, count: usize, verify: fn(&Vector) -> Result<(), verifier::InvalidProof>) {
    let Some(root) = std::env::var_os("AK_VECTORS") else {
        println!("{folder} skipped: AK_VECTORS is not set");
        return;
    };
    let vectors = read(&Path::new(&root).join("merkle/testdata").join(folder));
    assert!(vectors.len() >= count, "{folder} has only {} vectors", vectors.len());
    for (path, vector) in &vectors {
        let wrong = vector.0.get("wantErr").and_then(Value::as_bool).unwrap();
        let holds = verify(vector).is_ok();
        assert_eq!(holds, !wrong, "{}", path.display());
    }
}

#[test]
fn inclusion() {
    check("inclusion", 98, |v| {
        let (leaf, root, proof) = (v.leaf()?, v.hash("root"), v.proof());
        verifier::verify_inclusion(&leaf, v.number("leafIdx"), v.number("treeSize"), &proof, &root)
    });
}

#[test]
fn consistency() {
    check("consistency", 98, |v| {
        let (old, new, proof) = (v.hash("root1"), v.hash("root2"), v.proof());
        verifier::verify_consistency(v.number("size1"), v.number("size2"), &proof, &old, &new)
    });
}

#[test]
fn subtree_inclusion() {
    check("subtreeinclusion", 204, |v| {
        let (leaf, root, proof) = (v.leaf()?, v.hash("root"), v.proof());
        let (index, start, end) = (v.number("leafIdx"), v.number("start"), v.number("end"));
        verifier::verify_subtree_inclusion(&leaf, index, start, end, &proof, &root)
    });
}

#[test]
fn subtree_consistency() {
    check("subtreeconsistency", 118, |v| {
        let (start, end, size) = (v.number("start"), v.number("end"), v.number("size"));
        let (subtree, root, proof) = (v.hash("root1"), v.hash("root2"), v.proof());
        verifier::verify_subtree_consistency(start, end, size, &proof, &subtree, &root)
    });
}
