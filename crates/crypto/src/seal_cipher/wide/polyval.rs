//! POLYVAL (RFC 8452 section 3), four blocks at once, and the tag that is made of it.
//!
//! POLYVAL's product of a and b (`dot`, RFC 8452 section 3) is a * b * x^-128. With the halves `a = a1:a0` and, for `b = b1:b0`, the
//! precomputed `d = b0:b1 + b0 * p`, where p = x^63 + x^62 + x^57, it is `r + f0:f1 + f0 * p` of
//! r = a0 * d1 + a1 * b1 and f = a0 * d0 + a1 * b0: "Efficient GHASH Implementation Using CLMUL", IACR ePrint 2025/2171,
//! Lemma 3. Sums of r and f are reduced once for four products.

#[allow(clippy::wildcard_imports, reason = "the names say where they are from")]
use std::arch::x86_64::*;

use zeroize::Zeroize;

use super::blocks::{
    BLOCK_BYTES, RoundKeys, VECTOR_BYTES, VECTORS, encrypt, lanes, load, load_all, load_block, store_block, xor,
};
use crate::aead::{NONCE_BYTES, TAG_BYTES};

/// x^63 + x^62 + x^57.
const P: i64 = 0xc200_0000_0000_0000_u64.cast_signed();

/// POLYVAL (RFC 8452 section 3). Block i of a message goes to lane i modulo 4: each lane is a polynomial in H^4, and they are
/// brought together at the end.
pub(super) struct Hash<'k> {
    powers: &'k Powers,
    lanes: __m512i,
}

impl<'k> Hash<'k> {
    /// Begins with the associated data, at most four blocks of it, in the last lanes: zero blocks before them change
    /// nothing.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq")]
    pub(super) fn begin(powers: &'k Powers, aad: &[u8]) -> Self {
        let mut vector = [0; VECTOR_BYTES];
        let start = VECTOR_BYTES - aad.len().next_multiple_of(BLOCK_BYTES);
        for (to, from) in vector.iter_mut().skip(start).zip(aad) {
            *to = *from;
        }
        let lanes = load(&vector);
        Self { powers, lanes }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq")]
    pub(super) fn absorb_vectors(&mut self, vectors: &[__m512i; VECTORS]) {
        let Powers([_, _, h4, h8, h12, h16]) = self.powers;
        for &[a, b, c, d] in vectors.as_chunks().0 {
            let products = [
                multiply(self.lanes, h16),
                multiply(a, h12),
                multiply(b, h8),
                multiply(c, h4),
            ];
            self.lanes = _mm512_xor_si512(reduce(products), d);
        }
    }

    /// Takes all whole vectors of `bytes` and returns the rest.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq")]
    pub(super) fn absorb<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let (chunks, rest) = bytes.as_chunks();
        for chunk in chunks {
            self.absorb_vectors(&load_all(chunk));
        }
        let Powers([_, _, h4, ..]) = self.powers;
        let (vectors, rest) = rest.as_chunks();
        for vector in vectors {
            self.lanes = _mm512_xor_si512(reduce([multiply(self.lanes, h4)]), load(vector));
        }
        rest
    }

    /// The tag, after `rest` of the message and the block of lengths.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq")]
    pub(super) fn tag(
        self,
        round_keys: &RoundKeys,
        nonce: &[u8; NONCE_BYTES],
        lengths: [usize; 2],
        rest: &[u8],
    ) -> [u8; TAG_BYTES] {
        let Powers([by_lane, h1, ..]) = self.powers;
        let [a, b, c, d] = lanes(reduce([multiply(self.lanes, by_lane)]));
        let mut sum = _mm_xor_si128(_mm_xor_si128(a, b), _mm_xor_si128(c, d));
        let mut take = |block: __m128i| {
            let product = reduce([multiply(_mm512_zextsi128_si512(_mm_xor_si128(sum, block)), h1)]);
            sum = _mm512_castsi512_si128(product);
        };
        for bytes in rest.chunks(BLOCK_BYTES) {
            let mut block = [0; BLOCK_BYTES];
            block.split_at_mut(bytes.len()).0.copy_from_slice(bytes);
            take(load_block(&block));
        }
        let [aad_bits, message_bits] = lengths.map(|bytes| (bytes as u64 * 8).cast_signed());
        take(_mm_set_epi64x(message_bits, aad_bits));
        let mut block = [0; BLOCK_BYTES];
        block.split_at_mut(NONCE_BYTES).0.copy_from_slice(nonce);
        let masked = _mm_and_si128(_mm_xor_si128(sum, load_block(&block)), _mm_set_epi64x(i64::MAX, -1));
        let [tag] = encrypt(round_keys, [_mm512_zextsi128_si512(masked)]);
        store_block(_mm512_castsi512_si128(tag))
    }
}

/// Powers of the authentication key: first H^4, H^3, H^2 and H in one, by lane, then H, H^4, H^8, H^12 and H^16 in each lane.
pub(super) struct Powers([Factor; 6]);

impl Powers {
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq")]
    pub(super) fn of(key: __m128i) -> Self {
        let h = Factor::new(_mm512_broadcast_i32x4(key));
        let h2 = h.times(&h);
        let h3 = h2.times(&h);
        let h4 = h2.times(&h2);
        let h8 = h4.times(&h4);
        let by_lane = _mm512_inserti32x4::<1>(h4.b, _mm512_castsi512_si128(h3.b));
        let by_lane = _mm512_inserti32x4::<2>(by_lane, _mm512_castsi512_si128(h2.b));
        let by_lane = Factor::new(_mm512_inserti32x4::<3>(by_lane, key));
        Self([by_lane, h, h4, h8, h8.times(&h4), h8.times(&h8)])
    }

    pub(super) fn wipe(&mut self) {
        for factor in &mut self.0 {
            factor.b.zeroize();
            factor.d.zeroize();
        }
    }
}

/// The second factor of four products: b, and d of it.
#[derive(Clone, Copy)]
struct Factor {
    b: __m512i,
    d: __m512i,
}

impl Factor {
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq")]
    fn new(b: __m512i) -> Self {
        let b0_p = _mm512_clmulepi64_epi128::<0x00>(b, _mm512_set1_epi64(P));
        let d = _mm512_xor_si512(swap_halves(b), b0_p);
        Self { b, d }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq")]
    fn times(&self, other: &Self) -> Self {
        Self::new(reduce([multiply(self.b, other)]))
    }
}

/// r and f of four products.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq")]
#[inline]
fn multiply(a: __m512i, factor: &Factor) -> [__m512i; 2] {
    let &Factor { b, d } = factor;
    let r = _mm512_xor_si512(
        _mm512_clmulepi64_epi128::<0x10>(a, d),
        _mm512_clmulepi64_epi128::<0x11>(a, b),
    );
    let f = _mm512_xor_si512(
        _mm512_clmulepi64_epi128::<0x00>(a, d),
        _mm512_clmulepi64_epi128::<0x01>(a, b),
    );
    [r, f]
}

/// The sum of products, lane by lane.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq")]
#[inline]
fn reduce<const N: usize>(products: [[__m512i; 2]; N]) -> __m512i {
    let mut sum = [_mm512_setzero_si512(); 2];
    for product in products {
        sum = xor(sum, product);
    }
    let [r, f] = sum;
    let f0_p = _mm512_clmulepi64_epi128::<0x00>(f, _mm512_set1_epi64(P));
    _mm512_xor_si512(_mm512_xor_si512(r, swap_halves(f)), f0_p)
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq")]
#[inline]
fn swap_halves(blocks: __m512i) -> __m512i {
    _mm512_shuffle_epi32::<0b01_00_11_10>(blocks)
}
