//! Gets through the cache of rows, against what was written: no get is older than what was acknowledged, or seen, before it began.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test says what it expects by panicking"
)]

mod support;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use nimbus_redb::engine::{Durability, EngineError, Mode, Operations, Options, Store, TableReader, Task};
use support::client::{Client, client};

const TABLES: [&str; 2] = ["a", "b"];

/// xorshift32: the same in every run.
struct Random(u32);

impl Random {
    fn below(&mut self, bound: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0 % bound
    }
}

fn get(reader: &mut TableReader, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
    reader.get_with(key, <[u8]>::to_vec)
}

fn write(store: &Store, operations: Operations, random: &mut Random) {
    let durability = if random.below(4) == 0 {
        Durability::Immediate
    } else {
        Durability::Eventual
    };
    store.write_and_wait(operations, durability).unwrap();
}

#[test]
fn gets_are_those_of_a_map_whatever_is_written_dropped_checked_or_compacted() {
    for sealed in [true, false] {
        let client = client(sealed);
        let mut readers = TABLES.map(|table| client.store.reader(table));
        let mut model = BTreeMap::new();
        let mut random = Random(7);
        for step in 0..3000_u32 {
            match random.below(100) {
                0 => tasks(&client),
                1 => {
                    let table = random.below(2) as usize;
                    model.retain(|&(of, _), _| of != table);
                    write(
                        &client.store,
                        Operations::default().drop_table(TABLES[table]),
                        &mut random,
                    );
                }
                2..=20 => {
                    let mut operations = Operations::default();
                    for _ in 0..=random.below(4) {
                        let (table, key) = (random.below(2) as usize, random.below(40));
                        let name = key.to_be_bytes();
                        if random.below(4) == 0 {
                            operations = operations.delete(TABLES[table], &name);
                            model.remove(&(table, key));
                        } else {
                            let value = step.to_be_bytes().repeat(1 + random.below(300) as usize);
                            operations = operations.put(TABLES[table], &name, &value);
                            model.insert((table, key), value);
                        }
                    }
                    write(&client.store, operations, &mut random);
                }
                _ => {
                    let (table, key) = (random.below(2) as usize, random.below(40));
                    let found = get(&mut readers[table], &key.to_be_bytes()).unwrap();
                    assert_eq!(found.as_ref(), model.get(&(table, key)), "{step}: {table}, {key}");
                }
            }
        }
        client.close();
        for reader in &mut readers {
            for key in 0..40_u32 {
                let closed = get(reader, &key.to_be_bytes());
                assert!(matches!(closed, Err(EngineError::Closed { .. })), "{closed:?}");
            }
        }
    }
}

fn tasks(client: &Client) {
    for task in [Task::Check, Task::Compact] {
        client.store.run(0, task);
        client.wait().unwrap();
    }
}

/// The commit happens between the walk to the old value and the moment in which the reader would keep it. Nothing is kept yet, so the
/// closure runs under no lock of the cache.
#[test]
fn a_value_that_is_overwritten_while_it_is_read_is_not_kept() {
    let client = client(true);
    client.put(1, b"old").unwrap();
    let mut reader = client.store.reader("pairs");
    let key = 1_u32.to_be_bytes();
    let read = reader.get_with(&key, |value| {
        client.put(1, b"new").unwrap();
        value.to_vec()
    });
    assert_eq!(read.unwrap(), Some(b"old".to_vec()), "as of when the read began");
    for _ in 0..3 {
        assert_eq!(get(&mut reader, &key).unwrap(), Some(b"new".to_vec()));
    }
}

#[test]
fn another_store_has_rows_of_its_own() {
    let clients = [client(true), client(false)];
    let mut readers = clients.each_ref().map(|client| client.store.reader("pairs"));
    for (client, value) in clients.iter().zip([b"one", b"two"]) {
        client.put(1, value).unwrap();
    }
    for _ in 0..3 {
        let found = readers
            .each_mut()
            .map(|reader| get(reader, &1_u32.to_be_bytes()).unwrap().unwrap());
        assert_eq!(found, [b"one".to_vec(), b"two".to_vec()]);
    }
}

const KEYS: usize = 8;
const COMMITS: u32 = 3000;

/// Each key counts its writes; every fourth removes it. What is read lies between what was acknowledged or read by anybody before the
/// read began, and what was begun when it had ended.
#[test]
fn readers_on_other_threads_see_what_was_acknowledged_or_seen_by_others() {
    let client = client(true);
    let counters = || -> [AtomicU32; KEYS] { std::array::from_fn(|_| AtomicU32::new(0)) };
    let (begun, seen) = (counters(), counters());
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for seed in 1..=3 {
            let (begun, seen, over, store) = (&begun, &seen, &over, &client.store);
            scope.spawn(move || {
                let (mut reader, mut random) = (store.reader("t"), Random(seed));
                while !over.load(Ordering::Relaxed) {
                    let key = random.below(u32::try_from(KEYS).unwrap());
                    let (begun, seen) = (&begun[key as usize], &seen[key as usize]);
                    let least = seen.load(Ordering::SeqCst);
                    let found = get(&mut reader, &key.to_be_bytes()).unwrap();
                    let most = begun.load(Ordering::SeqCst);
                    if let Some(found) = found {
                        let version = u32::from_be_bytes(found[..4].try_into().unwrap());
                        assert!(
                            (least..=most).contains(&version),
                            "{version} is not in {least}..={most}"
                        );
                        seen.fetch_max(version, Ordering::SeqCst);
                    } else {
                        assert!(
                            (least..=most).any(|version| version % 4 == 0),
                            "no removal in {least}..={most}"
                        );
                    }
                }
            });
        }
        let mut random = Random(9);
        for _ in 0..COMMITS {
            let mut operations = Operations::default();
            let key = random.below(u32::try_from(KEYS).unwrap());
            let version = begun[key as usize].fetch_add(1, Ordering::SeqCst) + 1;
            operations = if version % 4 == 0 {
                operations.delete("t", &key.to_be_bytes())
            } else {
                operations.put("t", &key.to_be_bytes(), &version.to_be_bytes().repeat(50))
            };
            client.store.write_and_wait(operations, Durability::Eventual).unwrap();
            seen[key as usize].fetch_max(version, Ordering::SeqCst);
        }
        over.store(true, Ordering::Relaxed);
    });
}

/// What was asked for before is not done yet, since nobody takes the answer of the one before it.
#[test]
fn a_get_after_closing_was_asked_for_is_refused_whether_its_row_is_kept_or_not() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options {
        path: directory.path().join("open.redb"),
        mode: Mode::Create,
        encryption: None,
        cache_bytes: 0,
    };
    let gate = Arc::new(Mutex::new(()));
    let sink = {
        let gate = Arc::clone(&gate);
        Arc::new(move |_| drop(gate.lock().unwrap()))
    };
    let store = Store::open(&options, None, sink).unwrap();
    let put = |key: &[u8]| Operations::default().put("t", key, b"value");
    store.write_and_wait(put(b"kept"), Durability::Eventual).unwrap();
    let mut reader = store.reader("t");
    let held = gate.lock().unwrap();
    store.write(0, put(b"other"), Durability::Eventual);
    while get(&mut reader, b"other").unwrap().is_none() {
        thread::yield_now();
    }
    for _ in 0..100 {
        assert_eq!(get(&mut reader, b"kept").unwrap(), Some(b"value".to_vec()));
        thread::sleep(Duration::from_millis(1));
    }
    store.close(1);
    for key in [&b"kept"[..], b"never read"] {
        let refused = get(&mut reader, key);
        assert!(matches!(refused, Err(EngineError::Closed { .. })), "{refused:?}");
    }
    drop(held);
}
