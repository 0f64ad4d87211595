//! `nimbus-redb`'s store for JavaScript. What is many crosses packed: one run of bytes and its lengths.
//!
//! Requests carry ids; finished ones come back in batches to one callback.

mod tables;
mod values;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use napi::Env;
use napi::bindgen_prelude::{Function, Uint8ArraySlice};
use napi::threadsafe_function::ThreadsafeFunctionCallMode;
use napi_derive::napi;
use nimbus_redb::engine::{Completion, Durability, EngineError, Operations, Outcome, Sink, Store, Task, View, split};
use nimbus_threads::pool;

use self::values::{
    NativeKvCompletion, NativeKvOptions, NativeKvRange, NativeKvStats, NativeKvWrite, NativePacked, Request,
};
use crate::failure::{NativeFailure, throw};
use crate::work::{NativeWork, NativeWorkEvent, begin_verification};

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
        let request = Request::from_options(env, options)?;
        let sink = sink_to(on_completed)?;
        let store = request.open(sink).map_err(|error| throw(env, error))?;
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
        let (operations, durability) = unpack(env, write)?;
        self.store.write(id, operations, durability);
        Ok(())
    }

    /// As `write`; this thread waits until it is done.
    ///
    /// Errors: `invalid_argument`, and those of a commit: `file_corrupt`, `disk_full`, `io_error`, `shutting_down`.
    #[napi(catch_unwind)]
    pub fn write_and_wait(&self, env: Env, write: NativeKvWrite) -> napi::Result<()> {
        let (operations, durability) = unpack(env, write)?;
        let written = self.store.write_and_wait(operations, durability);
        written.map_err(|error| throw(env, &*error))
    }

    /// Waits until everything that was queued so far is done, well or not.
    ///
    /// Errors: `shutting_down`.
    #[napi(catch_unwind)]
    pub fn settle_and_wait(&self, env: Env) -> napi::Result<()> {
        let settled = self.store.settle_and_wait();
        settled.map_err(|error| throw(env, &*error))
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

    /// Authenticates every page on a native thread while the store is used, at most so many bytes a second; the last event has the
    /// findings.
    ///
    /// Errors: `shutting_down`, `invalid_argument` for a plain file. Failures: `file_corrupt` for damage that no page is to blame
    /// for, `interrupted`, `shutting_down`, `io_error`.
    #[napi(catch_unwind)]
    pub fn verify(
        &self,
        env: Env,
        bytes_per_second: f64,
        #[napi(ts_arg_type = "(event: NativeWorkEvent) => void")] on_event: Function<NativeWorkEvent, ()>,
    ) -> napi::Result<NativeWork> {
        begin_verification(env, self.store.verification(), on_event, move |verification, watch| {
            verification.run(bytes_per_second as u64, watch)
        })
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
        self.store
            .stats()
            .map(NativeKvStats::from)
            .map_err(|error| throw(env, error))
    }
}

fn unpack(env: Env, write: NativeKvWrite) -> napi::Result<(Operations, Durability)> {
    let operations = Operations::unpack(write.drop_tables, write.tables, &write.layout, write.bytes.to_vec())
        .map_err(|error| throw(env, NativeFailure::invalid_argument(&error.to_string())))?;
    let durability = if write.eventual {
        Durability::Eventual
    } else {
        Durability::Immediate
    };
    Ok((operations, durability))
}

/// A file that a native thread opens: one that was not closed is read whole before it can be used.
#[napi]
pub struct NativeKvOpening {
    opened: Arc<Mutex<Option<Store>>>,
}

#[napi]
impl NativeKvOpening {
    /// Begins. `onCompleted` is told by `id` when the file is open, or what failed, as `NativeKvStore.open` would; and it is
    /// that of the store.
    ///
    /// Errors: `closed_handle`, `invalid_argument`.
    #[napi(factory, catch_unwind)]
    pub fn begin(
        env: Env,
        id: u32,
        options: NativeKvOptions,
        #[napi(ts_arg_type = "(completions: Array<NativeKvCompletion>) => void")] on_completed: Function<
            Vec<NativeKvCompletion>,
            (),
        >,
    ) -> napi::Result<Self> {
        let request = Request::from_options(env, options)?;
        let path = request.path().to_owned();
        let sink = sink_to(on_completed)?;
        let opened = Arc::new(Mutex::new(None));
        let place = Arc::clone(&opened);
        pool::WRITERS.run(move || {
            let store = catch_unwind(AssertUnwindSafe(|| request.open(Arc::clone(&sink))));
            let store = store.unwrap_or(Err(EngineError::Panicked { path }));
            let outcome = match store {
                Ok(store) => {
                    *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(store);
                    Outcome::Done
                }
                Err(error) => Outcome::Failed(Arc::new(error)),
            };
            sink(vec![Completion { id, outcome }]);
        });
        Ok(Self { opened })
    }

    /// The open store, once.
    ///
    /// Errors: `closed_handle`.
    #[napi(catch_unwind)]
    pub fn take(&self, env: Env) -> napi::Result<NativeKvStore> {
        let store = self.opened.lock().unwrap_or_else(PoisonError::into_inner).take();
        let store = store.ok_or_else(|| throw(env, NativeFailure::closed_handle("store")))?;
        Ok(NativeKvStore { store })
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

/// Finished requests go to JavaScript's callback.
fn sink_to(on_completed: Function<Vec<NativeKvCompletion>, ()>) -> napi::Result<Sink> {
    // Weak: `src/native.ts` keeps the event loop alive while requests are under way, and only then.
    let callback = on_completed
        .build_threadsafe_function::<Vec<Completion>>()
        .weak::<true>()
        .build_callback(|context| {
            let completions = context.value.into_iter().map(NativeKvCompletion::from);
            Ok(completions.collect::<Vec<_>>())
        })?;
    Ok(Arc::new(move |completions| {
        // Refused only when the environment is going away, and with it everybody who waits.
        let _ = callback.call(completions, ThreadsafeFunctionCallMode::NonBlocking);
    }))
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
