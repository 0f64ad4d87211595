//! Long work off the JavaScript thread, with progress, cancellable: what it tells, and how it is begun.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use napi::Env;
use napi::bindgen_prelude::Function;
use napi::threadsafe_function::ThreadsafeFunctionCallMode;
use napi_derive::napi;
use nimbus_threads::{Progress, Watch, pool};

use crate::failure::{NativeFailure, throw};

/// Said of a file without a key that is to be authenticated.
const PLAIN: &str = "a plain file has nothing to authenticate";

/// News of long work: how far it is, or, with `ended`, that it is over, with `failure` or without.
#[napi(object, object_from_js = false)]
pub struct NativeWorkEvent {
    /// What is being done.
    pub phase: Option<&'static str>,
    /// Bytes of this phase that are done.
    pub done_bytes: Option<f64>,
    /// Bytes of this phase.
    pub total_bytes: Option<f64>,
    /// Whether this is the last event.
    pub ended: bool,
    /// What failed; `interrupted` after `cancel`.
    pub failure: Option<NativeFailure>,
    /// What `verify` found.
    pub findings: Option<NativeFindings>,
    /// Of `replaceFiles`, in the order of the files: null for one that is durable, else what failed.
    pub failures: Option<Vec<Option<NativeFailure>>>,
}

impl NativeWorkEvent {
    /// The last event of work that has nothing to tell.
    pub const fn ended() -> Self {
        Self {
            phase: None,
            done_bytes: None,
            total_bytes: None,
            ended: true,
            failure: None,
            findings: None,
            failures: None,
        }
    }
}

/// What an examination of a whole file found.
#[napi(object, object_from_js = false)]
pub struct NativeFindings {
    /// Pages in the file.
    pub pages: f64,
    /// Pages of it in the log.
    pub log_pages: u32,
    /// Pages that are lost.
    pub damaged: Vec<u32>,
    /// Pages that do not authenticate and are not missed.
    pub unreferenced: Vec<u32>,
}

/// Long work under way.
#[napi]
pub struct NativeWork {
    watch: Arc<Watch>,
}

#[napi]
impl NativeWork {
    /// Asks the work to stop; its last event says when it has.
    #[napi(catch_unwind)]
    pub fn cancel(&self) {
        self.watch.cancel();
    }
}

/// Runs `work` on a native thread; its news go to `on_event`.
pub fn begin(
    on_event: Function<NativeWorkEvent, ()>,
    work: impl FnOnce(&Arc<Watch>) -> Result<(), NativeFailure> + Send + 'static,
) -> napi::Result<NativeWork> {
    begin_telling(on_event, move |watch| work(watch).map(|()| NativeWorkEvent::ended()))
}

/// Likewise for work that finds something.
pub fn begin_examination(
    on_event: Function<NativeWorkEvent, ()>,
    work: impl FnOnce(&Arc<Watch>) -> Result<Option<NativeFindings>, NativeFailure> + Send + 'static,
) -> napi::Result<NativeWork> {
    begin_telling(on_event, move |watch| {
        work(watch).map(|findings| NativeWorkEvent {
            findings,
            ..NativeWorkEvent::ended()
        })
    })
}

/// Runs the verification that an open store prepared.
///
/// Errors: those of the store, and `invalid_argument` for a plain file, which has none.
pub fn begin_verification<V: Send + 'static, F, E>(
    env: Env,
    prepared: Result<Option<V>, E>,
    on_event: Function<NativeWorkEvent, ()>,
    run: impl FnOnce(V, &Arc<Watch>) -> Result<F, E> + Send + 'static,
) -> napi::Result<NativeWork>
where
    NativeFailure: From<E>,
    NativeFindings: From<F>,
{
    let verification = prepared.map_err(|error| throw(env, error))?;
    let verification = verification.ok_or_else(|| throw(env, NativeFailure::invalid_argument(PLAIN)))?;
    begin_examination(on_event, move |watch| Ok(Some(run(verification, watch)?.into())))
}

/// Likewise for work that has something to tell in its last event.
pub fn begin_telling(
    on_event: Function<NativeWorkEvent, ()>,
    work: impl FnOnce(&Arc<Watch>) -> Result<NativeWorkEvent, NativeFailure> + Send + 'static,
) -> napi::Result<NativeWork> {
    // Weak: `src/native.ts` keeps the event loop alive while somebody waits, and only then.
    let callback = on_event
        .build_threadsafe_function::<NativeWorkEvent>()
        .weak::<true>()
        .build_callback(|context| Ok(context.value))?;
    let callback = Arc::new(callback);
    let news = Arc::clone(&callback);
    let watch = Arc::new(Watch::new(move |progress| {
        // Refused only when the environment is going away, and with it everybody who waits.
        let _ = news.call(progress.into(), ThreadsafeFunctionCallMode::NonBlocking);
    }));
    let watched = Arc::clone(&watch);
    pool::ADMIN.run(move || {
        let outcome = catch_unwind(AssertUnwindSafe(|| work(&watched)));
        let last = outcome
            .unwrap_or_else(|_| Err(NativeFailure::panicked()))
            .unwrap_or_else(|failure| NativeWorkEvent {
                failure: Some(failure),
                ..NativeWorkEvent::ended()
            });
        let _ = callback.call(last, ThreadsafeFunctionCallMode::NonBlocking);
    });
    Ok(NativeWork { watch })
}

impl From<nimbus_sqlite::Verified> for NativeFindings {
    fn from(found: nimbus_sqlite::Verified) -> Self {
        Self {
            pages: found.pages as f64,
            log_pages: found.log_frames,
            damaged: found.damaged,
            unreferenced: found.unreferenced,
        }
    }
}

impl From<nimbus_redb::engine::Verified> for NativeFindings {
    fn from(found: nimbus_redb::engine::Verified) -> Self {
        Self {
            pages: found.pages as f64,
            log_pages: 0,
            damaged: found.damaged,
            unreferenced: found.unreferenced,
        }
    }
}

impl From<Progress> for NativeWorkEvent {
    fn from(progress: Progress) -> Self {
        Self {
            phase: Some(progress.phase),
            done_bytes: Some(progress.done_bytes as f64),
            total_bytes: Some(progress.total_bytes as f64),
            ended: false,
            ..Self::ended()
        }
    }
}
