//! A file that appears whole: replaced atomically, or created exactly once.
//!
//! | stopped after      | `replace` leaves                     | `create_exclusive` leaves           |
//! |--------------------|--------------------------------------|-------------------------------------|
//! | writing            | the old file, and `<path>.tmp`       | nothing (the new file has no name)  |
//! | syncing the file   | the old file, and `<path>.tmp`       | nothing                             |
//! | rename / link      | the old or the new file, whole       | nothing, or the new file, whole     |
//! | syncing the folder | the new file                         | the new file                        |
//!
//! A left-over `<path>.tmp` is never read; the next `replace` of that path takes its place. Where the file system has no
//! nameless files, `create_exclusive` writes to `<path>.<pid>.<n>.tmp`; one that a crash left is never read nor used again.

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::directory::sync_directory_of;
use crate::error::{At, DiskError, Operation};
use crate::replace_many::{Replacement, replace_one};
use crate::temporary::{PRIVATE, open_new, rename_over, with_suffix};

/// Puts `bytes` at `path` in one step, mode 0600, durable on return. Callers hold the lock that makes them the only writer.
///
/// # Errors
/// [`DiskError`]; the file at `path` is then what it was (or, if only the last directory sync failed, the new one).
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
    replace_one(Replacement { path, bytes })
}

/// Creates `path` with `bytes`, mode 0600, durable on return; `false` if something is there already.
///
/// Of any number of processes that call this at once, exactly one gets `true`, and no other content is ever seen under
/// that name: the file is complete and synced before it is linked.
///
/// # Errors
/// [`DiskError`]; nothing then exists at `path` (or, if only the last directory sync failed, the whole file).
pub fn create_exclusive(path: &Path, bytes: &[u8]) -> Result<bool, DiskError> {
    let (file, temporary) = nameless(path)?;
    let linked = write_synced(&file, path, bytes).and_then(|()| link(&file, temporary.as_deref(), path));
    if let Some(temporary) = temporary {
        let _ = std::fs::remove_file(temporary);
    }
    let created = linked?;
    sync_directory_of(path)?;
    Ok(created)
}

/// Gives a file that was made and synced under another name its own, durable on return. Callers hold the lock that makes
/// them the only writer, and have seen that nothing is at `path`.
///
/// # Errors
/// [`DiskError`]; the file is then under one of the two names.
pub fn publish(temporary: &Path, path: &Path) -> Result<(), DiskError> {
    rename_over(temporary, path)?;
    sync_directory_of(path)
}

/// A file without a name (`O_TMPFILE`), or, where the file system has none, one under a name nobody else uses.
fn nameless(path: &Path) -> Result<(File, Option<PathBuf>), DiskError> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let opened = OpenOptions::new()
        .write(true)
        .mode(PRIVATE)
        .custom_flags(libc::O_TMPFILE)
        .open(directory);
    match opened {
        Ok(file) => Ok((file, None)),
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(libc::EOPNOTSUPP | libc::EISDIR | libc::EINVAL)
            ) =>
        {
            named(path).map(|(file, temporary)| (file, Some(temporary)))
        }
        Err(error) => Err(DiskError::new(Operation::Open, path, error)),
    }
}

/// A file under a name that nobody else uses. A process before this one may have had the same id, as the first one in a
/// container always has, and have left its file.
fn named(path: &Path) -> Result<(File, PathBuf), DiskError> {
    let mut number = 0_u64;
    loop {
        let temporary = with_suffix(path, &format!(".{}.{number}.tmp", std::process::id()));
        match open_new(&temporary) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            opened => return Ok((opened.at(Operation::Open, &temporary)?, temporary)),
        }
    }
}

fn link(file: &File, temporary: Option<&Path>, path: &Path) -> Result<bool, DiskError> {
    let linked = match temporary {
        Some(temporary) => std::fs::hard_link(temporary, path),
        None => link_descriptor(file, path),
    };
    match linked {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(DiskError::new(Operation::Link, path, error)),
    }
}

/// open(2), `O_TMPFILE`: the way to name such a file without `CAP_DAC_READ_SEARCH` is through `/proc/self/fd`.
#[expect(unsafe_code, reason = "the standard library has no linkat with AT_SYMLINK_FOLLOW")]
fn link_descriptor(file: &File, path: &Path) -> io::Result<()> {
    let from = CString::new(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
    let to = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: linkat(2) reads two NUL-terminated strings, which live until it returns, and keeps neither.
    let result = unsafe {
        libc::linkat(
            libc::AT_FDCWD,
            from.as_ptr(),
            libc::AT_FDCWD,
            to.as_ptr(),
            libc::AT_SYMLINK_FOLLOW,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

fn write_synced(mut file: &File, path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
    file.write_all(bytes).at(Operation::Write, path)?;
    file.sync_all().at(Operation::Sync, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_process_with_the_same_id_left_does_not_stand_in_the_way() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("manifest");
        let (_, left) = named(&path).expect("first");
        let (file, temporary) = named(&path).expect("second");
        assert_ne!(left, temporary);
        write_synced(&file, &path, b"whole").expect("write");
        assert!(link(&file, Some(&temporary), &path).expect("link"));
        assert_eq!(std::fs::read(&path).expect("read"), b"whole");
    }
}
