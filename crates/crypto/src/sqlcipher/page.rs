//! The state of one SQLCipher connection's provider: its expanded keys.

use super::cipher::{CipherKey, CipherLength};
use super::mac::{HashAlgorithm, MacKey, PageMac};
use super::slots::TwoSlots;
use super::{BLOCK_BYTES, cipher, mac};
use crate::KEY_BYTES;

/// Encrypts, decrypts and authenticates pages. SQLCipher passes the raw key with every page; the AES schedules and
/// HMAC midstates made from it are kept (locked, wiped on drop) and found again by the key's value, two at a time: the
/// page key and, during a rekey, its successor.
#[derive(Default)]
pub struct PageCrypto {
    ciphers: TwoSlots<CipherKey>,
    macs: TwoSlots<MacKey>,
}

impl PageCrypto {
    /// A provider state without keys.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// AES-256-CBC without padding (NIST SP 800-38A section 6.2): encrypts `plaintext` into `ciphertext`.
    ///
    /// # Errors
    /// [`CipherLength`] unless both have the same whole number of blocks.
    pub fn encrypt(
        &mut self,
        key: &[u8; KEY_BYTES],
        iv: &[u8; BLOCK_BYTES],
        plaintext: &[u8],
        ciphertext: &mut [u8],
    ) -> Result<(), CipherLength> {
        self.cipher(key).encrypt(iv, plaintext, ciphertext)
    }

    /// The inverse of [`Self::encrypt`]. Nothing is authenticated: compare the [`PageMac`] first.
    ///
    /// # Errors
    /// [`CipherLength`] unless both have the same whole number of blocks.
    pub fn decrypt(
        &mut self,
        key: &[u8; KEY_BYTES],
        iv: &[u8; BLOCK_BYTES],
        ciphertext: &[u8],
        plaintext: &mut [u8],
    ) -> Result<(), CipherLength> {
        self.cipher(key).decrypt(iv, ciphertext, plaintext)
    }

    /// HMAC (RFC 2104) of `page` followed by `suffix`, which SQLCipher makes the page number.
    pub fn hmac(&mut self, algorithm: HashAlgorithm, key: &[u8; KEY_BYTES], page: &[u8], suffix: &[u8]) -> PageMac {
        self.macs
            .get_or_insert(|held| held.is(algorithm, key), || mac::MacKey::new(algorithm, key))
            .mac(page, suffix)
    }

    fn cipher(&mut self, key: &[u8; KEY_BYTES]) -> &CipherKey {
        self.ciphers
            .get_or_insert(|held| held.is(key), || cipher::CipherKey::new(key))
    }
}
