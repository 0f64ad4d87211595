//! Many files replaced together: each in one step as [`crate::replace()`] does it, all with one flush of the file system.
//!
//! Flushing file by file costs a wait for the device each; `syncfs(2)` waits once for all of them. The order is the same:
//! no file takes a name before all its bytes are on the device, and nothing is reported before its directory is.
//!
//! | stopped after           | on the disk                                                           |
//! |-------------------------|-----------------------------------------------------------------------|
//! | writing some            | every old file; `<path>.tmp` of some, whole or in part                |
//! | flushing                | every old file, and `<path>.tmp` of all                               |
//! | renaming some           | each path is the old or the new file, whole; `<path>.tmp` of the rest |
//! | syncing the directories | the new files                                                         |

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::directory::parent_of;
use crate::error::{At, DiskError, Operation};
use crate::temporary::{open_new, rename_over, with_suffix};

/// A file and what it shall hold.
#[derive(Debug, Clone, Copy)]
pub struct Replacement<'a> {
    /// Where.
    pub path: &'a Path,
    /// What.
    pub bytes: &'a [u8],
}

/// Puts each file in its place, mode 0600; where the answer is `Ok` the file is durable. Callers hold the locks that make
/// them the only writer of each path, and name no path twice.
///
/// Each file stands alone: one that cannot be replaced does not keep the others from it, and is then what it was (or, if
/// only the sync of its directory failed, the new one).
pub fn replace_many(replacements: &[Replacement<'_>]) -> Vec<Result<(), DiskError>> {
    let flushes = replacements.len() >= FEWEST_TO_FLUSH && reports_write_errors();
    replace_on(&mut System::new(flushes), replacements)
}

/// One file, which is synced by itself: nobody else's writes are waited for.
pub(crate) fn replace_one(replacement: Replacement<'_>) -> Result<(), DiskError> {
    replace_on(&mut System::new(false), &[replacement])
        .into_iter()
        .collect()
}

/// Fewer than this are synced one by one: a flush also writes what other processes have in the same file system.
const FEWEST_TO_FLUSH: usize = 8;

/// The calls that the protocol is made of, so that a test can stand in for the system and cut its power.
trait Files {
    type File;
    /// Before anything is written in the directory: errors of writing are reported from then on.
    fn enter(&mut self, directory: &Path) -> Result<(), DiskError>;
    fn create(&mut self, path: &Path) -> Result<Self::File, DiskError>;
    fn write(&mut self, file: &Self::File, path: &Path, bytes: &[u8]) -> Result<(), DiskError>;
    fn sync(&mut self, file: &Self::File, path: &Path) -> Result<(), DiskError>;
    /// Whether `flush` makes the files of this directory durable, and says so truthfully.
    fn can_flush(&self, directory: &Path) -> bool;
    /// Everything written so far in the file system of each of these directories.
    fn flush(&mut self, directories: &[&Path]) -> Result<(), DiskError>;
    fn rename(&mut self, from: &Path, to: &Path) -> Result<(), DiskError>;
    fn remove(&mut self, path: &Path) -> io::Result<()>;
    fn sync_directory(&mut self, directory: &Path) -> Result<(), DiskError>;
}

fn replace_on<F: Files>(files: &mut F, replacements: &[Replacement<'_>]) -> Vec<Result<(), DiskError>> {
    let mut outcomes: Vec<Result<(), DiskError>> = replacements
        .iter()
        .map(|replacement| write_temporary(files, replacement))
        .collect();
    flush(files, replacements, &mut outcomes);
    for (replacement, outcome) in replacements.iter().zip(&mut outcomes) {
        let temporary = with_suffix(replacement.path, ".tmp");
        if outcome.is_ok() {
            *outcome = files.rename(&temporary, replacement.path);
        }
        if outcome.is_err() {
            // The error that matters is the one before; a temporary that stays is overwritten by the next attempt.
            let _ = files.remove(&temporary);
        }
    }
    for (directory, members) in by_directory(replacements, &outcomes) {
        if let Err(error) = files.sync_directory(&directory) {
            fail(&mut outcomes, &members, &error);
        }
    }
    outcomes
}

fn write_temporary<F: Files>(files: &mut F, replacement: &Replacement<'_>) -> Result<(), DiskError> {
    let directory = parent_of(replacement.path);
    files.enter(&directory)?;
    let temporary = with_suffix(replacement.path, ".tmp");
    match files.remove(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(DiskError::new(Operation::Remove, &temporary, error));
        }
        _ => {}
    }
    let file = files.create(&temporary)?;
    files.write(&file, &temporary, replacement.bytes)?;
    if files.can_flush(&directory) {
        Ok(())
    } else {
        files.sync(&file, &temporary)
    }
}

/// A flush that fails says nothing of single files: none of those it covered takes its name.
fn flush<F: Files>(files: &mut F, replacements: &[Replacement<'_>], outcomes: &mut [Result<(), DiskError>]) {
    let groups = by_directory(replacements, outcomes);
    let (directories, members): (Vec<&Path>, Vec<&Vec<usize>>) = groups
        .iter()
        .filter(|(directory, _)| files.can_flush(directory))
        .map(|(directory, members)| (directory.as_path(), members))
        .unzip();
    if directories.is_empty() {
        return;
    }
    if let Err(error) = files.flush(&directories) {
        let members: Vec<usize> = members.into_iter().flatten().copied().collect();
        fail(outcomes, &members, &error);
    }
}

/// The replacements that are still good, as positions by directory.
fn by_directory(replacements: &[Replacement<'_>], outcomes: &[Result<(), DiskError>]) -> BTreeMap<PathBuf, Vec<usize>> {
    let mut groups: BTreeMap<PathBuf, Vec<usize>> = BTreeMap::new();
    for (position, (replacement, outcome)) in replacements.iter().zip(outcomes).enumerate() {
        if outcome.is_ok() {
            groups.entry(parent_of(replacement.path)).or_default().push(position);
        }
    }
    groups
}

fn fail(outcomes: &mut [Result<(), DiskError>], members: &[usize], error: &DiskError) {
    for &position in members {
        if let Some(outcome) = outcomes.get_mut(position) {
            *outcome = Err(error.duplicate());
        }
    }
}

/// The file systems whose `syncfs` writes everything to the device. Others (FUSE, for one) may answer without doing so:
/// there each file is synced by itself. Numbers: statfs(2).
const FLUSHABLE: [i64; 6] = [
    0xef53,      // ext2, ext3, ext4
    0x5846_5342, // XFS
    0x9123_683e, // Btrfs
    0xf2f5_2010, // F2FS
    0x794c_7630, // OverlayFS
    0x0102_1994, // tmpfs, where nothing lasts anyway
];

struct System {
    flushes: bool,
    /// Held open from before the first write: `syncfs` reports the errors of writing back since its descriptor was opened.
    entered: BTreeMap<PathBuf, Entered>,
}

struct Entered {
    handle: File,
    device: u64,
    can_flush: bool,
}

impl System {
    const fn new(flushes: bool) -> Self {
        Self {
            flushes,
            entered: BTreeMap::new(),
        }
    }

    fn entered(&self, directory: &Path) -> io::Result<&Entered> {
        self.entered
            .get(directory)
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }
}

impl Files for System {
    type File = File;

    fn enter(&mut self, directory: &Path) -> Result<(), DiskError> {
        if self.entered.contains_key(directory) {
            return Ok(());
        }
        let handle = File::open(directory).at(Operation::Open, directory)?;
        let device = handle.metadata().at(Operation::Open, directory)?.dev();
        let can_flush = self.flushes && FLUSHABLE.contains(&file_system_of(&handle));
        let entered = Entered {
            handle,
            device,
            can_flush,
        };
        self.entered.insert(directory.to_owned(), entered);
        Ok(())
    }

    fn create(&mut self, path: &Path) -> Result<File, DiskError> {
        open_new(path).at(Operation::Open, path)
    }

    fn write(&mut self, mut file: &File, path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
        file.write_all(bytes).at(Operation::Write, path)
    }

    fn sync(&mut self, file: &File, path: &Path) -> Result<(), DiskError> {
        file.sync_all().at(Operation::Sync, path)
    }

    fn can_flush(&self, directory: &Path) -> bool {
        self.entered(directory).is_ok_and(|entered| entered.can_flush)
    }

    fn flush(&mut self, directories: &[&Path]) -> Result<(), DiskError> {
        let mut flushed = Vec::new();
        for directory in directories {
            let entered = self.entered(directory).at(Operation::Sync, directory)?;
            if !flushed.contains(&entered.device) {
                sync_file_system(&entered.handle).at(Operation::Sync, directory)?;
                flushed.push(entered.device);
            }
        }
        Ok(())
    }

    fn rename(&mut self, from: &Path, to: &Path) -> Result<(), DiskError> {
        rename_over(from, to)
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn sync_directory(&mut self, directory: &Path) -> Result<(), DiskError> {
        let entered = self.entered(directory).at(Operation::Sync, directory)?;
        entered.handle.sync_all().at(Operation::Sync, directory)
    }
}

#[expect(unsafe_code, reason = "the standard library has no syncfs")]
fn sync_file_system(handle: &File) -> io::Result<()> {
    // SAFETY: syncfs(2) takes a descriptor, which `handle` keeps open, and touches no memory of ours.
    if unsafe { libc::syncfs(handle.as_raw_fd()) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// 0 where the system does not say.
#[expect(unsafe_code, reason = "the standard library has no fstatfs")]
fn file_system_of(handle: &File) -> i64 {
    let mut facts = std::mem::MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: fstatfs(2) fills the structure that it is given if it returns 0, and keeps no pointer to it; only then is
    // it read.
    unsafe {
        if libc::fstatfs(handle.as_raw_fd(), facts.as_mut_ptr()) == 0 {
            facts.assume_init().f_type
        } else {
            0
        }
    }
}

/// Linux before 5.8 answers `syncfs` with success although files could not be written (syncfs(2), "History").
fn reports_write_errors() -> bool {
    std::fs::read_to_string("/proc/sys/kernel/osrelease").is_ok_and(|release| is_at_least_5_8(&release))
}

fn is_at_least_5_8(release: &str) -> bool {
    let mut numbers = release.split(['.', '-']).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= (5, 8),
        _ => false,
    }
}

#[cfg(test)]
#[path = "replace_many_tests.rs"]
mod tests;
