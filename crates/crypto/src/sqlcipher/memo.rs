//! Which pages were found to have their MAC, so that a page that is read again need not be authenticated again.
//!
//! Of such a page the memo keeps a 128-bit tag of the page with its MAC and its number, by a keyed hash whose secret
//! is the memo's own ([`crate::keyed_hash`]). If the page is read again and its tag is the one that is kept, then page, MAC
//! and number are the very same bytes, but for a chance of less than 2^-118 for each page that somebody puts there who
//! cannot know the secret, and so its MAC is the one that it has with it. Nothing else is concluded: an older version of a
//! page, the page of another number, another key are as before, since the memo answers for nothing that the HMAC would not.
//!
//! Tags lie in ordinary memory: without the secret they tell nothing. There are 16 bytes for each page, in pieces
//! for 256 pages that stand next to each other in the file, and at most [`MOST_PIECES`] of these in the process.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::constant_time;
use crate::keyed_hash::{KeyedHash, Tag};

/// Pages of a piece.
const PIECE_PAGES: usize = 256;
/// Pieces of a file, after which its pages share them: 1 GiB of pages of 4 KiB, for 4 MiB of tags.
const FILE_PIECES: usize = 1024;
/// Pieces of all files, together 16 MiB for 4 GiB of pages of 4 KiB.
const MOST_PIECES: usize = 4096;

static PIECES: AtomicUsize = AtomicUsize::new(0);

/// The pages that have their MAC under one key and algorithm, which is whose memo it is.
pub(super) struct Memo {
    hash: KeyedHash,
    pieces: Mutex<Pieces>,
}

impl Memo {
    /// An empty memo; `None` where it would save nothing.
    pub(super) fn fresh() -> Option<Self> {
        Some(Self {
            hash: KeyedHash::fresh()?,
            pieces: Mutex::default(),
        })
    }

    /// What identifies `sealed`, a page with its MAC behind it, as the page `number` (in the bytes that the MAC covers).
    pub(super) fn tag(&self, number: [u8; 4], sealed: &[u8]) -> Tag {
        self.hash.tag(&number, sealed)
    }

    /// Whether the page `number` with this tag was found to have its MAC.
    pub(super) fn knows(&self, number: [u8; 4], tag: &Tag) -> bool {
        let (piece, entry) = place(number);
        let pieces = self.pieces();
        let known = pieces.get(piece).and_then(|piece| piece.0.get(entry));
        known.is_some_and(|known| constant_time::equal(known, tag))
    }

    /// Whether something is remembered of the page `number`, or of one that shares its place.
    pub(super) fn has(&self, number: [u8; 4]) -> bool {
        let (piece, entry) = place(number);
        let pieces = self.pieces();
        let known = pieces.get(piece).and_then(|piece| piece.0.get(entry));
        known.is_some_and(|known| *known != Tag::default())
    }

    /// The page `number` with this tag has its MAC.
    pub(super) fn remember(&self, number: [u8; 4], tag: Tag) {
        let (piece, entry) = place(number);
        if let Some(known) = self.pieces().get_or_take(piece).0.get_mut(entry) {
            *known = tag;
        }
    }

    fn pieces(&self) -> MutexGuard<'_, Pieces> {
        // An entry is written whole or not, whatever panics.
        self.pieces.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// SQLCipher's page numbers are little endian unless it is told otherwise, and nobody tells it: in another order pages would only
/// be in one another's way.
fn place(number: [u8; 4]) -> (usize, usize) {
    let number = u32::from_le_bytes(number) as usize;
    (number / PIECE_PAGES % FILE_PIECES, number % PIECE_PAGES)
}

#[derive(Default)]
struct Pieces {
    own: Vec<Option<Piece>>,
    /// For all pages whose piece the process has no room for.
    last: Option<Piece>,
}

impl Pieces {
    fn get(&self, index: usize) -> Option<&Piece> {
        self.own.get(index).and_then(Option::as_ref).or(self.last.as_ref())
    }

    fn get_or_take(&mut self, index: usize) -> &mut Piece {
        if self.own.len() <= index {
            self.own.resize_with(index + 1, || None);
        }
        let own = self.own.get_mut(index).expect("it was made long enough");
        if own.is_none() && take_place() {
            *own = Some(Piece::empty());
        }
        own.as_mut()
            .unwrap_or_else(|| self.last.get_or_insert_with(Piece::empty))
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        PIECES.fetch_sub(self.own.iter().flatten().count(), Ordering::Relaxed);
    }
}

/// Where no page is remembered there are zeros. They need no mark of their own: nobody who does not know the secret can make a page
/// whose tag they are, any more than one with another's tag.
struct Piece(Box<[Tag; PIECE_PAGES]>);

impl Piece {
    fn empty() -> Self {
        Self(Box::new([Tag::default(); PIECE_PAGES]))
    }
}

fn take_place() -> bool {
    let more = |taken| (taken < MOST_PIECES).then_some(taken + 1);
    PIECES.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// For tests that fill memos: one of them counts the pieces of the process.
    pub(in crate::sqlcipher) fn alone() -> MutexGuard<'static, ()> {
        static ALONE: Mutex<()> = Mutex::new(());
        ALONE.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn number(page: usize) -> [u8; 4] {
        u32::try_from(page).expect("a page number").to_le_bytes()
    }

    /// One test: the bound is the process's.
    #[test]
    fn however_many_pages_are_remembered_the_memory_is_bounded_and_the_last_ones_are_known() {
        let _alone = alone();
        let Some(memo) = Memo::fresh() else { return };
        let pages = FILE_PIECES * PIECE_PAGES;
        for page in 0..3 * pages {
            memo.remember(number(page), memo.tag(number(page), b"page"));
        }
        assert_eq!(PIECES.load(Ordering::Relaxed), FILE_PIECES);
        for page in [2 * pages, 3 * pages - 1] {
            assert!(memo.knows(number(page), &memo.tag(number(page), b"page")));
            let replaced = number(page - pages);
            assert!(!memo.knows(replaced, &memo.tag(replaced, b"page")));
        }
        let others: Vec<_> = (0..MOST_PIECES).filter_map(|_| Memo::fresh()).collect();
        for memo in &others {
            for page in [0, PIECE_PAGES, PIECE_PAGES + 1] {
                memo.remember(number(page), memo.tag(number(page), b"page"));
            }
        }
        assert_eq!(PIECES.load(Ordering::Relaxed), MOST_PIECES);
        let last = others.last().expect("there are many");
        for page in [PIECE_PAGES, PIECE_PAGES + 1] {
            assert!(last.knows(number(page), &last.tag(number(page), b"page")), "{page}");
        }
        drop((memo, others));
        assert_eq!(PIECES.load(Ordering::Relaxed), 0);
    }
}
