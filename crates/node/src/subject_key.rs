//! The handle of a key that wraps the DEKs of one subject.

use std::path::Path;

use napi::Env;
use napi_derive::napi;
use nimbus_crypto::{LockedBytes, Salt};
use nimbus_disk::read_key_file;

use crate::failure::{NativeFailure, throw};
use crate::keys::{WrappingKey, array};

/// The key of one subject, in locked native memory.
#[napi]
pub struct SubjectKey {
    key: Option<nimbus_crypto::SubjectKey>,
    mode: u32,
}

#[napi]
impl SubjectKey {
    /// Reads exactly 32 raw bytes from a file into locked memory.
    ///
    /// Errors: `key_missing` and `key_malformed` with `reason` and `bytes`.
    #[napi(factory, catch_unwind)]
    pub fn read(env: Env, path: String) -> napi::Result<Self> {
        let path = Path::new(&path);
        let mut bytes = LockedBytes::zeroed();
        let facts = read_key_file(path, bytes.expose_secret_mut()).map_err(|error| throw(env, error))?;
        let key = nimbus_crypto::SubjectKey::new(bytes).map_err(|_zero| throw(env, NativeFailure::zero_key(path)))?;
        Ok(Self {
            key: Some(key),
            mode: facts.mode,
        })
    }

    /// The permission bits of the key's file (`st_mode & 0o7777`).
    #[napi(getter, catch_unwind)]
    pub fn mode(&self) -> u32 {
        self.mode
    }

    /// Names the key without revealing it: 32 hex digits.
    ///
    /// Errors: `closed_handle`.
    #[napi(getter, catch_unwind)]
    pub fn key_id(&self, env: Env) -> napi::Result<String> {
        Ok(self.open(env)?.key_id().to_string())
    }

    /// Derives the wrapping key of one manifest slot from its salt (32 bytes) and its subject's descriptor.
    ///
    /// Errors: `closed_handle`, `invalid_argument`.
    #[napi(catch_unwind)]
    pub fn wrapping_key(&self, env: Env, salt: &[u8], descriptor: String) -> napi::Result<WrappingKey> {
        let salt = Salt(array(env, salt, "a salt has 32 bytes")?);
        Ok(WrappingKey {
            key: Some(self.open(env)?.wrapping_key(&salt, &descriptor)),
        })
    }

    /// Wipes the key; every later use throws `closed_handle`.
    #[napi(catch_unwind)]
    pub fn close(&mut self) {
        self.key = None;
    }

    fn open(&self, env: Env) -> napi::Result<&nimbus_crypto::SubjectKey> {
        self.key
            .as_ref()
            .ok_or_else(|| throw(env, NativeFailure::closed_handle("subject key")))
    }
}
