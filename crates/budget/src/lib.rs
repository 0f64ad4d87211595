//! One budget of memory for the page caches of a process, shared by the open stores of every engine.
//!
//! An engine asks what it may have now whenever it is about to take more. What it cannot give back while a store is open it
//! reserves, and then the others share what is left.

#![deny(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering};

const MEBIBYTE: u64 = 1024 * 1024;

static TOTAL_BYTES: AtomicU64 = AtomicU64::new(256 * MEBIBYTE);
static STORE_BYTES: AtomicU64 = AtomicU64::new(64 * MEBIBYTE);
/// Of redb: no other engine reserves.
static RESERVED_BYTES: AtomicU64 = AtomicU64::new(0);
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
    (shared_bytes() / stores).min(STORE_BYTES.load(Ordering::Relaxed))
}

/// What the stores of an engine may have now, all together: what they reserved, and as large a part of the rest as they are of all
/// stores.
pub fn of_engine(engine: Engine) -> u64 {
    let own = counter(engine).load(Ordering::Relaxed).max(1);
    let shared = u128::from(shared_bytes());
    let part = shared * u128::from(own) / u128::from(open_stores().max(1).max(own));
    let reserved = match engine {
        Engine::Sqlite => 0,
        Engine::Redb => reserved_bytes(),
    };
    let most = STORE_BYTES.load(Ordering::Relaxed).saturating_mul(own);
    u64::try_from(part)
        .unwrap_or(u64::MAX)
        .saturating_add(reserved)
        .min(most)
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

/// What is reserved now, by all stores together.
pub fn reserved_bytes() -> u64 {
    RESERVED_BYTES.load(Ordering::Relaxed)
}

/// Memory that a store of [`Engine::Redb`] cannot give back while it is open.
#[derive(Debug)]
pub struct Reserved(u64);

impl Reserved {
    /// Reserves what `bytes_for` makes of the bytes that are reserved already.
    pub fn take(bytes_for: impl Fn(u64) -> u64) -> Self {
        let before = RESERVED_BYTES.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |reserved| {
            Some(reserved.saturating_add(bytes_for(reserved)))
        });
        Self(bytes_for(before.unwrap_or_else(|reserved| reserved)))
    }

    /// How much it is.
    pub const fn bytes(&self) -> u64 {
        self.0
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        RESERVED_BYTES.fetch_sub(self.0, Ordering::Relaxed);
    }
}

fn shared_bytes() -> u64 {
    TOTAL_BYTES.load(Ordering::Relaxed).saturating_sub(reserved_bytes())
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
        let reserved = Reserved::take(|before| before + 16 * MEBIBYTE);
        assert_eq!(
            of_engine(Engine::Redb),
            (18 + 16) * MEBIBYTE,
            "what is reserved is within redb's part"
        );
        assert_eq!(
            of_engine(Engine::Sqlite),
            30 * MEBIBYTE,
            "and the others share what is left"
        );
        assert_eq!(of_store(), 6 * MEBIBYTE);
        drop(reserved);
        assert_eq!(of_engine(Engine::Sqlite), 40 * MEBIBYTE);
        drop((redb, sqlite));
        assert_eq!(of_engine(Engine::Redb), 32 * MEBIBYTE);
        assert_eq!(open_stores_of(Engine::Redb), 0);
        set(u64::MAX, u64::MAX);
        let _one = Ticket::take(Engine::Sqlite);
        assert_eq!(of_engine(Engine::Sqlite), u64::MAX, "no sum overflows");
    }
}
