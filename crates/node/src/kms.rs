//! A KMS's messages, which are bytes of JavaScript's while the DEK is in them: taken out and put in here, in place.

use napi::Env;
use napi::bindgen_prelude::Uint8Array;
use napi_derive::napi;
use nimbus_crypto::KmsMessageError;

use crate::failure::throw;
use crate::keys::Dek;

/// Moves the DEK out of the JSON answer of a KMS: `Plaintext` is the empty string afterwards. Nothing if there is no such member.
///
/// Errors: `kms_message` with `reason`; the whole answer is zeros then.
#[napi(catch_unwind)]
pub fn take_dek_from_kms_answer(env: Env, mut answer: Uint8Array) -> napi::Result<Option<Dek>> {
    match nimbus_crypto::Dek::take_from_kms_answer(borrowed(&mut answer)) {
        Ok(dek) => Ok(Some(dek.into())),
        Err(KmsMessageError::Absent) => Ok(None),
        Err(error) => Err(throw(env, error)),
    }
}

/// Writes the DEK in base64 over the 44 characters of `Plaintext` in the JSON request to a KMS. The caller wipes the request.
///
/// Errors: `closed_handle`; `kms_message` with `reason`, the request is as it was then.
#[napi(catch_unwind)]
pub fn put_dek_into_kms_request(env: Env, dek: &Dek, mut request: Uint8Array) -> napi::Result<()> {
    dek.open(env)?
        .put_into_kms_request(borrowed(&mut request))
        .map_err(|error| throw(env, error))
}

/// The bytes of an array that a synchronous call was given.
pub fn borrowed(array: &mut Uint8Array) -> &mut [u8] {
    // SAFETY: `Uint8Array::as_mut` asks that nobody else reads or writes the bytes meanwhile. JavaScript stands still during a
    // synchronous call, the argument holds the buffer alive, and `src/keys` gives these calls buffers that no worker shares.
    unsafe { array.as_mut() }
}
