//! Files of this version of the format, which every later version must open; and a second reader, which knows nothing
//! but the document.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test says what it expects by panicking"
)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use nimbus_redb::engine::{Direction, Durability, Encryption, Limit, Mode, Options};
use nimbus_redb::sealed::Sound;
use nimbus_redb::{Database, SealedFile, Tuning};
use nimbus_test_support::{Rng, SimDisk, fixed_dek};
use support::independent::{fixed_dek_bytes, read};
use support::{FILE, Pairs};

/// Rings of 30 blocks and no page carried; rings of 512.
const FILES: [&str; 4] = [
    "closed-v2.redb",
    "killed-v2.redb",
    "closed-v2-long-ring.redb",
    "killed-v2-long-ring.redb",
];

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn open(path: &Path, mode: Mode) -> Database {
    Database::open(&Options {
        path: path.to_owned(),
        mode,
        encryption: Some(Encryption {
            dek: &fixed_dek(),
            file_id: FILE,
            dek_generation: 1,
        }),
        cache_bytes: 1 << 20,
    })
    .unwrap()
}

fn pairs() -> Pairs {
    let mut rng = Rng::new(2);
    let mut pairs = Pairs::new();
    for number in 0..40_u64 {
        let length = rng.index(400);
        pairs.insert(number.to_be_bytes().to_vec(), rng.bytes(length));
    }
    pairs.insert(b"long".to_vec(), rng.bytes(10_000));
    pairs
}

fn write(database: &Database) {
    let transaction = database.begin(Durability::Immediate).unwrap();
    let mut table = transaction.table("golden").unwrap();
    for (key, value) in pairs() {
        table.put(&key, &value).unwrap();
    }
    drop(table);
    transaction.commit().unwrap();
}

fn contents(database: &Database) -> Pairs {
    let table = database.snapshot().unwrap().table("golden").unwrap().expect("there");
    let everything = (std::ops::Bound::Unbounded, std::ops::Bound::Unbounded);
    let limit = Limit {
        pairs: usize::MAX,
        bytes: usize::MAX,
    };
    let batch = table.range(everything, Direction::Ascending, limit).unwrap();
    batch.pairs.into_iter().collect()
}

/// Makes the golden files anew: for a new version of the format, beside the old ones, never in their place.
#[test]
#[ignore = "writes the files that the other tests read"]
fn make() {
    let path = golden("closed-v2-long-ring.redb");
    fs::create_dir_all(golden("")).unwrap();
    let database = open(&path, Mode::Create);
    write(&database);
    fs::copy(&path, golden("killed-v2-long-ring.redb")).unwrap();
    database.close().unwrap();
    fs::remove_file(golden("closed-v2-long-ring.redb.nimbus-lock")).unwrap();
}

#[test]
fn the_files_of_version_2_open() {
    for name in FILES {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(name);
        fs::copy(golden(name), &path).unwrap();
        let mut database = open(&path, Mode::Open);
        assert!(contents(&database) == pairs(), "{name}");
        assert!(database.check_integrity().unwrap().sound);
        write(&database);
        database.close().unwrap();
        assert!(contents(&open(&path, Mode::Open)) == pairs(), "{name}, written again");
    }
}

#[test]
fn a_reader_made_from_the_document_reads_the_same_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("new.redb");
    let database = open(&path, Mode::Create);
    write(&database);
    database.close().unwrap();
    for path in FILES.map(golden).into_iter().chain([path]) {
        let image = fs::read(&path).unwrap();
        let logical = read(&image, &fixed_dek_bytes());
        let ours =
            SealedFile::<_, Sound>::open(SimDisk::holding(image), FILE, &fixed_dek(), Tuning::default()).unwrap();
        let mut bytes = vec![0; usize::try_from(ours.len()).unwrap()];
        ours.read(0, &mut bytes).unwrap();
        assert!(bytes == logical, "{}", path.display());
        // Another program's redb file, byte for byte.
        let plain = directory.path().join("plain.redb");
        fs::write(&plain, &logical).unwrap();
        let database = Database::open(&Options {
            path: plain.clone(),
            mode: Mode::Open,
            encryption: None,
            cache_bytes: 1 << 20,
        })
        .unwrap();
        assert!(contents(&database) == pairs());
        drop(database);
        fs::remove_file(plain).unwrap();
    }
}
