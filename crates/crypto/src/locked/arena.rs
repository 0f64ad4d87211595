//! The process-wide arena: pages from `mmap`, locked and left out of core dumps, cut into slots that are wiped when they
//! come back. Pages are kept for good, so that a slot's address never becomes somebody else's memory.

use std::alloc::{Layout, handle_alloc_error};
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How well the memory of secrets is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LockStatus {
    /// Whether every page of secrets so far was locked. If not, some may reach the swap device: raise the limit.
    pub locked: bool,
    /// Bytes that are locked.
    pub locked_bytes: usize,
    /// What the system lets this process lock (`RLIMIT_MEMLOCK`); `None` if it sets no limit.
    pub limit_bytes: Option<u64>,
}

/// How well the memory of secrets is protected by now.
#[must_use]
pub fn lock_status() -> LockStatus {
    let (locked_bytes, unlocked_bytes) = {
        let arena = arena();
        (arena.locked_bytes, arena.unlocked_bytes)
    };
    LockStatus {
        locked: unlocked_bytes == 0,
        locked_bytes,
        limit_bytes: lock_limit_bytes(),
    }
}

/// What a forked child finds in a slot.
#[derive(Clone, Copy)]
pub(super) enum Fork {
    /// Zeros, where the system can do that.
    Wipes,
    /// A copy.
    Copies,
}

/// A piece of locked memory, owned, of a power of two of bytes and aligned to them.
pub(super) struct Slot {
    start: NonNull<u8>,
    class: usize,
    fork: Fork,
}

impl Slot {
    pub(super) const MIN_BYTES: usize = 64;
    pub(super) const MAX_BYTES: usize = Self::MIN_BYTES << (CLASSES - 1);

    /// A slot of zeros of at least `bytes`, which is at most [`Self::MAX_BYTES`].
    pub(super) fn take(bytes: usize, fork: Fork) -> Self {
        let class = (0..CLASSES)
            .find(|&class| bytes <= class_bytes(class))
            .expect("callers checked MAX_BYTES");
        Self {
            start: arena().take(class, fork).0,
            class,
            fork,
        }
    }

    pub(super) const fn as_ptr(&self) -> NonNull<u8> {
        self.start
    }

    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: the arena gave this memory, initialized, to this slot alone, and it stays mapped for good.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), class_bytes(self.class)) }
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and `&mut self` makes the reference the only one.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), class_bytes(self.class)) }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        // Through raw memory and volatile: whatever lay here, padding and all, is gone before anyone else gets the slot.
        for offset in 0..class_bytes(self.class) / WORD_BYTES {
            // SAFETY: within the slot, which is aligned to at least a word and owned until the next statement.
            unsafe { self.start.cast::<usize>().add(offset).write_volatile(0) };
        }
        arena().give_back(self.class, self.fork, Free(self.start));
    }
}

// SAFETY: a slot is plain memory that belongs to it alone; nothing ties it to a thread.
unsafe impl Send for Slot {}
// SAFETY: through `&Slot` it can only be read.
unsafe impl Sync for Slot {}

/// Slots of 64, 128, 256, 512, 1024, 2048 and 4096 bytes. The smallest page that any supported system has is 4 KiB.
const CLASSES: usize = 7;
const WORD_BYTES: usize = size_of::<usize>();

const fn class_bytes(class: usize) -> usize {
    Slot::MIN_BYTES << class
}

static ARENA: Mutex<Arena> = Mutex::new(Arena::new());

fn arena() -> MutexGuard<'static, Arena> {
    // Nothing under this lock leaves the arena half changed when it panics.
    ARENA.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Arena {
    /// Free slots by size, for either answer to a fork.
    wiped_on_fork: [Vec<Free>; CLASSES],
    copied_on_fork: [Vec<Free>; CLASSES],
    locked_bytes: usize,
    unlocked_bytes: usize,
}

/// A slot that nobody has: all zeros.
struct Free(NonNull<u8>);

// SAFETY: as for `Slot`.
unsafe impl Send for Free {}

impl Arena {
    const fn new() -> Self {
        Self {
            wiped_on_fork: [const { Vec::new() }; CLASSES],
            copied_on_fork: [const { Vec::new() }; CLASSES],
            locked_bytes: 0,
            unlocked_bytes: 0,
        }
    }

    fn take(&mut self, class: usize, fork: Fork) -> Free {
        if let Some(free) = self.free(class, fork).pop() {
            return free;
        }
        let page = Page::map(fork);
        if page.locked {
            self.locked_bytes += page.bytes;
        } else {
            self.unlocked_bytes += page.bytes;
        }
        self.free(class, fork).extend(page.cut(class_bytes(class)));
        self.free(class, fork)
            .pop()
            .expect("a page holds at least one slot of any class")
    }

    fn give_back(&mut self, class: usize, fork: Fork, slot: Free) {
        self.free(class, fork).push(slot);
    }

    fn free(&mut self, class: usize, fork: Fork) -> &mut Vec<Free> {
        let by_class = match fork {
            Fork::Wipes => &mut self.wiped_on_fork,
            Fork::Copies => &mut self.copied_on_fork,
        };
        by_class
            .get_mut(class)
            .expect("`Slot::take` picks a class below CLASSES")
    }
}

struct Page {
    start: NonNull<u8>,
    bytes: usize,
    locked: bool,
}

impl Page {
    fn map(fork: Fork) -> Self {
        let bytes = page_bytes();
        // SAFETY: a new private mapping at an address of the kernel's choice touches no existing memory.
        let address = unsafe {
            libc::mmap(
                ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        let start = NonNull::new(address.cast::<u8>()).filter(|_| address != libc::MAP_FAILED);
        let Some(start) = start else {
            handle_alloc_error(Layout::from_size_align(bytes, bytes).expect("a page's size is a power of two"))
        };
        advise(start, bytes, fork);
        // SAFETY: the mapping above, whole.
        let locked = unsafe { libc::mlock(start.as_ptr().cast(), bytes) } == 0;
        Self { start, bytes, locked }
    }

    fn cut(&self, slot_bytes: usize) -> impl Iterator<Item = Free> + use<> {
        let start = self.start;
        // SAFETY: every offset lies within the page.
        (0..self.bytes / slot_bytes).map(move |index| Free(unsafe { start.add(index * slot_bytes) }))
    }
}

/// Keeps the page out of core dumps and, if asked, out of forked children. Kernels that know neither still work.
#[cfg(target_os = "linux")]
fn advise(start: NonNull<u8>, bytes: usize, fork: Fork) {
    let on_fork = match fork {
        Fork::Wipes => Some(libc::MADV_WIPEONFORK),
        Fork::Copies => None,
    };
    for advice in [Some(libc::MADV_DONTDUMP), on_fork].into_iter().flatten() {
        // SAFETY: a mapping of ours, whole; neither advice changes what this process reads.
        unsafe { libc::madvise(start.as_ptr().cast(), bytes, advice) };
    }
}

#[cfg(not(target_os = "linux"))]
const fn advise(_start: NonNull<u8>, _bytes: usize, _fork: Fork) {}

fn page_bytes() -> usize {
    // SAFETY: reads a constant of the system.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(bytes).expect("every system has a page size")
}

fn lock_limit_bytes() -> Option<u64> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is a place for the answer.
    let known = unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) } == 0;
    (known && limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur)
}
