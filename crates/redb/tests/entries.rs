//! Entries at home, away, carried and cut off: whatever is done to a file, what is read is what a model says, and so does the
//! second reader of what lies on the disk.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test says what it expects by panicking"
)]

mod support;

use std::io;
use std::sync::{Arc, Mutex, OnceLock};

use nimbus_redb::format::Layout;
use nimbus_redb::sealed::{Damage, Sound};
use nimbus_redb::{Disk, SealedError, SealedFile, Tuning};
use nimbus_test_support::{Event, Rng, SimDisk, fixed_dek};
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

/// A disk that does something when it is told what will be read.
#[derive(Debug, Clone)]
struct Interrupted {
    disk: SimDisk,
    once: Arc<OnceLock<Interruption>>,
}

struct Interruption(Mutex<Option<Box<dyn FnOnce() + Send>>>);

impl std::fmt::Debug for Interruption {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Interruption")
    }
}

impl Disk for Interrupted {
    fn len(&self) -> io::Result<u64> {
        self.disk.len()
    }
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        self.disk.read_at(offset, out)
    }
    fn will_read(&self, _offset: u64, _bytes: usize) {
        let interruption = self.once.get().and_then(|once| once.0.lock().unwrap().take());
        if let Some(interruption) = interruption {
            interruption();
        }
    }
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.disk.write_at(offset, bytes)
    }
    fn sync(&self) -> io::Result<()> {
        self.disk.sync()
    }
    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.disk.set_len(bytes)
    }
}

/// Its block holds what a crash left, which reading it changes: were it kept, it would go home to a place that the file has no more.
#[test]
fn a_page_that_is_cut_off_while_it_is_looked_for_leaves_no_block_of_its_group_behind() {
    let tuning = Tuning {
        layout: Layout::new(24).unwrap(),
        record_blocks: 0,
        threads: 1,
        ..Tuning::default()
    };
    let disk = SimDisk::recording();
    let file = Sealed::create(disk.clone(), IDENTITY, &fixed_dek(), tuning).unwrap();
    file.set_len(400 * PAGE as u64).unwrap();
    file.write(300 * PAGE as u64, &[1; PAGE]).unwrap();
    file.sync().unwrap();
    // A heavy commit that comes as far as its entries, and no further.
    file.write(301 * PAGE as u64, &[2; PAGE]).unwrap();
    disk.lose_sync(1, Rng::new(0));
    file.sync().unwrap_err();
    drop(file);
    let mut image = disk.kill().image();
    for block in image[2 * PAGE..26 * PAGE].chunks_mut(PAGE) {
        if block.starts_with(b"NMBREC2") && block[8] == 3 {
            block.fill(0);
        }
    }
    let disk = Interrupted {
        disk: SimDisk::holding(image),
        once: Arc::default(),
    };
    let file = SealedFile::<_, Sound>::open(disk.clone(), FILE, &fixed_dek(), tuning).unwrap();
    let file = Arc::new(file);
    let same = Arc::clone(&file);
    let shrink = move || same.set_len(100 * PAGE as u64).unwrap();
    let interruption = Interruption(Mutex::new(Some(Box::new(shrink))));
    disk.once.set(interruption).unwrap();
    let read = file.read(300 * PAGE as u64, &mut [0; PAGE]);
    assert!(
        matches!(read, Err(SealedError::Corrupt(Damage::Page { page: 300 }))),
        "{read:?}"
    );
    disk.disk.record();
    file.write(0, &[1; 320]).unwrap();
    file.sync().unwrap();
    let third_group = tuning.layout.meta_offset(2);
    let is_beyond = |event: &Event| matches!(event, Event::Write { offset, .. } if *offset >= third_group);
    assert!(!disk.disk.events().iter().any(is_beyond));
}

/// The record needs no more of the block than its place: its group was made by pages that were cut off again, and has none.
#[test]
fn a_file_that_a_power_cut_ended_within_the_block_of_its_last_group_opens_and_goes_on() {
    let tuning = Tuning {
        layout: Layout::new(24).unwrap(),
        staged_pages: 1,
        threads: 1,
        ..Tuning::default()
    };
    let disk = SimDisk::holding(Vec::new());
    let file = Sealed::create(disk.clone(), IDENTITY, &fixed_dek(), tuning).unwrap();
    file.set_len(400 * PAGE as u64).unwrap();
    file.write(300 * PAGE as u64, &[1; PAGE]).unwrap();
    file.set_len(257 * PAGE as u64).unwrap();
    file.write(0, &[1; 320]).unwrap();
    file.sync().unwrap();
    drop(file);
    let end = usize::try_from(tuning.layout.meta_offset(2)).unwrap();
    for bytes in [1, 512, 1024, PAGE - 1, PAGE] {
        let mut image = disk.image();
        image.truncate(end + bytes);
        let disk = SimDisk::holding(image);
        let is_there = |file: &Sealed| {
            let (mut header, mut page) = ([0; 320], [1; PAGE]);
            file.read(0, &mut header).unwrap();
            file.read(256 * PAGE as u64, &mut page).unwrap();
            header == [1; 320] && page == [0; PAGE]
        };
        let opened = Sealed::open_to_read(disk.clone(), FILE, &fixed_dek(), tuning).unwrap();
        assert!(is_there(&opened), "{bytes}");
        let opened = Sealed::open(disk.clone(), FILE, &fixed_dek(), tuning);
        let file = opened.unwrap_or_else(|error| panic!("{bytes} bytes of it: {error}"));
        assert!(is_there(&file), "{bytes}");
        file.write(256 * PAGE as u64, &[2; PAGE]).unwrap();
        file.sync().unwrap();
        drop(file);
        let file = Sealed::open(disk, FILE, &fixed_dek(), tuning).unwrap();
        let mut page = [0; PAGE];
        file.read(256 * PAGE as u64, &mut page).unwrap();
        assert_eq!(page, [2; PAGE]);
    }
}
