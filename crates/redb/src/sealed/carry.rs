//! What another sealed file needs to know to become this one under another key: which pages hold something, which were
//! never written, and which are damaged and stay so.

use super::error::SealedError;
use super::file::SealedFile;
use super::protocol::Protocol;
use crate::disk::Disk;
use crate::format::entry::is_zero;
use crate::format::layout::group_of;
use crate::format::{BLOCK_BYTES, BLOCK_BYTES_U64, Kind};

/// What lies at a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// The page, which authenticates.
    Written,
    /// Nothing yet: it reads as zeros.
    NeverWritten,
    /// What no key opens: the page was being written when a crash came, or was damaged later.
    Damaged,
}

impl<D: Disk, P: Protocol> SealedFile<D, P> {
    /// Looks at `page` as of the last commit, and fills `out` if it was written.
    ///
    /// # Errors
    /// Whatever is not the fault of this page.
    pub fn find(&self, page: u32, out: &mut [u8; BLOCK_BYTES]) -> Result<Found, SealedError> {
        let group = group_of(page);
        if group >= self.meta.groups() {
            return Ok(Found::NeverWritten);
        }
        let entry = self.meta.entry(&self.volume, page)?;
        match entry.kind() {
            Some(Kind::Data) => match self.volume.read_page(page, &entry.seal, out) {
                Ok(()) => Ok(Found::Written),
                Err(SealedError::Corrupt(_)) => Ok(Found::Damaged),
                Err(error) => Err(error),
            },
            Some(Kind::Zero) if is_zero(self.volume.keys.pages(), page, &entry.seal) => Ok(Found::NeverWritten),
            Some(Kind::Zero | Kind::Poison) | None => Ok(Found::Damaged),
        }
    }

    /// Makes a page that is not staged an error to read until it is written. Durable with the next commit, which this alone
    /// does not cause.
    ///
    /// # Errors
    /// [`SealedError::Failed`], [`SealedError::BeyondEnd`], and what reading its meta block may meet.
    pub fn poison(&self, page: u32) -> Result<(), SealedError> {
        self.check_usable()?;
        self.check_range(u64::from(page) * BLOCK_BYTES_U64, BLOCK_BYTES)?;
        let log = self.lock();
        let group = group_of(page);
        self.initialize_groups(group + 1, log.epoch + 1)?;
        self.meta.poison(&self.volume, page)
    }
}
