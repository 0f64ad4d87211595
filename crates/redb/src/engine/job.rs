//! What waits for a store's writer.

use std::sync::mpsc::SyncSender;

use nimbus_threads::Place;

use super::batch::Write;
use super::completion::{Outcome, RequestId};
use super::operations::Operations;
use super::options::Durability;
use super::store::Suspicion;

/// What concerns the whole database, done in its place among the writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// Nothing: it is done when everything before it is.
    Settle,
    /// Makes every commit so far durable.
    Flush,
    /// [`super::Database::compact`]; reads are refused meanwhile.
    Compact,
    /// [`super::Database::check_integrity`]; reads are refused meanwhile.
    Check,
}

/// Who is told what became of a job.
pub(super) enum Asker {
    /// Whoever made this request hears of it through the sink.
    Request(RequestId),
    /// A thread waits for it. The channel has room for the one outcome.
    Thread(SyncSender<Outcome>),
    /// Nobody: the store was dropped, or it is told otherwise.
    Nobody,
}

/// One thing for the writer to do.
pub(super) enum Job {
    Write {
        asker: Asker,
        operations: Operations,
        durability: Durability,
    },
    Task {
        asker: Asker,
        task: Task,
    },
    /// Failing pages, of which redb is asked whether it uses them, while nothing is written.
    Judge(Suspicion),
    Close {
        asker: Asker,
    },
}

impl Job {
    pub(super) const fn asker(&self) -> &Asker {
        match self {
            Self::Write { asker, .. } | Self::Task { asker, .. } | Self::Close { asker } => asker,
            Self::Judge(_) => &Asker::Nobody,
        }
    }

    pub(super) const fn write(&self) -> Option<Write<'_>> {
        match self {
            Self::Write {
                operations, durability, ..
            } => Some(Write {
                operations,
                durability: *durability,
            }),
            Self::Task { .. } | Self::Judge(_) | Self::Close { .. } => None,
        }
    }
}

impl nimbus_threads::Job for Job {
    fn place(&self) -> Place {
        match self {
            Self::Write { .. } => Place::Shared,
            Self::Task { .. } | Self::Judge(_) => Place::Alone,
            Self::Close { .. } => Place::Last,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Write { operations, .. } => operations.size(),
            Self::Task { .. } | Self::Judge(_) | Self::Close { .. } => 0,
        }
    }
}
