//! No page that was changed on the disk is ever returned as data.

#![allow(clippy::indexing_slicing, reason = "tests say what they expect by panicking")]

mod support;

use std::fs;
use std::path::Path;

use nimbus_sqlite::{Connection, Mode, OpenOptions, Profile, StoreError, Value};
use support::wal::log_of;
use support::{Client, PAGE_BYTES, SEALED, fill, options, reopened, run, text_of};

const ROWS: i64 = 12;
const ROWS_READ: usize = 12;

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

fn write_damaged(path: &Path, whole: &[u8], damage: impl FnOnce(&mut [u8])) {
    let mut bytes = whole.to_vec();
    damage(&mut bytes);
    fs::write(path, bytes).expect("write");
    let _ = fs::remove_file(log_of(path));
}
