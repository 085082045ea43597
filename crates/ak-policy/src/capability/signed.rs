//! Tokens across trust domains: a chain of Ed25519 signatures, and a proof of possession by the holder.
//!
//! ```text
//! "AKE1" ‖ key id u32 ‖ capability u64 ‖ (length u16 ‖ caveats ‖ next key 32 ‖ signature 64)+
//! ```
//!
//! Integers are little-endian. The issuer signs the first block together with the head; each block names the key
//! that signs the next one. A signature covers the previous one, so no block can be moved to another token. The
//! last block's key is the holder's: to use a token, the holder signs the token and a fresh challenge with it.
//! Signatures are verified strictly (no small-order keys, no second encodings; RFC 8032 §5.1.7 without cofactor).

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use ak_json::sha256;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

use super::block::{
    BLOCKS_MAX, KeyId, TokenError, VerifiedToken, check_length, read_authority, read_head, split_caveats,
    write_caveats, write_head,
};
use super::caveat::Authority;
use super::table::CapId;

const MAGIC: &[u8; 4] = b"AKE1";
const ISSUE: &[u8] = b"ak token e1 issue";
const NARROW: &[u8] = b"ak token e1 narrow";
const PROVE: &[u8] = b"ak token e1 prove";

/// An Ed25519 public key, as tokens contain it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PublicKey(pub [u8; 32]);

/// A signing key pair of an issuer or a holder. Its secret is erased from memory when it is dropped.
pub struct KeyPair(SigningKey);

/// A signature by the holder of a token over the token and one challenge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HolderProof(pub [u8; 64]);

impl KeyPair {
    /// The key pair derived from 32 random bytes.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// Makes a token for a capability of the table, restricted by `authority`, to be used by the holder of a key.
    ///
    /// # Errors
    /// [`TokenError::Full`] when the caveats do not fit.
    pub fn issue(
        &self,
        id: KeyId,
        context: &[u8; 32],
        capability: CapId,
        authority: &Authority,
        holder: PublicKey,
    ) -> Result<Vec<u8>, TokenError> {
        let mut token = write_head(MAGIC, id, capability);
        write_caveats(&mut token, authority)?;
        token.extend_from_slice(&holder.0);
        let signature = self.0.sign(&[ISSUE, context, &token].concat());
        token.extend_from_slice(&signature.to_bytes());
        check_length(token)
    }

    /// Restricts a token that this key pair holds, and passes it to the holder of another key.
    ///
    /// # Errors
    /// [`TokenError`] when the token is malformed, has another holder, or has no room for the caveats.
    pub fn attenuate(
        &self,
        token: &[u8],
        authority: &Authority,
        holder: PublicKey,
    ) -> Result<Vec<u8>, TokenError> {
        read_head(MAGIC, token)?;
        let blocks = split(token)?;
        let last = blocks.last().ok_or(TokenError::Malformed)?;
        if *last.next_key != self.public().0 {
            return Err(TokenError::NotAuthentic);
        }
        if blocks.len() >= BLOCKS_MAX {
            return Err(TokenError::Full);
        }
        let mut block = Vec::new();
        write_caveats(&mut block, authority)?;
        block.extend_from_slice(&holder.0);
        let signature = self.0.sign(&[NARROW, last.signature, &block].concat());
        check_length([token, &block, &signature.to_bytes()].concat())
    }

    /// Proves possession of the token to the author of the challenge. The challenge must be fresh: the nonce of a
    /// connection, together with something that binds it to that connection.
    pub fn prove(&self, token: &[u8], challenge: &[u8]) -> HolderProof {
        HolderProof(self.0.sign(&proof_message(token, challenge)).to_bytes())
    }
}

fn proof_message(token: &[u8], challenge: &[u8]) -> Vec<u8> {
    [PROVE, sha256(token).as_bytes().as_slice(), sha256(challenge).as_bytes()].concat()
}

/// The trusted issuers of tokens, by key id.
#[derive(Clone, Debug)]
pub struct Issuers {
    keys: BTreeMap<KeyId, PublicKey>,
    context: [u8; 32],
}

impl Issuers {
    /// Trusted issuers in one context: the id of the log, or another value that is unique to this kernel.
    pub fn new(context: [u8; 32], keys: impl IntoIterator<Item = (KeyId, PublicKey)>) -> Self {
        Self { keys: keys.into_iter().collect(), context }
    }

    /// Checks a token and its holder's proof.
    ///
    /// # Errors
    /// [`TokenError`]. The length is checked first; the caveats are decoded only after all signatures have been
    /// verified.
    pub fn verify(
        &self,
        token: &[u8],
        challenge: &[u8],
        proof: &HolderProof,
    ) -> Result<VerifiedToken, TokenError> {
        let (id, capability, _) = read_head(MAGIC, token)?;
        let blocks = split(token)?;
        let mut key = *self.keys.get(&id).ok_or(TokenError::UnknownKey)?;
        let mut before: Option<&[u8; 64]> = None;
        for block in &blocks {
            let message = match before {
                None => [ISSUE, &self.context, block.signed].concat(),
                Some(before) => [NARROW, before, block.signed].concat(),
            };
            check(key, &message, block.signature)?;
            (key, before) = (PublicKey(*block.next_key), Some(block.signature));
        }
        check(key, &proof_message(token, challenge), &proof.0)?;
        Ok(VerifiedToken { capability, authority: read_authority(blocks.iter().map(|block| block.caveats))? })
    }
}

fn check(key: PublicKey, message: &[u8], signature: &[u8; 64]) -> Result<(), TokenError> {
    let verify =
        || VerifyingKey::from_bytes(&key.0)?.verify_strict(message, &Signature::from_bytes(signature));
    verify().map_err(|_| TokenError::NotAuthentic)
}

struct Block<'t> {
    /// The signed bytes; those of the first block begin with the head.
    signed: &'t [u8],
    caveats: &'t [u8],
    next_key: &'t [u8; 32],
    signature: &'t [u8; 64],
}

/// Splits a token into its blocks, of which there is at least one.
fn split(token: &[u8]) -> Result<Vec<Block<'_>>, TokenError> {
    let mut blocks = Vec::new();
    let mut rest = token;
    let mut head_bytes = super::block::HEAD_BYTES;
    while !rest.is_empty() || blocks.is_empty() {
        let (caveats, behind) = split_caveats(rest.get(head_bytes..).ok_or(TokenError::Malformed)?)?;
        let (next_key, behind) = behind.split_first_chunk::<32>().ok_or(TokenError::Malformed)?;
        let signed = rest.strip_suffix(behind).ok_or(TokenError::Malformed)?;
        let (signature, behind) = behind.split_first_chunk::<64>().ok_or(TokenError::Malformed)?;
        if blocks.len() == BLOCKS_MAX {
            return Err(TokenError::Malformed);
        }
        blocks.push(Block { signed, caveats, next_key, signature });
        (rest, head_bytes) = (behind, 0);
    }
    Ok(blocks)
}
