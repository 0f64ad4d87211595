//! Files with known rows, and what the tests read back from them.

#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests say what they expect by panicking"
)]

pub mod wal;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};

use nimbus_crypto::{Dek, FileId};
use nimbus_sqlite::{
    Completion, Connection, Encryption, Mode, OpenOptions, Outcome, Profile, Row, Step, StepResult, Store, StoreError,
    Value,
};

pub const PAGE_BYTES: usize = 4096;
pub const PROFILES: [Option<Profile>; 3] = [None, Some(Profile::Sqlcipher4), Some(Profile::Sqlcipher4Sha256)];
pub const SEALED: [Profile; 2] = [Profile::Sqlcipher4, Profile::Sqlcipher4Sha256];
pub const SALT: FileId = FileId(*b"sixteen byte id!");

pub fn options(path: &Path, profile: Option<Profile>, mode: Mode) -> OpenOptions {
    let dek = Dek::generate().expect("randomness");
    keyed(path, profile, mode, &dek)
}

pub fn keyed(path: &Path, profile: Option<Profile>, mode: Mode, dek: &Dek) -> OpenOptions {
    let encryption = profile.map(|profile| {
        Arc::new(Encryption {
            key: dek.sqlcipher_key(&SALT),
            profile,
        })
    });
    OpenOptions {
        path: path.to_owned(),
        mode,
        exclusive: true,
        encryption,
    }
}

pub fn reopened(options: &OpenOptions, path: PathBuf) -> OpenOptions {
    OpenOptions {
        path,
        mode: Mode::Open,
        ..options.clone()
    }
}

/// The text of row `id`: long enough for overflow pages, different everywhere.
pub fn text_of(id: i64) -> String {
    (0..2_500)
        .map(|word| [id.to_string(), word.to_string()].join("-") + " ")
        .collect()
}

/// Creates a table with `rows` rows of five overflow pages each.
pub fn fill(connection: &mut Connection, rows: i64) {
    run(
        connection,
        "CREATE TABLE big (id INTEGER PRIMARY KEY, body TEXT NOT NULL)",
        &[],
    )
    .expect("create");
    for id in 1..=rows {
        let parameters = [Value::Integer(id), Value::Text(text_of(id))];
        run(connection, "INSERT INTO big VALUES (?, ?)", &parameters).expect("insert");
    }
}

pub fn run(connection: &mut Connection, sql: &str, parameters: &[Value]) -> Result<Vec<Row>, StoreError> {
    let mut rows = Vec::new();
    let collect = |row| {
        rows.push(row);
        ControlFlow::Continue(())
    };
    connection.run(0, sql, parameters, collect).map(|_| rows)
}

/// A store whose completions are waited for.
pub struct Client {
    pub store: Store,
    completions: Receiver<Completion>,
    next: u32,
}

impl Client {
    pub fn open(options: &OpenOptions) -> Result<Self, StoreError> {
        let (sender, completions) = channel();
        let sender = Mutex::new(sender);
        let sink = Arc::new(move |batch: Vec<Completion>| {
            let sender = sender.lock().expect("sender");
            for completion in batch {
                drop(sender.send(completion));
            }
        });
        Ok(Self {
            store: Store::open(options, sink)?,
            completions,
            next: 0,
        })
    }

    pub fn id(&mut self) -> u32 {
        self.next += 1;
        self.next
    }

    pub fn wait(&self) -> Completion {
        self.completions
            .recv_timeout(std::time::Duration::from_mins(1))
            .expect("a completion within a minute")
    }

    pub fn write(&mut self, steps: Vec<Step>) -> Result<Vec<StepResult>, StoreError> {
        let id = self.id();
        self.store.write(id, steps);
        match self.wait().outcome {
            Outcome::Wrote(results) => Ok(results),
            Outcome::Failed(error) => Err(error),
            other => panic!("unexpected {other:?}"),
        }
    }

    pub fn query(&mut self, sql: &str) -> Result<Vec<Row>, StoreError> {
        let id = self.id();
        self.store.query(id, sql.to_owned(), Vec::new(), None);
        match self.wait().outcome {
            Outcome::Rows { rows, .. } => Ok(rows),
            Outcome::Failed(error) => Err(error),
            other => panic!("unexpected {other:?}"),
        }
    }

    pub fn checkpoint(&mut self) -> Result<(), StoreError> {
        let id = self.id();
        self.store.checkpoint(id);
        match self.wait().outcome {
            Outcome::Done => Ok(()),
            Outcome::Failed(error) => Err(error),
            other => panic!("unexpected {other:?}"),
        }
    }

    pub fn close(&mut self) {
        let id = self.id();
        self.store.close(id);
        assert!(matches!(self.wait().outcome, Outcome::Done));
    }
}

/// The file and everything beside it, by name.
pub fn contents(path: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let stem = path.to_string_lossy().into_owned();
    let beside = std::fs::read_dir(path.parent().expect("directory")).expect("list");
    beside
        .map(|entry| entry.expect("entry").path())
        .filter(|found| found.to_string_lossy().starts_with(&stem))
        .map(|found| (found.clone(), std::fs::read(&found).expect("read")))
        .collect()
}

pub fn step(sql: &str, parameters: Vec<Value>) -> Step {
    Step {
        sql: sql.to_owned(),
        parameters,
        at_least: 0,
    }
}
