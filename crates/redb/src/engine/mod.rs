//! The key-value engine: named tables of bytes to bytes in one redb database, sealed or plain, through one API.
//!
//! A [`Database`] is the engine itself, for one caller at a time; a [`Store`] lets many use one, with group commit.

mod batch;
mod completion;
mod copy;
mod database;
mod error;
mod job;
mod operations;
mod options;
mod packed;
mod range;
mod rotate;
mod snapshot;
mod store;
mod transaction;
mod verify;
mod view;

pub use completion::{Completion, Outcome, RequestId, Sink};
pub use copy::{CopyJob, CopyKey, copy_database};
pub use database::{Database, Integrity, Stats};
pub use error::EngineError;
pub use job::Task;
pub use operations::{MalformedOperations, Operation, Operations};
pub use options::{Durability, Encryption, Mode, Options};
pub use packed::{ABSENT, ALIGNMENT, Packed, split};
pub use range::{Batch, Direction, Limit, Pair};
pub use rotate::{ResealJob, key_opens, reseal};
pub use snapshot::{ReadTable, Snapshot};
pub use store::{Store, StoreStats, TableReader, Verification};
pub use transaction::{Transaction, WriteTable};
pub use verify::{Verified, verify};
pub use view::{Range, View};
