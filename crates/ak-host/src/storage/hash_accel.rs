//! Computes SHA-256 and CRC-32C for the log with the processor's own instructions.

use ak_audit::HashEngine;

/// Returns the hash engine of this machine, which uses the processor's instructions where they exist and portable code
/// otherwise.
#[must_use]
pub fn engine() -> HashEngine {
    HashEngine {
        compress_two: best_compress_two(),
        crc32c: |[first, second]| append(append(0, first), second),
    }
}

fn append(crc: u32, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc, bytes)
}

fn best_compress_two() -> fn(&mut [[u32; 8]; 2], [&[ak_audit::Block]; 2]) {
    #[cfg(target_arch = "x86_64")]
    if sha_ni::present() {
        return sha_ni::compress_two;
    }
    HashEngine::PORTABLE.compress_two
}

/// Hashes two messages in parallel: one message alone waits four cycles for each `sha256rnds2`, in which the processor
/// can do two.
#[cfg(target_arch = "x86_64")]
#[allow(
    unsafe_code,
    reason = "the instructions are there only where they were found, and loads take pointers"
)]
mod sha_ni {
    use core::arch::x86_64::{
        __m128i, _mm_add_epi32, _mm_alignr_epi8, _mm_blend_epi16, _mm_loadu_si128, _mm_set_epi64x,
        _mm_sha256msg1_epu32, _mm_sha256msg2_epu32, _mm_sha256rnds2_epu32, _mm_shuffle_epi8,
        _mm_shuffle_epi32, _mm_storeu_si128,
    };

    use ak_audit::Block;

    /// The constants of SHA-256 (FIPS 180-4 §4.2.2).
    #[rustfmt::skip]
    static K: [[u32; 4]; 16] = [
        [0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5], [0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5],
        [0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3], [0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174],
        [0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc], [0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da],
        [0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7], [0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967],
        [0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13], [0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85],
        [0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3], [0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070],
        [0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5], [0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3],
        [0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208], [0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2],
    ];

    pub(super) fn present() -> bool {
        is_x86_feature_detected!("sha") && is_x86_feature_detected!("sse4.1")
    }

    pub(super) fn compress_two(states: &mut [[u32; 8]; 2], blocks: [&[Block]; 2]) {
        debug_assert!(present());
        // SAFETY: callers get this function only after `present` found the instructions that `lanes` is compiled for.
        unsafe { lanes(states, blocks) }
    }

    /// Loads one state in the layout of the instructions: words a, b, e, f and c, d, g, h.
    #[target_feature(enable = "sha,sse4.1")]
    fn load_state(state: &[u32; 8]) -> [__m128i; 2] {
        let half: *const __m128i = state.as_ptr().cast();
        // SAFETY: eight words are two vectors, and the loads need no alignment.
        let (dcba, hgfe) = unsafe { (_mm_loadu_si128(half), _mm_loadu_si128(half.add(1))) };
        let (cdab, efgh) = (_mm_shuffle_epi32(dcba, 0xb1), _mm_shuffle_epi32(hgfe, 0x1b));
        [_mm_alignr_epi8(cdab, efgh, 8), _mm_blend_epi16(efgh, cdab, 0xf0)]
    }

    #[target_feature(enable = "sha,sse4.1")]
    fn store_state(state: &mut [u32; 8], [abef, cdgh]: [__m128i; 2]) {
        let (feba, dchg) = (_mm_shuffle_epi32(abef, 0x1b), _mm_shuffle_epi32(cdgh, 0xb1));
        let half: *mut __m128i = state.as_mut_ptr().cast();
        // SAFETY: eight words are two vectors, and the stores need no alignment.
        unsafe {
            _mm_storeu_si128(half, _mm_blend_epi16(feba, dchg, 0xf0));
            _mm_storeu_si128(half.add(1), _mm_alignr_epi8(dchg, feba, 8));
        }
    }

    #[inline]
    #[target_feature(enable = "sha,sse4.1")]
    fn load_block(block: &Block) -> [__m128i; 4] {
        let big_endian = _mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203);
        let quarter: *const __m128i = block.as_ptr().cast();
        // SAFETY: 64 bytes are four vectors, and the loads need no alignment.
        core::array::from_fn(|index| unsafe {
            _mm_shuffle_epi8(_mm_loadu_si128(quarter.add(index)), big_endian)
        })
    }

    #[target_feature(enable = "sha,sse4.1")]
    fn lanes(states: &mut [[u32; 8]; 2], [left, right]: [&[Block]; 2]) {
        let [first, second] = states;
        let (mut a, mut b) = (load_state(first), load_state(second));
        for (left, right) in left.iter().zip(right) {
            let (before_a, before_b) = (a, b);
            let (mut words_a, mut words_b) = (load_block(left), load_block(right));
            let (start, rest) = K.split_at(4);
            for ((k, newest_a), newest_b) in start.iter().zip(words_a).zip(words_b) {
                (a, b) = rounds(k, a, b, newest_a, newest_b);
            }
            for k in rest {
                (words_a, words_b) = (schedule(words_a), schedule(words_b));
                let ([.., newest_a], [.., newest_b]) = (words_a, words_b);
                (a, b) = rounds(k, a, b, newest_a, newest_b);
            }
            a = [_mm_add_epi32(a[0], before_a[0]), _mm_add_epi32(a[1], before_a[1])];
            b = [_mm_add_epi32(b[0], before_b[0]), _mm_add_epi32(b[1], before_b[1])];
        }
        store_state(first, a);
        store_state(second, b);
    }

    /// Computes four rounds of both messages.
    #[inline]
    #[target_feature(enable = "sha,sse4.1")]
    fn rounds(
        k: &[u32; 4],
        [abef_a, cdgh_a]: [__m128i; 2],
        [abef_b, cdgh_b]: [__m128i; 2],
        words_a: __m128i,
        words_b: __m128i,
    ) -> ([__m128i; 2], [__m128i; 2]) {
        // SAFETY: four words are one vector, and the load needs no alignment.
        let k = unsafe { _mm_loadu_si128(k.as_ptr().cast()) };
        let (a, b) = (_mm_add_epi32(words_a, k), _mm_add_epi32(words_b, k));
        let (cdgh_a, cdgh_b) =
            (_mm_sha256rnds2_epu32(cdgh_a, abef_a, a), _mm_sha256rnds2_epu32(cdgh_b, abef_b, b));
        let (a, b) = (_mm_shuffle_epi32(a, 0x0e), _mm_shuffle_epi32(b, 0x0e));
        let (abef_a, abef_b) =
            (_mm_sha256rnds2_epu32(abef_a, cdgh_a, a), _mm_sha256rnds2_epu32(abef_b, cdgh_b, b));
        ([abef_a, cdgh_a], [abef_b, cdgh_b])
    }

    /// Advances the last 16 words of the message schedule by four.
    #[inline]
    #[target_feature(enable = "sha,sse4.1")]
    fn schedule([w0, w1, w2, w3]: [__m128i; 4]) -> [__m128i; 4] {
        let sum = _mm_add_epi32(_mm_sha256msg1_epu32(w0, w1), _mm_alignr_epi8(w3, w2, 4));
        [w1, w2, w3, _mm_sha256msg2_epu32(sum, w3)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns pseudo-random numbers (SplitMix64).
    fn random(seed: &mut u64) -> u64 {
        *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (*seed ^ (*seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    #[test]
    fn the_engine_computes_what_the_portable_one_does() {
        let ours = engine();
        let seed = &mut 1;
        for round in 0..2000 {
            let count = round % 9;
            let mut block = || core::array::from_fn(|_| random(seed) as u8);
            let (left, right): (Vec<_>, Vec<_>) = (0..count).map(|_| (block(), block())).unzip();
            let states: [[u32; 8]; 2] =
                core::array::from_fn(|_| core::array::from_fn(|_| random(seed) as u32));
            let (mut found, mut expected) = (states, states);
            (ours.compress_two)(&mut found, [&left, &right]);
            (HashEngine::PORTABLE.compress_two)(&mut expected, [&left, &right]);
            assert_eq!(found, expected, "{count} blocks");
            let (first, second) = (left.as_flattened(), right.as_flattened());
            let cut = random(seed) as usize % (first.len() + 1);
            let parts = [&first[..cut], &second[cut / 2..]];
            assert_eq!((ours.crc32c)(parts), (HashEngine::PORTABLE.crc32c)(parts), "{parts:?}");
        }
        assert_eq!((ours.crc32c)([b"1234", b"56789"]), 0xe306_9283, "the check value of RFC 3720");
    }
}
