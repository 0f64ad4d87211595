//! Pages written but not yet sealed: kept in plaintext, by page, in chunks that belong to the process, until a sync or
//! a full arena sends them to the disk sorted and in long runs.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockWriteGuard};

use crate::format::BLOCK_BYTES;

/// Pages in a chunk: 256 KiB, the longest run of one write.
pub(super) const CHUNK_PAGES: usize = 64;

/// What was written, in two generations: one that is on its way to the disk and does not change, and one that grows.
#[derive(Default)]
pub(super) struct Staging {
    generations: RwLock<Generations>,
    /// Pages in both, so that a reader of a quiet file takes no lock.
    staged_pages: AtomicUsize,
}

#[derive(Default)]
struct Generations {
    growing: Arena,
    flushing: Option<Arc<Arena>>,
}

impl Staging {
    /// Takes a copy of a page; returns how many pages wait in the growing generation.
    pub(super) fn put(&self, page: u32, content: &[u8]) -> usize {
        let mut generations = self.exclusive();
        generations.growing.put(page, content);
        self.recount(&generations);
        generations.growing.slots.len()
    }

    /// Copies a staged page into `out`; `false` if the page is not staged.
    pub(super) fn copy(&self, page: u32, out: &mut [u8]) -> bool {
        if self.staged_pages.load(Ordering::Acquire) == 0 {
            return false;
        }
        let generations = self.generations.read().unwrap_or_else(PoisonError::into_inner);
        let flushing = || generations.flushing.as_deref().and_then(|arena| arena.get(page));
        let Some(content) = generations.growing.get(page).or_else(flushing) else {
            return false;
        };
        out.copy_from_slice(content);
        true
    }

    /// The generation to be flushed next: the one whose flush failed, or else what has grown since. It stays readable
    /// until [`Self::end_flush`]. Called by the holder of the commit lock only.
    pub(super) fn begin_flush(&self) -> Option<Arc<Arena>> {
        let mut generations = self.exclusive();
        if generations.flushing.is_none() && !generations.growing.slots.is_empty() {
            generations.flushing = Some(Arc::new(std::mem::take(&mut generations.growing)));
        }
        generations.flushing.clone()
    }

    /// The generation's pages can be read from the disk.
    pub(super) fn end_flush(&self) {
        let mut generations = self.exclusive();
        generations.flushing = None;
        self.recount(&generations);
    }

    /// Drops pages from `page_count` on. Called by the holder of the commit lock only.
    pub(super) fn truncate(&self, page_count: u64) {
        let mut generations = self.exclusive();
        generations.growing.truncate(page_count);
        if let Some(arena) = generations.flushing.as_mut().and_then(Arc::get_mut) {
            arena.truncate(page_count);
        }
        self.recount(&generations);
    }

    fn recount(&self, generations: &Generations) {
        let flushing = generations.flushing.as_ref().map_or(0, |arena| arena.slots.len());
        self.staged_pages
            .store(generations.growing.slots.len() + flushing, Ordering::Release);
    }

    fn exclusive(&self) -> RwLockWriteGuard<'_, Generations> {
        self.generations.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Pages by number, in chunks.
#[derive(Default)]
pub(super) struct Arena {
    slots: HashMap<u32, usize>,
    chunks: Vec<Chunk>,
    used_slots: usize,
}

impl Arena {
    /// The numbers of all pages, ascending.
    pub(super) fn pages(&self) -> Vec<u32> {
        let mut pages: Vec<u32> = self.slots.keys().copied().collect();
        pages.sort_unstable();
        pages
    }

    pub(super) fn get(&self, page: u32) -> Option<&[u8]> {
        let slot = *self.slots.get(&page)?;
        let chunk = self.chunks.get(slot / CHUNK_PAGES)?;
        chunk.as_pages().get(slot % CHUNK_PAGES).map(|page| &page[..])
    }

    fn put(&mut self, page: u32, content: &[u8]) {
        let slot = *self.slots.entry(page).or_insert_with(|| {
            self.used_slots += 1;
            self.used_slots - 1
        });
        if slot / CHUNK_PAGES == self.chunks.len() {
            self.chunks.push(Chunk::take());
        }
        let place = self
            .chunks
            .get_mut(slot / CHUNK_PAGES)
            .and_then(|chunk| chunk.as_pages_mut().get_mut(slot % CHUNK_PAGES));
        place
            .expect("slots are numbered one by one, and a chunk was added at its first")
            .copy_from_slice(content);
    }

    fn truncate(&mut self, page_count: u64) {
        self.slots.retain(|&page, _| u64::from(page) < page_count);
    }
}

/// Room for [`CHUNK_PAGES`] pages, given back to the process's pool when dropped.
pub(super) struct Chunk(Box<[u8]>);

impl Chunk {
    const BYTES: usize = CHUNK_PAGES * BLOCK_BYTES;
    /// Chunks that the pool keeps for all files of the process together: 16 MiB, twice what one burst needs.
    const POOLED: usize = 64;

    /// Chunks in use by all files together from which on each sends what it has to the disk: 64 MiB.
    const MOST_IN_USE: usize = 256;

    pub(super) fn take() -> Self {
        CHUNKS_IN_USE.fetch_add(1, Ordering::Relaxed);
        let pooled = pool().pop();
        Self(pooled.unwrap_or_else(|| vec![0; Self::BYTES].into_boxed_slice()))
    }

    /// Whether the process has as many as it should.
    pub(super) fn are_scarce() -> bool {
        CHUNKS_IN_USE.load(Ordering::Relaxed) >= Self::MOST_IN_USE
    }

    pub(super) fn as_pages(&self) -> &[[u8; BLOCK_BYTES]] {
        self.0.as_chunks().0
    }

    pub(super) fn as_pages_mut(&mut self) -> &mut [[u8; BLOCK_BYTES]] {
        self.0.as_chunks_mut().0
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        CHUNKS_IN_USE.fetch_sub(1, Ordering::Relaxed);
        let mut pool = pool();
        if pool.len() < Self::POOLED {
            pool.push(std::mem::take(&mut self.0));
        }
    }
}

static CHUNKS_IN_USE: AtomicUsize = AtomicUsize::new(0);
static POOL: Mutex<Vec<Box<[u8]>>> = Mutex::new(Vec::new());

fn pool() -> std::sync::MutexGuard<'static, Vec<Box<[u8]>>> {
    POOL.lock().unwrap_or_else(PoisonError::into_inner)
}
