//! Every page of a sealed database at rest, authenticated as it lies there; nothing is written.
//!
//! A page that does not authenticate is damage if redb uses it, and what a crash may leave if it is free; which of the two, only
//! redb knows. It is asked over the file with whatever it would write kept in memory.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use nimbus_threads::{Pace, Watch, exit};

use super::copy::CopyKey;
use super::database::guarded;
use super::error::EngineError;
use crate::backend::SealedBackend;
use crate::disk::Disk;
use crate::format::layout::{BLOCK_BYTES, BLOCK_BYTES_U64};
use crate::sealed::{Damage, Found, SealedError, SealedFile, Tuning};

/// As much as one read opens on several threads.
const CHUNK_BYTES: u64 = 4 * 1024 * 1024;
/// Of redb, while it looks at a file.
pub(super) const CACHE_BYTES: usize = 16 * 1024 * 1024;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Pages that redb has, used or free.
    pub pages: u64,
    /// Pages that do not authenticate, ascending, if redb uses any of them.
    pub damaged: Vec<u32>,
    /// Pages that do not authenticate and are all free.
    pub unreferenced: Vec<u32>,
}

/// Authenticates a database that nobody has open: superblock, newest record, and every page that was ever written. At most so many
/// bytes are read in a second, on one thread; on every processor if that is [`u64::MAX`].
///
/// # Errors
/// Those of opening the file; [`EngineError::Interrupted`].
pub fn verify(path: &Path, key: &CopyKey, bytes_per_second: u64, watch: &Watch) -> Result<Verified, EngineError> {
    let of_sealed = |error| EngineError::from_sealed(error, path);
    let tuning = match bytes_per_second {
        u64::MAX => Tuning::sequential(),
        _ => Tuning {
            threads: 1,
            ..Tuning::sequential()
        },
    };
    let sealed = open(path, key, tuning)?;
    let mut pace = Pace::new(bytes_per_second);
    let bytes = sealed.len();
    let is_stopped = || watch.is_cancelled() || exit::is_under_way();
    let mut failed = Vec::new();
    let mut chunk = Vec::new();
    for offset in (0..bytes.div_ceil(CHUNK_BYTES)).map(|chunk| chunk * CHUNK_BYTES) {
        if is_stopped() {
            return Err(EngineError::Interrupted { path: path.to_owned() });
        }
        watch.report("verifying", offset, bytes);
        let start = offset.max(BLOCK_BYTES_U64);
        let length = (offset + CHUNK_BYTES).min(bytes).saturating_sub(start);
        chunk.resize(usize::try_from(length).expect("at most a chunk"), 0);
        match sealed.read(start, &mut chunk) {
            Ok(()) => {}
            Err(SealedError::Corrupt(Damage::Page { .. })) => {
                let pages = start / BLOCK_BYTES_U64..(start + length) / BLOCK_BYTES_U64;
                find_failing(&sealed, pages, &mut failed).map_err(of_sealed)?;
            }
            Err(error) => return Err(of_sealed(error)),
        }
        pace.rest(length, is_stopped);
    }
    let (damaged, unreferenced) = if failed.is_empty() || are_free(path, key)? {
        (Vec::new(), failed)
    } else {
        (failed, Vec::new())
    };
    Ok(Verified {
        pages: bytes / BLOCK_BYTES_U64,
        damaged,
        unreferenced,
    })
}

fn find_failing(
    sealed: &SealedFile<Overlay>,
    pages: std::ops::Range<u64>,
    failed: &mut Vec<u32>,
) -> Result<(), SealedError> {
    let mut block = [0; BLOCK_BYTES];
    for page in pages {
        let page = u32::try_from(page).expect("a file has at most 2^32 pages");
        if sealed.find(page, &mut block)? == Found::Damaged {
            failed.push(page);
        }
    }
    Ok(())
}

/// Whether redb reads all that it uses, and finds it in order.
fn are_free(path: &Path, key: &CopyKey) -> Result<bool, EngineError> {
    let backend = SealedBackend::new(Arc::new(open(path, key, Tuning::default())?));
    let mut builder = redb::Builder::new();
    builder.set_cache_size(CACHE_BYTES);
    let checked = guarded(path, || {
        let mut redb = builder.create_with_backend(backend)?;
        let sound = redb.check_integrity()?;
        redb.close()?;
        Ok(sound)
    });
    match checked {
        Ok(sound) => Ok(sound),
        // A panic is what redb does with a file that it did not write.
        Err(EngineError::Corrupt { .. } | EngineError::Panicked { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

fn open(path: &Path, key: &CopyKey, tuning: Tuning) -> Result<SealedFile<Overlay>, EngineError> {
    let from_io = |error| EngineError::from_io(error, path);
    let file = File::open(path).map_err(from_io)?;
    let bytes = Disk::len(&file).map_err(from_io)?;
    let overlay = Overlay {
        file,
        bytes: AtomicU64::new(bytes),
        written: RwLock::default(),
    };
    let sealed = SealedFile::open_to_read(overlay, key.file_id, &key.dek, tuning)
        .map_err(|error| EngineError::from_sealed(error, path))?;
    // redb would make a new database of a file without bytes.
    if sealed.is_empty() {
        return Err(super::database::corrupt(path));
    }
    Ok(sealed)
}

/// A file that is only read: what is written lies in memory, by block.
#[derive(Debug)]
struct Overlay {
    file: File,
    bytes: AtomicU64,
    written: RwLock<BTreeMap<u64, Box<[u8; BLOCK_BYTES]>>>,
}

impl Disk for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes.load(Ordering::Relaxed))
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        let available = self.bytes.load(Ordering::Relaxed).saturating_sub(offset);
        let length = usize::try_from(available).unwrap_or(usize::MAX).min(out.len());
        let (out, _) = out.split_at_mut(length);
        let read = Disk::read_at(&self.file, offset, out)?;
        out.split_at_mut(read).1.fill(0);
        let written = self.written.read().unwrap_or_else(PoisonError::into_inner);
        let end = offset + length as u64;
        for (&block, content) in written.range(offset / BLOCK_BYTES_U64..end.div_ceil(BLOCK_BYTES_U64)) {
            let at = block * BLOCK_BYTES_U64;
            let (from, to) = (at.max(offset), (at + BLOCK_BYTES_U64).min(end));
            let part = |base: u64| {
                let index = |place: u64| usize::try_from(place - base).unwrap_or(usize::MAX);
                index(from)..index(to)
            };
            if let (Some(out), Some(content)) = (out.get_mut(part(offset)), content.get(part(at))) {
                out.copy_from_slice(content);
            }
        }
        Ok(length)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let (blocks, rest) = bytes.as_chunks::<BLOCK_BYTES>();
        if !rest.is_empty() || !offset.is_multiple_of(BLOCK_BYTES_U64) {
            return Err(io::Error::from(io::ErrorKind::Unsupported));
        }
        let mut written = self.written.write().unwrap_or_else(PoisonError::into_inner);
        for (block, content) in (offset / BLOCK_BYTES_U64..).zip(blocks) {
            written.insert(block, Box::new(*content));
        }
        self.bytes.fetch_max(offset + bytes.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        let mut written = self.written.write().unwrap_or_else(PoisonError::into_inner);
        written.retain(|block, _| block * BLOCK_BYTES_U64 < bytes);
        self.bytes.store(bytes, Ordering::Relaxed);
        Ok(())
    }
}
