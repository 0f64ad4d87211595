//! The code that authenticates a whole manifest: HMAC-SHA256 (RFC 2104) under a key derived from the file's DEK.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::{KEY_BYTES, LockedBytes};

/// Signs and verifies the manifest of one file. Made by [`crate::Dek::manifest_mac_key`].
pub struct ManifestMacKey(LockedBytes<KEY_BYTES>);

impl ManifestMacKey {
    /// Bytes in a code.
    pub const MAC_BYTES: usize = 32;

    /// The code of `message`.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; Self::MAC_BYTES] {
        self.mac(message).finalize().into_bytes().into()
    }

    /// Whether `code` is the code of `message`, compared in constant time.
    #[must_use]
    pub fn verify(&self, message: &[u8], code: &[u8; Self::MAC_BYTES]) -> bool {
        self.mac(message).verify(code.into()).is_ok()
    }

    pub(crate) const fn from_secret(key: LockedBytes<KEY_BYTES>) -> Self {
        Self(key)
    }

    fn mac(&self, message: &[u8]) -> Hmac<Sha256> {
        Hmac::new_from_slice(self.0.expose_secret())
            .expect("HMAC takes a key of any length")
            .chain_update(message)
    }
}
