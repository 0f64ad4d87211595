//! The one seam to the disk: everything the sealed file does to its bytes goes through [`Disk`], so that a test can
//! record, cut, fail and change it.

use std::fmt::Debug;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Bytes that one call of the system writes at most. Linux keeps a file in memory in folios, and makes one as large as the write that
/// it is made for; each later write of a page within it, and each sync, looks at all of its blocks. A page of a file that was filled
/// 256 KiB at a time takes twice as long to write as one of a file that was filled by pages, and the commits of a database are pages.
/// Two pages take no longer than one, and half as many calls.
const WRITTEN_AT_ONCE: usize = 8 * 1024;

/// One file, read and written at offsets, by any number of threads at once.
pub trait Disk: Debug + Send + Sync + 'static {
    /// Bytes in the file.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        self.len().map(|bytes| bytes == 0)
    }

    /// Reads into all of `out`, or up to the end of the file; returns how many bytes were read.
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<usize>;

    /// A hint that `bytes` at `offset` are read soon: a disk may begin with it now.
    fn will_read(&self, offset: u64, bytes: usize) {
        let _ = (offset, bytes);
    }

    /// Writes all of `bytes`, past the end if need be.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes every finished write, and the length, survive a power cut.
    fn sync(&self) -> io::Result<()>;

    /// Cuts or extends (with zeros) the file.
    fn set_len(&self, bytes: u64) -> io::Result<()>;
}

impl Disk for File {
    fn len(&self) -> io::Result<u64> {
        self.metadata().map(|metadata| metadata.len())
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(rest) = out.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match FileExt::read_at(self, rest, offset + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn will_read(&self, offset: u64, bytes: usize) {
        nimbus_disk::will_read(self, offset, bytes);
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut pieces = (offset..).step_by(WRITTEN_AT_ONCE).zip(bytes.chunks(WRITTEN_AT_ONCE));
        pieces.try_for_each(|(offset, piece)| self.write_all_at(piece, offset))
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        Self::set_len(self, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_in_several_pieces_lands_whole_and_in_its_place() {
        let file = tempfile::tempfile().expect("a new file");
        for bytes in [0, 1, WRITTEN_AT_ONCE, 3 * WRITTEN_AT_ONCE + 5] {
            let written: Vec<u8> = (0_u8..=250).cycle().take(bytes).collect();
            Disk::write_at(&file, 4096, &written).expect("room");
            let mut read = vec![0; bytes + 1];
            assert_eq!(Disk::read_at(&file, 4096, &mut read).expect("readable"), bytes);
            assert_eq!(read.split_at(bytes).0, written);
        }
    }
}
