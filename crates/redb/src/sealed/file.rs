//! The open sealed file: creation, opening, and what redb's storage backend asks of it.

use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError, RwLock};

use nimbus_crypto::{Dek, FileId};

use super::error::SealedError;
use super::log::CommitLog;
use super::meta::MetaCache;
use super::pages::{self, FileNumber};
use super::protocol::{Protocol, Sound};
use super::recovery::{self, Recovered};
use super::staging::{CHUNK_PAGES, Chunk, Staging};
use super::volume::Volume;
use crate::disk::Disk;
use crate::format::record::MAX_RECORD_BLOCKS;
use crate::format::{BLOCK_BYTES, BLOCK_BYTES_U64, HEADER_BYTES, Layout, MAX_PAGES, Superblock};

/// Which sealed file is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The id that the manifest names.
    pub file_id: FileId,
    /// The generation of the DEK; written at creation, not compared at opening.
    pub dek_generation: u64,
}

/// How much memory a file may use, and how long its records may get. None of it changes the format.
#[derive(Debug, Clone, Copy)]
pub struct Tuning {
    /// Blocks in the ring of a new file.
    pub layout: Layout,
    /// Staged pages that are sent to the disk without waiting for a sync.
    pub staged_pages: usize,
    /// Meta blocks kept in memory at most (4 KiB for every 512 KiB of the file); the budget of the process may allow fewer.
    pub cached_meta_blocks: usize,
    /// Entries that stay away from home at most (72 bytes each); the budget of the process may allow fewer.
    pub entries_away: usize,
    /// Entries that a closing record carries at most: every opening reads it. If more are away, they are brought home.
    pub entries_at_close: usize,
    /// Blocks in the longest record; a commit that lists more pages takes a second sync instead.
    pub record_blocks: u32,
    /// Threads that seal and open bursts of pages.
    pub threads: usize,
}

impl Tuning {
    /// For a file that is read or written from one end to the other, and whose meta blocks are needed once.
    #[must_use]
    pub fn sequential() -> Self {
        Self {
            cached_meta_blocks: 512,
            ..Self::default()
        }
    }
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            layout: Layout::DEFAULT,
            staged_pages: 2048,
            cached_meta_blocks: 16_384,
            entries_away: 65_536,
            entries_at_close: 2026,
            record_blocks: MAX_RECORD_BLOCKS,
            threads: *THREADS,
        }
    }
}

/// Asked once: the system answers from six files.
static THREADS: LazyLock<usize> =
    LazyLock::new(|| std::thread::available_parallelism().map_or(1, |threads| threads.get().min(8)));

/// What an open file tells of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealedStats {
    /// The file's id.
    pub file_id: FileId,
    /// The generation of its DEK.
    pub dek_generation: u64,
    /// The epoch of the newest durable record.
    pub epoch: u64,
    /// Whether opening set aside a commit that had not finished.
    pub rolled_back: bool,
    /// Bytes that redb sees.
    pub logical_bytes: u64,
    /// Bytes of the file on the disk, holes included.
    pub physical_bytes: u64,
    /// Pages sealed since the open.
    pub sealed_pages: u64,
}

/// An open sealed file.
pub struct SealedFile<D, P = Sound> {
    pub(super) volume: Volume<D>,
    pub(super) tuning: Tuning,
    pub(super) number: FileNumber,
    pub(super) meta: MetaCache,
    pub(super) staging: Staging,
    /// redb's page 0, as far as redb uses it.
    pub(super) header: RwLock<[u8; HEADER_BYTES]>,
    pub(super) logical_bytes: AtomicU64,
    pub(super) sealed_pages: AtomicU64,
    /// The epoch of the newest record, for those who must not wait for a commit.
    pub(super) durable_epoch: AtomicU64,
    /// Set for good when it is no longer known what the disk holds.
    pub(super) failed: AtomicBool,
    log: Mutex<CommitLog>,
    identity: Identity,
    rolled_back: bool,
    protocol: PhantomData<P>,
}

impl<D: Disk, P: Protocol> SealedFile<D, P> {
    /// Makes an empty sealed file on an empty disk; durable on return.
    ///
    /// # Errors
    /// [`SealedError::Io`] or [`SealedError::Random`].
    pub fn create(disk: D, identity: Identity, dek: &Dek, tuning: Tuning) -> Result<Self, SealedError> {
        let superblock = Superblock {
            file_id: identity.file_id,
            dek_generation: identity.dek_generation,
            layout: tuning.layout,
        };
        let volume = Volume {
            disk,
            keys: superblock.keys(dek),
            layout: tuning.layout,
        };
        let block = superblock.encode(&volume.keys);
        for copy in [0, BLOCK_BYTES_U64] {
            volume.disk.write_at(copy, &block)?;
        }
        let meta = MetaCache::new(0, 0, tuning.cached_meta_blocks, P::JUDGES_EPOCHS);
        let log = CommitLog::empty(tuning.layout);
        let file = Self::assemble(volume, identity, tuning, log, meta, false);
        file.commit_first(&mut file.lock())?;
        Ok(file)
    }

    /// Opens a sealed file, as of its last commit.
    ///
    /// # Errors
    /// [`SealedError::OtherFile`], [`SealedError::WrongKey`], [`SealedError::Corrupt`] or [`SealedError::Io`]. A disk
    /// that cannot be read is never taken for an unfinished commit.
    pub fn open(disk: D, file_id: FileId, dek: &Dek, tuning: Tuning) -> Result<Self, SealedError> {
        Self::open_as(disk, file_id, dek, tuning, true)
    }

    /// The same of a disk that is not written, and perhaps cannot be: what was accepted may be gone after a power cut, so that nothing may be
    /// overwritten on the strength of it.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_to_read(disk: D, file_id: FileId, dek: &Dek, tuning: Tuning) -> Result<Self, SealedError> {
        Self::open_as(disk, file_id, dek, tuning, false)
    }

    fn open_as(disk: D, file_id: FileId, dek: &Dek, tuning: Tuning, is_written: bool) -> Result<Self, SealedError> {
        let found = recovery::read_superblock(&disk, dek, file_id)?;
        let volume = Volume {
            disk,
            keys: found.keys,
            layout: found.superblock.layout,
        };
        let recover = || recovery::recover::<D, P>(&volume, tuning.cached_meta_blocks);
        let mut recovered = recover()?;
        // The process before this one may have died without a sync, or of one that failed: the record that was accepted may
        // not be durable yet, and what it frees must not be overwritten before it is.
        if is_written && P::WRITES_AGAIN_AT_OPEN {
            match recovery::write_again(&volume, &recovered.newest) {
                // The system has forgotten some of it since: what the device has counts.
                Err(SealedError::Corrupt(_)) => {
                    recovered = recover()?;
                    recovery::write_again(&volume, &recovered.newest)?;
                }
                written => written?,
            }
        }
        recovered.log.damaged_superblock = found.damaged_copy;
        if is_written && P::SYNCS_AT_OPEN {
            volume.disk.sync()?;
        }
        let identity = Identity {
            file_id,
            dek_generation: found.superblock.dek_generation,
        };
        let Recovered {
            log, meta, rolled_back, ..
        } = recovered;
        Ok(Self::assemble(volume, identity, tuning, log, meta, rolled_back))
    }

    /// Bytes that the file seems to have.
    pub fn len(&self) -> u64 {
        self.logical_bytes.load(Ordering::Acquire)
    }

    /// Whether the file seems to have no bytes: a new one.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes whole pages, or bytes of redb's header (the first 512 of page 0; the rest of that page is zero).
    ///
    /// # Errors
    /// [`SealedError::Unaligned`] for anything else, [`SealedError::BeyondEnd`], [`SealedError::Failed`], and what a
    /// flush may meet.
    pub fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), SealedError> {
        self.check_usable()?;
        self.check_range(offset, bytes.len())?;
        if offset < BLOCK_BYTES_U64 {
            return self.write_header(offset, bytes);
        }
        if !offset.is_multiple_of(BLOCK_BYTES_U64) || !bytes.len().is_multiple_of(BLOCK_BYTES) {
            return Err(unaligned(offset, bytes.len()));
        }
        let first = page_at(offset);
        for (page, content) in (first..).zip(bytes.as_chunks::<BLOCK_BYTES>().0) {
            let staged = self.staging.put(page, content);
            if staged >= self.tuning.staged_pages || staged >= CHUNK_PAGES && Chunk::are_scarce() {
                self.flush(&mut self.lock())?;
            }
        }
        Ok(())
    }

    /// Changes the length, by whole pages; what is new reads as zeros. Durable with the next sync.
    ///
    /// # Errors
    /// [`SealedError::Unaligned`], [`SealedError::BeyondEnd`] over 16 TiB, [`SealedError::Failed`].
    pub fn set_len(&self, bytes: u64) -> Result<(), SealedError> {
        self.check_usable()?;
        if !bytes.is_multiple_of(BLOCK_BYTES_U64) {
            return Err(SealedError::Unaligned { offset: 0, bytes });
        }
        if bytes / BLOCK_BYTES_U64 > MAX_PAGES {
            return Err(SealedError::BeyondEnd { offset: 0, bytes });
        }
        let mut log = self.lock();
        if bytes < self.len() {
            self.shrink(&mut log, bytes)?;
        }
        self.logical_bytes.store(bytes, Ordering::Release);
        Ok(())
    }

    /// Makes everything written so far durable: one commit.
    ///
    /// # Errors
    /// [`SealedError::Io`]; once the record was begun, every later write and sync is [`SealedError::Failed`].
    pub fn sync(&self) -> Result<(), SealedError> {
        self.check_usable()?;
        self.commit(&mut self.lock())
    }

    /// What the file tells of itself.
    ///
    /// # Errors
    /// [`SealedError::Io`] if the disk does not tell its length.
    pub fn stats(&self) -> Result<SealedStats, SealedError> {
        Ok(SealedStats {
            file_id: self.identity.file_id,
            dek_generation: self.identity.dek_generation,
            epoch: self.durable_epoch.load(Ordering::Relaxed),
            rolled_back: self.rolled_back,
            logical_bytes: self.len(),
            physical_bytes: self.volume.disk.len()?,
            sealed_pages: self.sealed_pages.load(Ordering::Relaxed),
        })
    }

    /// Lets go of opened pages: each is read from the disk, and authenticated, before it is used again.
    pub fn forget_pages(&self) {
        pages::forget(self.number);
    }

    pub(super) fn superblock(&self) -> Superblock {
        Superblock {
            file_id: self.identity.file_id,
            dek_generation: self.identity.dek_generation,
            layout: self.volume.layout,
        }
    }

    pub(super) fn check_range(&self, offset: u64, bytes: usize) -> Result<(), SealedError> {
        let bytes = bytes as u64;
        match offset.checked_add(bytes) {
            Some(end) if end <= self.len() => Ok(()),
            _ => Err(SealedError::BeyondEnd { offset, bytes }),
        }
    }

    pub(super) fn check_usable(&self) -> Result<(), SealedError> {
        if self.failed.load(Ordering::Acquire) {
            return Err(SealedError::Failed);
        }
        Ok(())
    }

    /// Nothing is written from here on.
    pub(super) fn fail(&self) {
        self.failed.store(true, Ordering::Release);
    }

    fn write_header(&self, offset: u64, bytes: &[u8]) -> Result<(), SealedError> {
        let start = usize::try_from(offset).map_err(|_| unaligned(offset, bytes.len()))?;
        let mut header = self.header.write().unwrap_or_else(PoisonError::into_inner);
        let (place, beyond) = match header.get_mut(start..) {
            Some(place) => (place, bytes.get(HEADER_BYTES - start..).unwrap_or_default()),
            None => (&mut [][..], bytes),
        };
        if start + bytes.len() > BLOCK_BYTES || beyond.iter().any(|&byte| byte != 0) {
            return Err(unaligned(offset, bytes.len()));
        }
        for (to, from) in place.iter_mut().zip(bytes) {
            *to = *from;
        }
        Ok(())
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, CommitLog> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn assemble(
        volume: Volume<D>,
        identity: Identity,
        tuning: Tuning,
        log: CommitLog,
        meta: MetaCache,
        rolled_back: bool,
    ) -> Self {
        Self {
            volume,
            tuning,
            number: FileNumber::next(),
            meta,
            staging: Staging::default(),
            header: RwLock::new(log.durable.header),
            logical_bytes: AtomicU64::new(log.durable.logical_bytes),
            sealed_pages: AtomicU64::new(0),
            durable_epoch: AtomicU64::new(log.epoch),
            failed: AtomicBool::new(false),
            log: Mutex::new(log),
            identity,
            rolled_back,
            protocol: PhantomData,
        }
    }
}

impl<D, P> Drop for SealedFile<D, P> {
    fn drop(&mut self) {
        pages::forget(self.number);
    }
}

impl<D: fmt::Debug, P> fmt::Debug for SealedFile<D, P> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SealedFile")
            .field("disk", &self.volume.disk)
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

/// The number of the page at `offset`, which lies within the file.
pub(super) fn page_at(offset: u64) -> u32 {
    u32::try_from(offset / BLOCK_BYTES_U64).expect("a file has at most 2^32 pages")
}

fn unaligned(offset: u64, bytes: usize) -> SealedError {
    SealedError::Unaligned {
        offset,
        bytes: bytes as u64,
    }
}
