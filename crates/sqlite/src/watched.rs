//! Statements that take long, watched: SQLite asks every so often whether to go on, and is looked at for progress.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use libsqlite3_sys as ffi;
use nimbus_threads::Watch;
use rusqlite::Connection;

/// Instructions of SQLite's machine between two looks: some tens of microseconds.
const INSTRUCTIONS: i32 = 10_000;
const REPORT_EVERY: Duration = Duration::from_millis(50);

/// How far a statement is.
pub(crate) struct Watched {
    pub(crate) phase: &'static str,
    pub(crate) done_bytes: u64,
    pub(crate) total_bytes: u64,
}

/// Statements of `connection` stop when they are told to, and report where `look` says they are.
pub(crate) fn follow(
    connection: &mut Connection,
    watch: &Arc<Watch>,
    mut look: impl FnMut() -> Watched + Send + 'static,
) -> rusqlite::Result<()> {
    let watch = Arc::clone(watch);
    let mut reported_at: Option<Instant> = None;
    let handler = move || {
        if reported_at.is_none_or(|at| at.elapsed() >= REPORT_EVERY) {
            reported_at = Some(Instant::now());
            let at = look();
            watch.report(at.phase, at.done_bytes, at.total_bytes);
        }
        watch.is_cancelled()
    };
    connection.progress_handler(INSTRUCTIONS, Some(handler))
}

/// Likewise, without a report.
pub(crate) fn stop_only(connection: &mut Connection, watch: &Arc<Watch>) -> rusqlite::Result<()> {
    let watch = Arc::clone(watch);
    connection.progress_handler(INSTRUCTIONS, Some(move || watch.is_cancelled()))
}

/// Likewise, reporting how many bytes of pages were read since, by this connection and others that share `pages`.
pub(crate) fn follow_pages(
    connection: &mut Connection,
    watch: &Arc<Watch>,
    phase: &'static str,
    page_bytes: u64,
    pages: &PagesRead,
) -> rusqlite::Result<()> {
    let misses = CacheMisses::of(connection);
    let (done, total_bytes) = (Arc::clone(&pages.done), pages.total * page_bytes);
    let mut counted = 0;
    follow(connection, watch, move || {
        let count = misses.count();
        let more = count.saturating_sub(counted);
        counted = count;
        let done_bytes = (done.fetch_add(more, Ordering::Relaxed) + more) * page_bytes;
        Watched {
            phase,
            // What is read twice, since the cache is small, is counted twice.
            done_bytes: done_bytes.min(total_bytes),
            total_bytes,
        }
    })
}

/// How many pages several connections have read, of how many.
pub(crate) struct PagesRead {
    done: Arc<AtomicU64>,
    total: u64,
}

impl PagesRead {
    pub(crate) fn of(total: u64) -> Self {
        Self {
            done: Arc::default(),
            total,
        }
    }
}

/// Pages that a connection did not find in its cache.
struct CacheMisses {
    handle: *mut ffi::sqlite3,
}

// SAFETY: the handle is used by the progress handler of its own connection only, which SQLite calls on the thread that
// runs a statement of that connection, and drops with it.
#[expect(unsafe_code, reason = "a raw handle; see above")]
unsafe impl Send for CacheMisses {}

impl CacheMisses {
    #[expect(unsafe_code, reason = "rusqlite has no sqlite3_db_status")]
    fn of(connection: &Connection) -> Self {
        // SAFETY: the handle outlives the connection's progress handler, and so this value.
        let handle = unsafe { connection.handle() };
        Self { handle }
    }

    #[expect(unsafe_code, reason = "rusqlite has no sqlite3_db_status")]
    fn count(&self) -> u64 {
        let (mut current, mut highest) = (0, 0);
        // SAFETY: called from the progress handler, during a statement on this open handle; both pointers are to ints of ours.
        let _ = unsafe {
            ffi::sqlite3_db_status(
                self.handle,
                ffi::SQLITE_DBSTATUS_CACHE_MISS,
                &raw mut current,
                &raw mut highest,
                0,
            )
        };
        u64::from(current.unsigned_abs())
    }
}
