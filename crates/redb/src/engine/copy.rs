//! A whole database into a new file, plain or sealed, page by page: what migrate and export are made of.
//!
//! Pages are copied as they are, so that every table and multimap, whatever its types, is what it was. A plain source that was
//! closed cleanly is only read; one that was not is recovered by redb first, and a sealed one is opened, checked and closed
//! by redb, since which of its pages are free only redb knows: a free page that a crash left damaged is copied as zeros.
//! Pages that are zero are sealed too, for redb may have written them.
//!
//! | stopped            | leaves                                                             |
//! |--------------------|--------------------------------------------------------------------|
//! | before the rename  | `<target>.creating`, which the next copy to that target replaces    |
//! | after it           | the target, whole                                                   |

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nimbus_crypto::{Dek, FileId};
use nimbus_threads::Watch;

use super::database::{corrupt, guarded, open_existing, with_suffix};
use super::error::EngineError;
use super::options::{Encryption, Mode, Options};
use crate::disk::Disk;
use crate::format::layout::{BLOCK_BYTES, BLOCK_BYTES_U64};
use crate::sealed::{Identity, SealedFile, Tuning};

const CHUNK_BYTES: u64 = 1024 * 1024;
/// A commit of the sealed file, so that what it keeps in memory until then stays small.
const COMMIT_BYTES: u64 = 32 * CHUNK_BYTES;
/// Of redb, while it looks at a file.
const CACHE_BYTES: usize = 16 * 1024 * 1024;
/// What redb uses of page 0, and a sealed file keeps.
const HEADER_BYTES: usize = 512;

/// The key of a sealed file that is copied, and what its manifest says.
pub struct CopyKey {
    /// The unwrapped DEK.
    pub dek: Arc<Dek>,
    /// The id that the file bears or is to bear.
    pub file_id: FileId,
    /// The generation of the DEK, for a new file.
    pub dek_generation: u64,
}

/// Which file is copied where. The caller holds the lock of both.
pub struct CopyJob {
    /// A database that nobody has open.
    pub source: PathBuf,
    /// Absent for a plain source.
    pub source_key: Option<CopyKey>,
    /// A path at which nothing exists.
    pub target: PathBuf,
    /// Absent for a plain copy.
    pub target_key: Option<CopyKey>,
    /// Whether all of both files is read again and compared, and the copy checked by redb.
    pub validate: bool,
}

/// Copies a database; on return the copy, of mode 0600, and its name are on the disk.
///
/// # Errors
/// Those of [`super::Database::open`] for the source, [`EngineError::Exists`], [`EngineError::Differs`],
/// [`EngineError::Interrupted`]. The target does not exist then.
pub fn copy_database(job: &CopyJob, watch: &Watch) -> Result<(), EngineError> {
    let target = &job.target;
    if target
        .try_exists()
        .map_err(|error| EngineError::from_io(error, target))?
    {
        return Err(EngineError::Exists { path: target.clone() });
    }
    let from_disk = |error| EngineError::from_disk(error, target);
    let source = open_source(job)?;
    let temporary = with_suffix(target, ".creating");
    nimbus_disk::remove(&temporary).map_err(from_disk)?;
    let made = make(job, &source, &temporary, watch)
        .and_then(|()| nimbus_disk::publish(&temporary, target).map_err(from_disk));
    if made.is_err() {
        // The error that matters is the one above; what stays is replaced by the next attempt.
        let _ = nimbus_disk::remove(&temporary);
    }
    made
}

/// A source at rest: its pages, and what keeps it so.
struct Source<'job> {
    pages: Pages,
    path: &'job Path,
    bytes: u64,
    damaged_free_pages: Vec<u32>,
    _unchanged: Option<redb::ReadOnlyDatabase>,
}

enum Pages {
    Plain(File),
    Sealed(Arc<SealedFile<File>>),
}

fn open_source(job: &CopyJob) -> Result<Source<'_>, EngineError> {
    let path = job.source.as_path();
    if !path.try_exists().map_err(|error| EngineError::from_io(error, path))? {
        return Err(EngineError::Missing { path: path.to_owned() });
    }
    let Some(key) = &job.source_key else {
        let unchanged = open_unchanged(path)?;
        let file = File::open(path).map_err(|error| EngineError::from_io(error, path))?;
        let bytes = Disk::len(&file).map_err(|error| EngineError::from_io(error, path))?;
        if !bytes.is_multiple_of(BLOCK_BYTES_U64) {
            return Err(corrupt(path));
        }
        return Ok(Source {
            pages: Pages::Plain(file),
            path,
            bytes,
            damaged_free_pages: Vec::new(),
            _unchanged: Some(unchanged),
        });
    };
    let (mut redb, sealed) = open_existing(&options(path, Some(key)))?;
    // Reads every page that redb uses: what is damaged besides is free.
    guarded(path, || Ok(redb.check_integrity()?))?;
    guarded(path, || Ok(redb.close()?))?;
    let sealed = sealed.ok_or_else(|| corrupt(path))?;
    let damaged_free_pages = sealed
        .damaged_pages()
        .map_err(|error| EngineError::from_sealed(error, path))?;
    Ok(Source {
        bytes: sealed.len(),
        pages: Pages::Sealed(sealed),
        path,
        damaged_free_pages,
        _unchanged: None,
    })
}

/// Keeps whoever would write a plain file out. One that was not closed cleanly is recovered before.
fn open_unchanged(path: &Path) -> Result<redb::ReadOnlyDatabase, EngineError> {
    let open = || {
        guarded(path, || {
            match redb::Builder::new().set_cache_size(CACHE_BYTES).open_read_only(path) {
                Ok(database) => Ok(Some(database)),
                Err(redb::DatabaseError::RepairAborted) => Ok(None),
                Err(error) => Err(error.into()),
            }
        })
    };
    if let Some(unchanged) = open()? {
        return Ok(unchanged);
    }
    let (redb, _) = open_existing(&options(path, None))?;
    guarded(path, || Ok(redb.close()?))?;
    open()?.ok_or_else(|| corrupt(path))
}

pub(super) fn options<'key>(path: &Path, key: Option<&'key CopyKey>) -> Options<'key> {
    Options {
        path: path.to_owned(),
        mode: Mode::Open,
        encryption: key.map(|key| Encryption {
            dek: &key.dek,
            file_id: key.file_id,
            dek_generation: key.dek_generation,
        }),
        cache_bytes: CACHE_BYTES,
    }
}

fn make(job: &CopyJob, source: &Source<'_>, temporary: &Path, watch: &Watch) -> Result<(), EngineError> {
    let from_io = |error| EngineError::from_io(error, &job.target);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(temporary)
        .map_err(from_io)?;
    let pages = match &job.target_key {
        None => {
            Disk::set_len(&file, source.bytes).map_err(from_io)?;
            Pages::Plain(file)
        }
        Some(key) => {
            let identity = Identity {
                file_id: key.file_id,
                dek_generation: key.dek_generation,
            };
            let sealed = SealedFile::create(file, identity, &key.dek, Tuning::sequential())
                .map_err(|error| EngineError::from_sealed(error, &job.target))?;
            Pages::Sealed(Arc::new(sealed))
        }
    };
    let mut chunk = Vec::new();
    for offset in chunk_offsets(source.bytes) {
        stop_if_told(job, watch)?;
        watch.report("copying", offset, source.bytes);
        source.read(offset, &mut chunk)?;
        pages.write(offset, &chunk, &job.target)?;
    }
    pages.sync(&job.target)?;
    if job.validate {
        validate(job, source, &pages, watch)?;
        drop(pages);
        check(job, temporary)?;
    }
    Ok(())
}

fn validate(job: &CopyJob, source: &Source<'_>, pages: &Pages, watch: &Watch) -> Result<(), EngineError> {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for offset in chunk_offsets(source.bytes) {
        stop_if_told(job, watch)?;
        watch.report("checking", offset, source.bytes);
        source.read(offset, &mut ours)?;
        theirs.resize(ours.len(), 0);
        pages.read(offset, &mut theirs, &job.target)?;
        if ours != theirs {
            return Err(EngineError::Differs {
                path: job.target.clone(),
            });
        }
    }
    Ok(())
}

/// The copy as redb sees it: every checksum of every tree.
fn check(job: &CopyJob, temporary: &Path) -> Result<(), EngineError> {
    let (mut redb, _) = open_existing(&options(temporary, job.target_key.as_ref()))?;
    let sound = guarded(&job.source, || Ok(redb.check_integrity()?))?;
    guarded(&job.target, || Ok(redb.close()?))?;
    // Its pages are those of the source.
    if sound { Ok(()) } else { Err(corrupt(&job.source)) }
}

fn stop_if_told(job: &CopyJob, watch: &Watch) -> Result<(), EngineError> {
    if watch.is_cancelled() {
        return Err(EngineError::Interrupted {
            path: job.source.clone(),
        });
    }
    Ok(())
}

pub(super) fn chunk_offsets(bytes: u64) -> impl Iterator<Item = u64> {
    (0..bytes.div_ceil(CHUNK_BYTES)).map(|chunk| chunk * CHUNK_BYTES)
}

impl Source<'_> {
    /// A chunk, or what is left of the file; damaged free pages are zeros.
    fn read(&self, offset: u64, out: &mut Vec<u8>) -> Result<(), EngineError> {
        let bytes = CHUNK_BYTES.min(self.bytes - offset);
        out.clear();
        out.resize(usize::try_from(bytes).expect("at most a chunk"), 0);
        let is_damaged = |page: u64| {
            self.damaged_free_pages
                .iter()
                .any(|&damaged| u64::from(damaged) == page)
        };
        let pages = offset / BLOCK_BYTES_U64..(offset + bytes) / BLOCK_BYTES_U64;
        if !pages.clone().any(is_damaged) {
            return self.pages.read(offset, out, self.path);
        }
        for (page, content) in pages.zip(out.chunks_exact_mut(BLOCK_BYTES)) {
            if !is_damaged(page) {
                self.pages.read(page * BLOCK_BYTES_U64, content, self.path)?;
            }
        }
        Ok(())
    }
}

impl Pages {
    fn read(&self, offset: u64, out: &mut [u8], path: &Path) -> Result<(), EngineError> {
        match self {
            Self::Plain(file) => match Disk::read_at(file, offset, out) {
                Ok(count) if count == out.len() => Ok(()),
                Ok(_) => Err(corrupt(path)),
                Err(error) => Err(EngineError::from_io(error, path)),
            },
            Self::Sealed(sealed) => sealed
                .read(offset, out)
                .map_err(|error| EngineError::from_sealed(error, path)),
        }
    }

    fn write(&self, offset: u64, chunk: &[u8], path: &Path) -> Result<(), EngineError> {
        match self {
            Self::Plain(file) => Disk::write_at(file, offset, chunk).map_err(|error| EngineError::from_io(error, path)),
            Self::Sealed(sealed) => {
                write_sealed(sealed, offset, chunk).map_err(|error| EngineError::from_sealed(error, path))
            }
        }
    }

    fn sync(&self, path: &Path) -> Result<(), EngineError> {
        match self {
            Self::Plain(file) => Disk::sync(file).map_err(|error| EngineError::from_io(error, path)),
            Self::Sealed(sealed) => sealed.sync().map_err(|error| EngineError::from_sealed(error, path)),
        }
    }
}

fn write_sealed(sealed: &SealedFile<File>, offset: u64, chunk: &[u8]) -> Result<(), crate::SealedError> {
    sealed.set_len(offset + chunk.len() as u64)?;
    if offset > 0 {
        sealed.write(offset, chunk)?;
    } else if let (Some(header), Some(rest)) = (chunk.get(..HEADER_BYTES), chunk.get(BLOCK_BYTES..)) {
        sealed.write(0, header)?;
        sealed.write(BLOCK_BYTES_U64, rest)?;
    }
    if offset % COMMIT_BYTES == COMMIT_BYTES - CHUNK_BYTES {
        sealed.sync()?;
    }
    Ok(())
}
