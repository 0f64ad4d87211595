//! What becomes of a request, on its way back to whoever made it.

use std::sync::Arc;

use crate::batch::{RequestOutcome, StepResult};
use crate::error::StoreError;
use crate::value::Row;

/// Names a request in its [`Completion`]; the caller chooses it.
pub type RequestId = u32;

/// What became of a request.
#[derive(Debug)]
pub enum Outcome {
    /// A write is durable; one result for each step.
    Wrote(Vec<StepResult>),
    /// A query was answered.
    Rows {
        /// As many as fit.
        rows: Vec<Row>,
        /// Whether there are more, left out because of their size.
        cut: bool,
    },
    /// A checkpoint or close is done.
    Done,
    /// The request failed.
    Failed(StoreError),
}

/// A finished request.
#[derive(Debug)]
pub struct Completion {
    /// The id it was submitted with.
    pub id: RequestId,
    /// What became of it.
    pub outcome: Outcome,
}

/// Takes finished requests, on a native thread: all those of one commit together.
pub type Sink = Arc<dyn Fn(Vec<Completion>) + Send + Sync>;

impl Completion {
    /// The completion of a write; none if nobody waits for it.
    pub(crate) fn of_write(id: Option<RequestId>, outcome: RequestOutcome) -> Option<Self> {
        let outcome = outcome.map_or_else(Outcome::Failed, Outcome::Wrote);
        id.map(|id| Self { id, outcome })
    }
}
