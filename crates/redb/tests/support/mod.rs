//! A redb database on a simulated disk, and a workload whose every state is known.
#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test says what it expects by panicking, and what it did by printing"
)]

pub mod client;
pub mod independent;
pub mod scripts;
pub mod victim;
pub mod workload;

use std::collections::BTreeMap;
use std::sync::Arc;

use nimbus_crypto::FileId;
use nimbus_redb::sealed::Protocol;
use nimbus_redb::{Disk, Identity, SealedBackend, SealedFile, Tuning};
use nimbus_test_support::fixed_dek;
use redb::{ReadableDatabase, ReadableTable, TableDefinition};

pub const FILE: FileId = FileId(*b"the file of test");
pub const IDENTITY: Identity = Identity {
    file_id: FILE,
    dek_generation: 1,
};
pub const TABLE: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("pairs");

pub type Pairs = BTreeMap<Vec<u8>, Vec<u8>>;

/// A database and the sealed file under it.
pub struct Base<D, P> {
    pub redb: redb::Database,
    pub file: Arc<SealedFile<D, P>>,
}

pub fn create<D: Disk, P: Protocol>(disk: D, tuning: Tuning, cache_bytes: usize) -> Base<D, P> {
    let file = Arc::new(SealedFile::create(disk, IDENTITY, &fixed_dek(), tuning).expect("create"));
    let redb = builder(cache_bytes)
        .create_with_backend(SealedBackend::new(Arc::clone(&file)))
        .expect("create");
    Base { redb, file }
}

pub fn open<D: Disk, P: Protocol>(disk: D, tuning: Tuning, cache_bytes: usize) -> Result<Base<D, P>, String> {
    let file = SealedFile::open(disk, FILE, &fixed_dek(), tuning).map_err(|error| error.to_string())?;
    if file.is_empty() {
        return Err("the file is empty".to_owned());
    }
    let file = Arc::new(file);
    let redb = builder(cache_bytes)
        .create_with_backend(SealedBackend::new(Arc::clone(&file)))
        .map_err(|error| error.to_string())?;
    Ok(Base { redb, file })
}

fn builder(cache_bytes: usize) -> redb::Builder {
    let mut builder = redb::Builder::new();
    builder.set_cache_size(cache_bytes);
    builder
}

/// Everything in the table.
pub fn pairs(redb: &redb::Database) -> Result<Pairs, redb::Error> {
    let table = match redb.begin_read()?.open_table(TABLE) {
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Pairs::new()),
        table => table?,
    };
    let mut pairs = Pairs::new();
    for pair in table.iter()? {
        let (key, value) = pair?;
        pairs.insert(key.value().to_vec(), value.value().to_vec());
    }
    Ok(pairs)
}

/// How many times longer the tests run: once, 50 times with `NIMBUS_LONG=1` (over a million states), or as often as another
/// number there says.
pub fn effort() -> u64 {
    match std::env::var("NIMBUS_LONG").ok().and_then(|value| value.parse().ok()) {
        Some(1) => 50,
        Some(times) => times,
        None => 1,
    }
}
