//! What sealing costs: commits, reads and opens of a sealed and a plain database of one size, by turns in one run, and the
//! page cipher. Prints one JSON object. `cargo run --release -p nimbus-redb --example cost DIRECTORY PAIRS`;
//! `npm run bench -- redb`
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    clippy::indexing_slicing,
    reason = "a program that measures: it prints, and it may fail"
)]

mod cipher;
mod cold;
mod pair;

use std::path::Path;
use std::time::{Duration, Instant};

use nimbus_redb::engine::Mode;
use pair::{Pair, commit, gets};

/// What redb may keep in memory, unless a measure says otherwise.
const CACHE_BYTES: usize = 64 << 20;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().expect("a directory");
    let rows: u64 = arguments.next().expect("a number of pairs").parse().unwrap();
    let pair = Pair::new(Path::new(&directory), rows);
    let page = cipher::measure(&pair.dek);
    let mut measures = commits(&pair);
    measures.push(warm_gets(&pair));
    measures.push(cold::opens(&pair));
    let cold_gets = [
        cold::gets(&pair, "opened just now", 0, page.open_us),
        cold::gets(&pair, "after 40,000 others", 40_000, page.open_us),
    ];
    let file_bytes = std::fs::metadata(&pair.paths[1]).unwrap().len();
    println!(
        r#"{{"file_bytes":{file_bytes},"page":{{"seal_us":{:.3},"open_us":{:.3}}},"measures":[{}],"cold_gets":[{}]}}"#,
        page.seal_us,
        page.open_us,
        measures.join(","),
        cold_gets.join(",")
    );
    pair.remove();
}

/// Fills both and leaves them closed.
fn commits(pair: &Pair) -> Vec<String> {
    const FILLING_ROWS: u64 = 50_000;
    let databases = [0, 1].map(|which| pair.open(which, Mode::Create, CACHE_BYTES));
    let mut filling = [Vec::new(), Vec::new()];
    for start in (0..pair.rows).step_by(usize::try_from(FILLING_ROWS).unwrap()) {
        for which in [0, 1] {
            filling[which].push(commit(
                pair,
                &databases[which],
                start..(start + FILLING_ROWS).min(pair.rows),
            ));
        }
    }
    let mut measures = vec![measure("50,000-row transactions, in order", &mut filling, 1.0)];
    for (what, rows, rounds) in [("single durable commits", 1, 600), ("1,000-row transactions", 1000, 60)] {
        let mut times = [Vec::new(), Vec::new()];
        for round in 0..rounds {
            for which in [round % 2, 1 - round % 2] {
                let numbers = (0..rows).map(|row| (row * 7919 + round as u64 * 104_729) * 6_700_417 % pair.rows);
                times[which].push(commit(pair, &databases[which], numbers));
            }
        }
        measures.push(measure(what, &mut times, 1.0));
    }
    for database in databases {
        database.close().unwrap();
    }
    measures
}

/// Gets from redb's own cache, of the part of the keys that fits into it.
fn warm_gets(pair: &Pair) -> String {
    const GETS: u64 = 20_000;
    const KEYS: u64 = 50_000;
    let databases = [0, 1].map(|which| pair.open(which, Mode::Open, 256 << 20));
    let mut times = [Vec::new(), Vec::new()];
    for round in 0..15 {
        for which in [round % 2, 1 - round % 2] {
            let time = gets(pair, &databases[which], KEYS.min(pair.rows), 0..GETS);
            // The first fills the cache.
            if round > 0 {
                times[which].push(time);
            }
        }
    }
    for database in databases {
        database.close().unwrap();
    }
    measure("warm random gets", &mut times, GETS as f64)
}

/// Medians.
fn measure(what: &str, times: &mut [Vec<Duration>; 2], per: f64) -> String {
    let [plain, sealed] = times.each_mut().map(|times| median(times) / per);
    format!(r#"{{"what":"{what}","plain_us":{plain:.3},"sealed_us":{sealed:.3}}}"#)
}

/// In microseconds.
fn median(times: &mut [Duration]) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1e6
}

/// How long `work` takes.
fn timed<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let start = Instant::now();
    let result = work();
    (start.elapsed(), result)
}
