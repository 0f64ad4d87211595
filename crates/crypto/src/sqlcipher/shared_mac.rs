//! The MAC key of a file and the memo of its pages, one for all connections of the process that have this key.

use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use super::ahead::PagesAhead;
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
    /// Else `ahead` is asked for pages among which this one is, and all of them are authenticated at once, if that is of use.
    pub(super) fn mac_of_read(
        &self,
        sealed: &[u8],
        suffix: &[u8],
        ahead: impl FnOnce() -> Option<PagesAhead>,
    ) -> PageMac {
        let (page, stored) = self.split(sealed);
        let Some((memo, number)) = self.memo().zip(suffix.try_into().ok()) else {
            return self.mac(page, suffix);
        };
        let known = |tag| {
            let mac = PageMac::from_bytes(self.key.algorithm(), stored);
            mac.filter(|_| memo.knows(number, tag))
        };
        let tag = memo.tag(number, sealed);
        if let Some(mac) = known(&tag) {
            return mac;
        }
        if self.learns()
            && let Some(ahead) = ahead()
            && ahead.have(u32::from_le_bytes(number), sealed)
        {
            self.learn(memo, &ahead, sealed.len());
            if let Some(mac) = known(&tag) {
                return mac;
            }
        }
        let mac = self.mac(page, suffix);
        if mac.matches(stored) {
            memo.remember(number, tag);
        }
        mac
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

    /// Remembers those of `ahead` that have the MAC that they were stored with; each is `sealed_bytes` long with its MAC.
    #[cfg(target_arch = "x86_64")]
    fn learn(&self, memo: &Memo, ahead: &PagesAhead, sealed_bytes: usize) {
        let Some(lanes) = &self.lanes else { return };
        let unknown: Vec<_> = ahead
            .pages()
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
    const fn learn(&self, _memo: &Memo, _ahead: &PagesAhead, _sealed_bytes: usize) {}

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
            let shared = SharedMac::new(algorithm, &[7; KEY_BYTES], OnceLock::from(None));
            let (page, number) = ([3; 4032], [2, 0, 0, 0]);
            let mut sealed = [&page[..], shared.mac(&page, &number).as_bytes()].concat();
            shared.remember(&sealed, &number);
            let (_, stored) = shared.split(&sealed);
            assert!(shared.mac_of_read(&sealed, &number, || None).matches(stored));
            assert!(!shared.mac_of_read(&sealed, &[3, 0, 0, 0], || None).matches(stored));
            sealed[4031] ^= 1;
            let (_, stored) = shared.split(&sealed);
            assert!(!shared.mac_of_read(&sealed, &number, || None).matches(stored));
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
}
