//! A gate for native threads: once the process exits, none begins anything, and the exit waits for what has begun.
//!
//! `process.exit` runs the handlers of `atexit` while other threads go on; what they use may be freed under them. Handlers
//! run in reverse order of registration: what is to outlast the threads is set up first.

use std::sync::{Condvar, Mutex, MutexGuard, Once, PoisonError};
use std::time::Duration;

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
static REGISTERED: Once = Once::new();

/// Has the exit of the process close the gate. Whatever registered a handler of its own before this outlasts the threads.
#[expect(unsafe_code, reason = "atexit is a C function")]
pub fn close_gate_at_exit() {
    REGISTERED.call_once(|| {
        // SAFETY: the handler is a plain function without captures that does not unwind; a full table only means that
        // it is not called.
        let _ = unsafe { libc::atexit(close_gate) };
    });
}

/// Held by a thread while it uses an engine.
pub struct Running(());

/// Waits at the gate; once the process exits, for ever.
pub fn enter() -> Running {
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
pub fn is_under_way() -> bool {
    lock().exiting
}

extern "C" fn close_gate() {
    let mut gate = lock();
    gate.exiting = true;
    let waited = CHANGED.wait_timeout_while(gate, PATIENCE, |gate| gate.running > 0);
    drop(waited);
}

fn lock() -> MutexGuard<'static, Gate> {
    GATE.lock().unwrap_or_else(PoisonError::into_inner)
}
