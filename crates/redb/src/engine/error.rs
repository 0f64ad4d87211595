//! What can go wrong with a database, by what its owner can do about it. Every variant names the file.

use std::io;
use std::path::{Path, PathBuf};

use nimbus_crypto::{FileId, RandomError};
use nimbus_disk::DiskError;

use crate::sealed::{Damage, SealedError};

/// A failure of a database.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The file is sealed under another DEK.
    #[error("{path} is sealed under another key")]
    WrongKey {
        /// The data file.
        path: PathBuf,
    },
    /// The file is a sealed one, but not the one that its manifest names.
    #[error("{path} is another file than its manifest names: it bears the id {:032x}", u128::from_be_bytes(found.0))]
    OtherFile {
        /// The data file.
        path: PathBuf,
        /// The id that it bears.
        found: FileId,
    },
    /// The file is plain redb, and was to be opened with a key.
    #[error("{path} is not encrypted")]
    NotSealed {
        /// The data file.
        path: PathBuf,
    },
    /// The file is sealed, and was to be opened without a key.
    #[error("{path} is encrypted")]
    Sealed {
        /// The data file.
        path: PathBuf,
    },
    /// The file was damaged or changed.
    #[error("{path} is damaged: {damage}")]
    Corrupt {
        /// The data file.
        path: PathBuf,
        /// Where.
        damage: Damage,
    },
    /// A copy does not hold what its source holds.
    #[error("the copy {path} is not what it was made from")]
    Differs {
        /// The copy.
        path: PathBuf,
    },
    /// Long work was told to stop, and did.
    #[error("the work on {path} was interrupted")]
    Interrupted {
        /// The data file.
        path: PathBuf,
    },
    /// There is no such file.
    #[error("{path} does not exist")]
    Missing {
        /// The data file.
        path: PathBuf,
    },
    /// A file is there that should have been made.
    #[error("{path} exists already")]
    Exists {
        /// The data file.
        path: PathBuf,
    },
    /// Another process or handle has the file open.
    #[error("{path} is in use{}", pid.map(|pid| format!(" by process {pid}")).unwrap_or_default())]
    Busy {
        /// The data file.
        path: PathBuf,
        /// The owner's process id, if it is known.
        pid: Option<u32>,
        /// The owner's host name, if it is known.
        host: Option<String>,
    },
    /// The device or the quota is full.
    #[error("no space left to write {path}")]
    Full {
        /// The data file.
        path: PathBuf,
    },
    /// The process may not read or write the file.
    #[error("not permitted to open or write {path}")]
    Denied {
        /// The data file.
        path: PathBuf,
    },
    /// The system refused to read, write or sync. A commit that was in flight may be on the disk or not.
    #[error("could not read or write {path}: {source}")]
    Io {
        /// The data file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// An earlier operation failed: the database must be opened again.
    #[error("{path} must be opened again after an earlier failure")]
    NeedsReopen {
        /// The data file.
        path: PathBuf,
    },
    /// The system gave no randomness for a nonce.
    #[error("could not write {path}: {source}")]
    Random {
        /// The data file.
        path: PathBuf,
        /// What the system said.
        source: RandomError,
    },
    /// A transaction, snapshot or savepoint is alive that must not be.
    #[error("{path} has an open transaction, snapshot or savepoint")]
    InUse {
        /// The data file.
        path: PathBuf,
    },
    /// There is no such savepoint, or one cannot be made or restored in a transaction like this one.
    #[error("{path} has no such savepoint, or cannot make one in a transaction that has changed something")]
    Savepoint {
        /// The data file.
        path: PathBuf,
    },
    /// A table name is empty, is opened twice in one transaction, or names something that is no table of bytes.
    #[error("{path} has no usable table of that name")]
    Table {
        /// The data file.
        path: PathBuf,
        /// The name.
        table: String,
    },
    /// A key or a value is longer than redb takes.
    #[error("a key or value of {bytes} bytes is too long for {path}")]
    TooLarge {
        /// The data file.
        path: PathBuf,
        /// Its length.
        bytes: usize,
    },
    /// The database is being checked or compacted: nothing else can be done meanwhile.
    #[error("{path} is being checked or compacted")]
    Engaged {
        /// The data file.
        path: PathBuf,
    },
    /// The store was closed.
    #[error("{path} is closed")]
    Closed {
        /// The data file.
        path: PathBuf,
    },
    /// A defect: the code panicked. The database must be opened again.
    #[error("an operation on {path} failed inside nimbus")]
    Panicked {
        /// The data file.
        path: PathBuf,
    },
}

impl EngineError {
    /// Whether only the write that met it failed: others beside it can be committed.
    #[must_use]
    pub const fn is_of_request(&self) -> bool {
        matches!(self, Self::Table { .. } | Self::TooLarge { .. })
    }

    pub(super) fn from_redb(error: redb::Error, path: &Path) -> Self {
        let path = path.to_owned();
        match error {
            redb::Error::Io(error) => Self::from_io(error, &path),
            redb::Error::Corrupted(_) | redb::Error::UpgradeRequired(_) | redb::Error::RepairAborted => Self::Corrupt {
                path,
                damage: Damage::Database,
            },
            redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => Self::Busy {
                path,
                pid: None,
                host: None,
            },
            redb::Error::TransactionInProgress
            | redb::Error::PersistentSavepointExists
            | redb::Error::EphemeralSavepointExists => Self::InUse { path },
            redb::Error::InvalidSavepoint
            | redb::Error::ImmediateDurabilityRequired
            | redb::Error::PersistentSavepointModified
            | redb::Error::EphemeralSavepointUnsupported => Self::Savepoint { path },
            redb::Error::ValueTooLarge(bytes) => Self::TooLarge { path, bytes },
            redb::Error::TableTypeMismatch { table, .. }
            | redb::Error::TableIsMultimap(table)
            | redb::Error::TableIsNotMultimap(table)
            | redb::Error::TableDoesNotExist(table)
            | redb::Error::TableExists(table)
            | redb::Error::TableAlreadyOpen(table, _) => Self::Table { path, table },
            redb::Error::PreviousIo | redb::Error::DatabaseClosed | redb::Error::TransactionPoisoned => {
                Self::NeedsReopen { path }
            }
            // The enum is open to later versions; what is left today is a lock that a panic poisoned.
            _ => Self::Panicked { path },
        }
    }

    pub(super) fn from_sealed(error: SealedError, path: &Path) -> Self {
        let path = path.to_owned();
        match error {
            SealedError::WrongKey => Self::WrongKey { path },
            SealedError::OtherFile { found } => Self::OtherFile { path, found },
            SealedError::Corrupt(damage) => Self::Corrupt { path, damage },
            SealedError::Io(error) => Self::from_io(error, &path),
            SealedError::Random(source) => Self::Random { path, source },
            SealedError::Failed => Self::NeedsReopen { path },
            // redb asks for neither (tests/traces.rs) unless its own structures are broken.
            SealedError::BeyondEnd { .. } | SealedError::Unaligned { .. } => Self::Corrupt {
                path,
                damage: Damage::Database,
            },
        }
    }

    pub(super) fn from_io(error: io::Error, path: &Path) -> Self {
        let path = path.to_owned();
        if error
            .get_ref()
            .is_some_and(<dyn std::error::Error + Send + Sync>::is::<SealedError>)
        {
            let inner = error
                .into_inner()
                .and_then(|inner| inner.downcast::<SealedError>().ok());
            return match inner {
                Some(inner) => Self::from_sealed(*inner, &path),
                None => Self::Panicked { path },
            };
        }
        match error.kind() {
            io::ErrorKind::NotFound => Self::Missing { path },
            io::ErrorKind::AlreadyExists => Self::Exists { path },
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Self::Full { path }
            }
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Self::Denied { path },
            // redb's word for a file that is none of its own.
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => Self::Corrupt {
                path,
                damage: Damage::Database,
            },
            _ => Self::Io { path, source: error },
        }
    }

    pub(super) fn from_disk(error: DiskError, path: &Path) -> Self {
        let path = path.to_owned();
        match error {
            DiskError::Busy { pid, host, .. } => Self::Busy { path, pid, host },
            DiskError::Full { .. } => Self::Full { path },
            DiskError::Denied { .. } => Self::Denied { path },
            DiskError::Io { source, .. } => Self::Io { path, source },
        }
    }
}
