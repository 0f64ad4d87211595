//! What becomes of a request to a store, on its way back to whoever made it.

use std::sync::Arc;

use super::database::Integrity;
use super::error::EngineError;
use super::packed::Packed;

/// Names a request in its [`Completion`]; the caller chooses it.
pub type RequestId = u32;

/// What became of a request.
#[derive(Debug)]
pub enum Outcome {
    /// A write is committed, a flush or a close is done.
    Done,
    /// The pairs of a range.
    Pairs(Packed),
    /// Whether a compaction moved anything.
    Compacted(bool),
    /// What a check found.
    Checked(Integrity),
    /// The request failed; one failed commit is the answer to every request in it.
    Failed(Arc<EngineError>),
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

impl Outcome {
    pub(super) fn from_result<T>(result: Result<T, EngineError>, outcome: impl FnOnce(T) -> Self) -> Self {
        result.map_or_else(|error| Self::Failed(Arc::new(error)), outcome)
    }
}
