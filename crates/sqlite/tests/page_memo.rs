//! A page that this process has authenticated before is refused all the same when the disk has other bytes in its place.

#![allow(clippy::indexing_slicing, reason = "tests say what they expect by panicking")]

mod support;

use std::fs;

use nimbus_sqlite::{Connection, Mode, OpenOptions, Profile, StoreError, Value};
use support::{PAGE_BYTES, SEALED, fill, options, reopened, run, text_of};

const ROWS: i64 = 12;

/// All rows, through a connection that has no page in its cache.
fn scan(options: &OpenOptions) -> Result<Vec<Vec<Value>>, StoreError> {
    Connection::open(options)
        .and_then(|mut connection| run(&mut connection, "SELECT id, body FROM big ORDER BY id", &[]))
}

fn rows() -> Vec<Vec<Value>> {
    (1..=ROWS)
        .map(|id| vec![Value::Integer(id), Value::Text(text_of(id))])
        .collect()
}

#[test]
fn a_known_page_with_one_bit_changed_or_in_the_place_of_another_is_an_error() {
    for profile in SEALED {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("whole.sqlite3");
        let creating = options(&path, Some(profile), Mode::Create);
        fill(&mut Connection::open(&creating).expect("create"), ROWS);
        let whole = fs::read(&path).expect("checkpointed at close");
        // It has read every page, and what it knows of them is everybody's who has the key.
        let options = reopened(&creating, path);
        let mut knowing = Connection::open(&options).expect("open");
        run(&mut knowing, "SELECT sum(length(body)) FROM big", &[]).expect("read");
        let damaged = reopened(&creating, directory.path().join("damaged.sqlite3"));
        let is_refused = |what: &str, damage: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = whole.clone();
            damage(&mut bytes);
            fs::write(&damaged.path, bytes).expect("write");
            match scan(&damaged) {
                Err(StoreError::Corrupt { .. }) => {}
                other => panic!("{what}: {:?}", other.map(|rows| rows.len())),
            }
        };
        let pages = whole.len() / PAGE_BYTES;
        assert!(pages > 50, "the rows have overflow pages: {pages}");
        for page in 1..pages {
            let (start, end) = (page * PAGE_BYTES, (page + 1) * PAGE_BYTES);
            let iv = match profile {
                Profile::Sqlcipher4 => end - 80,
                Profile::Sqlcipher4Sha256 => end - 48,
            };
            for (what, at) in [("content", start + 100), ("IV", iv), ("MAC", end - 1)] {
                is_refused(&format!("{what} of page {}", page + 1), &|bytes| bytes[at] ^= 0x80);
            }
            is_refused("another page", &|bytes| {
                bytes.copy_within(start - PAGE_BYTES..start, start);
            });
        }
        fs::write(&damaged.path, &whole).expect("write");
        assert_eq!(scan(&damaged).expect("nothing was changed"), rows());
    }
}

/// SQLCipher does not detect that (SECURITY.md), and a memo must not make it another matter.
#[test]
fn an_older_version_of_a_known_page_is_what_it_was_without_a_memo() {
    for profile in SEALED {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("whole.sqlite3");
        let creating = options(&path, Some(profile), Mode::Create);
        fill(&mut Connection::open(&creating).expect("create"), ROWS);
        let older = fs::read(&path).expect("read");
        let options = reopened(&creating, path);
        let update = "UPDATE big SET body = replace(body, '-', '+') WHERE id = 7";
        run(&mut Connection::open(&options).expect("open"), update, &[]).expect("update");
        let newer = fs::read(&options.path).expect("read");
        let changed: Vec<_> = (0..newer.len() / PAGE_BYTES)
            .filter(|page| older[page * PAGE_BYTES..][..PAGE_BYTES] != newer[page * PAGE_BYTES..][..PAGE_BYTES])
            .collect();
        let mixed_path = directory.path().join("mixed.sqlite3");
        let mixed = reopened(&creating, mixed_path);
        let outcomes = || -> Vec<_> {
            let outcome = |page: &usize| {
                let mut bytes = newer.clone();
                let place = page * PAGE_BYTES..(page + 1) * PAGE_BYTES;
                bytes[place.clone()].copy_from_slice(&older[place]);
                fs::write(&mixed.path, bytes).expect("write");
                scan(&mixed).map_err(|error| error.to_string())
            };
            changed.iter().map(outcome).collect()
        };
        let without = outcomes();
        let mut knowing = Connection::open(&options).expect("open");
        run(&mut knowing, "SELECT sum(length(body)) FROM big", &[]).expect("read");
        assert!(changed.len() > 3, "{}", changed.len());
        assert_eq!(outcomes(), without);
        assert_eq!(outcomes(), without, "both versions are known now");
    }
}
