//! What each connection has of the process's page-cache budget.
//!
//! A page cache belongs to a connection. Each connection asks, before it runs, what its share is now, and sets SQLite's
//! `cache_size` if that changed.

/// SQLite needs a handful of pages to work at all.
const SMALLEST_SHARE: u64 = 64 * 1024;

/// What a connection is for decides its part of its store's share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Commits: it rereads what it just wrote.
    Writer,
    /// Point reads on the caller's thread: the hot one.
    Point,
    /// Queries; a store keeps at most two.
    Query,
}

impl Role {
    /// A quarter, a half, and two eighths.
    const fn part(self, share: u64) -> u64 {
        match self {
            Self::Writer => share / 4,
            Self::Point => share / 2,
            Self::Query => share / 8,
        }
    }
}

/// The `cache_size`, in KiB, that a connection in this role may have now.
pub(crate) fn kibibytes_for(role: Role) -> u64 {
    role.part(nimbus_budget::of_store()).max(SMALLEST_SHARE) / 1024
}
