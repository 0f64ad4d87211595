//! Authenticating a file while a store has it open and is used.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests say what they expect by panicking"
)]

mod support;

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use nimbus_sqlite::{Completion, Connection, Mode, OpenOptions, Profile, Store, StoreError, Value, Verified};
use nimbus_threads::Watch;
use support::wal::{FRAME_HEADER, frame_at, frames_of, log_of, mend, page_number};
use support::{Client, PAGE_BYTES, SEALED, fill, options, reopened, run, step, text_of};
use tempfile::TempDir;

const ROWS: i64 = 20;
const FASTEST: u64 = u64::MAX;

fn database(profile: Profile) -> (TempDir, OpenOptions) {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("open.sqlite3");
    let creating = options(&path, Some(profile), Mode::Create);
    fill(&mut Connection::open(&creating).expect("create"), ROWS);
    let opening = reopened(&creating, path);
    (directory, opening)
}

fn verify(client: &Client) -> Result<Verified, StoreError> {
    verify_watched(client, &Watch::new(|_| {}))
}

fn verify_watched(client: &Client, watch: &Watch) -> Result<Verified, StoreError> {
    let verification = client.store.verification().expect("open").expect("encrypted");
    verification.run(FASTEST, watch)
}

fn assert_sound(client: &Client) -> Verified {
    let found = verify(client).expect("verified");
    assert_eq!((&found.damaged, &found.unreferenced), (&vec![], &vec![]), "{found:?}");
    found
}

fn update(client: &mut Client, id: i64, text: String) -> Result<(), StoreError> {
    let parameters = vec![Value::Text(text), Value::Integer(id)];
    client
        .write(vec![step("UPDATE big SET body = ? WHERE id = ?", parameters)])
        .map(drop)
}

/// In place, as a disk would: SQLite has the file open.
fn flip(path: &Path, offset: u64) {
    let file = File::options().read(true).write(true).open(path).expect("open");
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).expect("read");
    byte[0] ^= 1;
    file.write_all_at(&byte, offset).expect("write");
}

fn flip_in_page(path: &Path, page: u64) {
    flip(path, (page - 1) * PAGE_BYTES as u64 + 100 + page * 31 % 3_900);
}

fn pages_of(path: &Path) -> u64 {
    fs::metadata(path).expect("data file").len() / PAGE_BYTES as u64
}

#[test]
fn a_file_that_is_written_folded_and_grown_meanwhile_is_sound_every_time() {
    for profile in SEALED {
        let (_directory, options) = database(profile);
        let mut client = Client::open(&options).expect("open");
        let done = AtomicBool::new(false);
        let verification = || client.store.verification().expect("open").expect("encrypted");
        let rounds: Vec<_> = (0..12).map(|_| verification()).collect();
        let frames = std::thread::scope(|scope| {
            let verifier = scope.spawn(|| {
                let mut frames = 0;
                for round in rounds {
                    let found = round.run(FASTEST, &Watch::new(|_| {})).expect("verified");
                    assert_eq!((&found.damaged, &found.unreferenced), (&vec![], &vec![]));
                    frames = frames.max(found.log_frames);
                }
                done.store(true, Ordering::Relaxed);
                frames
            });
            for round in 0.. {
                if done.load(Ordering::Relaxed) {
                    break;
                }
                update(&mut client, round % ROWS + 1, text_of(round)).expect("update");
                let row = vec![Value::Integer(1_000 + round), Value::Text(text_of(round))];
                let insert = step("INSERT INTO big VALUES (?, ?)", row);
                client.write(vec![insert]).expect("insert");
                if round % 8 == 7 {
                    client.checkpoint().expect("fold");
                }
            }
            verifier.join().expect("verifier")
        });
        assert!(frames > 0, "the log was read too");
        client.close();
    }
}

#[test]
fn a_flipped_bit_in_any_page_is_named_and_the_store_goes_on() {
    for profile in SEALED {
        let (_directory, options) = database(profile);
        let whole = fs::read(&options.path).expect("read");
        let mut client = Client::open(&options).expect("open");
        for page in (1..=pages_of(&options.path)).step_by(7) {
            flip_in_page(&options.path, page);
            let found = verify(&client).expect("verified");
            assert_eq!(found.damaged, [u32::try_from(page).expect("small")]);
            assert_eq!(found.pages, pages_of(&options.path));
            let file = File::options().write(true).open(&options.path).expect("open");
            file.write_all_at(&whole, 0).expect("mend");
        }
        assert_sound(&client);
        update(&mut client, 1, "written".to_owned()).expect("update");
        client.close();
        Connection::open(&options).expect("whole");
    }
}

#[test]
fn a_page_that_sqlite_takes_from_the_log_is_not_missed_until_the_log_is_folded() {
    for profile in SEALED {
        let (_directory, options) = database(profile);
        let mut client = Client::open(&options).expect("open");
        update(&mut client, 3, text_of(33)).expect("update");
        let log = fs::read(log_of(&options.path)).expect("log");
        let replaced = (0..frames_of(&log)).map(|frame| page_number(&log, frame));
        let in_log = replaced
            .filter(|&page| u64::from(page) <= pages_of(&options.path))
            .max()
            .expect("frames");
        flip_in_page(&options.path, u64::from(in_log));
        assert_eq!(assert_sound(&client).log_frames as usize, frames_of(&log));
        // Folded, SQLite looks for the page in the data file, though the log still has it: as it is, or begun anew.
        let mut another = Connection::open(&options).expect("open");
        for fold in ["PRAGMA wal_checkpoint(PASSIVE)", "PRAGMA wal_checkpoint(RESTART)"] {
            let counts = run(&mut another, fold, &[]).expect("fold");
            assert_eq!(counts[0][0], Value::Integer(0), "not busy");
            assert!(frames_of(&fs::read(log_of(&options.path)).expect("log")) > 0);
            let page = u64::from(in_log);
            if fold.contains("PASSIVE") {
                assert_sound(&client);
                flip_in_page(&options.path, page);
            }
            assert_eq!(verify(&client).expect("verified").damaged, [in_log]);
        }
        drop(another);
        flip_in_page(&options.path, u64::from(in_log));
        assert_sound(&client);
        client.close();
    }
}

#[test]
fn pages_that_were_cut_off_are_damage() {
    let (_directory, options) = database(Profile::Sqlcipher4Sha256);
    let client = Client::open(&options).expect("open");
    let pages = pages_of(&options.path);
    let file = File::options().write(true).open(&options.path).expect("open");
    file.set_len((pages - 2) * PAGE_BYTES as u64).expect("cut");
    let last = u32::try_from(pages).expect("small");
    assert_eq!(verify(&client).expect("verified").damaged, [last - 1, last]);
}

#[test]
fn a_damaged_log_is_an_error_that_names_it_and_nothing_is_added_to_it() {
    for mend_checksums in [false, true] {
        let (_directory, options) = database(Profile::Sqlcipher4Sha256);
        let mut client = Client::open(&options).expect("open");
        update(&mut client, 3, text_of(33)).expect("update");
        let log = log_of(&options.path);
        let mut damaged = fs::read(&log).expect("log");
        damaged[frame_at(1) + FRAME_HEADER + 300] ^= 1;
        if mend_checksums {
            mend(&mut damaged);
        }
        let file = File::options().write(true).open(&log).expect("open");
        file.write_all_at(&damaged, 0).expect("write");
        let refused = verify(&client).expect_err("damaged");
        assert!(
            matches!(&refused, StoreError::Foreign { path } if *path == log),
            "{refused}"
        );
        let refused = update(&mut client, 4, "lost".to_owned()).expect_err("damaged");
        assert!(matches!(refused, StoreError::Foreign { .. }), "{refused}");
        assert_eq!(fs::read(&log).expect("log"), damaged);
    }
}

#[test]
fn a_verification_says_how_far_it_is_and_stops_when_it_is_told_to_or_the_store_is_closed() {
    let (_directory, options) = database(Profile::Sqlcipher4Sha256);
    let mut client = Client::open(&options).expect("open");
    let watch = Watch::new(|_| {});
    watch.cancel();
    let stopped = verify_watched(&client, &watch).expect_err("cancelled");
    assert!(matches!(stopped, StoreError::Interrupted { .. }), "{stopped}");

    let verification = client.store.verification().expect("open").expect("encrypted");
    let (told, progress) = std::sync::mpsc::channel();
    let ended =
        std::thread::spawn(move || verification.run(1, &Watch::new(move |at| told.send(at).unwrap_or_default())));
    let first = progress.recv().expect("progress");
    assert_eq!((first.phase, first.done_bytes), ("verifying", 0));
    assert_eq!(first.total_bytes, fs::metadata(&options.path).expect("file").len());
    client.close();
    let stopped = ended.join().expect("thread").expect_err("closed");
    assert!(matches!(stopped, StoreError::Closed { .. }), "{stopped}");
    assert!(matches!(client.store.verification(), Err(StoreError::Closed { .. })));
}

#[test]
fn a_plain_file_has_nothing_to_authenticate() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("plain.sqlite3");
    let client = Client::open(&options(&path, None, Mode::Create)).expect("create");
    assert!(client.store.verification().expect("open").is_none());
}

#[test]
fn a_page_that_fails_while_it_is_on_its_way_to_the_disk_is_looked_at_again_when_it_has_come() {
    let (_directory, options) = database(Profile::Sqlcipher4Sha256);
    let path = options.path.clone();
    let store: Arc<OnceLock<Store>> = Arc::default();
    // The writer, as long as it folds a page: the page is whole again only when the verification waits for its judgement.
    let folded = Arc::clone(&store);
    let sink = move |_: Vec<Completion>| {
        let store = folded.get().expect("open");
        let began = Instant::now();
        while store.stats().queued == 0 && began.elapsed() < Duration::from_secs(10) {
            std::thread::yield_now();
        }
        flip_in_page(&path, 9);
    };
    let opened = Store::open(&options, Arc::new(sink)).expect("open");
    let store = store.get_or_init(|| opened);
    let verification = store.verification().expect("open").expect("encrypted");
    flip_in_page(&options.path, 9);
    store.write(1, vec![step("UPDATE big SET body = 'x' WHERE id = 1", vec![])]);
    let found = verification.run(FASTEST, &Watch::new(|_| {})).expect("verified");
    assert_eq!((found.damaged, found.unreferenced), (vec![], vec![]));
}
