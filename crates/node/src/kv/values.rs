//! What crosses between JavaScript and a key-value store: options, ranges and writes in, pairs, facts and completions out.

use std::ops::Bound;
use std::path::{Path, PathBuf};

use napi::Env;
use napi::bindgen_prelude::{BigInt, ClassInstance, Uint8Array, Uint32Array};
use napi_derive::napi;
use nimbus_redb::SealedStats;
use nimbus_redb::engine::{
    Completion, CopyKey, Direction, Encryption, EngineError, Limit, Mode, Options, Outcome, Packed, Range, Sink, Store,
    StoreStats,
};

use crate::disk::FileLock;
use crate::failure::{NativeFailure, throw};
use crate::keys::{Dek, file_id_of};

/// How a store is opened.
#[napi(object, object_to_js = false)]
pub struct NativeKvOptions<'env> {
    /// The data file.
    pub path: String,
    /// Whether the file must be new (`true`) or must exist.
    pub create: bool,
    /// The file's DEK; absent for a plain file.
    pub dek: Option<ClassInstance<'env, Dek>>,
    /// The file id (16 bytes) that the file bears, or is to bear.
    pub file_id: Option<Uint8Array>,
    /// The generation of the DEK, for a new file.
    pub generation: Option<BigInt>,
    /// The lock of `<path>.nimbus-lock`, if it is held already: the store's from now on.
    pub lock: Option<ClassInstance<'env, FileLock>>,
    /// Redb keeps no more bytes of the file than this, also if the budget has more for it.
    pub cache_bytes: Option<f64>,
}

/// A bound of a range.
#[napi(object, object_to_js = false)]
pub struct NativeKvBound {
    /// The key, by bytes.
    pub key: Uint8Array,
    /// Whether the key itself is within the range.
    pub inclusive: bool,
}

/// The pairs that are asked for.
#[napi(object, object_to_js = false)]
pub struct NativeKvRange {
    /// The lower bound.
    pub from: Option<NativeKvBound>,
    /// The upper bound.
    pub to: Option<NativeKvBound>,
    /// The largest key first.
    pub reverse: bool,
    /// So many pairs at most.
    pub limit: f64,
    /// The last pair is the one with which keys and values reach so many bytes.
    pub most_bytes: f64,
}

/// Operations that happen together or not at all, packed.
#[napi(object, object_to_js = false)]
pub struct NativeKvWrite {
    /// Tables that are dropped before the first operation.
    pub drop_tables: Vec<String>,
    /// The tables that the operations name.
    pub tables: Vec<String>,
    /// For each operation the index of its table, the length of its key and that of its value (2^32 - 1: remove the key).
    pub layout: Uint32Array,
    /// Keys and values, one behind the other.
    pub bytes: Uint8Array,
    /// Durable with a later commit or flush, not with this one.
    pub eventual: bool,
}

/// Byte strings, one behind the other, each at the next multiple of 8.
#[napi(object, object_from_js = false)]
pub struct NativePacked {
    /// Their bytes.
    pub bytes: Uint8Array,
    /// The length of each; 2^32 - 1 stands for none. Of pairs: key, value, key, value.
    pub lengths: Uint32Array,
    /// Whether a range has more pairs.
    pub has_more: bool,
}

/// What a check found.
#[napi(object, object_from_js = false)]
pub struct NativeIntegrity {
    /// Whether everything was in order.
    pub sound: bool,
    /// Free pages that do not authenticate: what a crash may leave, and no loss.
    pub damaged_free_pages: Vec<u32>,
}

/// A finished request: with `failure`, with what was asked for, or with neither (done).
#[napi(object, object_from_js = false)]
pub struct NativeKvCompletion {
    /// The id it was submitted with.
    pub id: u32,
    /// What failed.
    pub failure: Option<NativeFailure>,
    /// The pairs of a range.
    pub pairs: Option<NativePacked>,
    /// Whether a compaction moved anything.
    pub compacted: Option<bool>,
    /// What a check found.
    pub integrity: Option<NativeIntegrity>,
}

/// What a sealed file tells of itself.
#[napi(object)]
pub struct NativeSealedStats {
    /// The file's id.
    pub file_id: Uint8Array,
    /// The generation of the DEK that it was made with.
    pub generation: BigInt,
    /// The epoch of its newest durable commit.
    pub epoch: f64,
    /// Whether opening it set aside a commit that had not finished.
    pub rolled_back: bool,
    /// Pages sealed since it was opened.
    pub sealed_pages: f64,
}

/// Counts since a store was opened, what waits now, and the file.
#[napi(object)]
pub struct NativeKvStats {
    /// Transactions committed.
    pub commits: f64,
    /// Writes they carried.
    pub requests: f64,
    /// Requests waiting.
    pub queued: f64,
    /// What they carry, in bytes.
    pub queued_bytes: f64,
    /// Pages of 4096 bytes, used or free.
    pub pages: f64,
    /// Bytes of the file on the disk, holes included.
    pub file_bytes: f64,
    /// Absent if the file is plain.
    pub sealed: Option<NativeSealedStats>,
}

/// What a file is opened with, kept by whoever opens it, on whatever thread.
pub(super) struct Request {
    path: PathBuf,
    mode: Mode,
    key: Option<CopyKey>,
    lock: Option<nimbus_disk::FileLock>,
    cache_bytes: usize,
}

impl Request {
    /// Takes the lock over, whatever becomes of the rest.
    pub(super) fn from_options(env: Env, mut options: NativeKvOptions<'_>) -> napi::Result<Self> {
        let lock = options.lock.as_mut().map(|lock| lock.hand_over(env)).transpose()?;
        let key = match (&options.dek, &options.file_id, &options.generation) {
            (None, None, None) => None,
            (Some(dek), Some(file_id), Some(generation)) => {
                let (negative, dek_generation, lossless) = generation.get_u64();
                if negative || !lossless {
                    return Err(throw(env, NativeFailure::invalid_argument("a generation has 64 bits")));
                }
                Some(CopyKey {
                    dek: dek.shared(env)?,
                    file_id: file_id_of(env, file_id)?,
                    dek_generation,
                })
            }
            _ => {
                let message = "dek, fileId and generation are given together or not at all";
                return Err(throw(env, NativeFailure::invalid_argument(message)));
            }
        };
        Ok(Self {
            path: PathBuf::from(&options.path),
            mode: if options.create { Mode::Create } else { Mode::Open },
            key,
            lock,
            cache_bytes: options.cache_bytes.map_or(usize::MAX, |bytes| bytes as usize),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn open(mut self, sink: Sink) -> Result<Store, EngineError> {
        let lock = self.lock.take();
        Store::open(&self.options(), lock, sink)
    }

    fn options(&self) -> Options<'_> {
        Options {
            path: self.path.clone(),
            mode: self.mode,
            encryption: self.key.as_ref().map(|key| Encryption {
                dek: &key.dek,
                file_id: key.file_id,
                dek_generation: key.dek_generation,
            }),
            cache_bytes: self.cache_bytes,
        }
    }
}

impl From<NativeKvRange> for Range {
    fn from(range: NativeKvRange) -> Self {
        let bound = |bound: Option<NativeKvBound>| match bound {
            None => Bound::Unbounded,
            Some(NativeKvBound { key, inclusive: true }) => Bound::Included(key.to_vec()),
            Some(NativeKvBound { key, inclusive: false }) => Bound::Excluded(key.to_vec()),
        };
        Self {
            from: bound(range.from),
            to: bound(range.to),
            direction: if range.reverse {
                Direction::Descending
            } else {
                Direction::Ascending
            },
            limit: Limit {
                pairs: range.limit as usize,
                bytes: range.most_bytes as usize,
            },
        }
    }
}

impl From<Packed> for NativePacked {
    fn from(packed: Packed) -> Self {
        Self {
            bytes: Uint8Array::new(packed.bytes),
            lengths: Uint32Array::new(packed.lengths),
            has_more: packed.has_more,
        }
    }
}

impl From<Completion> for NativeKvCompletion {
    fn from(completion: Completion) -> Self {
        let bare = Self {
            id: completion.id,
            failure: None,
            pairs: None,
            compacted: None,
            integrity: None,
        };
        match completion.outcome {
            Outcome::Done => bare,
            Outcome::Pairs(pairs) => Self {
                pairs: Some(pairs.into()),
                ..bare
            },
            Outcome::Compacted(compacted) => Self {
                compacted: Some(compacted),
                ..bare
            },
            Outcome::Checked(integrity) => Self {
                integrity: Some(NativeIntegrity {
                    sound: integrity.sound,
                    damaged_free_pages: integrity.damaged_free_pages,
                }),
                ..bare
            },
            Outcome::Failed(error) => Self {
                failure: Some(NativeFailure::from(&*error)),
                ..bare
            },
        }
    }
}

impl From<StoreStats> for NativeKvStats {
    fn from(stats: StoreStats) -> Self {
        Self {
            commits: stats.commits as f64,
            requests: stats.requests as f64,
            queued: stats.queued as f64,
            queued_bytes: stats.queued_bytes as f64,
            pages: stats.database.pages as f64,
            file_bytes: stats.database.file_bytes as f64,
            sealed: stats.database.sealed.map(NativeSealedStats::from),
        }
    }
}

impl From<SealedStats> for NativeSealedStats {
    fn from(stats: SealedStats) -> Self {
        Self {
            file_id: Uint8Array::new(stats.file_id.0.to_vec()),
            generation: BigInt::from(stats.dek_generation),
            epoch: stats.epoch as f64,
            rolled_back: stats.rolled_back,
            sealed_pages: stats.sealed_pages as f64,
        }
    }
}
