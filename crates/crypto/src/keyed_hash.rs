//! A keyed hash that tells whether bytes are those that were seen before, at a fortieth of what HMAC-SHA512 takes of a page.
//!
//! Its tags are those of AES-GCM-SIV (RFC 8452 section 4) with a zero nonce, of bytes that are all associated data and
//! plaintext, under a POLYVAL key H and an AES key K that are fresh from the operating system for each hash:
//!
//! ```text
//! tag(aad, message) = AES-256(K, POLYVAL(H, pad(aad) || pad(message) || lengths in bits) with its top bit cleared)
//! ```
//!
//! For two different inputs of at most n blocks, lengths included, the POLYVALs differ in a polynomial in H of degree at most n
//! that is not zero, and so are equal for at most n of the 2^128 H (Carter and Wegman, "Universal classes of hash functions",
//! 1979; for this polynomial IACR ePrint 2004/193); without the top bit, for at most twice as many. AES is a
//! permutation: it makes no two of them equal, and keeps tags from telling anything of H but which inputs are the same.
//! So whoever does not know H has, with each input that they choose, a chance of at most 2n / 2^128 that its tag
//! is a certain other's; for a page of 4 KiB, 258 blocks, that is less than 2^-118. To have failed q times rules out no more than
//! q times as many H.

use aes::Aes256;
use aes::cipher::{BlockCipherEncrypt, KeyInit};
use polyval::Polyval;
use polyval::universal_hash::UniversalHash;

use crate::aead::TAG_BYTES;
use crate::sqlcipher::BLOCK_BYTES;
use crate::{KEY_BYTES, LockedBox, LockedBytes, random};

/// What a hash says of its input.
pub(crate) type Tag = [u8; TAG_BYTES];

/// The longest associated data.
const AAD_BYTES: usize = 64;
const SECRET_BYTES: usize = BLOCK_BYTES + KEY_BYTES;

/// A hash whose secret nobody has seen, in locked memory.
pub(crate) struct KeyedHash(LockedBox<Schedule>);

/// Both compute the same.
#[allow(
    clippy::large_enum_variant,
    reason = "either lies in locked memory whole, never in a box of its own"
)]
enum Schedule {
    #[cfg(target_arch = "x86_64")]
    Wide(crate::seal_cipher::wide::KeyedHash),
    Portable(Portable),
}

impl KeyedHash {
    /// With a fresh secret; `None` on a processor that has no carry-less multiplication, where POLYVAL is slower than what it would
    /// save, and if the operating system gives no randomness.
    pub(crate) fn fresh() -> Option<Self> {
        if !multiplies_without_carry() {
            return None;
        }
        let mut secret = LockedBytes::<SECRET_BYTES>::zeroed();
        random::fill(secret.expose_secret_mut()).ok()?;
        Some(Self::new(secret.expose_secret()))
    }

    fn new(secret: &[u8; SECRET_BYTES]) -> Self {
        #[cfg(target_arch = "x86_64")]
        if let Some(processor) = crate::seal_cipher::wide::Processor::detect() {
            let (point, key) = halves(secret);
            let wide = crate::seal_cipher::wide::KeyedHash::new(processor, point, key);
            return Self(LockedBox::new(Schedule::Wide(wide)));
        }
        Self(LockedBox::new(Schedule::Portable(Portable::new(secret))))
    }

    /// The tag of `message` beside `aad`, which is at most 64 bytes.
    pub(crate) fn tag(&self, aad: &[u8], message: &[u8]) -> Tag {
        assert!(aad.len() <= AAD_BYTES, "callers pass the place of a page");
        match &*self.0 {
            #[cfg(target_arch = "x86_64")]
            Schedule::Wide(wide) => wide.tag(aad, message),
            Schedule::Portable(portable) => portable.tag(aad, message),
        }
    }
}

struct Portable {
    polyval: Polyval,
    aes: Aes256,
}

assert_wipes_itself!(Aes256);

impl Portable {
    fn new(secret: &[u8; SECRET_BYTES]) -> Self {
        let (point, key) = halves(secret);
        Self {
            polyval: Polyval::new(point.into()),
            aes: Aes256::new(key.into()),
        }
    }

    fn tag(&self, aad: &[u8], message: &[u8]) -> Tag {
        let mut polyval = self.polyval.clone();
        polyval.update_padded(aad);
        polyval.update_padded(message);
        let [aad_bits, message_bits] = [aad, message].map(|part| 8 * part.len() as u64);
        polyval.update_padded(&(u128::from(message_bits) << 64 | u128::from(aad_bits)).to_le_bytes());
        let hash = u128::from_le_bytes(polyval.finalize().into()) & (u128::MAX >> 1);
        let mut block = hash.to_le_bytes().into();
        self.aes.encrypt_block(&mut block);
        block.into()
    }
}

fn halves(secret: &[u8; SECRET_BYTES]) -> (&[u8; BLOCK_BYTES], &[u8; KEY_BYTES]) {
    let (point, key) = secret.split_first_chunk().expect("a secret is longer than a block");
    (point, key.first_chunk().expect("and a key is the rest"))
}

/// Whether the crate `polyval` finds the instruction that makes it fast.
fn multiplies_without_carry() -> bool {
    #[cfg(target_arch = "x86_64")]
    return is_x86_feature_detected!("pclmulqdq");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("pmull");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SealCipher;

    /// What RFC 8452 section 4 derives for a zero nonce.
    fn secret_of(key: &[u8; KEY_BYTES]) -> [u8; SECRET_BYTES] {
        let aes = Aes256::new(key.into());
        let mut secret = [0; SECRET_BYTES];
        for (counter, half) in (0..6_u8).zip(secret.chunks_exact_mut(8)) {
            let mut block = [0; BLOCK_BYTES];
            block[0] = counter;
            let mut block = block.into();
            aes.encrypt_block(&mut block);
            half.copy_from_slice(&block[..8]);
        }
        secret
    }

    #[test]
    fn a_tag_is_that_of_aes_gcm_siv_at_every_length_around_a_chunk_and_a_page() {
        for length in (0..600).chain(4000..4110) {
            let (mut key, mut message, mut aad) = (LockedBytes::zeroed(), vec![0; length], vec![0; length % 65]);
            random::fill(key.expose_secret_mut()).expect("randomness");
            random::fill(&mut message).expect("randomness");
            random::fill(&mut aad).expect("randomness");
            let expected = SealCipher::new(&key).seal(&[0; 12], &aad, &message, &mut vec![0; length]);
            let secret = secret_of(key.expose_secret());
            assert_eq!(KeyedHash::new(&secret).tag(&aad, &message), expected, "{length} bytes");
            assert_eq!(Portable::new(&secret).tag(&aad, &message), expected, "{length} bytes");
        }
    }

    #[test]
    fn no_two_hashes_have_one_secret() {
        let [Some(first), Some(second)] = [KeyedHash::fresh(), KeyedHash::fresh()] else {
            assert!(!multiplies_without_carry());
            return;
        };
        assert_ne!(first.tag(b"", b"page"), second.tag(b"", b"page"));
    }
}
