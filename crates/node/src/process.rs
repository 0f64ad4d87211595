//! The process around the keys: not dumpable, and whether its key memory is locked.

#![expect(unsafe_code, reason = "prctl is a C function")]

use napi::Env;
use napi::bindgen_prelude::Uint8Array;
use napi_derive::napi;
use nimbus_crypto::{lock_status, random};

use crate::failure::throw;

/// Whether the memory of keys is locked into RAM.
#[napi(object)]
pub struct LockedMemory {
    /// False when the lock limit (`ulimit -l`) was too small for some key: those keys could be swapped out.
    pub locked: bool,
    /// Bytes locked for keys.
    pub locked_bytes: f64,
    /// The limit in bytes; null when there is none.
    pub limit_bytes: Option<f64>,
}

/// Forbids core dumps of this process and reading its memory by other processes of the same user
/// (`PR_SET_DUMPABLE`, prctl(2)). Returns whether the process is dumpable still.
#[napi(catch_unwind)]
pub fn harden_process() -> bool {
    // SAFETY: both calls take integers and touch no memory of ours.
    unsafe {
        libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0);
        libc::prctl(libc::PR_GET_DUMPABLE, 0, 0, 0, 0) != 0
    }
}

/// Whether the memory of the keys made so far is locked.
#[napi(catch_unwind)]
pub fn locked_memory() -> LockedMemory {
    let status = lock_status();
    LockedMemory {
        locked: status.locked,
        locked_bytes: status.locked_bytes as f64,
        limit_bytes: status.limit_bytes.map(|bytes| bytes as f64),
    }
}

/// `count` bytes of the operating system's randomness, for ids and salts (at most 65,536). Never for keys.
///
/// Errors: `invalid_argument`, `no_randomness`.
#[napi(catch_unwind)]
pub fn random_bytes(env: Env, count: u32) -> napi::Result<Uint8Array> {
    if count > 65_536 {
        return Err(throw(
            env,
            crate::failure::NativeFailure::invalid_argument("at most 65,536 random bytes"),
        ));
    }
    let mut bytes = vec![0; count as usize];
    random::fill(&mut bytes).map_err(|error| throw(env, error))?;
    Ok(Uint8Array::new(bytes))
}
