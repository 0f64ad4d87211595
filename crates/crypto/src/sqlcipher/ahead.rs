//! Pages that will probably be read next, as they lie in the file.

use std::sync::Arc;

/// Whole pages that follow each other in a file, at most 2^32 - 1 of them.
#[derive(Clone)]
pub struct PagesAhead {
    /// The number of the first one, from 1.
    pub first: u32,
    /// Bytes of each.
    pub page_bytes: usize,
    /// All of them; what is less than a page at the end is not looked at.
    pub bytes: Arc<Vec<u8>>,
}

impl PagesAhead {
    /// Each with its number.
    pub(super) fn pages(&self) -> impl Iterator<Item = (u32, &[u8])> {
        (self.first..).zip(self.bytes.chunks_exact(self.page_bytes.max(1)))
    }

    /// Whether `sealed` is the beginning of the page `number` of these.
    pub(super) fn have(&self, number: u32, sealed: &[u8]) -> bool {
        let page = |index| self.bytes.chunks_exact(self.page_bytes.max(1)).nth(index);
        let index = number.checked_sub(self.first).map(|index| index as usize);
        index.and_then(page).is_some_and(|page| page.starts_with(sealed))
    }
}
