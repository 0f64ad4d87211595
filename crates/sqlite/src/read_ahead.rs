//! The next pages of an encrypted file for a reader that takes one after the other: read with one call of the system, and
//! authenticated several at once ([`PagesAhead`]).
//!
//! SQLCipher asks for one page at a time, and has it authenticated right after it was read, on the same thread. So what was read here
//! is left for that thread's next page that is not known to be authentic ([`take`]). It is a hint: the page that SQLCipher has
//! is authenticated as it lies in SQLCipher's memory, whatever is here.
//!
//! A window that was not used costs as much as a few pages do. Each that was not makes the next reader show twice as
//! many pages in a row before there is another one, up to [`MOST_IN_A_ROW`]; one that was used makes it the [`FEWEST_IN_A_ROW`] again.

use std::cell::RefCell;
use std::sync::Arc;

use nimbus_crypto::sqlcipher::PagesAhead;

const PAGE_BYTES: usize = 4096;
/// Of the first window of a reader and of the others: what the lanes take once, and twice.
const FIRST_WINDOW_PAGES: u64 = 8;
const WINDOW_PAGES: u64 = 16;
/// How many pages a reader must have taken in a row.
const FEWEST_IN_A_ROW: u32 = 2;
const MOST_IN_A_ROW: u32 = 64;

thread_local! {
    static AHEAD: RefCell<Option<PagesAhead>> = const { RefCell::new(None) };
}

/// What was last read ahead on this thread, once.
pub(crate) fn take() -> Option<PagesAhead> {
    AHEAD.take()
}

/// The reader of one file.
pub(crate) struct ReadAhead {
    window: Option<Window>,
    /// The page after the one that was read last, from 0 as its place in the file.
    next: u64,
    in_a_row: u32,
    wanted_in_a_row: u32,
    bytes: Arc<Vec<u8>>,
}

/// The pages from `first` up to, without it, `end`.
struct Window {
    first: u64,
    end: u64,
    used: u64,
}

impl Default for ReadAhead {
    fn default() -> Self {
        Self {
            window: None,
            next: 0,
            in_a_row: 0,
            wanted_in_a_row: FEWEST_IN_A_ROW,
            bytes: Arc::default(),
        }
    }
}

impl ReadAhead {
    /// The `length` bytes at `offset`, if they are a page that was read ahead or is now. `size` tells how long the file is, and
    /// `fill` fills a buffer from it, or fails; then there is no page here.
    pub(crate) fn page(
        &mut self,
        offset: u64,
        length: usize,
        size: impl FnOnce() -> Option<u64>,
        fill: impl FnOnce(u64, &mut [u8]) -> bool,
    ) -> Option<&[u8]> {
        let page_bytes = PAGE_BYTES as u64;
        let page = offset / page_bytes;
        // The first page is short of its salt, and is read once.
        if length != PAGE_BYTES || !offset.is_multiple_of(page_bytes) || page == 0 {
            return None;
        }
        let follows = page == self.next;
        self.next = page + 1;
        if !self.window.as_ref().is_some_and(|window| window.has(page)) {
            self.in_a_row = if follows { self.in_a_row.saturating_add(1) } else { 0 };
            let pages = self.pages_to_read(page)?;
            let pages = pages.min((size()? / page_bytes).saturating_sub(page));
            if pages < 2 {
                return None;
            }
            self.read(page, pages, fill)?;
        }
        let window = self.window.as_mut()?;
        window.used += 1;
        let place = usize::try_from(page - window.first).ok()? * PAGE_BYTES;
        self.bytes.get(place..place + PAGE_BYTES)
    }

    /// Nothing that was read may be given out any more.
    pub(crate) fn forget(&mut self) {
        self.judge();
        self.in_a_row = 0;
        self.next = 0;
    }

    /// How many pages from `page` on are to be read at once, if more than this one.
    fn pages_to_read(&mut self, page: u64) -> Option<u64> {
        if let Some(window) = &self.window
            && window.end == page
            && window.is_used()
        {
            return Some(WINDOW_PAGES);
        }
        (self.in_a_row >= self.wanted_in_a_row).then_some(FIRST_WINDOW_PAGES)
    }

    fn read(&mut self, first: u64, pages: u64, fill: impl FnOnce(u64, &mut [u8]) -> bool) -> Option<()> {
        self.judge();
        // What nobody took lies in the way.
        AHEAD.set(None);
        let bytes = usize::try_from(pages).ok()? * PAGE_BYTES;
        if Arc::get_mut(&mut self.bytes).is_none() {
            self.bytes = Arc::default();
        }
        let buffer = Arc::get_mut(&mut self.bytes)?;
        buffer.resize(bytes, 0);
        if !fill(first * PAGE_BYTES as u64, buffer) {
            return None;
        }
        self.window = Some(Window {
            first,
            end: first + pages,
            used: 0,
        });
        AHEAD.set(Some(PagesAhead {
            first: u32::try_from(first + 1).ok()?,
            page_bytes: PAGE_BYTES,
            bytes: Arc::clone(&self.bytes),
        }));
        Some(())
    }

    /// Ends a window, and learns from how much of it was used.
    fn judge(&mut self) {
        if let Some(window) = self.window.take() {
            self.wanted_in_a_row = if window.is_used() {
                FEWEST_IN_A_ROW
            } else {
                (2 * self.wanted_in_a_row).min(MOST_IN_A_ROW)
            };
        }
    }
}

impl Window {
    const fn has(&self, page: u64) -> bool {
        self.first <= page && page < self.end
    }

    /// Whether it was worth its while.
    const fn is_used(&self) -> bool {
        2 * self.used >= self.end - self.first
    }
}
