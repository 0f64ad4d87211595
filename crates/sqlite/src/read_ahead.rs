//! The next pages of an encrypted file for a reader that takes one after the other: read with one call of the system, and
//! authenticated several at once ([`PagesAhead`]), those of a long run on another thread while the reader is with the ones before.
//!
//! SQLCipher asks for one page at a time, and has it authenticated right after it was read, on the same thread. So what was read here
//! is left for that thread's next page ([`take`]). It is a hint: the page that SQLCipher has is authenticated as it lies in SQLCipher's
//! memory, whatever is here.
//!
//! A window that was not used costs as much as a few pages do. Each that was not makes the next reader show twice as
//! many pages in a row before there is another one, up to [`MOST_IN_A_ROW`]; one that was used makes it the [`FEWEST_IN_A_ROW`] again.
//! From the second one on there is always one more, which is passed on: it is the other thread's work that is in vain at the end of a run.

use std::cell::RefCell;
use std::num::NonZero;
use std::sync::{Arc, LazyLock, Weak};
use std::thread;

use nimbus_crypto::sqlcipher::{Elsewhere, PagesAhead};
use nimbus_threads::pool;

const PAGE_BYTES: usize = 4096;
/// Of the first window of a reader and of the others: what the lanes take once, and as often as makes up for waking a thread.
const FIRST_WINDOW_PAGES: u64 = 8;
const WINDOW_PAGES: u64 = 16;
/// How many pages a reader must have taken in a row.
const FEWEST_IN_A_ROW: u32 = 2;
const MOST_IN_A_ROW: u32 = 64;

/// Where windows are passed to, if there is another processor.
static ELSEWHERE: LazyLock<Option<Elsewhere>> = LazyLock::new(|| {
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    (processors > 1).then_some(|authenticate| pool::AHEAD.run(authenticate))
});

thread_local! {
    static AHEAD: RefCell<Option<Weak<PagesAhead>>> = const { RefCell::new(None) };
    /// The memory of a window that is over: of the thread, not of one of thousands of connections.
    static SPARE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What was last read ahead on this thread, once.
pub(crate) fn take() -> Option<Weak<PagesAhead>> {
    AHEAD.take()
}

/// The reader of one file.
pub(crate) struct ReadAhead {
    window: Option<Window>,
    /// The one after it, which nobody has looked at yet.
    following: Option<Window>,
    /// The page after the one that was read last, from 0 as its place in the file.
    next: u64,
    in_a_row: u32,
    wanted_in_a_row: u32,
}

/// The pages from `first` up to, without it, `end`.
struct Window {
    first: u64,
    end: u64,
    used: u64,
    /// Whether it is not the first of a run.
    goes_on: bool,
    pages: Arc<PagesAhead>,
}

impl Default for ReadAhead {
    fn default() -> Self {
        Self {
            window: None,
            following: None,
            next: 0,
            in_a_row: 0,
            wanted_in_a_row: FEWEST_IN_A_ROW,
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
        // The first page is short of its salt, and is read once. Its change counter is read at the beginning of a transaction without a
        // log, which takes no lock if the file was opened with `nolock=1` (`sqlite3PagerSharedLock`).
        if page == 0 {
            self.forget();
            return None;
        }
        if length != PAGE_BYTES || !offset.is_multiple_of(page_bytes) {
            return None;
        }
        let follows = page == self.next;
        self.next = page + 1;
        if !self.window.as_ref().is_some_and(|window| window.has(page)) {
            self.in_a_row = if follows { self.in_a_row.saturating_add(1) } else { 0 };
            self.go_on_to(page, size, fill)?;
        } else if let Some(elsewhere) = *ELSEWHERE
            && let Some(Window {
                end,
                used: 1,
                goes_on: true,
                ..
            }) = self.window
        {
            // Not along with a window that the reader is to authenticate itself: it is told of one at a time.
            self.following = Self::read(end, WINDOW_PAGES, true, Some(elsewhere), size, fill);
        }
        let window = self.window.as_mut()?;
        window.used += 1;
        let place = usize::try_from(page - window.first).ok()? * PAGE_BYTES;
        window.pages.bytes().get(place..place + PAGE_BYTES)
    }

    /// Nothing that was read may be given out any more.
    pub(crate) fn forget(&mut self) {
        self.judge();
        self.in_a_row = 0;
        self.next = 0;
    }

    /// Makes `page` the first of a window, if it is to be in one.
    fn go_on_to(
        &mut self,
        page: u64,
        size: impl FnOnce() -> Option<u64>,
        fill: impl FnOnce(u64, &mut [u8]) -> bool,
    ) -> Option<()> {
        let ends_here = |window: &Window| window.end == page && window.is_used();
        let goes_on = self.window.as_ref().is_some_and(ends_here);
        if !goes_on && self.in_a_row < self.wanted_in_a_row {
            return None;
        }
        let following = self.following.take().filter(|_| goes_on);
        self.judge();
        let pages = if goes_on { WINDOW_PAGES } else { FIRST_WINDOW_PAGES };
        let window = following.or_else(|| Self::read(page, pages, goes_on, None, size, fill))?;
        self.window = Some(window);
        Some(())
    }

    /// At most `pages` from `first` on, if there are some.
    fn read(
        first: u64,
        pages: u64,
        goes_on: bool,
        elsewhere: Option<Elsewhere>,
        size: impl FnOnce() -> Option<u64>,
        fill: impl FnOnce(u64, &mut [u8]) -> bool,
    ) -> Option<Window> {
        // What nobody took lies in the way.
        AHEAD.set(None);
        let pages = pages.min((size()? / PAGE_BYTES as u64).saturating_sub(first));
        if pages < 2 {
            return None;
        }
        let number = u32::try_from(first + 1).ok()?;
        let mut bytes = SPARE.take();
        bytes.resize(usize::try_from(pages).ok()? * PAGE_BYTES, 0);
        if !fill(first * PAGE_BYTES as u64, &mut bytes) {
            SPARE.set(bytes);
            return None;
        }
        let pages_ahead = Arc::new(PagesAhead::new(number, PAGE_BYTES, bytes, elsewhere));
        AHEAD.set(Some(Arc::downgrade(&pages_ahead)));
        Some(Window {
            first,
            end: first + pages,
            used: 0,
            goes_on,
            pages: pages_ahead,
        })
    }

    /// Ends a window, and learns from how much of it was used.
    fn judge(&mut self) {
        self.following = None;
        if let Some(window) = self.window.take() {
            self.wanted_in_a_row = if window.is_used() {
                FEWEST_IN_A_ROW
            } else {
                (2 * self.wanted_in_a_row).min(MOST_IN_A_ROW)
            };
            if let Ok(pages) = Arc::try_unwrap(window.pages) {
                SPARE.set(pages.into_bytes());
            }
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

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Pages whose bytes are their number, and how many of them were read ahead.
    struct File {
        pages: Cell<u64>,
        version: Cell<u8>,
        read: Cell<u64>,
    }

    impl File {
        fn of(pages: u64) -> Self {
            Self {
                pages: Cell::new(pages),
                version: Cell::new(0),
                read: Cell::new(0),
            }
        }

        fn content(&self, page: u64) -> Vec<u8> {
            let mut bytes = page.to_le_bytes().repeat(PAGE_BYTES / 8);
            bytes[7] = self.version.get();
            bytes
        }

        /// Whether the page came from what was read ahead; if so, it was the right one.
        fn asked(&self, ahead: &mut ReadAhead, page: u64) -> bool {
            let size = || Some(self.pages.get() * PAGE_BYTES as u64 + 100);
            let fill = |offset: u64, bytes: &mut [u8]| {
                let first = offset / PAGE_BYTES as u64;
                let pages = (bytes.len() / PAGE_BYTES) as u64;
                assert!(first + pages <= self.pages.get(), "beyond the end");
                self.read.set(self.read.get() + pages);
                for (number, page) in (first..).zip(bytes.chunks_exact_mut(PAGE_BYTES)) {
                    page.copy_from_slice(&self.content(number));
                }
                true
            };
            let found = ahead.page(page * PAGE_BYTES as u64, PAGE_BYTES, size, fill);
            found.inspect(|bytes| assert_eq!(*bytes, self.content(page))).is_some()
        }
    }

    #[test]
    fn a_scan_is_read_ahead_but_for_its_first_pages_also_past_pages_elsewhere_and_not_beyond_the_end() {
        let (file, mut ahead) = (File::of(1003), ReadAhead::default());
        let mut found = 0_u64;
        for page in 0..1003 {
            found += u64::from(file.asked(&mut ahead, page));
            if page % 100 == 99 {
                file.asked(&mut ahead, (page * 7) % 1003);
            }
        }
        assert!(found >= 995, "{found}");
        assert!(file.read.get() <= 1003 + 2 * WINDOW_PAGES, "{}", file.read.get());
    }

    #[test]
    fn pages_in_no_order_are_not_read_ahead_and_short_runs_soon_are_not_either() {
        let (file, mut ahead) = (File::of(100_000), ReadAhead::default());
        for turn in 0..1_000 {
            assert!(!file.asked(&mut ahead, 1 + turn * 7919 % 99_991));
        }
        assert_eq!(file.read.get(), 0);
        for turn in 0..10_000 {
            for page in 0..5 {
                file.asked(&mut ahead, 1 + turn * 7919 % 99_991 + page);
            }
            ahead.forget();
        }
        assert!(file.read.get() <= 100, "{} pages for 50,000", file.read.get());
    }

    #[test]
    fn what_a_run_that_ends_had_read_in_vain_is_no_more_than_two_windows() {
        let file = File::of(100_000);
        for length in 1..200 {
            let mut ahead = ReadAhead::default();
            let read_before = file.read.get();
            let found = (1..=length).filter(|&page| file.asked(&mut ahead, page)).count() as u64;
            ahead.forget();
            let in_vain = file.read.get() - read_before - found;
            assert!(in_vain < 2 * WINDOW_PAGES, "{in_vain} for {length}");
        }
    }

    #[test]
    fn what_was_read_before_something_may_have_changed_is_not_given_out() {
        let (file, mut ahead) = (File::of(300), ReadAhead::default());
        let mut found = 0;
        for turn in 0..250 {
            file.version.set(turn);
            file.pages.set(300 - u64::from(turn));
            ahead.forget();
            for page in 5..45 {
                found += u64::from(file.asked(&mut ahead, page));
            }
        }
        assert!(found > 8_000, "{found}");
    }

    #[test]
    fn a_read_ahead_that_fails_says_nothing_and_only_whole_pages_behind_the_first_are_looked_at() {
        let mut ahead = ReadAhead::default();
        for page in 0..100 {
            let found = ahead.page(page * PAGE_BYTES as u64, PAGE_BYTES, || Some(1 << 30), |_, _| false);
            assert!(found.is_none());
            let found = ahead.page(
                page * PAGE_BYTES as u64,
                PAGE_BYTES,
                || None,
                |_, _| panic!("no size, no read"),
            );
            assert!(found.is_none());
        }
        for (offset, length) in [
            (0, PAGE_BYTES),
            (24, 16),
            (PAGE_BYTES as u64 + 1, PAGE_BYTES),
            (8192, 512),
        ] {
            let nothing = || panic!("not looked at");
            assert!(ahead.page(offset, length, nothing, |_, _| panic!("not read")).is_none());
        }
    }

    #[test]
    fn what_was_read_ahead_is_left_for_the_thread_once() {
        let (file, mut ahead) = (File::of(100), ReadAhead::default());
        let found = (1..100).find(|&page| file.asked(&mut ahead, page));
        assert!(found.is_some());
        let left = take().and_then(|left| left.upgrade()).expect("a window was read");
        assert_eq!(left.bytes().len() as u64, FIRST_WINDOW_PAGES * PAGE_BYTES as u64);
        assert_eq!(
            Some(&left.bytes()[..PAGE_BYTES]),
            found.map(|page| file.content(page)).as_deref()
        );
        assert!(take().is_none());
    }
}
