//! Files whose headers, records and entries say anything at all, also under the right key: no panic, no more memory than the
//! file is worth. What tests/tamper.rs changes does not authenticate; what this writes does.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test says what it expects by panicking, and what it did by printing"
)]

mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;

use nimbus_crypto::{FileId, RedbKeys};
use nimbus_redb::format::{HEADER_BYTES, Layout, PageSeal, Record, Superblock};
use nimbus_redb::sealed::Sound;
use nimbus_redb::{SealedError, SealedFile, Tuning};
use nimbus_test_support::{Rng, SimDisk, fixed_dek};
use support::{FILE, IDENTITY, effort};

const BLOCK: usize = 4096;
const RING_BLOCKS: u32 = 24;
/// The file of the test has 140 KB; this is for the test itself, its threads and its libraries.
const MEMORY_KIB: u64 = 512 << 10;

fn tuning() -> Tuning {
    Tuning {
        layout: Layout::new(RING_BLOCKS).unwrap(),
        threads: 1,
        ..Tuning::default()
    }
}

/// A sound file of three commits that was not closed, and the keys of its records.
fn sound() -> (Vec<u8>, RedbKeys) {
    let disk = SimDisk::holding(Vec::new());
    let file = SealedFile::<_, Sound>::create(disk.clone(), IDENTITY, &fixed_dek(), tuning()).unwrap();
    for number in 1..=3_u8 {
        file.set_len(u64::from(number) * 16 * BLOCK as u64).unwrap();
        file.write(u64::from(number) * BLOCK as u64, &[number; 2 * BLOCK])
            .unwrap();
        file.write(0, &[number; 8]).unwrap();
        file.sync().unwrap();
    }
    let superblock = Superblock {
        file_id: FILE,
        dek_generation: IDENTITY.dek_generation,
        layout: tuning().layout,
    };
    (disk.image(), superblock.keys(&fixed_dek()))
}

/// Any size up to `limit`, small ones as often as large ones.
fn size(rng: &mut Rng, limit: u64) -> u64 {
    let bits = rng.below(u64::from(u64::BITS - limit.leading_zeros()) + 1);
    rng.next()
        .checked_shr(64 - u32::try_from(bits).unwrap())
        .unwrap_or(0)
        .min(limit)
}

fn number(rng: &mut Rng, limit: u32) -> u32 {
    u32::try_from(size(rng, u64::from(limit))).unwrap()
}

/// A record whose fields are anything that decoding lets through, as a rule.
fn any_record(rng: &mut Rng, epoch: u64, previous_tag: [u8; 16], seals: &[PageSeal]) -> Record {
    let pages_of_file = 1 + size(rng, 1 << 32);
    let groups = 1 + number(rng, u32::try_from(pages_of_file.div_ceil(128).max(1) - 1).unwrap());
    let mut pages: Vec<(u32, PageSeal)> = (0..rng.below(40))
        .map(|_| (number(rng, u32::MAX), seals[rng.index(seals.len())]))
        .collect();
    pages.sort_unstable_by_key(|&(page, _)| page);
    pages.dedup_by_key(|&mut (page, _)| page);
    pages.retain(|&(page, _)| page > 0 && u64::from(page) < pages_of_file || rng.once_in(50));
    if rng.once_in(3) {
        pages.clear();
    }
    let carried = if rng.once_in(3) {
        pages.split_off(rng.index(pages.len() + 1))
    } else {
        Vec::new()
    };
    Record {
        epoch,
        previous_tag: if rng.once_in(6) { [7; 16] } else { previous_tag },
        checkpoint_epoch: if rng.once_in(3) { epoch } else { size(rng, epoch) },
        logical_bytes: pages_of_file * BLOCK as u64,
        lowest_bytes: size(rng, pages_of_file) * BLOCK as u64,
        groups,
        lowest_groups: 1 + number(rng, groups - 1),
        shrunk: rng.once_in(2),
        header: [rng.next().to_le_bytes()[0]; HEADER_BYTES],
        pages,
        carried,
    }
}

/// The seals that the entries of the first group hold: with them, a page that a record lists may even authenticate.
fn seals(image: &[u8]) -> Vec<PageSeal> {
    let meta = &image[(2 + RING_BLOCKS as usize) * BLOCK..][..BLOCK];
    let seal = |entry: &[u8]| PageSeal {
        nonce: entry[..12].try_into().unwrap(),
        tag: entry[12..28].try_into().unwrap(),
    };
    meta.chunks(32).map(seal).collect()
}

/// Up to four records after one another, from anywhere in the ring on.
fn write_records(image: &mut [u8], keys: &RedbKeys, rng: &mut Rng) {
    let seals = seals(image);
    let mut position = number(rng, RING_BLOCKS - 1);
    let mut epoch = if rng.once_in(8) {
        size(rng, (1 << 48) - 4)
    } else {
        4 + rng.below(3)
    };
    let mut tag = [0; 16];
    if rng.once_in(2) {
        image[2 * BLOCK..(2 + RING_BLOCKS as usize) * BLOCK].fill(0);
    }
    for _ in 0..=rng.below(4) {
        let record = any_record(rng, epoch, tag, &seals);
        let (bytes, its_tag) = record.encode(keys.records(), position).unwrap();
        for block in bytes.chunks(BLOCK) {
            let start = (2 + (position % RING_BLOCKS) as usize) * BLOCK;
            image[start..start + BLOCK].copy_from_slice(block);
            position = (position + 1) % RING_BLOCKS;
        }
        tag = its_tag;
        epoch += if rng.once_in(6) { rng.below(3) } else { 1 };
    }
}

/// Bytes of anything, but for the magic numbers, so that what reads them goes on.
fn write_noise(image: &mut [u8], rng: &mut Rng) {
    let blocks = image.len() / BLOCK;
    for _ in 0..=rng.below(6) {
        let start = rng.index(blocks) * BLOCK;
        let from = [0, 8, 20, 64][rng.index(4)];
        let noise = rng.bytes(BLOCK - from);
        image[start + from..start + BLOCK].copy_from_slice(&noise);
    }
}

/// Meta blocks are not sealed: every entry of theirs may say anything.
fn write_entries(image: &mut [u8], rng: &mut Rng) {
    let start = (2 + RING_BLOCKS as usize) * BLOCK;
    for _ in 0..rng.below(128) {
        let entry = start + rng.index(128) * 32;
        let epoch = size(rng, u64::MAX).to_le_bytes();
        image[entry..entry + 6].copy_from_slice(&epoch[..6]);
        image[entry + 28] = rng.below(5).to_le_bytes()[0];
    }
}

/// Opens, reads, writes, cuts and opens again; whatever of it succeeds.
fn use_file(image: Vec<u8>, rng: &mut Rng) -> Result<(), SealedError> {
    let disk = SimDisk::holding(image);
    for _ in 0..2 {
        let file = SealedFile::<_, Sound>::open(disk.clone(), FILE, &fixed_dek(), tuning())?;
        let mut page = [0; BLOCK];
        for _ in 0..20 {
            let _ = file.read(size(rng, file.len() / BLOCK as u64) * BLOCK as u64, &mut page);
            let _ = file.read_written(rng.below(32) * BLOCK as u64, &mut page);
        }
        file.write(0, &[1; 8])?;
        let _ = file.write(BLOCK as u64, &page);
        let kept = size(rng, (file.len() / BLOCK as u64).min(1 << 16));
        file.set_len(kept * BLOCK as u64)?;
        file.sync()?;
    }
    Ok(())
}

/// Not a test: runs in a process whose memory is limited, and says how many files opened.
#[test]
#[ignore = "run by the other in a process of its own"]
fn child() {
    let (image, keys) = sound();
    let mut opened = 0;
    let cases = 20_000 * effort();
    for case in 0..cases {
        let mut rng = Rng::new(case);
        let mut image = image.clone();
        match case % 4 {
            0 | 1 => write_records(&mut image, &keys, &mut rng),
            2 => write_entries(&mut image, &mut rng),
            _ => write_noise(&mut image, &mut rng),
        }
        if rng.once_in(4) {
            image.truncate(rng.index(image.len()));
        }
        let used = catch_unwind(AssertUnwindSafe(|| use_file(image, &mut rng)));
        let outcome = used.unwrap_or_else(|_panic| panic!("case {case}"));
        opened += u64::from(outcome.is_ok());
    }
    println!("{cases} files, {opened} of them opened and took commits");
    assert!(opened > cases / 20 && opened < cases, "{opened} of {cases}");
}

#[test]
fn no_file_makes_an_opening_panic_or_take_memory_that_the_file_is_not_worth() {
    let program = std::env::current_exe().unwrap();
    let limited = format!("ulimit -v {MEMORY_KIB}; exec \"$0\" child --exact --ignored --nocapture");
    let child = Command::new("sh").args(["-c", &limited]).arg(program).output().unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    println!("{said}");
    let complained = String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success(), "{:?}: {said}{complained}", child.status);
    assert!(said.contains("1 passed"), "{said}");
}

#[test]
fn noise_of_any_length_is_no_file() {
    let mut rng = Rng::new(9);
    for _ in 0..2_000 {
        let length = rng.index(40 * BLOCK);
        let mut image = rng.bytes(length);
        if let Some(magic) = image.get_mut(..8).filter(|_| rng.once_in(2)) {
            magic.copy_from_slice(b"NMBSRDB2");
        }
        let opened = SealedFile::<_, Sound>::open(SimDisk::holding(image), FileId([3; 16]), &fixed_dek(), tuning());
        assert!(opened.is_err());
    }
}
