//! A disk in memory that can record what is done to it, die at any operation, and fail any.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nimbus_redb::Disk;

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
}

impl SimDisk {
    /// An empty disk that records.
    #[must_use]
    pub fn recording() -> Self {
        let disk = Self::holding(Vec::new());
        disk.lock().records = true;
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
        self.lock().records = true;
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
        if shared.records {
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
