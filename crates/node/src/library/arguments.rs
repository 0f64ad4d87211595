//! The arguments of one call of the library.

use napi::sys;

use super::state::State;
use crate::boundary;

pub(super) type Arguments = boundary::Arguments<State>;

/// Runs the body of a function; a panic in it is an exception there.
///
/// # Safety
/// `env` and `info` are those of a call of one of the library's functions.
#[inline]
pub(super) unsafe fn call(
    env: sys::napi_env,
    info: sys::napi_callback_info,
    body: impl FnOnce(&Arguments) -> sys::napi_value,
) -> sys::napi_value {
    // SAFETY: the caller's contract: they are registered with a `State`.
    unsafe { boundary::call(env, info, body) }
}

/// The same for a function whose arguments are rarely wanted: the body takes them then.
///
/// # Safety
/// As `call`.
#[inline]
pub(super) unsafe fn call_without(
    env: sys::napi_env,
    info: sys::napi_callback_info,
    body: impl FnOnce(&mut Arguments) -> sys::napi_value,
) -> sys::napi_value {
    // SAFETY: as above.
    unsafe { boundary::call_without(env, info, body) }
}
