//! A plain and a sealed database with the same rows.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nimbus_crypto::{Dek, FileId};
use nimbus_redb::Database;
use nimbus_redb::engine::{Durability, Encryption, Mode, Options};

use super::timed;

/// Both databases, the plain one first.
pub(crate) struct Pair {
    pub(crate) paths: [PathBuf; 2],
    pub(crate) dek: Dek,
    pub(crate) rows: u64,
}

impl Pair {
    pub(crate) fn new(directory: &Path, rows: u64) -> Self {
        Self {
            paths: ["plain", "sealed"].map(|name| directory.join(format!("nimbus-cost-{name}.redb"))),
            dek: Dek::generate().unwrap(),
            rows,
        }
    }

    pub(crate) fn open(&self, which: usize, mode: Mode, cache_bytes: usize) -> Database {
        let encryption = (which == 1).then_some(Encryption {
            dek: &self.dek,
            file_id: FileId([1; 16]),
            dek_generation: 1,
        });
        Database::open(&Options {
            path: self.paths[which].clone(),
            mode,
            encryption,
            cache_bytes,
        })
        .unwrap()
    }

    /// Keys rise with their numbers and are spread over all 64 bits.
    fn key(&self, number: u64) -> [u8; 8] {
        (number * (u64::MAX / self.rows)).to_be_bytes()
    }

    pub(crate) fn remove(self) {
        for path in self.paths {
            std::fs::remove_file(path).unwrap();
        }
    }
}

/// Writes rows and waits until they are durable.
pub(crate) fn commit(pair: &Pair, database: &Database, numbers: impl Iterator<Item = u64>) -> Duration {
    let (time, ()) = timed(|| {
        let transaction = database.begin(Durability::Immediate).unwrap();
        let mut table = transaction.table("t").unwrap();
        for number in numbers {
            table.put(&pair.key(number), &[number.to_le_bytes()[0]; 150]).unwrap();
        }
        drop(table);
        transaction.commit().unwrap();
    });
    time
}

/// Reads rows, of the first `rows`, at random.
pub(crate) fn gets(pair: &Pair, database: &Database, rows: u64, steps: Range<u64>) -> Duration {
    let table = database.snapshot().unwrap().table("t").unwrap().unwrap();
    let (time, ()) = timed(|| {
        for step in steps {
            let number = step.wrapping_mul(0x2545_f491_4f6c_dd1d).rotate_left(29) % rows;
            assert!(table.get_with(&pair.key(number), <[u8]>::len).unwrap().is_some());
        }
    });
    time
}
