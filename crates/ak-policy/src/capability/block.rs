//! The parts that both kinds of token share: a head and blocks of caveats.

use alloc::vec::Vec;

use super::caveat::Authority;
use super::encode;
use super::table::CapId;

/// The most bytes of a token.
pub const TOKEN_BYTES_MAX: usize = 4096;
/// The most blocks of a token.
pub const BLOCKS_MAX: usize = 16;

/// Identifies the key that made a token.
pub type KeyId = u32;

/// The capability that a verified token gives, with the token's restrictions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedToken {
    /// The capability in the table that the token names.
    pub capability: CapId,
    /// The caveats of all the token's blocks.
    pub authority: Authority,
}

/// Why a token is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The token is longer than [`TOKEN_BYTES_MAX`].
    #[error("token is longer than {TOKEN_BYTES_MAX} bytes")]
    TooLong,
    /// The bytes do not have the form of such a token.
    #[error("token is malformed")]
    Malformed,
    /// The token was made with a key that is unknown, or not trusted any more.
    #[error("token was made with an unknown key")]
    UnknownKey,
    /// The token was changed, was made for another context, or is not presented by its holder.
    #[error("token is not authentic")]
    NotAuthentic,
    /// The token would have too many blocks, or the caveats do not fit.
    #[error("token would exceed 16 blocks or 4096 bytes")]
    Full,
}

/// The bytes before the blocks: magic 4, key id 4, capability 8.
pub(super) const HEAD_BYTES: usize = 16;

pub(super) fn write_head(magic: &[u8; 4], key: KeyId, capability: CapId) -> Vec<u8> {
    let mut token = Vec::from(*magic);
    token.extend_from_slice(&key.to_le_bytes());
    token.extend_from_slice(&capability.to_u64().to_le_bytes());
    token
}

/// Reads the head, after checking the token's length.
pub(super) fn read_head<'t>(
    magic: &[u8; 4],
    token: &'t [u8],
) -> Result<(KeyId, CapId, &'t [u8]), TokenError> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(TokenError::TooLong);
    }
    let parts = || {
        let rest = token.strip_prefix(magic)?;
        let (key, rest) = rest.split_first_chunk::<4>()?;
        let (capability, rest) = rest.split_first_chunk::<8>()?;
        Some((u32::from_le_bytes(*key), CapId::from_u64(u64::from_le_bytes(*capability)), rest))
    };
    parts().ok_or(TokenError::Malformed)
}

/// Writes `length u16 ‖ caveats`.
pub(super) fn write_caveats(token: &mut Vec<u8>, authority: &Authority) -> Result<(), TokenError> {
    let mut caveats = Vec::new();
    encode::write(authority, &mut caveats);
    let length = u16::try_from(caveats.len()).map_err(|_| TokenError::Full)?;
    token.extend_from_slice(&length.to_le_bytes());
    token.extend_from_slice(&caveats);
    Ok(())
}

/// Splits off `length u16 ‖ caveats`; returns the caveats and the bytes after them.
pub(super) fn split_caveats(bytes: &[u8]) -> Result<(&[u8], &[u8]), TokenError> {
    let (length, rest) = bytes.split_first_chunk::<2>().ok_or(TokenError::Malformed)?;
    rest.split_at_checked(u16::from_le_bytes(*length).into()).ok_or(TokenError::Malformed)
}

/// Reads the caveats of all blocks, already authenticated, into one authority.
pub(super) fn read_authority<'t>(
    mut blocks: impl Iterator<Item = &'t [u8]>,
) -> Result<Authority, TokenError> {
    blocks.try_fold(Authority::everything(), |mut all, caveats| {
        all.narrow(encode::read(caveats).ok_or(TokenError::Malformed)?);
        Ok(all)
    })
}

pub(super) fn check_length(token: Vec<u8>) -> Result<Vec<u8>, TokenError> {
    if token.len() > TOKEN_BYTES_MAX { Err(TokenError::Full) } else { Ok(token) }
}
