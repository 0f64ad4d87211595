//! How a SQLite file is encrypted, from what JavaScript gives.

use std::sync::Arc;

use napi::Env;
use napi::bindgen_prelude::{ClassInstance, Uint8Array};
use nimbus_sqlite::{Encryption, Profile};

use crate::failure::{NativeFailure, throw};
use crate::keys::{Dek, file_id_of};

/// How a file is encrypted; `None` for a plain one.
pub fn encryption_of(
    env: Env,
    dek: Option<&ClassInstance<'_, Dek>>,
    file_id: Option<&Uint8Array>,
    profile: Option<&str>,
) -> napi::Result<Option<Arc<Encryption>>> {
    match (dek, file_id, profile) {
        (None, None, None) => Ok(None),
        (Some(dek), Some(file_id), Some(profile)) => {
            let profile = Profile::by_name(profile)
                .ok_or_else(|| throw(env, NativeFailure::invalid_argument("no such cipher profile")))?;
            let key = dek.open(env)?.sqlcipher_key(&file_id_of(env, file_id)?);
            Ok(Some(Arc::new(Encryption { key, profile })))
        }
        _ => {
            let message = "dek, fileId and profile are given together or not at all";
            Err(throw(env, NativeFailure::invalid_argument(message)))
        }
    }
}
