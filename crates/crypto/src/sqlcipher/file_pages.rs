//! The pages of one file as they lie on the disk, for whoever reads them past SQLite: in a log, in a journal.

use super::cipher::CipherKey;
use super::mac::{HashAlgorithm, MacKey};
use super::{BLOCK_BYTES, pbkdf2};
use crate::{FileId, KEY_BYTES, LockedBox, LockedBytes};

/// `HMAC_SALT_MASK` of SQLCipher: what makes the salt of the MAC key out of the file's.
const MAC_SALT_MASK: u8 = 0x3a;
/// `FAST_PBKDF2_ITER` of SQLCipher.
const MAC_KEY_ROUNDS: std::num::NonZeroU32 = std::num::NonZeroU32::new(2).expect("two");

/// Authenticates and decrypts whole pages of one file (SQLCipher design, "Page level"). Made by
/// [`crate::SqlcipherKey::file_pages`].
///
/// A page ends with its IV and the MAC of ciphertext, IV and page number (little endian). The first page begins with the
/// file's salt in the clear, which the MAC does not cover.
pub struct FilePages {
    algorithm: HashAlgorithm,
    mac: LockedBox<MacKey>,
    cipher: LockedBox<CipherKey>,
    salt: FileId,
}

impl FilePages {
    pub(crate) fn new(algorithm: HashAlgorithm, key: &[u8; KEY_BYTES], salt: FileId) -> Self {
        let mut mac_key = LockedBytes::<KEY_BYTES>::zeroed();
        let mac_salt = salt.0.map(|byte| byte ^ MAC_SALT_MASK);
        // SHA-512 whatever the pages' own hash is: it is the file's `cipher_kdf_algorithm`.
        pbkdf2(
            HashAlgorithm::Sha512,
            key,
            &mac_salt,
            MAC_KEY_ROUNDS,
            mac_key.expose_secret_mut(),
        );
        Self {
            algorithm,
            mac: LockedBox::new(MacKey::new(algorithm, mac_key.expose_secret())),
            cipher: LockedBox::new(CipherKey::new(key)),
            salt,
        }
    }

    /// Whether `page` was written as page `number` (from 1) of this file, under this key, at any time. The salt in the
    /// first page must be there too, though SQLCipher would not miss it: the file is recognised by it.
    #[must_use]
    pub fn is_authentic(&self, number: u32, page: &[u8]) -> bool {
        let salt = if number == 1 { self.salt.0.as_slice() } else { &[] };
        let covered = page
            .strip_prefix(salt)
            .and_then(|rest| rest.split_at_checked(rest.len().checked_sub(self.algorithm.output_bytes())?));
        covered.is_some_and(|(covered, stored)| self.mac.mac(covered, &number.to_le_bytes()).matches(stored))
    }

    /// The content of the first page if it is authentic, with zeros in place of the salt and of what SQLCipher reserves.
    #[must_use]
    pub fn open_first(&self, page: &[u8]) -> Option<Vec<u8>> {
        if !self.is_authentic(1, page) {
            return None;
        }
        let end = page.len().checked_sub(BLOCK_BYTES + self.algorithm.output_bytes())?;
        let ciphertext = page.get(FileId::BYTES..end)?;
        let iv = page.get(end..)?.first_chunk()?;
        let mut content = vec![0; page.len()];
        self.cipher
            .decrypt(iv, ciphertext, content.get_mut(FileId::BYTES..end)?)
            .ok()?;
        Some(content)
    }
}
