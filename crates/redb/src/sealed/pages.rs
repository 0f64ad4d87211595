//! Opened pages of every sealed file of the process, in one cache under one budget.
//!
//! A page is found only with the seal that its entry has now: what was sealed anew since it was kept here is not found, so
//! that nothing has to be told when a page is written, freed, or cut off.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use nimbus_budget::{Engine, Reserved, Ticket};

use crate::format::{BLOCK_BYTES, PageSeal};
use crate::rows;

/// What redb keeps of one store by itself: a page found there costs a seventh of one found here, but its room cannot be
/// changed while the store is open. So the first store reserves half of what is left, and each later one a smaller part, down to a
/// sixteenth, within these bounds.
const LEAST_RESERVED: u64 = 64 * 1024;
const MOST_RESERVED: u64 = 24 * 1024 * 1024;
const LEAST_RESERVED_PART: u64 = 16;
/// Locks, so that readers of different pages rarely meet.
const SHARDS: usize = 32;
/// Meta blocks may have one part in so many of what the engine has, as each speaks for 128 pages: without the one that it needs,
/// a page takes two reads. What they do not take, pages have.
const META_PART: u64 = 2;
/// Entries that are away may have one part in so many, of that of the meta blocks.
const AWAY_PART: u64 = 16;

/// Names one open sealed file; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct FileNumber(u64);

impl FileNumber {
    pub(super) fn next() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Self(LAST.fetch_add(1, Ordering::Relaxed))
    }
}

/// Copies a page into `out`; `false` if it is not here as it was sealed last.
pub(super) fn copy(file: FileNumber, page: u32, seal: &PageSeal, out: &mut [u8]) -> bool {
    let mut shard = lock(shard_of(file, page));
    let Some(frame) = shard.find(file, page).filter(|frame| frame.seal == *seal) else {
        return false;
    };
    frame.recently_used = true;
    out.copy_from_slice(&frame.bytes[..]);
    true
}

/// Keeps a copy of an opened page, in the place of one that was not used lately if need be.
pub(super) fn keep(file: FileNumber, page: u32, seal: &PageSeal, content: &[u8]) {
    let capacity = capacity_of_shard();
    lock(shard_of(file, page)).keep(file, page, seal, content, capacity);
}

/// Lets go of the pages of a file, so that they are read from the disk again or never.
pub(super) fn forget(file: FileNumber) {
    for shard in &*CACHE {
        lock(shard).forget(file);
    }
}

/// Gives back what the budget allows no more: after a store was opened or closed, or the budget changed.
pub fn follow_budget() {
    rows::follow_budget();
    let capacity = capacity_of_shard();
    for shard in &*CACHE {
        lock(shard).shrink_to(capacity);
    }
}

/// The memory of one open store: it counts among those that share the budget, and redb has a fixed part of it.
#[derive(Debug)]
pub struct Reservation {
    reserved: Option<Reserved>,
    ticket: Option<Ticket>,
}

impl Reservation {
    /// Counts a store and reserves for it, `most` bytes or less. Two thirds of the engine's part are reserved at most, but for what
    /// no store can do without.
    #[must_use]
    pub fn take(most: usize) -> Self {
        let most = (most as u64).clamp(LEAST_RESERVED, MOST_RESERVED);
        let ticket = Ticket::take(Engine::Redb);
        let part = nimbus_budget::of_engine(Engine::Redb) / 3 * 2;
        let share = (2 * nimbus_budget::open_stores_of(Engine::Redb)).clamp(2, LEAST_RESERVED_PART);
        let reserved = Reserved::take(|reserved| {
            let left = part.saturating_sub(reserved);
            (left / share).clamp(LEAST_RESERVED, most)
        });
        follow_budget();
        Self {
            reserved: Some(reserved),
            ticket: Some(ticket),
        }
    }

    /// What redb may keep.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let bytes = self.reserved.as_ref().map_or(0, Reserved::bytes);
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.reserved = None;
        self.ticket = None;
        follow_budget();
    }
}

/// Bytes of pages and rows that are kept.
#[must_use]
pub fn cached_bytes() -> u64 {
    let frames: usize = CACHE.iter().map(|shard| lock(shard).frames.len()).sum();
    (frames * BLOCK_BYTES) as u64 + rows::kept_bytes()
}

/// Meta blocks that one file may keep now.
pub(super) fn meta_blocks_of_file() -> usize {
    in_blocks(nimbus_budget::of_engine(Engine::Redb) / META_PART / files())
}

/// Bytes of entries away from home that one file may have now.
pub(super) fn away_bytes_of_file() -> u64 {
    nimbus_budget::of_engine(Engine::Redb) / AWAY_PART / files()
}

/// The meta blocks that one file keeps, which pages leave room for.
#[derive(Default)]
pub(super) struct KeptBlocks(AtomicU64);

impl KeptBlocks {
    pub(super) fn add(&self, blocks: usize) {
        self.0.fetch_add(blocks as u64, Ordering::Relaxed);
        META_BLOCKS.fetch_add(blocks as u64, Ordering::Relaxed);
    }

    pub(super) fn remove(&self, blocks: usize) {
        self.0.fetch_sub(blocks as u64, Ordering::Relaxed);
        META_BLOCKS.fetch_sub(blocks as u64, Ordering::Relaxed);
    }
}

impl Drop for KeptBlocks {
    fn drop(&mut self) {
        META_BLOCKS.fetch_sub(*self.0.get_mut(), Ordering::Relaxed);
    }
}

fn files() -> u64 {
    nimbus_budget::open_stores_of(Engine::Redb).max(1)
}

/// What is left of the engine's part when redb and the meta blocks have theirs: rows and pages share it.
pub(crate) fn shared_bytes() -> u64 {
    let part = nimbus_budget::of_engine(Engine::Redb);
    let meta = META_BLOCKS.load(Ordering::Relaxed) * BLOCK_BYTES as u64;
    (part - meta.min(part / META_PART)).saturating_sub(nimbus_budget::reserved_bytes())
}

/// Lets go of pages in whose place rows were kept: those of one shard, which whoever keeps rows chooses at random.
pub(crate) fn give_way(random: u64) {
    let capacity = capacity_of_shard();
    let shard = usize::try_from(random % SHARDS as u64).expect("below the number of shards");
    lock(CACHE.get(shard).expect("a remainder is below its divisor")).shrink_to(capacity);
}

fn capacity_of_shard() -> usize {
    in_blocks(shared_bytes().saturating_sub(rows::kept_bytes())) / SHARDS
}

fn in_blocks(bytes: u64) -> usize {
    usize::try_from(bytes / BLOCK_BYTES as u64).unwrap_or(usize::MAX)
}

static META_BLOCKS: AtomicU64 = AtomicU64::new(0);
static CACHE: LazyLock<[Mutex<Shard>; SHARDS]> = LazyLock::new(|| std::array::from_fn(|_| Mutex::default()));

/// Frames, and a hand that goes round and takes those that nobody used since it came by last.
#[derive(Default)]
struct Shard {
    frames: Vec<Frame>,
    places: HashMap<(FileNumber, u32), usize>,
    hand: usize,
}

struct Frame {
    file: FileNumber,
    page: u32,
    seal: PageSeal,
    recently_used: bool,
    bytes: Box<[u8; BLOCK_BYTES]>,
}

impl Shard {
    fn find(&mut self, file: FileNumber, page: u32) -> Option<&mut Frame> {
        self.frames.get_mut(*self.places.get(&(file, page))?)
    }

    fn keep(&mut self, file: FileNumber, page: u32, seal: &PageSeal, content: &[u8], capacity: usize) {
        if let Some(frame) = self.find(file, page) {
            frame.seal = *seal;
            frame.bytes.copy_from_slice(content);
            return;
        }
        let mut bytes = Box::new([0; BLOCK_BYTES]);
        bytes.copy_from_slice(content);
        self.shrink_to(capacity.saturating_sub(1));
        if capacity == 0 {
            return;
        }
        self.places.insert((file, page), self.frames.len());
        self.frames.push(Frame {
            file,
            page,
            seal: *seal,
            recently_used: false,
            bytes,
        });
    }

    fn shrink_to(&mut self, frames: usize) {
        while self.frames.len() > frames {
            let hand = self.hand % self.frames.len();
            match self.frames.get_mut(hand) {
                Some(frame) if frame.recently_used => {
                    frame.recently_used = false;
                    self.hand = hand + 1;
                }
                _ => self.remove(hand),
            }
        }
    }

    fn forget(&mut self, file: FileNumber) {
        let mut place = 0;
        while let Some(frame) = self.frames.get(place) {
            if frame.file == file {
                self.remove(place);
            } else {
                place += 1;
            }
        }
    }

    /// The last frame takes the place of the one that goes.
    fn remove(&mut self, place: usize) {
        let gone = self.frames.swap_remove(place);
        self.places.remove(&(gone.file, gone.page));
        if let Some(moved) = self.frames.get(place) {
            self.places.insert((moved.file, moved.page), place);
        }
    }
}

fn shard_of(file: FileNumber, page: u32) -> &'static Mutex<Shard> {
    let shard = (file.0.wrapping_mul(7) + u64::from(page)) % SHARDS as u64;
    let shard = usize::try_from(shard).expect("below 32");
    CACHE.get(shard).expect("a remainder is below its divisor")
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: FileNumber = FileNumber(1);
    const B: FileNumber = FileNumber(2);

    fn seal(number: u8) -> PageSeal {
        PageSeal {
            nonce: [number; 12],
            tag: [number; 16],
        }
    }

    fn keep(shard: &mut Shard, file: FileNumber, page: u32, capacity: usize) {
        shard.keep(file, page, &seal(1), &[1; BLOCK_BYTES], capacity);
    }

    fn pages(shard: &Shard) -> Vec<(u64, u32)> {
        let mut pages: Vec<_> = shard.frames.iter().map(|frame| (frame.file.0, frame.page)).collect();
        for (place, frame) in shard.frames.iter().enumerate() {
            assert_eq!(shard.places.get(&(frame.file, frame.page)), Some(&place));
        }
        assert_eq!(shard.places.len(), shard.frames.len());
        pages.sort_unstable();
        pages
    }

    #[test]
    fn what_is_used_stays_and_the_number_of_pages_follows_the_budget() {
        let mut shard = Shard::default();
        for page in 0..6 {
            keep(&mut shard, A, page, 4);
            assert!(shard.frames.len() <= 4);
            if let Some(frame) = shard.find(A, 0) {
                frame.recently_used = true;
            }
        }
        let kept = pages(&shard);
        assert_eq!(kept.len(), 4);
        assert!(kept.contains(&(1, 0)), "{kept:?}");
        shard.shrink_to(2);
        assert_eq!(pages(&shard).len(), 2);
        keep(&mut shard, A, 9, 0);
        assert_eq!(pages(&shard), vec![], "nothing is kept without a budget");
    }

    #[test]
    fn a_store_that_asks_for_little_leaves_the_budget_to_the_others() {
        const LITTLE: usize = 100 * 1024;
        let little = Reservation::take(LITTLE);
        assert_eq!(little.bytes(), LITTLE);
        let another = Reservation::take(usize::MAX);
        assert!(another.bytes() > LITTLE, "{another:?}");
    }

    #[test]
    fn a_file_that_is_forgotten_takes_no_other_along() {
        let mut shard = Shard::default();
        for page in 0..5 {
            keep(&mut shard, A, page, 100);
            keep(&mut shard, B, page, 100);
        }
        shard.forget(A);
        assert_eq!(pages(&shard), (0..5).map(|page| (2, page)).collect::<Vec<_>>());
    }

    #[test]
    fn a_page_is_found_only_with_the_seal_that_it_has_now() {
        let file = FileNumber::next();
        let mut out = [0; BLOCK_BYTES];
        super::keep(file, 7, &seal(1), &[1; BLOCK_BYTES]);
        assert!(copy(file, 7, &seal(1), &mut out) && out == [1; BLOCK_BYTES]);
        assert!(!copy(file, 7, &seal(2), &mut out), "it was sealed anew since");
        assert!(!copy(file, 8, &seal(1), &mut out));
        super::keep(file, 7, &seal(2), &[2; BLOCK_BYTES]);
        assert!(!copy(file, 7, &seal(1), &mut out));
        assert!(copy(file, 7, &seal(2), &mut out) && out == [2; BLOCK_BYTES]);
        forget(file);
        assert!(!copy(file, 7, &seal(2), &mut out));
    }
}
