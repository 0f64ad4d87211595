//! A small database, whatever somebody without the key changes in it, and what becomes of each change.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};

use nimbus_redb::format::Layout;
use nimbus_redb::sealed::{Protocol, Sound};
use nimbus_redb::{SealedFile, Tuning};
use nimbus_test_support::{Rng, SimDisk, fixed_dek};

use super::workload::TheLongWay;
use super::{Base, FILE, Pairs, TABLE, create, open, pairs};

pub const BLOCK: usize = 4096;
pub const CACHE: usize = 1 << 20;

pub fn tuning() -> Tuning {
    Tuning {
        layout: Layout::new(24).unwrap(),
        threads: 1,
        ..Tuning::default()
    }
}

/// A small database: what is in it after each commit, and the image of the disk then.
pub struct Victim {
    pub states: Vec<Pairs>,
    pub images: Vec<Vec<u8>>,
    /// After the last commit, not closed.
    pub killed: Vec<u8>,
    /// Closed.
    pub closed: Vec<u8>,
}

pub fn victim(seed: u64) -> Victim {
    let mut rng = Rng::new(seed);
    let disk = SimDisk::recording();
    let base: Base<_, Sound> = create(disk.clone(), tuning(), CACHE);
    let mut victim = Victim {
        states: vec![Pairs::new()],
        images: vec![disk.image()],
        killed: Vec::new(),
        closed: Vec::new(),
    };
    for number in 0..8_u64 {
        let mut state = victim.states.last().unwrap().clone();
        let write = base.redb.begin_write().unwrap();
        {
            let mut table = write.open_table(TABLE).unwrap();
            for _ in 0..6 {
                let key = rng.below(24).to_be_bytes().to_vec();
                let length = rng.index(1200);
                let value = rng.bytes(length);
                table.insert(key.as_slice(), value.as_slice()).unwrap();
                state.insert(key, value);
            }
            table
                .insert(b"number".as_slice(), number.to_be_bytes().as_slice())
                .unwrap();
            state.insert(b"number".to_vec(), number.to_be_bytes().to_vec());
        }
        write.commit().unwrap();
        victim.states.push(state);
        victim.images.push(disk.image());
    }
    victim.killed = disk.image();
    drop(base);
    victim.closed = disk.image();
    victim
}

/// What became of one change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Refused,
    NoEffect,
    OneCommitBack,
}

/// Opens an image and reads everything.
fn fate(image: Vec<u8>, victim: &Victim) -> Result<Fate, String> {
    same_state_both_ways(&image)?;
    let attempt = || -> Option<Pairs> {
        let base: Base<_, Sound> = open(SimDisk::holding(image), tuning(), CACHE).ok()?;
        pairs(&base.redb).ok()
    };
    let found = catch_unwind(AssertUnwindSafe(attempt)).map_err(|_panic| "panic".to_owned())?;
    let last = victim.states.len() - 1;
    match found {
        None => Ok(Fate::Refused),
        Some(found) if found == victim.states[last] => Ok(Fate::NoEffect),
        Some(found) if found == victim.states[last - 1] => Ok(Fate::OneCommitBack),
        Some(_) => Err("wrong data".to_owned()),
    }
}

/// The short way may find a file in order of which the long way says that something else in the ring is damaged, but never
/// another record.
fn same_state_both_ways(image: &[u8]) -> Result<(), String> {
    fn newest<P: Protocol>(image: &[u8]) -> Option<u64> {
        let disk = SimDisk::holding(image.to_vec());
        let file = SealedFile::<_, P>::open(disk, FILE, &fixed_dek(), tuning()).ok()?;
        file.stats().ok().map(|stats| stats.epoch)
    }
    match (newest::<Sound>(image), newest::<TheLongWay>(image)) {
        (short, Some(long)) if short != Some(long) => Err(format!("{short:?} the short way, {long} the long way")),
        _ => Ok(()),
    }
}

#[derive(Debug, Default)]
pub struct Tally {
    pub tried: usize,
    pub refused: usize,
    pub one_back: usize,
    pub failures: Vec<String>,
}

/// Tries every change, on every core.
pub fn sweep(name: &str, victim: &Victim, cases: usize, change: impl Fn(usize) -> Option<Vec<u8>> + Sync) -> Tally {
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let tally = std::thread::scope(|scope| {
        let work = || {
            let mut tally = Tally::default();
            loop {
                let case = next.fetch_add(1, Ordering::Relaxed);
                if case >= cases {
                    return tally;
                }
                let Some(image) = change(case) else { continue };
                tally.tried += 1;
                match fate(image, victim) {
                    Ok(Fate::Refused) => tally.refused += 1,
                    Ok(Fate::OneCommitBack) => tally.one_back += 1,
                    Ok(Fate::NoEffect) => {}
                    Err(failure) => tally.failures.push(format!("case {case}: {failure}")),
                }
            }
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().fold(Tally::default(), |mut sum, worker| {
            let part = worker.join().expect("panics are caught");
            sum.tried += part.tried;
            sum.refused += part.refused;
            sum.one_back += part.one_back;
            sum.failures.extend(part.failures);
            sum
        })
    });
    println!(
        "{name}: {} changes, {} refused, {} one commit back, {} failures",
        tally.tried,
        tally.refused,
        tally.one_back,
        tally.failures.len()
    );
    assert_eq!(tally.failures, Vec::<String>::new(), "{name}");
    tally
}

/// Changes bytes of a copy.
pub fn changed(image: &[u8], change: impl FnOnce(&mut Vec<u8>)) -> Option<Vec<u8>> {
    let mut copy = image.to_vec();
    change(&mut copy);
    (copy != image).then_some(copy)
}

pub fn block(image: &[u8], number: usize) -> &[u8] {
    &image[number * BLOCK..(number + 1) * BLOCK]
}
