//! A slot of the vault's key file: id (u64, little-endian), key (32 bytes), and a check value of both (24 bytes).

use ak_audit::seal::BodyKey;
use ak_json::Digest;

pub(super) const SLOT_BYTES: usize = 64;

fn check(id: u64, key: &[u8]) -> [u8; 24] {
    let digest = Digest::of_parts([&b"ak-host body key\n"[..], &id.to_le_bytes(), key]);
    digest.as_bytes().first_chunk().copied().unwrap_or_default()
}

pub(super) fn slot(id: u64, key: &[u8; 32]) -> Vec<u8> {
    [&id.to_le_bytes()[..], key, &check(id, key)].concat()
}

pub(super) fn parse_slot(bytes: &[u8; SLOT_BYTES]) -> Option<(u64, BodyKey)> {
    let (id, rest) = bytes.split_first_chunk::<8>()?;
    let (key, found) = rest.split_first_chunk::<32>()?;
    let id = u64::from_le_bytes(*id);
    (*found == check(id, key)).then(|| (id, BodyKey::new(*key)))
}
