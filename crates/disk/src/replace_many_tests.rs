//! The protocol on a disk in memory whose power is cut after each call, with every choice of what then survives.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::*;

type Inode = usize;

/// A change of a directory that is not on the device yet: each survives a power cut or does not, whatever the others do.
#[derive(Debug, Clone)]
enum Entry {
    Create(PathBuf, Inode),
    Rename(PathBuf, PathBuf, Inode),
    Remove(PathBuf),
}

type Tear = fn(&[u8]) -> Vec<u8>;

/// What a power cut makes of a file whose bytes were never synced.
const TORN: [Tear; 3] = [
    |_| Vec::new(),
    |bytes| bytes[..bytes.len() / 2].to_vec(),
    <[u8]>::to_vec,
];

#[derive(Debug, Clone, Default)]
struct State {
    inodes: Vec<(Vec<u8>, bool)>,
    now: BTreeMap<PathBuf, Inode>,
    durable: BTreeMap<PathBuf, Inode>,
    pending: Vec<Entry>,
}

impl State {
    /// Every state in which the next boot may find the disk.
    fn power_cuts(&self) -> Vec<BTreeMap<PathBuf, Vec<u8>>> {
        let unsynced: Vec<Inode> = (0..self.inodes.len()).filter(|&inode| !self.inodes[inode].1).collect();
        let mut found = Vec::new();
        for survivors in 0..1_usize << self.pending.len() {
            let mut names = self.durable.clone();
            for (position, entry) in self.pending.iter().enumerate() {
                if survivors & (1 << position) != 0 {
                    apply(&mut names, entry);
                }
            }
            for mut choice in 0..TORN.len().pow(u32::try_from(unsynced.len()).expect("few files")) {
                let mut contents: Vec<Vec<u8>> = self.inodes.iter().map(|(bytes, _)| bytes.clone()).collect();
                for &inode in &unsynced {
                    contents[inode] = TORN[choice % TORN.len()](&contents[inode]);
                    choice /= TORN.len();
                }
                found.push(
                    names
                        .iter()
                        .map(|(path, &inode)| (path.clone(), contents[inode].clone()))
                        .collect(),
                );
            }
        }
        found
    }
}

fn apply(names: &mut BTreeMap<PathBuf, Inode>, entry: &Entry) {
    match entry {
        Entry::Create(path, inode) => {
            names.insert(path.clone(), *inode);
        }
        Entry::Rename(from, to, inode) => {
            names.remove(from);
            names.insert(to.clone(), *inode);
        }
        Entry::Remove(path) => {
            names.remove(path);
        }
    }
}

/// Records the state after each call.
#[derive(Clone, Default)]
struct Recorded {
    state: State,
    history: Rc<RefCell<Vec<State>>>,
    flushes_nothing: bool,
    syncs_no_directory: bool,
    can_flush: bool,
    /// The call with this number fails.
    fails_at: Option<usize>,
    calls: usize,
}

impl Recorded {
    fn holding(files: &[(&str, &[u8])]) -> Self {
        let mut recorded = Self {
            can_flush: true,
            ..Self::default()
        };
        for (path, bytes) in files {
            let inode = recorded.state.inodes.len();
            recorded.state.inodes.push((bytes.to_vec(), true));
            recorded.state.now.insert(path.into(), inode);
            recorded.state.durable.insert(path.into(), inode);
        }
        recorded
    }

    fn call(&mut self, operation: Operation, path: &Path, change: impl FnOnce(&mut State)) -> Result<(), DiskError> {
        self.calls += 1;
        if self.fails_at == Some(self.calls) {
            return Err(DiskError::new(operation, path, io::Error::from_raw_os_error(libc::EIO)));
        }
        change(&mut self.state);
        self.history.borrow_mut().push(self.state.clone());
        Ok(())
    }
}

impl Files for Recorded {
    type File = Inode;

    fn enter(&mut self, _: &Path) -> Result<(), DiskError> {
        Ok(())
    }

    fn create(&mut self, path: &Path) -> Result<Inode, DiskError> {
        let inode = self.state.inodes.len();
        self.call(Operation::Open, path, |state| {
            assert!(!state.now.contains_key(path), "O_EXCL");
            state.inodes.push((Vec::new(), false));
            state.now.insert(path.to_owned(), inode);
            state.pending.push(Entry::Create(path.to_owned(), inode));
        })?;
        Ok(inode)
    }

    fn write(&mut self, &file: &Inode, path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
        self.call(Operation::Write, path, |state| {
            state.inodes[file] = (bytes.to_vec(), false);
        })
    }

    fn sync(&mut self, &file: &Inode, path: &Path) -> Result<(), DiskError> {
        self.call(Operation::Sync, path, |state| state.inodes[file].1 = true)
    }

    fn can_flush(&self, _: &Path) -> bool {
        self.can_flush
    }

    fn flush(&mut self, directories: &[&Path]) -> Result<(), DiskError> {
        let lies = self.flushes_nothing;
        self.call(Operation::Sync, directories[0], |state| {
            if !lies {
                state.inodes.iter_mut().for_each(|(_, synced)| *synced = true);
                state.durable = state.now.clone();
                state.pending.clear();
            }
        })
    }

    fn rename(&mut self, from: &Path, to: &Path) -> Result<(), DiskError> {
        self.call(Operation::Rename, to, |state| {
            let inode = state.now[from];
            let entry = Entry::Rename(from.to_owned(), to.to_owned(), inode);
            apply(&mut state.now, &entry);
            state.pending.push(entry);
        })
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        if !self.state.now.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.call(Operation::Remove, path, |state| {
            let entry = Entry::Remove(path.to_owned());
            apply(&mut state.now, &entry);
            state.pending.push(entry);
        })
        .map_err(io::Error::other)
    }

    fn sync_directory(&mut self, directory: &Path) -> Result<(), DiskError> {
        let lies = self.syncs_no_directory;
        self.call(Operation::Sync, directory, |state| {
            if lies {
                return;
            }
            let is_here = |path: &Path| path.parent() == Some(directory);
            state.durable.retain(|path, _| !is_here(path));
            let here = state.now.iter().filter(|(path, _)| is_here(path));
            state.durable.extend(here.map(|(path, inode)| (path.clone(), *inode)));
            state.pending.retain(|entry| match entry {
                Entry::Create(path, _) | Entry::Rename(_, path, _) | Entry::Remove(path) => !is_here(path),
            });
        })
    }
}

const PATHS: [&str; 3] = ["a/one", "a/two", "b/three"];

/// Two directories, and what a crash left in one of them.
fn before() -> Recorded {
    Recorded::holding(&[
        (PATHS[0], b"old-one"),
        (PATHS[1], b"old-two"),
        (PATHS[2], b"old-three"),
        ("a/two.tmp", b"left by a crash"),
    ])
}

fn wanted() -> [Replacement<'static>; 3] {
    let new: [&[u8]; 3] = [b"new-one", b"new-two", b"new-three"];
    std::array::from_fn(|at| Replacement {
        path: Path::new(PATHS[at]),
        bytes: new[at],
    })
}

/// The first power cut that leaves something else than an old or a new file, or, once all is reported, an old one.
fn first_loss(disk: &mut Recorded) -> Option<String> {
    let outcomes = replace_on(disk, &wanted());
    let history = disk.history.borrow().clone();
    for (at, state) in history.iter().enumerate() {
        for found in state.power_cuts() {
            for (path, outcome) in PATHS.iter().zip(&outcomes) {
                let name = path.rsplit('/').next().expect("a name");
                let bytes = found
                    .get(Path::new(path))
                    .map(|bytes| String::from_utf8_lossy(bytes).into_owned());
                let (old, new) = (format!("old-{name}"), format!("new-{name}"));
                let is_last = at + 1 == history.len();
                let is_fine = match &bytes {
                    Some(bytes) if *bytes == new => true,
                    Some(bytes) if *bytes == old => !(is_last && outcome.is_ok()),
                    _ => false,
                };
                if !is_fine {
                    return Some(format!("after call {}: {path} is {bytes:?}", at + 1));
                }
            }
        }
    }
    None
}

#[test]
fn a_power_cut_at_any_call_leaves_each_file_old_or_new_and_a_reported_one_new() {
    for can_flush in [true, false] {
        let mut disk = Recorded { can_flush, ..before() };
        assert_eq!(first_loss(&mut disk), None);
        assert_eq!(disk.calls, if can_flush { 13 } else { 15 });
    }
}

#[test]
fn so_it_is_when_any_call_fails_and_the_other_files_are_replaced() {
    for can_flush in [true, false] {
        for fails_at in 1..=15 {
            let mut disk = Recorded {
                can_flush,
                fails_at: Some(fails_at),
                ..before()
            };
            assert_eq!(first_loss(&mut disk), None, "call {fails_at} failed");
        }
    }
    let mut disk = Recorded {
        fails_at: Some(2),
        ..before()
    };
    let outcomes = replace_on(&mut disk, &wanted());
    assert!(outcomes[0].is_err() && outcomes[1].is_ok() && outcomes[2].is_ok());
}

#[test]
fn without_the_flush_or_the_sync_of_directories_something_would_be_lost() {
    let mut disk = Recorded {
        flushes_nothing: true,
        ..before()
    };
    assert!(first_loss(&mut disk).is_some());
    let mut disk = Recorded {
        syncs_no_directory: true,
        ..before()
    };
    assert!(first_loss(&mut disk).is_some());
}

#[test]
fn many_files_are_replaced_on_the_real_disk_and_one_that_cannot_be_does_not_stop_the_rest() {
    let directory = tempfile::tempdir().expect("directory");
    let paths: Vec<PathBuf> = (0..50)
        .map(|number| directory.path().join(number.to_string()))
        .collect();
    for path in &paths {
        std::fs::write(path, b"old").expect("old");
    }
    // A directory in the place of a temporary file can neither be removed nor written.
    std::fs::create_dir(directory.path().join("7.tmp")).expect("obstacle");
    let replacements: Vec<_> = paths.iter().map(|path| Replacement { path, bytes: b"new" }).collect();
    let outcomes = replace_many(&replacements);
    for (number, (path, outcome)) in paths.iter().zip(outcomes).enumerate() {
        let expected: &[u8] = if number == 7 { b"old" } else { b"new" };
        assert_eq!(outcome.is_ok(), number != 7);
        assert_eq!(std::fs::read(path).expect("read"), expected);
    }
    assert_eq!(std::fs::read_dir(directory.path()).expect("list").count(), 51);
}

#[test]
fn kernels_are_told_apart_by_their_version() {
    for (release, expected) in [
        ("6.18.44-fc\n", true),
        ("5.8.0-1-amd64\n", true),
        ("5.7.19\n", false),
        ("4.18.0-553.el8\n", false),
        ("10.0-rc1\n", true),
        ("", false),
    ] {
        assert_eq!(is_at_least_5_8(release), expected, "{release:?}");
    }
}
