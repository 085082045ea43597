//! The one change made to a module before it is compiled.

use alloc::borrow::Cow;
use alloc::vec::Vec;

/// Export under which a module's start function is found again. No compiler writes such a name, and a module
/// that has it is refused as a duplicate export.
pub(crate) const START_EXPORT: &str = "\0ak start";

const HEADER_BYTES: usize = 8;
const SECTION_EXPORT: u8 = 7;
const SECTION_START: u8 = 8;
/// Sections that stand before the export section.
const SECTIONS_BEFORE_EXPORT: [u8; 7] = [1, 2, 3, 4, 5, 13, 6];

/// Turns the start section into an export, so that the start function runs under fuel slices and may make
/// host calls like any other.
///
/// A module without a start section is returned as it is; so is a malformed one, which validation then
/// refuses.
pub(crate) fn start_as_export(module: &[u8]) -> Cow<'_, [u8]> {
    rewrite(module).map_or(Cow::Borrowed(module), Cow::Owned)
}

fn rewrite(module: &[u8]) -> Option<Vec<u8>> {
    let (header, body) = module.split_at_checked(HEADER_BYTES)?;
    let mut start = None;
    let mut exports = None;
    for section in sections(body) {
        let Section { id, payload, .. } = section?;
        match id {
            SECTION_START if start.replace(payload).is_some() => return None,
            SECTION_EXPORT if exports.replace(payload).is_some() => return None,
            _ => {}
        }
    }
    let start = start?;
    let (index, []) = leb128(start)? else { return None };

    let (count, entries) = exports.map_or(Some((0, &[][..])), leb128)?;
    let mut payload = Vec::new();
    write_leb128(&mut payload, count.checked_add(1)?);
    payload.extend_from_slice(entries);
    write_leb128(&mut payload, u32::try_from(START_EXPORT.len()).ok()?);
    payload.extend_from_slice(START_EXPORT.as_bytes());
    payload.push(0); // kind: function
    write_leb128(&mut payload, index);

    let mut out = Vec::with_capacity(module.len().saturating_add(payload.len()));
    out.extend_from_slice(header);
    let mut payload = Some(payload);
    for section in sections(body) {
        let Section { id, whole, .. } = section?;
        // Custom sections (0) may stand anywhere and do not tell where we are.
        let here = id != 0 && !SECTIONS_BEFORE_EXPORT.contains(&id);
        if let Some(payload) = payload.take_if(|_| here) {
            out.push(SECTION_EXPORT);
            write_leb128(&mut out, u32::try_from(payload.len()).ok()?);
            out.extend_from_slice(&payload);
        }
        if id != SECTION_EXPORT && id != SECTION_START {
            out.extend_from_slice(whole);
        }
    }
    Some(out)
}

struct Section<'a> {
    id: u8,
    payload: &'a [u8],
    /// Id, length and payload.
    whole: &'a [u8],
}

/// The sections one after the other; `None` once something is not a section, and then no more.
fn sections(mut rest: &[u8]) -> impl Iterator<Item = Option<Section<'_>>> {
    core::iter::from_fn(move || {
        let (&id, after_id) = rest.split_first()?;
        let split =
            leb128(after_id).and_then(|(length, body)| body.split_at_checked(usize::try_from(length).ok()?));
        let Some((payload, after)) = split else {
            rest = &[];
            return Some(None);
        };
        let whole = rest.get(..rest.len() - after.len()).unwrap_or_default();
        rest = after;
        Some(Some(Section { id, payload, whole }))
    })
}

/// An unsigned 32-bit LEB128 number and what follows it.
fn leb128(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let mut value = 0u64;
    for (index, &byte) in bytes.iter().take(5).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((u32::try_from(value).ok()?, bytes.get(index + 1..)?));
        }
    }
    None
}

fn write_leb128(out: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
