//! A page that was read ahead, and that another thread found to be damaged, is refused when it is read and does not matter before.

mod support;

use std::fs;

use nimbus_sqlite::{Connection, Mode, OpenOptions, StoreError, Value};
use support::{PAGE_BYTES, SEALED, options, reopened, run};

/// Each has a page of the table to itself.
const ROWS: i64 = 200;

/// Of the first rows in order, the last one's number, through a connection that has no page in its cache.
fn scan(options: &OpenOptions, rows: i64) -> Result<Vec<Vec<Value>>, StoreError> {
    let sql = "SELECT max(id), count(body) FROM (SELECT id, body FROM leaf ORDER BY id LIMIT ?1)";
    Connection::open(options).and_then(|mut connection| run(&mut connection, sql, &[Value::Integer(rows)]))
}

#[test]
fn a_damaged_page_is_refused_when_a_scan_comes_to_it_and_not_before() {
    for profile in SEALED {
        let directory = tempfile::tempdir().expect("directory");
        let creating = options(&directory.path().join("whole.sqlite3"), Some(profile), Mode::Create);
        let mut connection = Connection::open(&creating).expect("create");
        for sql in [
            "CREATE TABLE leaf (id INTEGER PRIMARY KEY, body TEXT)",
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200)
             INSERT INTO leaf SELECT i, hex(zeroblob(1500)) FROM n",
        ] {
            run(&mut connection, sql, &[]).expect("filled");
        }
        drop(connection);
        let whole = fs::read(&creating.path).expect("checkpointed at close");
        let first = whole.len() / PAGE_BYTES - usize::try_from(ROWS).expect("small");
        let damaged = reopened(&creating, directory.path().join("damaged.sqlite3"));
        for row in [2, 5, 11, 12, 40, 41, 50, 55, 100, 199] {
            let mut bytes = whole.clone();
            // The rows' pages follow each other but for the root, which the table outgrows once.
            let page = first + usize::try_from(row - 1).expect("small");
            *bytes.get_mut(page * PAGE_BYTES + 100).expect("a page") ^= 1;
            fs::write(&damaged.path, bytes).expect("write");
            for before in [row - 1, (row - 8).max(1)] {
                let seen = scan(&damaged, before).expect("nothing that is read was changed");
                assert_eq!(seen, [[before, before].map(Value::Integer).to_vec()], "{row}");
            }
            for to in [row, ROWS] {
                let seen = scan(&damaged, to);
                assert!(matches!(seen, Err(StoreError::Corrupt { .. })), "{row}: {seen:?}");
            }
        }
    }
}
