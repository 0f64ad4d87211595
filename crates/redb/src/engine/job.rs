//! What waits for a store's writer.

use nimbus_threads::Place;

use super::batch::Write;
use super::completion::RequestId;
use super::operations::Operations;
use super::options::Durability;
use super::store::Suspicion;

/// What concerns the whole database, done in its place among the writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// Makes every commit so far durable.
    Flush,
    /// [`super::Database::compact`]; reads are refused meanwhile.
    Compact,
    /// [`super::Database::check_integrity`]; reads are refused meanwhile.
    Check,
}

/// One thing for the writer to do.
pub(super) enum Job {
    Write {
        id: RequestId,
        operations: Operations,
        durability: Durability,
    },
    Task {
        id: RequestId,
        task: Task,
    },
    /// Failing pages, of which redb is asked whether it uses them, while nothing is written.
    Judge(Suspicion),
    Close {
        id: Option<RequestId>,
    },
}

impl Job {
    pub(super) const fn id(&self) -> Option<RequestId> {
        match self {
            Self::Write { id, .. } | Self::Task { id, .. } => Some(*id),
            Self::Judge(_) => None,
            Self::Close { id } => *id,
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
