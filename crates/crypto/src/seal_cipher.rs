//! AES-256-GCM-SIV (RFC 8452) under one key whose schedule is prepared once: for what is sealed and opened by the million.

use aes_gcm_siv::aead::inout::InOutBuf;
use aes_gcm_siv::{AeadInOut, Aes256GcmSiv, KeyInit, Nonce, Tag};

use crate::aead::{NONCE_BYTES, NotAuthentic, TAG_BYTES};
use crate::{KEY_BYTES, LockedBox, LockedBytes};

#[cfg(target_arch = "x86_64")]
#[allow(
    unsafe_code,
    reason = "instructions that the processor was asked for, and loads and stores of whole arrays"
)]
pub(crate) mod wide;

/// The longest associated data: four blocks.
const AAD_BYTES: usize = 64;
/// The longest message (RFC 8452 section 6).
const MESSAGE_BYTES: u64 = 1 << 36;

/// A cipher and its key schedule, in locked memory. Pages, records and the entries of empty pages go through it; keys are
/// wrapped by [`crate::WrappingKey`].
pub struct SealCipher(LockedBox<Schedule>);

/// Both compute the same.
#[allow(
    clippy::large_enum_variant,
    reason = "either lies in locked memory whole, never in a box of its own"
)]
enum Schedule {
    #[cfg(target_arch = "x86_64")]
    Wide(wide::Wide),
    Portable(Aes256GcmSiv),
}

impl SealCipher {
    /// Prepares the key schedule.
    #[must_use]
    pub fn new(key: &LockedBytes<KEY_BYTES>) -> Self {
        #[cfg(target_arch = "x86_64")]
        if let Some(processor) = wide::Processor::detect() {
            return Self(LockedBox::new(Schedule::Wide(wide::Wide::new(
                processor,
                key.expose_secret(),
            ))));
        }
        Self(LockedBox::new(Schedule::Portable(Aes256GcmSiv::new(
            key.expose_secret().into(),
        ))))
    }

    /// Seals `plaintext` into `ciphertext`, which is as long, and returns the tag.
    ///
    /// # Panics
    /// If the two lengths differ, or beyond 64 bytes of `aad` or 64 GiB (RFC 8452 section 6): pages and records are at most
    /// 64 KiB.
    #[must_use]
    pub fn seal(
        &self,
        nonce: &[u8; NONCE_BYTES],
        aad: &[u8],
        plaintext: &[u8],
        ciphertext: &mut [u8],
    ) -> [u8; TAG_BYTES] {
        self.seal_buffer(
            nonce,
            aad,
            InOutBuf::new(plaintext, ciphertext).expect("callers pass buffers of one length"),
        )
    }

    /// Seals `buffer` in place and returns the tag.
    ///
    /// # Panics
    /// Beyond 64 bytes of `aad` or 64 GiB (RFC 8452 section 6): pages and records are at most 64 KiB.
    #[must_use]
    pub fn seal_in_place(&self, nonce: &[u8; NONCE_BYTES], aad: &[u8], buffer: &mut [u8]) -> [u8; TAG_BYTES] {
        self.seal_buffer(nonce, aad, buffer.into())
    }

    /// Opens `buffer` in place.
    ///
    /// # Errors
    /// [`NotAuthentic`]; `buffer` then holds the ciphertext again.
    ///
    /// # Panics
    /// As [`Self::seal_in_place`].
    pub fn open_in_place(
        &self,
        nonce: &[u8; NONCE_BYTES],
        aad: &[u8],
        buffer: &mut [u8],
        tag: &[u8; TAG_BYTES],
    ) -> Result<(), NotAuthentic> {
        check_lengths(aad, buffer.len());
        match &*self.0 {
            #[cfg(target_arch = "x86_64")]
            Schedule::Wide(wide) => wide.open(nonce, aad, buffer, tag),
            Schedule::Portable(cipher) => cipher
                .decrypt_inout_detached(&Nonce::from(*nonce), aad, buffer.into(), &Tag::from(*tag))
                .map_err(|_not_authentic| NotAuthentic),
        }
    }

    fn seal_buffer(&self, nonce: &[u8; NONCE_BYTES], aad: &[u8], buffer: InOutBuf<'_, '_, u8>) -> [u8; TAG_BYTES] {
        check_lengths(aad, buffer.len());
        match &*self.0 {
            #[cfg(target_arch = "x86_64")]
            Schedule::Wide(wide) => wide.seal(nonce, aad, buffer),
            Schedule::Portable(cipher) => cipher
                .encrypt_inout_detached(&Nonce::from(*nonce), aad, buffer)
                .expect("the lengths were checked")
                .into(),
        }
    }
}

fn check_lengths(aad: &[u8], message_bytes: usize) {
    assert!(aad.len() <= AAD_BYTES, "callers pass the place of a page or a record");
    assert!(message_bytes as u64 <= MESSAGE_BYTES, "callers pass pages and records");
}
