//! Wrapping a DEK under a wrapping key: AES-256-GCM-SIV (RFC 8452) with the manifest slot's header as associated data,
//! and a key commitment in front.
//!
//! GCM-SIV is not key-committing: one ciphertext can be built that opens under two keys. So a wrapped DEK begins with a
//! commitment to the wrapping key, an HKDF output under a label of its own, which is compared before anything is opened.
//! That also tells "another key" from "altered".

use subtle::ConstantTimeEq;

use crate::aead::{self, NONCE_BYTES, TAG_BYTES};
use crate::derive::{Purpose, derive};
use crate::random::{self, RandomError};
use crate::{Dek, KEY_BYTES, LockedBytes};

/// A manifest slot's header, which the wrapped DEK is bound to: 1 to 65,536 bytes. Never empty, since a DEK wrapped for
/// nothing in particular could be moved to any file.
#[derive(Clone, Copy)]
pub struct Header<'a>(&'a [u8]);

/// A header is empty, or longer than a whole manifest may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a wrapped DEK's header has 1 to 65536 bytes, not {actual_bytes}")]
pub struct HeaderLength {
    /// Bytes that were given.
    pub actual_bytes: usize,
}

impl<'a> Header<'a> {
    /// The longest header: as long as a manifest may be.
    pub const MAX_BYTES: usize = 64 << 10;

    /// The header's exact stored bytes.
    ///
    /// # Errors
    /// [`HeaderLength`] if there are none, or more than [`Self::MAX_BYTES`].
    pub const fn new(bytes: &'a [u8]) -> Result<Self, HeaderLength> {
        match bytes.len() {
            1..=Self::MAX_BYTES => Ok(Self(bytes)),
            actual_bytes => Err(HeaderLength { actual_bytes }),
        }
    }
}

/// A DEK sealed under a [`WrappingKey`]: key commitment (32 bytes), nonce (12), ciphertext (32), tag (16).
#[derive(Clone, PartialEq, Eq)]
pub struct WrappedDek([u8; Self::BYTES]);

/// A wrapped DEK has 92 bytes, and this one has not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a wrapped DEK has 92 bytes, not {actual_bytes}")]
pub struct WrappedDekLength {
    /// Bytes that were given.
    pub actual_bytes: usize,
}

impl WrappedDek {
    /// Bytes in a wrapped DEK.
    pub const BYTES: usize = COMMITMENT_BYTES + NONCE_BYTES + KEY_BYTES + TAG_BYTES;

    /// The bytes as they are stored.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }

    fn join(
        commitment: &[u8; COMMITMENT_BYTES],
        nonce: &[u8; NONCE_BYTES],
        ciphertext: &[u8; KEY_BYTES],
        tag: &[u8; TAG_BYTES],
    ) -> Self {
        let mut bytes = [0; Self::BYTES];
        let mut rest = &mut bytes[..];
        for part in [&commitment[..], nonce, ciphertext, tag] {
            let (head, tail) = rest.split_at_mut(part.len());
            head.copy_from_slice(part);
            rest = tail;
        }
        Self(bytes)
    }

    fn split(&self) -> Parts<'_> {
        let whole = "the four parts are the whole of the array";
        let (commitment, rest) = self.0.split_first_chunk().expect(whole);
        let (nonce, rest) = rest.split_first_chunk().expect(whole);
        let (ciphertext, rest) = rest.split_first_chunk().expect(whole);
        let tag = rest.first_chunk().expect(whole);
        Parts {
            commitment,
            nonce,
            ciphertext,
            tag,
        }
    }
}

impl From<[u8; Self::BYTES]> for WrappedDek {
    fn from(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }
}

impl TryFrom<&[u8]> for WrappedDek {
    type Error = WrappedDekLength;

    fn try_from(bytes: &[u8]) -> Result<Self, Self::Error> {
        bytes.try_into().map(Self).map_err(|_length| WrappedDekLength {
            actual_bytes: bytes.len(),
        })
    }
}

/// Why a wrapped DEK did not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnwrapError {
    /// Another wrapping key made it: another master key, another salt or another subject.
    #[error("the DEK was wrapped under another key")]
    OtherKey,
    /// This wrapping key made it, but the wrapped bytes or the header were changed since.
    #[error("the wrapped DEK or its header was altered")]
    Altered,
}

/// Wraps the DEKs of one manifest slot. Made by [`crate::MasterKey::wrapping_key`], [`crate::SubjectKey::wrapping_key`],
/// or out of the data key of a service that keeps the KEK.
pub struct WrappingKey {
    encryption: LockedBytes<KEY_BYTES>,
    commitment: [u8; COMMITMENT_BYTES],
}

impl WrappingKey {
    /// The wrapping key that a data key is: 32 random bytes that a service made for one slot, and keeps under its own key.
    #[must_use]
    pub fn from_data_key(key: &LockedBytes<KEY_BYTES>) -> Self {
        let mut secret = LockedBytes::zeroed();
        derive(
            key.expose_secret(),
            &[],
            Purpose::DataKeyWrappingKey,
            &[],
            secret.expose_secret_mut(),
        );
        Self::from_secret(&secret)
    }

    /// Derives the encryption key and the commitment from one secret, under two labels.
    pub(crate) fn from_secret(secret: &LockedBytes<KEY_BYTES>) -> Self {
        let mut encryption = LockedBytes::zeroed();
        let mut commitment = [0; COMMITMENT_BYTES];
        derive(
            secret.expose_secret(),
            &[],
            Purpose::WrapEncryption,
            &[],
            encryption.expose_secret_mut(),
        );
        derive(
            secret.expose_secret(),
            &[],
            Purpose::WrapCommitment,
            &[],
            &mut commitment,
        );
        Self { encryption, commitment }
    }

    /// Seals `dek` for `header` under a fresh random nonce.
    ///
    /// # Errors
    /// [`RandomError`] if the operating system gives no nonce.
    pub fn wrap(&self, dek: &Dek, header: Header<'_>) -> Result<WrappedDek, RandomError> {
        let mut nonce = [0; NONCE_BYTES];
        random::fill(&mut nonce)?;
        let mut ciphertext = [0; KEY_BYTES];
        let tag = aead::seal_detached(
            self.encryption.expose_secret(),
            &nonce,
            header.0,
            dek.secret().expose_secret(),
            &mut ciphertext,
        )
        .expect("a DEK has 32 bytes and a header at most 64 KiB, far below the cipher's 64 GiB");
        Ok(WrappedDek::join(&self.commitment, &nonce, &ciphertext, &tag))
    }

    /// Opens what [`Self::wrap`] sealed under the same `header`.
    ///
    /// # Errors
    /// [`UnwrapError::OtherKey`] if another wrapping key sealed it; [`UnwrapError::Altered`] if this one did, but nonce,
    /// ciphertext, tag or header differ in any bit.
    pub fn unwrap(&self, wrapped: &WrappedDek, header: Header<'_>) -> Result<Dek, UnwrapError> {
        let Parts {
            commitment,
            nonce,
            ciphertext,
            tag,
        } = wrapped.split();
        if !bool::from(commitment.ct_eq(&self.commitment)) {
            return Err(UnwrapError::OtherKey);
        }
        let mut dek = LockedBytes::zeroed();
        let encryption = self.encryption.expose_secret();
        aead::open_detached(encryption, nonce, header.0, ciphertext, tag, dek.expose_secret_mut())
            .map_err(|aead::NotAuthentic| UnwrapError::Altered)?;
        Ok(Dek::from_secret(dek))
    }
}

const COMMITMENT_BYTES: usize = 32;

struct Parts<'a> {
    commitment: &'a [u8; COMMITMENT_BYTES],
    nonce: &'a [u8; NONCE_BYTES],
    ciphertext: &'a [u8; KEY_BYTES],
    tag: &'a [u8; TAG_BYTES],
}
