//! Key handles: what JavaScript holds instead of keys.

use std::path::Path;
use std::sync::Arc;

use napi::Env;
use napi::bindgen_prelude::Uint8Array;
use napi_derive::napi;
use nimbus_crypto::{FileId, Header, KEY_BYTES, LockedBytes, Salt, UnwrapError, WrappedDek};
use nimbus_disk::read_key_file;

use crate::failure::{NativeFailure, throw};

/// A master key in locked native memory.
#[napi]
pub struct MasterKey {
    key: Option<nimbus_crypto::MasterKey>,
    mode: u32,
}

#[napi]
impl MasterKey {
    /// Reads exactly 32 raw bytes from a file into locked memory.
    ///
    /// Errors: `key_missing` and `key_malformed` with `reason` and `bytes`.
    #[napi(factory, catch_unwind)]
    pub fn read(env: Env, path: String) -> napi::Result<Self> {
        let path = Path::new(&path);
        let mut bytes = LockedBytes::zeroed();
        let facts = read_key_file(path, bytes.expose_secret_mut()).map_err(|error| throw(env, error))?;
        let key = nimbus_crypto::MasterKey::new(bytes).map_err(|_zero| throw(env, NativeFailure::zero_key(path)))?;
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

    fn open(&self, env: Env) -> napi::Result<&nimbus_crypto::MasterKey> {
        self.key
            .as_ref()
            .ok_or_else(|| throw(env, NativeFailure::closed_handle("master key")))
    }
}

/// The wrapping key of one manifest slot, in locked native memory.
#[napi]
pub struct WrappingKey {
    pub(crate) key: Option<nimbus_crypto::WrappingKey>,
}

impl From<nimbus_crypto::WrappingKey> for WrappingKey {
    fn from(key: nimbus_crypto::WrappingKey) -> Self {
        Self { key: Some(key) }
    }
}

/// What became of a wrapped DEK.
#[napi(object, object_from_js = false)]
pub struct UnwrapOutcome {
    /// `opened`; `other_key` if another wrapping key made it; `altered` if this one did and something was changed since.
    #[napi(ts_type = "'opened' | 'other_key' | 'altered'")]
    pub outcome: &'static str,
    /// The DEK, if it opened.
    pub dek: Option<Dek>,
}

#[napi]
impl WrappingKey {
    /// Seals a DEK for `header`: 92 bytes (commitment 32, nonce 12, ciphertext 32, tag 16).
    ///
    /// Errors: `closed_handle`, `invalid_argument` (empty header), `no_randomness`.
    #[napi(catch_unwind)]
    pub fn wrap(&self, env: Env, dek: &Dek, header: &[u8]) -> napi::Result<Uint8Array> {
        let header = header_of(env, header)?;
        let wrapped = self
            .open(env)?
            .wrap(dek.open(env)?, header)
            .map_err(|error| throw(env, error))?;
        Ok(Uint8Array::new(wrapped.as_bytes().to_vec()))
    }

    /// Opens what `wrap` sealed under the same header.
    ///
    /// Errors: `closed_handle`, `invalid_argument` (empty header, or not 92 bytes).
    #[napi(
        catch_unwind,
        ts_return_type = "{ outcome: 'opened'; dek: Dek } | { outcome: 'other_key' } | { outcome: 'altered' }"
    )]
    pub fn unwrap(&self, env: Env, wrapped: &[u8], header: &[u8]) -> napi::Result<UnwrapOutcome> {
        let header = header_of(env, header)?;
        let wrapped = WrappedDek::from(array(env, wrapped, "a wrapped DEK has 92 bytes")?);
        Ok(match self.open(env)?.unwrap(&wrapped, header) {
            Ok(dek) => UnwrapOutcome {
                outcome: "opened",
                dek: Some(dek.into()),
            },
            Err(UnwrapError::OtherKey) => UnwrapOutcome {
                outcome: "other_key",
                dek: None,
            },
            Err(UnwrapError::Altered) => UnwrapOutcome {
                outcome: "altered",
                dek: None,
            },
        })
    }

    /// Wipes the key; every later use throws `closed_handle`.
    #[napi(catch_unwind)]
    pub fn close(&mut self) {
        self.key = None;
    }

    fn open(&self, env: Env) -> napi::Result<&nimbus_crypto::WrappingKey> {
        self.key
            .as_ref()
            .ok_or_else(|| throw(env, NativeFailure::closed_handle("wrapping key")))
    }
}

/// The data-encryption key of one file, in locked native memory.
#[napi]
pub struct Dek {
    dek: Option<Arc<nimbus_crypto::Dek>>,
}

impl From<nimbus_crypto::Dek> for Dek {
    fn from(dek: nimbus_crypto::Dek) -> Self {
        Self {
            dek: Some(Arc::new(dek)),
        }
    }
}

#[napi]
impl Dek {
    /// A new random DEK.
    ///
    /// Errors: `no_randomness`.
    #[napi(factory, catch_unwind)]
    pub fn generate(env: Env) -> napi::Result<Self> {
        Ok(nimbus_crypto::Dek::generate()
            .map_err(|error| throw(env, error))?
            .into())
    }

    /// A DEK of 32 bytes that the caller keeps. They are copied into locked memory; `key` stays as it is, to be wiped by whoever
    /// made it.
    ///
    /// Errors: `invalid_argument` for another length or 32 zero bytes.
    #[napi(factory, catch_unwind)]
    pub fn given(env: Env, key: &[u8]) -> napi::Result<Self> {
        let refuse = |message| throw(env, NativeFailure::invalid_argument(message));
        let mut bytes = LockedBytes::zeroed();
        if key.len() != KEY_BYTES {
            return Err(refuse("a key has 32 bytes"));
        }
        bytes.expose_secret_mut().copy_from_slice(key);
        nimbus_crypto::Dek::given(bytes)
            .map(Self::from)
            .map_err(|_all_zero| refuse("the key consists of zero bytes only"))
    }

    /// A public value (32 bytes) that only this DEK has under this salt (32 bytes).
    ///
    /// Errors: `closed_handle`, `invalid_argument`.
    #[napi(catch_unwind)]
    pub fn commitment(&self, env: Env, salt: &[u8]) -> napi::Result<Uint8Array> {
        let salt = Salt(array(env, salt, "a salt has 32 bytes")?);
        Ok(Uint8Array::new(self.open(env)?.commitment(&salt).to_vec()))
    }

    /// HMAC-SHA256 (32 bytes) of a manifest's bytes, under a key derived from the DEK and the file id (16 bytes).
    ///
    /// Errors: `closed_handle`, `invalid_argument`.
    #[napi(catch_unwind)]
    pub fn mac(&self, env: Env, file_id: &[u8], message: &[u8]) -> napi::Result<Uint8Array> {
        let key = self.open(env)?.manifest_mac_key(&file_id_of(env, file_id)?);
        Ok(Uint8Array::new(key.sign(message).to_vec()))
    }

    /// Whether `tag` is the `mac` of `message`, compared in constant time.
    ///
    /// Errors: `closed_handle`, `invalid_argument`.
    #[napi(catch_unwind)]
    pub fn verify_mac(&self, env: Env, file_id: &[u8], message: &[u8], tag: &[u8]) -> napi::Result<bool> {
        let key = self.open(env)?.manifest_mac_key(&file_id_of(env, file_id)?);
        Ok(key.verify(message, &array(env, tag, "a manifest's MAC has 32 bytes")?))
    }

    /// Wipes the key, once no work on another thread needs it; every later use throws `closed_handle`. Stores that were opened
    /// with it stay open.
    #[napi(catch_unwind)]
    pub fn close(&mut self) {
        self.dek = None;
    }

    /// The DEK for work on another thread, which keeps it until it is done.
    pub(crate) fn shared(&self, env: Env) -> napi::Result<Arc<nimbus_crypto::Dek>> {
        self.dek
            .clone()
            .ok_or_else(|| throw(env, NativeFailure::closed_handle("DEK")))
    }

    pub(crate) fn open(&self, env: Env) -> napi::Result<&nimbus_crypto::Dek> {
        self.dek
            .as_deref()
            .ok_or_else(|| throw(env, NativeFailure::closed_handle("DEK")))
    }
}

/// A file id from JavaScript: 16 bytes.
pub fn file_id_of(env: Env, bytes: &[u8]) -> napi::Result<FileId> {
    array(env, bytes, "a file id has 16 bytes").map(FileId)
}

fn header_of(env: Env, bytes: &[u8]) -> napi::Result<Header<'_>> {
    Header::new(bytes).map_err(|_empty| throw(env, NativeFailure::invalid_argument("a header is not empty")))
}

/// Bytes from JavaScript of a fixed number; `expected` says which.
pub fn array<const N: usize>(env: Env, bytes: &[u8], expected: &str) -> napi::Result<[u8; N]> {
    bytes
        .try_into()
        .map_err(|_length| throw(env, NativeFailure::invalid_argument(expected)))
}
