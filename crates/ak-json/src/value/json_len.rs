//! The length of strings in JSON text.

/// The length in bytes of a string's JSON text, quotes and escapes included.
pub fn string_len(text: &str) -> usize {
    let mut len = text.len().saturating_add(2);
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.get(plain_len(rest)..).and_then(<[u8]>::split_first) {
        len = len.saturating_add(if escape(*byte) == b'u' { 5 } else { 1 });
        rest = after;
    }
    len
}

/// The letter after the backslash for a byte that must be escaped; `u` is followed by four digits.
pub(crate) const fn escape(byte: u8) -> u8 {
    match byte {
        0x08 => b'b',
        0x0c => b'f',
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0..0x20 => b'u',
        _ => byte,
    }
}

/// The number of bytes before the first quote, backslash or control character.
#[inline]
pub(crate) fn plain_len(bytes: &[u8]) -> usize {
    // Most strings are short, so two words are checked first. Longer strings are checked in blocks, which become
    // vector instructions.
    let (words, _) = bytes.as_chunks::<8>();
    let mut at = 0;
    for word in words.iter().take(2) {
        match special_in(word) {
            None => at += 8,
            Some(place) => return at + place,
        }
    }
    if at == 16 {
        let (blocks, _) = bytes.get(at..).unwrap_or_default().as_chunks::<32>();
        let plain = |block: &&[u8; 32]| !block.iter().fold(false, |found, byte| found | is_special(*byte));
        at += blocks.iter().take_while(plain).count() * 32;
    }
    at + bytes.get(at..).unwrap_or_default().iter().take_while(|byte| !is_special(**byte)).count()
}

const fn is_special(byte: u8) -> bool {
    (byte == b'"') | (byte == b'\\') | (byte < 0x20)
}

/// The index of the first special byte of a word.
fn special_in(word: &[u8; 8]) -> Option<usize> {
    const fn every(byte: u8) -> u64 {
        u64::from_ne_bytes([byte; 8])
    }
    // Sets the top bit of the lowest byte that is less than `bound`, and perhaps of bytes above it.
    const fn below(word: u64, bound: u8) -> u64 {
        word.wrapping_sub(every(bound)) & !word & every(0x80)
    }
    let word = u64::from_le_bytes(*word);
    let special = below(word ^ every(b'"'), 1) | below(word ^ every(b'\\'), 1) | below(word, 0x20);
    if special == 0 { None } else { Some(special.trailing_zeros() as usize / 8) }
}
