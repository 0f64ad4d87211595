//! Rows and pages share one budget: what is kept of the one is not kept of the other. In a process of its own, as the budget is.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test says what it expects by panicking"
)]

mod support;

use std::ops::Bound;

use nimbus_redb::engine::{Direction, Durability, Limit, Operations, Range};
use nimbus_redb::sealed::{cached_bytes, follow_budget};
use support::client::client;

const BUDGET: u64 = 16 << 20;
const ROWS: u32 = 16 * 1024;

#[test]
fn rows_that_are_kept_drive_pages_out_though_no_page_is_read_anew() {
    nimbus_budget::set(BUDGET, BUDGET);
    follow_budget();
    let client = client(true);
    let mut operations = Operations::default();
    for key in 0..ROWS {
        operations = operations.put("t", &key.to_be_bytes(), &[7; 500]);
    }
    client.store.write_and_wait(operations, Durability::Immediate).unwrap();
    let all = Range {
        from: Bound::Unbounded,
        to: Bound::Unbounded,
        direction: Direction::Ascending,
        limit: Limit {
            pairs: usize::MAX,
            bytes: usize::MAX,
        },
    };
    client.store.view().unwrap().range("t", &all).unwrap();
    let pages = cached_bytes();
    assert!(pages > BUDGET / 2, "{pages} bytes of pages");
    let mut reader = client.store.reader("t");
    for key in 0..ROWS {
        reader.get_with(&key.to_be_bytes(), |_| ()).unwrap().unwrap();
        assert!(cached_bytes() <= BUDGET, "{key}: {}", cached_bytes());
    }
    client.close();
    assert_eq!(cached_bytes(), 0, "nothing of a closed store is kept");
}
