//! Many lives of one file, each begun with what the one before left and ended by `kill -9` or a power cut: epochs that come twice,
//! records that were set aside, and what they leave in the ring, in entries and behind the end of the file.

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

/// States of one life, the first one that it was born with, and how many were acknowledged.
struct States {
    all: Vec<State>,
    acknowledged: usize,
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

/// What a life leaves on the disk, and which of its states may be found there.
fn end(disk: &SimDisk, born_with: Vec<u8>, states: &States, rng: &mut Rng) -> (Vec<u8>, [usize; 2]) {
    if rng.once_in(2) {
        return (disk.image(), [states.acknowledged, states.all.len() - 1]);
    }
    let sector = [Sector::Block, Sector::Half, Sector::Byte][rng.index(3)];
    let mut left = Vec::new();
    cuts(disk, born_with, sector, 1, &mut rng.clone(), |cut| left.push(cut));
    let cut = left.swap_remove(rng.index(left.len()));
    (cut.image, [cut.acknowledged.unwrap_or(0), cut.began])
}

fn found<P: Protocol>(file: &SealedFile<SimDisk, P>, allowed: &[&State]) -> Result<State, String> {
    let mut header = [0; 4];
    if !file.is_empty() {
        file.read(0, &mut header).map_err(|error| error.to_string())?;
    }
    let number = u32::from_le_bytes(header);
    let state = allowed.iter().find(|state| state.number == number);
    let state = state.ok_or_else(|| format!("state {number}, which is not the last one nor the one in flight"))?;
    for (&page, &value) in &state.pages {
        let mut bytes = vec![0; 4096];
        let read = file.read_written(u64::from(page) * PAGE, &mut bytes);
        read.map_err(|error| format!("page {page} of state {number}: {error}"))?;
        if bytes != content(page, value) {
            return Err(format!("page {page} of state {number} has other bytes"));
        }
    }
    Ok((*state).clone())
}

fn all_lives<P: Protocol>(seed: u64) -> Result<u32, String> {
    let rng = &mut Rng::new(seed);
    let layout = Layout::new([24, 40, 64, 512][rng.index(4)]).unwrap();
    let text = |error: SealedError| error.to_string();
    let first = SimDisk::recording();
    let file =
        SealedFile::<_, P>::create(first.clone(), IDENTITY, &fixed_dek(), any_tuning(rng, layout)).map_err(text)?;
    file.set_len(FIRST_PAGES * PAGE).map_err(text)?;
    file.sync().map_err(text)?;
    drop(file);
    let (mut image, mut born, mut rolled_back) = (first.image(), vec![State::default()], 0);
    for life in 0..LIVES {
        let tuning = any_tuning(rng, layout);
        let in_life = |error: String| format!("seed {seed}, life {life}: {error}");
        same_both_ways::<P>(&image, tuning).map_err(in_life)?;
        let disk = SimDisk::holding(image.clone());
        disk.record();
        let file = SealedFile::<_, P>::open(disk.clone(), FILE, &fixed_dek(), tuning)
            .map_err(|error| in_life(error.to_string()))?;
        rolled_back += u32::from(file.stats().map_err(text)?.rolled_back);
        let state = found(&file, &born.iter().collect::<Vec<_>>()).map_err(in_life)?;
        let mut states = States {
            all: vec![state],
            acknowledged: 0,
        };
        live(&file, &disk, &mut states, rng).map_err(|error| in_life(error.to_string()))?;
        let last = &states.all[states.acknowledged];
        found(&file, &[last]).map_err(in_life)?;
        if rng.once_in(3) {
            file.close();
        }
        let allowed;
        (image, allowed) = end(&disk, image, &states, rng);
        born = allowed.map(|index| states.all[index].clone()).to_vec();
        let _dead = disk.kill();
    }
    Ok(rolled_back)
}

#[test]
fn every_life_begins_with_the_last_commit_of_the_one_before_or_the_one_in_flight() {
    let mut rolled_back = 0;
    for seed in 0..40 * effort() {
        rolled_back += all_lives::<Sound>(seed).unwrap();
    }
    println!("{rolled_back} lives began by setting a record aside");
    assert!(rolled_back > 0);
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

/// The newest record is believed whether or not its pages are there.
#[derive(Debug)]
struct Believing;
impl Protocol for Believing {
    const VERIFIES_NEWEST: bool = false;
}

/// What was away of pages that were cut off comes back with them.
#[derive(Debug)]
struct Remembering;
impl Protocol for Remembering {
    const DROPS_WHAT_IS_CUT: bool = false;
}

#[test]
fn without_the_verification_of_the_newest_record_a_life_begins_wrong() {
    assert!((0..200).any(|seed| all_lives::<Believing>(seed).is_err()));
}

#[test]
fn without_dropping_what_was_cut_a_life_begins_wrong() {
    assert!((0..200).any(|seed| all_lives::<Remembering>(seed).is_err()));
}
