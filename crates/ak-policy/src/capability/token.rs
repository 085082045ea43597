//! Tokens within one trust domain: a chain of HMAC-SHA256.
//!
//! ```text
//! "AKH1" ‖ key id u32 ‖ capability u64 ‖ (length u16 ‖ caveats)+ ‖ tag 32
//! ```
//!
//! Integers are little-endian. The first tag is `HMAC(key, "authority kernel: token, form h1" ‖ context ‖ all bytes
//! up to the end of the first block)`; the tag of each further block is `HMAC(previous tag, length ‖ caveats)`. The
//! token contains only the last tag. So every holder of a token can add a block, and no holder can remove one
//! (Birgisson et al., "Macaroons", NDSS 2014). There is no choice of algorithm, and there are no third-party
//! caveats.

use alloc::vec::Vec;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::block::{
    BLOCKS_MAX, HEAD_BYTES, KeyId, TokenError, VerifiedToken, check_length, read_authority, read_head,
    split_caveats, write_caveats, write_head,
};
use super::caveat::Authority;
use super::table::CapId;

const MAGIC: &[u8; 4] = b"AKH1";
/// With the context it fills one block of the hash, so the common start of all tokens is hashed only once.
const DOMAIN: &[u8; 32] = b"authority kernel: token, form h1";
const TAG_BYTES: usize = 32;

/// The keys of a trust domain: one makes tokens and all verify them, so that keys can be changed while tokens are
/// in use.
#[derive(Clone)]
pub struct TokenKeys {
    /// The newest key last; each with the key schedule and the common start already computed.
    keys: Vec<(KeyId, Hmac<Sha256>)>,
}

impl TokenKeys {
    /// Keys for one context: the id of the log, or another value that is unique to this trust domain.
    ///
    /// Keys are 32 random bytes each; the last one makes tokens. `None` when there is no key, or two have the same
    /// id.
    pub fn new(context: [u8; 32], keys: &[(KeyId, [u8; 32])]) -> Option<Self> {
        let distinct =
            keys.iter().enumerate().all(|(at, (id, _))| !keys.iter().take(at).any(|(other, _)| other == id));
        let keyed = |(id, key): &(KeyId, [u8; 32])| {
            let mut mac = keyed(key);
            mac.update(DOMAIN);
            mac.update(&context);
            (*id, mac)
        };
        (distinct && !keys.is_empty()).then(|| Self { keys: keys.iter().map(keyed).collect() })
    }

    /// Makes a token for a capability of the table, restricted by `authority`.
    ///
    /// # Errors
    /// [`TokenError::Full`] when the caveats do not fit.
    pub fn issue(&self, capability: CapId, authority: &Authority) -> Result<Vec<u8>, TokenError> {
        let (id, key) = self.keys.last().ok_or(TokenError::UnknownKey)?;
        let mut token = write_head(MAGIC, *id, capability);
        write_caveats(&mut token, authority)?;
        let tag = key.clone().chain_update(&token).finalize().into_bytes();
        token.extend_from_slice(&tag);
        check_length(token)
    }

    /// Verifies a token.
    ///
    /// # Errors
    /// [`TokenError`]. The length is checked first, the tag is compared in constant time, and the caveats are
    /// decoded only after the tag has been verified.
    pub fn verify(&self, token: &[u8]) -> Result<VerifiedToken, TokenError> {
        let (id, capability, _) = read_head(MAGIC, token)?;
        let (blocks, tag) = split(token)?;
        let (_, key) = self.keys.iter().find(|(own, _)| *own == id).ok_or(TokenError::UnknownKey)?;
        let mut mac = key.clone();
        for (at, block) in blocks.clone().enumerate() {
            if at > 0 {
                mac = keyed(&mac.finalize().into_bytes().into());
            }
            mac.update(block.authenticated);
        }
        mac.verify_slice(tag).map_err(|_| TokenError::NotAuthentic)?;
        Ok(VerifiedToken { capability, authority: read_authority(blocks.map(|block| block.caveats))? })
    }
}

/// Restricts a token by a further block, which needs no key.
///
/// # Errors
/// [`TokenError`] when the token is malformed or has no room for the caveats. Without a key it cannot be checked
/// whether the token is authentic.
pub fn attenuate(token: &[u8], authority: &Authority) -> Result<Vec<u8>, TokenError> {
    read_head(MAGIC, token)?;
    let (blocks, tag) = split(token)?;
    if blocks.count() >= BLOCKS_MAX {
        return Err(TokenError::Full);
    }
    let mut narrowed = token.strip_suffix(tag).map(Vec::from).ok_or(TokenError::Malformed)?;
    let mut block = Vec::new();
    write_caveats(&mut block, authority)?;
    let tag = keyed(tag).chain_update(&block).finalize().into_bytes();
    narrowed.extend_from_slice(&block);
    narrowed.extend_from_slice(&tag);
    check_length(narrowed)
}

/// The MAC under a key, which is padded with zeros to the hash's block (RFC 2104).
fn keyed(key: &[u8; 32]) -> Hmac<Sha256> {
    let mut block = [0; 64];
    block.iter_mut().zip(key).for_each(|(slot, byte)| *slot = *byte);
    Hmac::new(&block.into())
}

struct Block<'t> {
    /// The bytes that the block's tag covers; those of the first block begin with the head.
    authenticated: &'t [u8],
    caveats: &'t [u8],
}

/// Iterates over the blocks of a token.
#[derive(Clone)]
struct Blocks<'t> {
    rest: &'t [u8],
    head_bytes: usize,
}

impl<'t> Iterator for Blocks<'t> {
    type Item = Block<'t>;

    /// The next block; after the last one, `rest` holds the bytes that could not be read.
    fn next(&mut self) -> Option<Block<'t>> {
        let (caveats, behind) = split_caveats(self.rest.get(self.head_bytes..)?).ok()?;
        let (authenticated, rest) = self.rest.split_at_checked(self.rest.len() - behind.len())?;
        *self = Self { rest, head_bytes: 0 };
        Some(Block { authenticated, caveats })
    }
}

/// Splits a token into its blocks, at least one and nothing after the last, and its tag.
fn split(token: &[u8]) -> Result<(Blocks<'_>, &[u8; TAG_BYTES]), TokenError> {
    let (body, tag) = token.split_last_chunk::<TAG_BYTES>().ok_or(TokenError::Malformed)?;
    let blocks = Blocks { rest: body, head_bytes: HEAD_BYTES };
    let mut ahead = blocks.clone();
    let count = ahead.by_ref().take(BLOCKS_MAX).count();
    if count > 0 && ahead.rest.is_empty() { Ok((blocks, tag)) } else { Err(TokenError::Malformed) }
}
