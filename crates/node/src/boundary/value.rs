//! Values that every family of functions takes and makes.

use std::ffi::c_char;
use std::{ptr, slice};

use napi::sys;

#[inline]
pub(crate) fn type_of(env: sys::napi_env, value: sys::napi_value) -> sys::napi_valuetype {
    let mut kind = sys::ValueType::napi_undefined;
    // SAFETY: a value of the current scope, or null, which is refused.
    unsafe { sys::napi_typeof(env, value, &raw mut kind) };
    kind
}

/// # Safety
/// `value` belongs to the current scope of `env`.
pub(crate) unsafe fn string_bytes(env: sys::napi_env, value: sys::napi_value) -> Option<Vec<u8>> {
    let mut length = 0;
    // SAFETY: the caller's contract; the second call writes at most `length + 1` bytes.
    unsafe {
        if sys::napi_get_value_string_utf8(env, value, ptr::null_mut(), 0, &raw mut length) != sys::Status::napi_ok {
            return None;
        }
        let mut bytes = vec![0_u8; length + 1];
        let target = bytes.as_mut_ptr().cast::<c_char>();
        sys::napi_get_value_string_utf8(env, value, target, length + 1, &raw mut length);
        bytes.truncate(length);
        Some(bytes)
    }
}

/// # Safety
/// `value` belongs to the current scope of `env`; JavaScript does not run while the slice lives.
pub(crate) unsafe fn buffer<'a>(env: sys::napi_env, value: sys::napi_value) -> Option<&'a [u8]> {
    let (mut is_buffer, mut data, mut length) = (false, ptr::null_mut(), 0);
    // SAFETY: the caller's contract.
    unsafe {
        sys::napi_is_buffer(env, value, &raw mut is_buffer);
        if !is_buffer || sys::napi_get_buffer_info(env, value, &raw mut data, &raw mut length) != sys::Status::napi_ok {
            return None;
        }
        if data.is_null() {
            return Some(&[]);
        }
        Some(slice::from_raw_parts(data.cast(), length))
    }
}

/// A string: as Latin-1 when it is ASCII, else as UTF-16, since V8 reads UTF-8 fifty times slower. Invalid UTF-8 becomes U+FFFD.
///
/// # Safety
/// `env` is current.
#[inline]
pub(crate) unsafe fn text(env: sys::napi_env, bytes: &[u8]) -> sys::napi_value {
    let mut value = ptr::null_mut();
    // SAFETY: the caller's contract; the lengths are those of the slices.
    unsafe {
        if bytes.is_ascii() {
            sys::napi_create_string_latin1(env, bytes.as_ptr().cast(), bytes.len() as isize, &raw mut value);
        } else {
            let units: Vec<u16> = match std::str::from_utf8(bytes) {
                Ok(text) => text.encode_utf16().collect(),
                Err(_) => String::from_utf8_lossy(bytes).encode_utf16().collect(),
            };
            sys::napi_create_string_utf16(env, units.as_ptr(), units.len() as isize, &raw mut value);
        }
    }
    value
}
