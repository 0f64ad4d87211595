//! A whole database as bytes: out of it, and into one in memory.

use std::{ptr, slice};

use libsqlite3_sys as ffi;
use napi::sys;
use nimbus_sqlite::LibraryError;

use super::arguments::call;
use super::running::Running;

/// Makes `bytes` the database of a connection, in memory; what SQLite answers.
///
/// # Safety
/// `raw` is open, and nothing of it runs.
pub(super) unsafe fn deserialize(raw: *mut ffi::sqlite3, bytes: &[u8], read_only: bool) -> i32 {
    // SAFETY: SQLite takes over memory of its own allocator, on failure too ("sqlite3_deserialize").
    unsafe {
        let data = ffi::sqlite3_malloc64(bytes.len().max(1) as u64).cast::<u8>();
        if data.is_null() {
            return ffi::SQLITE_NOMEM;
        }
        ptr::copy_nonoverlapping(bytes.as_ptr(), data, bytes.len());
        let mut flags = ffi::SQLITE_DESERIALIZE_FREEONCLOSE | ffi::SQLITE_DESERIALIZE_RESIZEABLE;
        if read_only {
            flags |= ffi::SQLITE_DESERIALIZE_READONLY;
        }
        let length = bytes.len() as i64;
        ffi::sqlite3_deserialize(raw, c"main".as_ptr(), data, length, length, flags)
    }
}

/// `(database, schema)`: the bytes of a plain database.
pub(super) unsafe extern "C" fn serialize(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    // SAFETY: Node-API calls this with its arguments; what SQLite allocated is copied and freed.
    unsafe {
        call(env, info, |arguments| {
            let (Some(database), Some(schema)) =
                (arguments.state().database(arguments.integer(0)), arguments.c_string(1))
            else {
                return arguments.state().misuse();
            };
            let running = match Running::begin(database) {
                Ok(running) => running,
                Err(error) => return arguments.state().throw(&error),
            };
            let mut length = -1;
            let data = ffi::sqlite3_serialize((*database).raw, schema.as_ptr(), &raw mut length, 0);
            if running.has_failed() {
                ffi::sqlite3_free(data.cast());
                return running.end(arguments, ffi::SQLITE_OK);
            }
            if data.is_null() && length != 0 {
                return arguments
                    .state()
                    .throw_with(ffi::SQLITE_ERROR, b"there is no such database to serialize");
            }
            let mut value = ptr::null_mut();
            let from = if data.is_null() {
                c"".as_ptr().cast()
            } else {
                data.cast_const().cast()
            };
            sys::napi_create_buffer_copy(env, length as usize, from, ptr::null_mut(), &raw mut value);
            ffi::sqlite3_free(data.cast());
            value
        })
    }
}

/// `(database, schema)`: the bytes of the file as they lie there, through SQLite's own descriptor: closing another one would drop
/// the locks of this process (POSIX).
pub(super) unsafe extern "C" fn file_bytes(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    // SAFETY: Node-API calls this with its arguments; the file pointer is valid while the database is open, and xRead writes
    // as many bytes as it is told ("sqlite3_io_methods").
    unsafe {
        call(env, info, |arguments| {
            let (Some(database), Some(schema)) =
                (arguments.state().database(arguments.integer(0)), arguments.c_string(1))
            else {
                return arguments.state().misuse();
            };
            if (*database).broken {
                return arguments.state().throw(&LibraryError::corrupt());
            }
            let mut file: *mut ffi::sqlite3_file = ptr::null_mut();
            let found = ffi::sqlite3_file_control(
                (*database).raw,
                schema.as_ptr(),
                ffi::SQLITE_FCNTL_FILE_POINTER,
                (&raw mut file).cast(),
            );
            let methods = if found == ffi::SQLITE_OK {
                file.as_ref().and_then(|file| file.pMethods.as_ref())
            } else {
                None
            };
            let Some((size_of, read)) = methods.and_then(|methods| Some((methods.xFileSize?, methods.xRead?))) else {
                return arguments
                    .state()
                    .throw_with(ffi::SQLITE_ERROR, b"there is no such database to serialize");
            };
            let mut length = 0;
            let (mut value, mut data) = (ptr::null_mut(), ptr::null_mut());
            let mut code = size_of(file, &raw mut length);
            if code == ffi::SQLITE_OK {
                let made = sys::napi_create_buffer(env, length as usize, &raw mut data, &raw mut value);
                if made != sys::Status::napi_ok {
                    return arguments.state().throw_with(ffi::SQLITE_NOMEM, b"out of memory");
                }
                let bytes = slice::from_raw_parts_mut(data.cast::<u8>(), length as usize);
                for (chunk, at) in bytes.chunks_mut(1 << 20).zip((0_i64..).step_by(1 << 20)) {
                    if code == ffi::SQLITE_OK {
                        code = read(file, chunk.as_mut_ptr().cast(), chunk.len() as i32, at);
                    }
                }
            }
            if code == ffi::SQLITE_OK {
                return value;
            }
            arguments.state().throw_with(code, b"the file could not be read")
        })
    }
}
