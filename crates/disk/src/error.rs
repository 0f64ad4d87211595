//! What can go wrong on the disk, by what the operator can do about it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// The step of a protocol that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Opening or creating a file.
    Open,
    /// Reading a file.
    Read,
    /// Writing a file.
    Write,
    /// Flushing a file or a directory to the device.
    Sync,
    /// Renaming a file over another.
    Rename,
    /// Giving a new file its name.
    Link,
    /// Removing a file.
    Remove,
    /// Creating a directory.
    CreateDirectory,
    /// Locking a file.
    Lock,
}

impl fmt::Display for Operation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Open => "open",
            Self::Read => "read",
            Self::Write => "write",
            Self::Sync => "sync",
            Self::Rename => "rename",
            Self::Link => "link",
            Self::Remove => "remove",
            Self::CreateDirectory => "create directory",
            Self::Lock => "lock",
        })
    }
}

/// A failed change or read of the disk, naming the file.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// Another process holds the lock.
    #[error("{path} is locked by {}", owner_text(*pid, host.as_deref()))]
    Busy {
        /// The lock file.
        path: PathBuf,
        /// The owner's process id, if it wrote one (shared owners do not).
        pid: Option<u32>,
        /// The owner's host name, if it wrote one.
        host: Option<String>,
    },
    /// The device or the quota is full.
    #[error("no space left while trying to {operation} {path}")]
    Full {
        /// What was being done.
        operation: Operation,
        /// The file or directory.
        path: PathBuf,
    },
    /// The process may not do this here.
    #[error("not permitted to {operation} {path}: {source}")]
    Denied {
        /// What was being done.
        operation: Operation,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Anything else the system refused.
    #[error("could not {operation} {path}: {source}")]
    Io {
        /// What was being done.
        operation: Operation,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl DiskError {
    pub(crate) fn new(operation: Operation, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.raw_os_error() {
            Some(libc::ENOSPC | libc::EDQUOT | libc::EFBIG) => Self::Full { operation, path },
            Some(libc::EACCES | libc::EPERM | libc::EROFS) => Self::Denied {
                operation,
                path,
                source,
            },
            _ => Self::Io {
                operation,
                path,
                source,
            },
        }
    }

    /// The same error once more, for another file that it struck: what the system said is kept as its number.
    pub(crate) fn duplicate(&self) -> Self {
        let copy = |source: &io::Error| {
            source
                .raw_os_error()
                .map_or_else(|| io::Error::other(source.to_string()), io::Error::from_raw_os_error)
        };
        match self {
            Self::Busy { path, pid, host } => Self::Busy {
                path: path.clone(),
                pid: *pid,
                host: host.clone(),
            },
            Self::Full { operation, path } => Self::Full {
                operation: *operation,
                path: path.clone(),
            },
            Self::Denied {
                operation,
                path,
                source,
            } => Self::Denied {
                operation: *operation,
                path: path.clone(),
                source: copy(source),
            },
            Self::Io {
                operation,
                path,
                source,
            } => Self::Io {
                operation: *operation,
                path: path.clone(),
                source: copy(source),
            },
        }
    }

    /// The file or directory concerned.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Busy { path, .. } | Self::Full { path, .. } | Self::Denied { path, .. } | Self::Io { path, .. } => {
                path
            }
        }
    }
}

fn owner_text(pid: Option<u32>, host: Option<&str>) -> String {
    match (pid, host) {
        (Some(pid), Some(host)) => format!("process {pid} on {host}"),
        (Some(pid), None) => format!("process {pid}"),
        (None, _) => "another process".to_owned(),
    }
}

/// Names the operation and the path in what the system said.
pub(crate) trait At<T> {
    fn at(self, operation: Operation, path: &Path) -> Result<T, DiskError>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, operation: Operation, path: &Path) -> Result<T, DiskError> {
        self.map_err(|source| DiskError::new(operation, path, source))
    }
}
