//! Reads of single keys as of the last commit, as free functions on handles: these are called a hundred thousand times a second.
//!
//! Key and value cross in one memory, which TypeScript (`src/native/kv-table.ts`) keeps for its thread and hands out to nobody.

#![expect(unsafe_code, reason = "Node-API is a C interface")]

use std::ffi::c_void;
use std::{ptr, slice};

use napi::bindgen_prelude::{ClassInstance, FromNapiValue, Object};
use napi::{Env, sys};
use napi_derive::napi;
use nimbus_redb::engine::TableReader;

use super::NativeKvStore;
use crate::boundary::{self, Callback, Handles, value};
use crate::failure::throw;

const FUNCTIONS: &[(&std::ffi::CStr, Callback)] = &[
    (c"setUp", set_up),
    (c"table", table),
    (c"close", close),
    (c"count", count),
    (c"get", get),
];

type Arguments = boundary::Arguments<State>;

/// What one environment has open.
struct State {
    tables: Handles<TableReader>,
    crossing: Crossing,
}

/// The memory in which keys come in and values go out.
struct Crossing {
    start: *mut u8,
    key_bytes: usize,
    value_bytes: usize,
}

/// The functions that read tables, new for each environment; `src/native/kv-table.ts` has their types.
#[napi(catch_unwind, ts_return_type = "Record<string, (...values: never[]) => unknown>")]
pub fn kv_tables(env: Env) -> napi::Result<Object<'static>> {
    let state = Box::into_raw(Box::new(State {
        tables: Handles::new(),
        crossing: Crossing {
            start: ptr::null_mut(),
            key_bytes: 0,
            value_bytes: 0,
        },
    }));
    // SAFETY: the hook gets back the pointer that it was registered with, once, when nothing of the environment runs.
    unsafe {
        sys::napi_add_env_cleanup_hook(env.raw(), Some(clean_up), state.cast());
        boundary::functions(env, FUNCTIONS, state)
    }
}

unsafe extern "C" fn clean_up(state: *mut c_void) {
    // SAFETY: made by `kv_tables`, and freed here alone.
    drop(unsafe { Box::from_raw(state.cast::<State>()) });
}

/// `(crossing: Uint8Array, keyBytes)`: keys come in its first so many bytes, values go out behind them.
unsafe extern "C" fn set_up(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    // SAFETY: Node-API calls this with its arguments. The reference keeps the memory for as long as the environment lives;
    // TypeScript hands it to nobody, so that nobody detaches it.
    unsafe {
        boundary::call(env, info, |arguments: &Arguments| {
            let Some(memory) = value::buffer(env, arguments.at(0)) else {
                return misuse(env);
            };
            let Some(value_bytes) = usize::try_from(arguments.integer(1))
                .ok()
                .and_then(|key_bytes| memory.len().checked_sub(key_bytes))
            else {
                return misuse(env);
            };
            let mut reference = ptr::null_mut();
            sys::napi_create_reference(env, arguments.at(0), 1, &raw mut reference);
            arguments.state().crossing = Crossing {
                start: memory.as_ptr().cast_mut(),
                key_bytes: memory.len() - value_bytes,
                value_bytes,
            };
            ptr::null_mut()
        })
    }
}

/// `(store, name)`: a handle.
unsafe extern "C" fn table(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    // SAFETY: Node-API calls this with its arguments; anything but a store is refused by its type tag.
    unsafe {
        boundary::call(env, info, |arguments: &Arguments| {
            let store = ClassInstance::<NativeKvStore>::from_napi_value(env, arguments.at(0));
            let name = arguments.string(1).and_then(|name| String::from_utf8(name).ok());
            let (Ok(store), Some(name)) = (store, name) else {
                return misuse(env);
            };
            let reader = Box::new(store.store.reader(&name));
            let handle = arguments.state().tables.insert(reader).unwrap_or(-1);
            integer(env, handle)
        })
    }
}

/// `(table)`: closing twice is harmless.
unsafe extern "C" fn close(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    // SAFETY: Node-API calls this with its arguments.
    unsafe {
        boundary::call(env, info, |arguments: &Arguments| {
            drop(arguments.state().tables.remove(arguments.integer(0)));
            ptr::null_mut()
        })
    }
}

/// `()`: how many handles are open.
unsafe extern "C" fn count(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    // SAFETY: Node-API calls this with its arguments.
    unsafe {
        boundary::call(env, info, |arguments: &Arguments| {
            integer(env, i32::try_from(arguments.state().tables.len()).unwrap_or(i32::MAX))
        })
    }
}

/// `(table, keyBytes)`: the length of the value, or -1. The value itself lies behind the room for keys, unless it is too long.
unsafe extern "C" fn get(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    // SAFETY: Node-API calls this with its arguments. The crossing memory is this call's alone: no JavaScript runs before it
    // returns, and no other thread knows of the memory.
    unsafe {
        boundary::call(env, info, |arguments: &Arguments| {
            let State { tables, crossing } = arguments.state();
            let (Some(table), Ok(key_bytes)) =
                (tables.get(arguments.integer(0)), usize::try_from(arguments.integer(1)))
            else {
                return misuse(env);
            };
            if key_bytes > crossing.key_bytes {
                return misuse(env);
            }
            let key = slice::from_raw_parts(crossing.start, key_bytes);
            let place = slice::from_raw_parts_mut(crossing.start.add(crossing.key_bytes), crossing.value_bytes);
            let found = (*table).get_with(key, |value| {
                if let Some(place) = place.get_mut(..value.len()) {
                    place.copy_from_slice(value);
                }
                value.len()
            });
            match found {
                Ok(None) => integer(env, -1),
                // A length beyond an int32 does not fit either, which is all that the caller asks.
                Ok(Some(length)) => integer(env, i32::try_from(length).unwrap_or(i32::MAX)),
                Err(error) => {
                    // The exception is pending.
                    let _ = throw(Env::from_raw(env), error);
                    ptr::null_mut()
                }
            }
        })
    }
}

unsafe fn integer(env: sys::napi_env, integer: i32) -> sys::napi_value {
    let mut made = ptr::null_mut();
    // SAFETY: the caller says that `env` is current.
    unsafe { sys::napi_create_int32(env, integer, &raw mut made) };
    made
}

/// A defect of the TypeScript above: a handle that stands for nothing, an argument of the wrong type.
unsafe fn misuse(env: sys::napi_env) -> sys::napi_value {
    // SAFETY: the caller says that `env` is current; the strings end with a NUL.
    unsafe { sys::napi_throw_type_error(env, ptr::null(), c"this table was closed".as_ptr()) };
    ptr::null_mut()
}
