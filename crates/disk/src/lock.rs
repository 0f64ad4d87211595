//! Advisory locks on files of their own, which are never renamed and never removed.
//!
//! `flock` belongs to the open file, not to the process: closing some other descriptor of the same file does not drop it
//! (POSIX record locks do: hazard of every SQLite host). Removing a lock file would let two owners lock two inodes.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Read;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use crate::error::{At, DiskError, Operation};

/// A held lock; dropping it, or the end of the process, releases it.
#[derive(Debug)]
pub struct FileLock {
    file: File,
}

impl FileLock {
    /// Takes the lock for this owner alone and writes pid and host into the file, for whoever is refused.
    ///
    /// # Errors
    /// [`DiskError::Busy`] at once, with the owner's pid and host, if somebody holds it.
    pub fn exclusive(path: &Path) -> Result<Self, DiskError> {
        let file = open(path)?;
        settle(file.try_lock(), &file, path)?;
        let owner = format!("{}\n{}\n", std::process::id(), host_name());
        file.set_len(0).at(Operation::Write, path)?;
        file.write_all_at(owner.as_bytes(), 0).at(Operation::Write, path)?;
        Ok(Self { file })
    }

    /// Takes the lock together with other shared owners. The file is then empty: an exclusive owner whose name is still
    /// there is gone.
    ///
    /// # Errors
    /// [`DiskError::Busy`] at once, with the owner's pid and host, if somebody holds it exclusively.
    pub fn shared(path: &Path) -> Result<Self, DiskError> {
        let file = open(path)?;
        settle(file.try_lock_shared(), &file, path)?;
        file.set_len(0).at(Operation::Write, path)?;
        Ok(Self { file })
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        // Closing the only descriptor releases the lock too; this is for descriptors that a fork inherited.
        let _ = self.file.unlock();
    }
}

fn open(path: &Path) -> Result<File, DiskError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
        .at(Operation::Open, path)
}

fn settle(attempt: Result<(), TryLockError>, file: &File, path: &Path) -> Result<(), DiskError> {
    match attempt {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(busy(file, path)),
        Err(TryLockError::Error(error)) => Err(DiskError::new(Operation::Lock, path, error)),
    }
}

fn busy(file: &File, path: &Path) -> DiskError {
    let mut text = String::new();
    // What an owner is still writing, or never wrote, is no reason to hide that the file is busy.
    let _ = file.take(1024).read_to_string(&mut text);
    let mut lines = text.lines();
    let pid = lines.next().and_then(|line| line.parse().ok());
    let host = lines.next().filter(|line| !line.is_empty()).map(str::to_owned);
    DiskError::Busy {
        path: path.to_owned(),
        pid,
        host,
    }
}

fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|name| name.trim().to_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_exclusive_owner_is_refused_with_the_pid_and_host_of_the_first() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("x.nimbus-lock");
        let held = FileLock::exclusive(&path).expect("first");
        match FileLock::exclusive(&path) {
            Err(DiskError::Busy { pid, host, .. }) => {
                assert_eq!(pid, Some(std::process::id()));
                assert_eq!(host.as_deref(), Some(host_name().as_str()));
            }
            other => panic!("expected busy, got {other:?}"),
        }
        assert!(matches!(FileLock::shared(&path), Err(DiskError::Busy { .. })));
        drop(held);
        FileLock::exclusive(&path).expect("released");
    }

    #[test]
    fn shared_owners_keep_an_exclusive_one_out_and_each_other_in() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("x.nimbus-lock");
        let first = FileLock::shared(&path).expect("first");
        let second = FileLock::shared(&path).expect("second");
        assert!(matches!(FileLock::exclusive(&path), Err(DiskError::Busy { .. })));
        drop((first, second));
        FileLock::exclusive(&path).expect("released");
    }

    #[test]
    fn a_shared_owner_is_never_called_by_the_name_of_an_exclusive_one_before_it() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("x.nimbus-lock");
        drop(FileLock::exclusive(&path).expect("first"));
        let _held = FileLock::shared(&path).expect("shared");
        match FileLock::exclusive(&path) {
            Err(DiskError::Busy {
                pid: None, host: None, ..
            }) => {}
            other => panic!("expected an unknown owner, got {other:?}"),
        }
    }
}
