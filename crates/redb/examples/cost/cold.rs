//! Opens and gets of files that the system does not have in memory.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nimbus_redb::engine::Mode;

use super::pair::{self, Pair};
use super::{CACHE_BYTES, measure, timed};

/// Opens of a closed file.
pub(crate) fn opens(pair: &Pair) -> String {
    let mut times: [Vec<Duration>; 2] = [Vec::new(), Vec::new()];
    for round in 0..41 {
        for which in [round % 2, 1 - round % 2] {
            forget(&pair.paths[which]);
            let (time, database) = timed(|| pair.open(which, Mode::Open, CACHE_BYTES));
            times[which].push(time);
            database.close().unwrap();
        }
    }
    measure("cold open of a closed file", &mut times, 1.0)
}

/// Random gets behind `warm_up` others: what they take, how many pages they read, and the cipher's part of it.
pub(crate) fn gets(pair: &Pair, when: &str, warm_up: u64, open_us: f64) -> String {
    const GETS: u64 = 500;
    const ROUNDS: u64 = 6;
    /// The same memory for both: what redb has of it, and the sealed database keeps the rest by itself.
    const CACHE_BYTES: [usize; 2] = [64 << 20, 4 << 20];
    let mut times = [Duration::ZERO; 2];
    let mut pages = [0; 2];
    for which in [0, 1] {
        forget(&pair.paths[which]);
    }
    let databases = [0, 1].map(|which| pair.open(which, Mode::Open, CACHE_BYTES[which]));
    for database in &databases {
        pair::gets(pair, database, pair.rows, 0..warm_up);
    }
    for round in 0..ROUNDS {
        for which in if round % 2 == 0 { [0, 1] } else { [1, 0] } {
            forget(&pair.paths[which]);
            let start = warm_up + round * GETS;
            let before = blocks_read();
            times[which] += pair::gets(pair, &databases[which], pair.rows, start..start + GETS);
            pages[which] += blocks_read() - before;
        }
    }
    for database in databases {
        database.close().unwrap();
    }
    let count = (GETS * ROUNDS) as f64;
    let [plain_us, sealed_us] = times.map(|time| time.as_secs_f64() * 1e6 / count);
    let [pages, all] = pages.map(|blocks| blocks as f64 / count);
    format!(
        r#"{{"when":"{when}","plain_us":{plain_us:.2},"sealed_us":{sealed_us:.2},"plain_blocks":{pages:.2},"sealed_blocks":{all:.2},"cipher_us":{:.2}}}"#,
        // Some of the blocks are entries, which are not sealed.
        all * open_us
    )
}

/// Blocks of 4 KiB that this process asked the system for (Linux, proc(5)).
fn blocks_read() -> u64 {
    let counters = std::fs::read_to_string("/proc/self/io").unwrap();
    let bytes = counters.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap();
    bytes.parse::<u64>().unwrap() / 4096
}

/// Has the system let go of the file's pages, and makes sure that it has.
fn forget(path: &Path) {
    std::fs::File::open(path).unwrap().sync_all().unwrap();
    let advised = Command::new("dd")
        .arg(format!("if={}", path.display()))
        .args(["of=/dev/null", "iflag=nocache", "count=0", "status=none"])
        .status();
    assert!(advised.unwrap().success());
    let resident = Command::new("fincore")
        .args(["-n", "-o", "PAGES"])
        .arg(path)
        .output()
        .unwrap();
    let resident = String::from_utf8(resident.stdout).unwrap();
    assert_eq!(resident.trim(), "0", "pages of {} in memory", path.display());
}
