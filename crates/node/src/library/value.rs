//! Values on their way in and out.

use std::ffi::{c_char, c_int};
use std::{ptr, slice};

use libsqlite3_sys as ffi;
use napi::sys;
use nimbus_sqlite::LibraryValue;

pub(super) use crate::boundary::value::{buffer, string_bytes, text, type_of};

/// For strings of one call; longer ones go to the heap and are copied by SQLite.
const ARENA_BYTES: usize = 4096;
/// The longest character in UTF-8: a string that leaves room for one more is whole.
const LONGEST_CHARACTER: usize = 4;

/// What `bind` and `result` say of a value that is none of SQLite's.
pub(super) const NOT_BINDABLE: c_int = -1;

/// Where the strings of one call lie until it returns.
pub(super) struct Arena<'a> {
    space: &'a mut ArenaSpace,
    used: usize,
}

/// Apart from the arena: a value of which a part is set is set to zeros as a whole, all of its pages, for every call.
pub(super) type ArenaSpace = std::mem::MaybeUninit<[u8; ARENA_BYTES]>;

impl<'a> Arena<'a> {
    #[inline]
    pub(super) const fn new(space: &'a mut ArenaSpace) -> Self {
        Self { space, used: 0 }
    }
}

/// `None` if it does not fit into 64 bits.
unsafe fn big_integer(env: sys::napi_env, value: sys::napi_value) -> Option<i64> {
    let (mut integer, mut lossless) = (0, false);
    // SAFETY: the caller says that it is a bigint of the current scope.
    unsafe { sys::napi_get_value_bigint_int64(env, value, &raw mut integer, &raw mut lossless) };
    lossless.then_some(integer)
}

/// Binds a value. With an arena the statement must be done, and its bindings cleared, before the arena goes.
///
/// # Safety
/// `statement` is prepared and `value` belongs to the current scope of `env`.
#[inline]
pub(super) unsafe fn bind(
    env: sys::napi_env,
    statement: *mut ffi::sqlite3_stmt,
    index: c_int,
    value: sys::napi_value,
    arena: Option<&mut Arena>,
) -> c_int {
    // SAFETY: the caller's contract; lengths are those of the memory passed.
    unsafe {
        match type_of(env, value) {
            sys::ValueType::napi_number => {
                let mut number = 0.0;
                sys::napi_get_value_double(env, value, &raw mut number);
                ffi::sqlite3_bind_double(statement, index, number)
            }
            sys::ValueType::napi_string => bind_string(env, statement, index, value, arena),
            sys::ValueType::napi_null | sys::ValueType::napi_undefined => ffi::sqlite3_bind_null(statement, index),
            sys::ValueType::napi_bigint => match big_integer(env, value) {
                Some(integer) => ffi::sqlite3_bind_int64(statement, index, integer),
                None => ffi::SQLITE_TOOBIG,
            },
            sys::ValueType::napi_object => match buffer(env, value) {
                Some(bytes) => {
                    let data = if bytes.is_empty() {
                        c"".as_ptr().cast()
                    } else {
                        bytes.as_ptr()
                    };
                    let length = bytes.len() as u64;
                    ffi::sqlite3_bind_blob64(statement, index, data.cast(), length, ffi::SQLITE_TRANSIENT())
                }
                None => NOT_BINDABLE,
            },
            _ => NOT_BINDABLE,
        }
    }
}

/// The same for what should be a string.
///
/// # Safety
/// As `bind`.
#[inline]
pub(super) unsafe fn bind_string(
    env: sys::napi_env,
    statement: *mut ffi::sqlite3_stmt,
    index: c_int,
    value: sys::napi_value,
    arena: Option<&mut Arena>,
) -> c_int {
    // SAFETY: as `bind`; Node-API writes at most as many bytes as it is told.
    unsafe {
        if let Some(arena) = arena {
            let room = ARENA_BYTES - arena.used;
            if room > LONGEST_CHARACTER {
                let place = arena.space.as_mut_ptr().cast::<c_char>().add(arena.used);
                let mut length = 0;
                if sys::napi_get_value_string_utf8(env, value, place, room, &raw mut length) != sys::Status::napi_ok {
                    return NOT_BINDABLE;
                }
                if length + LONGEST_CHARACTER < room {
                    arena.used += length;
                    return ffi::sqlite3_bind_text(statement, index, place, length as c_int, ffi::SQLITE_STATIC());
                }
            }
        }
        let Some(bytes) = string_bytes(env, value) else {
            return NOT_BINDABLE;
        };
        let (data, length) = (bytes.as_ptr().cast(), bytes.len() as u64);
        let utf8 = ffi::SQLITE_UTF8 as u8;
        ffi::sqlite3_bind_text64(statement, index, data, length, ffi::SQLITE_TRANSIENT(), utf8)
    }
}

/// A copy for another thread, by the rules of `bind`; `None` for a value that is none of SQLite's.
///
/// # Safety
/// `value` belongs to the current scope of `env`.
pub(super) unsafe fn owned(env: sys::napi_env, value: sys::napi_value) -> Option<LibraryValue> {
    // SAFETY: the caller's contract.
    unsafe {
        match type_of(env, value) {
            sys::ValueType::napi_number => {
                let mut number = 0.0;
                sys::napi_get_value_double(env, value, &raw mut number);
                Some(LibraryValue::Real(number))
            }
            sys::ValueType::napi_string => string_bytes(env, value).map(LibraryValue::Text),
            sys::ValueType::napi_null | sys::ValueType::napi_undefined => Some(LibraryValue::Null),
            sys::ValueType::napi_bigint => big_integer(env, value).map(LibraryValue::Integer),
            sys::ValueType::napi_object => buffer(env, value).map(|bytes| LibraryValue::Blob(bytes.to_vec())),
            _ => None,
        }
    }
}

/// What `owned` took, on its way back.
///
/// # Safety
/// `env` is current.
pub(super) unsafe fn of_owned(env: sys::napi_env, value: &LibraryValue, safe_integers: bool) -> sys::napi_value {
    let mut made = ptr::null_mut();
    // SAFETY: the caller's contract; lengths are those of the slices.
    unsafe {
        match value {
            LibraryValue::Null => {
                sys::napi_get_null(env, &raw mut made);
            }
            LibraryValue::Integer(number) => return integer(env, *number, safe_integers),
            LibraryValue::Real(number) => {
                sys::napi_create_double(env, *number, &raw mut made);
            }
            LibraryValue::Text(bytes) => return text(env, bytes),
            LibraryValue::Blob(bytes) => return blob(env, bytes.as_ptr().cast(), bytes.len()),
        }
    }
    made
}

/// Makes a value of JavaScript the result of a user function.
///
/// # Safety
/// `context` is that of the running function and `value` belongs to the current scope of `env`.
pub(super) unsafe fn result(env: sys::napi_env, context: *mut ffi::sqlite3_context, value: sys::napi_value) -> c_int {
    // SAFETY: the caller's contract; SQLite copies what it is given.
    unsafe {
        match type_of(env, value) {
            sys::ValueType::napi_number => {
                let mut number = 0.0;
                sys::napi_get_value_double(env, value, &raw mut number);
                ffi::sqlite3_result_double(context, number);
            }
            sys::ValueType::napi_string => {
                let bytes = string_bytes(env, value).unwrap_or_default();
                let (data, length) = (bytes.as_ptr().cast(), bytes.len() as u64);
                let utf8 = ffi::SQLITE_UTF8 as u8;
                ffi::sqlite3_result_text64(context, data, length, ffi::SQLITE_TRANSIENT(), utf8);
            }
            sys::ValueType::napi_null | sys::ValueType::napi_undefined => ffi::sqlite3_result_null(context),
            sys::ValueType::napi_bigint => match big_integer(env, value) {
                Some(integer) => ffi::sqlite3_result_int64(context, integer),
                None => return ffi::SQLITE_TOOBIG,
            },
            sys::ValueType::napi_object => match buffer(env, value) {
                Some(bytes) => {
                    let data = if bytes.is_empty() {
                        c"".as_ptr().cast()
                    } else {
                        bytes.as_ptr()
                    };
                    let length = bytes.len() as u64;
                    ffi::sqlite3_result_blob64(context, data.cast(), length, ffi::SQLITE_TRANSIENT());
                }
                None => return NOT_BINDABLE,
            },
            _ => return NOT_BINDABLE,
        }
    }
    ffi::SQLITE_OK
}

/// # Safety
/// `env` is current.
#[inline]
pub(super) unsafe fn integer(env: sys::napi_env, integer: i64, safe_integers: bool) -> sys::napi_value {
    let mut value = ptr::null_mut();
    // SAFETY: the caller's contract.
    unsafe {
        if safe_integers {
            sys::napi_create_bigint_int64(env, integer, &raw mut value);
        } else if let Ok(small) = i32::try_from(integer) {
            sys::napi_create_int32(env, small, &raw mut value);
        } else {
            sys::napi_create_int64(env, integer, &raw mut value);
        }
    }
    value
}

/// # Safety
/// `env` is current.
unsafe fn blob(env: sys::napi_env, data: *const std::ffi::c_void, length: usize) -> sys::napi_value {
    let mut value = ptr::null_mut();
    let data = if data.is_null() { c"".as_ptr().cast() } else { data };
    // SAFETY: the caller's contract; `data` has `length` bytes.
    unsafe { sys::napi_create_buffer_copy(env, length, data, ptr::null_mut(), &raw mut value) };
    value
}

/// The value of a column of the current row. Null (no value at all) when V8 cannot hold it; an exception is pending then.
///
/// # Safety
/// `statement` is on a row and has that column; `env` is current.
#[inline]
pub(super) unsafe fn column(
    env: sys::napi_env,
    statement: *mut ffi::sqlite3_stmt,
    index: c_int,
    safe_integers: bool,
) -> sys::napi_value {
    let mut value = ptr::null_mut();
    // SAFETY: the caller's contract; text and blob are valid until the next call on this column, which comes after they
    // were copied ("Result Values From A Query").
    unsafe {
        match ffi::sqlite3_column_type(statement, index) {
            ffi::SQLITE_INTEGER => return integer(env, ffi::sqlite3_column_int64(statement, index), safe_integers),
            ffi::SQLITE_FLOAT => {
                sys::napi_create_double(env, ffi::sqlite3_column_double(statement, index), &raw mut value);
            }
            ffi::SQLITE_TEXT => {
                let data = ffi::sqlite3_column_text(statement, index);
                let length = ffi::sqlite3_column_bytes(statement, index) as usize;
                let bytes = if data.is_null() {
                    &[]
                } else {
                    slice::from_raw_parts(data, length)
                };
                return text(env, bytes);
            }
            ffi::SQLITE_BLOB => {
                let data = ffi::sqlite3_column_blob(statement, index);
                return blob(env, data, ffi::sqlite3_column_bytes(statement, index) as usize);
            }
            _ => {
                sys::napi_get_null(env, &raw mut value);
            }
        }
    }
    value
}

/// An argument of a user function.
///
/// # Safety
/// `argument` is one of the running call; `env` is current.
pub(super) unsafe fn argument(
    env: sys::napi_env,
    argument: *mut ffi::sqlite3_value,
    safe_integers: bool,
) -> sys::napi_value {
    let mut value = ptr::null_mut();
    // SAFETY: the caller's contract; text and blob are copied at once.
    unsafe {
        match ffi::sqlite3_value_type(argument) {
            ffi::SQLITE_INTEGER => return integer(env, ffi::sqlite3_value_int64(argument), safe_integers),
            ffi::SQLITE_FLOAT => {
                sys::napi_create_double(env, ffi::sqlite3_value_double(argument), &raw mut value);
            }
            ffi::SQLITE_TEXT => {
                let data = ffi::sqlite3_value_text(argument);
                let length = ffi::sqlite3_value_bytes(argument) as usize;
                let bytes = if data.is_null() {
                    &[]
                } else {
                    slice::from_raw_parts(data, length)
                };
                return text(env, bytes);
            }
            ffi::SQLITE_BLOB => {
                let data = ffi::sqlite3_value_blob(argument);
                return blob(env, data, ffi::sqlite3_value_bytes(argument) as usize);
            }
            _ => {
                sys::napi_get_null(env, &raw mut value);
            }
        }
    }
    value
}
