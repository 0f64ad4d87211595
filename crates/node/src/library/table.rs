//! Virtual tables whose rows a generator of JavaScript makes. TypeScript wraps the generator, so that what arrives here is a function
//! that returns the next row as an array, or undefined.

mod cursor;

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::{ptr, slice};

use libsqlite3_sys as ffi;
use napi::sys;

use super::arguments::call;
use super::running::{Running, call_out};
use super::state::Database;
use super::value;

/// More than any real table: SQLite is not to run the generator in an inner loop if it can be helped.
const ESTIMATED_ROWS: i64 = 1_000_000_000;

struct Module {
    env: sys::napi_env,
    database: *mut Database,
    name: String,
    factory: sys::napi_ref,
}

impl Drop for Module {
    fn drop(&mut self) {
        // SAFETY: made in `define`, deleted once.
        unsafe { sys::napi_delete_reference(self.env, self.factory) };
    }
}

#[repr(C)]
struct Table {
    base: ffi::sqlite3_vtab,
    module: *const Module,
    open: sys::napi_ref,
    parameters: Vec<String>,
    safe_integers: bool,
}

const fn module_with(create: Option<ConnectFunction>) -> ffi::sqlite3_module {
    ffi::sqlite3_module {
        iVersion: 0,
        xCreate: create,
        xConnect: Some(connect),
        xBestIndex: Some(best_index),
        xDisconnect: Some(disconnect),
        xDestroy: Some(disconnect),
        xOpen: Some(cursor::open),
        xClose: Some(cursor::close),
        xFilter: Some(cursor::filter),
        xNext: Some(cursor::next),
        xEof: Some(cursor::is_at_end),
        xColumn: Some(cursor::column),
        xRowid: Some(cursor::row_id),
        xUpdate: None,
        xBegin: None,
        xSync: None,
        xCommit: None,
        xRollback: None,
        xFindFunction: None,
        xRename: None,
        xSavepoint: None,
        xRelease: None,
        xRollbackTo: None,
        xShadowName: None,
        xIntegrity: None,
    }
}

type ConnectFunction = unsafe extern "C" fn(
    *mut ffi::sqlite3,
    *mut c_void,
    c_int,
    *const *const c_char,
    *mut *mut ffi::sqlite3_vtab,
    *mut *mut c_char,
) -> c_int;

static EPONYMOUS: ffi::sqlite3_module = module_with(None);
static CREATED: ffi::sqlite3_module = module_with(Some(create));

/// `(database, name, factory, isEponymous)`; `factory(module, database, table, ...arguments)` returns
/// `[sql, open(...values) -> next() -> row | undefined, parameter names, safeIntegers, directOnly]`.
pub(super) unsafe extern "C" fn define(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    // SAFETY: Node-API calls this with its arguments; SQLite destroys the module with its database at the latest, and on
    // failure at once.
    unsafe {
        call(env, info, |arguments| {
            let (Some(database), Some(name), Some(factory)) = (
                arguments.state().database(arguments.integer(0)),
                arguments.c_string(1),
                arguments.function(2),
            ) else {
                return arguments.state().misuse();
            };
            let running = match Running::begin(database) {
                Ok(running) => running,
                Err(error) => return arguments.state().throw(&error),
            };
            let mut module = Box::new(Module {
                env,
                database,
                name: name.to_string_lossy().into_owned(),
                factory: ptr::null_mut(),
            });
            sys::napi_create_reference(env, factory, 1, &raw mut module.factory);
            let methods = if arguments.boolean(3) {
                &raw const EPONYMOUS
            } else {
                &raw const CREATED
            };
            let data = Box::into_raw(module).cast();
            let code = ffi::sqlite3_create_module_v2((*database).raw, name.as_ptr(), methods, data, Some(destroy));
            running.end(arguments, code)
        })
    }
}

unsafe extern "C" fn destroy(module: *mut c_void) {
    // SAFETY: what `define` gave away, once.
    drop(unsafe { Box::from_raw(module.cast::<Module>()) });
}

/// Runs `body` in a scope of its own. An exception that it leaves pending ends the statement.
unsafe fn scoped(module: &Module, body: impl FnOnce(sys::napi_env) -> Option<()>) -> c_int {
    // SAFETY: the database is open while one of its tables is used, and `env` current.
    unsafe {
        if (*module.database).threw {
            return ffi::SQLITE_ERROR;
        }
        let mut scope = ptr::null_mut();
        sys::napi_open_handle_scope(module.env, &raw mut scope);
        let outcome = body(module.env);
        sys::napi_close_handle_scope(module.env, scope);
        if outcome.is_some() {
            return ffi::SQLITE_OK;
        }
        (*module.database).threw = true;
        ffi::SQLITE_ERROR
    }
}

unsafe fn call_reference(
    env: sys::napi_env,
    function: sys::napi_ref,
    values: &[sys::napi_value],
) -> Option<sys::napi_value> {
    let mut target = ptr::null_mut();
    // SAFETY: the reference is one of ours, `env` current.
    unsafe {
        sys::napi_get_reference_value(env, function, &raw mut target);
        call_out(env, target, values)
    }
}

unsafe fn element(env: sys::napi_env, array: sys::napi_value, index: u32) -> sys::napi_value {
    let mut value = ptr::null_mut();
    // SAFETY: `array` is of the current scope.
    unsafe { sys::napi_get_element(env, array, index, &raw mut value) };
    value
}

unsafe extern "C" fn create(
    handle: *mut ffi::sqlite3,
    module: *mut c_void,
    count: c_int,
    words: *const *const c_char,
    output: *mut *mut ffi::sqlite3_vtab,
    message: *mut *mut c_char,
) -> c_int {
    // SAFETY: passed on as it came.
    unsafe { connect(handle, module, count, words, output, message) }
}

unsafe extern "C" fn connect(
    handle: *mut ffi::sqlite3,
    module: *mut c_void,
    count: c_int,
    words: *const *const c_char,
    output: *mut *mut ffi::sqlite3_vtab,
    _message: *mut *mut c_char,
) -> c_int {
    // SAFETY: SQLite calls this with what `define` registered and as many words as it says; the table that is given away
    // here comes back to `disconnect` once.
    unsafe {
        let module = &*module.cast::<Module>();
        let mut declared = ffi::SQLITE_OK;
        let code = scoped(module, |env| {
            let words: Vec<_> = slice::from_raw_parts(words, count as usize)
                .iter()
                .map(|word| value::text(env, CStr::from_ptr(*word).to_bytes()))
                .collect();
            let definition = call_reference(env, module.factory, &words)?;
            let sql = CString::new(value::string_bytes(env, element(env, definition, 0))?).unwrap_or_default();
            let mut count = 0;
            let names = element(env, definition, 2);
            sys::napi_get_array_length(env, names, &raw mut count);
            let parameters = (0..count)
                .filter_map(|index| value::string_bytes(env, element(env, names, index)))
                .map(|name| String::from_utf8_lossy(&name).into_owned())
                .collect();
            let mut safe_integers = 2;
            sys::napi_get_value_int32(env, element(env, definition, 3), &raw mut safe_integers);
            let mut direct_only = false;
            sys::napi_get_value_bool(env, element(env, definition, 4), &raw mut direct_only);
            declared = ffi::sqlite3_declare_vtab(handle, sql.as_ptr());
            if direct_only && declared == ffi::SQLITE_OK {
                declared = ffi::sqlite3_vtab_config(handle, ffi::SQLITE_VTAB_DIRECTONLY);
            }
            if declared == ffi::SQLITE_OK {
                let mut table = Box::new(Table {
                    base: std::mem::zeroed(),
                    module,
                    open: ptr::null_mut(),
                    parameters,
                    safe_integers: safe_integers == 1 || (safe_integers == 2 && (*module.database).safe_integers),
                });
                sys::napi_create_reference(env, element(env, definition, 1), 1, &raw mut table.open);
                *output = Box::into_raw(table).cast();
            }
            Some(())
        });
        if code == ffi::SQLITE_OK { declared } else { code }
    }
}

unsafe extern "C" fn disconnect(table: *mut ffi::sqlite3_vtab) -> c_int {
    // SAFETY: what `connect` gave away, once; the module outlives its tables.
    unsafe {
        let table = Box::from_raw(table.cast::<Table>());
        sys::napi_delete_reference((*table.module).env, table.open);
    }
    ffi::SQLITE_OK
}

/// Asked while a statement is compiled: every parameter that is given a value goes to the generator, and only by `=`.
unsafe extern "C" fn best_index(table: *mut ffi::sqlite3_vtab, plan: *mut ffi::sqlite3_index_info) -> c_int {
    // SAFETY: SQLite passes a table of `connect`, and arrays of as many entries as it says.
    unsafe {
        let parameters = &(*table.cast::<Table>()).parameters;
        let plan = &mut *plan;
        let count = plan.nConstraint as usize;
        let constraints = if count > 0 {
            slice::from_raw_parts(plan.aConstraint, count)
        } else {
            &[]
        };
        let mut given = Vec::new();
        for (constraint, at) in constraints.iter().zip(0_usize..) {
            let operator = i32::from(constraint.op);
            if operator == ffi::SQLITE_INDEX_CONSTRAINT_LIMIT || operator == ffi::SQLITE_INDEX_CONSTRAINT_OFFSET {
                continue;
            }
            let Some(name) = usize::try_from(constraint.iColumn)
                .ok()
                .and_then(|column| parameters.get(column))
            else {
                continue;
            };
            if operator != ffi::SQLITE_INDEX_CONSTRAINT_EQ {
                let message = format!("virtual table parameter \"{name}\" can only be constrained by the '=' operator");
                let message = CString::new(message).unwrap_or_default();
                ffi::sqlite3_free((*table).zErrMsg.cast());
                (*table).zErrMsg = ffi::sqlite3_mprintf(c"%s".as_ptr(), message.as_ptr());
                return ffi::SQLITE_ERROR;
            }
            if constraint.usable == 0 {
                // A plan without this value would run the generator without it.
                return ffi::SQLITE_CONSTRAINT;
            }
            given.push((constraint.iColumn, at));
        }
        given.sort_unstable();
        let mut taken = 0;
        for (column, at) in given {
            let bit = 1 << column;
            if plan.idxNum & bit == 0 {
                plan.idxNum |= bit;
                taken += 1;
                let usage = &mut *plan.aConstraintUsage.add(at);
                usage.argvIndex = taken;
                usage.omit = 1;
            }
        }
        plan.estimatedRows = ESTIMATED_ROWS / i64::from(taken + 1);
        plan.estimatedCost = plan.estimatedRows as f64;
        ffi::SQLITE_OK
    }
}
