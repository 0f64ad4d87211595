//! The MAC key of a file and the memo of its pages, one for all connections of the process that have this key.

use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use super::ahead::{PagesAhead, Windows};
#[cfg(target_arch = "x86_64")]
use super::lanes::LaneKey;
use super::mac::{HashAlgorithm, MacKey, PageMac};
use super::memo::Memo;
use crate::{KEY_BYTES, LockedBox};

/// What is alive, to be found again by whoever comes with the same key.
static ALIVE: Mutex<Vec<Weak<SharedMac>>> = Mutex::new(Vec::new());

/// A key under which pages are authenticated, and the pages that were.
pub(super) struct SharedMac {
    key: LockedBox<MacKey>,
    /// Where several pages at once take less time than each alone.
    #[cfg(target_arch = "x86_64")]
    lanes: Option<LockedBox<LaneKey>>,
    memo: OnceLock<Option<Memo>>,
}

impl SharedMac {
    /// That of `key`, which is made from the file's key and salt, and so is the file's.
    pub(super) fn of(algorithm: HashAlgorithm, key: &[u8; KEY_BYTES]) -> Arc<Self> {
        let mut alive = ALIVE.lock().unwrap_or_else(PoisonError::into_inner);
        alive.retain(|shared| shared.strong_count() > 0);
        let known = alive
            .iter()
            .filter_map(Weak::upgrade)
            .find(|shared| shared.is(algorithm, key));
        known.unwrap_or_else(|| {
            let shared = Arc::new(Self::new(algorithm, key, OnceLock::new()));
            alive.push(Arc::downgrade(&shared));
            shared
        })
    }

    fn new(algorithm: HashAlgorithm, key: &[u8; KEY_BYTES], memo: OnceLock<Option<Memo>>) -> Self {
        let key = LockedBox::new(MacKey::new(algorithm, key));
        Self {
            #[cfg(target_arch = "x86_64")]
            lanes: key.lanes(),
            key,
            memo,
        }
    }

    pub(super) fn is(&self, algorithm: HashAlgorithm, key: &[u8; KEY_BYTES]) -> bool {
        self.key.is(algorithm, key)
    }

    /// The same for several pages at once, where that takes less time.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn lanes(&self) -> Option<&LaneKey> {
        self.lanes.as_deref()
    }

    /// HMAC of `page` followed by `suffix`.
    pub(super) fn mac(&self, page: &[u8], suffix: &[u8]) -> PageMac {
        self.key.mac(page, suffix)
    }

    /// The same of a page as it was read, in `sealed`, with its stored MAC behind it. If this is known to be its MAC, that is it.
    ///
    /// `ahead` tells of a window that was just read, if that is of use. One that has this page is authenticated here as far as nobody
    /// else does, and this page is known then; others may be elsewhere.
    pub(super) fn mac_of_read(
        self: &Arc<Self>,
        sealed: &[u8],
        suffix: &[u8],
        windows: &mut Windows,
        ahead: impl FnOnce() -> Option<Weak<PagesAhead>>,
    ) -> PageMac {
        let (page, stored) = self.split(sealed);
        let Some((memo, number)) = self.memo().zip(suffix.try_into().ok()) else {
            return self.mac(page, suffix);
        };
        if self.learns()
            && let Some(window) = ahead()
        {
            self.pass_on(memo, &window, windows, sealed.len());
            windows.add(window);
        }
        let known = |tag| {
            let mac = PageMac::from_bytes(self.key.algorithm(), stored);
            mac.filter(|_| memo.knows(number, tag))
        };
        let tag = memo.tag(number, sealed);
        if let Some(mac) = known(&tag) {
            return mac;
        }
        if let Some(window) = windows.with(u32::from_le_bytes(number), sealed) {
            while let Some(batch) = window.take_batch() {
                self.learn(memo, batch, sealed.len());
                if let Some(mac) = known(&tag) {
                    return mac;
                }
            }
        }
        let mac = self.mac(page, suffix);
        if mac.matches(stored) {
            memo.remember(number, tag);
        }
        mac
    }

    /// Has a window authenticated elsewhere, if it is to be and there is a page in it that was never seen. What is elsewhere keeps neither the key
    /// nor the pages from being given up, but for the time of a batch.
    fn pass_on(self: &Arc<Self>, memo: &Memo, window: &Weak<PagesAhead>, windows: &Windows, sealed_bytes: usize) {
        let Some(pages) = window.upgrade() else { return };
        let Some((elsewhere, is_elsewhere)) = windows.elsewhere_for(&pages) else {
            return;
        };
        if pages.numbers().all(|number| memo.has(number.to_le_bytes())) {
            return;
        }
        let (shared, window) = (Arc::downgrade(self), Weak::clone(window));
        elsewhere(Box::new(move || {
            while let (Some(shared), Some(pages)) = (shared.upgrade(), window.upgrade()) {
                let (Some(memo), Some(batch)) = (shared.memo(), pages.take_batch()) else {
                    break;
                };
                shared.learn(memo, batch, sealed_bytes);
            }
            drop(is_elsewhere);
        }));
    }

    /// A page was written as it is in `sealed`, with the MAC that [`Self::mac`] gave it.
    pub(super) fn remember(&self, sealed: &[u8], suffix: &[u8]) {
        if let Some((memo, number)) = self.memo().zip(suffix.try_into().ok()) {
            memo.remember(number, memo.tag(number, sealed));
        }
    }

    #[cfg(target_arch = "x86_64")]
    const fn learns(&self) -> bool {
        self.lanes.is_some()
    }

    #[cfg(not(target_arch = "x86_64"))]
    const fn learns(&self) -> bool {
        false
    }

    /// Remembers those of `batch` that have the MAC that they were stored with; each is `sealed_bytes` long with its MAC.
    #[cfg(target_arch = "x86_64")]
    fn learn<'p>(&self, memo: &Memo, batch: impl Iterator<Item = (u32, &'p [u8])>, sealed_bytes: usize) {
        let Some(lanes) = &self.lanes else { return };
        let unknown: Vec<_> = batch
            .filter_map(|(number, page)| Some((number.to_le_bytes(), page.get(..sealed_bytes)?)))
            .map(|(number, sealed)| (number, sealed, memo.tag(number, sealed)))
            .filter(|(number, _, tag)| !memo.knows(*number, tag))
            .collect();
        let (most, fewest) = lanes.pages();
        for pages in unknown.chunks(most).filter(|pages| pages.len() >= fewest) {
            let covered: Vec<_> = pages
                .iter()
                .map(|(number, sealed, _)| (self.split(sealed).0, *number))
                .collect();
            for (&(number, sealed, tag), mac) in pages.iter().zip(lanes.macs(&covered)) {
                if mac.matches(self.split(sealed).1) {
                    memo.remember(number, tag);
                }
            }
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn learn<'p>(&self, _memo: &Memo, _batch: impl Iterator<Item = (u32, &'p [u8])>, _sealed_bytes: usize) {}

    /// A page and its MAC.
    fn split<'a>(&self, sealed: &'a [u8]) -> (&'a [u8], &'a [u8]) {
        let end = sealed.len().saturating_sub(self.key.algorithm().output_bytes());
        sealed.split_at(end)
    }

    fn memo(&self) -> Option<&Memo> {
        self.memo.get_or_init(Memo::fresh).as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_memo_every_page_that_is_read_is_authenticated() {
        for algorithm in [HashAlgorithm::Sha1, HashAlgorithm::Sha256, HashAlgorithm::Sha512] {
            let shared = Arc::new(SharedMac::new(algorithm, &[7; KEY_BYTES], OnceLock::from(None)));
            let windows = &mut Windows::default();
            let (page, number) = ([3; 4032], [2, 0, 0, 0]);
            let mut sealed = [&page[..], shared.mac(&page, &number).as_bytes()].concat();
            shared.remember(&sealed, &number);
            let (_, stored) = shared.split(&sealed);
            assert!(shared.mac_of_read(&sealed, &number, windows, || None).matches(stored));
            assert!(
                !shared
                    .mac_of_read(&sealed, &[3, 0, 0, 0], windows, || None)
                    .matches(stored)
            );
            sealed[4031] ^= 1;
            let (_, stored) = shared.split(&sealed);
            assert!(!shared.mac_of_read(&sealed, &number, windows, || None).matches(stored));
        }
    }

    #[test]
    fn one_key_has_one_memo_and_another_or_another_algorithm_another() {
        let first = SharedMac::of(HashAlgorithm::Sha512, &[1; KEY_BYTES]);
        assert!(Arc::ptr_eq(
            &first,
            &SharedMac::of(HashAlgorithm::Sha512, &[1; KEY_BYTES])
        ));
        assert!(!Arc::ptr_eq(
            &first,
            &SharedMac::of(HashAlgorithm::Sha256, &[1; KEY_BYTES])
        ));
        assert!(!Arc::ptr_eq(
            &first,
            &SharedMac::of(HashAlgorithm::Sha512, &[2; KEY_BYTES])
        ));
    }

    /// Windows of eight pages that are passed on, the last but one of each damaged.
    #[cfg(target_arch = "x86_64")]
    mod passed_on {
        use std::cell::RefCell;

        use super::*;

        const PAGES: u32 = 8;
        const PAGE_BYTES: usize = 4096;

        thread_local! {
            static LATER: RefCell<Vec<Box<dyn FnOnce() + Send>>> = const { RefCell::new(Vec::new()) };
        }

        fn passed_on() -> Vec<Box<dyn FnOnce() + Send>> {
            LATER.take()
        }

        fn window(shared: &SharedMac, first: u32) -> Arc<PagesAhead> {
            let mut bytes = Vec::new();
            for number in first..first + PAGES {
                let mut page = vec![number.to_le_bytes()[0]; PAGE_BYTES - 64];
                page.extend(shared.mac(&page, &number.to_le_bytes()).as_bytes());
                if let (true, [byte, ..]) = (number == first + PAGES - 2, page.as_mut_slice()) {
                    *byte ^= 1;
                }
                bytes.extend(page);
            }
            let later = |work| LATER.with_borrow_mut(|works| works.push(work));
            Arc::new(PagesAhead::new(first, PAGE_BYTES, bytes, Some(later)))
        }

        /// Which pages of the window are known.
        fn known(shared: &SharedMac, window: &PagesAhead) -> Vec<bool> {
            let memo = shared.memo().expect("there are lanes");
            let pages = window.numbers().zip(window.bytes().chunks(PAGE_BYTES));
            pages
                .map(|(number, page)| memo.knows(number.to_le_bytes(), &memo.tag(number.to_le_bytes(), page)))
                .collect()
        }

        fn reads(
            shared: &Arc<SharedMac>,
            windows: &mut Windows,
            number: u32,
            page: &[u8],
            told: &Arc<PagesAhead>,
        ) -> bool {
            let mac = shared.mac_of_read(page, &number.to_le_bytes(), windows, || Some(Arc::downgrade(told)));
            mac.matches(shared.split(page).1)
        }

        fn shared(key: u8) -> Option<Arc<SharedMac>> {
            let shared = SharedMac::of(HashAlgorithm::Sha512, &[key; KEY_BYTES]);
            (shared.learns() && shared.memo().is_some()).then_some(shared)
        }

        #[test]
        fn what_is_authentic_is_known_before_it_is_read_and_what_is_not_is_refused_when_it_is() {
            let _alone = crate::sqlcipher::memo::tests::alone();
            let Some(shared) = shared(3) else { return };
            let (window, mut windows) = (window(&shared, 10), Windows::default());
            let elsewhere = [4; PAGE_BYTES];
            assert!(!reads(&shared, &mut windows, 9, &elsewhere, &window));
            assert_eq!(known(&shared, &window), [false; PAGES as usize]);
            for work in passed_on() {
                work();
            }
            let expected = [true, true, true, true, true, true, false, true];
            assert_eq!(known(&shared, &window), expected);
            for ((number, page), expected) in window.numbers().zip(window.bytes().chunks(PAGE_BYTES)).zip(expected) {
                assert_eq!(reads(&shared, &mut windows, number, page, &window), expected);
            }
        }

        #[test]
        fn a_reader_that_comes_first_does_the_work_itself_and_a_window_that_is_known_is_not_passed_on() {
            let _alone = crate::sqlcipher::memo::tests::alone();
            let Some(shared) = shared(4) else { return };
            let (window, mut windows) = (window(&shared, 10), Windows::default());
            let (page, _) = window.bytes().split_at(PAGE_BYTES);
            assert!(reads(&shared, &mut windows, 10, page, &window));
            assert_eq!(known(&shared, &window).iter().filter(|known| **known).count(), 7);
            assert!(window.take_batch().is_none());
            assert_eq!(passed_on().len(), 1);
            shared.remember(
                window.bytes().split_at(6 * PAGE_BYTES).1.split_at(PAGE_BYTES).0,
                &16_u32.to_le_bytes(),
            );
            assert!(reads(&shared, &mut windows, 10, page, &window));
            assert_eq!(passed_on().len(), 0);
        }

        #[test]
        fn what_waits_elsewhere_is_bounded_and_keeps_neither_key_nor_pages() {
            let _alone = crate::sqlcipher::memo::tests::alone();
            let Some(shared) = shared(5) else { return };
            let (first, mut windows) = (window(&shared, 10), Windows::default());
            let elsewhere = [4; PAGE_BYTES];
            for _ in 0..10 {
                assert!(!reads(&shared, &mut windows, 9, &elsewhere, &first));
            }
            let waiting = passed_on();
            assert_eq!(waiting.len(), 2);
            assert_eq!((Arc::strong_count(&first), Arc::strong_count(&shared)), (1, 1));
            let gone = Arc::downgrade(&shared);
            drop((first, shared));
            assert!(gone.upgrade().is_none());
            for work in waiting {
                work();
            }
        }
    }
}
