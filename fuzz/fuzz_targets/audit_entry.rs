//! Bytes that decode as an entry encode to the same bytes, and the entry can be shown and appended to a chain.
#![no_main]

use ak_audit::{Chain, Entry, leaf_hash};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(entry) = Entry::decode(bytes) else { return };
    assert_eq!(entry.encode().as_deref(), Ok(bytes));
    let leaf = leaf_hash(bytes);
    assert!(!entry.to_json("operation", &leaf).to_json().contains('\n'));
    entry.to_ocsf("operation", &leaf).to_json();
    let mut chain = Chain { next: entry.seq, head: entry.previous, time_us: entry.time_us };
    assert_eq!(chain.push(bytes), Ok(leaf));
    assert!(chain.push(bytes).is_err(), "nothing follows itself");
});
