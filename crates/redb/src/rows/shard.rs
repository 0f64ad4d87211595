//! A part of the rows, under a lock of its own: who goes when there is no room.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering};

/// About what the map, the queue and the allocator take besides the bytes of a row.
const OVERHEAD: usize = 72;

static KEPT_BYTES: AtomicUsize = AtomicUsize::new(0);

/// What the rows of all stores take.
pub(crate) fn kept_bytes() -> u64 {
    KEPT_BYTES.load(Ordering::Relaxed) as u64
}

/// Rows by the hash of store, table and key. Of two with one hash the later stays; which one it is, its name says.
#[derive(Default)]
pub(super) struct Shard {
    rows: HashMap<u64, Row, BuildHasherDefault<Hashed>>,
    /// Each row at least once, in the order in which they go: one that was used since it last had its turn gets another.
    queue: VecDeque<u64>,
    bytes: usize,
}

/// Store, table and key, and the value behind them.
pub(super) struct Row {
    bytes: Box<[u8]>,
    name_bytes: usize,
    recently_used: bool,
}

impl Row {
    pub(super) fn new(prefix: &[u8], key: &[u8], value: &[u8]) -> Self {
        Self {
            bytes: [prefix, key, value].concat().into_boxed_slice(),
            name_bytes: prefix.len() + key.len(),
            recently_used: false,
        }
    }

    fn is_of(&self, prefix: &[u8], key: &[u8]) -> bool {
        self.bytes
            .get(..self.name_bytes)
            .and_then(|name| name.strip_prefix(prefix))
            == Some(key)
    }

    fn value(&self) -> &[u8] {
        self.bytes.get(self.name_bytes..).unwrap_or_default()
    }

    fn cost(&self) -> usize {
        self.bytes.len() + OVERHEAD
    }
}

impl Shard {
    /// The value of the row with this name, which is recently used then.
    pub(super) fn find(&mut self, hash: u64, prefix: &[u8], key: &[u8]) -> Option<&[u8]> {
        let row = self.rows.get_mut(&hash).filter(|row| row.is_of(prefix, key))?;
        row.recently_used = true;
        Some(row.value())
    }

    pub(super) fn keep(&mut self, hash: u64, row: Row, capacity: usize) {
        self.remove(hash);
        let Some(others) = capacity.checked_sub(row.cost()) else {
            return;
        };
        self.shrink_to(others);
        if self.queue.len() > 2 * self.rows.len() + 16 {
            // What was removed is in it still.
            self.queue = self.rows.keys().copied().collect();
        }
        self.queue.push_back(hash);
        self.bytes += row.cost();
        KEPT_BYTES.fetch_add(row.cost(), Ordering::Relaxed);
        self.rows.insert(hash, row);
    }

    pub(super) fn remove(&mut self, hash: u64) {
        if let Some(row) = self.rows.remove(&hash) {
            self.bytes -= row.cost();
            KEPT_BYTES.fetch_sub(row.cost(), Ordering::Relaxed);
        }
    }

    pub(super) fn remove_store(&mut self, store: u64) {
        let gone: Vec<u64> = self
            .rows
            .iter()
            .filter(|(_, row)| row.bytes.starts_with(&store.to_le_bytes()))
            .map(|(&hash, _)| hash)
            .collect();
        for hash in gone {
            self.remove(hash);
        }
        self.give_room_back();
    }

    /// Map and queue of rows that are gone.
    pub(super) fn give_room_back(&mut self) {
        let rows = self.rows.len();
        if self.rows.capacity() > 4 * rows + 16 {
            self.rows.shrink_to(2 * rows);
            self.queue = self.rows.keys().copied().collect();
        }
    }

    pub(super) fn shrink_to(&mut self, bytes: usize) {
        while self.bytes > bytes {
            let Some(hash) = self.queue.pop_front() else { return };
            match self.rows.get_mut(&hash) {
                Some(row) if row.recently_used => {
                    row.recently_used = false;
                    self.queue.push_back(hash);
                }
                Some(_) => self.remove(hash),
                None => {}
            }
        }
    }
}

/// Hands on what is a hash already.
#[derive(Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0 << 8 | u64::from(byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(key: &[u8]) -> Row {
        Row::new(b"prefix", key, &[7; 100])
    }

    #[test]
    fn what_is_used_stays_and_bytes_and_queue_are_bounded() {
        let mut shard = Shard::default();
        let capacity = 8 * row(b"k").cost();
        for hash in 0..1000 {
            shard.keep(hash, row(b"k"), capacity);
            if let Some(row) = shard.rows.get_mut(&0) {
                row.recently_used = true;
            }
            assert!(shard.bytes <= capacity);
        }
        assert!(
            shard.rows.contains_key(&0) && shard.rows.contains_key(&999),
            "used, and new"
        );
        assert_eq!(shard.rows.len(), 8);
        for _ in 0..1000 {
            shard.remove(999);
            shard.keep(999, row(b"k"), capacity);
        }
        assert!(shard.queue.len() <= 2 * shard.rows.len() + 17);
        shard.shrink_to(0);
        assert_eq!((shard.rows.len(), shard.bytes), (0, 0), "each row is in the queue");
        shard.keep(1, row(b"k"), capacity);
        shard.keep(2, row(&[0; 1000]), row(b"k").cost());
        assert!(
            shard.rows.len() == 1 && shard.rows.contains_key(&1),
            "what is larger than all of it is not kept, and drives nothing out"
        );
    }
}
