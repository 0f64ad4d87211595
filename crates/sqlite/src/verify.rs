//! Every page of an encrypted file at rest, and of its log, authenticated as it lies there: past SQLite, which would open the
//! file, fold its log and change it.
//!
//! | a page that does not authenticate        | is                                                               |
//! |------------------------------------------|------------------------------------------------------------------|
//! | and is in the log, committed             | no damage: a crash tore it while the log was folded, which is done again |
//! | and lies beyond the size that page 1 says | unreferenced: SQLite does not look there                         |
//! | any other, free ones too                 | damage: SQLite leaves none                                       |

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use nimbus_crypto::sqlcipher::FilePages;
use nimbus_threads::{Pace, Watch, exit};

use crate::error::StoreError;
use crate::frames::{self, Verdict};
use crate::journal::{self, LOCK_PAGE, database_pages_of};
use crate::options::Encryption;

const PAGE_BYTES: usize = 4096;
const PAGE_BYTES_U64: u64 = 4096;
/// What one thread reads at once.
const PIECE_PAGES: u64 = 256;
const MOST_THREADS: usize = 8;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Pages in the file.
    pub pages: u64,
    /// Committed pages in the log.
    pub log_frames: u32,
    /// Pages that are lost, ascending; pages that the file should have and has not are among them.
    pub damaged: Vec<u32>,
    /// Pages that do not authenticate and are not missed.
    pub unreferenced: Vec<u32>,
}

/// Authenticates a file that nobody has open. Neither the file nor what lies beside it is changed. At most so many bytes are read in
/// a second, on one thread; on every processor if that is [`u64::MAX`].
///
/// # Errors
/// [`StoreError::Foreign`] for a log or journal that was not written for this file; [`StoreError::Missing`],
/// [`StoreError::Interrupted`], and those of the system.
pub fn verify(
    path: &Path,
    encryption: &Encryption,
    bytes_per_second: u64,
    watch: &Watch,
) -> Result<Verified, StoreError> {
    let from_system = |error| match std::io::Error::kind(&error) {
        std::io::ErrorKind::NotFound => StoreError::Missing { path: path.to_owned() },
        _ => StoreError::from_reading(&error, path),
    };
    let pages = encryption.file_pages();
    let file = File::open(path).map_err(from_system)?;
    let bytes = file.metadata().map_err(from_system)?.len();
    let first = first_page_of(&file).map_err(from_system)?;
    let journal = beside(path, "-journal");
    match journal::is_harmless(&journal, &pages, journal::Emptying::Never, || first.clone()) {
        Ok(true) => {}
        Ok(false) => return Err(StoreError::foreign(&journal)),
        Err(error) => return Err(StoreError::from_reading(&error, &journal)),
    }
    let log = beside(path, "-wal");
    let mut in_log = BTreeSet::new();
    let examined = frames::examine_each(&log, Some(&pages), |page| {
        in_log.insert(page);
    });
    let log_frames = match examined.map_err(|error| StoreError::from_reading(&error, &log))? {
        Verdict::Sound { frames } => frames,
        Verdict::Damaged => return Err(StoreError::foreign(&log)),
    };
    let mut failed = failing_pages(&file, bytes, &pages, path, bytes_per_second, watch)?;
    failed.retain(|page| !in_log.contains(page));
    let present = bytes / PAGE_BYTES_U64;
    let said = first.and_then(|first| database_pages_of(&pages.open_first(&first)?));
    let expected = said.map_or(present.max(1), u64::from);
    // What the log holds, if it holds anything, says how large the database is.
    let is_alone = log_frames == 0;
    let (mut damaged, unreferenced): (Vec<u32>, Vec<u32>) = failed
        .into_iter()
        .partition(|&page| !is_alone || u64::from(page) <= expected);
    if is_alone {
        let missing = (present + 1..=expected).filter_map(|page| u32::try_from(page).ok());
        damaged.extend(missing.filter(|&page| page != LOCK_PAGE));
    }
    Ok(Verified {
        pages: present,
        log_frames,
        damaged,
        unreferenced,
    })
}

/// The pages that do not authenticate, ascending: read and judged on as many threads as there are processors.
fn failing_pages(
    file: &File,
    bytes: u64,
    pages: &FilePages,
    path: &Path,
    bytes_per_second: u64,
    watch: &Watch,
) -> Result<Vec<u32>, StoreError> {
    let pieces = (bytes / PAGE_BYTES_U64).div_ceil(PIECE_PAGES);
    let next = AtomicU64::new(0);
    let work = || {
        let mut failed = Vec::new();
        let mut pace = Pace::new(bytes_per_second);
        let mut piece = vec![0; PAGE_BYTES * usize::try_from(PIECE_PAGES).unwrap_or(1)];
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= pieces {
                return Ok(failed);
            }
            if watch.is_cancelled() || exit::is_under_way() {
                return Err(StoreError::Interrupted { path: path.to_owned() });
            }
            let at = index * PIECE_PAGES * PAGE_BYTES_U64;
            watch.report("verifying", at, bytes);
            let length = (bytes - at) / PAGE_BYTES_U64 * PAGE_BYTES_U64;
            let length = usize::try_from(length).unwrap_or(usize::MAX).min(piece.len());
            let (part, _) = piece.split_at_mut(length);
            file.read_exact_at(part, at)
                .map_err(|error| StoreError::from_reading(&error, path))?;
            let first = u32::try_from(index * PIECE_PAGES + 1).map_err(|_| StoreError::corrupt(path))?;
            let found = pages.not_authentic(first, PAGE_BYTES, part);
            failed.extend(found.into_iter().filter(|&number| number != LOCK_PAGE));
            pace.rest(length as u64, || watch.is_cancelled() || exit::is_under_way());
        }
    };
    let threads = match bytes_per_second {
        u64::MAX => thread::available_parallelism().map_or(1, |threads| threads.get().min(MOST_THREADS)),
        _ => 1,
    };
    let mut failed = thread::scope(|scope| {
        // Where the system starts no thread, this one does it all.
        let others: Vec<_> = (1..threads)
            .map_while(|_| thread::Builder::new().spawn_scoped(scope, work).ok())
            .collect();
        let mut failed = work()?;
        for other in others {
            failed.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        }
        Ok::<_, StoreError>(failed)
    })?;
    failed.sort_unstable();
    Ok(failed)
}

fn first_page_of(file: &File) -> std::io::Result<Option<Vec<u8>>> {
    let mut page = vec![0; PAGE_BYTES];
    match file.read_exact_at(&mut page, 0) {
        Ok(()) => Ok(Some(page)),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path.as_os_str());
    name.push(suffix);
    PathBuf::from(name)
}
