//! Rows on their way to JavaScript.
//!
//! A row's values become the arguments of a function that was compiled for its statement, and that builds the object: a call costs
//! 60 ns, four `napi_set_property` ten times that. `all` and `next` pass the values of up to 64 rows at once.

use std::ptr;

use libsqlite3_sys as ffi;
use napi::sys;
use nimbus_sqlite::LibraryError;

use super::arguments::{Arguments, call, call_without};
use super::running::{Running, is_exception_pending};
use super::slab::{self, Row, Slab};
use super::state::Statement;
use super::statement::bind_all;
use super::value::{self, Arena, ArenaSpace};

const ROWS_AT_ONCE: usize = 64;
/// Arguments of one call lie on the stack.
const VALUES_AT_ONCE: usize = 1024;
/// Of a row that `get` builds without the heap.
const INLINE_COLUMNS: usize = 32;

/// `this.changed(): [factory, sink]` is asked when SQLite prepared the statement anew. `(factory, ...values that are not all numbers)`,
/// of the statement that the slab names. The first row, or undefined: null or a string of its texts if the rest of it is in the slab,
/// else what the factory made of it, or the first value where that is all that is wanted.
pub(super) unsafe extern "C" fn get(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    // SAFETY: Node-API calls this with its arguments; the statement stays prepared, since TypeScript marks its database as
    // busy; what was bound from the arena is cleared before it goes.
    unsafe {
        call_without(env, info, |arguments| {
            let Some((slab, statement)) = arguments.state().called() else {
                return arguments.state().misuse();
            };
            let mut space = ArenaSpace::uninit();
            let mut arena = Arena::new(&mut space);
            let must_clear = match slab::bind(arguments, slab, statement, 1, &mut arena) {
                Ok(must_clear) => must_clear,
                Err(exception) => return exception,
            };
            let row = first_row(arguments, slab, statement);
            if must_clear {
                ffi::sqlite3_clear_bindings((*statement).raw);
            }
            row
        })
    }
}

#[inline]
unsafe fn first_row(arguments: &mut Arguments, slab: *mut Slab, statement: *mut Statement) -> sys::napi_value {
    let env = arguments.env;
    // SAFETY: as `get`.
    unsafe {
        let running = match Running::begin((*statement).database) {
            Ok(running) => running,
            Err(error) => return arguments.state().throw(&error),
        };
        let raw = (*statement).raw;
        let code = ffi::sqlite3_step(raw);
        if code != ffi::SQLITE_ROW || running.has_thrown() {
            ffi::sqlite3_reset(raw);
            return running.end(arguments, code);
        }
        let Ok(changed) = current(arguments, statement, 0, ptr::null_mut(), &mut false) else {
            ffi::sqlite3_reset(raw);
            return running.end(arguments, ffi::SQLITE_OK);
        };
        let safe_integers = (*statement).safe_integers;
        let is_plucked = (*statement).pluck;
        let columns = if is_plucked { 1 } else { (*statement).columns as usize };
        let mut row = Row::uninit();
        if !safe_integers
            && !is_plucked
            && let Some(text) = row.read(env, raw, columns)
        {
            ffi::sqlite3_reset(raw);
            if running.has_failed() {
                return running.end(arguments, ffi::SQLITE_OK);
            }
            row.store(slab, columns);
            return text;
        }
        let factory = if changed.is_null() {
            arguments.take_all();
            arguments.at(0)
        } else {
            changed
        };
        let mut inline = [ptr::null_mut(); INLINE_COLUMNS];
        let mut heap = Vec::new();
        let values = if let Some(values) = inline.get_mut(..columns) {
            values
        } else {
            heap.resize(columns, ptr::null_mut());
            heap.as_mut_slice()
        };
        let mut is_whole = true;
        for (slot, column) in values.iter_mut().zip(0..) {
            *slot = value::column(env, raw, column, safe_integers);
            is_whole &= !slot.is_null();
        }
        ffi::sqlite3_reset(raw);
        // After the columns and the end: reading one may load its overflow pages, and an aggregate that is cut short may throw.
        if running.has_failed() {
            return running.end(arguments, ffi::SQLITE_OK);
        }
        if !is_whole {
            return too_long(arguments);
        }
        if is_plucked {
            return values.first().copied().unwrap_or(ptr::null_mut());
        }
        let mut row = ptr::null_mut();
        sys::napi_call_function(
            env,
            arguments.this,
            factory,
            values.len(),
            values.as_ptr(),
            &raw mut row,
        );
        row
    }
}

/// `(statement, sink, rows, ...values)`: has `sink(rows, ...values of many rows)` take every row.
pub(super) unsafe extern "C" fn all(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    // SAFETY: as `get`.
    unsafe {
        call(env, info, |arguments| {
            let Some(statement) = arguments.state().statements.get(arguments.integer(0)) else {
                return arguments.state().misuse();
            };
            let running = match Running::begin((*statement).database) {
                Ok(running) => running,
                Err(error) => return arguments.state().throw(&error),
            };
            let has_values = arguments.all().len() > 3;
            let mut space = ArenaSpace::uninit();
            let mut arena = Arena::new(&mut space);
            if has_values && let Err(exception) = bind_all(arguments, statement, 3, Some(&mut arena)) {
                return exception;
            }
            let mut values = Vec::with_capacity(VALUES_AT_ONCE);
            let mut has_changed = false;
            let outcome = loop {
                match batch(
                    arguments,
                    running,
                    statement,
                    ROWS_AT_ONCE,
                    &mut values,
                    &mut has_changed,
                ) {
                    Ok(Batch::More) => {}
                    other => break other,
                }
            };
            let failure = (*statement).failure.take();
            ffi::sqlite3_reset((*statement).raw);
            if has_values {
                ffi::sqlite3_clear_bindings((*statement).raw);
            }
            if let (Ok(_), Some(failure)) = (outcome, failure) {
                arguments.state().throw(&failure);
            }
            running.end(arguments, ffi::SQLITE_OK)
        })
    }
}

/// `(statement, sink, rows, most)`: the same for the next rows, `most` of them, or fewer; true if there may be more. What failed
/// is thrown once the rows before it have been handed out.
pub(super) unsafe extern "C" fn next(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    // SAFETY: as `get`; what is bound was copied by SQLite.
    unsafe {
        call(env, info, |arguments| {
            let Some(statement) = arguments.state().statements.get(arguments.integer(0)) else {
                return arguments.state().misuse();
            };
            if let Some(failure) = (*statement).failure.take() {
                return arguments.state().throw(&failure);
            }
            let running = match Running::begin((*statement).database) {
                Ok(running) => running,
                Err(error) => return arguments.state().throw(&error),
            };
            let most = usize::try_from(arguments.integer(3))
                .unwrap_or(1)
                .clamp(1, ROWS_AT_ONCE);
            let mut values = Vec::with_capacity(most * (*statement).columns.max(1) as usize + 1);
            let Ok(outcome) = batch(arguments, running, statement, most, &mut values, &mut false) else {
                return ptr::null_mut();
            };
            if values.len() <= 1
                && let Some(failure) = (*statement).failure.take()
            {
                return arguments.state().throw(&failure);
            }
            let mut more = ptr::null_mut();
            let is_more = matches!(outcome, Batch::More) || (*statement).failure.is_some();
            sys::napi_get_boolean(env, is_more, &raw mut more);
            more
        })
    }
}

#[derive(Clone, Copy)]
enum Batch {
    /// The statement is on its last row but one, or further from the end.
    More,
    /// The statement is done; if it failed, the statement says how.
    End,
}

/// An exception is pending.
struct Thrown;

/// # Safety
/// As `get`.
unsafe fn batch(
    arguments: &Arguments,
    running: Running,
    statement: *mut Statement,
    most_rows: usize,
    values: &mut Vec<sys::napi_value>,
    has_changed: &mut bool,
) -> Result<Batch, Thrown> {
    let env = arguments.env;
    // SAFETY: the caller's contract; every value is of the scope that is closed after the call that takes them.
    unsafe {
        let raw = (*statement).raw;
        values.clear();
        values.push(arguments.at(2));
        let mut scope = ptr::null_mut();
        sys::napi_open_handle_scope(env, &raw mut scope);
        let mut sink = arguments.at(1);
        let mut outcome = Ok(Batch::More);
        let mut rows = 0;
        while rows < most_rows && values.len() < VALUES_AT_ONCE {
            let code = ffi::sqlite3_step(raw);
            if code != ffi::SQLITE_ROW || running.has_thrown() {
                outcome = Ok(Batch::End);
                if running.has_failed_with(code) {
                    match running.failure(env, code) {
                        Some(failure) => (*statement).failure = Some(failure),
                        None => outcome = Err(Thrown),
                    }
                }
                break;
            }
            if rows == 0 {
                let Ok(function) = current(arguments, statement, 1, sink, has_changed) else {
                    outcome = Err(Thrown);
                    break;
                };
                sink = function;
            }
            let before = values.len();
            let columns = if (*statement).pluck { 1 } else { (*statement).columns };
            let safe_integers = (*statement).safe_integers;
            let mut is_whole = true;
            for column in 0..columns {
                let value = value::column(env, raw, column, safe_integers);
                is_whole &= !value.is_null();
                values.push(value);
            }
            // After the columns: reading one may load its overflow pages.
            if running.has_failed() {
                values.truncate(before);
                (*statement).failure = Some(LibraryError::corrupt());
                outcome = Ok(Batch::End);
                break;
            }
            if !is_whole {
                values.truncate(before);
                too_long(arguments);
                outcome = Err(Thrown);
                break;
            }
            rows += 1;
        }
        if outcome.is_ok() && rows > 0 {
            let called = sys::napi_call_function(
                env,
                arguments.this,
                sink,
                values.len(),
                values.as_ptr(),
                ptr::null_mut(),
            );
            if called != sys::Status::napi_ok {
                outcome = Err(Thrown);
            }
        }
        sys::napi_close_handle_scope(env, scope);
        outcome
    }
}

/// The function that takes a row of this statement, whose columns change when SQLite prepares it anew for another schema. What
/// the call was given is outdated from then on: `has_changed` says so to the batches that follow.
#[inline]
unsafe fn current(
    arguments: &Arguments,
    statement: *mut Statement,
    which: u32,
    function: sys::napi_value,
    has_changed: &mut bool,
) -> Result<sys::napi_value, Thrown> {
    let env = arguments.env;
    // SAFETY: the statement is on a row.
    unsafe {
        let raw = (*statement).raw;
        let preparations = ffi::sqlite3_stmt_status(raw, ffi::SQLITE_STMTSTATUS_REPREPARE, 0);
        if preparations == (*statement).preparations && !*has_changed {
            return Ok(function);
        }
        *has_changed = true;
        (*statement).preparations = preparations;
        (*statement).columns = ffi::sqlite3_column_count(raw);
        let (mut changed, mut both, mut one) = (ptr::null_mut(), ptr::null_mut(), ptr::null_mut());
        sys::napi_get_named_property(env, arguments.this, c"changed".as_ptr(), &raw mut changed);
        let called = sys::napi_call_function(env, arguments.this, changed, 0, ptr::null(), &raw mut both);
        if called != sys::Status::napi_ok {
            return Err(Thrown);
        }
        sys::napi_get_element(env, both, which, &raw mut one);
        Ok(one)
    }
}

/// V8's strings end at 512 MiB, SQLite's at 1 GiB.
fn too_long(arguments: &Arguments) -> sys::napi_value {
    if !is_exception_pending(arguments.env) {
        let message = c"A value of this row is longer than JavaScript can hold".as_ptr();
        // SAFETY: `env` is current; the message ends with a NUL.
        unsafe { sys::napi_throw_range_error(arguments.env, ptr::null(), message) };
    }
    ptr::null_mut()
}
