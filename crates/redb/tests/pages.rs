//! The sealed file as a file: whatever is written, cut off and grown, reads are those of an array of bytes; on one
//! thread or several, with much memory or little.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test says what it expects by panicking"
)]

mod support;

use std::sync::atomic::{AtomicBool, Ordering};

use nimbus_redb::sealed::Sound;
use nimbus_redb::{SealedError, SealedFile, Tuning};
use nimbus_test_support::{Rng, SimDisk, fixed_dek};
use support::workload::tuning;
use support::{FILE, IDENTITY};

const PAGE: usize = 4096;

fn create(disk: SimDisk, tuning: Tuning) -> SealedFile<SimDisk, Sound> {
    SealedFile::create(disk, IDENTITY, &fixed_dek(), tuning).unwrap()
}

#[test]
fn a_sealed_file_reads_as_an_array_of_bytes() {
    let several_threads = Tuning {
        threads: 3,
        cached_meta_blocks: 1,
        ..tuning(500, 16)
    };
    for (seed, tuning) in [
        (1, tuning(2048, 16)),
        (2, tuning(3, 1)),
        (3, several_threads),
        (4, several_threads),
    ] {
        let mut rng = Rng::new(seed);
        let disk = SimDisk::holding(Vec::new());
        let mut file = create(disk.clone(), tuning);
        let mut model: Vec<u8> = Vec::new();
        for step in 0..1500 {
            let pages = model.len() / PAGE;
            match rng.below(20) {
                0 => {
                    let pages = rng.index(4000);
                    file.set_len((pages * PAGE) as u64).unwrap();
                    model.resize(pages * PAGE, 0);
                }
                1..=6 if pages > 1 => {
                    let first = 1 + rng.index(pages - 1);
                    let most = if rng.once_in(8) { 700 } else { 4 };
                    let count = (1 + rng.index(most)).min(pages - first);
                    let bytes = rng.bytes(count * PAGE);
                    file.write((first * PAGE) as u64, &bytes).unwrap();
                    model[first * PAGE..(first + count) * PAGE].copy_from_slice(&bytes);
                }
                7 | 8 if pages > 0 => {
                    let bytes = rng.bytes(320);
                    file.write(0, &bytes).unwrap();
                    model[..320].copy_from_slice(&bytes);
                }
                9..=11 => file.sync().unwrap(),
                12 if rng.once_in(4) => {
                    file.sync().unwrap();
                    file = SealedFile::open(disk.clone(), FILE, &fixed_dek(), tuning).unwrap();
                }
                _ if pages > 0 => {
                    let start = rng.index(model.len());
                    let most = if rng.once_in(6) { 300 * PAGE } else { 9000 };
                    let end = (start + rng.index(most)).min(model.len());
                    let mut out = vec![0xee; end - start];
                    file.read(start as u64, &mut out).unwrap();
                    assert!(out == model[start..end], "seed {seed}, step {step}: {start}..{end}");
                }
                _ => {}
            }
        }
        let mut everything = vec![0; model.len()];
        file.read(0, &mut everything).unwrap();
        assert!(everything == model);
        assert_eq!(file.damaged_pages().unwrap(), Vec::<u32>::new());
        file.sync().unwrap();
        let needed = usize::try_from(file.stats().unwrap().physical_bytes).unwrap();
        assert!(needed <= (32 + 2 + 4000 / 128 * 129 + 129) * PAGE, "{needed} bytes");
    }
}

#[test]
fn what_is_neither_pages_nor_the_header_is_refused() {
    let file = create(SimDisk::holding(Vec::new()), tuning(64, 16));
    file.set_len(10 * PAGE as u64).unwrap();
    let unaligned = |outcome| matches!(outcome, Err(SealedError::Unaligned { .. }));
    assert!(unaligned(file.write(PAGE as u64 + 1, &[1; PAGE])));
    assert!(unaligned(file.write(PAGE as u64, &[1; 100])));
    assert!(unaligned(file.write(500, &[1; 100])), "beyond the header's 512 bytes");
    assert!(unaligned(file.write(4000, &[0; 200])), "from page 0 into page 1");
    assert!(unaligned(file.set_len(100)));
    file.write(0, &[0; PAGE]).expect("zeros where nothing else may be");
    let beyond = |outcome| matches!(outcome, Err(SealedError::BeyondEnd { .. }));
    assert!(beyond(file.write(10 * PAGE as u64, &[1; PAGE])));
    assert!(beyond(file.read(10 * PAGE as u64 - 1, &mut [0; 2])));
    assert!(beyond(file.read(u64::MAX, &mut [0; 2])));
    assert!(beyond(file.set_len(1 << 60)));
    let mut page = [1; PAGE];
    file.read(PAGE as u64, &mut page).unwrap();
    assert_eq!(page, [0; PAGE]);
    assert!(matches!(
        file.read_written(PAGE as u64, &mut page),
        Err(SealedError::Corrupt(_))
    ));
}

/// redb reads from many threads while one writes and syncs, never the same page at once.
#[test]
fn readers_and_a_writer_share_a_file_whose_memory_is_too_small() {
    let small = Tuning {
        cached_meta_blocks: 1,
        threads: 2,
        ..tuning(40, 2)
    };
    let file = create(SimDisk::holding(Vec::new()), small);
    let content = |page: usize| [u8::try_from(page % 251).unwrap(); PAGE];
    file.set_len(6000 * PAGE as u64).unwrap();
    for page in (1..6000).step_by(2) {
        file.write((page * PAGE) as u64, &content(page)).unwrap();
    }
    file.sync().unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for seed in 0..4 {
            let (file, done) = (&file, &done);
            scope.spawn(move || {
                let mut rng = Rng::new(seed);
                let mut out = [0; PAGE];
                while !done.load(Ordering::Relaxed) {
                    let page = 1 + 2 * rng.index(2999);
                    file.read((page * PAGE) as u64, &mut out).unwrap();
                    assert_eq!(out, content(page));
                }
            });
        }
        let mut rng = Rng::new(99);
        for round in 0..150_u8 {
            for _ in 0..60 {
                file.write((2 + 2 * rng.index(2998)) as u64 * PAGE as u64, &[round; PAGE])
                    .unwrap();
            }
            file.write(0, &[round; 320]).unwrap();
            file.sync().unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
}
