//! A disk with the keys and the layout of the file on it: reading and writing single blocks, without any state.

use std::io;

use nimbus_crypto::RedbKeys;

use super::error::{Damage, SealedError};
use crate::disk::Disk;
use crate::format::{BLOCK_BYTES, BLOCK_BYTES_U64, Layout, MetaBlock, PageSeal, open_page};

pub(super) struct Volume<D> {
    pub(super) disk: D,
    pub(super) keys: RedbKeys,
    pub(super) layout: Layout,
}

impl<D: Disk> Volume<D> {
    /// Reads all of `out`; what lies beyond the end of the file is zeros, which never authenticate.
    pub(super) fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), SealedError> {
        let count = self.disk.read_at(offset, out)?;
        if let Some(missing) = out.get_mut(count..) {
            missing.fill(0);
        }
        Ok(())
    }

    /// Reads and opens the data block of `page`.
    pub(super) fn read_page(&self, page: u32, seal: &PageSeal, out: &mut [u8]) -> Result<(), SealedError> {
        self.read(self.layout.data_offset(page), out)?;
        self.open(page, seal, out)
    }

    /// Opens a data block that was read already.
    pub(super) fn open(&self, page: u32, seal: &PageSeal, block: &mut [u8]) -> Result<(), SealedError> {
        open_page(self.keys.pages(), page, seal, block).map_err(|_not_authentic| Damage::Page { page }.into())
    }

    /// Whether the data block of `page` is the one that `seal` was made with. A disk that cannot be read is an error,
    /// never a "no".
    pub(super) fn holds(&self, page: u32, seal: &PageSeal) -> Result<bool, SealedError> {
        let mut block = [0; BLOCK_BYTES];
        match self.read_page(page, seal, &mut block) {
            Ok(()) => Ok(true),
            Err(SealedError::Corrupt(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Reads `blocks` blocks of the ring from `position` on, around its end if need be.
    pub(super) fn read_ring_blocks(&self, position: u32, blocks: u32) -> Result<Vec<u8>, SealedError> {
        let mut bytes = vec![0; blocks as usize * BLOCK_BYTES];
        let until_wrap = self.until_wrap(position, bytes.len());
        let (head, tail) = bytes.split_at_mut(until_wrap);
        self.read(self.layout.ring_offset(position), head)?;
        if !tail.is_empty() {
            self.read(self.layout.ring_offset(0), tail)?;
        }
        Ok(bytes)
    }

    /// Writes whole blocks into the ring from `position` on, around its end if need be.
    pub(super) fn write_ring_blocks(&self, position: u32, bytes: &[u8]) -> io::Result<()> {
        let (head, tail) = bytes.split_at(self.until_wrap(position, bytes.len()));
        self.disk.write_at(self.layout.ring_offset(position), head)?;
        if !tail.is_empty() {
            self.disk.write_at(self.layout.ring_offset(0), tail)?;
        }
        Ok(())
    }

    /// How many of `bytes` bytes lie before the end of the ring.
    fn until_wrap(&self, position: u32, bytes: usize) -> usize {
        let until_wrap = u64::from(self.layout.ring_blocks() - position) * BLOCK_BYTES_U64;
        usize::try_from(until_wrap).unwrap_or(usize::MAX).min(bytes)
    }

    pub(super) fn read_meta(&self, group: u32) -> Result<MetaBlock, SealedError> {
        let mut bytes = Box::new([0; BLOCK_BYTES]);
        match self.disk.read_at(self.layout.meta_offset(group), &mut bytes[..])? {
            BLOCK_BYTES => Ok(MetaBlock::from_bytes(bytes)),
            _short => Err(Damage::MetaBlock { group }.into()),
        }
    }
}
