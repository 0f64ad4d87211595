//! Reading: staged pages from memory, others from the disk, opened in the caller's buffer. Takes no lock that a writer
//! or a sync holds for longer than it takes to copy a page.

use std::sync::PoisonError;

use super::error::{Damage, SealedError};
use super::file::{SealedFile, page_at};
use super::pages;
use super::protocol::Protocol;
use super::seal::in_parallel;
use crate::disk::Disk;
use crate::format::entry::is_zero;
use crate::format::layout::group_of;
use crate::format::{BLOCK_BYTES, BLOCK_BYTES_U64, GROUP_PAGES, Kind, PageSeal};

/// Pages looked at together: bounds the memory that a read of a huge value takes.
const WINDOW_PAGES: usize = 1024;
/// From here on more than one thread opens the pages of one read: starting one costs as much as opening 8 to 16 pages.
const PARALLEL_PAGES: usize = 32;

/// Reads up to this long go through the cache of opened pages; longer ones would drive everything else out of it.
const CACHED_PAGES: usize = 16;

/// What a page that was never written is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unwritten {
    Zeros,
    Error,
}

impl<D: Disk, P: Protocol> SealedFile<D, P> {
    /// Fills `out` with the bytes at `offset`; pages never written read as zeros.
    ///
    /// # Errors
    /// [`SealedError::BeyondEnd`], [`SealedError::Io`], or [`SealedError::Corrupt`] if a page does not authenticate;
    /// `out` then holds no plaintext of that page.
    pub fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), SealedError> {
        self.read_with(offset, out, Unwritten::Zeros)
    }

    /// Like [`Self::read`], for a reader that asks for nothing but what it wrote: a page never written is an error. With
    /// an old meta block put back, a page would else turn into zeros.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_written(&self, offset: u64, out: &mut [u8]) -> Result<(), SealedError> {
        self.read_with(offset, out, Unwritten::Error)
    }

    /// Reads every page that was ever written and names those that do not authenticate: which of them redb uses, only redb
    /// knows.
    ///
    /// # Errors
    /// Whatever is not the fault of one page.
    pub fn damaged_pages(&self) -> Result<Vec<u32>, SealedError> {
        let count = (self.len() / BLOCK_BYTES_U64).min(u64::from(self.meta.groups()) * u64::from(GROUP_PAGES));
        let mut block = [0; BLOCK_BYTES];
        let mut damaged = Vec::new();
        // Of the disk, not of memory.
        self.forget_pages();
        for number in 1..count {
            match self.read(number * BLOCK_BYTES_U64, &mut block) {
                Err(SealedError::Corrupt(Damage::Page { page })) => damaged.push(page),
                outcome => outcome?,
            }
        }
        Ok(damaged)
    }

    fn read_with(&self, offset: u64, out: &mut [u8], unwritten: Unwritten) -> Result<(), SealedError> {
        self.check_range(offset, out.len())?;
        let (mut offset, mut rest) = (offset, out);
        while !rest.is_empty() {
            let within = usize::try_from(offset % BLOCK_BYTES_U64).expect("below 4096");
            let count = if within == 0 && offset != 0 && rest.len() >= BLOCK_BYTES {
                let whole = (rest.len() / BLOCK_BYTES).min(WINDOW_PAGES) * BLOCK_BYTES;
                self.read_pages(page_at(offset), rest.split_at_mut(whole).0, unwritten)?;
                whole
            } else {
                let count = rest.len().min(BLOCK_BYTES - within);
                self.read_part(page_at(offset), within, rest.split_at_mut(count).0, unwritten)?;
                count
            };
            rest = rest.split_at_mut(count).1;
            offset += count as u64;
        }
        Ok(())
    }

    /// Some bytes of one page: redb's header, or a piece that is no page, which redb never asks for.
    fn read_part(&self, page: u32, within: usize, out: &mut [u8], unwritten: Unwritten) -> Result<(), SealedError> {
        let mut whole = [0; BLOCK_BYTES];
        if page == 0 {
            let header = self.header.read().unwrap_or_else(PoisonError::into_inner);
            whole.split_at_mut(header.len()).0.copy_from_slice(&header[..]);
        } else {
            self.read_pages(page, &mut whole, unwritten)?;
        }
        let part = whole.get(within..within + out.len());
        out.copy_from_slice(part.expect("the caller stays within one page"));
        Ok(())
    }

    fn read_pages(&self, first: u32, out: &mut [u8], unwritten: Unwritten) -> Result<(), SealedError> {
        if out.len() == BLOCK_BYTES {
            let Some(seal) = self.resolve(first, out, unwritten)? else {
                return Ok(());
            };
            if !pages::copy(self.number, first, &seal, out) {
                self.volume.read_page(first, &seal, out)?;
                pages::keep(self.number, first, &seal, out);
            }
            return Ok(());
        }
        let cached = out.len() <= CACHED_PAGES * BLOCK_BYTES;
        let mut sealed = Vec::with_capacity(out.len() / BLOCK_BYTES);
        for (page, block) in (first..).zip(out.as_chunks_mut::<BLOCK_BYTES>().0) {
            let seal = self.resolve(page, block, unwritten)?;
            sealed.push(seal.filter(|seal| !(cached && pages::copy(self.number, page, seal, block))));
        }
        self.read_runs(first, &sealed, out)?;
        self.open_all(first, &sealed, out)?;
        if cached {
            for ((page, seal), block) in (first..).zip(&sealed).zip(out.as_chunks::<BLOCK_BYTES>().0) {
                if let Some(seal) = seal {
                    pages::keep(self.number, page, seal, block);
                }
            }
        }
        Ok(())
    }

    /// Fills `block` if the page is staged or was never written; else tells how to open its data block.
    fn resolve(&self, page: u32, block: &mut [u8], unwritten: Unwritten) -> Result<Option<PageSeal>, SealedError> {
        if self.staging.copy(page, block) {
            return Ok(None);
        }
        let group = group_of(page);
        let is_zeros = if group < self.meta.groups() {
            let entry = self.meta.entry_to_read(&self.volume, page)?;
            match entry.kind() {
                Some(Kind::Data) => return Ok(Some(entry.seal)),
                Some(Kind::Zero) => is_zero(self.volume.keys.pages(), page, &entry.seal),
                Some(Kind::Poison) | None => false,
            }
        } else {
            true
        };
        if !is_zeros || unwritten == Unwritten::Error {
            return Err(Damage::Page { page }.into());
        }
        block.fill(0);
        Ok(None)
    }

    /// Reads every sealed page into its place, neighbours on the disk at once.
    fn read_runs(&self, first: u32, sealed: &[Option<PageSeal>], out: &mut [u8]) -> Result<(), SealedError> {
        let pages: Vec<u32> = (first..)
            .zip(sealed)
            .filter_map(|(page, seal)| seal.map(|_| page))
            .collect();
        for run in pages.chunk_by(|&page, &next| next == page + 1 && group_of(page) == group_of(next)) {
            let &[start, ..] = run else { continue };
            let from = (start - first) as usize * BLOCK_BYTES;
            let place = out.get_mut(from..from + run.len() * BLOCK_BYTES);
            let place = place.expect("the pages are those of the buffer");
            self.volume.read(self.volume.layout.data_offset(start), place)?;
        }
        Ok(())
    }

    fn open_all(&self, first: u32, sealed: &[Option<PageSeal>], out: &mut [u8]) -> Result<(), SealedError> {
        let threads = self.tuning.threads;
        if sealed.len() < PARALLEL_PAGES || threads < 2 {
            return self.open_share(first, sealed, out);
        }
        let share = sealed.len().div_ceil(threads);
        let work = (first..)
            .step_by(share)
            .zip(sealed.chunks(share))
            .zip(out.chunks_mut(share * BLOCK_BYTES));
        in_parallel(threads, work, |((first, sealed), out)| {
            self.open_share(first, sealed, out)
        })
        .map(|_done| ())
    }

    fn open_share(&self, first: u32, sealed: &[Option<PageSeal>], out: &mut [u8]) -> Result<(), SealedError> {
        let blocks = out.as_chunks_mut::<BLOCK_BYTES>().0;
        for ((page, seal), block) in (first..).zip(sealed).zip(blocks) {
            if let Some(seal) = seal {
                self.volume.open(page, seal, block)?;
            }
        }
        Ok(())
    }
}
