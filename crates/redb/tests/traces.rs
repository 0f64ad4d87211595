//! What redb asks of its storage, on which the sealed file is built. If an upgrade of redb asks for something else, this
//! fails before any user's file does.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test says what it expects by panicking"
)]

use std::collections::HashSet;
use std::io;
use std::ops::Bound;
use std::sync::{Arc, Mutex};

use nimbus_test_support::Rng;
use redb::{BackendError, Durability, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition};

const TABLE: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("pairs");
const PAGE: usize = 4096;

#[derive(Debug, Default, Clone)]
struct Tracer(Arc<Mutex<Trace>>);

#[derive(Debug, Default)]
struct Trace {
    bytes: Vec<u8>,
    written: HashSet<usize>,
    writes: usize,
    header_writes: usize,
    syncs: usize,
    closes: usize,
    surprises: Vec<String>,
}

impl StorageBackend for Tracer {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().bytes.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut trace = self.0.lock().unwrap();
        let start = usize::try_from(offset).unwrap();
        let header = start == 0 && out.len() <= 512;
        if !header && (!start.is_multiple_of(PAGE) || !out.len().is_multiple_of(PAGE)) {
            trace.surprises.push(format!("read of {} bytes at {start}", out.len()));
        }
        if !header && (start / PAGE..(start + out.len()) / PAGE).any(|page| !trace.written.contains(&page)) {
            trace.surprises.push(format!("read of pages never written at {start}"));
        }
        out.copy_from_slice(&trace.bytes[start..start + out.len()]);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut trace = self.0.lock().unwrap();
        if !len.is_multiple_of(PAGE as u64) {
            trace.surprises.push(format!("length {len}"));
        }
        let len = usize::try_from(len).unwrap();
        trace.bytes.resize(len, 0);
        trace.written.retain(|page| page * PAGE < len);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.lock().unwrap().syncs += 1;
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut trace = self.0.lock().unwrap();
        let start = usize::try_from(offset).unwrap();
        trace.writes += 1;
        if start < PAGE {
            trace.header_writes += 1;
            if start != 0 || data.len() > 512 {
                trace
                    .surprises
                    .push(format!("header write of {} bytes at {start}", data.len()));
            }
        } else if !start.is_multiple_of(PAGE) || !data.len().is_multiple_of(PAGE) {
            trace
                .surprises
                .push(format!("write of {} bytes at {start}", data.len()));
        }
        for page in start / PAGE..(start + data.len()).div_ceil(PAGE) {
            trace.written.insert(page);
        }
        trace.bytes[start..start + data.len()].copy_from_slice(data);
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        self.0.lock().unwrap().closes += 1;
        Ok(())
    }

    fn try_lock_range(&self, _start: Bound<u64>, _end: Bound<u64>) -> Result<bool, BackendError> {
        Ok(true)
    }

    fn unlock_range(&self, _start: Bound<u64>, _end: Bound<u64>) -> Result<(), BackendError> {
        Ok(())
    }
}

#[test]
fn redb_reads_and_writes_whole_pages_and_its_header_and_nothing_that_it_never_wrote() {
    for (seed, cache_bytes) in [(1, 0), (2, 64 << 10), (3, 256 << 10), (4, 64 << 20)] {
        let mut rng = Rng::new(seed);
        let tracer = Tracer::default();
        let mut opens = 0;
        let open = || {
            let mut builder = redb::Builder::new();
            builder.set_cache_size(cache_bytes);
            builder.create_with_backend(tracer.clone()).unwrap()
        };
        let mut database = open();
        for round in 0..60 {
            let mut write = database.begin_write().unwrap();
            match rng.below(8) {
                0 | 1 => write.set_durability(Durability::None).unwrap(),
                2 => write.set_two_phase_commit(true),
                3 => write.set_quick_repair(true),
                _ => {}
            }
            {
                let mut table = write.open_table(TABLE).unwrap();
                for _ in 0..if rng.once_in(6) { 600 } else { 5 } {
                    let key = rng.below(2000).to_be_bytes();
                    let long = if rng.once_in(100) { 300_000 } else { 1500 };
                    let length = rng.index(long);
                    table.insert(key.as_slice(), rng.bytes(length).as_slice()).unwrap();
                    table.remove(rng.below(2000).to_be_bytes().as_slice()).unwrap();
                }
            }
            if rng.once_in(8) {
                write.abort().unwrap();
            } else {
                write.commit().unwrap();
            }
            match round % 20 {
                7 => {
                    let read = database.begin_read().unwrap();
                    if let Ok(table) = read.open_table(TABLE) {
                        assert!(table.iter().unwrap().all(|pair| pair.is_ok()));
                    }
                }
                11 => {
                    database.compact().unwrap();
                }
                13 => {
                    database.check_integrity().unwrap();
                }
                17 => {
                    drop(database);
                    opens += 1;
                    database = open();
                }
                _ => {}
            }
        }
        drop(database);
        let trace = tracer.0.lock().unwrap();
        assert_eq!(trace.surprises, Vec::<String>::new(), "cache of {cache_bytes}");
        assert!(trace.writes > 1000 && trace.header_writes > 60 && trace.syncs > 60);
        assert_eq!(trace.closes, opens + 1);
    }
}

#[test]
fn a_new_database_costs_as_many_syncs_as_it_did() {
    let tracer = Tracer::default();
    let database = redb::Builder::new().create_with_backend(tracer.clone()).unwrap();
    let after_create = tracer.0.lock().unwrap().syncs;
    assert_eq!((after_create, tracer.0.lock().unwrap().bytes.len()), (3, 73_728));
    let write = database.begin_write().unwrap();
    write
        .open_table(TABLE)
        .unwrap()
        .insert(b"a".as_slice(), b"b".as_slice())
        .unwrap();
    write.commit().unwrap();
    assert_eq!(tracer.0.lock().unwrap().syncs, after_create + 1, "one sync a commit");
}
