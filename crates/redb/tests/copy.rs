//! Plain databases into sealed files and back: every page, whatever tables it belongs to.

#![allow(clippy::panic, reason = "tests say what they expect by panicking")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use nimbus_crypto::{Dek, FileId};
use nimbus_redb::EngineError;
use nimbus_redb::engine::{CopyJob, CopyKey, copy_database};
use nimbus_threads::Watch;
use redb::{MultimapTableDefinition, ReadableDatabase, ReadableTable, TableDefinition};

const WORDS: TableDefinition<&str, &[u8]> = TableDefinition::new("words");
const NUMBERS: TableDefinition<u64, (i64, bool)> = TableDefinition::new("numbers");
const MANY: MultimapTableDefinition<&str, u32> = MultimapTableDefinition::new("many");

struct Home {
    directory: tempfile::TempDir,
    dek: Arc<Dek>,
}

impl Home {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().expect("temporary directory"),
            dek: Arc::new(Dek::generate().expect("randomness")),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn key(&self) -> Option<CopyKey> {
        Some(CopyKey {
            dek: Arc::clone(&self.dek),
            file_id: FileId([7; 16]),
            dek_generation: 3,
        })
    }

    fn migrate(&self, source: &Path, target: &Path) -> Result<(), EngineError> {
        copy(source, None, target, self.key())
    }

    fn export(&self, source: &Path, target: &Path) -> Result<(), EngineError> {
        copy(source, self.key(), target, None)
    }
}

fn copy(
    source: &Path,
    source_key: Option<CopyKey>,
    target: &Path,
    target_key: Option<CopyKey>,
) -> Result<(), EngineError> {
    let job = CopyJob {
        source: source.to_owned(),
        source_key,
        target: target.to_owned(),
        target_key,
        validate: true,
    };
    copy_database(&job, &Watch::new(|_| {}))
}

fn fill(path: &Path) -> redb::Database {
    let database = redb::Database::create(path).expect("create");
    for round in 0..3_u64 {
        let transaction = database.begin_write().expect("begin");
        {
            let mut words = transaction.open_table(WORDS).expect("table");
            words.insert("zeros", vec![0; 300_000].as_slice()).expect("insert");
            words.insert("word", [round as u8; 9_000].as_slice()).expect("insert");
            let mut numbers = transaction.open_table(NUMBERS).expect("table");
            for number in 0..2_000 {
                numbers.insert(number, (-1, number % 2 == round)).expect("insert");
            }
            let mut many = transaction.open_multimap_table(MANY).expect("table");
            for value in 0..1_000 {
                many.insert("all", value).expect("insert");
            }
        }
        transaction.commit().expect("commit");
    }
    database
}

fn contents(path: &Path) -> (Vec<u8>, Vec<(u64, i64, bool)>, Vec<u32>) {
    let database = redb::Database::open(path).expect("open");
    let transaction = database.begin_read().expect("begin");
    let words = transaction.open_table(WORDS).expect("table");
    let mut bytes = Vec::new();
    for entry in words.iter().expect("iterate") {
        let (key, value) = entry.expect("entry");
        bytes.extend_from_slice(key.value().as_bytes());
        bytes.extend_from_slice(value.value());
    }
    let numbers = transaction.open_table(NUMBERS).expect("table");
    let numbers = numbers.iter().expect("iterate").map(|entry| {
        let (key, value) = entry.expect("entry");
        (key.value(), value.value().0, value.value().1)
    });
    let many = transaction.open_multimap_table(MANY).expect("table");
    let many = many
        .get("all")
        .expect("values")
        .map(|value| value.expect("value").value());
    (bytes, numbers.collect(), many.collect())
}

#[test]
fn tables_and_multimaps_of_any_type_survive_the_way_there_and_back_and_the_source_is_only_read() {
    let home = Home::new();
    let (source, sealed, back) = (home.path("source"), home.path("sealed"), home.path("back"));
    drop(fill(&source));
    let before = std::fs::read(&source).expect("source");
    home.migrate(&source, &sealed).expect("migrate");
    assert_eq!(std::fs::read(&source).expect("source"), before);
    let ciphertext = std::fs::read(&sealed).expect("sealed");
    assert!(ciphertext.starts_with(b"NMBSRDB2"));
    assert!(
        !ciphertext.windows(8).any(|window| window == [2; 8]),
        "a value in the clear"
    );
    home.export(&sealed, &back).expect("export");
    assert_eq!(contents(&back), contents(&source));
    assert!(!home.path("sealed.creating").exists());
}

#[test]
fn a_source_that_was_not_closed_is_recovered_first() {
    let home = Home::new();
    let (living, source) = (home.path("living"), home.path("source"));
    let database = fill(&living);
    std::fs::copy(&living, &source).expect("as a crash leaves it");
    drop(database);
    let sealed = home.path("sealed");
    home.migrate(&source, &sealed).expect("migrate");
    let back = home.path("back");
    home.export(&sealed, &back).expect("export");
    assert_eq!(contents(&back), contents(&living));
}

#[test]
fn a_source_that_somebody_has_open_is_busy() {
    let home = Home::new();
    let source = home.path("source");
    let _database = fill(&source);
    let outcome = home.migrate(&source, &home.path("sealed"));
    assert!(matches!(outcome, Err(EngineError::Busy { .. })), "{outcome:?}");
    assert!(!home.path("sealed").exists());
}

#[test]
fn a_damaged_page_that_is_used_stops_an_export_and_a_migration() {
    let home = Home::new();
    let (source, sealed) = (home.path("source"), home.path("sealed"));
    drop(fill(&source));
    home.migrate(&source, &sealed).expect("migrate");
    let mut stopped = 0;
    let whole = std::fs::read(&sealed).expect("sealed");
    for block in (33..whole.len() / 4096).step_by(29) {
        let mut damaged = whole.clone();
        damaged[block * 4096 + 100] ^= 1;
        let (bad, out) = (home.path(&format!("bad-{block}")), home.path(&format!("out-{block}")));
        std::fs::write(&bad, damaged).expect("write");
        match home.export(&bad, &out) {
            Err(EngineError::Corrupt { .. }) => {
                assert!(!out.exists() && !home.path(&format!("out-{block}.creating")).exists());
                stopped += 1;
            }
            // A free page: redb does not miss it.
            Ok(()) => assert_eq!(contents(&out), contents(&source)),
            other => panic!("{other:?}"),
        }
    }
    assert!(stopped > 0, "no page that is used was met");
    let mut plain = std::fs::read(&source).expect("source");
    let at = plain
        .windows(9_000)
        .position(|window| window == [2; 9_000])
        .expect("the value");
    plain[at + 50] ^= 1;
    std::fs::write(&source, plain).expect("write");
    let outcome = home.migrate(&source, &home.path("again"));
    assert!(matches!(outcome, Err(EngineError::Corrupt { .. })), "{outcome:?}");
}

#[test]
fn a_copy_that_is_told_to_stop_leaves_nothing() {
    let home = Home::new();
    let source = home.path("source");
    drop(fill(&source));
    let job = CopyJob {
        source,
        source_key: None,
        target: home.path("target"),
        target_key: home.key(),
        validate: true,
    };
    let watch = Watch::new(|_| {});
    watch.cancel();
    let outcome = copy_database(&job, &watch);
    assert!(matches!(outcome, Err(EngineError::Interrupted { .. })), "{outcome:?}");
    assert!(!home.path("target").exists() && !home.path("target.creating").exists());
}
