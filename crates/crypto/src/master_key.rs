//! The keys that an operator keeps in files: one master key for every subject, or one key for each subject.

use subtle::ConstantTimeEq;

use crate::derive::{Purpose, derive};
use crate::{KEY_BYTES, KeyId, LockedBytes, Salt, WrappingKey};

/// The key is 32 zero bytes: a file that was made but never filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the key consists of zero bytes only")]
pub struct AllZeroKey;

/// The one key from which the wrapping key of every protected file is derived (`master-key-file`).
pub struct MasterKey(KeyFileBytes);

impl MasterKey {
    /// Takes over the 32 bytes of a key file.
    ///
    /// # Errors
    /// [`AllZeroKey`] if every byte is zero.
    pub fn new(bytes: LockedBytes<KEY_BYTES>) -> Result<Self, AllZeroKey> {
        KeyFileBytes::new(bytes).map(Self)
    }

    /// Names the key without revealing it.
    #[must_use]
    pub fn key_id(&self) -> KeyId {
        self.0.key_id(Purpose::MasterKeyId)
    }

    /// The wrapping key of one manifest slot: HKDF-SHA256 (RFC 5869) of the master key under the slot's `salt`, bound to
    /// the subject's `descriptor`.
    #[must_use]
    pub fn wrapping_key(&self, salt: &Salt, descriptor: &str) -> WrappingKey {
        self.0.wrapping_key(Purpose::MasterWrappingKey, salt, descriptor)
    }
}

/// The key of one subject alone (`key-dir`). Derives like a [`MasterKey`], but to other values from the same bytes.
pub struct SubjectKey(KeyFileBytes);

impl SubjectKey {
    /// Takes over the 32 bytes of a key file.
    ///
    /// # Errors
    /// [`AllZeroKey`] if every byte is zero.
    pub fn new(bytes: LockedBytes<KEY_BYTES>) -> Result<Self, AllZeroKey> {
        KeyFileBytes::new(bytes).map(Self)
    }

    /// Names the key without revealing it.
    #[must_use]
    pub fn key_id(&self) -> KeyId {
        self.0.key_id(Purpose::SubjectKeyId)
    }

    /// The wrapping key of one manifest slot, as [`MasterKey::wrapping_key`]. The file is never used as a wrapping key
    /// as it is: it serves many manifests over time, and each gets a key of its own.
    #[must_use]
    pub fn wrapping_key(&self, salt: &Salt, descriptor: &str) -> WrappingKey {
        self.0.wrapping_key(Purpose::SubjectWrappingKey, salt, descriptor)
    }
}

struct KeyFileBytes(LockedBytes<KEY_BYTES>);

impl KeyFileBytes {
    fn new(bytes: LockedBytes<KEY_BYTES>) -> Result<Self, AllZeroKey> {
        if bytes.expose_secret().ct_eq(&[0; KEY_BYTES]).into() {
            return Err(AllZeroKey);
        }
        Ok(Self(bytes))
    }

    fn key_id(&self, purpose: Purpose) -> KeyId {
        let mut id = [0; KeyId::BYTES];
        derive(self.0.expose_secret(), &[], purpose, &[], &mut id);
        KeyId(id)
    }

    fn wrapping_key(&self, purpose: Purpose, salt: &Salt, descriptor: &str) -> WrappingKey {
        let mut secret = LockedBytes::zeroed();
        derive(
            self.0.expose_secret(),
            &salt.0,
            purpose,
            descriptor.as_bytes(),
            secret.expose_secret_mut(),
        );
        WrappingKey::from_secret(&secret)
    }
}
