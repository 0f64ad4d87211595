//! A file under the name that it has until it is whole, and the step that gives it its own.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::error::{At, DiskError, Operation};

/// The permission bits of what is made here.
pub(crate) const PRIVATE: u32 = 0o600;

/// `path` with more at its end.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path.as_os_str());
    name.push(suffix);
    PathBuf::from(name)
}

/// Makes a file that must not be there yet.
pub(crate) fn open_new(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(PRIVATE).open(path)
}

/// Not durable before the directory is synced.
#[expect(
    clippy::disallowed_methods,
    reason = "the one rename in the tree: the file is synced, its directory will be"
)]
pub(crate) fn rename_over(temporary: &Path, path: &Path) -> Result<(), DiskError> {
    std::fs::rename(temporary, path).at(Operation::Rename, path)
}
