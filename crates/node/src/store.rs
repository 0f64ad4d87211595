//! `nimbus-sqlite`'s store for JavaScript. Requests carry ids; finished ones come back in batches to one callback.

use std::path::PathBuf;
use std::sync::Arc;

use napi::Env;
use napi::bindgen_prelude::{ClassInstance, Function, Uint8Array};
use napi::threadsafe_function::ThreadsafeFunctionCallMode;
use napi_derive::napi;
use nimbus_sqlite::{Completion, Mode, OpenOptions, Outcome, Step, StepResult, Store};

use crate::encryption::encryption_of;
use crate::failure::{NativeFailure, throw};
use crate::keys::Dek;
use crate::value::{SqlValue, parameters, row};
use crate::work::{NativeWork, NativeWorkEvent, begin_verification};

/// How a store is opened.
#[napi(object, object_to_js = false)]
pub struct NativeStoreOptions<'env> {
    /// The data file.
    pub path: String,
    /// Whether the file must be new (`true`) or must exist.
    pub create: bool,
    /// Keep the file for this process alone (VFS `unix-excl`).
    pub exclusive: bool,
    /// The file's DEK; absent for a plain file.
    pub dek: Option<ClassInstance<'env, Dek>>,
    /// The file id (16 bytes), which is SQLCipher's salt and the first 16 bytes of the file.
    pub file_id: Option<Uint8Array>,
    /// `sqlcipher-4` or `sqlcipher-4-sha256`.
    pub profile: Option<String>,
}

/// A write request.
#[napi(object, object_to_js = false)]
pub struct NativeWrite {
    /// The id that its completion bears.
    pub id: u32,
    /// What succeeds or fails together.
    pub steps: Vec<NativeStep>,
}

/// One statement of a write request.
#[napi(object, object_to_js = false)]
pub struct NativeStep {
    /// One SQL statement.
    pub sql: String,
    /// One value for each parameter.
    #[napi(ts_type = "Array<null | number | string | boolean | Uint8Array>")]
    pub params: Option<Vec<SqlValue>>,
    /// Fewer rows returned, or changed, fail the request.
    pub at_least: Option<u32>,
}

/// What one statement did.
#[napi(object, object_from_js = false)]
pub struct NativeStepResult {
    /// Rows inserted, updated or deleted.
    pub changes: f64,
    /// Rows returned.
    #[napi(ts_type = "Array<Array<null | number | string | Uint8Array>>")]
    pub rows: Vec<Vec<SqlValue>>,
}

/// A finished request: with `failure`, with `results` (a write), with `rows` (a query), or with neither (done).
#[napi(object, object_from_js = false)]
pub struct NativeCompletion {
    /// The id it was submitted with.
    pub id: u32,
    /// What failed.
    pub failure: Option<NativeFailure>,
    /// One for each step of a write.
    pub results: Option<Vec<NativeStepResult>>,
    /// The rows of a query.
    #[napi(ts_type = "Array<Array<null | number | string | Uint8Array>>")]
    pub rows: Option<Vec<Vec<SqlValue>>>,
    /// Whether a query has more rows, which were left out because of their size.
    pub cut: Option<bool>,
}

/// Counts since a store was opened, and what waits now.
#[napi(object)]
pub struct NativeStoreStats {
    /// Transactions committed.
    pub commits: f64,
    /// Write requests they carried.
    pub requests: f64,
    /// Requests waiting.
    pub queued: f64,
    /// Their parameters, in bytes.
    pub queued_bytes: f64,
}

/// An open SQLite or SQLCipher file.
#[napi]
pub struct NativeStore {
    store: Store,
}

#[napi]
impl NativeStore {
    /// Opens a file. `onCompleted` gets the finished requests of one commit together.
    ///
    /// Errors: `data_missing`, `target_exists`, `file_corrupt`, `file_busy`, `disk_full`, `not_permitted`, `io_error`,
    /// `closed_handle`, `invalid_argument`.
    #[napi(factory, catch_unwind)]
    pub fn open(
        env: Env,
        options: NativeStoreOptions,
        #[napi(ts_arg_type = "(completions: Array<NativeCompletion>) => void")] on_completed: Function<
            Vec<NativeCompletion>,
            (),
        >,
    ) -> napi::Result<Self> {
        let options = open_options(env, &options)?;
        // Weak: `src/native.ts` keeps the event loop alive while requests are under way, and only then.
        let callback = on_completed
            .build_threadsafe_function::<Vec<Completion>>()
            .weak::<true>()
            .build_callback(|context| {
                Ok(context
                    .value
                    .into_iter()
                    .map(NativeCompletion::from)
                    .collect::<Vec<_>>())
            })?;
        let sink = Arc::new(move |completions| {
            // Refused only when the environment is going away, and with it everybody who waits.
            let _ = callback.call(completions, ThreadsafeFunctionCallMode::NonBlocking);
        });
        let store = Store::open(&options, sink).map_err(|error| throw(env, error))?;
        Ok(Self { store })
    }

    /// The first row of a statement that reads, on this thread; null if there is none.
    ///
    /// Errors: `file_corrupt`, `statement`, `io_error`, `shutting_down`.
    #[napi(catch_unwind, ts_return_type = "Array<null | number | string | Uint8Array> | null")]
    pub fn get(
        &self,
        env: Env,
        sql: String,
        #[napi(ts_arg_type = "Array<null | number | string | boolean | Uint8Array>")] params: Vec<SqlValue>,
    ) -> napi::Result<Option<Vec<SqlValue>>> {
        let found = self
            .store
            .get(&sql, &parameters(params))
            .map_err(|error| throw(env, error))?;
        Ok(found.map(row))
    }

    /// Asks for the rows of a statement that reads, on a native thread; they end before those that would exceed `mostBytes`.
    #[napi(catch_unwind)]
    pub fn query(
        &self,
        id: u32,
        sql: String,
        #[napi(ts_arg_type = "Array<null | number | string | boolean | Uint8Array>")] params: Vec<SqlValue>,
        most_bytes: Option<u32>,
    ) {
        self.store
            .query(id, sql, parameters(params), most_bytes.map(|bytes| bytes as usize));
    }

    /// Queues writes at once; each succeeds or fails alone.
    #[napi(catch_unwind)]
    pub fn write(&self, requests: Vec<NativeWrite>) {
        let steps_of = |steps: Vec<NativeStep>| steps.into_iter().map(Step::from).collect();
        self.store.write_all(
            requests
                .into_iter()
                .map(|NativeWrite { id, steps }| (id, steps_of(steps))),
        );
    }

    /// Copies the write-ahead log into the data file and empties it.
    #[napi(catch_unwind)]
    pub fn checkpoint(&self, id: u32) {
        self.store.checkpoint(id);
    }

    /// Finishes what is queued, checkpoints and closes.
    #[napi(catch_unwind)]
    pub fn close(&self, id: u32) {
        self.store.close(id);
    }

    /// Authenticates every page and the log on a native thread while the store is used, at most so many bytes a second; the last
    /// event has the findings.
    ///
    /// Errors: `shutting_down`, `invalid_argument` for a plain file. Failures: `file_corrupt` for a damaged log, `interrupted`,
    /// `shutting_down`, `io_error`.
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

    /// Counts since the store was opened.
    #[napi(catch_unwind)]
    pub fn stats(&self) -> NativeStoreStats {
        let stats = self.store.stats();
        NativeStoreStats {
            commits: stats.commits as f64,
            requests: stats.requests as f64,
            queued: stats.queued as f64,
            queued_bytes: stats.queued_bytes as f64,
        }
    }
}

/// Sets the page-cache budget of all open stores together, and the most that one may have, in bytes.
#[napi(catch_unwind)]
pub fn set_page_cache_budget(total_bytes: f64, store_bytes: f64) {
    nimbus_budget::set(total_bytes as u64, store_bytes as u64);
    nimbus_redb::sealed::follow_budget();
}

fn open_options(env: Env, options: &NativeStoreOptions) -> napi::Result<OpenOptions> {
    let encryption = encryption_of(
        env,
        options.dek.as_ref(),
        options.file_id.as_ref(),
        options.profile.as_deref(),
    )?;
    Ok(OpenOptions {
        path: PathBuf::from(&options.path),
        mode: if options.create { Mode::Create } else { Mode::Open },
        exclusive: options.exclusive,
        encryption,
    })
}

impl From<NativeStep> for Step {
    fn from(step: NativeStep) -> Self {
        Self {
            sql: step.sql,
            parameters: parameters(step.params.unwrap_or_default()),
            at_least: u64::from(step.at_least.unwrap_or(0)),
        }
    }
}

impl From<Completion> for NativeCompletion {
    fn from(completion: Completion) -> Self {
        let bare = Self {
            id: completion.id,
            failure: None,
            results: None,
            rows: None,
            cut: None,
        };
        match completion.outcome {
            Outcome::Wrote(results) => Self {
                results: Some(results.into_iter().map(NativeStepResult::from).collect()),
                ..bare
            },
            Outcome::Rows { rows, cut } => Self {
                rows: Some(rows.into_iter().map(row).collect()),
                cut: Some(cut),
                ..bare
            },
            Outcome::Done => bare,
            Outcome::Failed(error) => Self {
                failure: Some(error.into()),
                ..bare
            },
        }
    }
}

impl From<StepResult> for NativeStepResult {
    fn from(result: StepResult) -> Self {
        Self {
            changes: result.changes as f64,
            rows: result.rows.into_iter().map(row).collect(),
        }
    }
}
