//! Native threads that run stores' work: made on demand up to a limit, gone after ten idle seconds.
//!
//! Ten thousand tenants must not cost ten thousand threads, and one that blocks in `fsync` must not hold up the others.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::exit;

const IDLE: Duration = Duration::from_secs(10);

/// Commits: mostly waiting for the disk.
pub static WRITERS: Pool = Pool::new("nimbus-writer", 16);
/// Queries: mostly computing.
pub static READERS: Pool = Pool::new("nimbus-reader", 4);
/// What a reader will need next, authenticated while it reads: short, and nobody waits for it.
pub static AHEAD: Pool = Pool::new("nimbus-ahead", 2);
/// Long work on whole files: copies, checks, new keys.
pub static ADMIN: Pool = Pool::new("nimbus-admin", 4);

type Job = Box<dyn FnOnce() + Send>;

/// A bounded set of threads over one queue.
pub struct Pool {
    name: &'static str,
    most_threads: usize,
    state: Mutex<State>,
    work: Condvar,
}

struct State {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
}

impl Pool {
    const fn new(name: &'static str, most_threads: usize) -> Self {
        let state = State {
            jobs: VecDeque::new(),
            threads: 0,
            idle: 0,
        };
        Self {
            name,
            most_threads,
            state: Mutex::new(state),
            work: Condvar::new(),
        }
    }

    /// Runs `job` on one of the threads, in order of arrival. The caller holds no lock that a job takes.
    pub fn run(&'static self, job: impl FnOnce() + Send + 'static) {
        let mut state = self.lock();
        state.jobs.push_back(Box::new(job));
        if state.idle >= state.jobs.len() {
            self.work.notify_one();
        } else if state.threads < self.most_threads {
            state.threads += 1;
            drop(state);
            let spawned = std::thread::Builder::new()
                .name(self.name.to_owned())
                .spawn(|| self.serve());
            if spawned.is_err() {
                // The system is out of threads: those there are will come to the job. If there are none, the caller does
                // it, for nobody else ever would.
                let threads = {
                    let mut state = self.lock();
                    state.threads -= 1;
                    state.threads
                };
                if threads == 0 {
                    while let Some(job) = self.take() {
                        perform(job);
                    }
                }
            }
        }
    }

    fn serve(&self) {
        while let Some(job) = self.next() {
            perform(job);
        }
    }

    fn take(&self) -> Option<Job> {
        self.lock().jobs.pop_front()
    }

    fn next(&self) -> Option<Job> {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
            state.idle += 1;
            let (woken, timeout) = self
                .work
                .wait_timeout(state, IDLE)
                .unwrap_or_else(PoisonError::into_inner);
            state = woken;
            state.idle -= 1;
            if timeout.timed_out() && state.jobs.is_empty() {
                state.threads -= 1;
                return None;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn perform(job: Job) {
    let _running = exit::enter();
    // A job answers for its own panics; what gets here must not take the thread's place in the count with it.
    let _ = catch_unwind(AssertUnwindSafe(job));
}
