//! The sealed file as redb's storage backend: nothing but names.

use std::fmt;
use std::io;
use std::ops::Bound;
use std::sync::Arc;

use redb::{BackendError, StorageBackend};

use crate::disk::Disk;
use crate::sealed::{Protocol, SealedFile, Sound};

/// A sealed file that redb and its owner hold together.
pub struct SealedBackend<D, P = Sound>(Arc<SealedFile<D, P>>);

impl<D, P> SealedBackend<D, P> {
    /// Lets redb work on `file`.
    pub const fn new(file: Arc<SealedFile<D, P>>) -> Self {
        Self(file)
    }
}

impl<D: Disk, P: Protocol> StorageBackend for SealedBackend<D, P> {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        // redb never reads what it has not written (tests/traces.rs).
        Ok(self.0.read_written(offset, out)?)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        Ok(self.0.set_len(len)?)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(self.0.sync()?)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        Ok(self.0.write(offset, data)?)
    }

    fn close(&self) -> io::Result<()> {
        self.0.close();
        Ok(())
    }

    // The file's one opener holds the lock file for as long as it has the file open: every range is its own.
    fn try_lock_range(&self, _start: Bound<u64>, _end: Bound<u64>) -> Result<bool, BackendError> {
        Ok(true)
    }

    fn unlock_range(&self, _start: Bound<u64>, _end: Bound<u64>) -> Result<(), BackendError> {
        Ok(())
    }
}

impl<D: fmt::Debug, P> fmt::Debug for SealedBackend<D, P> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}
