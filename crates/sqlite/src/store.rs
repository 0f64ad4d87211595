//! One open file, used by many requests at once.
//!
//! Writes queue up and a native thread commits what has gathered as one transaction, so that one `fsync` answers many
//! requests. Point reads run on the caller's thread, queries on native threads, each on connections of their own: WAL
//! gives every one of them a consistent snapshot. A connection that met a damaged page is thrown away and another is
//! opened, so that only requests that touch the page fail. Only the writer folds the log, and only while it is sound
//! ([`crate::condition`]).

mod shared;
mod verification;

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use nimbus_threads::{exit, pool};

use self::shared::{Shared, lock};
pub(crate) use self::verification::Suspicion;
pub use self::verification::Verification;
use crate::batch::Step;
use crate::cache::Role;
use crate::completion::{Outcome, RequestId, Sink};
use crate::error::StoreError;
use crate::options::OpenOptions;
use crate::queue::Job;
use crate::value::{Row, Value};

/// Counts since the store was opened, and what is waiting now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Transactions committed.
    pub commits: u64,
    /// Write requests they carried.
    pub requests: u64,
    /// Write requests waiting.
    pub queued: u64,
    /// Their parameters, in bytes.
    pub queued_bytes: u64,
}

/// An open file. Dropping it finishes what is queued and closes it in the background.
pub struct Store {
    shared: Arc<Shared>,
}

impl Store {
    /// Opens a file; finished requests go to `sink`.
    ///
    /// # Errors
    /// Those of [`Connection::open`](crate::connection::Connection::open).
    pub fn open(options: &OpenOptions, sink: Sink) -> Result<Self, StoreError> {
        let shared = Shared::open(options, sink)?;
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// The first row of a statement that reads, on the caller's thread.
    ///
    /// # Errors
    /// [`StoreError::Sql`] for a statement that writes; [`StoreError::Corrupt`] if it met a damaged page.
    pub fn get(&self, sql: &str, parameters: &[Value]) -> Result<Option<Row>, StoreError> {
        let _running = exit::enter();
        let mut slot = lock(&self.shared.point);
        if lock(&self.shared.queue).is_closed() {
            return Err(self.shared.closed());
        }
        let mut connection = match slot.take() {
            Some(connection) => connection,
            None => self.shared.open_as(Role::Point)?,
        };
        let mut first = None;
        let result = connection.follow_cache_budget().and_then(|()| {
            connection.read(sql, parameters, |row| {
                first = Some(row);
                ControlFlow::Break(())
            })
        });
        if !connection.is_broken() {
            *slot = Some(connection);
        }
        result.map(|()| first)
    }

    /// The rows of a statement that reads, on a native thread. The caller bounds their number with LIMIT.
    ///
    /// They end before the one with which their payload would exceed `most_bytes`, the first being there whatever its size.
    pub fn query(&self, id: RequestId, sql: String, parameters: Vec<Value>, most_bytes: Option<usize>) {
        let shared = Arc::clone(&self.shared);
        {
            // Counted under the lock of the queue: a close that comes after waits for it.
            let queue = lock(&shared.queue);
            if queue.is_closed() {
                drop(queue);
                return shared.answer(id, Outcome::Failed(shared.closed()));
            }
            lock(&shared.queries).running += 1;
        }
        pool::READERS.run(move || {
            let outcome = catch_unwind(AssertUnwindSafe(|| shared.query_now(&sql, &parameters, most_bytes)));
            let outcome = match outcome {
                Ok(Ok((rows, cut))) => Outcome::Rows { rows, cut },
                Ok(Err(error)) => Outcome::Failed(error),
                Err(_) => Outcome::Failed(StoreError::Panicked {
                    path: shared.path.clone(),
                }),
            };
            lock(&shared.queries).running -= 1;
            shared.queries_changed.notify_all();
            shared.answer(id, outcome);
        });
    }

    /// Queues a request whose steps succeed or fail together; it is durable when its completion says so.
    pub fn write(&self, id: RequestId, steps: Vec<Step>) {
        self.write_all([(id, steps)]);
    }

    /// Queues requests at once: no commit begins between them, and at most one thread is woken.
    pub fn write_all(&self, requests: impl IntoIterator<Item = (RequestId, Vec<Step>)>) {
        let jobs = requests.into_iter().map(|(id, steps)| {
            let parameters = steps.iter().flat_map(|step| &step.parameters);
            let bytes = parameters.map(Value::payload_bytes).sum();
            Job::Write { id, steps, bytes }
        });
        Shared::enqueue(&self.shared, jobs);
    }

    /// Copies the write-ahead log into the data file and empties it, after the writes queued so far.
    pub fn checkpoint(&self, id: RequestId) {
        Shared::enqueue(&self.shared, [Job::Checkpoint { id }]);
    }

    /// Finishes what is queued, checkpoints and closes; later requests fail with [`StoreError::Closed`].
    pub fn close(&self, id: RequestId) {
        Shared::enqueue(&self.shared, [Job::Close { id: Some(id) }]);
    }

    /// Counts since the store was opened.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let (queued, queued_bytes) = lock(&self.shared.queue).waiting();
        Stats {
            commits: self.shared.commits.load(Ordering::Relaxed),
            requests: self.shared.requests.load(Ordering::Relaxed),
            queued: queued as u64,
            queued_bytes: queued_bytes as u64,
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if !lock(&self.shared.queue).is_closed() {
            Shared::enqueue(&self.shared, [Job::Close { id: None }]);
        }
    }
}
