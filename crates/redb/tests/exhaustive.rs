//! Every subset of the operations of short commits, and every tear of one of them, on the sealed file itself: the whole
//! content is one of the two states that it may be.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test says what it expects by panicking, and what it did by printing"
)]

mod support;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use nimbus_redb::sealed::{Protocol, Sound};
use nimbus_redb::{SealedFile, Tuning};
use nimbus_test_support::{Event, Rng, SimDisk, fixed_dek};
use support::scripts::Step::{self, Begin, Close, Commit, Kill, Lose, SetLen, Write};
use support::scripts::{Pages, all_scripts, script};
use support::workload::same_both_ways;
use support::{FILE, IDENTITY};

const PAGE: usize = 4096;

/// With this choice a failed sync loses all that it was for.
const LOSES_ALL: Rng = Rng::new(2);

struct Recorded {
    disk: SimDisk,
    base: Vec<u8>,
    states: Vec<Pages>,
}

/// Runs a script. The sync of a commit before a kill is not reached, and that of one before a loss fails and loses all.
fn record<P: Protocol>(script: &[Step], tuning: Tuning) -> Recorded {
    let disk = SimDisk::holding(Vec::new());
    let mut file = SealedFile::<_, P>::create(disk.clone(), IDENTITY, &fixed_dek(), tuning).expect("create");
    let mut recorded = Recorded {
        base: disk.image(),
        disk,
        states: vec![Pages::new()],
    };
    if !script.iter().any(|step| matches!(step, Begin)) {
        recorded.disk.record();
    }
    for (index, step) in script.iter().enumerate() {
        match step {
            Write(page, value) => file.write(u64::from(*page) * 4096, &[*value; PAGE]).expect("write"),
            SetLen(count) => file.set_len(u64::from(*count) * 4096).expect("length"),
            Commit(pages) => {
                let number = recorded.states.len();
                recorded.states.push(pages.clone());
                recorded.disk.mark(Event::Began(number));
                file.write(0, &[u8::try_from(number).unwrap(); 320]).expect("header");
                match script.get(index + 1) {
                    Some(Kill) => recorded.disk.fail_syncs(),
                    Some(Lose) => recorded.disk.lose_sync(0, LOSES_ALL),
                    _ => {}
                }
                if matches!(script.get(index + 1), Some(Kill | Lose)) {
                    file.sync().expect_err("the sync fails");
                } else {
                    file.sync().expect("commit");
                    recorded.disk.mark(Event::Acknowledged(number));
                }
            }
            Begin => {
                recorded.base = recorded.disk.image();
                recorded.disk.record();
                recorded.disk.mark(Event::Acknowledged(recorded.states.len() - 1));
            }
            Close | Kill | Lose => {
                if matches!(step, Close) {
                    file.close();
                    if matches!(script.get(index + 1), Some(Lose)) {
                        continue;
                    }
                }
                recorded.disk = recorded.disk.kill();
                if matches!(step, Lose) {
                    recorded.disk.lose_sync(0, LOSES_ALL);
                    SealedFile::<_, P>::open(recorded.disk.clone(), FILE, &fixed_dek(), tuning)
                        .expect_err("its sync fails");
                    recorded.disk = recorded.disk.kill();
                }
                file = SealedFile::open(recorded.disk.clone(), FILE, &fixed_dek(), tuning).expect("open");
                // Whatever is seen must stay seen.
                let number = header(&file);
                recorded.disk.mark(Event::Acknowledged(number));
            }
        }
    }
    recorded
}

fn header<P: Protocol>(file: &SealedFile<SimDisk, P>) -> usize {
    if file.is_empty() {
        return 0;
    }
    let mut bytes = [0; 320];
    file.read(0, &mut bytes).expect("the header is in memory");
    usize::from(bytes[0])
}

/// Opens an image and holds all of it against the states that it may be in; then commits again.
fn check<P: Protocol>(image: Vec<u8>, states: &[Pages], allowed: [usize; 2], tuning: Tuning) -> Result<(), String> {
    let text = |error: nimbus_redb::SealedError| error.to_string();
    same_both_ways::<P>(&image, tuning)?;
    let disk = SimDisk::holding(image);
    let file = SealedFile::<_, P>::open(disk.clone(), FILE, &fixed_dek(), tuning).map_err(text)?;
    let number = header(&file);
    if !allowed.contains(&number) {
        return Err(format!("state {number} was recovered, of {allowed:?}"));
    }
    let mut page = [0; PAGE];
    for (&number, &value) in &states[number] {
        file.read(u64::from(number) * 4096, &mut page).map_err(text)?;
        if page != [value; PAGE] {
            return Err(format!("page {number} holds {}, not {value}", page[0]));
        }
    }
    // Never written by any script.
    if file.len() > 145 * 4096 {
        file.read(145 * 4096, &mut page).map_err(text)?;
        if page != [0; PAGE] {
            return Err("page 145, which was never written, is not zero".to_owned());
        }
    }
    file.set_len(400 * 4096).map_err(text)?;
    file.write(350 * 4096, &[9; PAGE]).map_err(text)?;
    file.sync().map_err(text)?;
    drop(file);
    let file = SealedFile::<_, P>::open(disk, FILE, &fixed_dek(), tuning).map_err(text)?;
    file.read(350 * 4096, &mut page).map_err(text)?;
    if page != [9; PAGE] {
        return Err("what was written after the cut is lost".to_owned());
    }
    file.read(399 * 4096, &mut page).map_err(text)?;
    if page != [0; PAGE] {
        return Err("a page never written is not zero".to_owned());
    }
    Ok(())
}

/// Every subset of the operations between two syncs, and every tear of one operation with the others whole or missing, up to the
/// first failure.
fn exhaust<P: Protocol>(script: &[Step], tuning: Tuning) -> (u64, Option<String>) {
    let recorded = record::<P>(script, tuning);
    let events = recorded.disk.events();
    let (mut tried, mut failure) = (0, None);
    let mut durable = recorded.base.clone();
    let (mut acknowledged, mut began) = (0, 0);
    for window in events.split_inclusive(|event| matches!(event, Event::Sync)) {
        let operations: Vec<&Event> = window
            .iter()
            .filter(|event| matches!(event, Event::Write { .. } | Event::SetLen(_)))
            .collect();
        for event in window {
            match event {
                Event::Acknowledged(number) => (acknowledged, began) = (*number, *number),
                Event::Began(number) => began = *number,
                _ => {}
            }
        }
        assert!(operations.len() <= 12, "{} operations are too many", operations.len());
        let mut attempt = |image: Vec<u8>| {
            tried += 1;
            failure = check::<P>(image, &recorded.states, [acknowledged, began], tuning).err();
            failure.is_some()
        };
        for subset in 0..1_u32 << operations.len() {
            let mut image = durable.clone();
            for (bit, operation) in operations.iter().enumerate() {
                if subset & (1 << bit) != 0 {
                    replay(&mut image, operation, 0..usize::MAX);
                }
            }
            if attempt(image) {
                return (tried, failure);
            }
        }
        for torn in 0..operations.len() {
            for (tear, others_survive) in (1..8).flat_map(|tear| [(tear * 512, true), (tear * 512, false)]) {
                for from_the_front in [true, false] {
                    let mut image = durable.clone();
                    for (index, operation) in operations.iter().enumerate() {
                        match (index == torn, from_the_front) {
                            (true, true) => replay(&mut image, operation, 0..tear),
                            (true, false) => replay(&mut image, operation, tear..usize::MAX),
                            (false, _) if others_survive => replay(&mut image, operation, 0..usize::MAX),
                            (false, _) => {}
                        }
                    }
                    if attempt(image) {
                        return (tried, failure);
                    }
                }
            }
        }
        for operation in &operations {
            replay(&mut durable, operation, 0..usize::MAX);
        }
    }
    (tried, None)
}

fn replay(image: &mut Vec<u8>, event: &Event, part: std::ops::Range<usize>) {
    match event {
        Event::Write { offset, bytes } => {
            let part = part.start.min(bytes.len())..part.end.min(bytes.len());
            let start = usize::try_from(*offset).unwrap() + part.start;
            if image.len() < start + part.len() {
                image.resize(start + part.len(), 0);
            }
            image[start..start + part.len()].copy_from_slice(&bytes[part]);
        }
        Event::SetLen(bytes) if part.start == 0 => image.resize(usize::try_from(*bytes).unwrap(), 0),
        _ => {}
    }
}

#[test]
fn every_subset_and_every_tear_of_short_commits_is_one_of_the_two_states() {
    let (scripts, total) = (Mutex::new(all_scripts()), AtomicU64::new(0));
    let work = || {
        while let Some((name, script, tuning)) = { scripts.lock().unwrap().pop() } {
            let (tried, failure) = exhaust::<Sound>(&script, tuning);
            println!("{name}: {tried} states");
            assert_eq!(failure, None, "{name}");
            total.fetch_add(tried, Ordering::Relaxed);
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(work);
        work();
    });
    let total = total.into_inner();
    assert!(total > 2_000, "only {total} states");
}

/// A protocol without one of its steps, and a script that finds it out.
macro_rules! mutation {
    ($test:ident, $name:ident, $step:ident, $script:expr) => {
        #[test]
        fn $test() {
            #[derive(Debug)]
            struct $name;
            impl Protocol for $name {
                const $step: bool = false;
            }
            let (name, script, tuning) = script($script);
            let (tried, failure) = exhaust::<$name>(&script, tuning);
            println!("{} on {name}: {tried} states, {failure:?}", stringify!($name));
            assert!(failure.is_some());
        }
    };
}

mutation!(
    believing_every_record_is_noticed,
    BelievesEveryRecord,
    VERIFIES_NEWEST,
    "six commits"
);
mutation!(
    raising_no_barriers_is_noticed,
    RaisesNoBarriers,
    RAISES_BARRIERS,
    "evicted early"
);
mutation!(
    claiming_checkpoints_is_noticed,
    ClaimsCheckpoints,
    CHECKPOINTS_FIRST,
    "entries away"
);
mutation!(
    taking_for_home_what_is_on_its_way_is_noticed,
    TakesForHomeWhatIsOnItsWay,
    AWAITS_HOMECOMINGS,
    "given up, one entry away"
);
mutation!(carrying_nothing_is_noticed, CarriesNothing, CARRIES_ENTRIES, "given up");
mutation!(
    closing_before_the_sync_is_noticed,
    ClosesBeforeTheSync,
    SYNCS_BEFORE_CLOSING,
    "closed long after"
);
mutation!(
    bringing_back_what_was_cut_is_noticed,
    BringsBackWhatWasCut,
    DROPS_WHAT_IS_CUT,
    "cut off and back"
);
mutation!(
    remaking_no_zeros_is_noticed,
    RemakesNoZeros,
    REMAKES_ZEROS,
    "six commits"
);
mutation!(
    truncating_before_the_record_is_noticed,
    TruncatesFirst,
    TRUNCATES_LAST,
    "cut off"
);
mutation!(
    opening_without_a_sync_is_noticed,
    DoesNotSyncAtOpen,
    SYNCS_AT_OPEN,
    "killed before the sync"
);
mutation!(
    trusting_what_is_read_is_noticed,
    TrustsWhatIsRead,
    WRITES_AGAIN_AT_OPEN,
    "lost sync"
);
mutation!(
    placing_records_by_what_changed_is_noticed,
    PlacesByWhatChanged,
    PLACES_BY_THE_NEWEST,
    "around the ring of three groups"
);
mutation!(
    zeroing_needed_records_is_noticed,
    ZeroesNeededRecords,
    SPARES_NEEDED_RECORDS,
    "a long record at the end of the part"
);
