//! The keys of one sealed redb file: two ciphers, one MAC and one commitment, each derived from the file's DEK for the
//! file id and the fields of the superblock, so that no page or record opens under another file or another layout.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::derive::{Purpose, derive};
use crate::{FileId, KEY_BYTES, LockedBytes, SealCipher};

/// What all keys of a sealed redb file are bound to besides its id: bytes 8 to 32 of its superblock (version, cipher,
/// page size and layout), exactly as they are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RedbBinding(pub [u8; Self::BYTES]);

impl RedbBinding {
    /// Bytes in a binding.
    pub const BYTES: usize = 24;
}

/// The keys of one sealed redb file. Made by [`crate::Dek::redb_keys`].
pub struct RedbKeys {
    pages: SealCipher,
    records: SealCipher,
    superblock: LockedBytes<KEY_BYTES>,
    commitment: [u8; Self::COMMITMENT_BYTES],
}

impl RedbKeys {
    /// Bytes in the commitment that a superblock carries.
    pub const COMMITMENT_BYTES: usize = 32;
    /// Bytes in the code of a superblock.
    pub const MAC_BYTES: usize = 32;

    pub(crate) fn derive_from(dek: &LockedBytes<KEY_BYTES>, file_id: &FileId, binding: &RedbBinding) -> Self {
        let mut context = [0; FileId::BYTES + RedbBinding::BYTES];
        let (id_part, binding_part) = context.split_at_mut(FileId::BYTES);
        id_part.copy_from_slice(&file_id.0);
        binding_part.copy_from_slice(&binding.0);
        let key = |purpose| {
            let mut key = LockedBytes::zeroed();
            derive(dek.expose_secret(), &[], purpose, &context, key.expose_secret_mut());
            key
        };
        let mut commitment = [0; Self::COMMITMENT_BYTES];
        derive(
            dek.expose_secret(),
            &[],
            Purpose::RedbCommitment,
            &context,
            &mut commitment,
        );
        Self {
            pages: SealCipher::new(&key(Purpose::RedbPage)),
            records: SealCipher::new(&key(Purpose::RedbRecord)),
            superblock: key(Purpose::RedbSuperblockMac),
            commitment,
        }
    }

    /// Seals and opens pages.
    #[must_use]
    pub const fn pages(&self) -> &SealCipher {
        &self.pages
    }

    /// Seals and opens commit records.
    #[must_use]
    pub const fn records(&self) -> &SealCipher {
        &self.records
    }

    /// The public value that only this DEK has for this file: AES-256-GCM-SIV itself does not commit to its key.
    #[must_use]
    pub const fn commitment(&self) -> &[u8; Self::COMMITMENT_BYTES] {
        &self.commitment
    }

    /// Whether `commitment` is this file's and this DEK's, compared in constant time.
    #[must_use]
    pub fn matches(&self, commitment: &[u8; Self::COMMITMENT_BYTES]) -> bool {
        self.commitment.ct_eq(commitment).into()
    }

    /// The code of a superblock (HMAC-SHA256, RFC 2104).
    #[must_use]
    pub fn sign_superblock(&self, superblock: &[u8]) -> [u8; Self::MAC_BYTES] {
        self.superblock_mac(superblock).finalize().into_bytes().into()
    }

    /// Whether `code` is the code of `superblock`, compared in constant time.
    #[must_use]
    pub fn verify_superblock(&self, superblock: &[u8], code: &[u8; Self::MAC_BYTES]) -> bool {
        self.superblock_mac(superblock).verify(code.into()).is_ok()
    }

    fn superblock_mac(&self, superblock: &[u8]) -> Hmac<Sha256> {
        Hmac::new_from_slice(self.superblock.expose_secret())
            .expect("HMAC takes a key of any length")
            .chain_update(superblock)
    }
}
