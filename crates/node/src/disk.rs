//! `nimbus-disk` for JavaScript: durable changes of a directory, and locks.

use std::path::{Path, PathBuf};

use napi::Env;
use napi::bindgen_prelude::{Function, Uint8Array};
use napi_derive::napi;
use nimbus_disk::{FileLock as Lock, Replacement};

use crate::failure::{NativeFailure, throw};
use crate::work::{NativeWork, NativeWorkEvent, begin_telling};

/// Puts `bytes` at `path` in one step, mode 0600, durable on return.
///
/// Errors: `disk_full`, `not_permitted`, `io_error`; the file is then what it was.
#[napi(catch_unwind)]
pub fn replace_file(env: Env, path: String, bytes: &[u8]) -> napi::Result<()> {
    nimbus_disk::replace(Path::new(&path), bytes).map_err(|error| throw(env, error))
}

/// One of the files that `replaceFiles` replaces.
#[napi(object, object_to_js = false)]
pub struct NativeReplacement {
    /// Where.
    pub path: String,
    /// What.
    pub bytes: Uint8Array,
}

/// Puts each file in its place in one step, mode 0600, all with one flush of the file system. No path is named twice.
/// The last event has `failures`: null for a file that is durable, else why it is what it was.
///
/// Failures: `disk_full`, `not_permitted`, `io_error`.
#[napi(catch_unwind)]
pub fn replace_files(
    files: Vec<NativeReplacement>,
    #[napi(ts_arg_type = "(event: NativeWorkEvent) => void")] on_event: Function<NativeWorkEvent, ()>,
) -> napi::Result<NativeWork> {
    // Copied: what belongs to JavaScript may change while another thread reads it.
    let files: Vec<(PathBuf, Vec<u8>)> = files
        .into_iter()
        .map(|NativeReplacement { path, bytes }| (PathBuf::from(path), bytes.to_vec()))
        .collect();
    begin_telling(on_event, move |_| {
        let replacements: Vec<_> = files.iter().map(|(path, bytes)| Replacement { path, bytes }).collect();
        let failures = nimbus_disk::replace_many(&replacements)
            .into_iter()
            .map(|outcome| outcome.err().map(NativeFailure::from))
            .collect();
        Ok(NativeWorkEvent {
            failures: Some(failures),
            ..NativeWorkEvent::ended()
        })
    })
}

/// Creates `path` with `bytes`, mode 0600, durable on return; false if something is there already. Of any number of
/// processes that do so at once exactly one gets true.
///
/// Errors: `disk_full`, `not_permitted`, `io_error`.
#[napi(catch_unwind)]
pub fn create_file_exclusive(env: Env, path: String, bytes: &[u8]) -> napi::Result<bool> {
    nimbus_disk::create_exclusive(Path::new(&path), bytes).map_err(|error| throw(env, error))
}

/// Gives a file that was made and synced under another name its own, durable on return. The caller has seen that nothing
/// is at `path`.
///
/// Errors: `disk_full`, `not_permitted`, `io_error`; the file is then under one of the two names.
#[napi(catch_unwind)]
pub fn publish_file(env: Env, temporary: String, path: String) -> napi::Result<()> {
    nimbus_disk::publish(Path::new(&temporary), Path::new(&path)).map_err(|error| throw(env, error))
}

/// Removes a file, durably; false if there was none.
///
/// Errors: `not_permitted`, `io_error`.
#[napi(catch_unwind)]
pub fn remove_file_durably(env: Env, path: String) -> napi::Result<bool> {
    nimbus_disk::remove(Path::new(&path)).map_err(|error| throw(env, error))
}

/// Gives a file a second name, durably; false where the file system has no hard links, and nothing has changed.
///
/// Errors: `disk_full`, `not_permitted`, `io_error`, which is also what something that is at `to` already gives.
#[napi(catch_unwind)]
pub fn link_file_durably(env: Env, from: String, to: String) -> napi::Result<bool> {
    nimbus_disk::link(Path::new(&from), Path::new(&to)).map_err(|error| throw(env, error))
}

/// Makes a directory and its missing parents, mode 0700, durably.
///
/// Errors: `disk_full`, `not_permitted`, `io_error`.
#[napi(catch_unwind)]
pub fn create_directory(env: Env, path: String) -> napi::Result<()> {
    nimbus_disk::create_directory(Path::new(&path)).map_err(|error| throw(env, error))
}

/// An advisory lock (`flock`) on a file of its own, held until `release` or the end of the process.
#[napi]
pub struct FileLock {
    lock: Option<Lock>,
}

#[napi]
impl FileLock {
    /// Takes the lock alone; the file then holds pid and host for whoever is refused.
    ///
    /// Errors: `file_busy` at once, with `ownerPid` and `ownerHost`; `not_permitted`, `io_error`.
    #[napi(factory, catch_unwind)]
    pub fn exclusive(env: Env, path: String) -> napi::Result<Self> {
        let lock = Lock::exclusive(Path::new(&path)).map_err(|error| throw(env, error))?;
        Ok(Self { lock: Some(lock) })
    }

    /// Takes the lock together with other shared owners.
    ///
    /// Errors: `file_busy` at once, with `ownerPid` and `ownerHost`; `not_permitted`, `io_error`.
    #[napi(factory, catch_unwind)]
    pub fn shared(env: Env, path: String) -> napi::Result<Self> {
        let lock = Lock::shared(Path::new(&path)).map_err(|error| throw(env, error))?;
        Ok(Self { lock: Some(lock) })
    }

    /// Gives the lock back; doing so twice is harmless.
    #[napi(catch_unwind)]
    pub fn release(&mut self) {
        self.lock = None;
    }

    /// The lock for whoever holds it from now on.
    pub(crate) fn hand_over(&mut self, env: Env) -> napi::Result<Lock> {
        self.lock
            .take()
            .ok_or_else(|| throw(env, NativeFailure::closed_handle("lock")))
    }
}
