//! Four blocks in a register: AES-256, and the way from and to memory.

#[allow(clippy::wildcard_imports, reason = "the names say where they are from")]
use std::arch::x86_64::*;

use crate::KEY_BYTES;

/// Round keys of AES-256 (FIPS 197).
pub(super) const ROUND_KEYS: usize = 15;
pub(super) const BLOCK_BYTES: usize = 16;
/// Four blocks: one register.
pub(super) const VECTOR_BYTES: usize = 64;
/// Registers that are encrypted together: enough to keep the units for AES busy while each waits for its rounds.
pub(super) const VECTORS: usize = 8;
pub(super) const CHUNK_BYTES: usize = VECTORS * VECTOR_BYTES;

/// Each round key four times.
pub(super) type RoundKeys = [__m512i; ROUND_KEYS];

/// AES-256 (FIPS 197) of every block.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq")]
#[inline]
pub(super) fn encrypt<const N: usize>(round_keys: &RoundKeys, mut blocks: [__m512i; N]) -> [__m512i; N] {
    let [first, rounds @ .., last] = round_keys;
    for block in &mut blocks {
        *block = _mm512_xor_si512(*block, *first);
    }
    for key in rounds {
        for block in &mut blocks {
            *block = _mm512_aesenc_epi128(*block, *key);
        }
    }
    for block in &mut blocks {
        *block = _mm512_aesenclast_epi128(*block, *last);
    }
    blocks
}

/// The key schedule of AES-256 (FIPS 197 section 5.2).
#[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq")]
pub(super) fn expand(low: __m128i, high: __m128i) -> [__m128i; ROUND_KEYS] {
    // The last word, in each column: all columns alike, so that AES's last round is SubWord and the round constant.
    let rotated = _mm_setr_epi8(13, 14, 15, 12, 13, 14, 15, 12, 13, 14, 15, 12, 13, 14, 15, 12);
    let next = |before: __m128i, substituted: __m128i| {
        let sums = _mm_xor_si128(before, _mm_slli_si128::<4>(before));
        let sums = _mm_xor_si128(sums, _mm_slli_si128::<8>(sums));
        _mm_xor_si128(sums, substituted)
    };
    let mut keys = [_mm_setzero_si128(); ROUND_KEYS];
    let (mut even, mut odd) = (low, high);
    let mut constant = 1;
    for pair in keys.chunks_mut(2) {
        for (to, key) in pair.iter_mut().zip([even, odd]) {
            *to = key;
        }
        even = next(
            even,
            _mm_aesenclast_si128(_mm_shuffle_epi8(odd, rotated), _mm_set1_epi32(constant)),
        );
        odd = next(
            odd,
            _mm_aesenclast_si128(_mm_shuffle_epi32::<0xff>(even), _mm_setzero_si128()),
        );
        constant <<= 1;
    }
    keys
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq")]
pub(super) fn expand_bytes(key: &[u8; KEY_BYTES]) -> [__m128i; ROUND_KEYS] {
    let (low, high) = key.split_at(BLOCK_BYTES);
    let half = |bytes: &[u8]| load_block(bytes.first_chunk().expect("a key is two blocks"));
    expand(half(low), half(high))
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq")]
pub(super) fn broadcast(keys: &[__m128i; ROUND_KEYS]) -> RoundKeys {
    let mut round_keys = [_mm512_setzero_si512(); ROUND_KEYS];
    for (to, key) in round_keys.iter_mut().zip(keys) {
        *to = _mm512_broadcast_i32x4(*key);
    }
    round_keys
}

/// A block four times, with 0 to 3 added to its first four bytes.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq")]
pub(super) fn count_up(block: __m128i) -> __m512i {
    let steps = _mm512_setr_epi32(0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0);
    _mm512_add_epi32(_mm512_broadcast_i32x4(block), steps)
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq")]
pub(super) fn lanes(blocks: __m512i) -> [__m128i; 4] {
    [
        _mm512_castsi512_si128(blocks),
        _mm512_extracti32x4_epi32::<1>(blocks),
        _mm512_extracti32x4_epi32::<2>(blocks),
        _mm512_extracti32x4_epi32::<3>(blocks),
    ]
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq")]
#[inline]
pub(super) fn xor<const N: usize>(left: [__m512i; N], right: [__m512i; N]) -> [__m512i; N] {
    let mut sums = left;
    for (sum, right) in sums.iter_mut().zip(right) {
        *sum = _mm512_xor_si512(*sum, right);
    }
    sums
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq")]
#[inline]
pub(super) fn load_all(bytes: &[u8; CHUNK_BYTES]) -> [__m512i; VECTORS] {
    let mut vectors = [_mm512_setzero_si512(); VECTORS];
    for (vector, bytes) in vectors.iter_mut().zip(bytes.as_chunks().0) {
        *vector = load(bytes);
    }
    vectors
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq")]
#[inline]
pub(super) fn store_all(vectors: &[__m512i; VECTORS], bytes: &mut [u8; CHUNK_BYTES]) {
    for (bytes, vector) in bytes.as_chunks_mut::<VECTOR_BYTES>().0.iter_mut().zip(vectors) {
        // SAFETY: `bytes` is 64 bytes that may be written; the instruction asks for no alignment.
        unsafe { _mm512_storeu_si512(bytes.as_mut_ptr().cast(), *vector) };
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq")]
#[inline]
pub(super) fn load(bytes: &[u8; VECTOR_BYTES]) -> __m512i {
    // SAFETY: `bytes` is 64 bytes that may be read; the instruction asks for no alignment.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq")]
#[inline]
pub(super) fn load_block(bytes: &[u8; BLOCK_BYTES]) -> __m128i {
    // SAFETY: `bytes` is 16 bytes that may be read; the instruction asks for no alignment.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq")]
#[inline]
pub(super) fn store_block(block: __m128i) -> [u8; BLOCK_BYTES] {
    let mut bytes = [0; BLOCK_BYTES];
    // SAFETY: `bytes` is 16 bytes that may be written; the instruction asks for no alignment.
    unsafe { _mm_storeu_si128(bytes.as_mut_ptr().cast(), block) };
    bytes
}
