//! Functions and aggregates of JavaScript that SQL calls.
//!
//! An exception stays pending while SQLite unwinds, so the very object that was thrown comes out; meanwhile nothing here calls
//! JavaScript again. What an aggregate accumulates is kept in JavaScript under a number, since a reference cannot hold every value.

use std::ffi::{CString, c_int, c_void};
use std::{ptr, slice};

use libsqlite3_sys as ffi;
use napi::sys;

use super::arguments::{Arguments, call};
use super::running::{Running, call_out};
use super::state::Database;
use super::value::{self, NOT_BINDABLE};

const INLINE_ARGUMENTS: usize = 8;
const DETERMINISTIC: i32 = 1;
const DIRECT_ONLY: i32 = 2;
/// Of `safeIntegers`: as the database says.
const BY_DEFAULT: i32 = 2;

/// Functions of JavaScript under one name of SQL.
struct UserFunction {
    env: sys::napi_env,
    database: *mut Database,
    name: String,
    safe_integers: bool,
    /// Of a function: itself. Of an aggregate: start, step, inverse, result, end.
    functions: [sys::napi_ref; 5],
}

impl Drop for UserFunction {
    fn drop(&mut self) {
        for function in self.functions.into_iter().filter(|function| !function.is_null()) {
            // SAFETY: made in `of`, deleted once; SQLite destroys a function on the thread of its database.
            unsafe { sys::napi_delete_reference(self.env, function) };
        }
    }
}

impl UserFunction {
    unsafe fn of(arguments: &Arguments, database: *mut Database, name: &CString, first: usize) -> Self {
        let mut functions = [ptr::null_mut(); 5];
        for (slot, index) in functions.iter_mut().zip(first..) {
            if let Some(function) = arguments.function(index) {
                // SAFETY: a function of this call.
                unsafe { sys::napi_create_reference(arguments.env, function, 1, slot) };
            }
        }
        let safe_integers = match arguments.integer(3) {
            // SAFETY: the database is open.
            BY_DEFAULT => unsafe { (*database).safe_integers },
            chosen => chosen == 1,
        };
        Self {
            env: arguments.env,
            database,
            name: name.to_string_lossy().into_owned(),
            safe_integers,
            functions,
        }
    }

    /// Calls one of the functions; null if it threw.
    unsafe fn call(&self, which: usize, values: &[sys::napi_value]) -> sys::napi_value {
        let mut function = ptr::null_mut();
        let reference = self.functions.get(which).copied().unwrap_or(ptr::null_mut());
        // SAFETY: the reference is ours, and `env` current: SQLite runs on the thread that called it.
        unsafe {
            sys::napi_get_reference_value(self.env, reference, &raw mut function);
            call_out(self.env, function, values).unwrap_or(ptr::null_mut())
        }
    }

    /// An exception of JavaScript is pending: SQLite is told to give up.
    unsafe fn give_up(&self, context: *mut ffi::sqlite3_context) {
        // SAFETY: the database is open while one of its functions runs.
        unsafe {
            (*self.database).threw = true;
            ffi::sqlite3_result_error(context, c"".as_ptr(), 0);
        }
    }

    unsafe fn answer(&self, context: *mut ffi::sqlite3_context, value: sys::napi_value) {
        // SAFETY: as `give_up`.
        unsafe {
            if value.is_null() {
                return self.give_up(context);
            }
            let code = value::result(self.env, context, value);
            if code != ffi::SQLITE_OK {
                refuse(
                    self.env,
                    code,
                    &format!("User-defined function {}() returned", self.name),
                );
                self.give_up(context);
            }
        }
    }
}

/// Throws what is wrong with a value that SQLite cannot take.
pub(super) fn refuse(env: sys::napi_env, code: c_int, prefix: &str) {
    // SAFETY: `env` is current; the strings end with a NUL.
    unsafe {
        if code == NOT_BINDABLE {
            let message = CString::new(format!("{prefix} an invalid value")).unwrap_or_default();
            sys::napi_throw_type_error(env, ptr::null(), message.as_ptr());
        } else {
            let message = CString::new(format!("{prefix} a bigint that was too big")).unwrap_or_default();
            sys::napi_throw_range_error(env, ptr::null(), message.as_ptr());
        }
    }
}

fn flags_of(arguments: &Arguments) -> c_int {
    let chosen = arguments.integer(4);
    let mut flags = ffi::SQLITE_UTF8;
    if chosen & DETERMINISTIC != 0 {
        flags |= ffi::SQLITE_DETERMINISTIC;
    }
    if chosen & DIRECT_ONLY != 0 {
        flags |= ffi::SQLITE_DIRECTONLY;
    }
    flags
}

/// `(database, name, count, safeIntegers, flags, function)`
pub(super) unsafe extern "C" fn define(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    // SAFETY: Node-API calls this with its arguments; SQLite destroys the function with its database at the latest, and on
    // failure at once.
    unsafe {
        call(env, info, |arguments| {
            let (Some(database), Some(name)) =
                (arguments.state().database(arguments.integer(0)), arguments.c_string(1))
            else {
                return arguments.state().misuse();
            };
            let running = match Running::begin(database) {
                Ok(running) => running,
                Err(error) => return arguments.state().throw(&error),
            };
            let function = Box::into_raw(Box::new(UserFunction::of(arguments, database, &name, 5)));
            let code = ffi::sqlite3_create_function_v2(
                (*database).raw,
                name.as_ptr(),
                arguments.integer(2),
                flags_of(arguments),
                function.cast(),
                Some(run),
                None,
                None,
                Some(destroy),
            );
            running.end(arguments, code)
        })
    }
}

/// `(database, name, count, safeIntegers, flags, start, step, inverse?, result, end)`: `start() -> id`, `step(id, ...values)`,
/// `inverse(id, ...values)`, `result(id)`, `end(id)`.
pub(super) unsafe extern "C" fn define_aggregate(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    // SAFETY: as `define`.
    unsafe {
        call(env, info, |arguments| {
            let (Some(database), Some(name)) =
                (arguments.state().database(arguments.integer(0)), arguments.c_string(1))
            else {
                return arguments.state().misuse();
            };
            let running = match Running::begin(database) {
                Ok(running) => running,
                Err(error) => return arguments.state().throw(&error),
            };
            let function = Box::new(UserFunction::of(arguments, database, &name, 5));
            let has_inverse = arguments.function(7).is_some();
            let code = ffi::sqlite3_create_window_function(
                (*database).raw,
                name.as_ptr(),
                arguments.integer(2),
                flags_of(arguments),
                Box::into_raw(function).cast(),
                Some(step),
                Some(finish),
                if has_inverse { Some(current_value) } else { None },
                if has_inverse { Some(inverse) } else { None },
                Some(destroy),
            );
            running.end(arguments, code)
        })
    }
}

unsafe extern "C" fn destroy(function: *mut c_void) {
    // SAFETY: what `define` gave away, once.
    drop(unsafe { Box::from_raw(function.cast::<UserFunction>()) });
}

/// Runs `body` in a scope of its own, unless an exception is pending.
unsafe fn scoped(context: *mut ffi::sqlite3_context, body: impl FnOnce(&UserFunction)) {
    // SAFETY: SQLite passes what `define` registered; the database is open while its function runs.
    unsafe {
        let function = &*ffi::sqlite3_user_data(context).cast::<UserFunction>();
        if (*function.database).threw {
            ffi::sqlite3_result_error(context, c"".as_ptr(), 0);
            return;
        }
        let mut scope = ptr::null_mut();
        sys::napi_open_handle_scope(function.env, &raw mut scope);
        body(function);
        sys::napi_close_handle_scope(function.env, scope);
    }
}

/// The values of a call, behind `first` if there is one.
unsafe fn with_values<R>(
    function: &UserFunction,
    first: Option<sys::napi_value>,
    count: c_int,
    raw: *mut *mut ffi::sqlite3_value,
    body: impl FnOnce(&[sys::napi_value]) -> R,
) -> R {
    let raw = if count > 0 {
        // SAFETY: SQLite passes as many values as it says.
        unsafe { slice::from_raw_parts(raw, count as usize) }
    } else {
        &[]
    };
    // SAFETY: values of the running call.
    let values = raw
        .iter()
        .map(|value| unsafe { value::argument(function.env, *value, function.safe_integers) });
    let mut values = first.into_iter().chain(values);
    let total = raw.len() + usize::from(first.is_some());
    if total <= INLINE_ARGUMENTS {
        let mut inline = [ptr::null_mut(); INLINE_ARGUMENTS];
        for (slot, value) in inline.iter_mut().zip(&mut values) {
            *slot = value;
        }
        return body(inline.get(..total).unwrap_or_default());
    }
    body(&values.collect::<Vec<_>>())
}

unsafe extern "C" fn run(context: *mut ffi::sqlite3_context, count: c_int, values: *mut *mut ffi::sqlite3_value) {
    // SAFETY: SQLite calls this with what it says.
    unsafe {
        scoped(context, |function| {
            let value = with_values(function, None, count, values, |values| function.call(0, values));
            function.answer(context, value);
        });
    }
}

const START: usize = 0;
const STEP: usize = 1;
const INVERSE: usize = 2;
const RESULT: usize = 3;
const END: usize = 4;

/// One group of an aggregate; SQLite hands it out as zeros.
#[repr(C)]
struct Group {
    id: i32,
    has_begun: bool,
    has_failed: bool,
    is_window: bool,
}

/// The group of a call, begun if it is new; none if it failed.
unsafe fn group_of(function: &UserFunction, context: *mut ffi::sqlite3_context) -> Option<*mut Group> {
    // SAFETY: SQLite gives zeroed memory of the asked size, aligned for any type, the same for each call of a group.
    unsafe {
        let group = ffi::sqlite3_aggregate_context(context, size_of::<Group>() as c_int).cast::<Group>();
        if group.is_null() {
            ffi::sqlite3_result_error_nomem(context);
            return None;
        }
        if !(*group).has_begun {
            (*group).has_begun = true;
            let id = function.call(START, &[]);
            if id.is_null() {
                (*group).has_failed = true;
                function.give_up(context);
            } else {
                sys::napi_get_value_int32(function.env, id, &raw mut (*group).id);
            }
        }
        (!(*group).has_failed).then_some(group)
    }
}

unsafe fn take(which: usize, context: *mut ffi::sqlite3_context, count: c_int, values: *mut *mut ffi::sqlite3_value) {
    // SAFETY: the callers' contract: SQLite calls with what it says.
    unsafe {
        scoped(context, |function| {
            let Some(group) = group_of(function, context) else {
                return;
            };
            let id = value::integer(function.env, i64::from((*group).id), false);
            let done = with_values(function, Some(id), count, values, |values| function.call(which, values));
            if done.is_null() {
                (*group).has_failed = true;
                function.give_up(context);
            }
        });
    }
}

unsafe extern "C" fn step(context: *mut ffi::sqlite3_context, count: c_int, values: *mut *mut ffi::sqlite3_value) {
    // SAFETY: SQLite calls this with what it says.
    unsafe { take(STEP, context, count, values) };
}

unsafe extern "C" fn inverse(context: *mut ffi::sqlite3_context, count: c_int, values: *mut *mut ffi::sqlite3_value) {
    // SAFETY: SQLite calls this with what it says.
    unsafe { take(INVERSE, context, count, values) };
}

unsafe extern "C" fn current_value(context: *mut ffi::sqlite3_context) {
    // SAFETY: SQLite calls this for a group that has begun.
    unsafe {
        scoped(context, |function| {
            let Some(group) = group_of(function, context) else {
                return;
            };
            (*group).is_window = true;
            let id = value::integer(function.env, i64::from((*group).id), false);
            let value = function.call(RESULT, &[id]);
            (*group).has_failed = value.is_null();
            function.answer(context, value);
        });
    }
}

unsafe extern "C" fn finish(context: *mut ffi::sqlite3_context) {
    // SAFETY: SQLite calls this once for each group.
    unsafe {
        scoped(context, |function| {
            let Some(group) = group_of(function, context) else {
                return;
            };
            let id = value::integer(function.env, i64::from((*group).id), false);
            if !(*group).is_window {
                let value = function.call(RESULT, &[id]);
                function.answer(context, value);
            }
            if !(*function.database).threw && function.call(END, &[id]).is_null() {
                function.give_up(context);
            }
        });
    }
}
