//! An open database: creation, opening under the lock, and what concerns the whole file.
//!
//! | a creation stopped after | leaves                                                            |
//! |--------------------------|-------------------------------------------------------------------|
//! | the lock                 | `<file>.nimbus-lock`                                              |
//! | the first byte           | the same and `<file>.creating`, which the next creation replaces  |
//! | the rename               | the database, whole                                               |

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nimbus_disk::FileLock;
use redb::backends::FileBackend;
use redb::{ReadableDatabase, StorageBackend};

use super::error::EngineError;
use super::options::{Durability, Encryption, Mode, Options};
use super::snapshot::Snapshot;
use super::transaction::Transaction;
use crate::backend::SealedBackend;
use crate::disk::Disk;
use crate::sealed::{Damage, Identity, SealedFile, SealedStats, Tuning, will_open};

/// Eventual commits that may follow each other; the next one is made durable, and with it all of them.
const EVENTUAL_COMMITS: u64 = 1000;
const SEALED_MAGIC: &[u8; 8] = b"NMBSRDB2";
const PLAIN_MAGIC: &[u8; 4] = b"redb";

/// An open database, the only one of its file.
pub struct Database {
    // Declared before the lock: closed before the lock is released.
    redb: redb::Database,
    facts: Facts,
    path: PathBuf,
    eventual_commits: AtomicU64,
    _lock: FileLock,
}

/// What an open database tells of itself without reading anything.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// What the sealed file tells; `None` if the database is plain.
    pub sealed: Option<SealedStats>,
    /// Pages of 4096 bytes that redb has, used or free.
    pub pages: u64,
    /// Bytes of the file on the disk, holes included.
    pub file_bytes: u64,
}

/// What [`Stats`] are made of; waits for nobody.
#[derive(Clone)]
pub(super) struct Facts {
    sealed: Option<Arc<SealedFile<File>>>,
    path: PathBuf,
}

impl Facts {
    pub(super) const fn sealed(&self) -> Option<&Arc<SealedFile<File>>> {
        self.sealed.as_ref()
    }

    pub(super) fn stats(&self) -> Result<Stats, EngineError> {
        if let Some(sealed) = &self.sealed {
            let stats = sealed
                .stats()
                .map_err(|error| EngineError::from_sealed(error, &self.path))?;
            return Ok(Stats {
                sealed: Some(stats),
                pages: stats.logical_bytes / 4096,
                file_bytes: stats.physical_bytes,
            });
        }
        let metadata = std::fs::metadata(&self.path);
        let file_bytes = metadata.map_err(|error| EngineError::from_io(error, &self.path))?.len();
        Ok(Stats {
            sealed: None,
            pages: file_bytes / 4096,
            file_bytes,
        })
    }
}

/// What a check of the whole database found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Integrity {
    /// Whether everything was in order. If not, it is now: what cannot be put in order is an error.
    pub sound: bool,
    /// Free pages that do not authenticate: what a crash may leave, and no loss.
    pub damaged_free_pages: Vec<u32>,
}

impl Database {
    /// Opens or makes a database and holds its lock until it is closed or dropped.
    pub fn open(options: &Options<'_>) -> Result<Self, EngineError> {
        let path = &options.path;
        // Before the lock too: what is refused leaves no lock file behind.
        options.require_mode()?;
        begin_reading(options);
        let lock_path = with_suffix(path, ".nimbus-lock");
        let lock = FileLock::exclusive(&lock_path).map_err(|error| EngineError::from_disk(error, path))?;
        Self::open_locked(options, lock)
    }

    /// The same under the lock of `<file>.nimbus-lock` that the caller took, and worked under until now.
    pub fn open_locked(options: &Options<'_>, lock: FileLock) -> Result<Self, EngineError> {
        let path = &options.path;
        // Whoever had the lock before may have made the file, or taken it away.
        options.require_mode()?;
        let (redb, sealed) = match options.mode {
            Mode::Open => open_existing(options)?,
            Mode::Create => create(options)?,
        };
        Ok(Self {
            redb,
            facts: Facts {
                sealed,
                path: path.clone(),
            },
            path: path.clone(),
            eventual_commits: AtomicU64::new(0),
            _lock: lock,
        })
    }

    /// The data file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The value of a key as of the last commit.
    pub fn get(&self, table: &str, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        match self.snapshot()?.table(table)? {
            Some(table) => table.get(key),
            None => Ok(None),
        }
    }

    /// The database as it is now.
    pub fn snapshot(&self) -> Result<Snapshot, EngineError> {
        guarded(&self.path, || {
            Ok(Snapshot::new(self.redb.begin_read()?, self.path.clone()))
        })
    }

    /// Begins a transaction; waits until no other is open.
    pub fn begin(&self, durability: Durability) -> Result<Transaction, EngineError> {
        guarded(&self.path, || {
            let mut transaction = self.redb.begin_write()?;
            if durability == Durability::Eventual && self.may_stay_eventual() {
                transaction.set_durability(redb::Durability::None)?;
            }
            Ok(Transaction::new(transaction, self.path.clone()))
        })
    }

    /// Makes every commit so far durable.
    pub fn flush(&self) -> Result<(), EngineError> {
        self.eventual_commits.store(0, Ordering::Relaxed);
        self.begin(Durability::Immediate)?.commit()
    }

    /// Whether the last commits may not be durable yet.
    pub(super) fn has_eventual_commits(&self) -> bool {
        self.eventual_commits.load(Ordering::Relaxed) > 0
    }

    /// Moves pages to the front of the file and gives the rest back; whether anything moved. Needs every transaction and
    /// snapshot closed and every savepoint deleted.
    pub fn compact(&mut self) -> Result<bool, EngineError> {
        let Self { redb, path, .. } = self;
        guarded(path, || Ok(redb.compact()?))
    }

    /// Reads everything and checks it; needs every transaction and snapshot closed.
    pub fn check_integrity(&mut self) -> Result<Integrity, EngineError> {
        let Self { redb, facts, path, .. } = self;
        if let Some(sealed) = &facts.sealed {
            sealed.forget_pages();
        }
        let sound = guarded(path, || Ok(redb.check_integrity()?))?;
        let damaged_free_pages = match &facts.sealed {
            Some(sealed) => sealed
                .damaged_pages()
                .map_err(|error| EngineError::from_sealed(error, path))?,
            None => Vec::new(),
        };
        Ok(Integrity {
            sound,
            damaged_free_pages,
        })
    }

    /// What the database tells of itself.
    pub fn stats(&self) -> Result<Stats, EngineError> {
        self.facts.stats()
    }

    /// What tells the same for as long as it is kept, whatever the database is doing.
    pub(super) fn facts(&self) -> Facts {
        self.facts.clone()
    }

    /// Closes the database, every commit durable. Dropping it does the same and tells of no failure.
    pub fn close(self) -> Result<(), EngineError> {
        let Self { redb, path, .. } = self;
        guarded(&path, || Ok(redb.close()?))
    }

    fn may_stay_eventual(&self) -> bool {
        let before = self.eventual_commits.fetch_add(1, Ordering::Relaxed);
        if before >= EVENTUAL_COMMITS {
            self.eventual_commits.store(0, Ordering::Relaxed);
        }
        before < EVENTUAL_COMMITS
    }
}

/// Runs an operation of redb. A panic is an error of this operation, not of the process: redb panics on contents that it
/// did not write.
pub(super) fn guarded<T>(path: &Path, operation: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, EngineError> {
    match catch_unwind(AssertUnwindSafe(operation)) {
        Ok(outcome) => outcome.map_err(|error| EngineError::from_redb(error, path)),
        Err(_panic) => Err(EngineError::Panicked { path: path.to_owned() }),
    }
}

/// While the lock is taken, the disk already reads what opening asks for. Nothing is believed of it: it is read again
/// under the lock.
fn begin_reading(options: &Options<'_>) {
    if options.mode == Mode::Open && options.encryption.is_some() {
        // An error here is met again when the file is opened.
        let _ = File::open(&options.path).map(|file| will_open(&file));
    }
}

pub(super) type Opened = (redb::Database, Option<Arc<SealedFile<File>>>);

pub(super) fn open_existing(options: &Options<'_>) -> Result<Opened, EngineError> {
    let path = &options.path;
    let from_io = |error| EngineError::from_io(error, path);
    let file = OpenOptions::new().read(true).write(true).open(path).map_err(from_io)?;
    if options.encryption.is_some() {
        will_open(&file);
    }
    let mut magic = [0; 8];
    Disk::read_at(&file, 0, &mut magic).map_err(from_io)?;
    match &options.encryption {
        Some(_) if magic.starts_with(PLAIN_MAGIC) => Err(EngineError::NotSealed { path: path.clone() }),
        None if magic == *SEALED_MAGIC => Err(EngineError::Sealed { path: path.clone() }),
        None if magic == [0; 8] => Err(corrupt(path)),
        None => Ok((start(options, plain(file, path)?)?, None)),
        Some(Encryption { dek, file_id, .. }) => {
            let sealed = SealedFile::open(file, *file_id, dek, Tuning::default())
                .map_err(|error| EngineError::from_sealed(error, path))?;
            // redb would make a new database of a file without bytes.
            if sealed.is_empty() {
                return Err(corrupt(path));
            }
            let sealed = Arc::new(sealed);
            Ok((start(options, SealedBackend::new(Arc::clone(&sealed)))?, Some(sealed)))
        }
    }
}

fn create(options: &Options<'_>) -> Result<Opened, EngineError> {
    let path = &options.path;
    let from_disk = |error| EngineError::from_disk(error, path);
    let temporary = with_suffix(path, ".creating");
    nimbus_disk::remove(&temporary).map_err(from_disk)?;
    let made = create_at(&temporary, options).and_then(|opened| {
        nimbus_disk::publish(&temporary, path).map_err(from_disk)?;
        Ok(opened)
    });
    if made.is_err() {
        // The error that matters is the one above; what stays is replaced by the next attempt.
        let _ = nimbus_disk::remove(&temporary);
    }
    made
}

fn create_at(temporary: &Path, options: &Options<'_>) -> Result<Opened, EngineError> {
    let path = &options.path;
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(temporary)
        .map_err(|error| EngineError::from_io(error, path))?;
    let Some(encryption) = &options.encryption else {
        return Ok((start(options, plain(file, path)?)?, None));
    };
    let identity = Identity {
        file_id: encryption.file_id,
        dek_generation: encryption.dek_generation,
    };
    let sealed = SealedFile::create(file, identity, encryption.dek, Tuning::default())
        .map_err(|error| EngineError::from_sealed(error, path))?;
    let sealed = Arc::new(sealed);
    Ok((start(options, SealedBackend::new(Arc::clone(&sealed)))?, Some(sealed)))
}

fn plain(file: File, path: &Path) -> Result<FileBackend, EngineError> {
    FileBackend::new(file).map_err(|error| EngineError::from_redb(error.into(), path))
}

/// Lets redb make or open its database on a backend. A panic here is what redb does with a file that it did not write.
fn start(options: &Options<'_>, backend: impl StorageBackend) -> Result<redb::Database, EngineError> {
    let mut builder = redb::Builder::new();
    builder.set_cache_size(options.cache_bytes);
    guarded(&options.path, || Ok(builder.create_with_backend(backend)?)).map_err(|error| match error {
        EngineError::Panicked { path } => corrupt(&path),
        error => error,
    })
}

pub(super) fn corrupt(path: &Path) -> EngineError {
    EngineError::Corrupt {
        path: path.to_owned(),
        damage: Damage::Database,
    }
}

pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path.as_os_str());
    name.push(suffix);
    PathBuf::from(name)
}
