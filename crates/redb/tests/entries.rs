//! Entries at home, away, carried and cut off: whatever is done to a file, what is read is what a model says, and so does the
//! second reader of what lies on the disk.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test says what it expects by panicking"
)]

mod support;

use nimbus_redb::format::Layout;
use nimbus_redb::sealed::Sound;
use nimbus_redb::{SealedFile, Tuning};
use nimbus_test_support::{Rng, SimDisk, fixed_dek};
use support::independent::{self, fixed_dek_bytes};
use support::workload::same_both_ways;
use support::{FILE, IDENTITY, effort};

const PAGE: usize = 4096;
const MOST_PAGES: u64 = 900;

type Sealed = SealedFile<SimDisk, Sound>;

/// What each page holds: 0 where it was never written, or was cut off.
struct Model {
    bytes: Vec<u8>,
    header: u8,
}

fn any_tuning(rng: &mut Rng) -> Tuning {
    Tuning {
        layout: Layout::new([24, 30, 48, 100][rng.index(4)]).unwrap(),
        staged_pages: [1, 8, 500][rng.index(3)],
        cached_meta_blocks: [1, 3, 100][rng.index(3)],
        entries_away: [0, 5, 60, 5000][rng.index(4)],
        entries_at_close: [0, 10, 400][rng.index(3)],
        record_blocks: [1, 3, 16][rng.index(3)],
        threads: 1,
    }
}

fn reopen(disk: &mut SimDisk, file: Sealed, closes: bool, tuning: Tuning) -> Sealed {
    if closes {
        file.close();
    }
    *disk = disk.kill();
    drop(file);
    same_both_ways::<Sound>(&disk.image(), tuning).unwrap();
    Sealed::open(disk.clone(), FILE, &fixed_dek(), tuning).unwrap()
}

fn change(file: &Sealed, model: &mut Model, rng: &mut Rng) {
    let pages = model.bytes.len() as u64;
    if rng.once_in(12) || pages == 0 {
        let pages = if rng.once_in(3) {
            1 + rng.below(MOST_PAGES)
        } else {
            (pages + rng.below(200)).min(MOST_PAGES)
        };
        file.set_len(pages * PAGE as u64).unwrap();
        model.bytes.resize(usize::try_from(pages).unwrap(), 0);
        return;
    }
    let count = if rng.once_in(10) { rng.below(150) } else { rng.below(12) };
    for _ in 0..count {
        let page = rng.below(pages);
        if page > 0 {
            let value = 1 + rng.below(255).to_le_bytes()[0];
            file.write(page * PAGE as u64, &[value; PAGE]).unwrap();
            model.bytes[usize::try_from(page).unwrap()] = value;
        }
    }
}

fn assert_equal(file: &Sealed, model: &Model) {
    assert_eq!(file.len(), (model.bytes.len() * PAGE) as u64);
    let mut page = [0; PAGE];
    for (number, &value) in model.bytes.iter().enumerate().skip(1) {
        file.read((number * PAGE) as u64, &mut page).unwrap();
        assert!(page == [value; PAGE], "page {number} holds {}, not {value}", page[0]);
    }
}

#[test]
fn what_is_read_is_what_was_written_wherever_its_entry_is() {
    for seed in 0..40 * effort() {
        let mut rng = Rng::new(seed);
        let tuning = any_tuning(&mut rng);
        let mut disk = SimDisk::holding(Vec::new());
        let mut file = Sealed::create(disk.clone(), IDENTITY, &fixed_dek(), tuning).unwrap();
        let mut model = Model {
            bytes: Vec::new(),
            header: 0,
        };
        for step in 0..120 {
            for _ in 0..rng.below(4) {
                change(&file, &mut model, &mut rng);
            }
            if !model.bytes.is_empty() {
                model.header = model.header.wrapping_add(1);
                file.write(0, &[model.header; 320]).unwrap();
            }
            file.sync().unwrap();
            if rng.once_in(6) {
                let closes = rng.once_in(2);
                file = reopen(&mut disk, file, closes, tuning);
            }
            if step % 10 == 0 && !model.bytes.is_empty() {
                assert_equal(&file, &model);
                assert!(second_opinion(&disk) == model.bytes, "seed {seed}, step {step}");
            }
        }
        assert_equal(&file, &model);
    }
}

/// The first byte of each page but page 0, whose content is the header.
fn second_opinion(disk: &SimDisk) -> Vec<u8> {
    let pages = independent::read(&disk.image(), &fixed_dek_bytes());
    let mut bytes: Vec<u8> = pages.chunks(PAGE).map(|page| page[0]).collect();
    if let Some(header) = bytes.first_mut() {
        *header = 0;
    }
    bytes
}
