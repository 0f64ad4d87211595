//! What a change of the DEK of a file is made of, each step off the JavaScript thread. Which step comes when, and what a
//! crash between two of them leaves, is decided in `src/encryption/rotate-dek.ts`.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use napi::Env;
use napi::bindgen_prelude::Function;
use napi_derive::napi;
use nimbus_redb::engine as redb;
use nimbus_sqlite::{Encryption, Mode, OpenOptions};

use crate::admin::{NativeDatabaseFile, NativeRedbFile, copy_key};
use crate::encryption::encryption_of;
use crate::failure::{NativeFailure, throw};
use crate::work::{NativeWork, NativeWorkEvent, begin, begin_examination};

const NO_KEY: &str = "a plain file has no key to change";

/// Folds the write-ahead log of a SQLCipher file into it and leaves it without one, durably.
///
/// Errors: `closed_handle`, `invalid_argument`. Failures: `data_missing`, `file_busy`, `file_corrupt`, `disk_full`,
/// `not_permitted`, `io_error`.
#[napi(catch_unwind)]
pub fn fold_log(
    env: Env,
    file: NativeDatabaseFile,
    #[napi(ts_arg_type = "(event: NativeWorkEvent) => void")] on_event: Function<NativeWorkEvent, ()>,
) -> napi::Result<NativeWork> {
    let options = OpenOptions {
        encryption: Some(encrypted(env, &file)?),
        path: PathBuf::from(file.path),
        mode: Mode::Open,
        exclusive: true,
    };
    begin(on_event, move |_| {
        nimbus_sqlite::fold_log(&options).map_err(NativeFailure::from)
    })
}

/// Writes every page of a SQLCipher file without a log anew, under the key of another DEK with the same file id and profile.
/// However it ends, `keyOpens` alone tells which key the file is under.
///
/// Errors: `closed_handle`, `invalid_argument`. Failures: `data_missing`, `file_busy`, `file_corrupt`, `interrupted`,
/// `disk_full`, `not_permitted`, `io_error`.
#[napi(catch_unwind)]
pub fn rekey(
    env: Env,
    current: NativeDatabaseFile,
    next: NativeDatabaseFile,
    #[napi(ts_arg_type = "(event: NativeWorkEvent) => void")] on_event: Function<NativeWorkEvent, ()>,
) -> napi::Result<NativeWork> {
    let (from, to) = (encrypted(env, &current)?, encrypted(env, &next)?);
    let path = PathBuf::from(current.path);
    begin(on_event, move |watch| {
        nimbus_sqlite::rekey(&path, &from, &to, watch).map_err(NativeFailure::from)
    })
}

/// Whether a SQLCipher file is under this key: ends without a failure if so, with `other_key` if not. Rolls back what a crash
/// left, if its pages are under the key of `journaled`, which is the same file. With `everyPage` each page is authenticated as well.
///
/// Errors: `closed_handle`, `invalid_argument`. Failures: `other_key`, `data_missing`, `file_busy`, `file_corrupt`,
/// `interrupted`, `disk_full`, `not_permitted`, `io_error`.
#[napi(catch_unwind)]
pub fn key_opens(
    env: Env,
    file: NativeDatabaseFile,
    journaled: NativeDatabaseFile,
    every_page: bool,
    #[napi(ts_arg_type = "(event: NativeWorkEvent) => void")] on_event: Function<NativeWorkEvent, ()>,
) -> napi::Result<NativeWork> {
    let (encryption, journaled) = (encrypted(env, &file)?, encrypted(env, &journaled)?);
    let path = PathBuf::from(file.path);
    begin(on_event, move |watch| {
        match nimbus_sqlite::key_opens(&path, &encryption, &journaled, every_page, watch) {
            Ok(true) => Ok(()),
            Ok(false) => Err(NativeFailure::other_key(&path)),
            Err(error) => Err(error.into()),
        }
    })
}

/// Seals every page of a redb file anew into the file that `next` names, under its DEK, file id and generation; what is there is
/// replaced. On success redb has read all of it. The caller holds the lock of `current`, which is only read.
///
/// Errors: `closed_handle`, `invalid_argument`. Failures: `data_missing`, `file_corrupt`, `key_wrong`, `interrupted`,
/// `disk_full`, `not_permitted`, `io_error`.
#[napi(catch_unwind)]
pub fn reseal(
    env: Env,
    current: NativeRedbFile,
    next: NativeRedbFile,
    #[napi(ts_arg_type = "(event: NativeWorkEvent) => void")] on_event: Function<NativeWorkEvent, ()>,
) -> napi::Result<NativeWork> {
    let job = redb::ResealJob {
        source_key: sealed(env, &current)?,
        target_key: sealed(env, &next)?,
        source: PathBuf::from(current.path),
        target: PathBuf::from(next.path),
    };
    begin(on_event, move |watch| {
        redb::reseal(&job, watch).map_err(NativeFailure::from)
    })
}

/// Whether a sealed redb file is under this key: ends without a failure if so, with `other_key` if not. With `everyPage` redb
/// reads all that it uses as well.
///
/// Errors: `closed_handle`, `invalid_argument`. Failures: `other_key`, `data_missing`, `file_busy`, `file_corrupt`,
/// `disk_full`, `not_permitted`, `io_error`.
#[napi(catch_unwind)]
pub fn seal_opens(
    env: Env,
    file: NativeRedbFile,
    every_page: bool,
    #[napi(ts_arg_type = "(event: NativeWorkEvent) => void")] on_event: Function<NativeWorkEvent, ()>,
) -> napi::Result<NativeWork> {
    let key = sealed(env, &file)?;
    let path = PathBuf::from(file.path);
    begin(on_event, move |_| match redb::key_opens(&path, &key, every_page) {
        Ok(true) => Ok(()),
        Ok(false) => Err(NativeFailure::other_key(&path)),
        Err(error) => Err(error.into()),
    })
}

/// Authenticates every page of a SQLCipher file at rest and of its log, and writes nothing, at most so many bytes a second (infinite: on
/// every processor); the last event has the findings.
///
/// Errors: `closed_handle`, `invalid_argument`. Failures: `data_missing`, `file_corrupt`, `interrupted`, `not_permitted`,
/// `io_error`.
#[napi(catch_unwind)]
pub fn verify_sqlite(
    env: Env,
    file: NativeDatabaseFile,
    bytes_per_second: f64,
    #[napi(ts_arg_type = "(event: NativeWorkEvent) => void")] on_event: Function<NativeWorkEvent, ()>,
) -> napi::Result<NativeWork> {
    let encryption = encrypted(env, &file)?;
    let path = PathBuf::from(file.path);
    begin_examination(on_event, move |watch| {
        Ok(Some(
            nimbus_sqlite::verify(&path, &encryption, bytes_per_second as u64, watch)?.into(),
        ))
    })
}

/// Likewise for a sealed redb file: superblock, newest record and every page.
///
/// Errors: `closed_handle`, `invalid_argument`. Failures: `data_missing`, `file_corrupt`, `key_wrong`, `interrupted`,
/// `not_permitted`, `io_error`.
#[napi(catch_unwind)]
pub fn verify_redb(
    env: Env,
    file: NativeRedbFile,
    bytes_per_second: f64,
    #[napi(ts_arg_type = "(event: NativeWorkEvent) => void")] on_event: Function<NativeWorkEvent, ()>,
) -> napi::Result<NativeWork> {
    let key = sealed(env, &file)?;
    let path = PathBuf::from(file.path);
    begin_examination(on_event, move |watch| {
        Ok(Some(redb::verify(&path, &key, bytes_per_second as u64, watch)?.into()))
    })
}

/// Copies a file in one step, mode 0600, durable at the end; what is at `to` is replaced.
///
/// Failures: `interrupted`, `disk_full`, `not_permitted`, `io_error`.
#[napi(catch_unwind)]
pub fn copy_file_durably(
    from: String,
    to: String,
    #[napi(ts_arg_type = "(event: NativeWorkEvent) => void")] on_event: Function<NativeWorkEvent, ()>,
) -> napi::Result<NativeWork> {
    begin(on_event, move |watch| {
        let mut on_progress = |done, total| {
            watch.report("copying", done, total);
            if watch.is_cancelled() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        };
        match nimbus_disk::copy(Path::new(&from), Path::new(&to), &mut on_progress) {
            Ok(true) => Ok(()),
            Ok(false) => Err(NativeFailure::interrupted(Path::new(&from))),
            Err(error) => Err(error.into()),
        }
    })
}

fn sealed(env: Env, file: &NativeRedbFile<'_>) -> napi::Result<redb::CopyKey> {
    copy_key(env, file)?.ok_or_else(|| throw(env, NativeFailure::invalid_argument(NO_KEY)))
}

fn encrypted(env: Env, file: &NativeDatabaseFile<'_>) -> napi::Result<Arc<Encryption>> {
    encryption_of(env, file.dek.as_ref(), file.file_id.as_ref(), file.profile.as_deref())?
        .ok_or_else(|| throw(env, NativeFailure::invalid_argument(NO_KEY)))
}
