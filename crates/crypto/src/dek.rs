//! The data-encryption key of one file. It never encrypts anything itself and never leaves as bytes: what comes out is
//! another type, derived for one purpose.

use subtle::ConstantTimeEq;

use crate::derive::{Purpose, derive};
use crate::random::{self, RandomError};
use crate::{AllZeroKey, FileId, KEY_BYTES, LockedBytes, ManifestMacKey, RedbBinding, RedbKeys, Salt, SqlcipherKey};

/// A file's data-encryption key: 32 bytes in locked memory, random unless the caller keeps them.
pub struct Dek(LockedBytes<KEY_BYTES>);

impl Dek {
    /// Bytes in a commitment to a DEK.
    pub const COMMITMENT_BYTES: usize = 32;

    /// A new DEK from the operating system's randomness, straight into locked memory.
    ///
    /// # Errors
    /// [`RandomError`] if the operating system gives none.
    pub fn generate() -> Result<Self, RandomError> {
        let mut bytes = LockedBytes::zeroed();
        random::fill(bytes.expose_secret_mut())?;
        Ok(Self(bytes))
    }

    /// Takes over 32 bytes that the caller keeps: the DEK of a file without a manifest.
    ///
    /// # Errors
    /// [`AllZeroKey`] if every byte is zero: memory that was never filled, or was wiped too early.
    pub fn given(bytes: LockedBytes<KEY_BYTES>) -> Result<Self, AllZeroKey> {
        if bytes.expose_secret().ct_eq(&[0; KEY_BYTES]).into() {
            return Err(AllZeroKey);
        }
        Ok(Self(bytes))
    }

    /// A public value that only this DEK has under this `salt`: HKDF-SHA256 (RFC 5869). A manifest that records it
    /// cannot be made to unwrap to another DEK unnoticed.
    #[must_use]
    pub fn commitment(&self, salt: &Salt) -> [u8; Self::COMMITMENT_BYTES] {
        let mut commitment = [0; Self::COMMITMENT_BYTES];
        derive(
            self.0.expose_secret(),
            &salt.0,
            Purpose::DekCommitment,
            &[],
            &mut commitment,
        );
        commitment
    }

    /// The key that authenticates the manifest of the file `file_id`.
    #[must_use]
    pub fn manifest_mac_key(&self, file_id: &FileId) -> ManifestMacKey {
        ManifestMacKey::from_secret(self.derive_key(Purpose::ManifestMac, file_id))
    }

    /// The raw SQLCipher key of the file `file_id`.
    #[must_use]
    pub fn sqlcipher_key(&self, file_id: &FileId) -> SqlcipherKey {
        SqlcipherKey::from_secret(self.derive_key(Purpose::Sqlcipher, file_id), *file_id)
    }

    /// The keys of the sealed redb file `file_id` whose superblock holds `binding`.
    #[must_use]
    pub fn redb_keys(&self, file_id: &FileId, binding: &RedbBinding) -> RedbKeys {
        RedbKeys::derive_from(&self.0, file_id, binding)
    }

    pub(crate) const fn from_secret(bytes: LockedBytes<KEY_BYTES>) -> Self {
        Self(bytes)
    }

    pub(crate) const fn secret(&self) -> &LockedBytes<KEY_BYTES> {
        &self.0
    }

    fn derive_key(&self, purpose: Purpose, file_id: &FileId) -> LockedBytes<KEY_BYTES> {
        let mut key = LockedBytes::zeroed();
        derive(
            self.0.expose_secret(),
            &[],
            purpose,
            &file_id.0,
            key.expose_secret_mut(),
        );
        key
    }
}
