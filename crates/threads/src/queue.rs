//! What waits for a store's writer, and how much of it goes into one transaction.

use std::collections::VecDeque;

/// Bounds one transaction: a request that arrives during it waits at most for this much work.
const BATCH_REQUESTS: usize = 512;
const BATCH_BYTES: usize = 4 * 1024 * 1024;

/// One thing for a writer to do.
pub trait Job {
    /// Beside which others it may be done.
    fn place(&self) -> Place;

    /// What it carries.
    fn bytes(&self) -> usize;
}

/// Beside which others a job may be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In one transaction with its neighbours.
    Shared,
    /// By itself.
    Alone,
    /// By itself, and nothing may follow it.
    Last,
}

/// Jobs in order of arrival.
pub struct Queue<J> {
    jobs: VecDeque<J>,
    bytes: usize,
    /// A native thread is working the queue.
    served: bool,
    closed: bool,
}

impl<J> Default for Queue<J> {
    fn default() -> Self {
        Self {
            jobs: VecDeque::new(),
            bytes: 0,
            served: false,
            closed: false,
        }
    }
}

impl<J: Job> Queue<J> {
    /// Appends a job; true if the caller has to find a thread for the queue. Nothing may follow a [`Place::Last`].
    #[must_use]
    pub fn push(&mut self, job: J) -> bool {
        self.closed |= job.place() == Place::Last;
        self.bytes += job.bytes();
        self.jobs.push_back(job);
        !std::mem::replace(&mut self.served, true)
    }

    /// The next jobs that fit one transaction, or the next other job alone; `None` gives the thread back.
    pub fn take(&mut self) -> Option<Vec<J>> {
        let mut taken = Vec::new();
        let mut bytes = 0;
        while let Some(next) = self.jobs.front() {
            let alone = next.place() != Place::Shared;
            let full = taken.len() == BATCH_REQUESTS || bytes + next.bytes() > BATCH_BYTES;
            if !taken.is_empty() && (alone || full) {
                break;
            }
            let Some(job) = self.jobs.pop_front() else { break };
            bytes += job.bytes();
            taken.push(job);
            if alone {
                break;
            }
        }
        self.bytes -= bytes;
        self.served = !taken.is_empty();
        self.served.then_some(taken)
    }

    /// Whether a last job is among the jobs, or done.
    pub const fn is_closed(&self) -> bool {
        self.closed
    }

    /// Jobs waiting, and the bytes that they carry.
    pub fn waiting(&self) -> (usize, usize) {
        (self.jobs.len(), self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::{Job, Place, Queue};

    struct Sized(Place, usize);

    impl Job for Sized {
        fn place(&self) -> Place {
            self.0
        }

        fn bytes(&self) -> usize {
            self.1
        }
    }

    fn groups(jobs: &[(Place, usize)]) -> Vec<usize> {
        let mut queue = Queue::default();
        for (index, &(place, bytes)) in jobs.iter().enumerate() {
            assert_eq!(queue.push(Sized(place, bytes)), index == 0, "one thread serves a queue");
        }
        let sum: usize = jobs.iter().map(|(_, bytes)| bytes).sum();
        assert_eq!(queue.waiting(), (jobs.len(), sum));
        let mut groups = Vec::new();
        while let Some(taken) = queue.take() {
            groups.push(taken.len());
        }
        assert_eq!(queue.waiting(), (0, 0));
        groups
    }

    #[test]
    fn writes_share_a_transaction_up_to_its_bounds_and_others_stand_alone_in_their_place() {
        let (write, alone, last) = (Place::Shared, Place::Alone, Place::Last);
        assert_eq!(
            groups(&[(write, 1), (write, 1), (alone, 0), (alone, 0), (write, 1), (last, 0)]),
            [2, 1, 1, 1, 1]
        );
        assert_eq!(groups(&[(write, 3 << 20), (write, 1 << 20), (write, 1)]), [2, 1]);
        assert_eq!(
            groups(&[(write, 9 << 20), (write, 9 << 20)]),
            [1, 1],
            "a large one is not refused"
        );
        assert_eq!(groups(&vec![(write, 0); 1025]), [512, 512, 1]);
    }

    #[test]
    fn a_queue_that_gave_its_thread_back_asks_for_another() {
        let mut queue = Queue::default();
        assert!(queue.push(Sized(Place::Shared, 0)));
        assert!(queue.take().is_some());
        assert!(!queue.push(Sized(Place::Shared, 0)), "the thread looks again");
        assert!(queue.take().is_some() && queue.take().is_none());
        assert!(queue.push(Sized(Place::Shared, 0)));
    }
}
