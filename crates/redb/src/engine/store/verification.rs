//! Every page of an open sealed database, authenticated as it lies on the disk, while the store is used.
//!
//! Reading takes neither redb's time nor the writer's. A page that fails is damage if redb uses it, and what a crash may leave if it
//! is free: only if there is such a page, the writer, in its place among the writes, looks at it again, since one that was free may
//! have been written meanwhile, and if it still fails asks redb over the open file, with whatever it would write kept in memory.
//! Reads go on meanwhile, writes wait.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use nimbus_threads::{Pace, Watch, exit};
use redb::StorageBackend;

use super::super::database::guarded;
use super::super::error::EngineError;
use super::super::job::Job;
use super::super::verify::{CACHE_BYTES, Verified};
use super::Store;
use super::shared::{Known, Shared, lock};
use crate::format::layout::{BLOCK_BYTES, BLOCK_BYTES_U64};
use crate::format::{GROUP_PAGES, HEADER_BYTES};
use crate::sealed::{Damage, SealedError, SealedFile};

/// How often whoever waits for the writer looks whether it is to stop.
const LOOK_EVERY: Duration = Duration::from_millis(20);
const GROUP_BYTES: u64 = GROUP_PAGES as u64 * BLOCK_BYTES_U64;

/// A verification that has not begun.
pub struct Verification {
    shared: Arc<Shared>,
    sealed: Arc<SealedFile<File>>,
}

/// Pages that failed while the store was at work, ascending.
pub(in crate::engine) struct Suspicion {
    pages: Vec<u32>,
    watch: Arc<Watch>,
    answer: SyncSender<Result<Judgement, EngineError>>,
}

/// The pages of a suspicion that still fail, ascending: all damage if redb uses any of them.
#[derive(Default)]
pub(super) struct Judgement {
    damaged: Vec<u32>,
    unreferenced: Vec<u32>,
}

impl Store {
    /// Prepares to authenticate the file; `None` if it is plain.
    ///
    /// # Errors
    /// [`EngineError::Closed`].
    pub fn verification(&self) -> Result<Option<Verification>, EngineError> {
        if lock(&self.shared.queue).is_closed() {
            return Err(self.shared.closed());
        }
        let sealed = match &*lock(&self.shared.facts) {
            Known::Live(facts) => facts.sealed().map(Arc::clone),
            Known::Last(_) => return Err(self.shared.closed()),
        };
        Ok(sealed.map(|sealed| Verification {
            shared: Arc::clone(&self.shared),
            sealed,
        }))
    }
}

impl Verification {
    /// Authenticates the pages that the file has now, at most so many bytes of them a second, then superblock and records.
    ///
    /// # Errors
    /// [`EngineError::Corrupt`] for damage that no page is to blame for; [`EngineError::Interrupted`]; [`EngineError::Closed`] as
    /// soon as somebody closes the store; those of the system.
    pub fn run(self, bytes_per_second: u64, watch: &Arc<Watch>) -> Result<Verified, EngineError> {
        let of_sealed = |error| EngineError::from_sealed(error, &self.shared.path);
        let bytes = self.sealed.len();
        let groups = u64::from(self.sealed.groups()).min(bytes.div_ceil(GROUP_BYTES));
        let mut pace = Pace::new(bytes_per_second);
        let mut failing = Vec::new();
        for group in 0..u32::try_from(groups).expect("the groups of the file are so few") {
            self.require_going_on(watch)?;
            watch.report("verifying", u64::from(group) * GROUP_BYTES, bytes);
            if group < self.sealed.groups() {
                failing.extend(self.sealed.failing_pages(group).map_err(of_sealed)?);
            }
            pace.rest(GROUP_BYTES, || self.require_going_on(watch).is_err());
        }
        self.sealed.examine_records().map_err(of_sealed)?;
        let found = if failing.is_empty() {
            Judgement::default()
        } else {
            self.ask(failing, watch)?
        };
        Ok(Verified {
            pages: bytes / BLOCK_BYTES_U64,
            damaged: found.damaged,
            unreferenced: found.unreferenced,
        })
    }

    fn require_going_on(&self, watch: &Watch) -> Result<(), EngineError> {
        if watch.is_cancelled() || exit::is_under_way() {
            return Err(EngineError::Interrupted {
                path: self.shared.path.clone(),
            });
        }
        if lock(&self.shared.queue).is_closed() {
            return Err(self.shared.closed());
        }
        Ok(())
    }

    /// Has the writer look, in its place among the writes.
    fn ask(&self, pages: Vec<u32>, watch: &Arc<Watch>) -> Result<Judgement, EngineError> {
        let (answer, answered) = sync_channel(1);
        let suspicion = Suspicion {
            pages,
            watch: Arc::clone(watch),
            answer,
        };
        Shared::enqueue(&self.shared, Job::Judge(suspicion));
        loop {
            match answered.recv_timeout(LOOK_EVERY) {
                Ok(answer) => return answer,
                // A writer that waits at the exit gate never answers.
                Err(RecvTimeoutError::Timeout) => self.require_going_on(watch)?,
                Err(RecvTimeoutError::Disconnected) => return Err(self.shared.panicked()),
            }
        }
    }
}

impl Suspicion {
    pub(super) fn answer(&self, judgement: Result<Judgement, EngineError>) {
        // Whoever was told to stop does not listen any more.
        let _ = self.answer.try_send(judgement);
    }
}

impl Shared {
    /// Done by the writer: the file does not change meanwhile.
    pub(super) fn judge(&self, suspicion: &Suspicion) -> Result<Judgement, EngineError> {
        let database = self.shared();
        // Closed in the meantime, or in no known state.
        let open = database.as_ref().ok_or_else(|| self.unusable())?;
        if open.has_eventual_commits() {
            // They are not in the header yet.
            open.flush()?;
        }
        let sealed = match &*lock(&self.facts) {
            Known::Live(facts) => facts.sealed().map(Arc::clone),
            Known::Last(_) => None,
        };
        let sealed = sealed.ok_or_else(|| self.closed())?;
        let failing =
            still_failing(&sealed, &suspicion.pages).map_err(|error| EngineError::from_sealed(error, &self.path))?;
        if failing.is_empty() {
            return Ok(Judgement::default());
        }
        let backend = WithoutPages {
            bytes: AtomicU64::new(sealed.len()),
            sealed,
            missing: failing.iter().map(|&page| u64::from(page)).collect(),
            watch: Arc::clone(&suspicion.watch),
            written: RwLock::default(),
        };
        Ok(if self.are_free(backend)? {
            Judgement {
                unreferenced: failing,
                ..Judgement::default()
            }
        } else {
            Judgement {
                damaged: failing,
                ..Judgement::default()
            }
        })
    }

    /// Whether redb reads all that it uses, and finds it in order.
    fn are_free(&self, backend: WithoutPages) -> Result<bool, EngineError> {
        let watch = Arc::clone(&backend.watch);
        let checked = guarded(&self.path, || {
            let mut builder = redb::Builder::new();
            builder.set_cache_size(CACHE_BYTES);
            let mut redb = builder.create_with_backend(backend)?;
            let is_sound = redb.check_integrity()?;
            redb.close()?;
            Ok(is_sound)
        });
        if watch.is_cancelled() {
            return Err(EngineError::Interrupted {
                path: self.path.clone(),
            });
        }
        match checked {
            Ok(is_sound) => Ok(is_sound),
            // A panic is what redb does with a file that it did not write.
            Err(EngineError::Corrupt { .. } | EngineError::Panicked { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Those of `suspected` that the file still has, and that do not authenticate now either.
fn still_failing(sealed: &SealedFile<File>, suspected: &[u32]) -> Result<Vec<u32>, SealedError> {
    let mut failing = Vec::new();
    for pages in suspected.chunk_by(|one, next| one / GROUP_PAGES == next / GROUP_PAGES) {
        let group = pages.first().map(|page| page / GROUP_PAGES);
        if let Some(group) = group.filter(|&group| group < sealed.groups()) {
            let now = sealed.failing_pages(group)?;
            failing.extend(pages.iter().filter(|page| now.contains(page)));
        }
    }
    Ok(failing)
}

/// The open file as if some pages were not there, and everything that is written kept in memory.
struct WithoutPages {
    sealed: Arc<SealedFile<File>>,
    missing: BTreeSet<u64>,
    watch: Arc<Watch>,
    bytes: AtomicU64,
    written: RwLock<BTreeMap<u64, Box<[u8; BLOCK_BYTES]>>>,
}

impl WithoutPages {
    fn read_page(&self, page: u64, out: &mut [u8; BLOCK_BYTES]) -> io::Result<()> {
        if let Some(written) = self.written.read().unwrap_or_else(PoisonError::into_inner).get(&page) {
            out.copy_from_slice(&written[..]);
            return Ok(());
        }
        if self.missing.contains(&page) {
            let page = u32::try_from(page).unwrap_or(u32::MAX);
            return Err(SealedError::from(Damage::Page { page }).into());
        }
        if page == 0 {
            out.fill(0);
            return Ok(self.sealed.read(0, out.split_at_mut(HEADER_BYTES).0)?);
        }
        Ok(self.sealed.read_written(page * BLOCK_BYTES_U64, out)?)
    }

    /// Calls `each` with every page of a range, the place in it and the place in the range.
    fn in_pages(
        offset: u64,
        length: usize,
        mut each: impl FnMut(u64, std::ops::Range<usize>, std::ops::Range<usize>) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut done = 0;
        while done < length {
            let at = offset + done as u64;
            let within = usize::try_from(at % BLOCK_BYTES_U64).unwrap_or(0);
            let count = (BLOCK_BYTES - within).min(length - done);
            each(at / BLOCK_BYTES_U64, within..within + count, done..done + count)?;
            done += count;
        }
        Ok(())
    }
}

impl StorageBackend for WithoutPages {
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes.load(Ordering::Relaxed))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if self.watch.is_cancelled() || exit::is_under_way() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let mut page = [0; BLOCK_BYTES];
        Self::in_pages(offset, out.len(), |number, within, place| {
            self.read_page(number, &mut page)?;
            if let (Some(out), Some(part)) = (out.get_mut(place), page.get(within)) {
                out.copy_from_slice(part);
            }
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.bytes.store(len, Ordering::Relaxed);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        Self::in_pages(offset, data.len(), |number, within, place| {
            let mut page = [0; BLOCK_BYTES];
            if within.len() < BLOCK_BYTES {
                self.read_page(number, &mut page)?;
            }
            if let (Some(to), Some(part)) = (page.get_mut(within), data.get(place)) {
                to.copy_from_slice(part);
            }
            let mut written = self.written.write().unwrap_or_else(PoisonError::into_inner);
            written.insert(number, Box::new(page));
            Ok(())
        })
    }

    fn close(&self) -> io::Result<()> {
        Ok(())
    }

    fn try_lock_range(
        &self,
        _start: std::ops::Bound<u64>,
        _end: std::ops::Bound<u64>,
    ) -> Result<bool, redb::BackendError> {
        Ok(true)
    }

    fn unlock_range(&self, _start: std::ops::Bound<u64>, _end: std::ops::Bound<u64>) -> Result<(), redb::BackendError> {
        Ok(())
    }
}

impl fmt::Debug for WithoutPages {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("WithoutPages").field(&self.sealed).finish()
    }
}
