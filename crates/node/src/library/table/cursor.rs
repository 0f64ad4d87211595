//! A walk over the rows of a virtual table: one run of its generator.

use std::ffi::{c_char, c_int};
use std::{ptr, slice};

use libsqlite3_sys as ffi;
use napi::sys;

use super::super::function::refuse;
use super::super::value;
use super::{Table, call_reference, element, scoped};

#[repr(C)]
struct Cursor {
    base: ffi::sqlite3_vtab_cursor,
    next: sys::napi_ref,
    row: sys::napi_ref,
    row_id: i64,
    is_done: bool,
}

pub(super) unsafe extern "C" fn open(
    _table: *mut ffi::sqlite3_vtab,
    output: *mut *mut ffi::sqlite3_vtab_cursor,
) -> c_int {
    // SAFETY: SQLite sets `base.pVtab`, and gives the cursor back to `close` once.
    unsafe {
        *output = Box::into_raw(Box::new(Cursor {
            base: std::mem::zeroed(),
            next: ptr::null_mut(),
            row: ptr::null_mut(),
            row_id: 0,
            is_done: true,
        }))
        .cast();
    }
    ffi::SQLITE_OK
}

pub(super) unsafe extern "C" fn close(cursor: *mut ffi::sqlite3_vtab_cursor) -> c_int {
    // SAFETY: what `open` gave away, once.
    unsafe {
        let mut cursor = Box::from_raw(cursor.cast::<Cursor>());
        let env = (*(*cursor.base.pVtab.cast::<Table>()).module).env;
        forget(env, &mut cursor.next);
        forget(env, &mut cursor.row);
    }
    ffi::SQLITE_OK
}

unsafe fn forget(env: sys::napi_env, reference: &mut sys::napi_ref) {
    let reference = std::mem::replace(reference, ptr::null_mut());
    if !reference.is_null() {
        // SAFETY: made by us, deleted once.
        unsafe { sys::napi_delete_reference(env, reference) };
    }
}

pub(super) unsafe extern "C" fn filter(
    raw: *mut ffi::sqlite3_vtab_cursor,
    given: c_int,
    _text: *const c_char,
    count: c_int,
    values: *mut *mut ffi::sqlite3_value,
) -> c_int {
    // SAFETY: SQLite calls this with a cursor of `open` and the values that `best_index` asked for.
    unsafe {
        let cursor = raw.cast::<Cursor>();
        let table = &*(*cursor).base.pVtab.cast::<Table>();
        let module = &*table.module;
        (*cursor).is_done = true;
        (*cursor).row_id = 0;
        let mut has_null = false;
        let code = scoped(module, |env| {
            forget(env, &mut (*cursor).next);
            let raw_values = if count > 0 {
                slice::from_raw_parts(values, count as usize)
            } else {
                &[]
            };
            let mut raw_values = raw_values.iter();
            let mut arguments = Vec::with_capacity(table.parameters.len());
            for index in 0..table.parameters.len() {
                let mut argument = ptr::null_mut();
                if given & (1 << index) == 0 {
                    sys::napi_get_undefined(env, &raw mut argument);
                } else if let Some(value) = raw_values.next() {
                    // Nothing equals NULL: there are no rows.
                    has_null |= ffi::sqlite3_value_type(*value) == ffi::SQLITE_NULL;
                    argument = value::argument(env, *value, table.safe_integers);
                }
                arguments.push(argument);
            }
            if has_null {
                return Some(());
            }
            let next = call_reference(env, table.open, &arguments)?;
            sys::napi_create_reference(env, next, 1, &raw mut (*cursor).next);
            Some(())
        });
        if code != ffi::SQLITE_OK || has_null {
            code
        } else {
            next(raw)
        }
    }
}

pub(super) unsafe extern "C" fn next(raw: *mut ffi::sqlite3_vtab_cursor) -> c_int {
    // SAFETY: SQLite calls this with a cursor of `open` after `filter`.
    unsafe {
        let cursor = raw.cast::<Cursor>();
        let module = &*(*(*cursor).base.pVtab.cast::<Table>()).module;
        scoped(module, |env| {
            forget(env, &mut (*cursor).row);
            let row = call_reference(env, (*cursor).next, &[])?;
            (*cursor).is_done = value::type_of(env, row) != sys::ValueType::napi_object;
            if !(*cursor).is_done {
                sys::napi_create_reference(env, row, 1, &raw mut (*cursor).row);
            }
            (*cursor).row_id += 1;
            Some(())
        })
    }
}

pub(super) unsafe extern "C" fn is_at_end(cursor: *mut ffi::sqlite3_vtab_cursor) -> c_int {
    // SAFETY: a cursor of `open`.
    c_int::from(unsafe { (*cursor.cast::<Cursor>()).is_done })
}

pub(super) unsafe extern "C" fn column(
    raw: *mut ffi::sqlite3_vtab_cursor,
    context: *mut ffi::sqlite3_context,
    index: c_int,
) -> c_int {
    // SAFETY: SQLite calls this with a cursor that is on a row.
    unsafe {
        let cursor = raw.cast::<Cursor>();
        let module = &*(*(*cursor).base.pVtab.cast::<Table>()).module;
        scoped(module, |env| {
            let mut row = ptr::null_mut();
            sys::napi_get_reference_value(env, (*cursor).row, &raw mut row);
            let value = element(env, row, index as u32);
            let code = value::result(env, context, value);
            if code != ffi::SQLITE_OK {
                refuse(env, code, &format!("Virtual table module \"{}\" yielded", module.name));
                return None;
            }
            Some(())
        })
    }
}

pub(super) unsafe extern "C" fn row_id(cursor: *mut ffi::sqlite3_vtab_cursor, output: *mut i64) -> c_int {
    // SAFETY: a cursor of `open`, and a place for one number.
    unsafe { *output = (*cursor.cast::<Cursor>()).row_id };
    ffi::SQLITE_OK
}
