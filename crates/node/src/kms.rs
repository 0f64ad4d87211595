//! Data keys of a service that keeps the KEK. They arrive as bytes of JavaScript's, and are moved out of them here, in place.

use napi::Env;
use napi::bindgen_prelude::Uint8Array;
use napi_derive::napi;
use nimbus_crypto::{KEY_BYTES, KmsMessageError, LockedBytes};
use zeroize::Zeroize;

use crate::failure::{NativeFailure, throw};
use crate::keys::WrappingKey;

/// Moves the data key out of the JSON answer of a KMS: `Plaintext` is the empty string afterwards. Nothing if there is no such
/// member.
///
/// Errors: `kms_message` with `reason`; the whole answer is zeros then.
#[napi(catch_unwind)]
pub fn take_key_from_kms_answer(env: Env, mut answer: Uint8Array) -> napi::Result<Option<WrappingKey>> {
    match nimbus_crypto::WrappingKey::take_from_kms_answer(borrowed(&mut answer)) {
        Ok(key) => Ok(Some(key.into())),
        Err(KmsMessageError::Absent) => Ok(None),
        Err(error) => Err(throw(env, error)),
    }
}

/// Moves a data key of 32 bytes into locked memory: they are zeros in `bytes` afterwards, whatever the outcome.
///
/// Errors: `invalid_argument` for another length; `key_malformed` for zeros.
#[napi(catch_unwind)]
pub fn take_data_key(env: Env, mut bytes: Uint8Array) -> napi::Result<WrappingKey> {
    let bytes = borrowed(&mut bytes);
    let mut key = LockedBytes::<KEY_BYTES>::zeroed();
    let fits = bytes.len() == KEY_BYTES;
    if fits {
        key.expose_secret_mut().copy_from_slice(bytes);
    }
    let is_zero = bytes.iter().fold(0, |any, byte| any | byte) == 0;
    bytes.zeroize();
    if !fits {
        return Err(throw(env, NativeFailure::invalid_argument("a data key has 32 bytes")));
    }
    if is_zero {
        return Err(throw(env, NativeFailure::zero_bytes()));
    }
    Ok(nimbus_crypto::WrappingKey::from_data_key(&key).into())
}

/// Overwrites the stack below the caller's frame, where functions that have returned may have left a key: Node's TLS passes what it
/// decrypts through an array of 16 KiB there. To be called from the event loop, not from within the reading of a socket.
#[napi(catch_unwind)]
pub fn wipe_stack() {
    wipe_frames_below();
}

/// An array in a frame of its own, which so lies below all frames that are in use.
#[inline(never)]
#[expect(clippy::large_stack_arrays, reason = "it is the stack that is to be wiped")]
fn wipe_frames_below() {
    let mut frames = [0_u8; WIPED_STACK_BYTES];
    frames.zeroize();
    std::hint::black_box(&mut frames);
}

/// Four times as far as the array was measured to reach. A thread of Node's has at least 1 MiB.
const WIPED_STACK_BYTES: usize = 128 << 10;

/// The bytes of an array that a synchronous call was given.
fn borrowed(array: &mut Uint8Array) -> &mut [u8] {
    // SAFETY: `Uint8Array::as_mut` asks that nobody else reads or writes the bytes meanwhile. JavaScript stands still during a
    // synchronous call, the argument holds the buffer alive, and `src/keys` gives these calls buffers that no worker shares.
    unsafe { array.as_mut() }
}
