//! Failures on their way to JavaScript: an `Error` with `code`, `path` and `detail`, for exceptions and callbacks alike.

use std::path::Path;

use napi::bindgen_prelude::{JsObjectValue, Object, ToNapiValue};
use napi::{Env, Error, Result, Status};
use napi_derive::napi;
use nimbus_crypto::KmsMessageError;
use nimbus_crypto::random::RandomError;
use nimbus_disk::{DiskError, KeyFileDefect, KeyFileError};
use nimbus_redb::EngineError;
use nimbus_sqlite::StoreError;

/// What failed, in the vocabulary of `src/native.ts`.
#[napi(object)]
pub struct NativeFailure {
    /// One of the codes that `src/native.ts` knows.
    pub code: String,
    /// What failed, on which file.
    pub message: String,
    /// The file, if one is concerned.
    pub path: Option<String>,
    /// The step of a request that failed, from 0.
    pub step: Option<u32>,
    /// Why a file or a key file was refused, or what kind of rule a step broke.
    pub reason: Option<String>,
    /// The size of a refused key file.
    pub bytes: Option<f64>,
    /// The process that owns a busy file.
    pub owner_pid: Option<u32>,
    /// The host of that process.
    pub owner_host: Option<String>,
}

impl NativeFailure {
    fn new(code: &str, message: String, path: Option<&Path>) -> Self {
        Self {
            code: code.to_owned(),
            message,
            path: path.map(|path| path.to_string_lossy().into_owned()),
            step: None,
            reason: None,
            bytes: None,
            owner_pid: None,
            owner_host: None,
        }
    }

    /// A key handle that was closed is a mistake of the caller.
    pub fn closed_handle(what: &str) -> Self {
        Self::new("closed_handle", format!("this {what} was closed"), None)
    }

    /// A defect of nimbus: long work panicked.
    pub fn panicked() -> Self {
        Self::new("internal", "the work failed inside nimbus".to_owned(), None)
    }

    /// The file is under another key than the one that was tried.
    pub fn other_key(path: &Path) -> Self {
        let message = format!("{} is under another key", path.display());
        Self::new("other_key", message, Some(path))
    }

    /// The caller asked for the end of the work.
    pub fn interrupted(path: &Path) -> Self {
        let message = format!("the work on {} was interrupted", path.display());
        Self::new("interrupted", message, Some(path))
    }

    /// A value of the wrong size or shape is a mistake of the caller.
    pub fn invalid_argument(message: &str) -> Self {
        Self::new("invalid_argument", message.to_owned(), None)
    }
}

/// Throws `failure` as an `Error` that carries its fields.
pub fn throw(env: Env, failure: impl Into<NativeFailure>) -> Error {
    let failure = failure.into();
    match build(&env, failure) {
        Ok(error) => match env.throw(error) {
            // The exception is pending; this only tells napi-rs to return to JavaScript.
            Ok(()) => Error::new(Status::PendingException, String::new()),
            Err(error) => error,
        },
        Err(error) => error,
    }
}

fn build(env: &Env, failure: NativeFailure) -> Result<Object<'_>> {
    let mut error = env.create_error(Error::new(Status::GenericFailure, failure.message))?;
    error.set_named_property("code", failure.code)?;
    set_if_known(&mut error, "path", failure.path)?;
    set_if_known(&mut error, "step", failure.step)?;
    set_if_known(&mut error, "reason", failure.reason)?;
    set_if_known(&mut error, "bytes", failure.bytes)?;
    set_if_known(&mut error, "ownerPid", failure.owner_pid)?;
    set_if_known(&mut error, "ownerHost", failure.owner_host)?;
    Ok(error)
}

/// Absent fields stay absent, as in the objects that callbacks get.
fn set_if_known<T: ToNapiValue>(error: &mut Object<'_>, name: &str, value: Option<T>) -> Result<()> {
    value.map_or(Ok(()), |value| error.set_named_property(name, value))
}

impl From<DiskError> for NativeFailure {
    fn from(error: DiskError) -> Self {
        let code = match &error {
            DiskError::Busy { .. } => "file_busy",
            DiskError::Full { .. } => "disk_full",
            DiskError::Denied { .. } => "not_permitted",
            DiskError::Io { .. } => "io_error",
        };
        let mut failure = Self::new(code, error.to_string(), Some(error.path()));
        if let DiskError::Busy { pid, host, .. } = error {
            failure.owner_pid = pid;
            failure.owner_host = host;
        }
        failure
    }
}

impl From<KeyFileError> for NativeFailure {
    fn from(error: KeyFileError) -> Self {
        let (code, reason) = match error.defect {
            KeyFileDefect::Missing => ("key_missing", "missing"),
            KeyFileDefect::Unreadable => ("key_missing", "unreadable"),
            KeyFileDefect::Directory => ("key_malformed", "directory"),
            KeyFileDefect::NotAFile => ("key_malformed", "not_a_file"),
            KeyFileDefect::Short => ("key_malformed", "short"),
            KeyFileDefect::Long => ("key_malformed", "long"),
            KeyFileDefect::LooksLikeHex => ("key_malformed", "looks_like_hex"),
            KeyFileDefect::LooksLikeBase64 => ("key_malformed", "looks_like_base64"),
        };
        let bytes = Some(error.bytes as f64);
        Self {
            reason: Some(reason.to_owned()),
            bytes,
            ..Self::new(code, error.to_string(), Some(&error.path))
        }
    }
}

impl NativeFailure {
    /// A data key of 32 zero bytes.
    pub fn zero_bytes() -> Self {
        Self {
            reason: Some("zero".to_owned()),
            ..Self::new("key_malformed", "the data key holds 32 zero bytes".to_owned(), None)
        }
    }

    /// A key file whose 32 bytes are all zero.
    pub fn zero_key(path: &Path) -> Self {
        let message = format!("key file {} holds 32 zero bytes", path.display());
        Self {
            reason: Some("zero".to_owned()),
            bytes: Some(32.0),
            ..Self::new("key_malformed", message, Some(path))
        }
    }
}

impl From<KmsMessageError> for NativeFailure {
    fn from(error: KmsMessageError) -> Self {
        let reason = match error {
            KmsMessageError::Malformed => "malformed",
            KmsMessageError::Ambiguous => "ambiguous",
            KmsMessageError::Absent => "absent",
            KmsMessageError::NotAKey => "not_a_key",
        };
        Self {
            reason: Some(reason.to_owned()),
            ..Self::new("kms_message", error.to_string(), None)
        }
    }
}

impl From<RandomError> for NativeFailure {
    fn from(error: RandomError) -> Self {
        Self::new("no_randomness", error.to_string(), None)
    }
}

impl From<StoreError> for NativeFailure {
    fn from(error: StoreError) -> Self {
        let message = error.to_string();
        let of_file = |code, path: &Path| Self::new(code, message.clone(), Some(path));
        let of_step = |reason: &str, step: usize| Self {
            step: u32::try_from(step).ok(),
            reason: Some(reason.to_owned()),
            ..Self::new("statement", message.clone(), None)
        };
        match &error {
            StoreError::Corrupt { path } | StoreError::Foreign { path } | StoreError::CopyDiffers { path, .. } => {
                of_file("file_corrupt", path)
            }
            StoreError::Missing { path } => of_file("data_missing", path),
            StoreError::Exists { path } => of_file("target_exists", path),
            StoreError::Busy { path } => of_file("file_busy", path),
            StoreError::Full { path } => of_file("disk_full", path),
            StoreError::Denied { path } => of_file("not_permitted", path),
            StoreError::Io { path, .. } => of_file("io_error", path),
            StoreError::Interrupted { path } => of_file("interrupted", path),
            StoreError::Closed { path } => of_file("shutting_down", path),
            StoreError::Panicked { path } => of_file("internal", path),
            StoreError::Constraint { step, unique: true, .. } => of_step("constraint_unique", *step),
            StoreError::Constraint {
                step, unique: false, ..
            } => of_step("constraint", *step),
            StoreError::ExpectationFailed { step, .. } => of_step("expectation_failed", *step),
            StoreError::Sql { step, .. } => of_step("sql", *step),
        }
    }
}

impl From<EngineError> for NativeFailure {
    fn from(error: EngineError) -> Self {
        Self::from(&error)
    }
}

/// By reference: one failed commit is the answer to many requests.
impl From<&EngineError> for NativeFailure {
    fn from(error: &EngineError) -> Self {
        let of_file = |code, path: &Path| Self::new(code, error.to_string(), Some(path));
        let corrupt = |reason: &str, path: &Path| Self {
            reason: Some(reason.to_owned()),
            ..of_file("file_corrupt", path)
        };
        match error {
            EngineError::WrongKey { path } => of_file("key_wrong", path),
            EngineError::OtherFile { path, .. } => corrupt("other_file", path),
            EngineError::NotSealed { path } => corrupt("not_encrypted", path),
            EngineError::Sealed { path } => corrupt("encrypted", path),
            EngineError::Corrupt { path, .. } => corrupt("damaged", path),
            EngineError::Differs { path } => of_file("file_corrupt", path),
            EngineError::Interrupted { path } => of_file("interrupted", path),
            EngineError::Missing { path } => of_file("data_missing", path),
            EngineError::Exists { path } => of_file("target_exists", path),
            EngineError::Busy { path, pid, host } => Self {
                owner_pid: *pid,
                owner_host: host.clone(),
                ..of_file("file_busy", path)
            },
            EngineError::InUse { path } | EngineError::Engaged { path } => of_file("file_busy", path),
            EngineError::Full { path } => of_file("disk_full", path),
            EngineError::Denied { path } => of_file("not_permitted", path),
            EngineError::Io { path, .. } | EngineError::NeedsReopen { path } => of_file("io_error", path),
            EngineError::Closed { path } => of_file("shutting_down", path),
            EngineError::Random { path, .. } => of_file("no_randomness", path),
            EngineError::Savepoint { path } | EngineError::Panicked { path } => of_file("internal", path),
            EngineError::Table { .. } | EngineError::TooLarge { .. } => Self::invalid_argument(&error.to_string()),
        }
    }
}
