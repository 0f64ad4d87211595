//! One request of a group never changes what becomes of another, nor leaves anything behind when it fails.

#![allow(clippy::panic, reason = "tests say what they expect by panicking")]

mod support;

use std::collections::BTreeMap;

use nimbus_sqlite::{Mode, Outcome, Row, Step, StoreError, Value};
use support::{Client, options, step};
use tempfile::TempDir;

fn opened(schema: &[&str]) -> (TempDir, Client) {
    let directory = tempfile::tempdir().expect("directory");
    let creating = options(&directory.path().join("a.sqlite3"), None, Mode::Create);
    let mut client = Client::open(&creating).expect("create");
    for sql in schema {
        client.write(vec![step(sql, vec![])]).expect("schema");
    }
    (directory, client)
}

/// Submits requests of one step each at once; whether each succeeded.
fn together(client: &mut Client, requests: &[&str]) -> Vec<bool> {
    let ids: Vec<u32> = requests
        .iter()
        .map(|sql| {
            let id = client.id();
            client.store.write(id, vec![step(sql, vec![])]);
            id
        })
        .collect();
    let succeeded: BTreeMap<u32, bool> = requests
        .iter()
        .map(|_| client.wait())
        .map(|completion| (completion.id, matches!(completion.outcome, Outcome::Wrote(_))))
        .collect();
    assert!(ids.iter().eq(succeeded.keys()), "each is answered once");
    succeeded.into_values().collect()
}

fn numbers(rows: &[Row]) -> Vec<i64> {
    rows.iter()
        .map(|row| match row.first() {
            Some(Value::Integer(number)) => *number,
            other => panic!("unexpected {other:?}"),
        })
        .collect()
}

fn ids(client: &mut Client) -> Vec<i64> {
    numbers(&client.query("SELECT id FROM t ORDER BY id").expect("rows"))
}

#[test]
fn no_request_ends_the_transaction_of_the_others() {
    let (_directory, mut client) = opened(&["CREATE TABLE t (id INTEGER PRIMARY KEY)"]);
    let mut expected = Vec::new();
    for (number, sql) in (0..).zip([
        "COMMIT",
        "END",
        "ROLLBACK",
        "BEGIN",
        "SAVEPOINT x",
        "RELEASE request",
        "ROLLBACK TO request",
    ]) {
        let before = format!("INSERT INTO t VALUES ({})", 2 * number);
        let after = format!("INSERT INTO t VALUES ({})", 2 * number + 1);
        let succeeded = together(&mut client, &[&before, sql, &after]);
        assert_eq!(succeeded, [true, false, true], "{sql}");
        expected.extend([2 * number, 2 * number + 1]);
        let inside = vec![step(sql, vec![]), step("INSERT INTO t VALUES (99)", vec![])];
        assert!(
            matches!(client.write(inside), Err(StoreError::Sql { step: 0, .. })),
            "{sql}"
        );
        assert!(
            matches!(client.store.get(sql, &[]), Err(StoreError::Sql { .. })),
            "{sql}"
        );
        assert!(matches!(client.query(sql), Err(StoreError::Sql { .. })), "{sql}");
    }
    assert_eq!(ids(&mut client), expected);
    client.close();
}

#[test]
fn no_request_changes_the_connection_for_the_others() {
    let (_directory, mut client) = opened(&["CREATE TABLE t (id INTEGER PRIMARY KEY)"]);
    for setting in [
        "query_only = 1",
        "foreign_keys = 0",
        "defer_foreign_keys = 1",
        "wal_autocheckpoint = 0",
        "cache_size = 1",
        "trusted_schema = 1",
        "ignore_check_constraints = 1",
        "max_page_count = 3",
        "busy_timeout = 100000",
        "locking_mode = exclusive",
        "journal_mode(delete)",
        "key",
        "hexrekey",
        "cipher_status",
    ] {
        let sql = format!("PRAGMA {setting}");
        assert!(
            matches!(client.write(vec![step(&sql, vec![])]), Err(StoreError::Sql { .. })),
            "{sql}"
        );
        assert!(matches!(client.query(&sql), Err(StoreError::Sql { .. })), "{sql}");
    }
    client
        .write(vec![step("PRAGMA user_version = 7", vec![])])
        .expect("undone with its transaction");
    assert_eq!(numbers(&client.query("PRAGMA user_version").expect("read")), [7]);
    client.close();
}

#[test]
fn a_statement_that_fails_half_way_leaves_nothing() {
    let (_directory, mut client) = opened(&[
        "CREATE TABLE t (id INTEGER PRIMARY KEY, body UNIQUE)",
        "CREATE TABLE log (id INTEGER PRIMARY KEY)",
        "CREATE TRIGGER fails AFTER INSERT ON t WHEN NEW.body = 'bad' BEGIN
             INSERT INTO log VALUES (NEW.id); SELECT RAISE(FAIL, 'no'); END",
    ]);
    let succeeded = together(
        &mut client,
        &[
            "INSERT INTO t VALUES (1, 'a')",
            "INSERT OR FAIL INTO t VALUES (2, 'b'), (3, 'a')",
            "INSERT INTO t VALUES (4, 'bad')",
            "INSERT OR ROLLBACK INTO t VALUES (5, 'e'), (6, 'a')",
            "INSERT INTO t VALUES (7, 'g')",
        ],
    );
    assert_eq!(succeeded, [true, false, false, false, true]);
    assert_eq!(ids(&mut client), [1, 7]);
    assert_eq!(numbers(&client.query("SELECT count(*) FROM log").expect("rows")), [0]);
    client.close();
}

#[test]
fn a_request_that_fails_its_expectation_leaves_nothing_whatever_did_the_work() {
    let (_directory, mut client) = opened(&[
        "CREATE TABLE t (id INTEGER PRIMARY KEY)",
        "CREATE VIEW v AS SELECT id FROM t",
        "CREATE TRIGGER through INSTEAD OF INSERT ON v BEGIN INSERT INTO t VALUES (NEW.id); END",
    ]);
    for sql in ["INSERT INTO v VALUES (1)", "CREATE TABLE other (id)"] {
        let expecting = Step {
            at_least: 1,
            ..step(sql, vec![])
        };
        let failed = client.write(vec![expecting]);
        assert!(
            matches!(failed, Err(StoreError::ExpectationFailed { affected: 0, .. })),
            "{sql}: {failed:?}"
        );
    }
    assert_eq!(
        numbers(&client.query("SELECT count(*) FROM sqlite_schema").expect("rows")),
        [3]
    );
    assert_eq!(ids(&mut client), []);
    client.close();
}

#[test]
fn a_violated_deferred_foreign_key_fails_its_own_request_alone() {
    let (_directory, mut client) = opened(&[
        "CREATE TABLE t (id INTEGER PRIMARY KEY)",
        "CREATE TABLE child (parent REFERENCES t (id) DEFERRABLE INITIALLY DEFERRED)",
    ]);
    let succeeded = together(
        &mut client,
        &[
            "INSERT INTO t VALUES (1)",
            "INSERT INTO child VALUES (99)",
            "INSERT INTO t VALUES (2)",
        ],
    );
    assert_eq!(succeeded, [true, false, true]);
    assert_eq!(ids(&mut client), [1, 2]);
    client.close();
}

#[test]
fn changes_are_those_of_the_statement_and_never_of_one_before_it() {
    let (_directory, mut client) = opened(&["CREATE TABLE t (id INTEGER PRIMARY KEY)"]);
    let results = client
        .write(vec![
            step("INSERT INTO t VALUES (1), (2), (3)", vec![]),
            step("CREATE TABLE other (id)", vec![]),
            step("SELECT id FROM t", vec![]),
            step("DELETE FROM t WHERE id > 5", vec![]),
        ])
        .expect("written");
    assert_eq!(
        results.iter().map(|result| result.changes).collect::<Vec<_>>(),
        [3, 0, 0, 0]
    );
    client.close();
}

#[test]
fn nothing_behind_a_statement_is_ignored() {
    let (_directory, mut client) = opened(&["CREATE TABLE t (id INTEGER PRIMARY KEY)"]);
    for sql in [
        "INSERT INTO t VALUES (1); INSERT INTO t VALUES (2)",
        "INSERT INTO t VALUES (1)\0; DROP TABLE t",
        "",
    ] {
        assert!(
            matches!(client.write(vec![step(sql, vec![])]), Err(StoreError::Sql { .. })),
            "{sql:?}"
        );
    }
    assert_eq!(ids(&mut client), []);
    client.close();
}
