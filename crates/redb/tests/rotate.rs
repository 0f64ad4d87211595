//! Sealed databases under another key: what is carried, what stays damaged, and what stops it.

#![allow(clippy::panic, reason = "tests say what they expect by panicking")]

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nimbus_crypto::{Dek, FileId};
use nimbus_redb::EngineError;
use nimbus_redb::engine::{CopyKey, Database, Durability, Encryption, Mode, Options, ResealJob, key_opens, reseal};
use nimbus_threads::Watch;

const OLD: FileId = FileId([1; 16]);
const NEW: FileId = FileId([2; 16]);
const ROWS: u32 = 3_000;
/// The superblock twice, and the ring.
const DATA_START: usize = 2 + 512;
const BLOCK: usize = 4096;

struct Home {
    directory: tempfile::TempDir,
    old: Arc<Dek>,
    new: Arc<Dek>,
}

impl Home {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().expect("temporary directory"),
            old: Arc::new(Dek::generate().expect("randomness")),
            new: Arc::new(Dek::generate().expect("randomness")),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn old_key(&self) -> CopyKey {
        key(&self.old, OLD, 1)
    }

    fn new_key(&self) -> CopyKey {
        key(&self.new, NEW, 2)
    }

    fn database(path: &Path, mode: Mode, key: &CopyKey) -> Database {
        Database::open(&Options {
            path: path.to_owned(),
            mode,
            encryption: Some(Encryption {
                dek: &key.dek,
                file_id: key.file_id,
                dek_generation: key.dek_generation,
            }),
            cache_bytes: 1 << 20,
        })
        .expect("open")
    }

    /// Rows, and pages that were freed again.
    fn filled(&self, path: &Path) -> Database {
        let database = Self::database(path, Mode::Create, &self.old_key());
        for round in 0..3 {
            let transaction = database.begin(Durability::Immediate).expect("begin");
            {
                let mut table = transaction.table("rows").expect("table");
                for row in 0..ROWS {
                    table.put(&row.to_be_bytes(), &value(row, round)).expect("put");
                }
            }
            transaction.commit().expect("commit");
        }
        database
    }

    fn reseal(&self, source: &Path, target: &Path) -> Result<(), EngineError> {
        self.watched(source, target, &Watch::new(|_| {}))
    }

    fn watched(&self, source: &Path, target: &Path, watch: &Watch) -> Result<(), EngineError> {
        let job = ResealJob {
            source: source.to_owned(),
            source_key: self.old_key(),
            target: target.to_owned(),
            target_key: self.new_key(),
        };
        reseal(&job, watch)
    }

    /// Every row is there; the damaged free pages.
    fn checked(path: &Path, key: &CopyKey) -> Vec<u32> {
        let mut database = Self::database(path, Mode::Open, key);
        for row in 0..ROWS {
            let found = database.get("rows", &row.to_be_bytes()).expect("get");
            assert_eq!(found, Some(value(row, 2)), "row {row}");
        }
        let integrity = database.check_integrity().expect("check");
        assert!(integrity.sound);
        database.close().expect("close");
        integrity.damaged_free_pages
    }
}

fn key(dek: &Arc<Dek>, file_id: FileId, dek_generation: u64) -> CopyKey {
    CopyKey {
        dek: Arc::clone(dek),
        file_id,
        dek_generation,
    }
}

fn value(row: u32, round: u8) -> Vec<u8> {
    vec![u8::try_from(row % 251).expect("below 256") ^ round; 300]
}

#[test]
fn every_row_is_under_the_new_key_no_block_is_as_it_was_and_the_source_is_only_read() {
    let home = Home::new();
    let (source, target) = (home.path("source"), home.path("target"));
    home.filled(&source).close().expect("close");
    let before = std::fs::read(&source).expect("source");
    home.reseal(&source, &target).expect("reseal");
    assert_eq!(std::fs::read(&source).expect("source"), before);
    let after = std::fs::read(&target).expect("target");
    let same = (before.chunks(BLOCK).zip(after.chunks(BLOCK)))
        .filter(|(old, new)| old == new && old.iter().any(|&byte| byte != 0))
        .count();
    assert_eq!(same, 0);
    assert_eq!(std::fs::metadata(&target).expect("target").mode() & 0o777, 0o600);
    assert_eq!(Home::checked(&target, &home.new_key()), []);
    assert_eq!(Home::checked(&source, &home.old_key()), []);
}

#[test]
fn pages_that_were_never_written_take_no_space() {
    let home = Home::new();
    let (source, target) = (home.path("source"), home.path("target"));
    home.filled(&source).close().expect("close");
    home.reseal(&source, &target).expect("reseal");
    let of = |path: &Path| std::fs::metadata(path).expect("metadata");
    let (old, new) = (of(&source), of(&target));
    assert_eq!(new.len(), old.len());
    assert!(old.blocks() * 512 < old.len(), "the source has no holes: {old:?}");
    assert!(
        new.blocks() <= old.blocks() + 64,
        "{} blocks were {}",
        new.blocks(),
        old.blocks()
    );
}

#[test]
fn a_source_that_was_not_closed_keeps_its_last_commit() {
    let home = Home::new();
    let (living, source, target) = (home.path("living"), home.path("source"), home.path("target"));
    let database = home.filled(&living);
    std::fs::copy(&living, &source).expect("as a crash leaves it");
    drop(database);
    home.reseal(&source, &target).expect("reseal");
    assert_eq!(Home::checked(&target, &home.new_key()), []);
}

#[test]
fn a_damaged_free_page_is_carried_as_one_and_a_damaged_page_in_use_stops_it() {
    let home = Home::new();
    let source = home.path("source");
    home.filled(&source).close().expect("close");
    let whole = std::fs::read(&source).expect("source");
    let (mut stopped, mut carried) = (0, 0);
    for block in (DATA_START + 1..whole.len() / BLOCK).step_by(7) {
        let is_meta = (block - DATA_START).is_multiple_of(129);
        if is_meta || whole[block * BLOCK..(block + 1) * BLOCK].iter().all(|&byte| byte == 0) {
            continue;
        }
        let page = u32::try_from((block - DATA_START) / 129 * 128 + (block - DATA_START) % 129 - 1).expect("a page");
        let mut damaged = whole.clone();
        damaged[block * BLOCK + 100] ^= 1;
        let (bad, target) = (home.path("bad"), home.path("target"));
        std::fs::write(&bad, damaged).expect("write");
        match home.reseal(&bad, &target) {
            Err(EngineError::Corrupt { path, .. }) => {
                assert_eq!(path, bad);
                assert!(!target.exists());
                stopped += 1;
            }
            Ok(()) => {
                // redb may have taken it for something else meanwhile, which heals it.
                let damaged = Home::checked(&target, &home.new_key());
                assert!(damaged.is_empty() || damaged == [page], "{damaged:?}");
                carried += damaged.len();
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(stopped > 0 && carried > 0, "{stopped} stopped, {carried} carried");
}

#[test]
fn what_an_attempt_before_left_is_replaced_and_one_that_is_told_to_stop_leaves_nothing() {
    let home = Home::new();
    let (source, target) = (home.path("source"), home.path("target"));
    home.filled(&source).close().expect("close");
    std::fs::write(&target, b"half of an attempt before").expect("write");
    home.reseal(&source, &target).expect("reseal");
    Home::checked(&target, &home.new_key());
    let watch = Watch::new(|_| {});
    watch.cancel();
    let outcome = home.watched(&source, &target, &watch);
    assert!(matches!(outcome, Err(EngineError::Interrupted { .. })), "{outcome:?}");
    assert!(!target.exists());
}

#[test]
fn a_file_says_which_of_two_keys_it_is_under() {
    let home = Home::new();
    let (source, target) = (home.path("source"), home.path("target"));
    home.filled(&source).close().expect("close");
    home.reseal(&source, &target).expect("reseal");
    for every_page in [false, true] {
        let opens = |path: &Path, key: &CopyKey| key_opens(path, key, every_page).expect("it is told");
        assert!(opens(&source, &home.old_key()) && opens(&target, &home.new_key()));
        assert!(!opens(&source, &home.new_key()) && !opens(&target, &home.old_key()));
        assert!(!opens(&target, &key(&home.old, NEW, 2)), "the id alone is no key");
    }
    std::fs::write(&target, b"").expect("write");
    let outcome = key_opens(&target, &home.new_key(), false);
    assert!(matches!(outcome, Err(EngineError::Corrupt { .. })), "{outcome:?}");
}
