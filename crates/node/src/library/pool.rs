//! Statements that native threads run on connections beside a database's own.

use std::ptr;
use std::sync::Arc;

use napi::bindgen_prelude::{FromNapiValue, Function, ToNapiValue};
use napi::sys;
use napi::threadsafe_function::ThreadsafeFunctionCallMode;
use nimbus_sqlite::{LibraryAnswer, LibraryPool, LibraryRequest, LibraryRows, LibrarySink};

use super::arguments::{Arguments, call};
use super::value;

/// An answer on its way to JavaScript; `PoolAnswer` in TypeScript.
struct Answer(LibraryAnswer);

impl ToNapiValue for Answer {
    unsafe fn to_napi_value(env: sys::napi_env, Self(answer): Self) -> napi::Result<sys::napi_value> {
        // SAFETY: `env` is current, and each value is made in its scope.
        unsafe {
            let id = value::integer(env, i64::from(answer.id), false);
            Ok(match answer.outcome {
                Err(error) => array(
                    env,
                    [
                        id,
                        value::text(env, error.message.as_bytes()),
                        value::integer(env, i64::from(error.code), false),
                    ],
                ),
                Ok(rows) => of_rows(env, id, &rows, answer.safe_integers),
            })
        }
    }
}

unsafe fn of_rows(env: sys::napi_env, id: sys::napi_value, rows: &LibraryRows, safe_integers: bool) -> sys::napi_value {
    // SAFETY: the caller says that `env` is current.
    unsafe {
        let columns = rows.columns.iter().map(|name| value::text(env, name.as_bytes()));
        let values = rows.values.iter();
        let values = values.map(|value| value::of_owned(env, value, safe_integers));
        let mut is_done = ptr::null_mut();
        sys::napi_get_boolean(env, rows.is_done, &raw mut is_done);
        let changed = [
            value::integer(env, rows.changes, false),
            value::integer(env, rows.last_insert_rowid, safe_integers),
        ];
        let [changes, rowid] = changed;
        array(
            env,
            [id, array(env, columns), array(env, values), is_done, changes, rowid],
        )
    }
}

unsafe fn array(env: sys::napi_env, values: impl IntoIterator<Item = sys::napi_value>) -> sys::napi_value {
    let mut made = ptr::null_mut();
    // SAFETY: the caller says that `env` is current.
    unsafe {
        sys::napi_create_array(env, &raw mut made);
        for (value, index) in values.into_iter().zip(0..) {
            sys::napi_set_element(env, made, index, value);
        }
    }
    made
}

/// `(database, settings, onAnswer)`: a handle, or undefined if the database is not a file that lasts.
pub(super) unsafe extern "C" fn open(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    // SAFETY: Node-API calls this with its arguments; a found database is open.
    unsafe {
        call(env, info, |arguments| {
            let (Some(database), Some(settings), Some(on_answer)) = (
                arguments.state().database(arguments.integer(0)),
                arguments.string(1),
                sink(arguments, 2),
            ) else {
                return arguments.state().misuse();
            };
            let settings = String::from_utf8_lossy(&settings).into_owned();
            let Some(pool) = (*database).connection.pool(settings, on_answer) else {
                return ptr::null_mut();
            };
            let handle = arguments.state().pools.insert(Box::new(pool)).unwrap_or(-1);
            value::integer(env, i64::from(handle), false)
        })
    }
}

fn sink(arguments: &Arguments, index: usize) -> Option<LibrarySink> {
    let function = arguments.function(index)?;
    // SAFETY: a function of this call.
    let function = unsafe { Function::<'_, Answer, ()>::from_napi_value(arguments.env, function) }.ok()?;
    // Weak: TypeScript keeps the event loop alive while requests are under way, and only then.
    let callback = function
        .build_threadsafe_function::<LibraryAnswer>()
        .weak::<true>()
        .build_callback(|context| Ok(Answer(context.value)))
        .ok()?;
    Some(Arc::new(move |answer| {
        // Refused only when the environment is going away, and with it everybody who waits.
        let _ = callback.call(answer, ThreadsafeFunctionCallMode::NonBlocking);
    }))
}

/// `(pool, id, sql, safeIntegers, isOne, ...values)`
pub(super) unsafe extern "C" fn read(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    // SAFETY: as `with_request`.
    unsafe {
        with_request(env, info, 5, |pool, request, arguments| {
            pool.read(request, arguments.boolean(4));
        })
    }
}

/// `(pool, id, sql, safeIntegers, ...values)`
pub(super) unsafe extern "C" fn write(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    // SAFETY: as `with_request`.
    unsafe { with_request(env, info, 4, |pool, request, _arguments| pool.write(request)) }
}

unsafe fn with_request(
    env: sys::napi_env,
    info: sys::napi_callback_info,
    first_value: usize,
    run: impl FnOnce(&LibraryPool, LibraryRequest, &Arguments),
) -> sys::napi_value {
    // SAFETY: Node-API calls the function that calls this with its arguments; a found pool is open.
    unsafe {
        call(env, info, |arguments| {
            let values = arguments.all().get(first_value..).unwrap_or_default();
            let values: Option<Vec<_>> = values.iter().map(|&given| value::owned(env, given)).collect();
            let (Some(pool), Some(sql), Some(values), Ok(id)) = (
                arguments.state().pools.get(arguments.integer(0)),
                arguments.string(2),
                values,
                u32::try_from(arguments.integer(1)),
            ) else {
                return arguments.state().misuse();
            };
            let request = LibraryRequest {
                id,
                sql: String::from_utf8_lossy(&sql).into_owned(),
                values,
                safe_integers: arguments.boolean(3),
            };
            run(&*pool, request, arguments);
            ptr::null_mut()
        })
    }
}

/// `(pool, id)`
pub(super) unsafe extern "C" fn next(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    // SAFETY: as `with_id`.
    unsafe { with_id(env, info, LibraryPool::next) }
}

/// `(pool, id)`
pub(super) unsafe extern "C" fn stop(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    // SAFETY: as `with_id`.
    unsafe { with_id(env, info, LibraryPool::stop) }
}

unsafe fn with_id(
    env: sys::napi_env,
    info: sys::napi_callback_info,
    run: impl FnOnce(&LibraryPool, u32),
) -> sys::napi_value {
    // SAFETY: as `with_request`.
    unsafe {
        call(env, info, |arguments| {
            if let Some(pool) = arguments.state().pools.get(arguments.integer(0))
                && let Ok(id) = u32::try_from(arguments.integer(1))
            {
                run(&*pool, id);
            }
            ptr::null_mut()
        })
    }
}

/// `(pool)`
pub(super) unsafe extern "C" fn close(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    // SAFETY: Node-API calls this with its arguments.
    unsafe {
        call(env, info, |arguments| {
            drop(arguments.state().pools.remove(arguments.integer(0)));
            ptr::null_mut()
        })
    }
}
