//! Many lives of one file, each begun with what the one before left and ended by `kill -9`, a sync that failed or a power cut: epochs
//! that come twice, records that were set aside, and what they leave in the ring, in entries and behind the end of the file;
//! and what is read of the disk though the device does not have it.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test says what it expects by panicking, and what it did by printing"
)]

mod support;

use std::collections::BTreeMap;

use nimbus_redb::format::Layout;
use nimbus_redb::sealed::{Protocol, Sound};
use nimbus_redb::{SealedError, SealedFile, Tuning};
use nimbus_test_support::{Event, Rng, Sector, SimDisk, cuts, fixed_dek};
use support::workload::same_both_ways;
use support::{FILE, IDENTITY, effort};

const PAGE: u64 = 4096;
const FIRST_PAGES: u64 = 50;
const MOST_PAGES: u64 = 400;
const LIVES: usize = 25;

/// What one commit holds: a number in the header, and the pages that it uses.
#[derive(Clone, Default)]
struct State {
    number: u32,
    pages: BTreeMap<u32, u32>,
}

/// States since the last power cut, and the last one that was acknowledged.
struct States {
    all: Vec<State>,
    acknowledged: usize,
}

/// The disk, and what may be found on it.
struct Past {
    disk: SimDisk,
    /// What the device held at the last power cut.
    device: Vec<u8>,
    states: States,
    allowed: [usize; 2],
}

impl Past {
    /// Begins with an image that a power cut left, in one of two states.
    fn after_power_cut(device: Vec<u8>, allowed: &[State; 2]) -> Self {
        let disk = SimDisk::holding(device.clone());
        disk.record();
        Self {
            disk,
            device,
            states: States {
                all: allowed.to_vec(),
                acknowledged: 0,
            },
            allowed: [0, 1],
        }
    }
}

fn content(page: u32, value: u32) -> Vec<u8> {
    [page, value].map(u32::to_le_bytes).concat().repeat(512)
}

fn any_tuning(rng: &mut Rng, layout: Layout) -> Tuning {
    Tuning {
        layout,
        staged_pages: [1, 2, 64][rng.index(3)],
        cached_meta_blocks: [1, 64][rng.index(2)],
        entries_away: [1, 6, 40, 1000][rng.index(4)],
        entries_at_close: [0, 8, 200][rng.index(3)],
        record_blocks: [0, 1, 2, 16][rng.index(4)],
        threads: 1,
    }
}

/// Lives until it has made some commits. As redb does, it overwrites no page that the last one uses.
fn live<P: Protocol>(
    file: &SealedFile<SimDisk, P>,
    disk: &SimDisk,
    states: &mut States,
    rng: &mut Rng,
) -> Result<(), SealedError> {
    let mut written = BTreeMap::new();
    let mut value = u32::from_le_bytes(rng.bytes(4).try_into().unwrap());
    for _ in 0..rng.index(60) {
        let used = states.all[states.acknowledged].pages.clone();
        match rng.below(12) {
            0 => {
                let least = used.keys().next_back().map_or(1, |page| u64::from(*page) + 1);
                let pages = least + rng.below(MOST_PAGES - least.min(MOST_PAGES - 1));
                file.set_len(pages * PAGE)?;
                written.retain(|&page, _| u64::from(page) < pages);
            }
            1..=7 => {
                let page = u32::try_from(1 + rng.below((file.len() / PAGE).max(2) - 1)).unwrap();
                if !used.contains_key(&page) && u64::from(page) < file.len() / PAGE {
                    value = value.wrapping_add(1);
                    file.write(u64::from(page) * PAGE, &content(page, value))?;
                    written.insert(page, value);
                }
            }
            _ => {
                let mut next = State {
                    number: states.all[states.acknowledged].number + 1,
                    pages: used,
                };
                next.pages.retain(|_, _| !rng.once_in(6));
                next.pages.append(&mut written);
                file.write(0, &next.number.to_le_bytes())?;
                states.all.push(next);
                let index = states.all.len() - 1;
                disk.mark(Event::Began(index));
                file.sync()?;
                disk.mark(Event::Acknowledged(index));
                states.acknowledged = index;
            }
        }
    }
    Ok(())
}

/// What a life leaves on the disk, and which of the states may be found there.
fn end(mut past: Past, rng: &mut Rng) -> Past {
    if rng.once_in(2) {
        past.allowed = [past.states.acknowledged, past.states.all.len() - 1];
        past.disk = next_process(&past.disk, rng);
        return past;
    }
    let sector = [Sector::Block, Sector::Half, Sector::Byte][rng.index(3)];
    let syncs = past
        .disk
        .events()
        .iter()
        .filter(|event| matches!(event, Event::Sync))
        .count();
    let (chosen, mut number, mut left) = (rng.index(syncs + 1), 0, None);
    cuts(&past.disk, past.device, sector, 1, rng, |cut| {
        // What comes after the last sync may be nothing.
        if number <= chosen {
            left = Some(cut);
        }
        number += 1;
    });
    let _dead = past.disk.kill();
    let cut = left.unwrap();
    // Until the first opening since the last cut, what that one left.
    let allowed = cut
        .acknowledged
        .map_or([0, 1], |acknowledged| [acknowledged, cut.began]);
    Past::after_power_cut(cut.image, &allowed.map(|index| past.states.all[index].clone()))
}

/// The process is gone; what a failed sync lost may be gone from the system's memory as well.
fn next_process(disk: &SimDisk, rng: &mut Rng) -> SimDisk {
    let disk = disk.kill();
    if rng.once_in(2) {
        disk.forget_lost(rng);
    }
    disk
}

/// Opens the file, now and then for a second time because the sync of the first has failed.
fn open<P: Protocol>(past: &mut Past, tuning: Tuning, rng: &mut Rng) -> Result<SealedFile<SimDisk, P>, String> {
    let opened = |disk: &SimDisk| SealedFile::<_, P>::open(disk.clone(), FILE, &fixed_dek(), tuning);
    if rng.once_in(5) {
        past.disk.lose_sync(0, rng.clone());
        match opened(&past.disk) {
            Err(SealedError::Io(_)) => past.disk = next_process(&past.disk, rng),
            Err(error) => return Err(error.to_string()),
            Ok(_) => return Err("opened without a sync".to_owned()),
        }
    }
    same_both_ways::<P>(&past.disk.image(), tuning)?;
    opened(&past.disk).map_err(|error| error.to_string())
}

/// Which of the states that are allowed is there, all of it.
fn found<P: Protocol>(file: &SealedFile<SimDisk, P>, states: &[State], allowed: &[usize]) -> Result<usize, String> {
    let mut header = [0; 4];
    if !file.is_empty() {
        file.read(0, &mut header).map_err(|error| error.to_string())?;
    }
    let number = u32::from_le_bytes(header);
    let index = allowed.iter().copied().find(|&index| states[index].number == number);
    let index = index.ok_or_else(|| {
        let allowed: Vec<u32> = allowed.iter().map(|&index| states[index].number).collect();
        format!("state {number}, which is not the last one nor the one in flight, {allowed:?}")
    })?;
    let state = &states[index];
    for (&page, &value) in &state.pages {
        let mut bytes = vec![0; 4096];
        let read = file.read_written(u64::from(page) * PAGE, &mut bytes);
        read.map_err(|error| format!("page {page} of state {number}: {error}"))?;
        if bytes != content(page, value) {
            return Err(format!("page {page} of state {number} has other bytes"));
        }
    }
    Ok(index)
}

/// What came of the lives of one file.
#[derive(Default)]
struct Outcome {
    rolled_back: u32,
    syncs_failed: u32,
}

fn all_lives<P: Protocol>(seed: u64) -> Result<Outcome, String> {
    let rng = &mut Rng::new(seed);
    let layout = Layout::new([24, 40, 64, 512][rng.index(4)]).unwrap();
    let text = |error: SealedError| error.to_string();
    let first = SimDisk::recording();
    let file =
        SealedFile::<_, P>::create(first.clone(), IDENTITY, &fixed_dek(), any_tuning(rng, layout)).map_err(text)?;
    file.set_len(FIRST_PAGES * PAGE).map_err(text)?;
    file.sync().map_err(text)?;
    drop(file);
    let mut past = Past::after_power_cut(first.image(), &[State::default(), State::default()]);
    let mut outcome = Outcome::default();
    for life in 0..LIVES {
        let in_life = |error: String| format!("seed {seed}, life {life}: {error}");
        let file = open::<P>(&mut past, any_tuning(rng, layout), rng).map_err(in_life)?;
        outcome.rolled_back += u32::from(file.stats().map_err(text)?.rolled_back);
        let states = &mut past.states;
        // Whatever is seen must stay seen.
        states.acknowledged = found(&file, &states.all, &past.allowed).map_err(in_life)?;
        past.disk.mark(Event::Acknowledged(states.acknowledged));
        if rng.once_in(3) {
            past.disk.lose_sync(rng.below(12), rng.clone());
        }
        match live(&file, &past.disk, states, rng) {
            Ok(()) => {
                found(&file, &states.all, &[states.acknowledged]).map_err(in_life)?;
                if rng.once_in(3) {
                    file.close();
                }
            }
            Err(SealedError::Io(_)) => outcome.syncs_failed += 1,
            Err(error) => return Err(in_life(error.to_string())),
        }
        past = end(past, rng);
    }
    Ok(outcome)
}

#[test]
fn every_life_begins_with_the_last_commit_of_the_one_before_or_the_one_in_flight() {
    let (mut rolled_back, mut syncs_failed) = (0, 0);
    for seed in 0..40 * effort() {
        let outcome = all_lives::<Sound>(seed).unwrap();
        rolled_back += outcome.rolled_back;
        syncs_failed += outcome.syncs_failed;
    }
    println!("{rolled_back} lives began by setting a record aside, {syncs_failed} ended with a failed sync");
    assert!(rolled_back > 0 && syncs_failed > 100);
}

/// Its record says that the file has two groups. What would have made the file that long is lost; what comes later must not stand in for it.
#[test]
fn a_commit_that_was_set_aside_does_not_come_back() {
    let tuning = Tuning {
        staged_pages: 1,
        ..Tuning::default()
    };
    let open = |disk: &SimDisk| SealedFile::<_, Sound>::open(disk.clone(), FILE, &fixed_dek(), tuning).unwrap();
    let commit = |file: &SealedFile<SimDisk, Sound>, page: u32, number: u32| {
        file.write(u64::from(page) * PAGE, &content(page, number)).unwrap();
        file.write(0, &number.to_le_bytes()).unwrap();
        file.sync().unwrap();
    };
    let disk = SimDisk::recording();
    let file = SealedFile::<_, Sound>::create(disk.clone(), IDENTITY, &fixed_dek(), tuning).unwrap();
    file.set_len(100 * PAGE).unwrap();
    commit(&file, 50, 1);
    let mut left = disk.image();
    disk.record();
    file.set_len(300 * PAGE).unwrap();
    file.write(200 * PAGE, &content(200, 2)).unwrap();
    file.set_len(150 * PAGE).unwrap();
    commit(&file, 2, 2);
    for event in disk.events() {
        if let Event::Write { offset, bytes } = event {
            let start = usize::try_from(offset).unwrap();
            if let Some(place) = left.get_mut(start..start + bytes.len()) {
                place.copy_from_slice(&bytes);
            }
        }
    }
    let disk = SimDisk::holding(left);
    let file = open(&disk);
    assert!(file.stats().unwrap().rolled_back);
    file.set_len(300 * PAGE).unwrap();
    file.write(200 * PAGE, &content(200, 3)).unwrap();
    let disk = disk.kill();
    drop(file);
    let mut header = [0; 4];
    open(&disk).read(0, &mut header).unwrap();
    assert_eq!(u32::from_le_bytes(header), 1);
}

/// Whether a step that is left out makes some life begin wrong.
macro_rules! noticed {
    ($test:ident, $name:ident, $step:ident) => {
        #[test]
        fn $test() {
            #[derive(Debug)]
            struct $name;
            impl Protocol for $name {
                const $step: bool = false;
            }
            let failure = (0..400).find_map(|seed| all_lives::<$name>(seed).err());
            println!("{}: {failure:?}", stringify!($name));
            assert!(failure.is_some());
        }
    };
}

noticed!(
    without_the_verification_of_the_newest_record_a_life_begins_wrong,
    BelievesEveryRecord,
    VERIFIES_NEWEST
);
noticed!(
    without_dropping_what_was_cut_a_life_begins_wrong,
    BringsBackWhatWasCut,
    DROPS_WHAT_IS_CUT
);
noticed!(
    without_writing_again_what_was_accepted_a_life_begins_wrong,
    TrustsWhatIsRead,
    WRITES_AGAIN_AT_OPEN
);
noticed!(
    without_sparing_needed_records_a_life_begins_wrong,
    ZeroesNeededRecords,
    SPARES_NEEDED_RECORDS
);
