//! No page that was changed on the disk is ever returned as data.

#![allow(clippy::indexing_slicing, reason = "tests say what they expect by panicking")]

mod support;

use std::fs;
use std::path::Path;

use nimbus_sqlite::{Connection, Mode, OpenOptions, Profile, StoreError, Value};
use support::{Client, PAGE_BYTES, fill, options, reopened, run, text_of};

const ROWS: i64 = 12;
const ROWS_READ: usize = 12;
const SEALED: [Profile; 2] = [Profile::Sqlcipher4, Profile::Sqlcipher4Sha256];

/// Reads the whole table in one scan and row by row; returns how many reads failed. Anything else must be right.
fn read_everything(options: &OpenOptions) -> usize {
    let mut failures = 0;
    let opened = Connection::open(options);
    match opened.and_then(|mut connection| run(&mut connection, "SELECT id, body FROM big ORDER BY id", &[])) {
        Ok(rows) => {
            assert_eq!(rows.len(), ROWS_READ, "a scan that succeeds is whole");
            for (row, id) in rows.iter().zip(1..) {
                assert_eq!(row, &[Value::Integer(id), Value::Text(text_of(id))]);
            }
        }
        Err(error) => {
            assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
            failures += 1;
        }
    }
    for id in 1..=ROWS {
        let row = Connection::open(options).and_then(|mut connection| {
            run(
                &mut connection,
                "SELECT body FROM big WHERE id = ?",
                &[Value::Integer(id)],
            )
        });
        match row {
            Ok(rows) => assert_eq!(rows, [[Value::Text(text_of(id))]]),
            Err(error) => {
                assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
                failures += 1;
            }
        }
    }
    failures
}

#[test]
fn a_flipped_bit_in_any_page_is_an_error_and_never_a_row() {
    for profile in SEALED {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("whole.sqlite3");
        let creating = options(&path, Some(profile), Mode::Create);
        fill(&mut Connection::open(&creating).expect("create"), ROWS);
        let whole = fs::read(&path).expect("checkpointed at close");
        let damaged_path = directory.path().join("damaged.sqlite3");
        let damaged_options = reopened(&creating, damaged_path.clone());
        fs::write(&damaged_path, &whole).expect("copy");
        assert_eq!(read_everything(&damaged_options), 0, "no false alarm");
        let pages = whole.len() / PAGE_BYTES;
        assert!(pages > 50, "the rows have overflow pages: {pages}");
        for page in 0..pages {
            // The content, the IV or the MAC of the page, by turns.
            let offset = page * PAGE_BYTES + [100, PAGE_BYTES - 70, PAGE_BYTES - 20][page % 3];
            write_damaged(&damaged_path, &whole, |bytes| bytes[offset] ^= 1);
            assert!(
                read_everything(&damaged_options) > 0,
                "page {page} was changed and nobody noticed"
            );
        }
    }
}

#[test]
fn zeroed_swapped_and_foreign_pages_are_errors() {
    for profile in SEALED {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("whole.sqlite3");
        let creating = options(&path, Some(profile), Mode::Create);
        fill(&mut Connection::open(&creating).expect("create"), ROWS);
        let whole = fs::read(&path).expect("read");
        let foreign_path = directory.path().join("foreign.sqlite3");
        let foreign = options(&foreign_path, Some(profile), Mode::Create);
        fill(&mut Connection::open(&foreign).expect("create"), ROWS);
        let foreign = fs::read(&foreign_path).expect("read");
        let damaged_path = directory.path().join("damaged.sqlite3");
        let damaged_options = reopened(&creating, damaged_path.clone());
        let pages = whole.len() / PAGE_BYTES;
        for page in (2..pages).step_by(3) {
            let (start, end) = (page * PAGE_BYTES, (page + 1) * PAGE_BYTES);
            write_damaged(&damaged_path, &whole, |bytes| bytes[start..end].fill(0));
            assert!(read_everything(&damaged_options) > 0, "page {page} zeroed");
            write_damaged(&damaged_path, &whole, |bytes| {
                bytes.copy_within(start - PAGE_BYTES..start, start);
            });
            assert!(
                read_everything(&damaged_options) > 0,
                "page {page} is a copy of its neighbour"
            );
            write_damaged(&damaged_path, &whole, |bytes| {
                bytes[start..end].copy_from_slice(&foreign[start..end]);
            });
            assert!(read_everything(&damaged_options) > 0, "page {page} is another file's");
        }
        for pages_left in [1, pages / 2, pages - 1] {
            fs::write(&damaged_path, &whole[..pages_left * PAGE_BYTES]).expect("truncate");
            assert!(
                read_everything(&damaged_options) > 0,
                "only {pages_left} pages are left"
            );
        }
    }
}

#[test]
fn a_changed_frame_of_the_log_is_an_error_even_with_its_checksum_mended() {
    for profile in SEALED {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("whole.sqlite3");
        let creating = options(&path, Some(profile), Mode::Create);
        let mut connection = Connection::open(&creating).expect("create");
        fill(&mut connection, ROWS);
        let (data, log) = (fs::read(&path).expect("data"), fs::read(log_of(&path)).expect("log"));
        drop(connection);
        let damaged_path = directory.path().join("damaged.sqlite3");
        let damaged_options = reopened(&creating, damaged_path.clone());
        let frames = (log.len() - WAL_HEADER) / FRAME;
        let newest = newest_frames(&log, frames);
        for &frame in newest.iter().step_by(2) {
            fs::write(&damaged_path, &data).expect("data");
            let mut damaged = log.clone();
            damaged[WAL_HEADER + frame * FRAME + FRAME_HEADER + 200] ^= 1;
            mend_checksums(&mut damaged, frames);
            fs::write(log_of(&damaged_path), &damaged).expect("log");
            // One read at a time on a fresh copy: the first opener would checkpoint the log into the file.
            assert!(read_everything_in_one_connection(&damaged_options) > 0, "frame {frame}");
        }
    }
}

#[test]
fn only_requests_that_touch_the_page_fail_and_the_store_goes_on() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("whole.sqlite3");
    let creating = options(&path, Some(Profile::Sqlcipher4Sha256), Mode::Create);
    fill(&mut Connection::open(&creating).expect("create"), ROWS);
    let whole = fs::read(&path).expect("read");
    let pages = whole.len() / PAGE_BYTES;
    // The last page belongs to the last row.
    write_damaged(&path, &whole, |bytes| bytes[(pages - 1) * PAGE_BYTES + 50] ^= 1);
    let mut client = Client::open(&reopened(&creating, path)).expect("open");
    let body = "SELECT body FROM big WHERE id = ? LIMIT 1";
    let last = [Value::Integer(ROWS)];
    for _ in 0..3 {
        assert!(matches!(client.store.get(body, &last), Err(StoreError::Corrupt { .. })));
        let first = client.store.get(body, &[Value::Integer(1)]).expect("another row");
        assert_eq!(first, Some(vec![Value::Text(text_of(1))]));
        let scan = "SELECT max(length(body)) FROM big WHERE substr(body, -1) <> 'x'";
        assert!(matches!(client.query(scan), Err(StoreError::Corrupt { .. })));
        assert_eq!(
            client.query("SELECT count(*) FROM big WHERE id < 3").expect("query"),
            [[Value::Integer(2)]]
        );
    }
    let rewrite = "UPDATE big SET body = body || 'x' WHERE id = ?";
    let requests = [ROWS, 1, 2].map(|id| vec![support::step(rewrite, vec![Value::Integer(id)])]);
    let ids = requests.map(|request| {
        let id = client.id();
        client.store.write(id, request);
        id
    });
    for _ in ids {
        let completion = client.wait();
        let failed = matches!(
            completion.outcome,
            nimbus_sqlite::Outcome::Failed(StoreError::Corrupt { .. })
        );
        assert_eq!(failed, completion.id == ids[0], "{completion:?}");
    }
    client.close();
}

fn read_everything_in_one_connection(options: &OpenOptions) -> usize {
    let connection = Connection::open(options);
    let rows = connection.and_then(|mut connection| run(&mut connection, "SELECT id, body FROM big ORDER BY id", &[]));
    match rows {
        Ok(rows) => {
            for (row, id) in rows.iter().zip(1..) {
                assert_eq!(row, &[Value::Integer(id), Value::Text(text_of(id))]);
            }
            usize::from(rows.len() != ROWS_READ)
        }
        Err(error) => {
            assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
            1
        }
    }
}

fn write_damaged(path: &Path, whole: &[u8], damage: impl FnOnce(&mut [u8])) {
    let mut bytes = whole.to_vec();
    damage(&mut bytes);
    fs::write(path, bytes).expect("write");
    let _ = fs::remove_file(log_of(path));
}

fn log_of(path: &Path) -> std::path::PathBuf {
    path.with_extension("sqlite3-wal")
}

// "WAL-mode File Format", sections 4.1 to 4.4.
const WAL_HEADER: usize = 32;
const FRAME_HEADER: usize = 24;
const FRAME: usize = FRAME_HEADER + PAGE_BYTES;

/// The last frame of each page: the ones a reader uses.
fn newest_frames(log: &[u8], frames: usize) -> Vec<usize> {
    let page = |frame: usize| word(log, WAL_HEADER + frame * FRAME);
    (0..frames)
        .filter(|&frame| (frame + 1..frames).all(|later| page(later) != page(frame)))
        .collect()
}

fn mend_checksums(log: &mut [u8], frames: usize) {
    let little_endian = word(log, 0) & 1 == 0;
    let mut sum = (word(log, 24), word(log, 28));
    for frame in 0..frames {
        let start = WAL_HEADER + frame * FRAME;
        sum = checksum(&log[start..start + 8], sum, little_endian);
        sum = checksum(&log[start + FRAME_HEADER..start + FRAME], sum, little_endian);
        log[start + 16..start + 20].copy_from_slice(&sum.0.to_be_bytes());
        log[start + 20..start + 24].copy_from_slice(&sum.1.to_be_bytes());
    }
}

fn checksum(bytes: &[u8], (mut s0, mut s1): (u32, u32), little_endian: bool) -> (u32, u32) {
    for pair in bytes.chunks_exact(8) {
        let read = |at: usize| {
            let raw = [pair[at], pair[at + 1], pair[at + 2], pair[at + 3]];
            if little_endian {
                u32::from_le_bytes(raw)
            } else {
                u32::from_be_bytes(raw)
            }
        };
        s0 = s0.wrapping_add(read(0)).wrapping_add(s1);
        s1 = s1.wrapping_add(read(4)).wrapping_add(s0);
    }
    (s0, s1)
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
