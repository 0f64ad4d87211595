//! Work on a whole store while others read it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test says what it expects by panicking"
)]

mod support;

use std::sync::atomic::{AtomicBool, Ordering};

use nimbus_redb::engine::{EngineError, Task};
use support::client::filled;

const TASKS: usize = 100;

/// Of so many tasks, a quarter would meet a read that has begun: it ends by itself, and is not an error of theirs.
#[test]
fn a_check_and_a_compaction_wait_for_reads_that_have_begun() {
    let client = filled();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut reader = client.store.reader("pairs");
            while !over.load(Ordering::Relaxed) {
                match reader.get_with(&7_u32.to_be_bytes(), <[u8]>::len) {
                    Ok(Some(_)) | Err(EngineError::Engaged { .. }) => {}
                    other => panic!("{other:?}"),
                }
            }
        });
        for _ in 0..TASKS {
            for task in [Task::Check, Task::Compact] {
                client.store.run(0, task);
                if let Err(error) = client.wait() {
                    over.store(true, Ordering::Relaxed);
                    panic!("{error}");
                }
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    let held = client.store.view().unwrap();
    client.store.run(0, Task::Compact);
    assert!(client.wait().is_err(), "a state that somebody holds on to");
    drop(held);
}
