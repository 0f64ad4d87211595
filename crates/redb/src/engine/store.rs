//! One open database, used by many requests at once.
//!
//! Writes queue up and a native thread commits what has gathered as one transaction, in the order of the calls: one sync
//! answers many. Reads run on whatever thread asks, on a [`View`] of the last commit that they share until the next one.
//! A failure of the disk is final: everything later fails until the file is opened again.

mod verification;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError, Weak};

use nimbus_disk::FileLock;
use nimbus_threads::{Queue, exit, pool};

use super::batch::{self, Write};
use super::completion::{Completion, Outcome, RequestId, Sink};
use super::database::{Database, Facts, Stats};
use super::error::EngineError;
use super::job::{Asker, Job, Task};
use super::operations::Operations;
use super::options::{Durability, Options};
use super::view::{Range, View};
use crate::sealed::Reservation;

pub(super) use self::verification::Suspicion;
pub use self::verification::Verification;

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

struct Shared {
    path: PathBuf,
    sink: Sink,
    queue: Mutex<Queue<Job>>,
    /// `None` once it is closed, or a defect made it unusable.
    database: RwLock<Option<Database>>,
    /// The last commit, if somebody read since it.
    current: Mutex<Option<Arc<View>>>,
    /// Every view that may still be open.
    views: Mutex<Vec<Weak<View>>>,
    facts: Mutex<Known>,
    /// Given back when the store closes.
    reservation: Mutex<Option<Reservation>>,
    commits: AtomicU64,
    requests: AtomicU64,
}

enum Known {
    Live(Facts),
    Last(Stats),
}

impl Store {
    /// Opens or makes a database, under `lock` if the caller has it already; finished requests go to `sink`. How much redb keeps
    /// in memory is not the caller's choice but the budget's.
    ///
    /// # Errors
    /// Those of [`Database::open`].
    pub fn open(options: &Options<'_>, lock: Option<FileLock>, sink: Sink) -> Result<Self, EngineError> {
        exit::close_gate_at_exit();
        let reservation = Reservation::take();
        let options = &Options {
            path: options.path.clone(),
            cache_bytes: reservation.bytes(),
            ..*options
        };
        let database = match lock {
            Some(lock) => Database::open_locked(options, lock)?,
            None => Database::open(options)?,
        };
        let shared = Shared {
            path: options.path.clone(),
            sink,
            queue: Mutex::default(),
            facts: Mutex::new(Known::Live(database.facts())),
            database: RwLock::new(Some(database)),
            current: Mutex::default(),
            views: Mutex::default(),
            reservation: Mutex::new(Some(reservation)),
            commits: AtomicU64::new(0),
            requests: AtomicU64::new(0),
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// The last commit, for as long as it is kept: later writes do not change it, and close it neither.
    ///
    /// # Errors
    /// [`EngineError::Closed`], [`EngineError::Engaged`] during a check or a compaction, [`EngineError::NeedsReopen`].
    pub fn view(&self) -> Result<Arc<View>, EngineError> {
        self.shared.view()
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

impl Shared {
    fn view(&self) -> Result<Arc<View>, EngineError> {
        // Held while the view is begun: a commit that ends meanwhile takes it away again.
        let mut current = lock(&self.current);
        if lock(&self.queue).is_closed() {
            return Err(self.closed());
        }
        if let Some(view) = &*current {
            return Ok(Arc::clone(view));
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
        let view = Arc::new(View::new(database.snapshot()?, self.path.clone()));
        let mut views = lock(&self.views);
        views.retain(|view| view.strong_count() > 0);
        views.push(Arc::downgrade(&view));
        *current = Some(Arc::clone(&view));
        Ok(view)
    }

    fn enqueue(shared: &Arc<Self>, job: Job) {
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
        drop(queue);
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
        let committed = batch::commit(open, &writes);
        drop(database);
        // Before the answers: who is told of a commit reads it.
        *lock(&self.current) = None;
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

    /// redb wants nobody to read; a view that somebody holds on to is an error of this task.
    fn alone(&self, task: impl FnOnce(&mut Database) -> Outcome) -> Outcome {
        let mut database = self.exclusive();
        *lock(&self.current) = None;
        match database.as_mut() {
            Some(open) => task(open),
            None => failed(self.unusable()),
        }
    }

    fn close_now(&self) -> Outcome {
        let database = self.exclusive().take();
        self.close_views();
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
        self.close_views();
        // A second panic on the way out tells nothing new.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(database)));
    }

    fn close_views(&self) {
        *lock(&self.current) = None;
        for view in std::mem::take(&mut *lock(&self.views)) {
            if let Some(view) = view.upgrade() {
                view.close();
            }
        }
    }

    fn shared(&self) -> RwLockReadGuard<'_, Option<Database>> {
        self.database.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn exclusive(&self) -> RwLockWriteGuard<'_, Option<Database>> {
        self.database.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn closed(&self) -> EngineError {
        EngineError::Closed {
            path: self.path.clone(),
        }
    }

    fn panicked(&self) -> EngineError {
        EngineError::Panicked {
            path: self.path.clone(),
        }
    }

    fn unusable(&self) -> EngineError {
        EngineError::NeedsReopen {
            path: self.path.clone(),
        }
    }
}

fn failed(error: EngineError) -> Outcome {
    Outcome::Failed(Arc::new(error))
}

/// A panic under a lock leaves a slot empty or a counter right; neither is unsafe to go on with.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
