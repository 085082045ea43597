//! Only issued bytes are a valid token, and a token that can be read has one encoding.
#![no_main]

use ak_policy::Query;
use ak_policy::capability::{Authority, CapId, HolderProof, Issuers, KeyPair, TokenKeys, attenuate};
use ak_policy::{Action, Target};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let keys = TokenKeys::new([7; 32], &[(1, [42; 32])]).expect("one key");
    assert!(keys.verify(bytes).is_err());
    let issuer = KeyPair::from_seed(&[1; 32]);
    let issuers = Issuers::new([7; 32], [(1, issuer.public())]);
    assert!(issuers.verify(bytes, b"nonce", &HolderProof([0; 64])).is_err());

    // The input as the caveats of an authentic token.
    let mut token = keys.issue(CapId::from_u64(5), &Authority::everything()).expect("it fits");
    token.truncate(16);
    token.extend_from_slice(&(bytes.len() as u16).to_le_bytes());
    token.extend_from_slice(bytes);
    let Some(token) = sealed(&token) else { return };
    if let Ok(read) = keys.verify(&token) {
        assert_eq!(keys.issue(read.capability, &read.authority).as_deref(), Ok(&*token));
        let target = Target::path("/a/b").expect("a path");
        let query = Query::new("main", Action::FsRead, &target);
        let narrowed = attenuate(&token, &read.authority).map(|token| keys.verify(&token));
        if let Ok(narrowed) = narrowed {
            let narrowed = narrowed.expect("as authentic as before").authority;
            assert_eq!(narrowed.covers(&query, &[0; 16]), read.authority.covers(&query, &[0; 16]));
        }
    }
});

/// The token with the tag that the key of this file makes, by the token's format.
fn sealed(token: &[u8]) -> Option<Vec<u8>> {
    use hmac::{Hmac, KeyInit, Mac};
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&[42; 32]).ok()?;
    mac.update(b"authority kernel: token, form h1");
    mac.update(&[7; 32]);
    mac.update(token);
    Some([token, &mac.finalize().into_bytes()].concat())
}
