//! The tag of RFC 8452 section 4 under keys that stay, four blocks at once.

use std::arch::x86_64::__m128i;

use super::blocks::{BLOCK_BYTES, ROUND_KEYS, broadcast, expand_bytes, load_block};
use super::polyval::{Hash, Powers};
use super::{KEY_BYTES, NONCE_BYTES, Processor, TAG_BYTES};

/// Powers of the hash's key and the schedule of the cipher's. Whoever owns it keeps it in memory that is wiped.
pub(crate) struct KeyedHash {
    powers: Powers,
    round_keys: [__m128i; ROUND_KEYS],
    processor: Processor,
}

impl KeyedHash {
    pub(crate) fn new(processor: Processor, point: &[u8; BLOCK_BYTES], key: &[u8; KEY_BYTES]) -> Self {
        // SAFETY: a `Processor` exists only where the instructions do.
        let (powers, round_keys) = unsafe { (powers_of(point), expand_bytes(key)) };
        Self {
            powers,
            round_keys,
            processor,
        }
    }

    /// The tag of `aad`, at most 64 bytes, and `message`.
    pub(crate) fn tag(&self, aad: &[u8], message: &[u8]) -> [u8; TAG_BYTES] {
        let Processor(()) = self.processor;
        // SAFETY: a `Processor` exists only where the instructions do.
        unsafe { tag(&self.powers, &self.round_keys, aad, message) }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq")]
fn powers_of(point: &[u8; BLOCK_BYTES]) -> Powers {
    Powers::of(load_block(point))
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq")]
fn tag(powers: &Powers, round_keys: &[__m128i; ROUND_KEYS], aad: &[u8], message: &[u8]) -> [u8; TAG_BYTES] {
    let mut hash = Hash::begin(powers, aad);
    let rest = hash.absorb(message);
    hash.tag(
        &broadcast(round_keys),
        &[0; NONCE_BYTES],
        [aad.len(), message.len()],
        rest,
    )
}
