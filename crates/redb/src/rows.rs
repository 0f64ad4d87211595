//! Values that were read lately, of every store of the process, in one cache under the budget. What a get of a random key costs is
//! waiting for memory, in redb's walk some ten times (docs/benchmarks.md); found here, it takes two thirds of the time.
//!
//! # Why no get is stale
//!
//! Each store has an epoch, which its one writer makes odd before a transaction may be published, and even again when the keys that it
//! changed are out of the cache and readers are told to begin a new view ([`Rows::change`]). A reader notes the epoch first; where it is
//! odd, the cache is not asked. What it then reads of the last commit it keeps here only if, under the lock of the key's shard, the
//! epoch is still the same.
//!
//! - *What is kept at an even epoch is of its commit.* The view that was read is that of the noted epoch: had a later commit been
//!   published before it was begun, the epoch would have been odd before, and no longer the same under the lock. It goes out if a later
//!   commit changes it: the writer takes that same lock. If the reader had it first, the writer finds the value and removes it; if the
//!   writer had it first, the reader sees under it that the epoch is odd.
//! - *A get that begins after an answer, or after anybody saw the new state, sees it.* Both happen after the epoch became odd. As long
//!   as it is, nothing here is read; when it is even, what the commit changed is gone.
//! - *A get during a commit* that noted the epoch before may find the old value: then it began before the answer, and comes before the
//!   commit.
//!
//! "Before" is by locks: a state that is read comes from redb under the mutex under which the commit published it, or with the number of
//! a view, which is stored after the epoch became odd; writers, of whatever thread, follow each other by the lock of their queue.
//!
//! A commit that failed, so that it is not known what the file holds, leaves the epoch odd until one succeeds or everything that was
//! kept is let go: redb says then what a read is. Closing marks it for good. Snapshots never look here.

mod shard;

use std::collections::hash_map::DefaultHasher;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

pub(crate) use self::shard::kept_bytes;
use self::shard::{Row, Shard};
use crate::sealed::pages;

/// Locks, so that readers of different keys rarely meet.
const SHARDS: usize = 64;
/// A longer value costs more to copy than redb's walk to it.
const LONGEST_VALUE: usize = 16 * 1024;
/// Rows may have one part in so many of what redb and the meta blocks leave; what they do not take, sealed pages have.
const PART: u64 = 2;
/// In an epoch: the store is closed.
const CLOSED: u64 = 1 << 63;

/// What of one store may be read and kept here.
pub(crate) struct Rows {
    store: u64,
    epoch: AtomicU64,
    /// Whether any row was kept since everything was taken out: whoever closes a store that has none need not look through those of
    /// all others.
    may_have_any: AtomicBool,
}

/// The rows of one table.
pub(crate) struct TableRows {
    rows: Arc<Rows>,
    /// What the names of its rows begin with.
    prefix: Vec<u8>,
    /// Has seen the prefix.
    hasher: DefaultHasher,
}

/// Where a row is, if it is here, and the state that a reader of it began with.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    hash: u64,
    epoch: u64,
}

impl Rows {
    pub(crate) fn new() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Self {
            store: LAST.fetch_add(1, Ordering::Relaxed),
            epoch: AtomicU64::new(0),
            may_have_any: AtomicBool::new(false),
        }
    }

    pub(crate) fn of_table(self: &Arc<Self>, table: &str) -> TableRows {
        let prefix = self.prefix(table);
        let mut hasher = HASHERS.build_hasher();
        hasher.write(&prefix);
        TableRows {
            rows: Arc::clone(self),
            prefix,
            hasher,
        }
    }

    /// Something is about to be committed. By the writer alone, as [`Self::remove`] and [`Self::end`].
    pub(crate) fn change(&self) {
        self.epoch.fetch_or(1, Ordering::SeqCst);
    }

    /// Nothing is read here any more, nor kept. By anybody.
    pub(crate) fn close(&self) {
        self.epoch.fetch_or(CLOSED, Ordering::SeqCst);
    }

    /// Takes out what the commit changed.
    pub(crate) fn remove<'k>(&self, keys: impl Iterator<Item = (&'k str, &'k [u8])>) {
        let mut known: Option<(&str, DefaultHasher)> = None;
        for (table, key) in keys {
            let mut hasher = match &known {
                Some((name, hasher)) if *name == table => hasher.clone(),
                _ => {
                    let mut hasher = HASHERS.build_hasher();
                    hasher.write(&self.prefix(table));
                    known = Some((table, hasher.clone()));
                    hasher
                }
            };
            hasher.write(key);
            let hash = hasher.finish();
            lock(shard_of(hash)).remove(hash);
        }
    }

    /// Takes out everything, after [`Self::change`] or [`Self::close`].
    pub(crate) fn clear(&self) {
        // Whoever keeps a row says so before it looks at the epoch: in the one order of all four, it has seen that the epoch is not
        // its own any more, or is seen here.
        if !self.may_have_any.swap(false, Ordering::SeqCst) {
            return;
        }
        for shard in &*CACHE {
            lock(shard).remove_store(self.store);
        }
    }

    /// The commit is what readers begin with, and what it changed is out. Without this, nothing is read here.
    pub(crate) fn end(&self) {
        if self.epoch.load(Ordering::Relaxed) % 2 == 1 {
            self.epoch.fetch_add(1, Ordering::AcqRel);
        }
    }

    fn prefix(&self, table: &str) -> Vec<u8> {
        let length = table.len() as u64;
        [&self.store.to_le_bytes(), &length.to_le_bytes(), table.as_bytes()].concat()
    }
}

impl TableRows {
    /// Before anything of the state is read.
    pub(crate) fn place(&self, key: &[u8]) -> Place {
        let mut hasher = self.hasher.clone();
        hasher.write(key);
        Place {
            hash: hasher.finish(),
            epoch: self.rows.epoch.load(Ordering::Acquire),
        }
    }

    /// What `look` makes of the value of `key`; `look` itself if the value is not here.
    pub(crate) fn find<R, L: FnOnce(&[u8]) -> R>(&self, place: Place, key: &[u8], look: L) -> Result<R, L> {
        if !place.is_settled() {
            return Err(look);
        }
        match lock(shard_of(place.hash)).find(place.hash, &self.prefix, key) {
            Some(value) => Ok(look(value)),
            None => Err(look),
        }
    }

    /// Keeps what was read since `place`, unless something was committed in between.
    pub(crate) fn keep(&self, place: Place, key: &[u8], value: &[u8]) {
        if !place.is_settled() || value.len() > LONGEST_VALUE {
            return;
        }
        let row = Row::new(&self.prefix, key, value);
        let capacity = capacity_of_shard();
        let mut shard = lock(shard_of(place.hash));
        self.rows.may_have_any.store(true, Ordering::SeqCst);
        if self.rows.epoch.load(Ordering::SeqCst) == place.epoch {
            shard.keep(place.hash, row, capacity);
        }
        drop(shard);
        pages::give_way(place.hash);
    }
}

impl Drop for Rows {
    fn drop(&mut self) {
        self.close();
        self.clear();
    }
}

impl Place {
    /// Whether nothing was being committed, and the store open.
    const fn is_settled(self) -> bool {
        self.epoch.is_multiple_of(2) && self.epoch & CLOSED == 0
    }
}

/// Gives back what the budget allows no more.
pub(crate) fn follow_budget() {
    let capacity = capacity_of_shard();
    for shard in &*CACHE {
        let mut shard = lock(shard);
        shard.shrink_to(capacity);
        shard.give_room_back();
    }
}

fn capacity_of_shard() -> usize {
    usize::try_from(pages::shared_bytes() / PART / SHARDS as u64).unwrap_or(usize::MAX)
}

static HASHERS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
static CACHE: LazyLock<[Mutex<Shard>; SHARDS]> = LazyLock::new(|| std::array::from_fn(|_| Mutex::default()));

/// By bits that the map within the shard does not go by.
fn shard_of(hash: u64) -> &'static Mutex<Shard> {
    let shard = usize::try_from((hash >> 40) % SHARDS as u64).expect("below the number of shards");
    CACHE.get(shard).expect("a remainder is below its divisor")
}

/// A panic under a lock leaves a row whole or not there.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_found_by_its_whole_name_and_goes_with_its_store() {
        let (one, other) = (Arc::new(Rows::new()), Arc::new(Rows::new()));
        let (table, like) = (one.of_table("ab"), one.of_table("a"));
        let same_elsewhere = other.of_table("ab");
        let find = |rows: &TableRows, key: &[u8]| rows.find(rows.place(key), key, <[u8]>::to_vec).ok();
        for rows in [&table, &same_elsewhere] {
            rows.keep(rows.place(b"key"), b"key", &rows.rows.store.to_le_bytes());
        }
        assert_eq!(find(&table, b"key"), Some(one.store.to_le_bytes().to_vec()));
        assert_eq!(find(&like, b"bkey"), None);
        // As if both had one hash.
        let place = table.place(b"key");
        assert!(table.find(place, b"kez", <[u8]>::len).is_err());
        assert!(like.find(place, b"bkey", <[u8]>::len).is_err());
        one.clear();
        assert_eq!(find(&table, b"key"), None);
        assert!(find(&same_elsewhere, b"key").is_some());
        drop((table, like, one));
        same_elsewhere.rows.remove([("ab", &b"key"[..])].into_iter());
        assert_eq!(find(&same_elsewhere, b"key"), None);
    }

    #[test]
    fn nothing_is_found_or_kept_while_a_commit_is_under_way_nor_kept_across_one() {
        let rows = Arc::new(Rows::new());
        let table = rows.of_table("t");
        let is_here = || table.find(table.place(b"key"), b"key", <[u8]>::len).is_ok();
        let before = table.place(b"key");
        table.keep(before, b"key", b"old");
        assert!(is_here());
        rows.change();
        assert!(!is_here());
        rows.remove([("t", &b"key"[..])].into_iter());
        table.keep(before, b"key", b"old");
        table.keep(table.place(b"key"), b"key", b"old");
        rows.end();
        assert!(!is_here());
        table.keep(before, b"key", b"old");
        assert!(!is_here(), "what was read before the commit");
        table.keep(table.place(b"key"), b"key", b"new");
        assert!(is_here());
        rows.end();
        assert!(is_here(), "ending twice changes nothing");
    }
}
