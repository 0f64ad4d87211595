//! Reads that are begun before anybody waits for them.

use std::fs::File;

/// Has the system begin to read `bytes` at `offset`, so that several reads wait for the disk at once. Only a hint: whatever
/// comes of it, the reads themselves tell.
pub fn will_read(file: &File, offset: u64, bytes: usize) {
    #[cfg(target_os = "linux")]
    {
        use std::os::fd::AsRawFd;
        let (Ok(offset), Ok(bytes)) = (libc::off_t::try_from(offset), libc::off_t::try_from(bytes)) else {
            return;
        };
        // SAFETY: posix_fadvise(2) takes numbers, and the descriptor is open for as long as `file` is borrowed.
        unsafe { libc::posix_fadvise(file.as_raw_fd(), offset, bytes, libc::POSIX_FADV_WILLNEED) };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (file, offset, bytes);
}
