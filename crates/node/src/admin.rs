//! Copies of whole databases, for the `encryption` commands.

use std::path::PathBuf;

use napi::Env;
use napi::bindgen_prelude::{BigInt, ClassInstance, Function, Uint8Array};
use napi_derive::napi;
use nimbus_redb::engine as redb;
use nimbus_sqlite::CopyJob;

use crate::encryption::encryption_of;
use crate::failure::{NativeFailure, throw};
use crate::keys::{Dek, file_id_of};
use crate::work::{NativeWork, NativeWorkEvent, begin};

/// A database file and how it is encrypted; without DEK it is plain.
#[napi(object, object_to_js = false)]
pub struct NativeDatabaseFile<'env> {
    /// The data file.
    pub path: String,
    /// The file's DEK.
    pub dek: Option<ClassInstance<'env, Dek>>,
    /// 16 bytes.
    pub file_id: Option<Uint8Array>,
    /// The cipher profile.
    pub profile: Option<String>,
}

/// Copies a SQLite database, from plain to encrypted or back, into a file that does not exist. With `validate` both are read
/// again in full and compared.
///
/// Errors: `closed_handle`, `invalid_argument`. Failures: `data_missing`, `target_exists`, `file_busy`, `file_corrupt`,
/// `interrupted`, `statement`, `disk_full`, `not_permitted`, `io_error`.
#[napi(catch_unwind)]
pub fn copy_database(
    env: Env,
    source: NativeDatabaseFile,
    target: NativeDatabaseFile,
    validate: bool,
    #[napi(ts_arg_type = "(event: NativeWorkEvent) => void")] on_event: Function<NativeWorkEvent, ()>,
) -> napi::Result<NativeWork> {
    let encryption = |file: &NativeDatabaseFile| {
        encryption_of(env, file.dek.as_ref(), file.file_id.as_ref(), file.profile.as_deref())
    };
    let job = CopyJob {
        source_encryption: encryption(&source)?,
        target_encryption: encryption(&target)?,
        source: PathBuf::from(source.path),
        target: PathBuf::from(target.path),
        validate,
    };
    begin(on_event, move |watch| {
        nimbus_sqlite::copy_database(&job, watch).map_err(NativeFailure::from)
    })
}

/// A redb file and how it is sealed; without DEK it is plain.
#[napi(object, object_to_js = false)]
pub struct NativeRedbFile<'env> {
    /// The data file.
    pub path: String,
    /// The file's DEK.
    pub dek: Option<ClassInstance<'env, Dek>>,
    /// 16 bytes.
    pub file_id: Option<Uint8Array>,
    /// The generation of the DEK, for a new file.
    pub generation: Option<BigInt>,
}

/// Copies a redb database, from plain to sealed or back, into a file that does not exist. The caller holds the locks of both.
///
/// Errors: `closed_handle`, `invalid_argument`. Failures: `data_missing`, `target_exists`, `file_busy`, `file_corrupt`,
/// `key_wrong`, `interrupted`, `disk_full`, `not_permitted`, `io_error`.
#[napi(catch_unwind)]
pub fn copy_redb(
    env: Env,
    source: NativeRedbFile,
    target: NativeRedbFile,
    validate: bool,
    #[napi(ts_arg_type = "(event: NativeWorkEvent) => void")] on_event: Function<NativeWorkEvent, ()>,
) -> napi::Result<NativeWork> {
    let job = redb::CopyJob {
        source_key: copy_key(env, &source)?,
        target_key: copy_key(env, &target)?,
        source: PathBuf::from(source.path),
        target: PathBuf::from(target.path),
        validate,
    };
    begin(on_event, move |watch| {
        redb::copy_database(&job, watch).map_err(NativeFailure::from)
    })
}

pub fn copy_key(env: Env, file: &NativeRedbFile) -> napi::Result<Option<redb::CopyKey>> {
    match (&file.dek, &file.file_id, &file.generation) {
        (None, None, None) => Ok(None),
        (Some(dek), Some(file_id), Some(generation)) => Ok(Some(redb::CopyKey {
            dek: dek.shared(env)?,
            file_id: file_id_of(env, file_id)?,
            dek_generation: generation.get_u64().1,
        })),
        _ => {
            let message = "dek, fileId and generation are given together or not at all";
            Err(throw(env, NativeFailure::invalid_argument(message)))
        }
    }
}
