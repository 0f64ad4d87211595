//! Has the system begin to write what will be synced soon: the sync, which is what counts, then waits for less.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

/// Files that somebody else on this thread writes.
pub(crate) struct WriteOut {
    paths: Vec<PathBuf>,
    open: Vec<File>,
}

impl WriteOut {
    /// Files that need not exist yet. Closing a database drops every POSIX lock that this process has on it: this outlives the
    /// connections to it.
    pub(crate) const fn of(paths: Vec<PathBuf>) -> Self {
        Self {
            paths,
            open: Vec::new(),
        }
    }

    /// Waits for nothing.
    pub(crate) fn begin(&mut self) {
        let open = &mut self.open;
        self.paths.retain(|path| match File::open(path) {
            Ok(file) => {
                open.push(file);
                false
            }
            Err(_) => true,
        });
        for file in &self.open {
            begin_writing(file);
        }
    }
}

#[expect(unsafe_code, reason = "the standard library has no sync_file_range")]
fn begin_writing(file: &File) {
    // SAFETY: sync_file_range(2) takes a descriptor, which `file` keeps open, and touches no memory of ours. 0 bytes: all. What
    // fails here, the sync says.
    let _ = unsafe { libc::sync_file_range(file.as_raw_fd(), 0, 0, libc::SYNC_FILE_RANGE_WRITE) };
}
