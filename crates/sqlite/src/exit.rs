//! Parks the native threads before SQLCipher's own exit handler frees its keys under them.
//!
//! SQLCipher registers a handler of `atexit` that wipes and frees its private heap. Ours, registered after
//! `sqlite3_initialize`, runs first: it waits for the statements that are running and lets none begin.

use std::sync::Once;

use libsqlite3_sys as ffi;
use nimbus_threads::exit;

static PREPARED: Once = Once::new();

/// Initialises SQLite, guards the files that it opens, and has the threads stop before it does, once.
#[expect(unsafe_code, reason = "sqlite3_initialize is a C function")]
pub(crate) fn prepare() {
    PREPARED.call_once(|| {
        // SAFETY: sqlite3_initialize may be called from any thread at any time ("sqlite3_initialize"); on failure the
        // first open reports it.
        let _ = unsafe { ffi::sqlite3_initialize() };
        crate::open_files::guard();
        exit::close_gate_at_exit();
    });
}
