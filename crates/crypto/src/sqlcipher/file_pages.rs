//! The pages of one file as they lie on the disk, for whoever reads them past SQLite: in a log, in a journal.

use std::sync::Arc;

use super::cipher::CipherKey;
#[cfg(target_arch = "x86_64")]
use super::lanes::LaneKey;
use super::mac::HashAlgorithm;
use super::shared_mac::SharedMac;
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
///
/// Every page given to it is authenticated anew. But as long as it lives, what connections to the file know of pages that they read or
/// wrote lives too ([`crate::sqlcipher::PageCrypto`]).
pub struct FilePages {
    algorithm: HashAlgorithm,
    mac: Arc<SharedMac>,
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
            mac: SharedMac::of(algorithm, mac_key.expose_secret()),
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

    /// Which of the pages of `page_bytes` in `pages`, the first of which is the page `first`, are not authentic, ascending. What is less than
    /// a page at the end is not looked at.
    #[must_use]
    pub fn not_authentic(&self, first: u32, page_bytes: usize, pages: &[u8]) -> Vec<u32> {
        let numbered: Vec<_> = (first..).zip(pages.chunks_exact(page_bytes)).collect();
        let mut failed = Vec::new();
        let mut judge = |pages: &[(u32, &[u8])]| {
            let one_by_one = pages.iter().filter(|(number, page)| !self.is_authentic(*number, page));
            failed.extend(one_by_one.map(|(number, _)| *number));
        };
        // Of the first page of a file less is covered.
        let (alone, others) = numbered.split_at(usize::from(first == 1).min(numbered.len()));
        judge(alone);
        #[cfg(target_arch = "x86_64")]
        let (others, several) = match self.mac.lanes() {
            Some(lanes) => self.not_authentic_at_once(lanes, others),
            None => (others, Vec::new()),
        };
        judge(others);
        #[cfg(target_arch = "x86_64")]
        failed.extend(several);
        failed.sort_unstable();
        failed
    }

    /// Likewise for as many of `pages` as fill all lanes; the others are returned.
    #[cfg(target_arch = "x86_64")]
    fn not_authentic_at_once<'p, 'b>(
        &self,
        lanes: &LaneKey,
        pages: &'p [(u32, &'b [u8])],
    ) -> (&'p [(u32, &'b [u8])], Vec<u32>) {
        let (most, _) = lanes.pages();
        let batches = pages.chunks_exact(most);
        let rest = batches.remainder();
        let mac_bytes = self.algorithm.output_bytes();
        let mut failed = Vec::new();
        for batch in batches {
            let covered: Vec<_> = batch
                .iter()
                .map(|(number, page)| {
                    (
                        page.split_at(page.len().saturating_sub(mac_bytes)).0,
                        number.to_le_bytes(),
                    )
                })
                .collect();
            for ((number, page), mac) in batch.iter().zip(lanes.macs(&covered)) {
                if !mac.matches(page.split_at(page.len().saturating_sub(mac_bytes)).1) {
                    failed.push(*number);
                }
            }
        }
        (rest, failed)
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
