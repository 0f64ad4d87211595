//! The write-ahead log stays short, whatever reads meanwhile.

#![allow(clippy::panic, reason = "tests say what they expect by panicking")]

mod support;

use std::sync::Arc;
use std::sync::mpsc::channel;

use nimbus_sqlite::{Completion, Mode, Outcome, Store, Value};
use support::{options, step};

const MEBIBYTE: usize = 1024 * 1024;
const WRITTEN_BYTES: usize = 320 * MEBIBYTE;

#[test]
fn queries_that_always_overlap_do_not_let_the_log_grow_for_ever() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("a.sqlite3");
    let (finished, completions) = channel();
    let sink = Arc::new(move |batch: Vec<Completion>| {
        for completion in batch {
            drop(finished.send(completion));
        }
    });
    let store = Store::open(&options(&path, None, Mode::Create), sink).expect("create");
    let table = "CREATE TABLE t (id INTEGER PRIMARY KEY, body BLOB)";
    store.write(0, vec![step(table, vec![])]);
    let made = completions.recv().expect("the store answers");
    assert!(matches!(made.outcome, Outcome::Wrote(_)));
    let query = |id| {
        // Reads the table first, and keeps its snapshot while it counts.
        let sql = "WITH RECURSIVE c (n) AS (SELECT count(*) FROM t UNION ALL SELECT n + 1 FROM c WHERE n < 200000)
                   SELECT count(*) FROM c";
        store.query(id, sql.to_owned(), vec![], None);
    };
    let write = |id| {
        let sql = "INSERT OR REPLACE INTO t VALUES (?, randomblob(1048576))";
        store.write(id, vec![step(sql, vec![Value::Integer(i64::from(id % 16))])]);
    };
    (1..=3).for_each(query);
    write(4);
    let mut written = 0;
    let mut longest = 0;
    while written < WRITTEN_BYTES {
        let completion = completions.recv().expect("the store answers");
        match completion.outcome {
            Outcome::Rows { .. } => query(completion.id),
            Outcome::Wrote(_) => {
                written += MEBIBYTE;
                write(completion.id + 1);
            }
            other => panic!("unexpected {other:?}"),
        }
        let log = directory.path().join("a.sqlite3-wal");
        longest = longest.max(std::fs::metadata(log).map_or(0, |log| log.len()));
    }
    assert!(longest < (WRITTEN_BYTES / 2) as u64, "the log grew to {longest} bytes");
}
