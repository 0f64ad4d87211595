//! One open database, used by many requests at once.
//!
//! Writes queue up and a native thread commits what has gathered as one transaction, in the order of the calls: one sync
//! answers many. Reads run on whatever thread asks, on a [`View`] of the last commit that they share until the next one.
//! A failure of the disk is final: everything later fails until the file is opened again.

mod reader;
mod shared;
mod verification;
mod views;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, RecvError};

use nimbus_disk::FileLock;
use nimbus_threads::{exit, pool};

pub use self::reader::TableReader;
use self::shared::{Known, Shared, failed, lock};
pub(super) use self::verification::Suspicion;
pub use self::verification::Verification;
use super::completion::{Completion, Outcome, RequestId, Sink};
use super::database::{Database, Stats};
use super::error::EngineError;
use super::job::{Asker, Job, Task};
use super::operations::Operations;
use super::options::{Durability, Options};
use super::view::{Range, View};
use crate::sealed::Reservation;

/// Counts since the store was opened, what waits now, and the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreStats {
    /// Transactions committed.
    pub commits: u64,
    /// Writes they carried.
    pub requests: u64,
    /// Requests waiting.
    pub queued: u64,
    /// What they carry, in bytes.
    pub queued_bytes: u64,
    /// The database; of a closed store as it was then.
    pub database: Stats,
}

/// An open store. Dropping it finishes what is queued and closes it in the background.
pub struct Store {
    shared: Arc<Shared>,
}

impl Store {
    /// Opens or makes a database, under `lock` if the caller has it already; finished requests go to `sink`. How much redb keeps
    /// in memory the budget says; the caller may want less.
    ///
    /// # Errors
    /// Those of [`Database::open`].
    pub fn open(options: &Options<'_>, lock: Option<FileLock>, sink: Sink) -> Result<Self, EngineError> {
        exit::close_gate_at_exit();
        let reservation = Reservation::take(options.cache_bytes);
        let options = &Options {
            path: options.path.clone(),
            cache_bytes: reservation.bytes(),
            ..*options
        };
        let database = match lock {
            Some(lock) => Database::open_locked(options, lock)?,
            None => Database::open(options)?,
        };
        let shared = Shared::new(options.path.clone(), database, reservation, sink);
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// The last commit, for as long as it is kept: later writes do not change it, and close it neither.
    ///
    /// # Errors
    /// [`EngineError::Closed`], [`EngineError::Engaged`] during a check or a compaction, [`EngineError::NeedsReopen`].
    pub fn view(&self) -> Result<Arc<View>, EngineError> {
        self.shared.view().map(|(_number, view)| view)
    }

    /// Reads one table as of the last commit, again and again.
    pub fn reader(&self, table: &str) -> TableReader {
        TableReader::new(&self.shared, table)
    }

    /// Reads a range on a native thread.
    pub fn range(&self, id: RequestId, view: Arc<View>, table: String, range: Range) {
        let shared = Arc::clone(&self.shared);
        pool::READERS.run(move || {
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                Outcome::from_result(view.range(&table, &range), Outcome::Pairs)
            }));
            drop(view);
            let outcome = outcome.unwrap_or_else(|_panic| failed(shared.panicked()));
            (shared.sink)(vec![Completion { id, outcome }]);
        });
    }

    /// Queues a write, which happens whole or not at all.
    pub fn write(&self, id: RequestId, operations: Operations, durability: Durability) {
        let job = Job::Write {
            asker: Asker::Request(id),
            operations,
            durability,
        };
        Shared::enqueue(&self.shared, job);
    }

    /// As [`Self::write`], and waits until it is done.
    ///
    /// # Errors
    /// Those of the commit that it became part of.
    pub fn write_and_wait(&self, operations: Operations, durability: Durability) -> Result<(), Arc<EngineError>> {
        self.wait(|asker| Job::Write {
            asker,
            operations,
            durability,
        })
    }

    /// Waits until everything that was queued so far is done, well or not.
    ///
    /// # Errors
    /// [`EngineError::Closed`].
    pub fn settle_and_wait(&self) -> Result<(), Arc<EngineError>> {
        let task = Task::Settle;
        self.wait(|asker| Job::Task { asker, task })
    }

    /// Queues a task behind the writes so far.
    pub fn run(&self, id: RequestId, task: Task) {
        let asker = Asker::Request(id);
        Shared::enqueue(&self.shared, Job::Task { asker, task });
    }

    /// Finishes what is queued and closes; later requests fail with [`EngineError::Closed`], views too.
    pub fn close(&self, id: RequestId) {
        let asker = Asker::Request(id);
        Shared::enqueue(&self.shared, Job::Close { asker });
    }

    fn wait(&self, job: impl FnOnce(Asker) -> Job) -> Result<(), Arc<EngineError>> {
        let (sender, receiver) = mpsc::sync_channel(1);
        Shared::enqueue(&self.shared, job(Asker::Thread(sender)));
        match receiver.recv() {
            Ok(Outcome::Failed(error)) => Err(error),
            Ok(_done) => Ok(()),
            // The job was dropped without an outcome.
            Err(RecvError) => Err(Arc::new(self.shared.panicked())),
        }
    }

    /// Counts, and what the database tells of itself.
    ///
    /// # Errors
    /// [`EngineError::Io`] if the system does not tell the length of the file.
    pub fn stats(&self) -> Result<StoreStats, EngineError> {
        let shared = &self.shared;
        let database = match &*lock(&shared.facts) {
            Known::Live(facts) => facts.stats()?,
            Known::Last(stats) => *stats,
        };
        let (queued, queued_bytes) = lock(&shared.queue).waiting();
        Ok(StoreStats {
            commits: shared.commits.load(Ordering::Relaxed),
            requests: shared.requests.load(Ordering::Relaxed),
            queued: queued as u64,
            queued_bytes: queued_bytes as u64,
            database,
        })
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if !lock(&self.shared.queue).is_closed() {
            Shared::enqueue(&self.shared, Job::Close { asker: Asker::Nobody });
        }
    }
}
