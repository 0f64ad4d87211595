//! The page-cache budget is shared by all open stores. One test alone in its process: the budget is process-wide.

#![allow(clippy::panic, reason = "tests say what they expect by panicking")]

mod support;

use nimbus_sqlite::{Mode, Value};
use support::{Client, options};

const MEBIBYTE: u64 = 1024 * 1024;

/// What the query connection of a store may cache, in KiB.
fn query_share(client: &mut Client) -> i64 {
    match client
        .query("PRAGMA cache_size")
        .expect("pragma")
        .first()
        .and_then(|row| row.first())
    {
        Some(Value::Integer(kibibytes)) => -kibibytes,
        other => panic!("unexpected {other:?}"),
    }
}

#[test]
fn a_stores_share_halves_as_the_number_of_open_stores_doubles_and_comes_back() {
    let directory = tempfile::tempdir().expect("directory");
    nimbus_budget::set(256 * MEBIBYTE, 64 * MEBIBYTE);
    let open = |name: usize| {
        Client::open(&options(
            &directory.path().join(format!("{name}.sqlite3")),
            None,
            Mode::Create,
        ))
        .expect("open")
    };
    let mut first = open(0);
    assert_eq!(
        query_share(&mut first),
        64 * 1024 / 8,
        "alone: the most that one store may have"
    );
    let mut others: Vec<_> = (1..16).map(open).collect();
    assert_eq!(query_share(&mut first), 256 / 16 * 1024 / 8, "16 stores share 256 MiB");
    others.iter_mut().for_each(Client::close);
    assert_eq!(query_share(&mut first), 64 * 1024 / 8);
    nimbus_budget::set(0, 0);
    assert_eq!(query_share(&mut first), 64, "SQLite always gets a few pages");
    first.close();
}
