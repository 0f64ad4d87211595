//! A rollback journal is played back only if it is the file's own: SQLite would write a foreign one over the file.

#![allow(clippy::indexing_slicing, reason = "tests say what they expect by panicking")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nimbus_sqlite::{Connection, Mode, OpenOptions, Profile, StoreError, Value, key_opens, rekey};
use nimbus_threads::Watch;
use support::{Client, PAGE_BYTES, SEALED, contents, fill, options, reopened, run, text_of};
use tempfile::TempDir;

const ROWS: i64 = 6;
// "Database File Format", section 3.
const MAGIC: [u8; 8] = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];
const DATABASE_PAGES_AT: usize = 16;
const SECTOR: usize = 512;
const RECORD: usize = PAGE_BYTES + 8;

fn journal_of(path: &Path) -> PathBuf {
    path.with_extension("sqlite3-journal")
}

/// A file whose change was interrupted: pages of the change in it, what they replaced in the journal.
struct Interrupted {
    directory: TempDir,
    creating: OpenOptions,
    whole: Vec<u8>,
    data: Vec<u8>,
    journal: Vec<u8>,
}

impl Interrupted {
    fn make(profile: Profile) -> Self {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("whole.sqlite3");
        let creating = options(&path, Some(profile), Mode::Create);
        fill(&mut Connection::open(&creating).expect("create"), ROWS);
        let connection = keyed_by_hand(&creating, profile);
        connection
            .execute_batch(
                "PRAGMA journal_mode = DELETE; PRAGMA cache_size = 4; BEGIN; UPDATE big SET body = body || 'new'",
            )
            .expect("a change that does not fit the cache");
        let (data, journal) = (
            fs::read(&path).expect("data"),
            fs::read(journal_of(&path)).expect("journal"),
        );
        connection.execute_batch("ROLLBACK").expect("rollback");
        drop(connection);
        let whole = fs::read(&path).expect("data");
        assert!(data != whole && journal.len() > 20 * RECORD && journal.starts_with(&MAGIC));
        Self {
            directory,
            creating,
            whole,
            data,
            journal,
        }
    }

    fn with(&self, data: &[u8], journal: &[u8]) -> OpenOptions {
        let path = self.directory.path().join("restored.sqlite3");
        fs::write(&path, data).expect("data");
        fs::write(journal_of(&path), journal).expect("journal");
        reopened(&self.creating, path)
    }

    /// Both beside the file in the middle of its change and beside the whole file.
    fn assert_refused(&self, journal: &[u8], what: &str) {
        for data in [&self.data, &self.whole] {
            let options = self.with(data, journal);
            let before = contents(&options.path);
            for _ in 0..2 {
                let error = Connection::open(&options).err();
                assert!(
                    matches!(&error, Some(StoreError::Foreign { path }) if *path == journal_of(&options.path)),
                    "{what}: {error:?}"
                );
                assert!(
                    contents(&options.path) == before,
                    "{what}: nothing is written or removed"
                );
            }
        }
    }
}

/// As any other SQLCipher opens it.
fn keyed_by_hand(options: &OpenOptions, profile: Profile) -> rusqlite::Connection {
    let connection = rusqlite::Connection::open(&options.path).expect("open");
    let encryption = options.encryption.as_ref().expect("encrypted");
    encryption.key.expose_hex_with_salt(|text| {
        let text = std::str::from_utf8(text).expect("hex");
        connection
            .execute_batch(&format!("PRAGMA key = \"{text}\""))
            .expect("key");
    });
    if profile == Profile::Sqlcipher4Sha256 {
        connection
            .execute_batch("PRAGMA cipher_hmac_algorithm = HMAC_SHA256")
            .expect("algorithm");
    }
    connection
}

fn assert_whole(options: &OpenOptions) {
    let mut connection = Connection::open(options).expect("open");
    let rows = run(&mut connection, "SELECT body FROM big ORDER BY id", &[]).expect("rows");
    let expected: Vec<Vec<Value>> = (1..=ROWS).map(|id| vec![Value::Text(text_of(id))]).collect();
    assert_eq!(rows, expected);
}

#[test]
fn a_change_that_was_interrupted_is_rolled_back() {
    for profile in SEALED {
        let interrupted = Interrupted::make(profile);
        assert_whole(&interrupted.with(&interrupted.data, &interrupted.journal));
        // A crash before the change began to reach the file.
        let mut unsynced = interrupted.journal.clone();
        unsynced[8..12].fill(0);
        assert_whole(&interrupted.with(&interrupted.whole, &unsynced));
    }
}

#[test]
fn a_store_over_a_file_in_another_journal_mode_leaves_no_log() {
    for profile in SEALED {
        let interrupted = Interrupted::make(profile);
        let options = interrupted.with(&interrupted.data, &interrupted.journal);
        let mut client = Client::open(&options).expect("open");
        let count = client.store.get("SELECT count(*) FROM big", &[]).expect("read");
        assert_eq!(count, Some(vec![Value::Integer(ROWS)]));
        client.close();
        assert!(contents(&options.path).keys().eq([&options.path]));
    }
}

#[test]
fn a_journal_that_was_finished_or_never_begun_is_passed_over() {
    for profile in SEALED {
        let interrupted = Interrupted::make(profile);
        let mut finished = interrupted.journal.clone();
        finished[..28].fill(0);
        for journal in [&[][..], &finished, &[7; 3000], &MAGIC] {
            assert_whole(&interrupted.with(&interrupted.whole, journal));
        }
    }
}

#[test]
fn another_files_journal_is_refused() {
    for profile in SEALED {
        let interrupted = Interrupted::make(profile);
        let foreign = Interrupted::make(profile);
        interrupted.assert_refused(&foreign.journal, "another key");
    }
}

#[test]
fn a_change_of_any_record_is_refused() {
    for profile in SEALED {
        let interrupted = Interrupted::make(profile);
        let synced = u32::from_be_bytes(interrupted.journal[8..12].try_into().expect("four bytes")) as usize;
        assert!(synced > 0, "the first records were synced");
        for record in 0..synced {
            let start = SECTOR + record * RECORD;
            // The checksum covers every 200th byte, and none of these.
            for place in [
                start + 3,
                start + 4 + 301,
                start + 4 + PAGE_BYTES - 70,
                start + 4 + PAGE_BYTES - 1,
            ] {
                let mut altered = interrupted.journal.clone();
                altered[place] ^= 0x20;
                if altered[start..start + 4] != interrupted.journal[start..start + 4] {
                    // Within the size of the database, or SQLite would pass over it.
                    altered[start..start + 4].copy_from_slice(&7_u32.to_be_bytes());
                    if altered[start..start + 4] == interrupted.journal[start..start + 4] {
                        continue;
                    }
                }
                interrupted.assert_refused(&altered, &format!("record {record}, byte {place}"));
            }
        }
    }
}

#[test]
fn while_a_change_of_the_key_is_pending_only_a_journal_under_the_key_before_is_played_back() {
    let watch = Arc::new(Watch::new(|_| {}));
    for profile in SEALED {
        let interrupted = Interrupted::make(profile);
        let current = interrupted.creating.encryption.clone().expect("encrypted");
        let next = options(Path::new("nowhere"), Some(profile), Mode::Open);
        let next = next.encryption.expect("encrypted");
        let opens = |path: &Path, key| key_opens(path, key, &current, true, &watch);
        let foreign = Interrupted::make(profile).journal;
        let mut altered = interrupted.journal.clone();
        altered[SECTOR + 4 + 301] ^= 0x20;
        let mut cutting = interrupted.journal.clone();
        cutting[DATABASE_PAGES_AT..DATABASE_PAGES_AT + 4].copy_from_slice(&5_u32.to_be_bytes());
        for journal in [&foreign, &altered, &cutting] {
            for data in [&interrupted.data, &interrupted.whole] {
                let planted = interrupted.with(data, journal);
                let before = contents(&planted.path);
                for key in [&next, &current] {
                    let outcome = opens(&planted.path, key);
                    assert!(matches!(outcome, Err(StoreError::Foreign { .. })), "{outcome:?}");
                    let outcome = rekey(&planted.path, &current, &next, &watch);
                    assert!(matches!(outcome, Err(StoreError::Foreign { .. })), "{outcome:?}");
                    assert!(contents(&planted.path) == before, "nothing is written or removed");
                }
            }
        }
        let own = interrupted.with(&interrupted.data, &interrupted.journal);
        assert!(!opens(&own.path, &next).expect("it is told"));
        assert!(!journal_of(&own.path).exists(), "it was played back");
        assert!(opens(&own.path, &current).expect("it is told"));
        assert_whole(&own);
    }
}

#[test]
fn a_journal_that_would_cut_the_file_is_refused_with_or_without_records() {
    for profile in SEALED {
        let interrupted = Interrupted::make(profile);
        for pages in [0_u32, 1, 5] {
            let mut shorter = interrupted.journal.clone();
            shorter[DATABASE_PAGES_AT..DATABASE_PAGES_AT + 4].copy_from_slice(&pages.to_be_bytes());
            interrupted.assert_refused(&shorter, "fewer pages");
            let mut header = shorter[..SECTOR].to_vec();
            header[8..12].fill(0);
            let options = interrupted.with(&interrupted.whole, &header);
            let before = contents(&options.path);
            assert!(matches!(Connection::open(&options), Err(StoreError::Foreign { .. })));
            assert!(contents(&options.path) == before);
        }
    }
}

#[test]
fn a_journal_that_names_another_file_is_refused_and_that_file_stays() {
    for profile in SEALED {
        let interrupted = Interrupted::make(profile);
        let victim = interrupted.directory.path().join("victim");
        fs::write(&victim, "precious").expect("victim");
        let name = victim.to_string_lossy().into_owned().into_bytes();
        let mut naming = interrupted.journal.clone();
        naming.resize(naming.len().next_multiple_of(SECTOR), 0);
        naming.extend_from_slice(&0x4_0001_u32.to_be_bytes());
        naming.extend_from_slice(&name);
        let name_bytes = u32::try_from(name.len()).expect("short");
        naming.extend_from_slice(&name_bytes.to_be_bytes());
        naming.extend_from_slice(&name.iter().map(|&byte| u32::from(byte)).sum::<u32>().to_be_bytes());
        naming.extend_from_slice(&MAGIC);
        interrupted.assert_refused(&naming, "a name");
        assert_eq!(fs::read_to_string(&victim).expect("victim"), "precious");
    }
}
