//! What a store's writer has to do.

use nimbus_threads::Place;

use crate::batch::Step;
use crate::completion::RequestId;
use crate::store::Suspicion;

/// Jobs in order of arrival.
pub(crate) type Queue = nimbus_threads::Queue<Job>;

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
    /// Pages of the data file to look at while nothing is written to it.
    Judge(Suspicion),
    Close {
        id: Option<RequestId>,
    },
}

impl nimbus_threads::Job for Job {
    fn place(&self) -> Place {
        match self {
            Self::Write { .. } => Place::Shared,
            Self::Checkpoint { .. } | Self::Judge(_) => Place::Alone,
            Self::Close { .. } => Place::Last,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Write { bytes, .. } => *bytes,
            Self::Checkpoint { .. } | Self::Judge(_) | Self::Close { .. } => 0,
        }
    }
}

impl Job {
    pub(crate) const fn id(&self) -> Option<RequestId> {
        match self {
            Self::Write { id, .. } | Self::Checkpoint { id } => Some(*id),
            Self::Judge(_) => None,
            Self::Close { id } => *id,
        }
    }

    pub(crate) fn steps(&self) -> &[Step] {
        match self {
            Self::Write { steps, .. } => steps,
            Self::Checkpoint { .. } | Self::Judge(_) | Self::Close { .. } => &[],
        }
    }
}
