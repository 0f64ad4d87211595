//! What one environment has open, and how it tells JavaScript of a failure.

use std::ffi::c_void;
use std::ptr;

use libsqlite3_sys as ffi;
use napi::sys;
use nimbus_sqlite::{LibraryConnection, LibraryError, LibraryPool, PageMark};

use super::backup::Backup;
use super::slab::Slab;
use crate::boundary::Handles;

#[expect(
    clippy::struct_excessive_bools,
    reason = "four facts that have nothing to do with each other"
)]
pub(super) struct Database {
    pub(super) connection: LibraryConnection,
    pub(super) raw: *mut ffi::sqlite3,
    pub(super) encrypted: bool,
    /// A page failed to authenticate: nothing more is read through this connection.
    pub(super) broken: bool,
    /// A callback of the running call left an exception, which is on its way out through SQLite. See `running`.
    pub(super) threw: bool,
    /// What integers of user functions become unless they say so themselves.
    pub(super) safe_integers: bool,
}

pub(super) struct Statement {
    pub(super) raw: *mut ffi::sqlite3_stmt,
    pub(super) database: *mut Database,
    pub(super) columns: i32,
    pub(super) parameters: i32,
    pub(super) preparations: i32,
    pub(super) safe_integers: bool,
    pub(super) pluck: bool,
    /// Said by `next` when the rows before it have been handed out.
    pub(super) failure: Option<LibraryError>,
    /// Weak: what JavaScript holds of the statement. Null before `watch`.
    pub(super) holder: sys::napi_ref,
}

/// About what SQLite takes for a statement: the garbage collector is told, or it would see no reason to look for some.
const STATEMENT_BYTES: i64 = 3 << 10;
/// No search for statements that nobody holds before there are so many.
const FEW_STATEMENTS: usize = 256;

pub(super) struct State {
    pub(super) env: sys::napi_env,
    pub(super) databases: Handles<Database>,
    pub(super) statements: Handles<Statement>,
    /// With so many statements those that nobody holds are looked for.
    search_at: usize,
    pub(super) backups: Handles<Backup>,
    /// Each is closed before its database.
    pub(super) pools: Handles<LibraryPool>,
    /// `(message, code) => SqliteError`.
    pub(super) make_error: sys::napi_ref,
    /// Null before `setUp`.
    pub(super) slab: *mut Slab,
    pub(super) slab_ref: sys::napi_ref,
}

impl State {
    pub(super) fn create(env: sys::napi_env) -> *mut Self {
        let state = Box::into_raw(Box::new(Self {
            env,
            databases: Handles::new(),
            statements: Handles::new(),
            search_at: FEW_STATEMENTS,
            backups: Handles::new(),
            pools: Handles::new(),
            make_error: ptr::null_mut(),
            slab: ptr::null_mut(),
            slab_ref: ptr::null_mut(),
        }));
        // SAFETY: the hook gets back the pointer that it was registered with, once, when nothing of the environment runs.
        unsafe { sys::napi_add_env_cleanup_hook(env, Some(clean_up), state.cast()) };
        state
    }

    /// What JavaScript left for this call, and the statement that it calls.
    #[inline]
    pub(super) fn called(&mut self) -> Option<(*mut Slab, *mut Statement)> {
        if self.slab.is_null() {
            return None;
        }
        // SAFETY: the memory stays as long as the environment, and no JavaScript runs meanwhile.
        let handle = unsafe { (*self.slab).statement };
        self.statements.get(handle).map(|statement| (self.slab, statement))
    }

    pub(super) fn database(&mut self, handle: i32) -> Option<*mut Database> {
        self.databases.get(handle)
    }

    /// Closes a database with all that was prepared on it.
    ///
    /// # Safety
    /// Nothing of it is running.
    pub(super) unsafe fn close_database(&mut self, handle: i32) {
        // SAFETY: the caller's contract.
        drop(unsafe { self.take_database(handle) });
    }

    /// A database without what was prepared on it.
    ///
    /// # Safety
    /// Nothing of it is running.
    pub(super) unsafe fn take_database(&mut self, handle: i32) -> Option<Box<Database>> {
        let database = self.databases.get(handle)?;
        for statement in self.statements.find(|statement| statement.database == database) {
            // SAFETY: the caller's contract.
            unsafe { self.finalize(statement) };
        }
        for backup in self.backups.find(|backup| backup.source == database) {
            drop(self.backups.remove(backup));
        }
        self.databases.remove(handle)
    }

    /// Keeps a new statement; `None` if there are too many.
    ///
    /// # Safety
    /// The statement is prepared, and nothing of its database is running.
    pub(super) unsafe fn keep_statement(&mut self, statement: Box<Statement>) -> Option<i32> {
        if self.statements.len() >= self.search_at {
            // SAFETY: the caller's contract.
            unsafe { self.finalize_unheld(statement.database) };
            self.search_at = FEW_STATEMENTS.max(2 * self.statements.len());
        }
        let handle = self.statements.insert(statement)?;
        self.tell_collector(STATEMENT_BYTES);
        Some(handle)
    }

    /// Finalizes the statements of a database whose holders were collected. Node-API would tell of each in a later turn of the event
    /// loop, and a `FinalizationRegistry` too: a loop that prepares a million statements in one turn would run out of memory.
    ///
    /// # Safety
    /// Nothing of the database is running.
    unsafe fn finalize_unheld(&mut self, database: *mut Database) {
        let env = self.env;
        let is_unheld = |statement: &Statement| {
            let mut holder = ptr::null_mut();
            // SAFETY: the reference is the statement's, on this thread.
            statement.database == database
                && !statement.holder.is_null()
                && unsafe { sys::napi_get_reference_value(env, statement.holder, &raw mut holder) }
                    == sys::Status::napi_ok
                && holder.is_null()
        };
        for statement in self.statements.find(is_unheld) {
            // SAFETY: the caller's contract.
            unsafe { self.finalize(statement) };
        }
    }

    /// # Safety
    /// The statement is not running.
    pub(super) unsafe fn finalize(&mut self, handle: i32) {
        if let Some(statement) = self.statements.remove(handle) {
            // SAFETY: prepared by us, finalized once: the slot is empty now. The reference goes with it.
            unsafe {
                ffi::sqlite3_finalize(statement.raw);
                if !statement.holder.is_null() {
                    sys::napi_delete_reference(self.env, statement.holder);
                }
            }
            self.tell_collector(-STATEMENT_BYTES);
        }
    }

    fn tell_collector(&self, bytes: i64) {
        let mut total = 0;
        // SAFETY: `env` is current on this thread.
        unsafe { sys::napi_adjust_external_memory(self.env, bytes, &raw mut total) };
    }

    /// Throws a `SqliteError`, unless an exception is on its way already.
    pub(super) fn throw(&self, error: &LibraryError) -> sys::napi_value {
        self.throw_with(error.code, error.message.as_bytes())
    }

    pub(super) fn throw_with(&self, code: i32, message: &[u8]) -> sys::napi_value {
        let env = self.env;
        // SAFETY: `env` is current on this thread, and each value is made in this call's scope.
        unsafe {
            let (mut make, mut this, mut error) = (ptr::null_mut(), ptr::null_mut(), ptr::null_mut());
            let mut arguments = [super::value::text(env, message), ptr::null_mut()];
            sys::napi_create_int32(env, code, &raw mut arguments[1]);
            sys::napi_get_undefined(env, &raw mut this);
            sys::napi_get_reference_value(env, self.make_error, &raw mut make);
            let called = sys::napi_call_function(env, this, make, 2, arguments.as_ptr(), &raw mut error);
            if called == sys::Status::napi_ok {
                sys::napi_throw(env, error);
            }
        }
        ptr::null_mut()
    }

    /// A defect of the TypeScript above: a handle that stands for nothing, an argument of the wrong type.
    pub(super) fn misuse(&self) -> sys::napi_value {
        // SAFETY: `env` is current on this thread; the strings end with a NUL.
        unsafe { sys::napi_throw_type_error(self.env, ptr::null(), c"The database connection is not open".as_ptr()) };
        ptr::null_mut()
    }
}

/// Whether a page failed since `mark`; the connection is of no use then.
///
/// # Safety
/// `database` is open.
#[inline]
pub(super) unsafe fn has_failed_page(database: *mut Database, mark: PageMark) -> bool {
    // SAFETY: the caller's contract.
    unsafe {
        if !(*database).encrypted || !mark.page_failed() {
            return false;
        }
        if !(*database).broken {
            (*database).broken = true;
            (*database).connection.leave_log_on_close();
        }
        true
    }
}

unsafe extern "C" fn clean_up(state: *mut c_void) {
    // SAFETY: made by `create`, and freed here alone.
    let mut state = unsafe { Box::from_raw(state.cast::<State>()) };
    for pool in state.pools.find(|_| true) {
        drop(state.pools.remove(pool));
    }
    for database in state.databases.find(|_| true) {
        // SAFETY: the environment runs nothing any more.
        unsafe { state.close_database(database) };
    }
}
