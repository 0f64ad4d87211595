//! A disk in memory that can record what is done to it, die at any operation, and fail any.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nimbus_redb::Disk;

use crate::rng::Rng;

const BLOCK: usize = 4096;

/// One change of the disk, or a mark of the test.
#[derive(Debug, Clone)]
pub enum Event {
    /// Bytes were written.
    Write {
        /// Where.
        offset: u64,
        /// What.
        bytes: Vec<u8>,
    },
    /// The length was changed.
    SetLen(u64),
    /// Everything before is durable.
    Sync,
    /// The test begins what leads to this state.
    Began(usize),
    /// The test was told that this state is durable.
    Acknowledged(usize),
}

/// A handle on a disk; clones share it. A handle whose life ended fails every operation.
#[derive(Debug, Clone)]
pub struct SimDisk {
    shared: Arc<Mutex<Shared>>,
    life: u64,
}

#[derive(Debug, Default)]
struct Shared {
    image: Vec<u8>,
    events: Vec<Event>,
    records: bool,
    life: u64,
    calls: u64,
    fails_from: Option<u64>,
    fails_until: u64,
    fails_syncs: bool,
    lost_sync: Option<LostSync>,
    /// What the device holds, while the disk records: as the image, but for writes since the last sync, and those that a failed one lost.
    device: Vec<u8>,
    /// Blocks that the image has and the device has not, though nothing is left to be written.
    lost: BTreeSet<usize>,
}

/// A sync that is to fail: after how many others, and what chooses the writes that it loses.
#[derive(Debug)]
struct LostSync {
    after: u64,
    rng: Rng,
}

impl SimDisk {
    /// An empty disk that records.
    #[must_use]
    pub fn recording() -> Self {
        let disk = Self::holding(Vec::new());
        disk.record();
        disk
    }

    /// A disk that holds `image` and does not record.
    #[must_use]
    pub fn holding(image: Vec<u8>) -> Self {
        let shared = Shared {
            image,
            ..Shared::default()
        };
        Self {
            shared: Arc::new(Mutex::new(shared)),
            life: 0,
        }
    }

    /// Begins to record from an image that counts as durable.
    pub fn record(&self) {
        let mut shared = self.lock();
        shared.records = true;
        let Shared { image, device, .. } = &mut *shared;
        device.clone_from(image);
    }

    /// Everything recorded so far.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.lock().events.clone()
    }

    /// Records a mark.
    pub fn mark(&self, event: Event) {
        let mut shared = self.lock();
        if shared.records {
            shared.events.push(event);
        }
    }

    /// What a process would read now.
    #[must_use]
    pub fn image(&self) -> Vec<u8> {
        self.lock().image.clone()
    }

    /// Ends the life of every handle so far, as `kill -9` does: what was written stays, nothing is synced. Returns the
    /// handle of the next life.
    #[must_use]
    pub fn kill(&self) -> Self {
        let mut shared = self.lock();
        shared.life += 1;
        shared.fails_from = None;
        shared.fails_syncs = false;
        shared.lost_sync = None;
        Self {
            shared: Arc::clone(&self.shared),
            life: shared.life,
        }
    }

    /// Operations so far.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.lock().calls
    }

    /// Lets `count` operations fail, after `after` more have succeeded.
    pub fn fail(&self, after: u64, count: u64) {
        let mut shared = self.lock();
        let from = shared.calls + after;
        shared.fails_from = Some(from);
        shared.fails_until = from.saturating_add(count);
    }

    /// Lets every sync fail.
    pub fn fail_syncs(&self) {
        self.lock().fails_syncs = true;
    }

    /// Lets one sync fail, after `after` more have succeeded, as Linux does: what was written since the last one is on the device or not,
    /// is read as before, and counts as written, so that the next sync succeeds without it. Of a disk that records.
    pub fn lose_sync(&self, after: u64, rng: Rng) {
        self.lock().lost_sync = Some(LostSync { after, rng });
    }

    /// What a power cut leaves if nothing that was not synced survives it. Of a disk that records.
    #[must_use]
    pub fn device(&self) -> Vec<u8> {
        self.lock().device.clone()
    }

    /// Forgets some of what a failed sync lost: from now on it is read as the device has it.
    pub fn forget_lost(&self, rng: &mut Rng) {
        let mut shared = self.lock();
        let Shared {
            image, device, lost, ..
        } = &mut *shared;
        lost.retain(|&block| {
            let is_kept = rng.once_in(2);
            if !is_kept {
                let start = block * BLOCK;
                for (place, byte) in image.iter_mut().enumerate().skip(start).take(BLOCK) {
                    *byte = device.get(place).copied().unwrap_or(0);
                }
            }
            is_kept
        });
    }

    /// Lets every operation succeed again.
    pub fn heal(&self) {
        let mut shared = self.lock();
        shared.fails_from = None;
        shared.fails_syncs = false;
    }

    fn begin(&self) -> io::Result<MutexGuard<'_, Shared>> {
        let mut shared = self.lock();
        if shared.life != self.life {
            return Err(io::Error::other("this process was killed"));
        }
        let call = shared.calls;
        shared.calls += 1;
        let fails = shared
            .fails_from
            .is_some_and(|from| (from..shared.fails_until).contains(&call));
        if fails {
            Err(io::Error::other("this operation was made to fail"))
        } else {
            Ok(shared)
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk for SimDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.begin()?.image.len() as u64)
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        let shared = self.begin()?;
        let start = index(offset).min(shared.image.len());
        let end = (start + out.len()).min(shared.image.len());
        let found = shared.image.get(start..end).unwrap_or_default();
        for (to, from) in out.iter_mut().zip(found) {
            *to = *from;
        }
        Ok(found.len())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut shared = self.begin()?;
        write(&mut shared.image, offset, bytes);
        if shared.records {
            for block in blocks_of(offset, bytes) {
                shared.lost.remove(&block);
            }
            let bytes = bytes.to_vec();
            shared.events.push(Event::Write { offset, bytes });
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut shared = self.begin()?;
        if shared.fails_syncs {
            return Err(io::Error::other("this sync was made to fail"));
        }
        if let Some(mut lost) = shared.lost_sync.take() {
            if lost.after == 0 {
                shared.lose_unsynced(&mut lost.rng);
                return Err(io::Error::other("this sync was made to fail"));
            }
            lost.after -= 1;
            shared.lost_sync = Some(lost);
        }
        if shared.records {
            shared.write_unsynced();
            shared.events.push(Event::Sync);
        }
        Ok(())
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        let mut shared = self.begin()?;
        shared.image.resize(index(bytes), 0);
        if shared.records {
            shared.events.push(Event::SetLen(bytes));
        }
        Ok(())
    }
}

impl Shared {
    fn first_unsynced(&self) -> usize {
        let last_sync = self.events.iter().rposition(|event| matches!(event, Event::Sync));
        last_sync.map_or(0, |last| last + 1)
    }

    fn write_unsynced(&mut self) {
        let first = self.first_unsynced();
        for event in self.events.iter().skip(first) {
            apply(&mut self.device, event);
        }
    }

    /// Takes some or all of the writes since the last sync out of what happened.
    fn lose_unsynced(&mut self, rng: &mut Rng) {
        let loses_all = rng.once_in(2);
        let unsynced = self.events.split_off(self.first_unsynced());
        for event in unsynced {
            match event {
                Event::Write { offset, bytes } => {
                    // The system writes pages, and loses them one by one, whatever calls they came in.
                    for (offset, page) in (offset..).step_by(BLOCK).zip(bytes.chunks(BLOCK)) {
                        if loses_all || rng.once_in(2) {
                            self.lost.extend(blocks_of(offset, page));
                            continue;
                        }
                        for block in blocks_of(offset, page) {
                            self.lost.remove(&block);
                        }
                        let bytes = page.to_vec();
                        self.events.push(Event::Write { offset, bytes });
                    }
                }
                event => self.events.push(event),
            }
        }
        self.write_unsynced();
        self.events.push(Event::Sync);
    }
}

fn blocks_of(offset: u64, bytes: &[u8]) -> std::ops::Range<usize> {
    let start = index(offset);
    start / BLOCK..(start + bytes.len()).div_ceil(BLOCK)
}

/// Does to an image what was done to a disk.
pub(crate) fn apply(image: &mut Vec<u8>, event: &Event) {
    match event {
        Event::Write { offset, bytes } => write(image, *offset, bytes),
        Event::SetLen(bytes) => image.resize(index(*bytes), 0),
        Event::Sync | Event::Began(_) | Event::Acknowledged(_) => {}
    }
}

/// Writes into an image, which grows as a file does.
pub(crate) fn write(image: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let start = index(offset);
    let end = start + bytes.len();
    if image.len() < end {
        image.resize(end, 0);
    }
    if let Some(place) = image.get_mut(start..end) {
        place.copy_from_slice(bytes);
    }
}

pub(crate) fn index(offset: u64) -> usize {
    usize::try_from(offset).expect("images fit into memory")
}
