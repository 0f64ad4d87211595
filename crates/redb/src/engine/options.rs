//! How a database is opened, and how durable a commit is.

use std::path::PathBuf;

use nimbus_crypto::{Dek, FileId};

use super::error::EngineError;

/// How a database is opened.
pub struct Options<'a> {
    /// The data file.
    pub path: PathBuf,
    /// Whether the file must be there or must not.
    pub mode: Mode,
    /// The keys of a sealed file; `None` for plain redb.
    pub encryption: Option<Encryption<'a>>,
    /// Bytes that redb keeps in memory for this file (its own default is 1 GiB). A store has no more than its part of the budget.
    pub cache_bytes: usize,
}

impl Options<'_> {
    /// Fails unless the file is there, or not there, as the mode demands.
    pub(super) fn require_mode(&self) -> Result<(), EngineError> {
        let path = &self.path;
        let exists = path.try_exists().map_err(|error| EngineError::from_io(error, path))?;
        match (self.mode, exists) {
            (Mode::Open, false) => Err(EngineError::Missing { path: path.clone() }),
            (Mode::Create, true) => Err(EngineError::Exists { path: path.clone() }),
            (Mode::Open, true) | (Mode::Create, false) => Ok(()),
        }
    }
}

/// Whether the file must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It must.
    Open,
    /// It must not, and is made: under another name until it is whole.
    Create,
}

/// What a manifest says of a sealed file.
#[derive(Clone, Copy)]
pub struct Encryption<'a> {
    /// The unwrapped DEK.
    pub dek: &'a Dek,
    /// The id that the file must bear.
    pub file_id: FileId,
    /// The generation of the DEK, for a new file.
    pub dek_generation: u64,
}

/// When a commit survives a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// When it returns.
    Immediate,
    /// With the next immediate commit, the next flush, a thousand eventual commits later, or when the database is closed.
    /// It is seen at once, and it is lost whole or not at all.
    Eventual,
}
