//! Parks the native threads before SQLCipher's own exit handler frees its keys under them.
//!
//! `process.exit` runs the handlers of `atexit` while other threads go on; SQLCipher registers one that wipes and frees
//! its private heap. Handlers run in reverse order of registration, so ours, registered after `sqlite3_initialize`, runs
//! first: it waits for the statements that are running and lets none begin.

use std::sync::{Condvar, Mutex, MutexGuard, Once, PoisonError};
use std::time::Duration;

use libsqlite3_sys as ffi;

/// Longer than any commit; a query that takes more than this at exit is better crashed than waited for.
const PATIENCE: Duration = Duration::from_secs(10);

struct Gate {
    running: usize,
    exiting: bool,
}

static GATE: Mutex<Gate> = Mutex::new(Gate {
    running: 0,
    exiting: false,
});
static CHANGED: Condvar = Condvar::new();
static PREPARED: Once = Once::new();

/// Initialises SQLite and registers the handler, once.
#[expect(unsafe_code, reason = "sqlite3_initialize and atexit are C functions")]
pub(crate) fn prepare() {
    PREPARED.call_once(|| {
        // SAFETY: sqlite3_initialize may be called from any thread at any time ("sqlite3_initialize"); on failure the
        // first open reports it.
        let _ = unsafe { ffi::sqlite3_initialize() };
        // SAFETY: the handler is a plain function without captures that does not unwind; a full table only means that
        // it is not called.
        let _ = unsafe { libc::atexit(park_threads) };
    });
}

/// Held by a native thread while it uses SQLite.
pub(crate) struct Running(());

/// Waits at the gate; once the process exits, for ever.
pub(crate) fn enter() -> Running {
    let mut gate = lock();
    while gate.exiting {
        gate = CHANGED.wait(gate).unwrap_or_else(PoisonError::into_inner);
    }
    gate.running += 1;
    Running(())
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut gate = lock();
        gate.running -= 1;
        // Waking costs a system call even when nobody waits, and only the exit waits for this.
        if gate.exiting {
            CHANGED.notify_all();
        }
    }
}

/// Whether the process is ending: what has not begun by now never will.
pub(crate) fn is_under_way() -> bool {
    lock().exiting
}

extern "C" fn park_threads() {
    let mut gate = lock();
    gate.exiting = true;
    let waited = CHANGED.wait_timeout_while(gate, PATIENCE, |gate| gate.running > 0);
    drop(waited);
}

fn lock() -> MutexGuard<'static, Gate> {
    GATE.lock().unwrap_or_else(PoisonError::into_inner)
}
