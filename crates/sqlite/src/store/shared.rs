//! What the threads of one store share, and the work that they do: the queue of the writer, and the connections of everyone.

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

/// Query connections that are kept for the next query.
const QUERIES_KEPT: usize = 2;
/// How often a close that waits for queries looks whether the process is ending.
pub(super) const EXIT_POLL: Duration = Duration::from_millis(20);

pub(super) struct Shared {
    pub(super) path: PathBuf,
    /// For the connections to come; with the file's key, so none once the store is closed.
    options: Mutex<Option<OpenOptions>>,
    sink: Sink,
    pub(super) condition: Arc<Condition>,
    pub(super) queue: Mutex<Queue>,
    /// Holds a connection, if a broken one, while the store is open: see [`batch::sound_writer`].
    pub(super) writer: Mutex<Option<Connection>>,
    pub(super) point: Mutex<Option<Connection>>,
    pub(super) queries: Mutex<Queries>,
    pub(super) queries_changed: Condvar,
    pub(super) commits: AtomicU64,
    pub(super) requests: AtomicU64,
    /// Given back when the store closes.
    ticket: Mutex<Option<Ticket>>,
}

#[derive(Default)]
pub(super) struct Queries {
    pub(super) running: usize,
    idle: Vec<Connection>,
}

impl Shared {
    pub(super) fn open(options: &OpenOptions, sink: Sink) -> Result<Self, StoreError> {
        let ticket = Ticket::take(Engine::Sqlite);
        let condition = Arc::default();
        let writer = Connection::open_as(options, Role::Writer, Opening::First, &condition)?;
        Ok(Self {
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
        })
    }

    pub(super) fn enqueue(shared: &Arc<Self>, jobs: impl IntoIterator<Item = Job>) {
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

    pub(super) fn query_now(
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

    pub(super) fn open_as(&self, role: Role) -> Result<Connection, StoreError> {
        Connection::open_as(&self.options()?, role, Opening::Another, &self.condition)
    }

    pub(super) fn options(&self) -> Result<OpenOptions, StoreError> {
        lock(&self.options).clone().ok_or_else(|| self.closed())
    }

    /// How many frames the log has at least.
    pub(super) fn frames_expected(&self) -> Result<u32, StoreError> {
        // Another process may have begun the log anew.
        let is_ours_alone = self.options()?.exclusive;
        Ok(if is_ours_alone {
            self.condition.log_frames().load(Ordering::Relaxed)
        } else {
            0
        })
    }

    pub(super) fn answer(&self, id: RequestId, outcome: Outcome) {
        (self.sink)(vec![Completion { id, outcome }]);
    }

    pub(super) fn closed(&self) -> StoreError {
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
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
