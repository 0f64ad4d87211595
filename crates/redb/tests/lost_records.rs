//! Records taken from the ring, and the first meta block put back as it was: neither needs a key. Whatever is missed is said.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test says what it expects by panicking, and what it did by printing"
)]

mod support;

use nimbus_redb::sealed::{Damage, Protocol, Sound};
use nimbus_redb::{SealedError, SealedFile};
use nimbus_test_support::{Rng, SimDisk, fixed_dek};
use support::victim::{BLOCK, changed, sweep, tuning, victim};
use support::{FILE, IDENTITY};

/// Records can be removed without a key. All that this gains is what a crash could have done: the newest commit is gone.
#[test]
fn removed_records_are_refused_but_for_the_newest() {
    let victim = victim(7);
    let mut refused = 0;
    for (name, image) in [("closed", &victim.closed), ("killed", &victim.killed)] {
        let newest_first = records(image);
        let tally = sweep(
            &format!("removed records, {name}"),
            &victim,
            newest_first.len(),
            |case| {
                changed(image, |copy| {
                    for &(_, start) in &newest_first[..=case] {
                        copy[start..start + BLOCK].fill(0);
                    }
                })
            },
        );
        refused += tally.refused;
        sweep(
            &format!("single records removed, {name}"),
            &victim,
            newest_first.len(),
            |case| {
                let start = newest_first[case].1;
                changed(image, |copy| copy[start..start + BLOCK].fill(0))
            },
        );
        let mut rng = Rng::new(7);
        let masks: Vec<u64> = (0..1000).map(|_| rng.next() & rng.next()).collect();
        sweep(
            &format!("random blocks of the ring removed, {name}"),
            &victim,
            masks.len(),
            |case| {
                changed(image, |copy| {
                    for position in (0..24).filter(|position| masks[case] & (1 << position) != 0) {
                        copy[(2 + position) * BLOCK..(3 + position) * BLOCK].fill(0);
                    }
                })
            },
        );
    }
    assert!(refused > 10, "only {refused} refused");
}

/// Commits of pages that nothing overwrites, as while a reader holds on to an old state: every state is still whole. Removes
/// the newest records, one more at a time, and tells what each opening said.
fn openings_without_the_newest_records<P: Protocol>() -> Vec<Result<u64, SealedError>> {
    let disk = SimDisk::recording();
    let file: SealedFile<_, P> = SealedFile::create(disk.clone(), IDENTITY, &fixed_dek(), tuning()).unwrap();
    let pages = 20 * 128_u64;
    file.set_len(pages * BLOCK as u64).unwrap();
    file.write((pages - 1) * BLOCK as u64, &[0; BLOCK]).unwrap();
    file.sync().unwrap();
    for number in 1..=6 {
        file.write(number * 200 * BLOCK as u64, &[7; BLOCK]).unwrap();
        file.write(0, &number.to_le_bytes()).unwrap();
        file.sync().unwrap();
    }
    let image = disk.image();
    (1..=5)
        .map(|removed| {
            let mut copy = image.clone();
            for &(_, start) in &records(&image)[..removed] {
                copy[start..start + BLOCK].fill(0);
            }
            let file: SealedFile<_, P> = SealedFile::open(SimDisk::holding(copy), FILE, &fixed_dek(), tuning())?;
            let mut number = [0; 8];
            file.read(0, &mut number)?;
            Ok(u64::from_le_bytes(number))
        })
        .collect()
}

#[test]
fn two_commits_that_are_gone_are_missed_even_if_the_state_before_them_is_whole() {
    for (index, opened) in openings_without_the_newest_records::<Sound>().into_iter().enumerate() {
        match opened {
            // As if the power had failed within the newest.
            Ok(number) => assert_eq!((index, number), (0, 5)),
            Err(SealedError::Corrupt(Damage::LostRecords {
                page: 0,
                found: _,
                accepted: _,
            })) => assert!(index > 0),
            Err(error) => panic!("without {} records: {error}", index + 1),
        }
    }
}

#[derive(Debug)]
struct LeavesNoWitnesses;

impl Protocol for LeavesNoWitnesses {
    const LEAVES_WITNESSES: bool = false;
}

#[test]
fn without_a_witness_commits_are_lost_silently() {
    let opened = openings_without_the_newest_records::<LeavesNoWitnesses>();
    assert!(opened.into_iter().skip(1).any(|opened| opened.is_ok()));
}

/// The epochs in the ring, newest first, and where their records begin.
fn records(image: &[u8]) -> Vec<(u64, usize)> {
    let mut found: Vec<(u64, usize)> = (2..26)
        .map(|number| number * BLOCK)
        .filter(|&start| &image[start..start + 8] == b"NMBREC2\0")
        .map(|start| {
            (
                u64::from_le_bytes(image[start + 8..start + 16].try_into().unwrap()),
                start,
            )
        })
        .collect();
    found.sort_unstable_by(|one, other| other.cmp(one));
    found
}

/// A file that was closed, and then has two commits more, with its first meta block as it was when it was closed.
fn with_the_first_meta_block_of_the_close<P: Protocol>() -> Result<u64, SealedError> {
    let disk = SimDisk::recording();
    let file: SealedFile<_, P> = SealedFile::create(disk.clone(), IDENTITY, &fixed_dek(), tuning()).unwrap();
    let commit = |file: &SealedFile<SimDisk, P>, number: u64| {
        file.write((128 + number) * BLOCK as u64, &[7; BLOCK]).unwrap();
        file.write(0, &number.to_le_bytes()).unwrap();
        file.sync().unwrap();
    };
    file.set_len(400 * BLOCK as u64).unwrap();
    commit(&file, 1);
    file.close();
    let closed = disk.image();
    let file: SealedFile<_, P> = SealedFile::open(disk.clone(), FILE, &fixed_dek(), tuning()).unwrap();
    commit(&file, 2);
    commit(&file, 3);
    let mut image = disk.image();
    let first_meta = 26 * BLOCK..27 * BLOCK;
    image[first_meta.clone()].copy_from_slice(&closed[first_meta]);
    let file: SealedFile<_, P> = SealedFile::open(SimDisk::holding(image), FILE, &fixed_dek(), tuning())?;
    let mut number = [0; 8];
    file.read(0, &mut number)?;
    Ok(u64::from_le_bytes(number))
}

#[test]
fn an_old_first_meta_block_takes_no_commit_back() {
    assert_eq!(with_the_first_meta_block_of_the_close::<Sound>().unwrap(), 3);
}

#[derive(Debug)]
struct BelievesTheWitness;

impl Protocol for BelievesTheWitness {
    const LOOKS_BEYOND_THE_WITNESS: bool = false;
}

#[test]
fn without_a_look_beyond_the_witness_commits_are_lost_silently() {
    let opened = with_the_first_meta_block_of_the_close::<BelievesTheWitness>();
    assert_eq!(opened.unwrap(), 1);
}
