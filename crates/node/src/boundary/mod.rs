//! Free functions over Node-API, for calls that are made a hundred thousand times a second.
//!
//! napi-rs's classes cost an unwrap and a type check for every call; these functions are made with `napi_create_function` and
//! take int32 handles. A family of them shares a state, which belongs to one environment (a thread of JavaScript).

#![expect(unsafe_code, reason = "Node-API is a C interface")]
#![allow(clippy::cast_possible_wrap, reason = "lengths of C interfaces are signed")]

mod arguments;
mod handles;
pub(crate) mod value;

use std::ffi::CStr;
use std::ptr;

use napi::bindgen_prelude::Object;
use napi::{Env, sys};

pub(crate) use self::arguments::{Arguments, call, call_without};
pub(crate) use self::handles::Handles;

pub(crate) type Callback = unsafe extern "C" fn(sys::napi_env, sys::napi_callback_info) -> sys::napi_value;

/// An object with these functions, whose calls find `state`.
///
/// # Safety
/// The functions are called with nothing but an `S`, and `state` outlives them.
pub(crate) unsafe fn functions<S>(
    env: Env,
    functions: &[(&CStr, Callback)],
    state: *mut S,
) -> napi::Result<Object<'static>> {
    let raw = env.raw();
    let mut object = ptr::null_mut();
    // SAFETY: `raw` is the environment of this call, and the caller's contract.
    unsafe {
        sys::napi_create_object(raw, &raw mut object);
        for (name, callback) in functions {
            let mut function = ptr::null_mut();
            let code = sys::napi_create_function(
                raw,
                name.as_ptr(),
                name.to_bytes().len() as isize,
                Some(*callback),
                state.cast(),
                &raw mut function,
            );
            if code != sys::Status::napi_ok {
                return Err(napi::Error::from_status(napi::Status::from(code)));
            }
            sys::napi_set_named_property(raw, object, name.as_ptr(), function);
        }
    }
    Ok(Object::from_raw(raw, object))
}
