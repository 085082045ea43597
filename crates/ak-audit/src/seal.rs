//! Bodies that can be erased: each is sealed under the keys of all its subjects, and cannot be opened once any one of
//! these keys is destroyed.
//!
//! | bytes | sealed body, little-endian |
//! |---|---|
//! | 1 | 1; or 0 for a body without subjects, followed by the body itself |
//! | 2 | *n*, the number of keys, at least 1 |
//! | 8*n* | their ids, strictly ascending |
//! | … | ChaCha20-Poly1305 (RFC 8439) of the body: nonce of zeros, all of the above as associated data |
//! | 16 | its tag |
//!
//! The AEAD's key is `HMAC-SHA256(K, context)`, where the context is the leaf hash of the body's entry. *K* is the
//! key itself if there is one, else the SHA-256 of the keys in the order of their ids. A leaf commits to its body, so
//! no two bodies are sealed under the same key and nonce.

use alloc::vec::Vec;
use core::fmt;

use chacha20poly1305::{
    ChaCha20Poly1305, KeyInit,
    aead::{Aead, Payload},
};
use sha2::{Digest as _, Sha256};

use crate::hash::{Hash, commitment};

/// The most keys that one body can be sealed under.
pub const KEYS_MAX: usize = u16::MAX as usize;

const PLAIN: u8 = 0;
const SEALED: u8 = 1;

/// The key of one subject: 32 secret random bytes. Destroying all copies of it erases every body sealed under it.
#[derive(Clone, PartialEq, Eq)]
pub struct BodyKey(Hash);

impl BodyKey {
    /// A key with these bytes.
    #[must_use]
    pub const fn new(bytes: Hash) -> BodyKey {
        BodyKey(bytes)
    }

    /// The key's bytes, to be stored where they can be destroyed.
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

/// Why a sealed body cannot be opened, or a body not be sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The bytes are not what [`seal`] makes, or the ids of the keys do not ascend, or there are too many keys.
    #[error("not a body, sealed or plain")]
    Form,
    /// A key that the body needs was destroyed.
    #[error("key {id} was destroyed, so the body is erased")]
    Erased {
        /// Id of the missing key.
        id: u64,
    },
    /// The key is wrong, or the body or its context was changed.
    #[error("the body does not authenticate: wrong key, or changed body or context")]
    Changed,
}

/// Seals a body under these keys, given in ascending order of their ids; without keys the body stays plain.
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
    // The cipher rejects only messages of 256 GiB or more.
    let sealed = cipher.encrypt(&Default::default(), Payload { msg: body, aad: &out });
    out.extend(sealed.map_err(|_| SealError::Form)?);
    Ok(out)
}

/// The ids of the keys that a sealed body needs, in the order stored; empty for a plain body. Their order is checked
/// by [`open`] alone.
///
/// # Errors
/// [`SealError::Form`] when the bytes do not start as [`seal`] makes them.
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

/// Opens a body that [`seal`] made; `key` returns the key with an id, or `None` if it was destroyed.
///
/// # Errors
/// Any [`SealError`].
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

/// The cipher for one body, whose key derives from `keys` and `context`.
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
