//! What waits for a store's writer, and how much of it goes into one transaction.

use std::collections::VecDeque;

use crate::batch::Step;
use crate::completion::RequestId;

/// Bounds one transaction: a request that arrives during it waits at most for this much work.
const BATCH_REQUESTS: usize = 512;
const BATCH_BYTES: usize = 4 * 1024 * 1024;

/// One thing for the writer to do.
pub(crate) enum Job {
    Write {
        id: RequestId,
        steps: Vec<Step>,
        bytes: usize,
    },
    Checkpoint {
        id: RequestId,
    },
    Close {
        id: Option<RequestId>,
    },
}

/// Jobs in order of arrival.
#[derive(Default)]
pub(crate) struct Queue {
    jobs: VecDeque<Job>,
    bytes: usize,
    /// A native thread is working the queue.
    served: bool,
    closed: bool,
}

impl Queue {
    /// Appends a job; true if the caller has to find a thread for the queue. Nothing may follow [`Job::Close`].
    pub(crate) fn push(&mut self, job: Job) -> bool {
        self.closed |= matches!(job, Job::Close { .. });
        self.bytes += job.bytes();
        self.jobs.push_back(job);
        !std::mem::replace(&mut self.served, true)
    }

    /// The next writes that fit one transaction, or the next other job alone; `None` gives the thread back.
    pub(crate) fn take(&mut self) -> Option<Vec<Job>> {
        let mut taken = Vec::new();
        let mut bytes = 0;
        while let Some(next) = self.jobs.front() {
            let alone = !matches!(next, Job::Write { .. });
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

    /// Whether a close is among the jobs, or done.
    pub(crate) const fn is_closed(&self) -> bool {
        self.closed
    }

    /// Jobs waiting, and the bytes of their parameters.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        (self.jobs.len(), self.bytes)
    }
}

impl Job {
    pub(crate) const fn id(&self) -> Option<RequestId> {
        match self {
            Self::Write { id, .. } | Self::Checkpoint { id } => Some(*id),
            Self::Close { id } => *id,
        }
    }

    const fn bytes(&self) -> usize {
        match self {
            Self::Write { bytes, .. } => *bytes,
            Self::Checkpoint { .. } | Self::Close { .. } => 0,
        }
    }

    pub(crate) fn steps(&self) -> &[Step] {
        match self {
            Self::Write { steps, .. } => steps,
            Self::Checkpoint { .. } | Self::Close { .. } => &[],
        }
    }
}
