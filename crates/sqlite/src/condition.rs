//! What the connections of one store know together of their file's condition, and what follows for its log.
//!
//! A frame that is damaged while the store is open must never be folded over the good page that it would replace, whichever
//! connection met it. So after any of them has met a page that fails, nothing is written, folded or closed before the log has
//! been read through again:
//!
//! - All its frames authenticate: the page that failed lies in the data file. Writes go on and the log is folded, which
//!   can only put good pages over bad ones; were it left to grow, one bad page would fill the disk.
//! - One does not, or frames are missing: writes fail with [`StoreError::Foreign`] and the log is left as it is until the
//!   store is opened anew. A write that was taken into it would be acknowledged and then lost: behind a frame that fails,
//!   the next open refuses the log, and behind one that is torn SQLite's recovery never looks. What was acknowledged before
//!   stays in the log, byte for byte, and reads that do not touch the frame go on.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::StoreError;

/// Shared by the connections of a store.
#[derive(Default)]
pub(crate) struct Condition {
    failures: AtomicU64,
    log_frames: Arc<AtomicU32>,
    judgement: Mutex<Judgement>,
}

#[derive(Default)]
struct Judgement {
    /// How many failures had been met when the log was read through.
    at_failures: u64,
    log_is_damaged: bool,
}

impl Condition {
    /// A connection met a page that does not authenticate or is not well formed.
    pub(crate) fn record_failure(&self) {
        self.failures.fetch_add(1, Ordering::SeqCst);
    }

    /// Frames in the log at the last commit, or when it was opened.
    pub(crate) const fn log_frames(&self) -> &Arc<AtomicU32> {
        &self.log_frames
    }

    /// A checkpoint cut the log to nothing.
    pub(crate) fn log_was_emptied(&self) {
        self.log_frames.store(0, Ordering::Relaxed);
    }

    /// Whether the log may be added to and folded: true unless a page failed and `examine` then finds it damaged. Only the
    /// store's writer asks, between its transactions, so that the log does not change meanwhile.
    pub(crate) fn log_is_sound(&self, examine: impl FnOnce() -> Result<bool, StoreError>) -> Result<bool, StoreError> {
        let failures = self.failures.load(Ordering::SeqCst);
        let mut judgement = self.judgement.lock().unwrap_or_else(PoisonError::into_inner);
        if !judgement.log_is_damaged && judgement.at_failures != failures {
            judgement.log_is_damaged = !examine()?;
            judgement.at_failures = failures;
        }
        Ok(!judgement.log_is_damaged)
    }
}
