//! AES-256-CBC without padding, with both key schedules kept.

use aes::cipher::block_padding::NoPadding;
use aes::cipher::{BlockModeDecrypt, BlockModeEncrypt, InnerIvInit, KeyInit};
use aes::{Aes256Dec, Aes256Enc};
use zeroize::Zeroize;

use super::BLOCK_BYTES;
use crate::{KEY_BYTES, constant_time};

/// Input and output are not the same whole number of 16-byte blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("CBC without padding takes whole blocks and gives as many: {input_bytes} bytes in, {output_bytes} bytes out")]
pub struct CipherLength {
    /// Bytes given.
    pub input_bytes: usize,
    /// Bytes of space for the result.
    pub output_bytes: usize,
}

impl CipherLength {
    const fn check(input: &[u8], output: &[u8]) -> Result<(), Self> {
        let (input_bytes, output_bytes) = (input.len(), output.len());
        if input_bytes == output_bytes && input_bytes.is_multiple_of(BLOCK_BYTES) {
            Ok(())
        } else {
            Err(Self {
                input_bytes,
                output_bytes,
            })
        }
    }
}

/// One key and its two schedules (FIPS 197 section 5.2).
pub(super) struct CipherKey {
    key: [u8; KEY_BYTES],
    encryption: Aes256Enc,
    decryption: Aes256Dec,
}

impl CipherKey {
    pub(super) fn new(key: &[u8; KEY_BYTES]) -> Self {
        let encryption = Aes256Enc::new(key.into());
        Self {
            key: *key,
            decryption: Aes256Dec::from(&encryption),
            encryption,
        }
    }

    /// Whether this is `key`, compared in constant time.
    pub(super) fn is(&self, key: &[u8; KEY_BYTES]) -> bool {
        constant_time::equal(&self.key, key)
    }

    pub(super) fn encrypt(
        &self,
        iv: &[u8; BLOCK_BYTES],
        plaintext: &[u8],
        ciphertext: &mut [u8],
    ) -> Result<(), CipherLength> {
        CipherLength::check(plaintext, ciphertext)?;
        cbc::Encryptor::inner_iv_init(&self.encryption, iv.into())
            .encrypt_padded_b2b::<NoPadding>(plaintext, ciphertext)
            .expect("the lengths were checked");
        Ok(())
    }

    /// The whole buffer in one call: decryption in CBC is parallel, and so keeps several blocks in flight.
    pub(super) fn decrypt(
        &self,
        iv: &[u8; BLOCK_BYTES],
        ciphertext: &[u8],
        plaintext: &mut [u8],
    ) -> Result<(), CipherLength> {
        CipherLength::check(ciphertext, plaintext)?;
        cbc::Decryptor::inner_iv_init(&self.decryption, iv.into())
            .decrypt_padded_b2b::<NoPadding>(ciphertext, plaintext)
            .expect("the lengths were checked");
        Ok(())
    }
}

assert_wipes_itself!(Aes256Enc, Aes256Dec);

impl Drop for CipherKey {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}
