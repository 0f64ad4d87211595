//! Opening, closing, and what is asked of a whole database.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use libsqlite3_sys as ffi;
use napi::bindgen_prelude::{ClassInstance, FromNapiValue};
use napi::sys;
use nimbus_crypto::LockedBytes;
use nimbus_sqlite::{Encryption, LibraryAccess, LibraryConnection, LibraryError, LibraryKey, LibraryOptions, Profile};

use super::arguments::{Arguments, call};
use super::image;
use super::running::{Running, call_out};
use super::slab::Slab;
use super::state::Database;
use super::value;
use crate::keys::Dek;

const READ_ONLY: i32 = 1;
const MUST_EXIST: i32 = 2;
const EXCLUSIVE: i32 = 4;
const SHA256: i32 = 8;
const CREATE: i32 = 16;
const KEY_BYTES: usize = 32;

/// `(makeError, slab: Float64Array)`
pub(super) unsafe extern "C" fn set_up(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    // SAFETY: Node-API calls this with its arguments; references live as long as the environment.
    unsafe {
        call(env, info, |arguments| {
            let state = arguments.state();
            sys::napi_create_reference(env, arguments.at(0), 1, &raw mut state.make_error);
            sys::napi_create_reference(env, arguments.at(1), 1, &raw mut state.slab_ref);
            let mut data = ptr::null_mut();
            let mut length = 0;
            sys::napi_get_typedarray_info(
                env,
                arguments.at(1),
                ptr::null_mut(),
                &raw mut length,
                &raw mut data,
                ptr::null_mut(),
                ptr::null_mut(),
            );
            state.slab = if length * size_of::<f64>() >= size_of::<Slab>() {
                data.cast()
            } else {
                ptr::null_mut()
            };
            ptr::null_mut()
        })
    }
}

/// `(path, flags, timeoutMs, key?: 32 bytes | Dek, fileId?: 16 bytes, serialized?)`: a handle.
pub(super) unsafe extern "C" fn open(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    // SAFETY: Node-API calls this with its arguments.
    unsafe {
        call(env, info, |arguments| {
            let Some(path) = arguments.c_string(0) else {
                return arguments.state().misuse();
            };
            let flags = arguments.integer(1);
            let timeout = Duration::from_millis(u64::try_from(arguments.integer(2)).unwrap_or(0));
            let key = match key_of(arguments, flags) {
                Ok(key) => key,
                Err(exception) => return exception,
            };
            let opened = LibraryConnection::open(&LibraryOptions {
                path: Path::new(OsStr::from_bytes(path.as_bytes())),
                access: access_of(flags),
                exclusive: flags & EXCLUSIVE != 0,
                timeout,
                key,
            });
            let connection = match opened {
                Ok(connection) => connection,
                Err(error) => return arguments.state().throw(&error),
            };
            let raw = connection.handle();
            ffi::sqlite3_db_config(
                raw,
                ffi::SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION,
                1,
                ptr::null_mut::<i32>(),
            );
            if let Some(bytes) = arguments.bytes(5) {
                let code = image::deserialize(raw, bytes, flags & READ_ONLY != 0);
                if code != ffi::SQLITE_OK {
                    return arguments.state().throw_with(code, b"unable to deserialize database");
                }
            }
            let database = Box::new(Database {
                raw,
                encrypted: connection.is_encrypted(),
                connection,
                broken: false,
                threw: false,
                safe_integers: false,
            });
            let handle = arguments.state().databases.insert(database).unwrap_or(-1);
            value::integer(env, i64::from(handle), false)
        })
    }
}

const fn access_of(flags: i32) -> LibraryAccess {
    if flags & READ_ONLY != 0 {
        LibraryAccess::ReadOnly
    } else if flags & CREATE != 0 {
        LibraryAccess::New
    } else if flags & MUST_EXIST != 0 {
        LibraryAccess::Existing
    } else {
        LibraryAccess::OpenOrCreate
    }
}

/// The bytes are copied into locked memory; the caller keeps its own.
unsafe fn key_of(arguments: &Arguments, flags: i32) -> Result<Option<LibraryKey>, sys::napi_value> {
    let profile = if flags & SHA256 == 0 {
        Profile::Sqlcipher4
    } else {
        Profile::Sqlcipher4Sha256
    };
    if let Some(raw) = raw_key(arguments, 3) {
        return Ok(Some(LibraryKey::Raw(raw, profile)));
    }
    if value::type_of(arguments.env, arguments.at(3)) != sys::ValueType::napi_object {
        return Ok(None);
    }
    // SAFETY: a value of this call; anything but a DEK is refused by its type tag.
    let dek = unsafe { ClassInstance::<Dek>::from_napi_value(arguments.env, arguments.at(3)) };
    let env = napi::Env::from_raw(arguments.env);
    let id = arguments.bytes(4).and_then(|bytes| <[u8; 16]>::try_from(bytes).ok());
    let (Ok(dek), Some(id)) = (dek, id) else {
        return Err(arguments.state().misuse());
    };
    let dek = dek
        .shared(env)
        .map_err(|_thrown| ptr::null_mut::<sys::napi_value__>())?;
    Ok(Some(LibraryKey::Bound(Arc::new(Encryption {
        key: dek.sqlcipher_key(&nimbus_crypto::FileId(id)),
        profile,
    }))))
}

fn raw_key(arguments: &Arguments, index: usize) -> Option<Arc<LockedBytes<KEY_BYTES>>> {
    let bytes: &[u8; KEY_BYTES] = arguments.bytes(index)?.try_into().ok()?;
    let mut key = LockedBytes::zeroed();
    key.expose_secret_mut().copy_from_slice(bytes);
    Some(Arc::new(key))
}

/// `(database)`
pub(super) unsafe extern "C" fn close(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    // SAFETY: Node-API calls this with its arguments; TypeScript closes nothing that runs.
    unsafe {
        call(env, info, |arguments| {
            let handle = arguments.integer(0);
            arguments.state().close_database(handle);
            ptr::null_mut()
        })
    }
}

/// `(database, sql, log?: (sql) => void)`: runs every statement of `sql`.
pub(super) unsafe extern "C" fn exec(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    // SAFETY: Node-API calls this with its arguments; the database stays open, since TypeScript marks it as busy.
    unsafe {
        call(env, info, |arguments| {
            let (Some(database), Some(sql)) = (arguments.state().database(arguments.integer(0)), arguments.c_string(1))
            else {
                return arguments.state().misuse();
            };
            let running = match Running::begin(database) {
                Ok(running) => running,
                Err(error) => return arguments.state().throw(&error),
            };
            let code = exec_all(env, database, sql.as_ptr(), arguments.function(2), running);
            running.end(arguments, code)
        })
    }
}

unsafe fn exec_all(
    env: sys::napi_env,
    database: *mut Database,
    mut sql: *const std::ffi::c_char,
    log: Option<sys::napi_value>,
    running: Running,
) -> i32 {
    // SAFETY: `sql` ends with a NUL and so does each tail of it; each statement is finalized before the next.
    unsafe {
        loop {
            let mut statement = ptr::null_mut();
            let prepared = ffi::sqlite3_prepare_v2((*database).raw, sql, -1, &raw mut statement, &raw mut sql);
            if running.has_failed_with(prepared) {
                ffi::sqlite3_finalize(statement);
                return prepared;
            }
            if statement.is_null() {
                // A comment or white space; the end, if nothing follows.
                if sql.is_null() || *sql == 0 {
                    return ffi::SQLITE_OK;
                }
                continue;
            }
            if let Some(log) = log {
                let text = expanded(env, statement);
                if call_out(env, log, &[text]).is_none() {
                    ffi::sqlite3_finalize(statement);
                    (*database).threw = true;
                    return ffi::SQLITE_ERROR;
                }
            }
            while ffi::sqlite3_step(statement) == ffi::SQLITE_ROW && !running.has_failed() {}
            let code = ffi::sqlite3_finalize(statement);
            if running.has_failed_with(code) {
                return code;
            }
        }
    }
}

/// The statement's text with its parameters filled in.
///
/// # Safety
/// `statement` is prepared.
pub(super) unsafe fn expanded(env: sys::napi_env, statement: *mut ffi::sqlite3_stmt) -> sys::napi_value {
    // SAFETY: the string is SQLite's until it is freed here.
    unsafe {
        let text = ffi::sqlite3_expanded_sql(statement);
        let source = if text.is_null() {
            ffi::sqlite3_sql(statement)
        } else {
            text.cast_const()
        };
        let value = value::text(env, std::ffi::CStr::from_ptr(source).to_bytes());
        ffi::sqlite3_free(text.cast());
        value
    }
}

/// `(database)`: whether a transaction is open.
pub(super) unsafe extern "C" fn in_transaction(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    // SAFETY: Node-API calls this with its arguments; a found database is open.
    unsafe {
        call(env, info, |arguments| {
            let database = arguments.state().database(arguments.integer(0));
            let is_in = database.is_some_and(|database| ffi::sqlite3_get_autocommit((*database).raw) == 0);
            let mut value = ptr::null_mut();
            sys::napi_get_boolean(env, is_in, &raw mut value);
            value
        })
    }
}

/// `(database, on, safeIntegers)`: whether SQL may corrupt the file on purpose, and the default of user functions.
pub(super) unsafe extern "C" fn defensive(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    // SAFETY: Node-API calls this with its arguments; a found database is open.
    unsafe {
        call(env, info, |arguments| {
            if let Some(database) = arguments.state().database(arguments.integer(0)) {
                let on = i32::from(arguments.boolean(1));
                ffi::sqlite3_db_config(
                    (*database).raw,
                    ffi::SQLITE_DBCONFIG_DEFENSIVE,
                    on,
                    ptr::null_mut::<i32>(),
                );
                (*database).safe_integers = arguments.boolean(2);
            }
            ptr::null_mut()
        })
    }
}

/// `(database, path, entryPoint?)`
pub(super) unsafe extern "C" fn load_extension(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    // SAFETY: Node-API calls this with its arguments; SQLite's message is copied and freed. What the extension does is its
    // caller's choice.
    unsafe {
        call(env, info, |arguments| {
            let (Some(database), Some(path)) =
                (arguments.state().database(arguments.integer(0)), arguments.c_string(1))
            else {
                return arguments.state().misuse();
            };
            let entry = arguments.c_string(2);
            let entry = entry.as_ref().map_or(ptr::null(), |entry| entry.as_ptr());
            let running = match Running::begin(database) {
                Ok(running) => running,
                Err(error) => return arguments.state().throw(&error),
            };
            let mut message = ptr::null_mut();
            let code = ffi::sqlite3_load_extension((*database).raw, path.as_ptr(), entry, &raw mut message);
            if code == ffi::SQLITE_OK || running.has_failed() {
                ffi::sqlite3_free(message.cast());
                return running.end(arguments, code);
            }
            let words = if message.is_null() {
                ffi::sqlite3_errstr(code)
            } else {
                message.cast_const()
            };
            let words = std::ffi::CStr::from_ptr(words).to_bytes().to_vec();
            ffi::sqlite3_free(message.cast());
            arguments.state().throw_with(code, &words)
        })
    }
}

/// `(database, key: 32 bytes)`: closes the database, whatever comes of it.
pub(super) unsafe extern "C" fn rekey(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    // SAFETY: Node-API calls this with its arguments; nothing runs on the database.
    unsafe {
        call(env, info, |arguments| {
            let Some(key) = raw_key(arguments, 1) else {
                return arguments.state().misuse();
            };
            let Some(database) = arguments.state().take_database(arguments.integer(0)) else {
                return arguments.state().misuse();
            };
            if database.broken {
                return arguments.state().throw(&LibraryError::corrupt());
            }
            match database.connection.rekey(&key) {
                Ok(()) => ptr::null_mut(),
                Err(error) => arguments.state().throw(&error),
            }
        })
    }
}
