//! `kill -9` at any moment: every acknowledged commit is there, and at most the one in flight besides.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test says what it expects by panicking, and a child tells its parent by printing"
)]

mod support;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use nimbus_redb::engine::{Direction, Durability, Encryption, Limit, Mode, Options};
use nimbus_redb::{Database, EngineError};
use nimbus_test_support::{Rng, fixed_dek};
use support::{FILE, Pairs, effort};

const FILE_VARIABLE: &str = "NIMBUS_TEST_KILL_FILE";

fn open(path: &Path, mode: Mode) -> Result<Database, EngineError> {
    Database::open(&Options {
        path: path.to_owned(),
        mode,
        encryption: Some(Encryption {
            dek: &fixed_dek(),
            file_id: FILE,
            dek_generation: 1,
        }),
        cache_bytes: 128 << 10,
    })
}

/// The pairs that commit `number` writes.
fn pairs_of(number: u64) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut rng = Rng::new(number);
    let count = if number.is_multiple_of(7) { 60 } else { 3 };
    let mut pairs = vec![(b"number".to_vec(), number.to_be_bytes().to_vec())];
    for _ in 0..count {
        let key = rng.below(200).to_be_bytes().to_vec();
        let length = rng.index(3000);
        pairs.push((key, rng.bytes(length)));
    }
    pairs
}

fn contents(database: &Database) -> Pairs {
    let everything = (std::ops::Bound::Unbounded, std::ops::Bound::Unbounded);
    let limit = Limit {
        pairs: usize::MAX,
        bytes: usize::MAX,
    };
    let table = database.snapshot().unwrap().table("t").unwrap();
    let pairs = table.map(|table| table.range(everything, Direction::Ascending, limit).unwrap().pairs);
    pairs.unwrap_or_default().into_iter().collect()
}

fn number_of(pairs: &Pairs) -> u64 {
    let number = pairs.get(&b"number"[..]);
    number.map_or(0, |bytes| u64::from_be_bytes(bytes.as_slice().try_into().unwrap()))
}

/// Not a test: the process that is killed. It commits, and says so after each commit, for as long as it lives.
#[test]
#[ignore = "run by the others in a process of its own"]
fn child() {
    let Some(path) = std::env::var_os(FILE_VARIABLE).map(PathBuf::from) else {
        return;
    };
    let database = open(&path, Mode::Open).unwrap();
    let first = number_of(&contents(&database)) + 1;
    println!("ready");
    for number in first.. {
        let transaction = database.begin(Durability::Immediate).unwrap();
        let mut table = transaction.table("t").unwrap();
        for (key, value) in pairs_of(number) {
            table.put(&key, &value).unwrap();
        }
        drop(table);
        transaction.commit().unwrap();
        println!("committed {number}");
        std::io::stdout().flush().unwrap();
    }
}

fn start(path: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "child", "--nocapture"])
        .env(FILE_VARIABLE, path)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Lets a process commit until a moment of the parent's choice; returns the last commit that it told of.
fn killed_after(path: &Path, wait: Duration) -> u64 {
    let mut child = start(path);
    let output = BufReader::new(child.stdout.take().unwrap());
    let (send, receive) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        let mut last = 0;
        for line in output.lines().map_while(Result::ok) {
            if line.ends_with("ready") {
                let _ = send.send(());
            }
            if let Some(number) = line.strip_prefix("committed ") {
                last = number.parse().unwrap();
            }
        }
        last
    });
    let ready = receive.recv_timeout(Duration::from_mins(1));
    assert!(ready.is_ok(), "the child opens the file");
    // The moment of the kill, not a wait for something to happen.
    std::thread::sleep(wait);
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap()
}

#[test]
fn no_kill_loses_an_acknowledged_commit() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("killed.redb");
    drop(open(&path, Mode::Create).unwrap());
    let mut rng = Rng::new(9);
    let (mut model, mut number) = (Pairs::new(), 0);
    let (mut rolled_back, mut in_flight) = (0, 0);
    let kills = if effort() > 1 { 1000 } else { 50 };
    for kill in 0..kills {
        let told = killed_after(&path, Duration::from_micros(rng.below(20_000))).max(number);
        let mut database = open(&path, Mode::Open).unwrap();
        let found = contents(&database);
        let recovered = number_of(&found);
        assert!(
            (told..=told + 1).contains(&recovered),
            "kill {kill}: told {told}, found {recovered}"
        );
        while number < recovered {
            number += 1;
            model.extend(pairs_of(number));
        }
        assert!(found == model, "kill {kill}");
        rolled_back += u64::from(database.stats().unwrap().sealed.unwrap().rolled_back);
        in_flight += u64::from(recovered > told);
        if kill % 5 == 0 {
            assert!(database.check_integrity().unwrap().sound);
        }
    }
    assert!(number > kills, "{number} commits");
    println!("{kills} kills, {number} commits, {in_flight} found in flight, {rolled_back} set aside");
}

#[test]
fn a_second_process_is_refused_with_the_pid_of_the_first() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("held.redb");
    drop(open(&path, Mode::Create).unwrap());
    let mut child = start(&path);
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(
        output
            .by_ref()
            .map_while(Result::ok)
            .any(|line| line.ends_with("ready"))
    );
    match open(&path, Mode::Open) {
        Err(EngineError::Busy { pid, .. }) => assert_eq!(pid, Some(child.id())),
        other => panic!("expected busy, got {:?}", other.err()),
    }
    child.kill().unwrap();
    child.wait().unwrap();
    open(&path, Mode::Open).expect("the lock dies with its owner");
}
