//! Bodies under keys: what opens, and what never does again.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use ak_audit::seal::{BodyKey, SealError, open, seal};
use proptest::{collection::btree_map, prelude::*};

/// Made by an independent implementation: Python's `hmac`, `hashlib` and `cryptography`.
#[test]
fn a_known_answer() {
    let key = BodyKey::new([7; 32]);
    let sealed = seal(&[(5, &key)], &[9; 32], b"what was asked").unwrap();
    assert_eq!(hex::encode(sealed), KNOWN_ANSWER);
}

const KNOWN_ANSWER: &str =
    "010100050000000000000079b58cb6af1a082d46c29be5b84675c0a5c89d180fae83e126d0bd988124";

#[test]
fn a_plain_body_needs_no_key() {
    let plain = seal(&[], &[0; 32], b"{}").unwrap();
    assert_eq!(plain, b"\0{}");
    assert_eq!(open(&plain, &[1; 32], |_| None).unwrap(), b"{}");
}

#[test]
fn keys_ascend() {
    let key = BodyKey::new([7; 32]);
    assert_eq!(seal(&[(2, &key), (1, &key)], &[0; 32], b""), Err(SealError::Form));
    assert_eq!(seal(&[(1, &key), (1, &key)], &[0; 32], b""), Err(SealError::Form));
    for form in [
        &b""[..],
        &[2],
        &[1],
        &[1, 0, 0],
        &[1, 1, 0, 5],
        &[1, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0],
    ] {
        assert_eq!(open(form, &[0; 32], |_| Some(&key)), Err(SealError::Form), "{form:?}");
    }
}

proptest! {
    /// All keys open it; without any one of them, with another context or with any bit changed it stays closed.
    #[test]
    fn a_body_is_gone_with_any_of_its_keys(
        keys in btree_map(any::<u64>(), any::<[u8; 32]>(), 1..5),
        context: [u8; 32],
        body in proptest::collection::vec(any::<u8>(), 0..200),
        flipped: prop::sample::Index,
        missing: prop::sample::Index,
    ) {
        let keys: Vec<(u64, BodyKey)> = keys.into_iter().map(|(id, key)| (id, BodyKey::new(key))).collect();
        let named: Vec<(u64, &BodyKey)> = keys.iter().map(|(id, key)| (*id, key)).collect();
        let find = |id: u64| named.iter().find(|(other, _)| *other == id).map(|(_, key)| *key);
        let sealed = seal(&named, &context, &body).unwrap();
        prop_assert_eq!(open(&sealed, &context, find).unwrap(), body.clone());
        let gone = named[missing.index(named.len())].0;
        prop_assert_eq!(open(&sealed, &context, |id| find(id).filter(|_| id != gone)), Err(SealError::Erased { id: gone }));
        let elsewhere = context.map(|byte| !byte);
        prop_assert_eq!(open(&sealed, &elsewhere, find), Err(SealError::Changed));
        let mut bent = sealed.clone();
        let bit = flipped.index(bent.len() * 8);
        bent[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(open(&bent, &context, find) != Ok(body));
    }
}
