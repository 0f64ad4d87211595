//! Damage that comes while a store is open: what still works, and what never happens to the file.

#![allow(clippy::indexing_slicing, reason = "tests say what they expect by panicking")]

mod support;

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use nimbus_sqlite::{Connection, Mode, OpenOptions, Profile, StepResult, StoreError, Value};
use support::wal::{FRAME_HEADER, frame_at, frames_of, log_of, mend, page_number};
use support::{Client, PAGE_BYTES, SEALED, contents, fill, options, reopened, step, text_of};
use tempfile::TempDir;

const ROWS: i64 = 6;
/// The row whose pages are damaged.
const HIT: i64 = 7;
const ADDED: i64 = 99;

/// A file as a killed process leaves it: rows 1 to 6 in the data file; row 7, and then a row 99, in the log.
struct Killed {
    _directory: TempDir,
    options: OpenOptions,
    /// A frame of row 7.
    frame: usize,
}

impl Killed {
    fn make(profile: Option<Profile>) -> Self {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("whole.sqlite3");
        let creating = options(&path, profile, Mode::Create);
        fill(&mut Connection::open(&creating).expect("create"), ROWS);
        let mut client = Client::open(&reopened(&creating, path.clone())).expect("open");
        let row = vec![Value::Integer(HIT), Value::Text(text_of(HIT))];
        client
            .write(vec![step("INSERT INTO big VALUES (?, ?)", row)])
            .expect("insert");
        let log = fs::read(log_of(&path)).expect("log");
        // It lies at the end of the database.
        let frame = (0..frames_of(&log))
            .max_by_key(|&frame| page_number(&log, frame))
            .expect("frames");
        write(&mut client, "INSERT INTO big VALUES (?, 'added')", ADDED).expect("insert");
        let killed = directory.path().join("killed.sqlite3");
        fs::copy(&path, &killed).expect("data");
        fs::copy(log_of(&path), log_of(&killed)).expect("log");
        client.close();
        Self {
            _directory: directory,
            options: reopened(&creating, killed),
            frame,
        }
    }

    fn log(&self) -> Vec<u8> {
        fs::read(log_of(&self.options.path)).expect("log")
    }

    /// Flips a bit of a frame of row 7 under the open store; the log as it was.
    fn damage(&self, mend_checksums: bool) -> Vec<u8> {
        let whole = self.log();
        let mut damaged = whole.clone();
        damaged[frame_at(self.frame) + FRAME_HEADER + 300] ^= 1;
        if mend_checksums {
            mend(&mut damaged);
        }
        overwrite(&log_of(&self.options.path), &damaged);
        whole
    }
}

/// In place, as a disk would: SQLite has the file open.
fn overwrite(path: &Path, bytes: &[u8]) {
    let file = fs::OpenOptions::new().write(true).open(path).expect("open");
    file.write_all_at(bytes, 0).expect("write");
}

fn write(client: &mut Client, sql: &str, id: i64) -> Result<Vec<StepResult>, StoreError> {
    client.write(vec![step(sql, vec![Value::Integer(id)])])
}

fn read(client: &Client, id: i64) -> Result<Option<String>, StoreError> {
    let row = client
        .store
        .get("SELECT body FROM big WHERE id = ? LIMIT 1", &[Value::Integer(id)])?;
    Ok(row.map(|row| match &row[..] {
        [Value::Text(text)] => text.clone(),
        other => unreachable!("{other:?}"),
    }))
}

fn assert_whole(client: &Client) {
    for id in 1..=HIT {
        assert_eq!(read(client, id).expect("row"), Some(text_of(id)), "row {id}");
    }
    assert_eq!(read(client, ADDED).expect("row").as_deref(), Some("added"));
}

#[test]
fn a_frame_that_is_damaged_under_an_open_store_never_reaches_the_file() {
    for (profile, mend_checksums) in SEALED
        .into_iter()
        .flat_map(|profile| [(profile, false), (profile, true)])
    {
        let killed = Killed::make(Some(profile));
        let mut client = Client::open(&killed.options).expect("open");
        let whole = killed.damage(mend_checksums);
        let before = contents(&killed.options.path);
        let commits = client.store.stats().commits;
        for _ in 0..2 {
            assert!(matches!(read(&client, HIT), Err(StoreError::Corrupt { .. })));
            assert_eq!(read(&client, 1).expect("another row"), Some(text_of(1)));
            assert_eq!(read(&client, ADDED).expect("a later row").as_deref(), Some("added"));
            let scan = client.query("SELECT count(*) FROM big WHERE body <> ''");
            assert!(matches!(scan, Err(StoreError::Corrupt { .. })));
            for sql in ["UPDATE big SET body = 'y' WHERE id = ?", "DELETE FROM big WHERE id > ?"] {
                let refused = write(&mut client, sql, 1);
                assert!(matches!(&refused, Err(StoreError::Foreign { path }) if *path == log_of(&killed.options.path)));
            }
            assert!(matches!(client.checkpoint(), Err(StoreError::Foreign { .. })));
        }
        assert_eq!(client.store.stats().commits, commits, "what is refused is not counted");
        client.close();
        let mut after = contents(&killed.options.path);
        after.retain(|path, _| before.contains_key(path));
        assert!(after == before, "nothing is written or removed");
        if mend_checksums {
            let again = Client::open(&killed.options).err();
            assert!(matches!(again, Some(StoreError::Foreign { .. })), "{again:?}");
        }
        overwrite(&log_of(&killed.options.path), &whole);
        let mut recovered = Client::open(&killed.options).expect("a healthy log");
        assert_whole(&recovered);
        write(&mut recovered, "INSERT INTO big VALUES (?, 'more')", 100).expect("insert");
        recovered.close();
        assert!(!log_of(&killed.options.path).exists(), "folded");
        let client = Client::open(&killed.options).expect("open");
        assert_whole(&client);
    }
}

#[test]
fn a_writer_that_meets_a_torn_frame_does_not_take_the_later_transactions_with_it() {
    for profile in SEALED {
        let killed = Killed::make(Some(profile));
        let mut client = Client::open(&killed.options).expect("open");
        let whole = killed.damage(false);
        // The writer is the only connection, and it breaks: SQLite's recovery would end at the torn frame.
        let failed = write(&mut client, "UPDATE big SET body = body || 'z' WHERE id = ?", HIT);
        assert!(matches!(failed, Err(StoreError::Corrupt { .. })), "{failed:?}");
        let refused = write(&mut client, "DELETE FROM big WHERE id = ?", ADDED);
        assert!(matches!(refused, Err(StoreError::Foreign { .. })), "{refused:?}");
        assert_eq!(read(&client, ADDED).expect("a later row").as_deref(), Some("added"));
        overwrite(&log_of(&killed.options.path), &whole);
        assert_whole(&client);
        client.close();
        assert_whole(&Client::open(&killed.options).expect("open"));
    }
}

#[test]
fn a_log_that_is_cut_off_under_an_open_store_is_not_written_on() {
    for profile in SEALED {
        let killed = Killed::make(Some(profile));
        let mut client = Client::open(&killed.options).expect("open");
        let log = killed.log();
        let file = fs::OpenOptions::new()
            .write(true)
            .open(log_of(&killed.options.path))
            .expect("open");
        file.set_len(frame_at(killed.frame) as u64).expect("cut");
        assert!(read(&client, HIT).is_err());
        let refused = write(&mut client, "DELETE FROM big WHERE id = ?", 1);
        assert!(
            matches!(refused, Err(StoreError::Foreign { .. } | StoreError::Io { .. })),
            "{refused:?}"
        );
        client.close();
        overwrite(&log_of(&killed.options.path), &log);
        assert_whole(&Client::open(&killed.options).expect("open"));
    }
}

#[test]
fn a_damaged_page_of_the_data_file_does_not_keep_the_log_from_being_folded() {
    for profile in SEALED {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("whole.sqlite3");
        let creating = options(&path, Some(profile), Mode::Create);
        fill(&mut Connection::open(&creating).expect("create"), ROWS);
        let mut damaged = fs::read(&path).expect("data");
        // The last page belongs to the last row.
        let at = damaged.len() - PAGE_BYTES + 50;
        damaged[at] ^= 1;
        fs::write(&path, &damaged).expect("data");
        let opening = reopened(&creating, path.clone());
        let mut client = Client::open(&opening).expect("open");
        let (mut written, mut longest) = (0, 0);
        for id in 100..130 {
            assert!(matches!(read(&client, ROWS), Err(StoreError::Corrupt { .. })));
            write(&mut client, "INSERT INTO big VALUES (?, randomblob(400000))", id).expect("insert");
            written += 400_000;
            longest = longest.max(fs::metadata(log_of(&path)).expect("log").len());
        }
        assert!(longest < written / 2, "the log grew to {longest} bytes");
        client.checkpoint().expect("checkpoint");
        assert_eq!(fs::metadata(log_of(&path)).expect("log").len(), 0);
        // An empty log is as long as it should be.
        assert!(matches!(read(&client, ROWS), Err(StoreError::Corrupt { .. })));
        write(&mut client, "INSERT INTO big VALUES (?, 'added')", ADDED).expect("insert");
        client.close();
        assert!(!log_of(&path).exists(), "folded");
        let again = Client::open(&opening).expect("open");
        assert_eq!(read(&again, ADDED).expect("row").as_deref(), Some("added"));
        assert_eq!(read(&again, 1).expect("row"), Some(text_of(1)));
        assert!(
            matches!(read(&again, ROWS), Err(StoreError::Corrupt { .. })),
            "the page is as it was"
        );
    }
}
