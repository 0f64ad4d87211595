use rusqlite::{Connection, OpenFlags};

use super::*;

const LOCKING: [&CStr; 2] = [c"unix", c"unix-excl"];

fn open(path: &std::path::Path, vfs: &CStr) -> Connection {
    crate::exit::prepare();
    let connection = Connection::open_with_flags_and_vfs(path, OpenFlags::default(), vfs).expect("open");
    know(&connection, c"main", true);
    connection
}

fn count(connection: &Connection) -> i64 {
    connection
        .query_row("SELECT count(*) FROM t", [], |row| row.get(0))
        .expect("count")
}

/// Two connections of one process, by turns, so that each sees a file that the other has made longer or shorter.
#[test]
fn what_another_connection_of_the_process_writes_is_seen_in_every_journal_mode() {
    for (vfs, mode) in LOCKING
        .into_iter()
        .flat_map(|vfs| ["DELETE", "TRUNCATE", "PERSIST", "WAL"].map(|mode| (vfs, mode)))
    {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("a.sqlite3");
        let first = open(&path, vfs);
        first
            .execute_batch(&format!(
                "PRAGMA journal_mode = {mode}; CREATE TABLE t (x); INSERT INTO t VALUES (0)"
            ))
            .expect("make");
        drop(first);
        let connections = [open(&path, vfs), open(&path, vfs)];
        let mut rows = 1;
        for turn in 0..12 {
            for connection in &connections {
                assert_eq!(count(connection), rows, "{vfs:?}, {mode}, turn {turn}");
            }
            let writer = &connections[turn % 2];
            if turn % 4 == 3 {
                writer
                    .execute_batch("DELETE FROM t WHERE typeof(x) = 'blob'; VACUUM")
                    .expect("shrink");
                rows = 1;
            } else {
                writer
                    .execute_batch("INSERT INTO t VALUES (zeroblob(300000)), (zeroblob(300000))")
                    .expect("grow");
                rows += 2;
            }
            if turn % 3 == 2 && mode == "WAL" {
                writer
                    .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
                    .expect("fold");
            }
        }
        for connection in &connections {
            assert_eq!(count(connection), rows);
            let sound: String = connection
                .query_row("PRAGMA integrity_check", [], |row| row.get(0))
                .expect("check");
            assert_eq!(sound, "ok");
        }
    }
}

fn kept(connection: &Connection) -> Option<i64> {
    let (file, _) = file_of(connection, c"main").expect("file");
    // SAFETY: `know` was called for it.
    unsafe { own(file).size.map(|(_, bytes)| bytes) }
}

fn length(path: &std::path::Path) -> Option<i64> {
    path.metadata().ok().and_then(|file| i64::try_from(file.len()).ok())
}

#[test]
fn the_size_is_kept_between_reads_and_not_over_a_commit() {
    for vfs in LOCKING {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("a.sqlite3");
        let first = open(&path, vfs);
        first
            .execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (x)")
            .expect("make");
        drop(first);
        let [connection, other] = [open(&path, vfs), open(&path, vfs)];
        assert_eq!(count(&connection), 0);
        assert_eq!(kept(&connection), length(&path));
        assert_eq!(count(&connection), 0);
        other
            .execute_batch("INSERT INTO t VALUES (zeroblob(100000)); PRAGMA wal_checkpoint(TRUNCATE)")
            .expect("grow");
        assert_eq!(count(&connection), 1);
        // Of a log that had a commit, the wal-index has the size.
        connection.cache_flush().expect("flush");
        let (file, methods) = file_of(&connection, c"main").expect("file");
        let mut size = 0;
        let ask = methods.xFileSize.expect("method");
        // SAFETY: the method is that of this open file.
        assert_eq!(unsafe { ask(file, &raw mut size) }, ffi::SQLITE_OK);
        assert_eq!((Some(size), kept(&connection)), (length(&path), None));
    }
}

#[test]
fn nothing_is_kept_without_a_log() {
    for vfs in LOCKING {
        let directory = tempfile::tempdir().expect("temporary directory");
        let connection = open(&directory.path().join("a.sqlite3"), vfs);
        connection.execute_batch("CREATE TABLE t (x)").expect("make");
        assert_eq!((count(&connection), kept(&connection)), (0, None));
        connection
            .query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))
            .expect("log");
        assert_eq!(count(&connection), 0);
        assert!(kept(&connection).is_some());
        connection
            .query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(()))
            .expect("no log");
        assert_eq!((count(&connection), kept(&connection)), (0, None));
    }
}

const ROWS: i64 = 24;
const MODES: [&str; 4] = ["DELETE", "TRUNCATE", "PERSIST", "WAL"];

/// Two connections to a file whose rows have a dozen pages of the digit 0 each; nothing stays in the cache of the second.
fn writer_and_reader(path: &std::path::Path, vfs: &CStr, mode: &str) -> [Connection; 2] {
    let [writer, reader] = [(); 2].map(|()| open(path, vfs));
    writer
        .execute_batch(&format!(
            "PRAGMA journal_mode = {mode}; CREATE TABLE t (id INTEGER PRIMARY KEY, x BLOB);
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS})
             INSERT INTO t SELECT i, CAST(printf('%.*c', 50000, '0') AS BLOB) FROM n"
        ))
        .expect("make");
    reader.execute_batch("PRAGMA cache_size = 5").expect("small cache");
    [writer, reader]
}

/// Rewrites every page, and folds what it can of a log.
fn write(writer: &Connection, digit: char) {
    let sql = "UPDATE t SET x = CAST(printf('%.*c', 50000, ?1) AS BLOB)";
    writer.execute(sql, [digit.to_string()]).expect("update");
    let fold = writer.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
    fold.expect("fold");
}

fn rows_of(reader: &Connection, digit: char, ids: std::ops::RangeInclusive<i64>) -> i64 {
    let sql = "SELECT count(*) FROM t WHERE id BETWEEN ?1 AND ?2 AND x = CAST(printf('%.*c', 50000, ?3) AS BLOB)";
    let ids = (ids.start(), ids.end(), digit.to_string());
    reader.query_row(sql, ids, |row| row.get(0)).expect("scan")
}

/// Each row lies where the pages of the row before it were read ahead to.
#[test]
fn what_was_read_ahead_before_another_connection_wrote_is_not_taken_for_what_it_wrote() {
    for way in LOCKING {
        for mode in MODES {
            let directory = tempfile::tempdir().expect("temporary directory");
            let [writer, reader] = writer_and_reader(&directory.path().join("a.sqlite3"), way, mode);
            let mut digits = "0123456789".chars().cycle();
            for id in 1..=ROWS {
                let digit = digits.next().expect("it goes round");
                if id > 1 {
                    write(&writer, digit);
                }
                assert_eq!(rows_of(&reader, digit, id..=id), 1, "{mode}, row {id}");
            }
        }
    }
}

#[test]
fn a_reader_sees_the_pages_of_its_own_transaction_while_another_connection_writes_and_folds_the_log() {
    for way in LOCKING {
        let directory = tempfile::tempdir().expect("temporary directory");
        let [writer, reader] = writer_and_reader(&directory.path().join("a.sqlite3"), way, "WAL");
        for digits in ["01", "12", "23", "34", "45"] {
            let (before, after) = (digits.chars().next().expect("two"), digits.chars().last().expect("two"));
            reader.execute_batch("BEGIN").expect("begin");
            assert_eq!(rows_of(&reader, before, 1..=ROWS / 2), ROWS / 2);
            write(&writer, after);
            assert_eq!(rows_of(&reader, before, 1..=ROWS), ROWS);
            reader.execute_batch("COMMIT").expect("commit");
            assert_eq!(rows_of(&reader, after, 1..=ROWS), ROWS);
        }
    }
}
