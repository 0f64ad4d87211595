//! AES-256-GCM-SIV (RFC 8452) with instructions that encrypt or multiply four blocks at once: what pages cost is mostly
//! this. It computes what the crate `aes-gcm-siv` computes, which is used on every other processor and in the tests.

mod blocks;
mod keyed_hash;
mod polyval;

#[allow(clippy::wildcard_imports, reason = "the names say where they are from")]
use std::arch::x86_64::*;

use aes_gcm_siv::aead::consts::U512;
use aes_gcm_siv::aead::inout::InOutBuf;
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use self::blocks::{
    BLOCK_BYTES, CHUNK_BYTES, ROUND_KEYS, RoundKeys, VECTORS, broadcast, count_up, encrypt, expand, expand_bytes,
    lanes, load_all, load_block, store_all, xor,
};
pub(crate) use self::keyed_hash::KeyedHash;
use self::polyval::{Hash, Powers};
use crate::KEY_BYTES;
use crate::aead::{NONCE_BYTES, NotAuthentic, TAG_BYTES};

/// A processor that has the instructions. Whoever holds one may call what needs them.
#[derive(Clone, Copy)]
pub(crate) struct Processor(());

impl Processor {
    /// `None` on a processor that lacks one of them.
    pub(crate) fn detect() -> Option<Self> {
        let has_all = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("vaes")
            && is_x86_feature_detected!("vpclmulqdq");
        has_all.then_some(Self(()))
    }
}

/// The key schedule of a key-generating key (RFC 8452 section 4).
pub(super) struct Wide {
    round_keys: [__m128i; ROUND_KEYS],
    processor: Processor,
}

impl Wide {
    pub(super) fn new(processor: Processor, key: &[u8; KEY_BYTES]) -> Self {
        // SAFETY: a `Processor` exists only where the instructions do.
        let round_keys = unsafe { expand_bytes(key) };
        Self { round_keys, processor }
    }

    /// Seals `buffer`; `aad` has at most 64 bytes.
    pub(super) fn seal(&self, nonce: &[u8; NONCE_BYTES], aad: &[u8], buffer: InOutBuf<'_, '_, u8>) -> [u8; TAG_BYTES] {
        let Processor(()) = self.processor;
        // SAFETY: a `Processor` exists only where the instructions do.
        unsafe { seal(&self.round_keys, nonce, aad, buffer) }
    }

    /// Opens `buffer`, or leaves the ciphertext in it; `aad` has at most 64 bytes.
    pub(super) fn open(
        &self,
        nonce: &[u8; NONCE_BYTES],
        aad: &[u8],
        buffer: &mut [u8],
        tag: &[u8; TAG_BYTES],
    ) -> Result<(), NotAuthentic> {
        let Processor(()) = self.processor;
        // SAFETY: a `Processor` exists only where the instructions do.
        unsafe { open(&self.round_keys, nonce, aad, buffer, tag) }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq")]
fn seal(
    generating: &[__m128i; ROUND_KEYS],
    nonce: &[u8; NONCE_BYTES],
    aad: &[u8],
    buffer: InOutBuf<'_, '_, u8>,
) -> [u8; TAG_BYTES] {
    let mut keys = MessageKeys::derive(generating, nonce);
    let mut hash = Hash::begin(&keys.powers, aad);
    let rest = hash.absorb(buffer.get_in());
    let tag = hash.tag(&keys.round_keys, nonce, [aad.len(), buffer.len()], rest);
    Keystream::begin(&tag).apply(&keys.round_keys, buffer);
    keys.wipe();
    tag
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq")]
fn open(
    generating: &[__m128i; ROUND_KEYS],
    nonce: &[u8; NONCE_BYTES],
    aad: &[u8],
    buffer: &mut [u8],
    tag: &[u8; TAG_BYTES],
) -> Result<(), NotAuthentic> {
    let mut keys = MessageKeys::derive(generating, nonce);
    let mut hash = Hash::begin(&keys.powers, aad);
    let lengths = [aad.len(), buffer.len()];
    let mut keystream = Keystream::begin(tag);
    let (chunks, rest) = buffer.as_chunks_mut();
    for chunk in chunks {
        let opened = xor(load_all(chunk), keystream.next(&keys.round_keys));
        store_all(&opened, chunk);
        hash.absorb_vectors(&opened);
    }
    keystream.apply_last(&keys.round_keys, (&mut *rest).into());
    let rest = hash.absorb(rest);
    let expected = hash.tag(&keys.round_keys, nonce, lengths, rest);
    let is_authentic = bool::from(expected.ct_eq(tag));
    if !is_authentic {
        // Nobody sees what was not vouched for.
        Keystream::begin(tag).apply(&keys.round_keys, buffer.into());
    }
    keys.wipe();
    if is_authentic { Ok(()) } else { Err(NotAuthentic) }
}

/// What RFC 8452 section 4 derives for one nonce.
struct MessageKeys {
    round_keys: RoundKeys,
    powers: Powers,
}

impl MessageKeys {
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq")]
    fn derive(generating: &[__m128i; ROUND_KEYS], nonce: &[u8; NONCE_BYTES]) -> Self {
        let mut block = [0; BLOCK_BYTES];
        block.split_at_mut(BLOCK_BYTES - NONCE_BYTES).1.copy_from_slice(nonce);
        let first = count_up(load_block(&block));
        let second = _mm512_add_epi32(first, _mm512_broadcast_i32x4(_mm_setr_epi32(4, 0, 0, 0)));
        let [first, second] = encrypt(&broadcast(generating), [first, second]);
        let [b0, b1, b2, b3] = lanes(first);
        let [b4, b5, _, _] = lanes(second);
        let mut encryption = expand(_mm_unpacklo_epi64(b2, b3), _mm_unpacklo_epi64(b4, b5));
        let keys = Self {
            round_keys: broadcast(&encryption),
            powers: Powers::of(_mm_unpacklo_epi64(b0, b1)),
        };
        encryption.zeroize();
        keys
    }

    fn wipe(&mut self) {
        self.round_keys.zeroize();
        self.powers.wipe();
    }
}

/// The key stream of RFC 8452 section 4: AES of a counter in the first four bytes of a block, which wraps.
struct Keystream(__m512i);

impl Keystream {
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq")]
    fn begin(tag: &[u8; TAG_BYTES]) -> Self {
        let mut counter = *tag;
        let [.., last] = &mut counter;
        *last |= 0x80;
        Self(count_up(load_block(&counter)))
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq")]
    fn apply(mut self, round_keys: &RoundKeys, buffer: InOutBuf<'_, '_, u8>) {
        let (chunks, rest) = buffer.into_chunks::<U512>();
        for mut chunk in chunks {
            let bytes = load_all(chunk.get_in().as_ref());
            store_all(&xor(bytes, self.next(round_keys)), chunk.get_out().as_mut());
        }
        self.apply_last(round_keys, rest);
    }

    /// The last bytes of a message, fewer than [`Self::next`] gives.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq")]
    fn apply_last(&mut self, round_keys: &RoundKeys, mut rest: InOutBuf<'_, '_, u8>) {
        if rest.is_empty() {
            return;
        }
        let mut stream = [0; CHUNK_BYTES];
        store_all(&self.next(round_keys), &mut stream);
        rest.xor_in2out(stream.split_at(rest.len()).0);
        stream.zeroize();
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq")]
    fn next(&mut self, round_keys: &RoundKeys) -> [__m512i; VECTORS] {
        let four = _mm512_broadcast_i32x4(_mm_setr_epi32(4, 0, 0, 0));
        let mut counters = [self.0; VECTORS];
        for counter in &mut counters {
            *counter = self.0;
            self.0 = _mm512_add_epi32(self.0, four);
        }
        encrypt(round_keys, counters)
    }
}

#[cfg(test)]
mod tests {
    use aes::Aes256;
    use aes::cipher::{BlockCipherEncrypt, KeyInit};

    use super::*;

    /// No message whose counter wraps within its blocks can be made without breaking the cipher: RFC 8452 appendix C.3 has
    /// two of two blocks.
    #[test]
    fn the_counter_of_the_key_stream_wraps_without_a_carry() {
        let Some(processor) = Processor::detect() else { return };
        let key = [7; KEY_BYTES];
        let aes = Aes256::new(&key.into());
        let wide = Wide::new(processor, &key);
        for before_wrap in 0..70_u32 {
            let mut tag = [0x5a; TAG_BYTES];
            tag[..4].copy_from_slice(&(u32::MAX - before_wrap).to_le_bytes());
            let mut stream = [0; 1300];
            // SAFETY: a `Processor` exists only where the instructions do.
            unsafe { Keystream::begin(&tag).apply(&broadcast(&wide.round_keys), (&mut stream[..]).into()) };
            for (step, bytes) in (0..).zip(stream.chunks(BLOCK_BYTES)) {
                let mut block = tag;
                block[15] |= 0x80;
                block[..4].copy_from_slice(&(u32::MAX - before_wrap).wrapping_add(step).to_le_bytes());
                let mut block = block.into();
                aes.encrypt_block(&mut block);
                assert_eq!(
                    bytes,
                    &block[..bytes.len()],
                    "{step} blocks from {before_wrap} before the wrap"
                );
            }
        }
    }
}
