//! What sealing costs: commits, opens and reads of a sealed and a plain database, by turns in one run, and the page cipher.
//! Prints one JSON object. `cargo run --release -p nimbus-redb --example cost [directory] [pairs]`; `npm run bench -- redb`
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    clippy::indexing_slicing,
    reason = "a program that measures: it prints, and it may fail"
)]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nimbus_crypto::{Dek, FileId, RedbBinding};
use nimbus_redb::Database;
use nimbus_redb::engine::{Durability, Encryption, Mode, Options};

const FILE: FileId = FileId([1; 16]);

fn open(path: &Path, mode: Mode, dek: Option<&Dek>, cache_bytes: usize) -> Database {
    Database::open(&Options {
        path: path.to_owned(),
        mode,
        encryption: dek.map(|dek| Encryption {
            dek,
            file_id: FILE,
            dek_generation: 1,
        }),
        cache_bytes,
    })
    .unwrap()
}

/// A key that does not tell its neighbour's place.
fn key(number: u64) -> [u8; 8] {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()
}

fn commit(database: &Database, numbers: impl Iterator<Item = u64>) -> Duration {
    let start = Instant::now();
    let transaction = database.begin(Durability::Immediate).unwrap();
    let mut table = transaction.table("t").unwrap();
    for number in numbers {
        table.put(&key(number), &[number.to_le_bytes()[0]; 150]).unwrap();
    }
    drop(table);
    transaction.commit().unwrap();
    start.elapsed()
}

fn gets(database: &Database, pairs: u64, count: u64) -> Duration {
    let table = database.snapshot().unwrap().table("t").unwrap().unwrap();
    let start = Instant::now();
    for step in 0..count {
        let number = step.wrapping_mul(0x2545_f491_4f6c_dd1d) % pairs;
        assert!(table.get_with(&key(number), <[u8]>::len).unwrap().is_some());
    }
    start.elapsed()
}

fn median(times: &mut [Duration]) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1e6
}

fn measure(what: &str, plain: &mut [Duration], sealed: &mut [Duration], per: f64) -> String {
    let (plain, sealed) = (median(plain) / per, median(sealed) / per);
    format!(r#"{{"what":"{what}","plain_us":{plain:.3},"sealed_us":{sealed:.3}}}"#)
}

fn cipher(dek: &Dek) -> String {
    let keys = dek.redb_keys(&FILE, &RedbBinding([0; 24]));
    let (mut page, nonce, aad) = (vec![7; 4096], [1; 12], [0; 16]);
    let rounds = 20_000;
    let start = Instant::now();
    let mut tag = [0; 16];
    for _ in 0..rounds {
        tag = keys.pages().seal_in_place(&nonce, &aad, &mut page);
    }
    let sealing = start.elapsed();
    let sealed = page.clone();
    let start = Instant::now();
    for _ in 0..rounds {
        page.copy_from_slice(&sealed);
        keys.pages().open_in_place(&nonce, &aad, &mut page, &tag).unwrap();
    }
    let per_page = |time: Duration| time.as_secs_f64() * 1e6 / f64::from(rounds);
    let opening = start.elapsed();
    format!(
        r#"{{"seal_us":{:.3},"open_us":{:.3}}}"#,
        per_page(sealing),
        per_page(opening)
    )
}

/// Opens of a closed file that the system no longer has in memory.
fn opens(paths: &[PathBuf; 2], keys: [Option<&Dek>; 2]) -> String {
    let mut times: [Vec<Duration>; 2] = [Vec::new(), Vec::new()];
    for round in 0..21 {
        for which in [round % 2, 1 - round % 2] {
            forget(&paths[which]);
            let start = Instant::now();
            let database = open(&paths[which], Mode::Open, keys[which], 64 << 20);
            times[which].push(start.elapsed());
            database.close().unwrap();
        }
    }
    let [plain, sealed] = &mut times;
    measure("cold open of a closed file", plain, sealed, 1.0)
}

/// Has the system let go of the file's pages.
fn forget(path: &Path) {
    std::fs::File::open(path).unwrap().sync_all().unwrap();
    let advised = std::process::Command::new("dd")
        .arg(format!("if={}", path.display()))
        .args(["of=/dev/null", "iflag=nocache", "count=0", "status=none"])
        .status();
    assert!(advised.unwrap().success());
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let directory = PathBuf::from(arguments.next().unwrap_or_else(|| ".".to_owned()));
    let pairs: u64 = arguments.next().map_or(200_000, |text| text.parse().unwrap());
    let dek = Dek::generate().unwrap();
    let page = cipher(&dek);
    let mut measures = Vec::new();
    let paths = ["plain", "sealed"].map(|name| directory.join(format!("nimbus-cost-{name}.redb")));
    let keys = [None, Some(&dek)];
    let mut times: [Vec<Duration>; 2] = [Vec::new(), Vec::new()];
    let databases = [0, 1].map(|which| {
        let database = open(&paths[which], Mode::Create, keys[which], 64 << 20);
        for start in (0..pairs).step_by(5000) {
            times[which].push(commit(&database, start..(start + 5000).min(pairs)));
        }
        database
    });
    let [plain, sealed] = &mut times;
    measures.push(measure("5,000-row commits, growing file", plain, sealed, 1.0));
    for (what, rows, rounds) in [("1-row commits", 1, 400), ("1,000-row commits", 1000, 40)] {
        let mut times: [Vec<Duration>; 2] = [Vec::new(), Vec::new()];
        for round in 0..rounds {
            for which in [round % 2, 1 - round % 2] {
                let rows = (0..rows).map(|row| (row * 7919 + round as u64 * 104_729) % pairs);
                times[which].push(commit(&databases[which], rows));
            }
        }
        let [plain, sealed] = &mut times;
        measures.push(measure(what, plain, sealed, 1.0));
    }
    for (what, cache_bytes) in [
        ("gets, all in redb's cache", 1 << 30),
        ("gets, nothing in redb's cache", 0),
    ] {
        drop_all(&databases);
        let mut times: [Vec<Duration>; 2] = [Vec::new(), Vec::new()];
        let copies = [0, 1].map(|which| {
            let path = directory.join(format!("nimbus-cost-{which}-copy.redb"));
            std::fs::copy(&paths[which], &path).unwrap();
            (open(&path, Mode::Open, keys[which], cache_bytes), path)
        });
        for round in 0..9 {
            for which in [round % 2, 1 - round % 2] {
                times[which].push(gets(&copies[which].0, pairs, 20_000));
            }
        }
        let [plain, sealed] = &mut times;
        measures.push(measure(what, plain, sealed, 20_000.0));
        for (database, path) in copies {
            database.close().unwrap();
            std::fs::remove_file(path).unwrap();
        }
    }
    for database in databases {
        database.close().unwrap();
    }
    measures.push(opens(&paths, keys));
    let file_bytes = std::fs::metadata(&paths[1]).unwrap().len();
    println!(
        r#"{{"file_bytes":{file_bytes},"page":{page},"measures":[{}]}}"#,
        measures.join(",")
    );
    for path in &paths {
        std::fs::remove_file(path).unwrap();
    }
}

fn drop_all(databases: &[Database]) {
    for database in databases {
        database.flush().unwrap();
    }
}
