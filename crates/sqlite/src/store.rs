//! One open file, used by many requests at once.
//!
//! Writes queue up and a native thread commits what has gathered as one transaction, so that one `fsync` answers many
//! requests. Point reads run on the caller's thread, queries on native threads, each on connections of their own: WAL
//! gives every one of them a consistent snapshot. A connection that met a damaged page is thrown away and another is
//! opened, so that only requests that touch the page fail. Only the writer folds the log, and only while it is sound
//! ([`crate::condition`]).

mod verification;

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nimbus_budget::{Engine, Ticket};
use nimbus_threads::{exit, pool};

use crate::batch::{self, Home, Step};
use crate::cache::Role;
use crate::completion::{Completion, Outcome, RequestId, Sink};
use crate::condition::Condition;
use crate::connection::Connection;
use crate::error::StoreError;
use crate::frames::Verdict;
use crate::opening::Opening;
use crate::options::{Mode, OpenOptions};
use crate::queue::{Job, Queue};
use crate::side_files::examine_log;
use crate::value::{Row, Value};

pub(crate) use self::verification::Suspicion;
pub use self::verification::Verification;

/// Query connections that are kept for the next query.
const QUERIES_KEPT: usize = 2;
/// How often a close that waits for queries looks whether the process is ending.
const EXIT_POLL: Duration = Duration::from_millis(20);

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

struct Shared {
    path: PathBuf,
    /// For the connections to come; with the file's key, so none once the store is closed.
    options: Mutex<Option<OpenOptions>>,
    sink: Sink,
    condition: Arc<Condition>,
    queue: Mutex<Queue>,
    /// Holds a connection, if a broken one, while the store is open: see [`batch::sound_writer`].
    writer: Mutex<Option<Connection>>,
    point: Mutex<Option<Connection>>,
    queries: Mutex<Queries>,
    queries_changed: Condvar,
    commits: AtomicU64,
    requests: AtomicU64,
    /// Given back when the store closes.
    ticket: Mutex<Option<Ticket>>,
}

#[derive(Default)]
struct Queries {
    running: usize,
    idle: Vec<Connection>,
}

impl Store {
    /// Opens a file; finished requests go to `sink`.
    ///
    /// # Errors
    /// Those of [`Connection::open`].
    pub fn open(options: &OpenOptions, sink: Sink) -> Result<Self, StoreError> {
        let ticket = Ticket::take(Engine::Sqlite);
        let condition = Arc::default();
        let writer = Connection::open_as(options, Role::Writer, Opening::First, &condition)?;
        let shared = Shared {
            path: options.path.clone(),
            options: Mutex::new(Some(OpenOptions {
                mode: Mode::Open,
                ..options.clone()
            })),
            sink,
            condition,
            queue: Mutex::default(),
            writer: Mutex::new(Some(writer)),
            point: Mutex::new(None),
            queries: Mutex::default(),
            queries_changed: Condvar::new(),
            commits: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            ticket: Mutex::new(Some(ticket)),
        };
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

impl Shared {
    fn enqueue(shared: &Arc<Self>, jobs: impl IntoIterator<Item = Job>) {
        let mut queue = lock(&shared.queue);
        if queue.is_closed() {
            drop(queue);
            jobs.into_iter().for_each(|job| shared.refuse(&job));
            return;
        }
        let mut needs_thread = false;
        for job in jobs {
            needs_thread |= queue.push(job);
        }
        drop(queue);
        if needs_thread {
            let shared = Arc::clone(shared);
            pool::WRITERS.run(move || shared.serve());
        }
    }

    fn refuse(&self, job: &Job) {
        let outcome = match job {
            Job::Judge(suspicion) => return suspicion.answer(Err(self.closed())),
            Job::Close { .. } => Outcome::Done,
            Job::Write { .. } | Job::Checkpoint { .. } => Outcome::Failed(self.closed()),
        };
        if let Some(id) = job.id() {
            self.answer(id, outcome);
        }
    }

    /// Works the queue until it is empty.
    fn serve(&self) {
        while let Some(jobs) = self.take_jobs() {
            let outcome = catch_unwind(AssertUnwindSafe(|| self.perform(&jobs)));
            let completions = outcome.unwrap_or_else(|_| {
                *lock(&self.writer) = None;
                let outcomes = batch::panicked(&self.path, jobs.len());
                jobs.iter()
                    .zip(outcomes)
                    .filter_map(|(job, outcome)| Completion::of_write(job.id(), outcome))
                    .collect()
            });
            if !completions.is_empty() {
                (self.sink)(completions);
            }
            // After the answer, which need not wait for it.
            if catch_unwind(AssertUnwindSafe(|| self.fold_log())).is_err() {
                *lock(&self.writer) = None;
            }
        }
    }

    fn fold_log(&self) {
        if let Some(writer) = lock(&self.writer).as_mut()
            && !writer.is_broken()
            && let Some(fold) = writer.next_fold()
            && self.require_sound_log(writer).is_ok()
        {
            writer.fold_log(fold);
        }
    }

    /// Apart, so that the queue is not locked while its jobs are worked.
    fn take_jobs(&self) -> Option<Vec<Job>> {
        lock(&self.queue).take()
    }

    fn perform(&self, jobs: &[Job]) -> Vec<Completion> {
        match jobs {
            [Job::Checkpoint { id }] => {
                let outcome = self.checkpoint_now().map_or_else(Outcome::Failed, |()| Outcome::Done);
                vec![Completion { id: *id, outcome }]
            }
            [Job::Judge(suspicion)] => {
                suspicion.answer(self.judge(suspicion));
                Vec::new()
            }
            [Job::Close { id }] => {
                self.close_now();
                id.map(|id| Completion {
                    id,
                    outcome: Outcome::Done,
                })
                .into_iter()
                .collect()
            }
            writes => self.commit(writes),
        }
    }

    fn commit(&self, jobs: &[Job]) -> Vec<Completion> {
        let requests: Vec<&[Step]> = jobs.iter().map(Job::steps).collect();
        let committed = batch::commit(&mut lock(&self.writer), self, &requests);
        self.commits.fetch_add(committed.transactions, Ordering::Relaxed);
        self.requests.fetch_add(committed.carried, Ordering::Relaxed);
        jobs.iter()
            .zip(committed.outcomes)
            .filter_map(|(job, outcome)| Completion::of_write(job.id(), outcome))
            .collect()
    }

    fn checkpoint_now(&self) -> Result<(), StoreError> {
        let mut slot = lock(&self.writer);
        let mut writer = batch::sound_writer(&mut slot, self)?;
        let folded = self.require_sound_log(&writer).and_then(|()| writer.fold_log_whole());
        *slot = Some(writer);
        if folded? {
            self.condition.log_was_emptied();
            Ok(())
        } else {
            Err(StoreError::Busy {
                path: self.path.clone(),
            })
        }
    }

    fn close_now(&self) {
        let mut queries = lock(&self.queries);
        while queries.running > 0 {
            // A query that waits at the exit gate never ends; the file is as after a crash then, which loses nothing.
            if exit::is_under_way() {
                return;
            }
            let waited = self.queries_changed.wait_timeout(queries, EXIT_POLL);
            queries = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        queries.idle.clear();
        drop(queries);
        *lock(&self.point) = None;
        let mut slot = lock(&self.writer);
        if let Ok(writer) = batch::sound_writer(&mut slot, self) {
            // The last connection checkpoints and removes the write-ahead log; what it cannot fold in stays in the log,
            // which is durable and read at the next open.
            writer.fold_log_on_close(self.require_sound_log(&writer).is_ok());
        }
        *slot = None;
        drop(slot);
        *lock(&self.options) = None;
        *lock(&self.ticket) = None;
    }

    fn query_now(
        &self,
        sql: &str,
        parameters: &[Value],
        most_bytes: Option<usize>,
    ) -> Result<(Vec<Row>, bool), StoreError> {
        let idle = lock(&self.queries).idle.pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => self.open_as(Role::Query)?,
        };
        let result = connection
            .follow_cache_budget()
            .and_then(|()| connection.read_up_to(most_bytes, sql, parameters));
        let mut queries = lock(&self.queries);
        if !connection.is_broken() && queries.idle.len() < QUERIES_KEPT {
            queries.idle.push(connection);
        }
        drop(queries);
        result
    }

    fn open_as(&self, role: Role) -> Result<Connection, StoreError> {
        Connection::open_as(&self.options()?, role, Opening::Another, &self.condition)
    }

    fn options(&self) -> Result<OpenOptions, StoreError> {
        lock(&self.options).clone().ok_or_else(|| self.closed())
    }

    /// How many frames the log has at least.
    fn frames_expected(&self) -> Result<u32, StoreError> {
        // Another process may have begun the log anew.
        let is_ours_alone = self.options()?.exclusive;
        Ok(if is_ours_alone {
            self.condition.log_frames().load(Ordering::Relaxed)
        } else {
            0
        })
    }

    fn answer(&self, id: RequestId, outcome: Outcome) {
        (self.sink)(vec![Completion { id, outcome }]);
    }

    fn closed(&self) -> StoreError {
        StoreError::Closed {
            path: self.path.clone(),
        }
    }
}

impl Home for Shared {
    fn open_writer(&self) -> Result<Connection, StoreError> {
        self.open_as(Role::Writer)
    }

    fn require_sound_log(&self, writer: &Connection) -> Result<(), StoreError> {
        let is_sound = self.condition.log_is_sound(|| {
            let options = self.options()?;
            let pages = options.encryption.as_ref().map(|encryption| encryption.file_pages());
            let frames_expected = self.frames_expected()?;
            let verdict = examine_log(&writer.log_path(), pages.as_ref())?;
            Ok(matches!(verdict, Verdict::Sound { frames } if frames >= frames_expected))
        })?;
        if is_sound {
            Ok(())
        } else {
            Err(StoreError::foreign(&writer.log_path()))
        }
    }
}

/// A panic inside a lock leaves a connection slot empty or a counter right; neither is unsafe to go on with.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
