//! The raw primitives, for known-answer tests through the addon. Nothing else may call them: they take keys as bytes.

use napi::Env;
use napi::bindgen_prelude::Uint8Array;
use napi_derive::napi;
use nimbus_crypto::{aead, derive};

use crate::failure::{NativeFailure, throw};

/// AES-256-GCM-SIV (RFC 8452): ciphertext and tag. For known-answer tests only.
///
/// Errors: `invalid_argument`.
#[napi(catch_unwind)]
pub fn aes256_gcm_siv_seal(
    env: Env,
    key: &[u8],
    nonce: &[u8],
    associated_data: &[u8],
    plaintext: &[u8],
) -> napi::Result<Uint8Array> {
    let (key, nonce) = key_and_nonce(env, key, nonce)?;
    let sealed = aead::seal(key, nonce, associated_data, plaintext)
        .map_err(|_length| throw(env, NativeFailure::invalid_argument("the message is too long")))?;
    Ok(Uint8Array::new(sealed))
}

/// The inverse of `aes256GcmSivSeal`; null if the message is not authentic. For known-answer tests only.
///
/// Errors: `invalid_argument`.
#[napi(catch_unwind)]
pub fn aes256_gcm_siv_open(
    env: Env,
    key: &[u8],
    nonce: &[u8],
    associated_data: &[u8],
    sealed: &[u8],
) -> napi::Result<Option<Uint8Array>> {
    let (key, nonce) = key_and_nonce(env, key, nonce)?;
    Ok(aead::open(key, nonce, associated_data, sealed)
        .ok()
        .map(|opened| Uint8Array::new(opened.clone())))
}

/// HKDF-SHA256 (RFC 5869). For known-answer tests only.
///
/// Errors: `invalid_argument` for more than 8,160 bytes.
#[napi(catch_unwind)]
pub fn hkdf_sha256(env: Env, ikm: &[u8], salt: &[u8], info: &[u8], length: u32) -> napi::Result<Uint8Array> {
    let too_long = || {
        throw(
            env,
            NativeFailure::invalid_argument("HKDF-SHA256 gives at most 8,160 bytes"),
        )
    };
    if length > 8_160 {
        return Err(too_long());
    }
    let mut out = vec![0; length as usize];
    derive::hkdf_sha256(ikm, salt, info, &mut out).map_err(|_length| too_long())?;
    Ok(Uint8Array::new(out))
}

fn key_and_nonce<'a>(env: Env, key: &'a [u8], nonce: &'a [u8]) -> napi::Result<(&'a [u8; 32], &'a [u8; 12])> {
    let invalid = |_| {
        throw(
            env,
            NativeFailure::invalid_argument("the key has 32 bytes and the nonce 12"),
        )
    };
    Ok((key.try_into().map_err(invalid)?, nonce.try_into().map_err(invalid)?))
}
