//! The key-value engine: named tables of bytes to bytes in one redb database, sealed or plain, through one API.

mod database;
mod error;
mod options;
mod range;
mod snapshot;
mod transaction;

pub use database::{Database, Integrity, Stats};
pub use error::EngineError;
pub use options::{Durability, Encryption, Mode, Options};
pub use range::{Batch, Direction, Limit, Pair};
pub use snapshot::{ReadTable, Snapshot};
pub use transaction::{Transaction, WriteTable};
