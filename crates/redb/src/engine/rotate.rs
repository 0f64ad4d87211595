//! A sealed database anew under another DEK and another file id, in a file beside it: the long step of a rotation.
//!
//! The source is only read, as of its last commit. Pages that were never written stay so; a page that does not authenticate
//! is carried as poison, since a crash may leave such free pages, and redb's check of all that it uses then tells whether the
//! page was free. Every other page, and redb's header, get a nonce of their own under the new key.
//!
//! | stopped           | leaves                                                                      |
//! |-------------------|-----------------------------------------------------------------------------|
//! | before the end    | the source, and the target in part: the next rotation begins it again       |
//! | at the end        | the source, and the target, whole, checked and durable under its own name   |

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nimbus_threads::Watch;

use super::copy::{CopyKey, chunk_offsets, options};
use super::database::{corrupt, guarded, open_existing};
use super::error::EngineError;
use crate::format::HEADER_BYTES;
use crate::format::layout::{BLOCK_BYTES, BLOCK_BYTES_U64};
use crate::sealed::{Damage, Found, Identity, SealedError, SealedFile, Tuning};

const CHUNK_BYTES: u64 = 1024 * 1024;
/// A commit of the target, so that what it keeps in memory until then stays small.
const COMMIT_BYTES: u64 = 32 * CHUNK_BYTES;

/// Which file becomes which. The caller holds the lock of the source.
pub struct ResealJob {
    /// A database that nobody has open.
    pub source: PathBuf,
    /// Its key.
    pub source_key: CopyKey,
    /// Where it is made anew; what is there is replaced.
    pub target: PathBuf,
    /// The key, file id and generation of the new file.
    pub target_key: CopyKey,
}

/// Seals every page anew; on return the target, of mode 0600, and its name are on the disk, and redb has read all of it.
///
/// # Errors
/// [`EngineError::Corrupt`] naming the source if a page that redb uses does not authenticate; [`EngineError::Interrupted`];
/// those of opening the source and of writing the target. The target does not exist then.
pub fn reseal(job: &ResealJob, watch: &Watch) -> Result<(), EngineError> {
    let target = job.target.as_path();
    let from_disk = |error| EngineError::from_disk(error, target);
    nimbus_disk::remove(target).map_err(from_disk)?;
    let made = carry_all(job, watch)
        .and_then(|()| check(job, watch))
        .and_then(|()| nimbus_disk::sync_directory_of(target).map_err(from_disk));
    if made.is_err() {
        // The error that matters is the one above; what stays is replaced by the next attempt.
        let _ = nimbus_disk::remove(target);
    }
    made
}

/// Whether a sealed file is under this key: its superblock says so, and its newest record is there. With `every_page` redb
/// reads all that it uses as well.
///
/// # Errors
/// [`EngineError::Corrupt`] if it is under the key and damaged, or too damaged to tell; an error of the system is never taken
/// for a wrong key.
pub fn key_opens(path: &Path, key: &CopyKey, every_page: bool) -> Result<bool, EngineError> {
    match open_sealed(path, key) {
        Err(EngineError::WrongKey { .. } | EngineError::OtherFile { .. }) => return Ok(false),
        opened => drop(opened?),
    }
    if every_page {
        check_used_pages(path, key)?;
    }
    Ok(true)
}

fn open_sealed(path: &Path, key: &CopyKey) -> Result<SealedFile<File>, EngineError> {
    let file = File::open(path).map_err(|error| EngineError::from_io(error, path))?;
    SealedFile::open_to_read(file, key.file_id, &key.dek, Tuning::sequential())
        .map_err(|error| EngineError::from_sealed(error, path))
}

fn carry_all(job: &ResealJob, watch: &Watch) -> Result<(), EngineError> {
    let source = open_sealed(&job.source, &job.source_key)?;
    let of_source = |error| EngineError::from_sealed(error, &job.source);
    let of_target = |error| EngineError::from_sealed(error, &job.target);
    let target = create(&job.target, &job.target_key)?;
    let bytes = source.len();
    target.set_len(bytes).map_err(of_target)?;
    let mut chunk = Vec::new();
    for offset in chunk_offsets(bytes) {
        stop_if_told(job, watch)?;
        watch.report("sealing", offset, bytes);
        // Page 0 is the header, which comes last.
        let start = offset.max(BLOCK_BYTES_U64);
        let length = (offset + CHUNK_BYTES).min(bytes).saturating_sub(start);
        chunk.resize(usize::try_from(length).expect("at most a chunk"), 0);
        match source.read_written(start, &mut chunk) {
            Ok(()) => target.write(start, &chunk).map_err(of_target)?,
            Err(SealedError::Corrupt(Damage::Page { .. })) => {
                for page in start / BLOCK_BYTES_U64..(start + length) / BLOCK_BYTES_U64 {
                    let page = u32::try_from(page).expect("a file has at most 2^32 pages");
                    carry_page(page, &source, &target, of_source, of_target)?;
                }
            }
            Err(error) => return Err(of_source(error)),
        }
        if offset % COMMIT_BYTES == COMMIT_BYTES - CHUNK_BYTES {
            target.sync().map_err(of_target)?;
        }
    }
    let mut header = [0; HEADER_BYTES];
    source.read(0, &mut header).map_err(of_source)?;
    target.write(0, &header).map_err(of_target)?;
    target.sync().map_err(of_target)
}

fn carry_page(
    page: u32,
    source: &SealedFile<File>,
    target: &SealedFile<File>,
    of_source: impl Fn(SealedError) -> EngineError,
    of_target: impl Fn(SealedError) -> EngineError,
) -> Result<(), EngineError> {
    let mut block = [0; BLOCK_BYTES];
    match source.find(page, &mut block).map_err(of_source)? {
        Found::Written => target.write(u64::from(page) * BLOCK_BYTES_U64, &block),
        Found::NeverWritten => Ok(()),
        Found::Damaged => target.poison(page),
    }
    .map_err(of_target)
}

fn create(path: &Path, key: &CopyKey) -> Result<SealedFile<File>, EngineError> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| EngineError::from_io(error, path))?;
    let identity = Identity {
        file_id: key.file_id,
        dek_generation: key.dek_generation,
    };
    SealedFile::create(file, identity, &key.dek, Tuning::sequential())
        .map_err(|error| EngineError::from_sealed(error, path))
}

/// The new file as redb sees it: what is wrong with it was wrong with the source.
fn check(job: &ResealJob, watch: &Watch) -> Result<(), EngineError> {
    stop_if_told(job, watch)?;
    watch.report("checking", 0, 0);
    check_used_pages(&job.target, &job.target_key).map_err(|error| match error {
        EngineError::Corrupt { damage, .. } => EngineError::Corrupt {
            path: job.source.clone(),
            damage,
        },
        error => error,
    })?;
    stop_if_told(job, watch)
}

/// Reads every page that redb uses. What a crash left half done, redb puts in order.
fn check_used_pages(path: &Path, key: &CopyKey) -> Result<(), EngineError> {
    let (mut redb, _) = open_existing(&options(path, Some(key)))?;
    let checked = guarded(path, || Ok(redb.check_integrity()?));
    let closed = guarded(path, || Ok(redb.close()?));
    if checked? { closed } else { Err(corrupt(path)) }
}

fn stop_if_told(job: &ResealJob, watch: &Watch) -> Result<(), EngineError> {
    if watch.is_cancelled() {
        return Err(EngineError::Interrupted {
            path: job.source.clone(),
        });
    }
    Ok(())
}
