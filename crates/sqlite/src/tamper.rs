//! Counts, per thread, the pages that did not authenticate, so that no statement returns data read past one.
//!
//! SQLCipher reports a failed MAC to SQLite as a read error, but SQLite reads overflow pages in places that drop it (the
//! last overflow page of a row comes back as zeros and the statement ends clean). SQLCipher calls our `hmac` for each
//! page on the thread that runs the statement, so a thread-local count that moved during a step is proof that the step
//! touched a bad page, whatever SQLite made of it.

use std::cell::Cell;

thread_local! {
    static FAILURES: Cell<u64> = const { Cell::new(0) };
}

/// A position in this thread's count.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark(u64);

/// Where the count stands now.
#[inline]
pub(crate) fn mark() -> Mark {
    Mark(FAILURES.get())
}

impl Mark {
    /// Whether a page failed on this thread since the mark was taken.
    #[inline]
    pub(crate) fn page_failed_since(self) -> bool {
        FAILURES.get() != self.0
    }
}

/// Runs what has nothing to do with the statement under way on this thread, such as another database's statements in a function that
/// this one calls: the pages that fail in it are found by whoever reads them there, and do not count here.
pub fn apart<R>(body: impl FnOnce() -> R) -> R {
    let before = FAILURES.get();
    let result = body();
    FAILURES.set(before);
    result
}

/// One page read by this thread did not authenticate.
pub(crate) fn record_failure() {
    FAILURES.set(FAILURES.get().wrapping_add(1));
}
