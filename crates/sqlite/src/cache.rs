//! One page-cache budget for the process, shared out among the open stores.
//!
//! A page cache belongs to a connection. Each connection asks, before it runs, what its share is now, and sets SQLite's
//! `cache_size` if that changed; the share halves each time the number of open stores doubles, so that it rarely does.

use std::sync::atomic::{AtomicU64, Ordering};

const MEBIBYTE: u64 = 1024 * 1024;
/// SQLite needs a handful of pages to work at all.
const SMALLEST_SHARE: u64 = 64 * 1024;

static TOTAL_BYTES: AtomicU64 = AtomicU64::new(256 * MEBIBYTE);
static STORE_BYTES: AtomicU64 = AtomicU64::new(64 * MEBIBYTE);
static OPEN_STORES: AtomicU64 = AtomicU64::new(0);

/// Sets the budget of all open stores together and the most that one may have, in bytes. Defaults: 256 MiB and 64 MiB.
pub fn set_budget(total_bytes: u64, store_bytes: u64) {
    TOTAL_BYTES.store(total_bytes, Ordering::Relaxed);
    STORE_BYTES.store(store_bytes, Ordering::Relaxed);
}

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
    let stores = OPEN_STORES.load(Ordering::Relaxed).max(1).next_power_of_two();
    let share = (TOTAL_BYTES.load(Ordering::Relaxed) / stores).min(STORE_BYTES.load(Ordering::Relaxed));
    role.part(share).max(SMALLEST_SHARE) / 1024
}

/// Counts one open store for as long as it lives.
pub(crate) struct Ticket(());

impl Ticket {
    pub(crate) fn take() -> Self {
        OPEN_STORES.fetch_add(1, Ordering::Relaxed);
        Self(())
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        OPEN_STORES.fetch_sub(1, Ordering::Relaxed);
    }
}
