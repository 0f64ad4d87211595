//! Every page of an open file, authenticated as it lies on the disk, while the store is used.
//!
//! Pages are read through a connection's descriptor, past SQLite and without a lock, while the writer may be folding the log over
//! them: a page that fails is only suspected. The writer, which alone writes to the data file, looks at it again between two of its
//! transactions, and reads the log through at the end.
//!
//! | a page that fails then                         | is                                                          |
//! |------------------------------------------------|-------------------------------------------------------------|
//! | and is in the log, not yet folded              | no damage: SQLite takes it from the log, and folds it again |
//! | and lies beyond the size of the database       | unreferenced                                                |
//! | any other, free ones too                       | damage                                                      |

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};

use libsqlite3_sys as ffi;
use nimbus_crypto::sqlcipher::FilePages;
use nimbus_threads::{Pace, Watch, exit};

use super::Store;
use super::shared::{EXIT_POLL, Shared, lock};
use crate::batch;
use crate::connection::Connection;
use crate::error::StoreError;
use crate::frames::{self, Verdict};
use crate::journal::{LOCK_PAGE, database_pages_of};
use crate::opening::open_handle;
use crate::queue::Job;
use crate::raw_file::RawFile;
use crate::verify::Verified;

const PAGE_BYTES: usize = 4096;
const PAGE_BYTES_U64: u64 = 4096;
/// Read at once, and suspected together.
const SLICE_PAGES: u32 = 64;

/// A verification that has not begun. The store does not close before it is dropped.
pub struct Verification {
    shared: Arc<Shared>,
}

/// Pages that failed while the store was at work.
pub(crate) struct Suspicion {
    pages: Vec<u32>,
    /// Whether the log, and pages that the file should have and has not, are asked for too.
    is_last: bool,
    answer: SyncSender<Result<Judgement, StoreError>>,
}

/// What the writer finds.
#[derive(Default)]
pub(super) struct Judgement {
    damaged: Vec<u32>,
    unreferenced: Vec<u32>,
    log_frames: u32,
}

impl Store {
    /// Prepares to authenticate the file; `None` if it is plain.
    ///
    /// # Errors
    /// [`StoreError::Closed`].
    pub fn verification(&self) -> Result<Option<Verification>, StoreError> {
        let queue = lock(&self.shared.queue);
        if queue.is_closed() {
            return Err(self.shared.closed());
        }
        if self.shared.options()?.encryption.is_none() {
            return Ok(None);
        }
        // Counted under the lock of the queue, like a query.
        lock(&self.shared.queries).running += 1;
        drop(queue);
        Ok(Some(Verification {
            shared: Arc::clone(&self.shared),
        }))
    }
}

impl Drop for Verification {
    fn drop(&mut self) {
        lock(&self.shared.queries).running -= 1;
        self.shared.queries_changed.notify_all();
    }
}

impl Verification {
    /// Authenticates the pages that the file has now, at most so many bytes of them a second, and its log.
    ///
    /// # Errors
    /// [`StoreError::Foreign`] for a damaged log, which from then on is not written to; [`StoreError::Interrupted`];
    /// [`StoreError::Closed`] as soon as somebody closes the store; those of the system.
    pub fn run(self, bytes_per_second: u64, watch: &Watch) -> Result<Verified, StoreError> {
        let shared = &self.shared;
        // Only its descriptor is used: a connection that is ready for statements would have read the first page.
        let handle =
            open_handle(&shared.options()?).map_err(|error| StoreError::from_sqlite(error, 0, &shared.path))?;
        let file = RawFile::of(&handle).ok_or_else(|| shared.failure(ffi::SQLITE_CANTOPEN))?;
        let pages = shared.file_pages()?;
        let mut pace = Pace::new(bytes_per_second);
        let count = shared.present(&file)?;
        let mut found = Judgement::default();
        for first in (1..=count).step_by(SLICE_PAGES as usize) {
            self.require_going_on(watch)?;
            watch.report(
                "verifying",
                u64::from(first - 1) * PAGE_BYTES_U64,
                u64::from(count) * PAGE_BYTES_U64,
            );
            let slice = first..=count.min(first + (SLICE_PAGES - 1));
            let suspected = shared.failing(&file, &pages, slice.clone())?;
            if !suspected.is_empty() {
                found.add(self.ask(suspected, false, watch)?);
            }
            let bytes = u64::from(slice.end() + 1 - first) * PAGE_BYTES_U64;
            pace.rest(bytes, || self.require_going_on(watch).is_err());
        }
        found.add(self.ask(Vec::new(), true, watch)?);
        Ok(Verified {
            pages: u64::from(count),
            log_frames: found.log_frames,
            damaged: found.damaged,
            unreferenced: found.unreferenced,
        })
    }

    fn require_going_on(&self, watch: &Watch) -> Result<(), StoreError> {
        if watch.is_cancelled() || exit::is_under_way() {
            return Err(StoreError::Interrupted {
                path: self.shared.path.clone(),
            });
        }
        if lock(&self.shared.queue).is_closed() {
            return Err(self.shared.closed());
        }
        Ok(())
    }

    /// Has the writer look, in its place among the writes.
    fn ask(&self, pages: Vec<u32>, is_last: bool, watch: &Watch) -> Result<Judgement, StoreError> {
        let (answer, answered) = sync_channel(1);
        let suspicion = Suspicion { pages, is_last, answer };
        Shared::enqueue(&self.shared, [Job::Judge(suspicion)]);
        loop {
            match answered.recv_timeout(EXIT_POLL) {
                Ok(judgement) => return judgement,
                // A writer that waits at the exit gate never answers.
                Err(RecvTimeoutError::Timeout) => self.require_going_on(watch)?,
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(StoreError::Panicked {
                        path: self.shared.path.clone(),
                    });
                }
            }
        }
    }
}

impl Suspicion {
    pub(super) fn answer(&self, judgement: Result<Judgement, StoreError>) {
        // Whoever was told to stop does not listen any more.
        let _ = self.answer.try_send(judgement);
    }
}

impl Judgement {
    fn add(&mut self, other: Self) {
        self.damaged.extend(other.damaged);
        self.unreferenced.extend(other.unreferenced);
        self.log_frames = other.log_frames;
    }
}

impl Shared {
    /// Done by the writer: nothing is written to data file or log meanwhile.
    pub(super) fn judge(&self, suspicion: &Suspicion) -> Result<Judgement, StoreError> {
        let mut slot = lock(&self.writer);
        let mut writer = batch::sound_writer(&mut slot, self)?;
        let judged = self.judge_with(&mut writer, suspicion);
        *slot = Some(writer);
        judged
    }

    fn judge_with(&self, writer: &mut Connection, suspicion: &Suspicion) -> Result<Judgement, StoreError> {
        let pages = self.file_pages()?;
        let file = writer.raw_file()?;
        let present = self.present(&file)?;
        let mut failing = Vec::new();
        for &page in suspicion.pages.iter().filter(|&&page| page <= present) {
            failing.extend(self.failing(&file, &pages, page..=page)?);
        }
        if failing.is_empty() && !suspicion.is_last {
            return Ok(Judgement::default());
        }
        let said = file.first_page().and_then(|first| pages.open_first(&first));
        let taken = writer.frames_taken()?;
        let (in_log, log_frames) = self.read_log(writer, &pages, &taken)?;
        let expected = match writer.database_pages() {
            // SQLite does not open what is too short, or has no first page.
            Err(StoreError::Corrupt { .. }) => said.as_deref().and_then(database_pages_of).unwrap_or(present),
            pages => pages?,
        };
        failing.retain(|page| !in_log.contains(page));
        let (mut damaged, unreferenced): (Vec<u32>, Vec<u32>) = failing.into_iter().partition(|&page| page <= expected);
        if suspicion.is_last {
            let absent = present + 1..=expected;
            damaged.extend(absent.filter(|page| *page != LOCK_PAGE && !in_log.contains(page)));
        }
        Ok(Judgement {
            damaged,
            unreferenced,
            log_frames,
        })
    }

    /// Authenticates the log. Returns the pages in those of its frames that are `taken`, and how many frames there are.
    fn read_log(
        &self,
        writer: &Connection,
        pages: &FilePages,
        taken: &RangeInclusive<u32>,
    ) -> Result<(BTreeSet<u32>, u32), StoreError> {
        let log = writer.log_path();
        let mut in_log = BTreeSet::new();
        let mut frame = 0;
        let verdict = frames::examine_each(&log, Some(pages), |page| {
            frame += 1;
            if taken.contains(&frame) {
                in_log.insert(page);
            }
        });
        let expected = self.frames_expected()?;
        match verdict.map_err(|error| StoreError::from_reading(&error, &log))? {
            Verdict::Sound { frames } if frames >= expected => Ok((in_log, frames)),
            Verdict::Sound { .. } | Verdict::Damaged => {
                // As if a read had met it: nothing is added to it, or folded, any more.
                self.condition.record_failure();
                Err(StoreError::foreign(&log))
            }
        }
    }

    /// The pages of `range` that do not authenticate; beyond the end of the file none does.
    fn failing(
        &self,
        file: &RawFile<'_>,
        pages: &FilePages,
        range: RangeInclusive<u32>,
    ) -> Result<Vec<u32>, StoreError> {
        let mut bytes = vec![0; PAGE_BYTES * range.clone().count()];
        let offset = u64::from(range.start() - 1) * PAGE_BYTES_U64;
        file.read(offset, &mut bytes).map_err(|code| self.failure(code))?;
        let numbered = range.zip(bytes.chunks_exact(PAGE_BYTES));
        let failing = numbered.filter(|&(number, page)| number != LOCK_PAGE && !pages.is_authentic(number, page));
        Ok(failing.map(|(number, _)| number).collect())
    }

    /// Pages in the data file.
    fn present(&self, file: &RawFile<'_>) -> Result<u32, StoreError> {
        let bytes = file.bytes().map_err(|code| self.failure(code))?;
        u32::try_from(bytes / PAGE_BYTES_U64).map_err(|_| StoreError::corrupt(&self.path))
    }

    fn failure(&self, code: i32) -> StoreError {
        StoreError::from_code(code, &self.path)
    }

    fn file_pages(&self) -> Result<FilePages, StoreError> {
        let options = self.options()?;
        let encryption = options.encryption.ok_or_else(|| StoreError::corrupt(&self.path))?;
        Ok(encryption.file_pages())
    }
}
