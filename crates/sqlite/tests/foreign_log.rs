//! A log that was not written for its file is refused before a byte of it reaches the file.

#![allow(clippy::indexing_slicing, reason = "tests say what they expect by panicking")]

mod support;

use std::fs;

use nimbus_crypto::{Dek, FileId};
use nimbus_sqlite::{Connection, Mode, OpenOptions, Profile, StoreError, Value};
use support::wal::{FRAME, FRAME_HEADER, HEADER, frame_at, frames_of, log_of, mend, page_number, without_first_page};
use support::{PAGE_BYTES, SEALED, contents, fill, options, reopened, run, text_of};
use tempfile::TempDir;

const ROWS: i64 = 3;

/// A file as a killed process leaves it: its table in the data file, rows 1 to 3 in the log alone.
struct Killed {
    directory: TempDir,
    creating: OpenOptions,
    data: Vec<u8>,
    log: Vec<u8>,
}

impl Killed {
    fn make(profile: Profile) -> Self {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("whole.sqlite3");
        let creating = options(&path, Some(profile), Mode::Create);
        let mut connection = Connection::open(&creating).expect("create");
        fill(&mut connection, 0);
        run(&mut connection, "PRAGMA wal_checkpoint(TRUNCATE)", &[]).expect("checkpoint");
        for id in 1..=ROWS {
            insert(&mut connection, id);
        }
        let (data, log) = (fs::read(&path).expect("data"), fs::read(log_of(&path)).expect("log"));
        assert!(frames_of(&log) > 15, "{} frames", frames_of(&log));
        Self {
            directory,
            creating,
            data,
            log,
        }
    }

    /// Puts `log` beside the file, and says how to open the two.
    fn beside(&self, log: &[u8]) -> OpenOptions {
        let path = self.directory.path().join("restored.sqlite3");
        fs::write(&path, &self.data).expect("data");
        fs::write(log_of(&path), log).expect("log");
        reopened(&self.creating, path)
    }

    fn assert_refused(&self, log: &[u8], what: &str) {
        let options = self.beside(log);
        let before = contents(&options.path);
        for attempt in 0..2 {
            let error = Connection::open(&options).err();
            assert!(
                matches!(&error, Some(StoreError::Foreign { path }) if *path == log_of(&options.path)),
                "{what}, attempt {attempt}: {error:?}"
            );
            assert!(
                contents(&options.path) == before,
                "{what}: nothing is written or removed"
            );
        }
        fs::remove_file(log_of(&options.path)).expect("log");
        assert_eq!(ids(&options), [] as [i64; 0], "{what}: the file is whole");
    }
}

fn insert(connection: &mut Connection, id: i64) {
    let parameters = [Value::Integer(id), Value::Text(text_of(id))];
    run(connection, "INSERT INTO big VALUES (?, ?)", &parameters).expect("insert");
}

/// The rows of the file, each whole.
fn ids(options: &OpenOptions) -> Vec<i64> {
    let mut connection = Connection::open(options).expect("open");
    let rows = run(&mut connection, "SELECT id, body FROM big ORDER BY id", &[]).expect("rows");
    let id_of = |row: Vec<Value>| match &row[..] {
        [Value::Integer(id), Value::Text(text)] if *text == text_of(*id) => *id,
        other => unreachable!("{other:?}"),
    };
    rows.into_iter().map(id_of).collect()
}

#[test]
fn the_log_of_a_killed_process_gives_every_row_back() {
    for profile in SEALED {
        let killed = Killed::make(profile);
        assert_eq!(ids(&killed.beside(&killed.log)), [1, 2, 3]);
        // Left by a machine of the other byte order.
        let mut other_order = killed.log.clone();
        other_order[3] ^= 1;
        mend(&mut other_order);
        assert_eq!(ids(&killed.beside(&other_order)), [1, 2, 3]);
    }
}

#[test]
fn another_tenants_log_is_refused_even_if_it_spares_the_first_page() {
    for profile in SEALED {
        let killed = Killed::make(profile);
        let foreign = Killed::make(profile);
        killed.assert_refused(&foreign.log, "another key");
        killed.assert_refused(&without_first_page(&foreign.log), "another key, without page 1");
        let mut mixed = killed.log.clone();
        mixed.extend_from_slice(&without_first_page(&foreign.log)[HEADER..]);
        mend(&mut mixed);
        killed.assert_refused(&mixed, "foreign frames behind its own");
    }
}

#[test]
fn the_log_of_a_file_with_the_same_dek_and_another_id_is_refused() {
    let dek = Dek::generate().expect("randomness");
    for profile in SEALED {
        let directory = tempfile::tempdir().expect("directory");
        let [ours, theirs] = [*b"sixteen byte id!", *b"another file id."].map(|id| {
            let path = directory.path().join(format!("{}.sqlite3", id[0]));
            let encryption = nimbus_sqlite::Encryption {
                key: dek.sqlcipher_key(&FileId(id)),
                profile,
            };
            OpenOptions {
                path,
                mode: Mode::Create,
                exclusive: true,
                encryption: Some(encryption.into()),
            }
        });
        fill(&mut Connection::open(&ours).expect("create"), 1);
        let before = fs::read(&ours.path).expect("data");
        let mut connection = Connection::open(&theirs).expect("create");
        fill(&mut connection, 1);
        let log = without_first_page(&fs::read(log_of(&theirs.path)).expect("log"));
        fs::write(log_of(&ours.path), log).expect("log");
        let opening = reopened(&ours, ours.path.clone());
        assert!(matches!(Connection::open(&opening), Err(StoreError::Foreign { .. })));
        assert_eq!(fs::read(&ours.path).expect("data"), before);
    }
}

#[test]
fn a_change_of_any_frame_is_refused_with_its_checksums_mended() {
    for profile in SEALED {
        let killed = Killed::make(profile);
        let frames = frames_of(&killed.log);
        for frame in 0..frames {
            let page = frame_at(frame) + FRAME_HEADER;
            // The number of the page, its content, its IV, its MAC; and the salt that the first page begins with.
            let first_bytes = (page_number(&killed.log, frame) == 1).then_some(page);
            let mac_end = page + PAGE_BYTES - 1;
            let places = [frame_at(frame) + 3, page + 200, page + PAGE_BYTES - 80, mac_end];
            // All of them in a few frames, and one in each.
            let places = places.into_iter().chain(first_bytes);
            for (_, place) in places
                .enumerate()
                .filter(|(kind, _)| frame < 4 || (frame + kind) % 4 == 0)
            {
                let mut altered = killed.log.clone();
                altered[place] ^= 0x40;
                mend(&mut altered);
                killed.assert_refused(&altered, &format!("frame {frame}, byte {place}"));
            }
        }
    }
}

#[test]
fn a_transaction_that_names_a_smaller_database_does_not_cut_the_file() {
    for profile in SEALED {
        let killed = Killed::make(profile);
        let mut data = killed.beside(&killed.log);
        assert_eq!(ids(&data), [1, 2, 3]);
        // All rows are in the file now; the log holds the authentic page of one more change.
        data.mode = Mode::Open;
        let mut connection = Connection::open(&data).expect("open");
        run(&mut connection, "UPDATE big SET id = 9 WHERE id = 3", &[]).expect("update");
        let log = fs::read(log_of(&data.path)).expect("log");
        let whole = fs::read(&data.path).expect("data");
        drop(connection);
        for pages in [1_u32, 2, 10] {
            let mut altered = log.clone();
            let last = frame_at(frames_of(&log) - 1);
            altered[last + 4..last + 8].copy_from_slice(&pages.to_be_bytes());
            mend(&mut altered);
            fs::write(&data.path, &whole).expect("data");
            fs::write(log_of(&data.path), &altered).expect("log");
            let before = contents(&data.path);
            assert!(
                matches!(Connection::open(&data), Err(StoreError::Corrupt { .. })),
                "{pages} pages"
            );
            assert!(contents(&data.path) == before, "{pages} pages");
        }
    }
}

#[test]
fn what_a_crash_leaves_behind_the_last_transaction_is_ignored() {
    for profile in SEALED {
        let killed = Killed::make(profile);
        let foreign = Killed::make(profile);
        let frames = frames_of(&killed.log);
        let mut found = Vec::new();
        for bytes in (0..=frames).flat_map(|frame| [frame_at(frame), frame_at(frame) + FRAME / 2]) {
            let rows = ids(&killed.beside(&killed.log[..bytes.min(killed.log.len())]));
            assert!([1, 2, 3].starts_with(&rows), "{bytes} bytes give {rows:?}");
            found.push(rows.len());
        }
        assert!(found.is_sorted() && found.first() == Some(&0) && found.last() == Some(&3));
        // A transaction that never ended, of pages that are not the file's, its checksums right.
        let mut unfinished = killed.log.clone();
        unfinished.extend_from_slice(&without_first_page(&foreign.log)[HEADER..]);
        for frame in frames..frames_of(&unfinished) {
            unfinished[frame_at(frame) + 4..frame_at(frame) + 8].fill(0);
        }
        mend(&mut unfinished);
        assert_eq!(ids(&killed.beside(&unfinished)), [1, 2, 3]);
        // And rubbish.
        let mut longer = killed.log.clone();
        longer.extend_from_slice(&[7; 3 * FRAME]);
        assert_eq!(ids(&killed.beside(&longer)), [1, 2, 3]);
    }
}

#[test]
fn a_log_that_holds_nothing_is_no_log() {
    for profile in SEALED {
        let killed = Killed::make(profile);
        for log in [
            &[][..],
            &killed.log[..HEADER],
            &killed.log[..HEADER - 1],
            &[0; 5000],
            &[0xff; 5000],
        ] {
            assert_eq!(ids(&killed.beside(log)), [] as [i64; 0]);
        }
    }
}

#[test]
fn a_log_of_another_version_or_page_size_is_refused() {
    let killed = Killed::make(Profile::Sqlcipher4Sha256);
    let mut later = killed.log.clone();
    later[7] ^= 1;
    mend(&mut later);
    killed.assert_refused(&later, "another version");
    // One frame of 8 KiB, its checksums right.
    let mut larger = killed.log[..frame_at(2)].to_vec();
    larger[8..12].copy_from_slice(&8192_u32.to_be_bytes());
    larger.truncate(HEADER + FRAME_HEADER + 8192);
    larger[HEADER + 4..HEADER + 8].copy_from_slice(&3_u32.to_be_bytes());
    support::wal::mend_pages_of(&mut larger, 8192);
    killed.assert_refused(&larger, "another page size");
}

/// A replay, which authenticates like any state that the file once had (SECURITY.md, "Replay").
#[test]
fn an_older_log_of_the_same_file_brings_the_older_rows_back() {
    for profile in SEALED {
        let killed = Killed::make(profile);
        let options = killed.beside(&killed.log);
        let mut connection = Connection::open(&options).expect("open");
        run(&mut connection, "DELETE FROM big WHERE id < 3", &[]).expect("delete");
        drop(connection);
        assert_eq!(ids(&options), [3]);
        fs::write(log_of(&options.path), &killed.log).expect("log");
        assert_eq!(ids(&options), [1, 2, 3]);
    }
}

#[test]
fn a_log_without_its_file_or_one_that_is_no_file_is_left_alone() {
    let killed = Killed::make(Profile::Sqlcipher4Sha256);
    let options = killed.beside(&killed.log);
    fs::remove_file(&options.path).expect("data");
    assert!(matches!(Connection::open(&options), Err(StoreError::Missing { .. })));
    assert_eq!(fs::read(log_of(&options.path)).expect("log"), killed.log);
    let creating = OpenOptions {
        mode: Mode::Create,
        ..options.clone()
    };
    assert!(matches!(Connection::open(&creating), Err(StoreError::Exists { path }) if path == log_of(&options.path)));
    assert_eq!(fs::read(log_of(&options.path)).expect("log"), killed.log);
    assert!(!options.path.exists(), "nothing was made");

    fs::write(&options.path, &killed.data).expect("data");
    fs::remove_file(log_of(&options.path)).expect("log");
    fs::create_dir(log_of(&options.path)).expect("directory");
    assert!(matches!(Connection::open(&options), Err(StoreError::Foreign { .. })));
}

#[test]
fn the_log_beside_the_file_that_a_link_names_is_the_one_that_counts() {
    let killed = Killed::make(Profile::Sqlcipher4Sha256);
    let foreign = Killed::make(Profile::Sqlcipher4Sha256);
    let options = killed.beside(&without_first_page(&foreign.log));
    let linked = killed.directory.path().join("linked.sqlite3");
    std::os::unix::fs::symlink(&options.path, &linked).expect("link");
    let before = contents(&options.path);
    let through_link = reopened(&options, linked);
    assert!(matches!(
        Connection::open(&through_link),
        Err(StoreError::Foreign { .. })
    ));
    assert!(contents(&options.path) == before);
}
