//! The fast boundary of the embedded library: free functions over Node-API, called with int32 handles.
//!
//! All state belongs to one environment (a thread of JavaScript) and is freed by its cleanup hook. The classes, and every check of
//! an argument that a user can get wrong, are in TypeScript (`src/sqlite`): what these functions refuse are defects of that code.
//!
//! A statement may call back into JavaScript, and that may open, prepare and step others: nothing here is borrowed across such a
//! call. Pointers are looked up again by handle, and TypeScript refuses whatever would close what is running.

#![expect(unsafe_code, reason = "Node-API and SQLite are C interfaces")]
#![allow(
    clippy::cast_possible_wrap,
    clippy::similar_names,
    reason = "lengths and codes of C interfaces are signed; argc and argv are their names"
)]

mod arguments;
mod backup;
mod database;
mod function;
mod image;
mod pool;
mod rows;
mod running;
mod slab;
mod state;
mod statement;
mod table;
mod value;

use napi::Env;
use napi::bindgen_prelude::Object;
use napi_derive::napi;

use crate::boundary::{self, Callback};
use state::State;

const FUNCTIONS: &[(&std::ffi::CStr, Callback)] = &[
    (c"setUp", database::set_up),
    (c"open", database::open),
    (c"close", database::close),
    (c"exec", database::exec),
    (c"inTransaction", database::in_transaction),
    (c"defensive", database::defensive),
    (c"serialize", image::serialize),
    (c"fileBytes", image::file_bytes),
    (c"loadExtension", database::load_extension),
    (c"rekey", database::rekey),
    (c"prepare", statement::prepare),
    (c"watch", statement::watch),
    (c"finalize", statement::finalize),
    (c"configure", statement::configure),
    (c"columns", statement::columns),
    (c"names", statement::names),
    (c"expandedSql", statement::expanded_sql),
    (c"bind", statement::bind),
    (c"clear", statement::clear),
    (c"run", statement::run),
    (c"get", rows::get),
    (c"all", rows::all),
    (c"next", rows::next),
    (c"reset", statement::reset),
    (c"function", function::define),
    (c"aggregate", function::define_aggregate),
    (c"table", table::define),
    (c"backupOpen", backup::open),
    (c"backupStep", backup::step),
    (c"backupClose", backup::close),
    (c"poolOpen", pool::open),
    (c"poolRead", pool::read),
    (c"poolWrite", pool::write),
    (c"poolNext", pool::next),
    (c"poolStop", pool::stop),
    (c"poolClose", pool::close),
];

/// The functions of the embedded library, new for each environment; `src/native/library.ts` has their types.
#[napi(catch_unwind, ts_return_type = "Record<string, (...values: never[]) => unknown>")]
pub fn sqlite_library(env: Env) -> napi::Result<Object<'static>> {
    let state = State::create(env.raw());
    // SAFETY: the state is freed when the environment ends.
    unsafe { boundary::functions(env, FUNCTIONS, state) }
}
