//! The encoding of texts and labels that digests and snapshots share.

use alloc::vec::Vec;

use ak_json::{Integrity, Labels, Pointer};

use crate::labels::LabelMap;

/// Appends a label map: the number of its entries, the root's labels, then each subtree's.
pub(crate) fn label_map(map: &LabelMap, bytes: &mut Vec<u8>) {
    length(map.subtrees().len().saturating_add(1), bytes);
    labels(&Pointer::root(), map.root(), bytes);
    for (subtree, carried) in map.subtrees() {
        labels(subtree, carried, bytes);
    }
}

/// Appends labels with the pointer of their subtree.
fn labels(subtree: &Pointer, labels: &Labels, bytes: &mut Vec<u8>) {
    length(subtree.tokens().len(), bytes);
    subtree.tokens().iter().for_each(|token| text(token, bytes));
    bytes.push(match labels.integrity {
        Integrity::Trusted => 0,
        Integrity::Untrusted => 1,
    });
    length(labels.secrecy.len(), bytes);
    labels.secrecy.iter().for_each(|secret| text(secret, bytes));
}

/// Appends a text with its length in front.
pub(crate) fn text(text: &str, bytes: &mut Vec<u8>) {
    length(text.len(), bytes);
    bytes.extend(text.as_bytes());
}

/// Appends a length or count as 4 bytes, little-endian.
pub(crate) fn length(length: usize, bytes: &mut Vec<u8>) {
    bytes.extend(u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
}
