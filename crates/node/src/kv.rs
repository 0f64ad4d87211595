//! `nimbus-redb`'s store for JavaScript. What is many crosses packed: one run of bytes and its lengths.
//!
//! Requests carry ids; finished ones come back in batches to one callback.

use std::ops::Bound;
use std::path::PathBuf;
use std::sync::Arc;

use napi::Env;
use napi::bindgen_prelude::{BigInt, ClassInstance, Function, Uint8Array, Uint8ArraySlice, Uint32Array};
use napi::threadsafe_function::ThreadsafeFunctionCallMode;
use napi_derive::napi;
use nimbus_redb::SealedStats;
use nimbus_redb::engine::{
    Completion, Direction, Durability, Encryption, Limit, Mode, Operations, Options, Outcome, Packed, Range, Store,
    Task, View, split,
};

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

/// Byte strings, one behind the other.
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

/// An open redb file, plain or sealed.
#[napi]
pub struct NativeKvStore {
    store: Store,
}

#[napi]
impl NativeKvStore {
    /// Opens a file and holds its lock file until it is closed. `onCompleted` gets the finished requests of one commit
    /// together.
    ///
    /// Errors: `data_missing`, `target_exists`, `file_corrupt` (with `reason`), `key_wrong`, `file_busy` (with `ownerPid`),
    /// `disk_full`, `not_permitted`, `io_error`, `closed_handle`, `invalid_argument`.
    #[napi(factory, catch_unwind)]
    pub fn open(
        env: Env,
        options: NativeKvOptions,
        #[napi(ts_arg_type = "(completions: Array<NativeKvCompletion>) => void")] on_completed: Function<
            Vec<NativeKvCompletion>,
            (),
        >,
    ) -> napi::Result<Self> {
        let options = open_options(env, &options)?;
        // Weak: `src/native.ts` keeps the event loop alive while requests are under way, and only then.
        let callback = on_completed
            .build_threadsafe_function::<Vec<Completion>>()
            .weak::<true>()
            .build_callback(|context| {
                let completions = context.value.into_iter().map(NativeKvCompletion::from);
                Ok(completions.collect::<Vec<_>>())
            })?;
        let sink = Arc::new(move |completions| {
            // Refused only when the environment is going away, and with it everybody who waits.
            let _ = callback.call(completions, ThreadsafeFunctionCallMode::NonBlocking);
        });
        let store = Store::open(&options, sink).map_err(|error| throw(env, error))?;
        Ok(Self { store })
    }

    /// Looks up the key in the first `keyBytes` bytes of `buffer`, as of the last commit, on this thread. Returns the length
    /// of its value, or -1; behind the key the buffer then holds the value, unless it is too short for it.
    ///
    /// Errors: `file_corrupt`, `io_error`, `file_busy` (during a check or a compaction), `shutting_down`,
    /// `invalid_argument`.
    #[napi(catch_unwind)]
    pub fn get(&self, env: Env, table: String, buffer: Uint8ArraySlice<'_>, key_bytes: u32) -> napi::Result<f64> {
        let view = self.store.view().map_err(|error| throw(env, error))?;
        get(env, &view, &table, buffer, key_bytes)
    }

    /// The values of packed keys as of the last commit, on this thread.
    ///
    /// Errors: as `get`.
    #[napi(catch_unwind)]
    pub fn get_many(&self, env: Env, table: String, keys: &[u8], lengths: &[u32]) -> napi::Result<NativePacked> {
        let view = self.store.view().map_err(|error| throw(env, error))?;
        get_many(env, &view, &table, keys, lengths)
    }

    /// The last commit, whatever is written later.
    ///
    /// Errors: `io_error`, `file_busy` (during a check or a compaction), `shutting_down`.
    #[napi(catch_unwind)]
    pub fn snapshot(&self, env: Env) -> napi::Result<NativeKvSnapshot> {
        let view = self.store.view().map_err(|error| throw(env, error))?;
        Ok(NativeKvSnapshot { view: Some(view) })
    }

    /// Asks for pairs of a snapshot of this store, read on a native thread.
    ///
    /// Errors: `closed_handle`.
    #[napi(catch_unwind)]
    pub fn range(
        &self,
        env: Env,
        id: u32,
        snapshot: &NativeKvSnapshot,
        table: String,
        range: NativeKvRange,
    ) -> napi::Result<()> {
        let view = Arc::clone(snapshot.open(env)?);
        self.store.range(id, view, table, range.into());
        Ok(())
    }

    /// Queues operations that happen together or not at all.
    ///
    /// Errors: `invalid_argument`.
    #[napi(catch_unwind)]
    pub fn write(&self, env: Env, id: u32, write: NativeKvWrite) -> napi::Result<()> {
        let operations = Operations::unpack(write.drop_tables, write.tables, &write.layout, write.bytes.to_vec())
            .map_err(|error| throw(env, NativeFailure::invalid_argument(&error.to_string())))?;
        let durability = if write.eventual {
            Durability::Eventual
        } else {
            Durability::Immediate
        };
        self.store.write(id, operations, durability);
        Ok(())
    }

    /// Makes every commit so far durable.
    #[napi(catch_unwind)]
    pub fn flush(&self, id: u32) {
        self.store.run(id, Task::Flush);
    }

    /// Moves pages to the front of the file and gives the rest back. Snapshots must be closed; reads fail meanwhile.
    #[napi(catch_unwind)]
    pub fn compact(&self, id: u32) {
        self.store.run(id, Task::Compact);
    }

    /// Reads everything and checks it. Snapshots must be closed; reads fail meanwhile.
    #[napi(catch_unwind)]
    pub fn check(&self, id: u32) {
        self.store.run(id, Task::Check);
    }

    /// Finishes what is queued and closes; snapshots too.
    #[napi(catch_unwind)]
    pub fn close(&self, id: u32) {
        self.store.close(id);
    }

    /// Counts since the store was opened, what waits now, and the file.
    ///
    /// Errors: `io_error`.
    #[napi(catch_unwind)]
    pub fn stats(&self, env: Env) -> napi::Result<NativeKvStats> {
        let stats = self.store.stats().map_err(|error| throw(env, error))?;
        Ok(NativeKvStats {
            commits: stats.commits as f64,
            requests: stats.requests as f64,
            queued: stats.queued as f64,
            queued_bytes: stats.queued_bytes as f64,
            pages: stats.database.pages as f64,
            file_bytes: stats.database.file_bytes as f64,
            sealed: stats.database.sealed.map(NativeSealedStats::from),
        })
    }
}

/// One state of a store.
#[napi]
pub struct NativeKvSnapshot {
    view: Option<Arc<View>>,
}

#[napi]
impl NativeKvSnapshot {
    /// As `NativeKvStore.get`, of this state.
    ///
    /// Errors: `file_corrupt`, `io_error`, `shutting_down`, `closed_handle`, `invalid_argument`.
    #[napi(catch_unwind)]
    pub fn get(&self, env: Env, table: String, buffer: Uint8ArraySlice<'_>, key_bytes: u32) -> napi::Result<f64> {
        get(env, self.open(env)?, &table, buffer, key_bytes)
    }

    /// As `NativeKvStore.getMany`, of this state.
    ///
    /// Errors: as `get`.
    #[napi(catch_unwind)]
    pub fn get_many(&self, env: Env, table: String, keys: &[u8], lengths: &[u32]) -> napi::Result<NativePacked> {
        get_many(env, self.open(env)?, &table, keys, lengths)
    }

    /// Pairs in the order of their keys, read on this thread.
    ///
    /// Errors: as `get`.
    #[napi(catch_unwind)]
    pub fn range(&self, env: Env, table: String, range: NativeKvRange) -> napi::Result<NativePacked> {
        let packed = self.open(env)?.range(&table, &range.into());
        packed.map(NativePacked::from).map_err(|error| throw(env, error))
    }

    /// The names of all tables.
    ///
    /// Errors: as `get`.
    #[napi(catch_unwind)]
    pub fn tables(&self, env: Env) -> napi::Result<Vec<String>> {
        self.open(env)?.tables().map_err(|error| throw(env, error))
    }

    /// Lets the pages of this state be used again; closing twice is harmless.
    #[napi(catch_unwind)]
    pub fn close(&mut self) {
        self.view = None;
    }

    fn open(&self, env: Env) -> napi::Result<&Arc<View>> {
        self.view
            .as_ref()
            .ok_or_else(|| throw(env, NativeFailure::closed_handle("snapshot")))
    }
}

#[expect(
    unsafe_code,
    reason = "napi-rs lends the memory of a typed array through an unsafe call"
)]
fn get(env: Env, view: &View, table: &str, mut buffer: Uint8ArraySlice<'_>, key_bytes: u32) -> napi::Result<f64> {
    // SAFETY: this is the only reference to the array's memory in Rust, and JavaScript does not run before the call
    // returns. Memory that another thread may change is not lent: `src/native` passes an array of its own.
    let bytes = unsafe { buffer.as_mut() };
    let (key, place) = bytes.split_at_mut_checked(key_bytes as usize).ok_or_else(|| {
        throw(
            env,
            NativeFailure::invalid_argument("the key is longer than its buffer"),
        )
    })?;
    let found = view.get_with(table, key, |value| {
        if let Some(place) = place.get_mut(..value.len()) {
            place.copy_from_slice(value);
        }
        value.len()
    });
    found
        .map(|length| length.map_or(-1.0, |length| length as f64))
        .map_err(|error| throw(env, error))
}

fn get_many(env: Env, view: &View, table: &str, keys: &[u8], lengths: &[u32]) -> napi::Result<NativePacked> {
    let keys = split(keys, lengths).ok_or_else(|| {
        throw(
            env,
            NativeFailure::invalid_argument("the lengths of the keys are not those of the bytes"),
        )
    })?;
    let values = view.get_many(table, keys.into_iter());
    values.map(NativePacked::from).map_err(|error| throw(env, error))
}

fn open_options<'a>(env: Env, options: &'a NativeKvOptions<'_>) -> napi::Result<Options<'a>> {
    let encryption = match (&options.dek, &options.file_id, &options.generation) {
        (None, None, None) => None,
        (Some(dek), Some(file_id), Some(generation)) => {
            let (negative, dek_generation, lossless) = generation.get_u64();
            if negative || !lossless {
                return Err(throw(env, NativeFailure::invalid_argument("a generation has 64 bits")));
            }
            Some(Encryption {
                dek: dek.open(env)?,
                file_id: file_id_of(env, file_id)?,
                dek_generation,
            })
        }
        _ => {
            let message = "dek, fileId and generation are given together or not at all";
            return Err(throw(env, NativeFailure::invalid_argument(message)));
        }
    };
    Ok(Options {
        path: PathBuf::from(&options.path),
        mode: if options.create { Mode::Create } else { Mode::Open },
        encryption,
        cache_bytes: 0, // a store has its own from the budget
    })
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
