//! The state of one SQLCipher connection's provider: its expanded keys.

use std::sync::{Arc, Weak};

use super::BLOCK_BYTES;
use super::ahead::{PagesAhead, Windows};
use super::cipher::{CipherKey, CipherLength};
use super::mac::{HashAlgorithm, PageMac};
use super::shared_mac::SharedMac;
use super::slots::TwoSlots;
use crate::{KEY_BYTES, LockedBox};

/// Encrypts, decrypts and authenticates pages. SQLCipher passes the raw key with every page; the AES schedules and
/// HMAC midstates made from it are kept (locked, wiped on drop) and found again by the key's value, two at a time: the
/// page key and, during a rekey, its successor. With the midstates, which all connections to a file share, goes a memo of the pages
/// that were found authentic or written: those need no HMAC while they are the same bytes.
#[derive(Default)]
pub struct PageCrypto {
    ciphers: TwoSlots<LockedBox<CipherKey>>,
    macs: TwoSlots<Arc<SharedMac>>,
    windows: Windows,
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
        self.mac(algorithm, key).mac(page, suffix)
    }

    /// The same of a page that is read: `sealed` is the page and right behind it the MAC that it was stored with, which the
    /// result is to be compared with. It is taken from there if these very bytes are known to have it.
    ///
    /// Where several pages at once take less time than each alone, `ahead` is asked for a window that was read for this page or
    /// for later ones, which whoever read it holds for as long as it is of use. If this page is in it, or in the one before, and not
    /// known, then it is authenticated with those around it, which are known later.
    pub fn hmac_of_read(
        &mut self,
        algorithm: HashAlgorithm,
        key: &[u8; KEY_BYTES],
        sealed: &[u8],
        suffix: &[u8],
        ahead: impl FnOnce() -> Option<Weak<PagesAhead>>,
    ) -> PageMac {
        let macs = &mut self.macs;
        let mac = macs.get_or_insert(|held| held.is(algorithm, key), || SharedMac::of(algorithm, key));
        mac.mac_of_read(sealed, suffix, &mut self.windows, ahead)
    }

    /// A page is being written: `sealed` is the page and right behind it what [`Self::hmac`] said of it. Whoever reads it
    /// needs no HMAC.
    pub fn remember(&mut self, algorithm: HashAlgorithm, key: &[u8; KEY_BYTES], sealed: &[u8], suffix: &[u8]) {
        self.mac(algorithm, key).remember(sealed, suffix);
    }

    fn mac(&mut self, algorithm: HashAlgorithm, key: &[u8; KEY_BYTES]) -> &SharedMac {
        self.macs
            .get_or_insert(|held| held.is(algorithm, key), || SharedMac::of(algorithm, key))
    }

    fn cipher(&mut self, key: &[u8; KEY_BYTES]) -> &CipherKey {
        self.ciphers
            .get_or_insert(|held| held.is(key), || LockedBox::new(CipherKey::new(key)))
    }
}
