//! Preparing statements and running those that return nothing.

use std::ffi::{CStr, c_char, c_int};
use std::ptr;

use libsqlite3_sys as ffi;
use napi::sys;

use super::arguments::{Arguments, call, call_without};
use super::running::Running;
use super::slab::{self, Slab};
use super::state::Statement;
use super::value::{self, Arena, ArenaSpace, NOT_BINDABLE};

/// `(database, sql, isPersistent)`: the names of the parameters, and the slab says what else the statement is; or the number 0 for an
/// empty statement and 1 for more than one. To make an array of it all would be a tenth of preparing.
pub(super) unsafe extern "C" fn prepare(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    // SAFETY: Node-API calls this with its arguments; the statement is finalized with its handle or its database.
    unsafe {
        call(env, info, |arguments| {
            let (Some(database), Some(sql)) = (arguments.state().database(arguments.integer(0)), arguments.c_string(1))
            else {
                return arguments.state().misuse();
            };
            let slab = arguments.state().slab;
            if slab.is_null() {
                return arguments.state().misuse();
            }
            let running = match Running::begin(database) {
                Ok(running) => running,
                Err(error) => return arguments.state().throw(&error),
            };
            let flags = if arguments.boolean(2) {
                ffi::SQLITE_PREPARE_PERSISTENT
            } else {
                0
            };
            let (mut raw, mut tail) = (ptr::null_mut(), ptr::null());
            let code = ffi::sqlite3_prepare_v3((*database).raw, sql.as_ptr(), -1, flags, &raw mut raw, &raw mut tail);
            if running.has_failed_with(code) {
                ffi::sqlite3_finalize(raw);
                return running.end(arguments, code);
            }
            if raw.is_null() {
                return value::integer(env, 0, false);
            }
            if !is_blank(CStr::from_ptr(tail).to_bytes()) {
                ffi::sqlite3_finalize(raw);
                return value::integer(env, 1, false);
            }
            let statement = Box::new(Statement {
                raw,
                database,
                columns: ffi::sqlite3_column_count(raw),
                parameters: ffi::sqlite3_bind_parameter_count(raw),
                preparations: 0,
                safe_integers: false,
                pluck: false,
                failure: None,
                holder: ptr::null_mut(),
            });
            let parameters = statement.parameters;
            let Some(handle) = arguments.state().keep_statement(statement) else {
                ffi::sqlite3_finalize(raw);
                return arguments
                    .state()
                    .throw_with(ffi::SQLITE_NOMEM, b"too many open statements");
            };
            // To make room, statements that nobody holds were finalized: their aggregates may have thrown.
            if running.has_failed() {
                arguments.state().finalize(handle);
                return running.end(arguments, ffi::SQLITE_OK);
            }
            slab::leave_prepared(
                slab,
                handle,
                ffi::sqlite3_column_count(raw),
                ffi::sqlite3_stmt_readonly(raw),
            );
            parameter_names(env, raw, parameters)
        })
    }
}

/// The names of the parameters in one string, each with a NUL at its end and nothing before it if there is none.
unsafe fn parameter_names(env: sys::napi_env, raw: *mut ffi::sqlite3_stmt, count: c_int) -> sys::napi_value {
    let mut names = Vec::new();
    for index in 1..=count {
        // SAFETY: `raw` is prepared; SQLite's names end with a NUL.
        unsafe { push_name(&mut names, ffi::sqlite3_bind_parameter_name(raw, index)) };
    }
    // SAFETY: `env` is current.
    unsafe { value::text(env, &names) }
}

/// # Safety
/// `name` is null, or a string that ends with a NUL.
unsafe fn push_name(names: &mut Vec<u8>, name: *const c_char) {
    if name.is_null() {
        names.push(0);
    } else {
        // SAFETY: the caller's contract.
        names.extend_from_slice(unsafe { CStr::from_ptr(name) }.to_bytes_with_nul());
    }
}

/// Whether nothing follows a statement but white space, semicolons and comments.
fn is_blank(mut tail: &[u8]) -> bool {
    loop {
        tail = match tail {
            [] => return true,
            [b' ' | b';' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r', rest @ ..] => rest,
            [b'/', b'*', rest @ ..] => rest
                .windows(2)
                .position(|pair| pair == b"*/")
                .and_then(|end| rest.get(end + 2..))
                .unwrap_or_default(),
            [b'-', b'-', rest @ ..] => rest
                .iter()
                .position(|&byte| byte == b'\n')
                .and_then(|end| rest.get(end..))
                .unwrap_or_default(),
            _ => return false,
        };
    }
}

/// A name as SQLite has it, or null.
unsafe fn name(env: sys::napi_env, name: *const c_char) -> sys::napi_value {
    let mut value = ptr::null_mut();
    // SAFETY: null, or a string of SQLite's that ends with a NUL.
    unsafe {
        if name.is_null() {
            sys::napi_get_null(env, &raw mut value);
            value
        } else {
            value::text(env, CStr::from_ptr(name).to_bytes())
        }
    }
}

/// `(statement, holder)`: the statement is finalized some time after the holder was collected.
pub(super) unsafe extern "C" fn watch(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    // SAFETY: Node-API calls this with its arguments; a found statement is prepared, and watched once.
    unsafe {
        call(env, info, |arguments| {
            let Some(statement) = arguments.state().statements.get(arguments.integer(0)) else {
                return arguments.state().misuse();
            };
            sys::napi_create_reference(env, arguments.at(1), 0, &raw mut (*statement).holder);
            ptr::null_mut()
        })
    }
}

/// `(statement)`
pub(super) unsafe extern "C" fn finalize(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    // SAFETY: Node-API calls this with its arguments; only a statement that nobody holds any more comes here.
    unsafe {
        call(env, info, |arguments| {
            let handle = arguments.integer(0);
            let Some(statement) = arguments.state().statements.get(handle) else {
                return ptr::null_mut();
            };
            let running = Running::begin_end((*statement).database);
            arguments.state().finalize(handle);
            running.end(arguments, ffi::SQLITE_OK)
        })
    }
}

/// `(statement, safeIntegers, pluck)`
pub(super) unsafe extern "C" fn configure(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    // SAFETY: Node-API calls this with its arguments; a found statement is prepared.
    unsafe {
        call(env, info, |arguments| {
            if let Some(statement) = arguments.state().statements.get(arguments.integer(0)) {
                (*statement).safe_integers = arguments.boolean(1);
                (*statement).pluck = arguments.boolean(2);
            }
            ptr::null_mut()
        })
    }
}

/// `(statement)`: five strings or nulls for each column: name, origin, table, database, declared type.
pub(super) unsafe extern "C" fn columns(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    // SAFETY: Node-API calls this with its arguments; a found statement is prepared.
    unsafe {
        call(env, info, |arguments| {
            let Some(statement) = arguments.state().statements.get(arguments.integer(0)) else {
                return arguments.state().misuse();
            };
            let raw = (*statement).raw;
            let mut array = ptr::null_mut();
            sys::napi_create_array(env, &raw mut array);
            let mut at = 0;
            for column in 0..ffi::sqlite3_column_count(raw) {
                for text in [
                    ffi::sqlite3_column_name(raw, column),
                    ffi::sqlite3_column_origin_name(raw, column),
                    ffi::sqlite3_column_table_name(raw, column),
                    ffi::sqlite3_column_database_name(raw, column),
                    ffi::sqlite3_column_decltype(raw, column),
                ] {
                    sys::napi_set_element(env, array, at, name(env, text));
                    at += 1;
                }
            }
            array
        })
    }
}

/// `(statement)`: the names of its columns in one string, each with a NUL at its end, which no name has inside.
pub(super) unsafe extern "C" fn names(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    // SAFETY: Node-API calls this with its arguments; a found statement is prepared, and its names end with a NUL.
    unsafe {
        call(env, info, |arguments| {
            let Some(statement) = arguments.state().statements.get(arguments.integer(0)) else {
                return arguments.state().misuse();
            };
            let raw = (*statement).raw;
            let mut names = Vec::new();
            for column in 0..ffi::sqlite3_column_count(raw) {
                push_name(&mut names, ffi::sqlite3_column_name(raw, column));
            }
            value::text(env, &names)
        })
    }
}

/// `(statement)`
pub(super) unsafe extern "C" fn expanded_sql(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    // SAFETY: Node-API calls this with its arguments; a found statement is prepared.
    unsafe {
        call(env, info, |arguments| {
            match arguments.state().statements.get(arguments.integer(0)) {
                Some(statement) => super::database::expanded(env, (*statement).raw),
                None => arguments.state().misuse(),
            }
        })
    }
}

/// `(statement, ...values)`: binds for more than one call.
pub(super) unsafe extern "C" fn bind(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    // SAFETY: Node-API calls this with its arguments; a found statement is prepared and TypeScript lets none that runs come here.
    unsafe {
        call(env, info, |arguments| {
            let Some(statement) = arguments.state().statements.get(arguments.integer(0)) else {
                return arguments.state().misuse();
            };
            match bind_all(arguments, statement, 1, None) {
                Ok(()) => ptr::null_mut(),
                Err(exception) => exception,
            }
        })
    }
}

/// `(statement)`: forgets what is bound.
pub(super) unsafe extern "C" fn clear(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    // SAFETY: as `bind`.
    unsafe {
        call(env, info, |arguments| {
            if let Some(statement) = arguments.state().statements.get(arguments.integer(0)) {
                ffi::sqlite3_clear_bindings((*statement).raw);
            }
            ptr::null_mut()
        })
    }
}

/// `(statement)`: ends an iteration.
pub(super) unsafe extern "C" fn reset(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    // SAFETY: as `bind`.
    unsafe {
        call(env, info, |arguments| {
            let Some(statement) = arguments.state().statements.get(arguments.integer(0)) else {
                return ptr::null_mut();
            };
            let running = Running::begin_end((*statement).database);
            // Its code is that of the step before, which was thrown then.
            ffi::sqlite3_reset((*statement).raw);
            (*statement).failure = None;
            running.end(arguments, ffi::SQLITE_OK)
        })
    }
}

/// Binds the arguments from `first` on; with an arena only for the running call.
///
/// # Safety
/// `statement` is prepared and not running.
#[inline]
pub(super) unsafe fn bind_all(
    arguments: &Arguments,
    statement: *mut Statement,
    first: usize,
    mut arena: Option<&mut Arena>,
) -> Result<(), sys::napi_value> {
    let values = arguments.all().get(first..).unwrap_or_default();
    // SAFETY: the caller's contract.
    unsafe {
        let raw = (*statement).raw;
        for (value, index) in values.iter().zip(1..) {
            let code = value::bind(arguments.env, raw, index, *value, arena.as_deref_mut());
            if code != ffi::SQLITE_OK {
                ffi::sqlite3_clear_bindings(raw);
                return Err(refuse(arguments.env, code));
            }
        }
    }
    Ok(())
}

pub(super) fn refuse(env: sys::napi_env, code: c_int) -> sys::napi_value {
    // SAFETY: `env` is current; the strings end with a NUL.
    unsafe {
        match code {
            NOT_BINDABLE => sys::napi_throw_type_error(
                env,
                ptr::null(),
                c"SQLite3 can only bind numbers, strings, bigints, buffers, and null".as_ptr(),
            ),
            ffi::SQLITE_TOOBIG => sys::napi_throw_range_error(
                env,
                ptr::null(),
                c"The bound string, buffer, or bigint is too big".as_ptr(),
            ),
            ffi::SQLITE_NOMEM => sys::napi_throw_error(env, ptr::null(), c"Out of memory".as_ptr()),
            _ => sys::napi_throw_range_error(env, ptr::null(), c"Too many parameter values were provided".as_ptr()),
        };
    }
    ptr::null_mut()
}

/// `(...values that are not all numbers)`, of the statement that the slab names: runs to the end; the slab says what changed.
pub(super) unsafe extern "C" fn run(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    // SAFETY: Node-API calls this with its arguments; the statement stays prepared, since TypeScript marks its database as
    // busy; what was bound from the arena is cleared before it goes.
    unsafe {
        call_without(env, info, |arguments| {
            let Some((slab, statement)) = arguments.state().called() else {
                return arguments.state().misuse();
            };
            let database = (*statement).database;
            let running = match Running::begin(database) {
                Ok(running) => running,
                Err(error) => return arguments.state().throw(&error),
            };
            let mut space = ArenaSpace::uninit();
            let mut arena = Arena::new(&mut space);
            let must_clear = match slab::bind(arguments, slab, statement, 0, &mut arena) {
                Ok(must_clear) => must_clear,
                Err(exception) => return exception,
            };
            let raw = (*statement).raw;
            let code = run_to_end((*database).raw, raw, slab);
            if must_clear {
                ffi::sqlite3_clear_bindings(raw);
            }
            running.end(arguments, code)
        })
    }
}

unsafe fn run_to_end(connection: *mut ffi::sqlite3, raw: *mut ffi::sqlite3_stmt, slab: *mut Slab) -> c_int {
    // SAFETY: both are open, and the slab stays as long as the environment.
    unsafe {
        let before = ffi::sqlite3_total_changes(connection);
        ffi::sqlite3_step(raw);
        let code = ffi::sqlite3_reset(raw);
        if code == ffi::SQLITE_OK {
            let changed = ffi::sqlite3_total_changes(connection) != before;
            let row = ffi::sqlite3_last_insert_rowid(connection);
            (*slab).changes = if changed {
                f64::from(ffi::sqlite3_changes(connection))
            } else {
                0.0
            };
            (*slab).row_id = row as f64;
            (*slab).exact_row_id = row;
        }
        code
    }
}
