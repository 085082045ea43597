//! Bodies that can be erased: each is sealed under the keys of all whom it is about, and gone with any one of the keys.
//!
//! | bytes | sealed body, little-endian |
//! |---|---|
//! | 1 | 1; a body that is about nobody who could be erased is 0 and the body as it is |
//! | 2 | *n*, the number of keys, at least 1 |
//! | 8*n* | their ids, strictly ascending |
//! | … | ChaCha20-Poly1305 (RFC 8439) of the body: nonce of zeros, all of the above as associated data |
//! | 16 | its tag |
//!
//! The AEAD's key is `HMAC-SHA256(K, context)`, the context being the leaf hash of the body's entry; *K* is the one key, or
//! the SHA-256 of several in the order of their ids. A leaf commits to its body, so no key and nonce meet twice.

use alloc::vec::Vec;
use core::fmt;

use chacha20poly1305::{
    ChaCha20Poly1305, KeyInit,
    aead::{Aead, Payload},
};
use sha2::{Digest as _, Sha256};

use crate::hash::{Hash, commitment};

/// Most keys of one body.
pub const KEYS_MAX: usize = u16::MAX as usize;

const PLAIN: u8 = 0;
const SEALED: u8 = 1;

/// One subject's key: 32 bytes that nobody could guess. Destroy all copies of it to erase what is sealed under it.
#[derive(Clone, PartialEq, Eq)]
pub struct BodyKey(Hash);

impl BodyKey {
    /// A key of these bytes.
    #[must_use]
    pub const fn new(bytes: Hash) -> BodyKey {
        BodyKey(bytes)
    }

    /// Its bytes, to be kept where they can be destroyed.
    #[must_use]
    pub const fn as_bytes(&self) -> &Hash {
        &self.0
    }
}

impl fmt::Debug for BodyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BodyKey(..)")
    }
}

impl Drop for BodyKey {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.0);
    }
}

/// Why a body stays closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// These are no bytes that [`seal`] makes, or its keys do not ascend or are too many.
    #[error("not a body, sealed or plain")]
    Form,
    /// A key it needs is not there: it was erased.
    #[error("key {id} is gone")]
    Erased {
        /// The key's id.
        id: u64,
    },
    /// The key is not the one, or the body or its context was changed.
    #[error("the body does not open: it was changed, or its key was")]
    Changed,
}

/// Seals a body under these keys, whose ids ascend; without keys it stays plain.
///
/// # Errors
/// [`SealError::Form`] when the ids do not ascend, or there are more than [`KEYS_MAX`].
pub fn seal(keys: &[(u64, &BodyKey)], context: &Hash, body: &[u8]) -> Result<Vec<u8>, SealError> {
    let ascending = keys.iter().zip(keys.iter().skip(1)).all(|((low, _), (high, _))| low < high);
    let count = u16::try_from(keys.len()).ok().filter(|_| ascending).ok_or(SealError::Form)?;
    let mut out = Vec::with_capacity(3 + 8 * keys.len() + body.len() + 16);
    if keys.is_empty() {
        out.push(PLAIN);
        out.extend_from_slice(body);
        return Ok(out);
    }
    out.push(SEALED);
    out.extend_from_slice(&count.to_le_bytes());
    keys.iter().for_each(|(id, _)| out.extend_from_slice(&id.to_le_bytes()));
    let cipher = cipher(keys.iter().map(|(_, key)| *key), context);
    // Only a message of 256 GiB would be too long for the cipher.
    let sealed = cipher.encrypt(&Default::default(), Payload { msg: body, aad: &out });
    out.extend(sealed.map_err(|_| SealError::Form)?);
    Ok(out)
}

/// The ids of the keys that a sealed body needs, ascending; none for a plain body.
///
/// # Errors
/// [`SealError::Form`] when [`seal`] makes no such bytes.
pub fn key_ids(sealed: &[u8]) -> Result<Vec<u64>, SealError> {
    match sealed.split_first().ok_or(SealError::Form)? {
        (&PLAIN, _) => Ok(Vec::new()),
        (&SEALED, rest) => {
            let (count, rest) = rest.split_first_chunk::<2>().ok_or(SealError::Form)?;
            let ids = rest.get(..usize::from(u16::from_le_bytes(*count)) * 8).ok_or(SealError::Form)?;
            Ok(ids.as_chunks::<8>().0.iter().map(|id| u64::from_le_bytes(*id)).collect())
        }
        _ => Err(SealError::Form),
    }
}

/// Opens what [`seal`] made; `key` gives the key of an id while there is one.
///
/// # Errors
/// [`SealError`].
pub fn open<'k>(
    sealed: &[u8],
    context: &Hash,
    mut key: impl FnMut(u64) -> Option<&'k BodyKey>,
) -> Result<Vec<u8>, SealError> {
    let (head, ids, ciphertext) = match sealed.split_first().ok_or(SealError::Form)? {
        (&PLAIN, body) => return Ok(body.to_vec()),
        (&SEALED, rest) => {
            let (count, rest) = rest.split_first_chunk::<2>().ok_or(SealError::Form)?;
            let bytes = usize::from(u16::from_le_bytes(*count)) * 8;
            let (ids, ciphertext) = rest.split_at_checked(bytes).ok_or(SealError::Form)?;
            (sealed.get(..3 + bytes).ok_or(SealError::Form)?, ids.as_chunks::<8>().0, ciphertext)
        }
        _ => return Err(SealError::Form),
    };
    let ascending = ids.iter().zip(ids.iter().skip(1));
    if ids.is_empty()
        || !ascending.into_iter().all(|(low, high)| u64::from_le_bytes(*low) < u64::from_le_bytes(*high))
    {
        return Err(SealError::Form);
    }
    let keys = ids.iter().map(|id| u64::from_le_bytes(*id)).map(|id| key(id).ok_or(SealError::Erased { id }));
    let keys = keys.collect::<Result<Vec<_>, _>>()?;
    let payload = Payload { msg: ciphertext, aad: head };
    cipher(keys.into_iter(), context).decrypt(&Default::default(), payload).map_err(|_| SealError::Changed)
}

/// The cipher for one body.
fn cipher<'k>(mut keys: impl ExactSizeIterator<Item = &'k BodyKey>, context: &Hash) -> ChaCha20Poly1305 {
    let mut whole = match (keys.len(), keys.next()) {
        (1, Some(key)) => key.0,
        (_, first) => {
            let all = first.into_iter().chain(keys);
            all.fold(Sha256::new(), |hash, key| hash.chain_update(key.0)).finalize().into()
        }
    };
    let cipher = ChaCha20Poly1305::new(&commitment(&whole, context).into());
    zeroize::Zeroize::zeroize(&mut whole);
    cipher
}
