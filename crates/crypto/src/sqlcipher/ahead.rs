//! Pages that will probably be read next, as they lie in the file, and who authenticates them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

/// Pages that are taken at once: as many as the widest lanes hold.
const BATCH_PAGES: usize = 8;
/// Windows of one reader that are with another thread or wait for it. What comes when there are as many is the reader's own: where no processor
/// is idle, nothing queues up.
const MOST_ELSEWHERE: usize = 2;

/// Runs something on another thread: soon, late or never.
pub type Elsewhere = fn(Box<dyn FnOnce() + Send>);

/// A window: whole pages that follow each other in a file, at most 2^32 - 1 of them.
///
/// They are authenticated in batches from the first one on, each by who comes first: the reader that needs one of it, or the thread that
/// was told of the window. Neither waits for the other.
#[derive(Debug)]
pub struct PagesAhead {
    first: u32,
    page_bytes: usize,
    bytes: Vec<u8>,
    elsewhere: Option<Elsewhere>,
    /// How many pages are in batches that were taken.
    taken: AtomicUsize,
}

impl PagesAhead {
    /// The pages from the one numbered `first`, from 1, each of `page_bytes`, which lie in `bytes`; what is less than a page at the end is
    /// not looked at. With `elsewhere` they are authenticated there as well.
    #[must_use]
    pub const fn new(first: u32, page_bytes: usize, bytes: Vec<u8>, elsewhere: Option<Elsewhere>) -> Self {
        Self {
            first,
            page_bytes,
            bytes,
            elsewhere,
            taken: AtomicUsize::new(0),
        }
    }

    /// What the pages lie in.
    #[must_use]
    pub const fn bytes(&self) -> &[u8] {
        self.bytes.as_slice()
    }

    /// The memory, for other pages.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    pub(super) fn numbers(&self) -> impl Iterator<Item = u32> {
        (self.first..).take(self.count())
    }

    /// The next batch, each page with its number. Nobody else gets it.
    pub(super) fn take_batch(&self) -> Option<impl Iterator<Item = (u32, &[u8])>> {
        let pages = (self.first..).zip(self.bytes.chunks_exact(self.page_bytes.max(1)));
        let next = |taken| (taken < self.count()).then_some(taken + BATCH_PAGES);
        // Nothing else hangs on it: whoever knows of the window sees its pages. Refused where none are left, which is no error.
        let taken = self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        taken.ok().map(|taken| pages.skip(taken).take(BATCH_PAGES))
    }

    /// Whether `sealed` is the beginning of the page `number` of these.
    fn have(&self, number: u32, sealed: &[u8]) -> bool {
        let page = |index| self.bytes.chunks_exact(self.page_bytes.max(1)).nth(index);
        let index = number.checked_sub(self.first).map(|index| index as usize);
        index.and_then(page).is_some_and(|page| page.starts_with(sealed))
    }

    fn count(&self) -> usize {
        self.bytes.len() / self.page_bytes.max(1)
    }
}

/// What one reader was told of: the window that it is in, and perhaps the one after it.
#[derive(Default)]
pub(super) struct Windows {
    newest: [Weak<PagesAhead>; 2],
    /// As many owners more as there are windows elsewhere.
    elsewhere: Arc<()>,
}

impl Windows {
    pub(super) fn add(&mut self, window: Weak<PagesAhead>) {
        self.newest.rotate_left(1);
        let [_, newest] = &mut self.newest;
        *newest = window;
    }

    /// That which has `sealed` as the page `number`.
    pub(super) fn with(&self, number: u32, sealed: &[u8]) -> Option<Arc<PagesAhead>> {
        let mut windows = self.newest.iter().filter_map(Weak::upgrade);
        windows.find(|window| window.have(number, sealed))
    }

    /// Where `window` is to be passed to, if it is and there is room, and what is held for as long as it is there.
    pub(super) fn elsewhere_for(&self, window: &PagesAhead) -> Option<(Elsewhere, Arc<()>)> {
        let elsewhere = window.elsewhere?;
        let there = Arc::strong_count(&self.elsewhere) - 1;
        (there < MOST_ELSEWHERE).then(|| (elsewhere, Arc::clone(&self.elsewhere)))
    }
}
