//! The states of a store that somebody reads: the last commit, which readers share until the next one, and those kept longer.

use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, Weak};
use std::thread;
use std::time::{Duration, Instant};

use super::super::error::EngineError;
use super::super::view::View;
use super::shared::lock;

/// A read takes microseconds, on a thread that may not run at once.
const LONGEST_READ: Duration = Duration::from_millis(100);

#[derive(Default)]
pub(super) struct Views {
    /// The last commit, if somebody read since it.
    last: Mutex<Option<Arc<View>>>,
    /// How often `last` passed: who remembers a view of this number may read it again.
    number: Arc<AtomicU64>,
    /// Every view that may still be open.
    open: Mutex<Vec<Weak<View>>>,
    /// Every view has it until redb is told that it is closed, which is after its last owner let go of it.
    tickets: Arc<()>,
}

impl Views {
    /// The last commit and its number. `begin` begins it for the first who reads.
    pub(super) fn last(
        &self,
        begin: impl FnOnce() -> Result<View, EngineError>,
    ) -> Result<(u64, Arc<View>), EngineError> {
        // Held while the view is begun: a commit that ends meanwhile takes it away again.
        let mut last = lock(&self.last);
        let number = self.number.load(Ordering::Relaxed);
        if let Some(view) = &*last {
            return Ok((number, Arc::clone(view)));
        }
        let view = Arc::new(begin()?);
        let mut open = lock(&self.open);
        open.retain(|view| view.strong_count() > 0);
        open.push(Arc::downgrade(&view));
        *last = Some(Arc::clone(&view));
        Ok((number, view))
    }

    /// What tells whether the last commit is still the one of a number.
    pub(super) fn number(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.number)
    }

    /// The next reader begins anew: something was committed, or nobody may read any more.
    pub(super) fn pass(&self) {
        let mut last = lock(&self.last);
        *last = None;
        // Seen by whoever is told of the commit afterwards, on whatever thread.
        self.number.fetch_add(1, Ordering::Release);
    }

    /// What a new view takes along.
    pub(super) fn ticket(&self) -> Arc<()> {
        Arc::clone(&self.tickets)
    }

    /// Waits for reads that began before the last commit was taken away. Who holds a view on purpose holds it longer.
    pub(super) fn wait_for_reads(&self) {
        let until = Instant::now() + LONGEST_READ;
        while Arc::strong_count(&self.tickets) > 1 && Instant::now() < until {
            thread::sleep(Duration::from_micros(100));
        }
        // What the last owner of a view did is seen from here on.
        fence(Ordering::Acquire);
    }

    /// Takes every view back, whoever holds it.
    pub(super) fn close(&self) {
        self.pass();
        for view in std::mem::take(&mut *lock(&self.open)) {
            if let Some(view) = view.upgrade() {
                view.close();
            }
        }
    }
}
