//! Connections beside one of the library's, closed while the threads are others'.

use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nimbus_crypto::LockedBytes;
use nimbus_sqlite::{
    LibraryAccess, LibraryAnswer, LibraryConnection, LibraryKey, LibraryOptions, LibraryRequest, Profile,
};
use nimbus_threads::pool::READERS;

/// Of the process.
const READER_THREADS: usize = 4;

#[test]
fn a_pool_that_is_closed_while_every_thread_is_busy_answers_and_keeps_no_key() {
    let directory = tempfile::tempdir().expect("directory");
    let mut key = LockedBytes::zeroed();
    key.expose_secret_mut().fill(7);
    let key = Arc::new(key);
    let connection = LibraryConnection::open(&LibraryOptions {
        path: &directory.path().join("app.sqlite3"),
        access: LibraryAccess::OpenOrCreate,
        exclusive: false,
        timeout: Duration::ZERO,
        key: Some(LibraryKey::Raw(Arc::clone(&key), Profile::Sqlcipher4)),
    })
    .expect("open");
    let busy = Arc::new(Mutex::new(()));
    let held = busy.lock().expect("lock");
    let (began, all_began) = channel();
    for _ in 0..READER_THREADS {
        let (busy, began) = (Arc::clone(&busy), began.clone());
        READERS.run(move || {
            began.send(()).expect("somebody waits");
            drop(busy.lock());
        });
    }
    for _ in 0..READER_THREADS {
        all_began.recv().expect("each begins");
    }
    let (sender, answers) = channel::<LibraryAnswer>();
    let sender = Mutex::new(sender);
    let sink = Arc::new(move |answer| sender.lock().expect("lock").send(answer).expect("somebody waits"));
    let pool = connection.pool(String::new(), sink).expect("a file");
    let request = LibraryRequest {
        id: 1,
        sql: "SELECT 1".to_owned(),
        values: Vec::new(),
        safe_integers: false,
    };
    pool.read(request, true);
    drop(pool);
    let answer = answers.recv().expect("an answer");
    assert!(answer.id == 1 && answer.outcome.is_err(), "it was not begun");
    drop(connection);
    assert_eq!(Arc::strong_count(&key), 1, "nobody else has the key");
    drop(held);
    assert!(answers.recv().is_err(), "one answer, and nobody who could give another");
}
