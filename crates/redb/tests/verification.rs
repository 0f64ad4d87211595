//! Authenticating a database while a store has it open and is used.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test says what it expects by panicking"
)]

mod support;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use nimbus_redb::engine::{CopyKey, EngineError, Verified, verify};
use nimbus_redb::{Damage, Disk, SealedError, SealedFile, Tuning};
use nimbus_test_support::{SimDisk, fixed_dek};
use nimbus_threads::Watch;
use support::client::{Client, FASTEST, client, filled, value, watch};
use support::{FILE, IDENTITY};

const BLOCK: u64 = 4096;
const RING_START: u64 = 2;
const RING_BLOCKS: u64 = 512;
const DATA_START: u64 = RING_START + RING_BLOCKS;

fn read(path: &Path, offset: u64) -> u8 {
    let mut byte = [0];
    File::open(path).unwrap().read_exact_at(&mut byte, offset).unwrap();
    byte[0]
}

/// In place, as a disk would: the store has the file open.
fn flip(path: &Path, offset: u64) {
    let byte = read(path, offset) ^ 1;
    let file = File::options().write(true).open(path).unwrap();
    file.write_all_at(&[byte], offset).unwrap();
}

/// What is found in a copy of the file at rest.
fn at_rest(client: &Client) -> Verified {
    let copy = client.path.with_extension("copy");
    fs::copy(&client.path, &copy).unwrap();
    let key = CopyKey {
        dek: Arc::new(fixed_dek()),
        file_id: FILE,
        dek_generation: 1,
    };
    verify(&copy, &key, FASTEST, &watch()).unwrap()
}

#[test]
fn a_database_that_is_written_meanwhile_is_sound_every_time() {
    let client = filled();
    let done = AtomicBool::new(false);
    let rounds: Vec<_> = (0..40)
        .map(|_| client.store.verification().unwrap().expect("sealed"))
        .collect();
    std::thread::scope(|scope| {
        let verifier = scope.spawn(|| {
            for round in rounds {
                let found = round.run(FASTEST, &watch());
                done.store(found.is_err(), Ordering::Relaxed);
                let found = found.unwrap();
                assert_eq!((found.damaged, found.unreferenced), (vec![], vec![]));
            }
            done.store(true, Ordering::Relaxed);
        });
        for key in 0.. {
            if done.load(Ordering::Relaxed) {
                break;
            }
            client.put(key % 400, &value(key)).unwrap();
        }
        verifier.join().unwrap();
    });
    client.close();
}

#[test]
fn a_flipped_bit_in_any_page_is_found_as_it_is_at_rest_and_the_store_goes_on() {
    let client = filled();
    let pages = client.verify().unwrap().pages;
    let (mut damaged, mut unreferenced) = (0, 0);
    for page in (1..pages).step_by(5) {
        let block = DATA_START + page / 128 * 129 + 1 + page % 128;
        let offset = block * BLOCK + 40 + page * 13 % 4000;
        if block * BLOCK >= fs::metadata(&client.path).unwrap().len() {
            continue;
        }
        flip(&client.path, offset);
        let found = client.verify().unwrap();
        assert_eq!(found, at_rest(&client), "page {page}");
        flip(&client.path, offset);
        let page = vec![u32::try_from(page).unwrap()];
        damaged += u32::from(found.damaged == page);
        unreferenced += u32::from(found.unreferenced == page);
    }
    assert!(damaged > 10 && unreferenced > 3, "{damaged} {unreferenced}");
    client.put(1, b"written").unwrap();
    assert_eq!(client.verify().unwrap(), at_rest(&client));
    client.close();
}

#[test]
fn a_free_page_that_failed_and_was_written_since_is_no_damage_and_condemns_no_other() {
    let client = filled();
    let offset = |page: u32| (DATA_START + 1 + u64::from(page)) * BLOCK + 100;
    let free: Vec<u32> = (1..128)
        .filter(|&page| {
            flip(&client.path, offset(page));
            let found = client.verify().unwrap();
            flip(&client.path, offset(page));
            found.unreferenced == [page]
        })
        .collect();
    for &page in &free {
        flip(&client.path, offset(page));
    }
    let idle = client.verify().unwrap();
    assert_eq!((&idle.damaged, &idle.unreferenced), (&vec![], &free));

    // The first group has been read when the second is announced; what comes then lies between that and the judgement.
    let (reached, second) = channel();
    let (resume, resumed) = channel();
    let resumed = Mutex::new(resumed);
    let watch = Arc::new(Watch::new(move |at| {
        if at.done_bytes == 128 * BLOCK {
            reached.send(()).unwrap();
            resumed.lock().unwrap().recv().unwrap();
        }
    }));
    let verification = client.store.verification().unwrap().expect("sealed");
    let ended = std::thread::spawn(move || verification.run(FASTEST, &watch));
    second.recv().unwrap();
    let content = |page: u32| {
        let mut block = [0; 4096];
        let file = File::open(&client.path).unwrap();
        file.read_exact_at(&mut block, offset(page) - 100).unwrap();
        block
    };
    let before: Vec<_> = free.iter().map(|&page| content(page)).collect();
    let is_reused = || free.iter().zip(&before).any(|(&page, before)| content(page) != *before);
    for key in 0..400 {
        client.put(1000 + key, b"new").unwrap();
        if is_reused() {
            break;
        }
    }
    assert!(is_reused());
    resume.send(()).unwrap();
    let found = ended.join().unwrap().unwrap();
    assert_eq!(found.damaged, []);
    assert!(found.unreferenced.len() < free.len(), "{found:?}");
    assert!(!found.unreferenced.is_empty(), "{found:?}");
    assert_eq!(found.unreferenced, client.verify().unwrap().unreferenced);
    client.close();
}

#[test]
fn entries_that_are_no_longer_where_they_were_brought_are_damage_though_memory_has_them() {
    let client = filled();
    client.verify().unwrap();
    let meta = (DATA_START + 129) * BLOCK;
    let mut missed = 0;
    for entry in 0..128 {
        flip(&client.path, meta + entry * 32 + 3);
        let found = client.verify().unwrap();
        assert_eq!(found, at_rest(&client), "entry {entry}");
        flip(&client.path, meta + entry * 32 + 3);
        let page = u32::try_from(128 + entry).unwrap();
        if found.damaged == [page] || found.unreferenced == [page] {
            missed += 1;
        } else {
            // It is away: a record says it, and nobody asks the meta block.
            assert_eq!((found.damaged, found.unreferenced), (vec![], vec![]), "entry {entry}");
        }
    }
    assert!(missed > 10, "{missed}");
}

#[test]
fn a_lost_record_or_superblock_is_an_error_that_says_so() {
    let client = filled();
    let whole = fs::read(&client.path).unwrap();
    let file = File::options().write(true).open(&client.path).unwrap();
    let refused = |what: &str| match client.verify() {
        Err(EngineError::Corrupt { path, damage }) => {
            assert_eq!(path, client.path);
            damage
        }
        other => panic!("{what}: {other:?}"),
    };
    file.write_all_at(&vec![0; 512 * 4096], RING_START * BLOCK).unwrap();
    assert!(matches!(refused("ring"), Damage::BrokenChain { .. }));
    file.write_all_at(&whole, 0).unwrap();
    flip(&client.path, 40);
    client.verify().expect("the other copy is whole");
    flip(&client.path, BLOCK + 40);
    let damage = refused("superblock");
    assert_eq!(
        SealedError::from(damage).to_string(),
        SealedError::from(Damage::Superblock).to_string()
    );
    file.write_all_at(&whole, 0).unwrap();
    client.verify().unwrap();
    client.close();
}

#[test]
fn a_verification_says_how_far_it_is_and_stops_when_it_is_told_to_or_the_store_is_closed() {
    let client = filled();
    let stopped = watch();
    stopped.cancel();
    let verification = client.store.verification().unwrap().expect("sealed");
    let error = verification.run(FASTEST, &stopped).unwrap_err();
    assert!(matches!(error, EngineError::Interrupted { .. }), "{error}");

    let verification = client.store.verification().unwrap().expect("sealed");
    let (told, progress) = channel();
    let watch = Arc::new(Watch::new(move |at| told.send(at).unwrap_or_default()));
    let ended = std::thread::spawn(move || verification.run(1, &watch));
    let first = progress.recv().unwrap();
    assert_eq!((first.phase, first.done_bytes), ("verifying", 0));
    assert!(first.total_bytes > 100 * BLOCK);
    client.close();
    let error = ended.join().unwrap().unwrap_err();
    assert!(matches!(error, EngineError::Closed { .. }), "{error}");
    assert!(matches!(client.store.verification(), Err(EngineError::Closed { .. })));
}

#[test]
fn a_plain_database_has_nothing_to_authenticate() {
    assert!(client(false).store.verification().unwrap().is_none());
}

/// A disk on which one write of a page has come, and its entry has not, until somebody reads.
#[derive(Debug)]
struct Midway {
    disk: SimDisk,
    is_armed: Arc<AtomicBool>,
    has_come: Mutex<Sender<()>>,
    was_read: (Mutex<Sender<()>>, Mutex<Receiver<()>>),
}

impl Disk for Midway {
    fn len(&self) -> io::Result<u64> {
        self.disk.len()
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        let read = self.disk.read_at(offset, out);
        self.was_read.0.lock().unwrap().send(()).unwrap();
        read
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.disk.write_at(offset, bytes)?;
        if offset > DATA_START * BLOCK && self.is_armed.swap(false, Ordering::SeqCst) {
            let was_read = self.was_read.1.lock().unwrap();
            while was_read.try_recv().is_ok() {}
            self.has_come.lock().unwrap().send(()).unwrap();
            was_read.recv().unwrap();
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.sync()
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.disk.set_len(bytes)
    }
}

#[test]
fn a_page_whose_entry_is_still_on_its_way_is_looked_at_again_when_it_has_come() {
    let (has_come, came) = channel();
    let (reading, was_read) = channel();
    let is_armed = Arc::new(AtomicBool::new(false));
    let disk = Midway {
        disk: SimDisk::recording(),
        is_armed: Arc::clone(&is_armed),
        has_come: Mutex::new(has_come),
        was_read: (Mutex::new(reading), Mutex::new(was_read)),
    };
    let file: SealedFile<Midway> = SealedFile::create(disk, IDENTITY, &fixed_dek(), Tuning::default()).unwrap();
    file.set_len(8 * BLOCK).unwrap();
    let write = |byte| {
        file.write(BLOCK, &[byte; 4096]).unwrap();
        file.sync().unwrap();
    };
    write(1);
    is_armed.store(true, Ordering::SeqCst);
    let found = std::thread::scope(|scope| {
        scope.spawn(|| write(2));
        came.recv().unwrap();
        file.failing_pages(0).unwrap()
    });
    assert_eq!(found, [0; 0]);
}
