//! Long work on one file: how far it is, and whether it is to stop.

use std::sync::atomic::{AtomicBool, Ordering};

/// How far a piece of work is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What is being done, as one says it of a file: `copying`, `checking`.
    pub phase: &'static str,
    /// Bytes of this phase that are done; never more than the total.
    pub done_bytes: u64,
    /// Bytes of this phase, as far as they can be told.
    pub total_bytes: u64,
}

type Report = Box<dyn Fn(Progress) + Send + Sync>;

/// What whoever does long work looks at, and what whoever waits for it holds.
pub struct Watch {
    cancelled: AtomicBool,
    report: Report,
}

impl Watch {
    /// `report` is called on the threads that work, as often as they like: it must not wait.
    pub fn new(report: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        Self {
            cancelled: AtomicBool::new(false),
            report: Box::new(report),
        }
    }

    /// Asks the work to stop as soon as it can.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// Whether the work is to stop.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// Says how far the work is.
    pub fn report(&self, phase: &'static str, done_bytes: u64, total_bytes: u64) {
        (self.report)(Progress {
            phase,
            done_bytes: done_bytes.min(total_bytes),
            total_bytes,
        });
    }
}
