//! What the threads of one store share, and the work that the writer does: the queue, the commits, the tasks between them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError};

use nimbus_threads::{Queue, pool};

use super::super::batch::{self, Write};
use super::super::completion::{Completion, Outcome, Sink};
use super::super::database::{Database, Facts, Stats};
use super::super::error::EngineError;
use super::super::job::{Asker, Job, Task};
use super::super::operations::Operations;
use super::super::view::View;
use super::views::Views;
use crate::rows::Rows;
use crate::sealed::Reservation;

pub(super) struct Shared {
    pub(super) path: PathBuf,
    pub(super) sink: Sink,
    pub(super) queue: Mutex<Queue<Job>>,
    /// `None` once it is closed, or a defect made it unusable.
    database: RwLock<Option<Database>>,
    pub(super) views: Views,
    pub(super) rows: Arc<Rows>,
    pub(super) facts: Mutex<Known>,
    /// Given back when the store closes.
    reservation: Mutex<Option<Reservation>>,
    pub(super) commits: AtomicU64,
    pub(super) requests: AtomicU64,
}

pub(super) enum Known {
    Live(Facts),
    Last(Stats),
}

impl Shared {
    pub(super) fn new(path: PathBuf, database: Database, reservation: Reservation, sink: Sink) -> Self {
        Self {
            path,
            sink,
            queue: Mutex::default(),
            facts: Mutex::new(Known::Live(database.facts())),
            database: RwLock::new(Some(database)),
            views: Views::default(),
            rows: Arc::new(Rows::new()),
            reservation: Mutex::new(Some(reservation)),
            commits: AtomicU64::new(0),
            requests: AtomicU64::new(0),
        }
    }

    /// The last commit, and its number among the views.
    pub(super) fn view(&self) -> Result<(u64, Arc<View>), EngineError> {
        self.views.last(|| {
            if lock(&self.queue).is_closed() {
                return Err(self.closed());
            }
            let database = match self.database.try_read() {
                Ok(database) => database,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => {
                    return Err(EngineError::Engaged {
                        path: self.path.clone(),
                    });
                }
            };
            let database = database.as_ref().ok_or_else(|| self.unusable())?;
            Ok(View::new(database.snapshot()?, self.path.clone(), self.views.ticket()))
        })
    }

    pub(super) fn enqueue(shared: &Arc<Self>, job: Job) {
        let mut queue = lock(&shared.queue);
        if queue.is_closed() {
            drop(queue);
            let outcome = match &job {
                Job::Judge(suspicion) => return suspicion.answer(Err(shared.closed())),
                Job::Close { .. } => Outcome::Done,
                Job::Write { .. } | Job::Task { .. } => failed(shared.closed()),
            };
            shared.answer([(job.asker(), outcome)]);
            return;
        }
        let needs_thread = queue.push(job);
        let is_closed = queue.is_closed();
        drop(queue);
        if is_closed {
            // Who reads from now on is told so, though what was written before has yet to be committed.
            shared.rows.close();
            shared.views.pass();
        }
        if needs_thread {
            let shared = Arc::clone(shared);
            pool::WRITERS.run(move || shared.serve());
        }
    }

    /// Works the queue until it is empty.
    fn serve(&self) {
        while let Some(jobs) = self.take_jobs() {
            let outcomes = catch_unwind(AssertUnwindSafe(|| self.perform(&jobs))).unwrap_or_else(|_panic| {
                self.give_up();
                let panicked = Arc::new(self.panicked());
                jobs.iter().map(|_| Outcome::Failed(Arc::clone(&panicked))).collect()
            });
            self.answer(jobs.iter().map(Job::asker).zip(outcomes));
        }
    }

    /// Tells everybody what became of their jobs: those who made requests together.
    fn answer<'a>(&self, outcomes: impl IntoIterator<Item = (&'a Asker, Outcome)>) {
        let mut completions = Vec::new();
        for (asker, outcome) in outcomes {
            match asker {
                Asker::Request(id) => completions.push(Completion { id: *id, outcome }),
                // Fails if the thread is gone, and then nobody waits.
                Asker::Thread(waiting) => _ = waiting.try_send(outcome),
                Asker::Nobody => {}
            }
        }
        if !completions.is_empty() {
            (self.sink)(completions);
        }
    }

    /// Apart, so that the queue is not locked while its jobs are worked.
    fn take_jobs(&self) -> Option<Vec<Job>> {
        lock(&self.queue).take()
    }

    /// One outcome for each job.
    fn perform(&self, jobs: &[Job]) -> Vec<Outcome> {
        match jobs {
            [Job::Task { task, .. }] => vec![self.perform_task(*task)],
            [Job::Judge(suspicion)] => {
                suspicion.answer(self.judge(suspicion));
                vec![Outcome::Done]
            }
            [Job::Close { .. }] => vec![self.close_now()],
            writes => self.commit(writes),
        }
    }

    fn commit(&self, jobs: &[Job]) -> Vec<Outcome> {
        let writes: Vec<Write<'_>> = jobs.iter().filter_map(Job::write).collect();
        let database = self.shared();
        let Some(open) = database.as_ref() else {
            let unusable = Arc::new(self.unusable());
            return jobs.iter().map(|_| Outcome::Failed(Arc::clone(&unusable))).collect();
        };
        self.rows.change();
        let committed = batch::commit(open, &writes);
        drop(database);
        self.forget_rows(&writes);
        // Before the answers: who is told of a commit reads it.
        self.views.pass();
        if committed.outcomes.iter().all(is_settled) {
            self.rows.end();
        }
        self.commits.fetch_add(committed.commits, Ordering::Relaxed);
        self.requests.fetch_add(jobs.len() as u64, Ordering::Relaxed);
        let is_defect = |outcome: &Result<_, Arc<EngineError>>| {
            outcome
                .as_ref()
                .is_err_and(|error| matches!(**error, EngineError::Panicked { .. }))
        };
        if committed.outcomes.iter().any(is_defect) {
            self.give_up();
        }
        let outcomes = committed.outcomes.into_iter();
        outcomes
            .map(|outcome| outcome.map_or_else(Outcome::Failed, |()| Outcome::Done))
            .collect()
    }

    /// Whatever became of the writes.
    fn forget_rows(&self, writes: &[Write<'_>]) {
        let operations = || writes.iter().map(|write| write.operations);
        if operations().any(|operations| !operations.dropped_tables().is_empty()) {
            return self.rows.clear();
        }
        let changed = operations().flat_map(Operations::iter);
        self.rows
            .remove(changed.map(|operation| (operation.table, operation.key)));
    }

    fn perform_task(&self, task: Task) -> Outcome {
        match task {
            Task::Settle => Outcome::Done,
            Task::Flush => {
                let database = self.shared();
                let result = database.as_ref().ok_or_else(|| self.unusable());
                Outcome::from_result(result.and_then(Database::flush), |()| Outcome::Done)
            }
            Task::Compact => self.alone(|open| Outcome::from_result(open.compact(), Outcome::Compacted)),
            Task::Check => self.alone(|open| Outcome::from_result(open.check_integrity(), Outcome::Checked)),
        }
    }

    /// redb wants nobody to read; a view that somebody holds on to is an error of this task, a read that has begun is not.
    fn alone(&self, task: impl FnOnce(&mut Database) -> Outcome) -> Outcome {
        let mut database = self.exclusive();
        // Who reads meanwhile is refused, and what was read before is read, and authenticated, again.
        self.rows.change();
        self.rows.clear();
        self.views.pass();
        self.views.wait_for_reads();
        let Some(open) = database.as_mut() else {
            return failed(self.unusable());
        };
        let outcome = task(open);
        // Whatever it is, the state is the one that readers begin with, and none of an earlier one is kept.
        self.rows.end();
        outcome
    }

    fn close_now(&self) -> Outcome {
        let database = self.exclusive().take();
        self.close_reads();
        {
            let mut facts = lock(&self.facts);
            if let Known::Live(live) = &*facts {
                *facts = Known::Last(live.stats().unwrap_or_default());
            }
        }
        let closed = database.map_or(Ok(()), Database::close);
        *lock(&self.reservation) = None;
        match closed {
            // Whoever met the failure was told of it.
            Ok(()) | Err(EngineError::NeedsReopen { .. }) => Outcome::Done,
            Err(error) => failed(error),
        }
    }

    /// Closes what a defect has left in no known state: as after a crash, which loses nothing.
    fn give_up(&self) {
        let database = self.exclusive().take();
        self.close_reads();
        // A second panic on the way out tells nothing new.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(database)));
    }

    /// For good.
    fn close_reads(&self) {
        self.rows.close();
        self.rows.clear();
        self.views.close();
    }

    pub(super) fn shared(&self) -> RwLockReadGuard<'_, Option<Database>> {
        self.database.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn exclusive(&self) -> RwLockWriteGuard<'_, Option<Database>> {
        self.database.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn closed(&self) -> EngineError {
        EngineError::Closed {
            path: self.path.clone(),
        }
    }

    pub(super) fn panicked(&self) -> EngineError {
        EngineError::Panicked {
            path: self.path.clone(),
        }
    }

    pub(super) fn unusable(&self) -> EngineError {
        EngineError::NeedsReopen {
            path: self.path.clone(),
        }
    }
}

/// Whether it is known what the database holds now.
fn is_settled(outcome: &Result<(), Arc<EngineError>>) -> bool {
    outcome.as_ref().map_or_else(|error| error.is_of_request(), |()| true)
}

pub(super) fn failed(error: EngineError) -> Outcome {
    Outcome::Failed(Arc::new(error))
}

/// A panic under a lock leaves a slot empty or a counter right; neither is unsafe to go on with.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
