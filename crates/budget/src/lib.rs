//! One budget of memory for the page caches of a process, shared by the open stores of every engine.
//!
//! Nothing is reserved: an engine asks what it may have now whenever it is about to take more.

#![deny(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering};

const MEBIBYTE: u64 = 1024 * 1024;

static TOTAL_BYTES: AtomicU64 = AtomicU64::new(256 * MEBIBYTE);
static STORE_BYTES: AtomicU64 = AtomicU64::new(64 * MEBIBYTE);
static OPEN_STORES: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];

/// Whose pages they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// Each connection has a cache of its own.
    Sqlite,
    /// Sealed files share one cache.
    Redb,
}

/// Sets the budget of all open stores together and the most that one may have, in bytes. Defaults: 256 MiB and 64 MiB.
pub fn set(total_bytes: u64, store_bytes: u64) {
    TOTAL_BYTES.store(total_bytes, Ordering::Relaxed);
    STORE_BYTES.store(store_bytes, Ordering::Relaxed);
}

/// What one store may have now. It halves each time the number of open stores doubles, so that it rarely changes.
pub fn of_store() -> u64 {
    let stores = open_stores().max(1).next_power_of_two();
    (TOTAL_BYTES.load(Ordering::Relaxed) / stores).min(STORE_BYTES.load(Ordering::Relaxed))
}

/// What the stores of an engine may have now, all together: as large a part of the whole as they are of all stores.
pub fn of_engine(engine: Engine) -> u64 {
    let own = counter(engine).load(Ordering::Relaxed).max(1);
    let total = u128::from(TOTAL_BYTES.load(Ordering::Relaxed));
    let part = total * u128::from(own) / u128::from(open_stores().max(1).max(own));
    let most = STORE_BYTES.load(Ordering::Relaxed).saturating_mul(own);
    u64::try_from(part).unwrap_or(u64::MAX).min(most)
}

/// How many stores of an engine are open.
pub fn open_stores_of(engine: Engine) -> u64 {
    counter(engine).load(Ordering::Relaxed)
}

/// Counts one open store for as long as it lives.
#[derive(Debug)]
pub struct Ticket(Engine);

impl Ticket {
    /// Counts a store of `engine`.
    #[must_use]
    pub fn take(engine: Engine) -> Self {
        counter(engine).fetch_add(1, Ordering::Relaxed);
        Self(engine)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        counter(self.0).fetch_sub(1, Ordering::Relaxed);
    }
}

fn open_stores() -> u64 {
    OPEN_STORES.iter().map(|count| count.load(Ordering::Relaxed)).sum()
}

const fn counter(engine: Engine) -> &'static AtomicU64 {
    let [sqlite, redb] = &OPEN_STORES;
    match engine {
        Engine::Sqlite => sqlite,
        Engine::Redb => redb,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One test: the budget is the process's.
    #[test]
    fn stores_share_the_budget_by_their_number_whatever_their_engine() {
        set(64 * MEBIBYTE, 32 * MEBIBYTE);
        assert_eq!(of_store(), 32 * MEBIBYTE, "one store has no more than one may have");
        let redb = [(); 3].map(|()| Ticket::take(Engine::Redb));
        assert_eq!(of_engine(Engine::Redb), 64 * MEBIBYTE);
        assert_eq!(of_store(), 16 * MEBIBYTE);
        let sqlite = [(); 5].map(|()| Ticket::take(Engine::Sqlite));
        assert_eq!(of_store(), 8 * MEBIBYTE);
        assert_eq!(of_engine(Engine::Redb), 24 * MEBIBYTE);
        assert_eq!(of_engine(Engine::Sqlite), 40 * MEBIBYTE);
        assert_eq!(open_stores_of(Engine::Redb), 3);
        drop((redb, sqlite));
        assert_eq!(of_engine(Engine::Redb), 32 * MEBIBYTE);
        assert_eq!(open_stores_of(Engine::Redb), 0);
        set(u64::MAX, u64::MAX);
        let _one = Ticket::take(Engine::Sqlite);
        assert_eq!(of_engine(Engine::Sqlite), u64::MAX, "no sum overflows");
    }
}
