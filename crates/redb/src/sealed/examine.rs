//! What lies on the disk of an open file, authenticated past every cache, while the file is used.
//!
//! Reading waits for nobody, so a page may be on its way to the disk, its entry not yet changed: what fails is looked at again under
//! the commit lock, whose holder alone changes blocks and entries.

use super::error::{Damage, SealedError};
use super::file::SealedFile;
use super::protocol::Protocol;
use super::recovery::{read_ring, read_superblock_copies};
use crate::disk::Disk;
use crate::format::entry::is_zero;
use crate::format::{BLOCK_BYTES, BLOCK_BYTES_U64, Entry, GROUP_PAGES, Kind, SealedRecord};

impl<D: Disk, P: Protocol> SealedFile<D, P> {
    /// Groups whose pages were ever written.
    pub fn groups(&self) -> u32 {
        self.meta.groups()
    }

    /// The pages of `group` that the disk does not hold as they were sealed last, ascending.
    ///
    /// # Errors
    /// Whatever is not the fault of single pages.
    pub fn failing_pages(&self, group: u32) -> Result<Vec<u32>, SealedError> {
        // Page 0 lives in the records.
        let first = (group * GROUP_PAGES).max(1);
        let last = group * GROUP_PAGES + (GROUP_PAGES - 1);
        let mut blocks = vec![0; (last - first + 1) as usize * BLOCK_BYTES];
        self.volume.read(self.volume.layout.data_offset(first), &mut blocks)?;
        let mut failing = Vec::new();
        for (page, block) in (first..=last).zip(blocks.as_chunks_mut::<BLOCK_BYTES>().0) {
            let is_sound = self.entry(page)?.is_none_or(|entry| self.holds(page, &entry, block));
            if !is_sound {
                failing.push(page);
            }
        }
        let _nothing_changes = self.lock();
        let mut damaged = self.not_home(group)?;
        let mut block = [0; BLOCK_BYTES];
        for page in failing {
            self.volume.read(self.volume.layout.data_offset(page), &mut block)?;
            if !self
                .entry(page)?
                .is_none_or(|entry| self.holds(page, &entry, &mut block))
            {
                damaged.push(page);
            }
        }
        damaged.sort_unstable();
        damaged.dedup();
        Ok(damaged)
    }

    /// Whether the next opening would find this file, and its last commit.
    ///
    /// # Errors
    /// [`SealedError::Corrupt`] if not.
    pub fn examine_records(&self) -> Result<(), SealedError> {
        let log = self.lock();
        let superblock = self.superblock().encode(&self.volume.keys);
        if !read_superblock_copies(&self.volume.disk)?.contains(&superblock) {
            return Err(Damage::Superblock.into());
        }
        let records = read_ring(&self.volume)?;
        let newest = records.get(&log.epoch).filter(|found| found.tag == log.tag);
        let missing = |newest: &SealedRecord| {
            (newest.record.checkpoint_epoch + 1..log.epoch).find(|epoch| !records.contains_key(epoch))
        };
        match newest.map_or(Some(log.epoch), missing) {
            Some(epoch) => Err(Damage::BrokenChain { epoch }.into()),
            None => Ok(()),
        }
    }

    /// What is known of a page; `None` if the file does not reach so far any more.
    fn entry(&self, page: u32) -> Result<Option<Entry>, SealedError> {
        let group = page / GROUP_PAGES;
        if u64::from(page) >= self.len() / BLOCK_BYTES_U64 || group >= self.meta.groups() {
            return Ok(None);
        }
        self.meta.entry(&self.volume, page).map(Some)
    }

    /// Whether `block`, which is opened in place, is what the entry says.
    fn holds(&self, page: u32, entry: &Entry, block: &mut [u8; BLOCK_BYTES]) -> bool {
        match entry.kind() {
            Some(Kind::Data) => self.volume.open(page, &entry.seal, block).is_ok(),
            Some(Kind::Zero) => is_zero(self.volume.keys.pages(), page, &entry.seal),
            Some(Kind::Poison) | None => false,
        }
    }

    /// The pages of `group` whose entries were brought home and are not there any more. The caller holds the commit lock.
    fn not_home(&self, group: u32) -> Result<Vec<u32>, SealedError> {
        let pages = self.len() / BLOCK_BYTES_U64;
        let mut lost = self.meta.lost_at_home(&self.volume, group)?;
        lost.retain(|&page| page != 0 && u64::from(page) < pages);
        Ok(lost)
    }
}
