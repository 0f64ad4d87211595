//! SHA-256's compression function (FIPS 180-4 section 6.2), two at once, with the processor's own instructions for it: two rounds take
//! four cycles until their result is there, in which the unit can begin another two.

#![allow(
    unsafe_code,
    reason = "instructions that the processor was asked for, and loads and stores of whole arrays"
)]

#[allow(clippy::wildcard_imports, reason = "the names say where they are from")]
use std::arch::x86_64::*;

use super::States;

/// Messages that are hashed at once.
pub(super) const LANES: usize = 2;
pub(super) const BLOCK_BYTES: usize = 64;
pub(super) const DIGEST_BYTES: usize = 32;

/// FIPS 180-4 section 4.2.2, four rounds a row.
const CONSTANTS: [[u32; 4]; 16] = [
    [0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5],
    [0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5],
    [0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3],
    [0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174],
    [0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc],
    [0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da],
    [0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7],
    [0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967],
    [0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13],
    [0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85],
    [0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3],
    [0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070],
    [0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5],
    [0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3],
    [0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208],
    [0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2],
];

/// A processor that has the instructions. Whoever holds one may call what needs them.
#[derive(Clone, Copy)]
pub(in crate::sqlcipher) struct Processor(());

impl Processor {
    /// `None` on a processor that lacks one of them.
    pub(super) fn detect() -> Option<Self> {
        let has_all =
            is_x86_feature_detected!("sha") && is_x86_feature_detected!("sse4.1") && is_x86_feature_detected!("ssse3");
        has_all.then_some(Self(()))
    }
}

/// Two states.
pub(super) struct Two {
    words: [[u32; 8]; LANES],
    processor: Processor,
}

impl Two {
    /// The same state for both messages.
    pub(super) const fn broadcast(processor: Processor, words: &[u32; 8]) -> Self {
        Self {
            words: [*words; LANES],
            processor,
        }
    }
}

impl States<LANES, BLOCK_BYTES, DIGEST_BYTES> for Two {
    fn compress(&mut self, blocks: [&[u8; BLOCK_BYTES]; LANES]) {
        let Processor(()) = self.processor;
        // SAFETY: a `Processor` exists only where the instructions do.
        unsafe { compress(&mut self.words, blocks) };
    }

    fn digests(&self) -> [[u8; DIGEST_BYTES]; LANES] {
        self.words.map(|words| {
            let mut digest = [0; DIGEST_BYTES];
            for (bytes, word) in digest.as_chunks_mut().0.iter_mut().zip(words) {
                *bytes = word.to_be_bytes();
            }
            digest
        })
    }
}

/// The states as the instructions have them: the words a, b, e, f in one register and c, d, g, h in the other, the first one highest.
#[target_feature(enable = "sha,sse4.1,ssse3")]
#[allow(clippy::many_single_char_names, reason = "the names of FIPS 180-4")]
fn compress(states: &mut [[u32; 8]; LANES], blocks: [&[u8; BLOCK_BYTES]; LANES]) {
    let before = states.map(|[a, b, c, d, e, f, g, h]| {
        let [abef, cdgh] = [[a, b, e, f], [c, d, g, h]];
        [abef, cdgh]
            .map(|[w, x, y, z]| _mm_set_epi32(w.cast_signed(), x.cast_signed(), y.cast_signed(), z.cast_signed()))
    });
    let mut working = before;
    let mut schedules = blocks.map(|block| schedule_of(block));
    for (group, [k0, k1, k2, k3]) in CONSTANTS.iter().enumerate() {
        let constants = _mm_set_epi32(k3.cast_signed(), k2.cast_signed(), k1.cast_signed(), k0.cast_signed());
        for ([abef, cdgh], schedule) in working.iter_mut().zip(&mut schedules) {
            let [w0, w1, w2, w3] = *schedule;
            let sum = _mm_add_epi32(w0, constants);
            *cdgh = _mm_sha256rnds2_epu32(*cdgh, *abef, sum);
            *abef = _mm_sha256rnds2_epu32(*abef, *cdgh, _mm_shuffle_epi32::<0x0e>(sum));
            // The words of four rounds leave; those of the fourth group from here come, while there is one.
            let next = if group < 12 { next_words(*schedule) } else { w0 };
            *schedule = [w1, w2, w3, next];
        }
    }
    for ((state, before), after) in states.iter_mut().zip(before).zip(working) {
        let ([abef, cdgh], [abef_after, cdgh_after]) = (before, after);
        let [[f, e, b, a], [h, g, d, c]] = [[abef, abef_after], [cdgh, cdgh_after]].map(|[before, after]| {
            let sum = _mm_add_epi32(before, after);
            let mut words = [0_u32; 4];
            // SAFETY: `words` is 16 bytes that may be written; the instruction asks for no alignment.
            unsafe { _mm_storeu_si128(words.as_mut_ptr().cast(), sum) };
            words
        });
        *state = [a, b, c, d, e, f, g, h];
    }
}

/// The first sixteen words of the message schedule, four in a register.
#[target_feature(enable = "sha,sse4.1,ssse3")]
fn schedule_of(block: &[u8; BLOCK_BYTES]) -> [__m128i; 4] {
    let order = _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3);
    let mut words = [_mm_setzero_si128(); 4];
    for (words, bytes) in words.iter_mut().zip(block.as_chunks::<16>().0) {
        // SAFETY: `bytes` is 16 bytes that may be read; the instruction asks for no alignment.
        *words = _mm_shuffle_epi8(unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }, order);
    }
    words
}

/// The four words that follow sixteen.
#[target_feature(enable = "sha,sse4.1,ssse3")]
#[inline]
fn next_words([w0, w1, w2, w3]: [__m128i; 4]) -> __m128i {
    let sum = _mm_add_epi32(_mm_sha256msg1_epu32(w0, w1), _mm_alignr_epi8::<4>(w3, w2));
    _mm_sha256msg2_epu32(sum, w3)
}
