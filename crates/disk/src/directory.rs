//! Directories: made private, and synced so that what happened in them lasts.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::error::{At, DiskError, Operation};

/// Makes `path` and its missing parents with mode 0700; one that exists is left as it is.
///
/// # Errors
/// [`DiskError`] naming the directory that could not be made.
pub fn create_directory(path: &Path) -> Result<(), DiskError> {
    if path.is_dir() {
        return Ok(());
    }
    if path.parent().is_some() {
        create_directory(&parent_of(path))?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => sync_directory_of(path),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(DiskError::new(Operation::CreateDirectory, path, error)),
    }
}

/// Removes a file; `false` if there was none. The removal is durable when this returns.
///
/// # Errors
/// [`DiskError`] if the file is there and stays, or if the directory cannot be synced.
pub fn remove(path: &Path) -> Result<bool, DiskError> {
    match std::fs::remove_file(path) {
        Ok(()) => sync_directory_of(path).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(DiskError::new(Operation::Remove, path, error)),
    }
}

/// Gives a file a second name, durable on return; `false` where the file system has no such thing, and nothing has changed.
///
/// # Errors
/// [`DiskError`] if something is at `to` already, or the directory cannot be synced.
pub fn link(from: &Path, to: &Path) -> Result<bool, DiskError> {
    match std::fs::hard_link(from, to) {
        Ok(()) => sync_directory_of(to).map(|()| true),
        // EPERM: what Linux answers for FAT and the like, and for files of others where links to them are restricted.
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(libc::EPERM | libc::EOPNOTSUPP | libc::EMLINK)
            ) =>
        {
            Ok(false)
        }
        Err(error) => Err(DiskError::new(Operation::Link, to, error)),
    }
}

/// Syncs the directory that holds `path`: a rename, link or unlink before it survives a power cut.
///
/// # Errors
/// [`DiskError`] naming the directory.
pub fn sync_directory_of(path: &Path) -> Result<(), DiskError> {
    let directory = parent_of(path);
    let handle = File::open(&directory).at(Operation::Open, &directory)?;
    handle.sync_all().at(Operation::Sync, &directory)
}

/// The directory that holds `path`.
pub(crate) fn parent_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}
