//! The key-value engine, sealed and plain, through its public API.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test says what it expects by panicking"
)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::ops::Bound;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use nimbus_crypto::{Dek, FileId};
use nimbus_redb::engine::{Batch, Direction, Durability, Encryption, Limit, Mode, Options};
use nimbus_redb::{Database, EngineError};
use nimbus_test_support::{Rng, fixed_dek};
use support::FILE;

const ALL: Limit = Limit {
    pairs: usize::MAX,
    bytes: usize::MAX,
};
const EVERYTHING: (Bound<&[u8]>, Bound<&[u8]>) = (Bound::Unbounded, Bound::Unbounded);

fn open_with(path: &Path, mode: Mode, dek: Option<&Dek>, file_id: FileId) -> Result<Database, EngineError> {
    Database::open(&Options {
        path: path.to_owned(),
        mode,
        encryption: dek.map(|dek| Encryption {
            dek,
            file_id,
            dek_generation: 1,
        }),
        cache_bytes: 256 << 10,
    })
}

fn open(path: &Path, mode: Mode, sealed: bool) -> Result<Database, EngineError> {
    open_with(path, mode, sealed.then(fixed_dek).as_ref(), FILE)
}

type Tables = BTreeMap<String, BTreeMap<Vec<u8>, Vec<u8>>>;

/// Every table, read in small batches from both ends.
fn contents(database: &Database) -> Tables {
    let snapshot = database.snapshot().unwrap();
    let mut tables = Tables::new();
    for name in snapshot.tables().unwrap() {
        let table = snapshot.table(&name).unwrap().expect("listed");
        let limit = Limit { pairs: 7, bytes: 9000 };
        let mut ascending = Vec::new();
        let mut after: Option<Vec<u8>> = None;
        loop {
            let start = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            let batch = table
                .range((start, Bound::Unbounded), Direction::Ascending, limit)
                .unwrap();
            after = batch.pairs.last().map(|(key, _)| key.clone());
            ascending.extend(batch.pairs);
            if !batch.has_more {
                break;
            }
        }
        let mut descending = table.range(EVERYTHING, Direction::Descending, ALL).unwrap().pairs;
        descending.reverse();
        assert_eq!(ascending, descending);
        tables.insert(name, ascending.into_iter().collect());
    }
    tables
}

#[test]
fn any_sequence_of_operations_does_what_a_map_would() {
    for (sealed, seed) in [(true, 1), (false, 1), (true, 2), (false, 2)] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("model.redb");
        let mut database = open(&path, Mode::Create, sealed).unwrap();
        let mut rng = Rng::new(seed);
        let mut model = Tables::new();
        let mut savepoints: Vec<(u64, Tables)> = Vec::new();
        for _ in 0..150 {
            let durability = if rng.once_in(3) {
                Durability::Eventual
            } else {
                Durability::Immediate
            };
            let mut changed = model.clone();
            let transaction = database.begin(durability).unwrap();
            for _ in 0..=rng.below(3) {
                let name = format!("table {}", rng.below(3));
                if rng.once_in(30) {
                    assert_eq!(
                        transaction.delete_table(&name).unwrap(),
                        changed.remove(&name).is_some()
                    );
                    continue;
                }
                let mut table = transaction.table(&name).unwrap();
                let expected = changed.entry(name).or_default();
                for _ in 0..rng.below(30) {
                    let key_length = rng.index(4);
                    let key: Vec<u8> = rng.bytes(key_length).into_iter().map(|byte| byte & 7).collect();
                    assert_eq!(table.get(&key).unwrap().as_ref(), expected.get(&key));
                    if rng.once_in(3) {
                        assert_eq!(table.delete(&key).unwrap(), expected.remove(&key).is_some());
                    } else {
                        let long = if rng.once_in(60) { 200_000 } else { 300 };
                        let length = rng.index(long);
                        let value = rng.bytes(length);
                        table.put(&key, &value).unwrap();
                        expected.insert(key, value);
                    }
                }
                let pairs = table.range(EVERYTHING, Direction::Ascending, ALL).unwrap().pairs;
                assert!(pairs.iter().map(|(key, value)| (key, value)).eq(expected.iter()));
            }
            let before = database.snapshot().unwrap();
            if rng.once_in(6) {
                transaction.abort().unwrap();
            } else {
                transaction.commit().unwrap();
                let names: Vec<String> = model.keys().cloned().collect();
                assert_eq!(before.tables().unwrap(), names, "a snapshot does not change");
                model = changed;
            }
            drop(before);
            assert!(contents(&database) == model);
            match rng.below(20) {
                0 | 1 => {
                    database.close().unwrap();
                    database = open(&path, Mode::Open, sealed).unwrap();
                }
                2 if savepoints.is_empty() => {
                    database.compact().unwrap();
                }
                3 => {
                    let integrity = database.check_integrity().unwrap();
                    assert!(integrity.sound);
                    assert_eq!(integrity.damaged_free_pages, Vec::<u32>::new());
                }
                4 => {
                    let transaction = database.begin(Durability::Immediate).unwrap();
                    savepoints.push((transaction.create_savepoint().unwrap(), model.clone()));
                    transaction.commit().unwrap();
                }
                5 if !savepoints.is_empty() => {
                    let (savepoint, state) = savepoints.swap_remove(rng.index(savepoints.len()));
                    let mut transaction = database.begin(Durability::Immediate).unwrap();
                    transaction.restore_savepoint(savepoint).unwrap();
                    assert!(transaction.delete_savepoint(savepoint).unwrap());
                    let left = transaction.savepoints().unwrap();
                    transaction.commit().unwrap();
                    savepoints.retain(|(savepoint, _)| left.contains(savepoint));
                    model = state;
                    assert!(contents(&database) == model);
                }
                _ => {}
            }
        }
        database.close().unwrap();
        assert!(contents(&open(&path, Mode::Open, sealed).unwrap()) == model);
    }
}

#[test]
fn a_range_has_the_bounds_that_were_asked_for() {
    for sealed in [true, false] {
        let directory = tempfile::tempdir().unwrap();
        let database = open(&directory.path().join("x.redb"), Mode::Create, sealed).unwrap();
        let transaction = database.begin(Durability::Immediate).unwrap();
        let mut table = transaction.table("t").unwrap();
        for key in 0..10 {
            table.put(&[key], &[key; 10]).unwrap();
        }
        drop(table);
        transaction.commit().unwrap();
        let table = database.snapshot().unwrap().table("t").unwrap().unwrap();
        let keys = |bounds, direction, limit| {
            let Batch { pairs, has_more } = table.range(bounds, direction, limit).unwrap();
            (pairs.iter().map(|(key, _)| key[0]).collect::<Vec<_>>(), has_more)
        };
        let three = Limit { pairs: 3, ..ALL };
        let (included, excluded) = (Bound::Included(&[2_u8][..]), Bound::Excluded(&[7_u8][..]));
        assert_eq!(
            keys((included, excluded), Direction::Ascending, ALL),
            (vec![2, 3, 4, 5, 6], false)
        );
        assert_eq!(
            keys((included, excluded), Direction::Ascending, three),
            (vec![2, 3, 4], true)
        );
        assert_eq!(
            keys((included, excluded), Direction::Descending, three),
            (vec![6, 5, 4], true)
        );
        assert_eq!(
            keys((excluded, Bound::Unbounded), Direction::Ascending, ALL),
            (vec![8, 9], false)
        );
        assert_eq!(keys((excluded, included), Direction::Ascending, ALL), (vec![], false));
        assert_eq!(keys((excluded, excluded), Direction::Descending, ALL), (vec![], false));
        assert!(!keys(EVERYTHING, Direction::Ascending, Limit { pairs: 10, ..ALL }).1);
        assert_eq!(
            keys(EVERYTHING, Direction::Ascending, Limit { bytes: 12, ..ALL }),
            (vec![0, 1], true)
        );
    }
}

#[test]
fn a_file_that_cannot_be_opened_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let dek = fixed_dek();
    drop(open(&at("sealed"), Mode::Create, true).unwrap());
    drop(open(&at("plain"), Mode::Create, false).unwrap());
    fs::write(at("empty"), b"").unwrap();
    fs::write(at("text"), b"this is not a database, whatever its name says").unwrap();

    assert!(matches!(
        open(&at("none"), Mode::Open, true),
        Err(EngineError::Missing { .. })
    ));
    assert!(matches!(
        open(&at("none"), Mode::Open, false),
        Err(EngineError::Missing { .. })
    ));
    assert!(matches!(
        open(&at("sealed"), Mode::Create, true),
        Err(EngineError::Exists { .. })
    ));
    assert!(matches!(
        open(&at("plain"), Mode::Open, true),
        Err(EngineError::NotSealed { .. })
    ));
    assert!(matches!(
        open(&at("sealed"), Mode::Open, false),
        Err(EngineError::Sealed { .. })
    ));
    for name in ["empty", "text"] {
        for sealed in [true, false] {
            let opened = open(&at(name), Mode::Open, sealed);
            assert!(
                matches!(opened, Err(EngineError::Corrupt { .. })),
                "{name}, sealed: {sealed}"
            );
        }
        assert!(fs::read(at(name)).unwrap().len() < 100, "it was left as it was");
    }
    let other_key = Dek::generate().unwrap();
    let wrong = open_with(&at("sealed"), Mode::Open, Some(&other_key), FILE);
    assert!(matches!(wrong, Err(EngineError::WrongKey { .. })));
    let other = open_with(&at("sealed"), Mode::Open, Some(&dek), FileId([3; 16]));
    assert!(matches!(other, Err(EngineError::OtherFile { found: FILE, .. })));
    let _held = open(&at("sealed"), Mode::Open, true).unwrap();
    match open(&at("sealed"), Mode::Open, true) {
        Err(EngineError::Busy { pid, path, .. }) => {
            assert_eq!((pid, path), (Some(std::process::id()), at("sealed")));
        }
        other => panic!("expected busy, got {:?}", other.err()),
    }
}

#[test]
fn a_creation_that_was_cut_short_leaves_nothing_under_the_name_and_is_made_again() {
    for sealed in [true, false] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.redb");
        fs::write(directory.path().join("x.redb.creating"), b"half of something").unwrap();
        assert!(matches!(
            open(&path, Mode::Open, sealed),
            Err(EngineError::Missing { .. })
        ));
        drop(open(&path, Mode::Create, sealed).unwrap());
        assert!(!directory.path().join("x.redb.creating").exists());
        drop(open(&path, Mode::Open, sealed).unwrap());
    }
}

#[test]
fn nothing_that_is_put_in_can_be_found_in_a_sealed_file() {
    let directory = tempfile::tempdir().unwrap();
    for sealed in [true, false] {
        let path = directory.path().join(format!("{sealed}.redb"));
        let database = open(&path, Mode::Create, sealed).unwrap();
        let transaction = database.begin(Durability::Immediate).unwrap();
        transaction
            .table("name of a table")
            .unwrap()
            .put(b"some key", b"some value")
            .unwrap();
        transaction.commit().unwrap();
        database.close().unwrap();
        let bytes = fs::read(&path).unwrap();
        for needle in [&b"some value"[..], b"some key", b"name of a table", b"redb"] {
            let found = bytes.windows(needle.len()).any(|window| window == needle);
            assert_eq!(found, !sealed, "{}", String::from_utf8_lossy(needle));
        }
    }
}

#[test]
fn a_database_tells_its_epoch_its_id_and_its_size() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.redb");
    let database = open(&path, Mode::Create, true).unwrap();
    let before = database.stats().unwrap();
    let transaction = database.begin(Durability::Immediate).unwrap();
    transaction.table("t").unwrap().put(b"key", &vec![1; 100_000]).unwrap();
    transaction.commit().unwrap();
    let after = database.stats().unwrap();
    let (before, sealed) = (before.sealed.unwrap(), after.sealed.unwrap());
    assert_eq!(sealed.file_id, FILE);
    assert!(sealed.epoch > before.epoch && !sealed.rolled_back);
    assert_eq!(after.pages * 4096, sealed.logical_bytes);
    assert_eq!(after.file_bytes, fs::metadata(&path).unwrap().len());
}

#[test]
fn readers_see_whole_commits_while_a_writer_works_in_a_small_cache() {
    let directory = tempfile::tempdir().unwrap();
    let database = open(&directory.path().join("x.redb"), Mode::Create, true).unwrap();
    let write = |round: u8| {
        let transaction = database.begin(Durability::Eventual).unwrap();
        let mut table = transaction.table("t").unwrap();
        for key in 0..300_u16 {
            table.put(&key.to_be_bytes(), &[round; 2000]).unwrap();
        }
        drop(table);
        transaction.commit().unwrap();
    };
    write(0);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut last = 0;
                while !done.load(Ordering::Relaxed) {
                    let table = database.snapshot().unwrap().table("t").unwrap().unwrap();
                    let pairs = table.range(EVERYTHING, Direction::Ascending, ALL).unwrap().pairs;
                    assert_eq!(pairs.len(), 300);
                    let round = pairs[0].1[0];
                    assert!(pairs.iter().all(|(_, value)| value.iter().all(|&byte| byte == round)));
                    assert!(round >= last, "commits are seen in order");
                    last = round;
                }
            });
        }
        for round in 1..60 {
            write(round);
        }
        done.store(true, Ordering::Relaxed);
    });
}
