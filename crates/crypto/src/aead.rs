//! AES-256-GCM-SIV (RFC 8452): nonce-misuse resistant, so that a nonce that comes up twice reveals only whether two
//! sealed values are equal. It is not key-committing; see [`crate::wrapping`] for what is done about that.

use aes_gcm_siv::aead::inout::InOutBuf;
use aes_gcm_siv::{AeadInOut, Aes256GcmSiv, KeyInit, Nonce, Tag};

use crate::KEY_BYTES;

/// Bytes in a nonce (RFC 8452 section 4).
pub const NONCE_BYTES: usize = 12;
/// Bytes in a tag (RFC 8452 section 4).
pub const TAG_BYTES: usize = 16;

/// The tag does not fit: another key, another nonce, another associated data, or an altered ciphertext. Which of them is
/// not told, and cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the sealed bytes do not authenticate")]
pub struct NotAuthentic;

/// The plaintext or the associated data is longer than 64 GiB (RFC 8452 section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("AES-256-GCM-SIV seals at most 64 GiB at once")]
pub struct TooLong;

/// Seals `plaintext`: the ciphertext, then the tag. On plain byte strings, for known-answer tests and page benchmarks;
/// DEKs are wrapped by [`crate::WrappingKey`].
///
/// # Errors
/// [`TooLong`] beyond 64 GiB.
pub fn seal(
    key: &[u8; KEY_BYTES],
    nonce: &[u8; NONCE_BYTES],
    aad: &[u8],
    plaintext: &[u8],
) -> Result<Vec<u8>, TooLong> {
    let mut sealed = vec![0; plaintext.len() + TAG_BYTES];
    let (ciphertext, tag) = sealed.split_at_mut(plaintext.len());
    tag.copy_from_slice(&seal_detached(key, nonce, aad, plaintext, ciphertext)?);
    Ok(sealed)
}

/// Opens what [`seal`] made under the same key, nonce and associated data.
///
/// # Errors
/// [`NotAuthentic`] if anything differs, or if `sealed` is shorter than a tag.
pub fn open(
    key: &[u8; KEY_BYTES],
    nonce: &[u8; NONCE_BYTES],
    aad: &[u8],
    sealed: &[u8],
) -> Result<Vec<u8>, NotAuthentic> {
    let (ciphertext, tag) = sealed.split_last_chunk::<TAG_BYTES>().ok_or(NotAuthentic)?;
    let mut plaintext = vec![0; ciphertext.len()];
    open_detached(key, nonce, aad, ciphertext, tag, &mut plaintext)?;
    Ok(plaintext)
}

// The cipher has no state but its AES key schedule and, while it works, those of the keys that it derives.
assert_wipes_itself!(aes::Aes256);

/// Seals `plaintext` into `ciphertext`, which is as long, and returns the tag.
pub(crate) fn seal_detached(
    key: &[u8; KEY_BYTES],
    nonce: &[u8; NONCE_BYTES],
    aad: &[u8],
    plaintext: &[u8],
    ciphertext: &mut [u8],
) -> Result<[u8; TAG_BYTES], TooLong> {
    let buffer = InOutBuf::new(plaintext, ciphertext).expect("callers pass buffers of one length");
    Aes256GcmSiv::new(key.into())
        .encrypt_inout_detached(&Nonce::from(*nonce), aad, buffer)
        .map(Into::into)
        .map_err(|_too_long| TooLong)
}

/// Opens `ciphertext` into `plaintext`, which is as long. On failure `plaintext` holds bytes that nobody vouches for, so
/// it is wiped by whoever owns it.
pub(crate) fn open_detached(
    key: &[u8; KEY_BYTES],
    nonce: &[u8; NONCE_BYTES],
    aad: &[u8],
    ciphertext: &[u8],
    tag: &[u8; TAG_BYTES],
    plaintext: &mut [u8],
) -> Result<(), NotAuthentic> {
    let buffer = InOutBuf::new(ciphertext, plaintext).expect("callers pass buffers of one length");
    Aes256GcmSiv::new(key.into())
        .decrypt_inout_detached(&Nonce::from(*nonce), aad, buffer, &Tag::from(*tag))
        .map_err(|_not_authentic| NotAuthentic)
}
