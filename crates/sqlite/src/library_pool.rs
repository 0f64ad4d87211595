//! Connections beside one of the library's, for statements that native threads run.
//!
//! The library's own connection stays on its thread. Reads run on connections of their own, as many at once as there are reader
//! threads; writes run one after the other, in the order in which they came, on one more connection. All have the same VFS as
//! the first, so that SQLite arbitrates between them as it does between processes. An iteration keeps its connection, and no
//! thread, between its batches.
//!
//! Whoever closes the pool waits until no thread uses the file: what runs is interrupted, what waits is refused.

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nimbus_threads::{exit, pool};

use crate::library::LibraryConnection;
use crate::library_beside::Beside;
use crate::library_cursor::{Cursor, LibraryRows, LibraryValue, Most};
use crate::library_error::LibraryError;

/// Connections that are kept for the next read.
const IDLE_KEPT: usize = 4;
/// Of one batch: what is in memory for an iteration is twice that, and one row.
const BATCH: Most = Most {
    rows: 1_000,
    bytes: 256 * 1024,
};
/// How often a close that waits for threads looks whether the process is ending.
const EXIT_POLL: Duration = Duration::from_millis(20);

/// A statement with the values of its parameters.
pub struct LibraryRequest {
    /// What its answers bear; that of no other request under way.
    pub id: u32,
    /// One statement.
    pub sql: String,
    /// One for each parameter.
    pub values: Vec<LibraryValue>,
    /// Whether integers are to be handed on as they are; given back with each answer.
    pub safe_integers: bool,
}

/// What a request, or the next batch of one, came to.
pub struct LibraryAnswer {
    /// The request's.
    pub id: u32,
    /// The request's.
    pub safe_integers: bool,
    /// The rows.
    pub outcome: Result<LibraryRows, LibraryError>,
}

/// Where answers go, on whatever thread has them.
pub type LibrarySink = Arc<dyn Fn(LibraryAnswer) + Send + Sync>;

/// The connections. Dropping it closes them.
pub struct LibraryPool {
    shared: Arc<Shared>,
}

struct Shared {
    beside: Beside,
    sink: LibrarySink,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    closed: bool,
    /// Threads that use the file.
    running: usize,
    /// Of every request that is not answered to its end.
    stops: HashMap<u32, Arc<AtomicBool>>,
    idle: Vec<LibraryConnection>,
    /// Read in part, and neither being read now nor asked for.
    cursors: HashMap<u32, (Cursor, bool)>,
    /// Asked for and not begun. Threads are the process's: what other databases ask of them may last for ever, and neither a stop
    /// nor a close waits for that.
    reads: HashMap<u32, Read>,
    writes: VecDeque<(LibraryRequest, Arc<AtomicBool>)>,
    /// A thread is at the writes, or will be.
    are_writes_served: bool,
    writer: Option<LibraryConnection>,
}

enum Read {
    First { request: LibraryRequest, is_one: bool },
    Next { cursor: Cursor, safe_integers: bool },
}

impl LibraryPool {
    /// Nothing is opened before the first request.
    pub(crate) fn new(beside: Beside, sink: LibrarySink) -> Self {
        Self {
            shared: Arc::new(Shared {
                beside,
                sink,
                state: Mutex::default(),
                changed: Condvar::new(),
            }),
        }
    }

    /// Reads the first batch of a statement that changes nothing, or with `is_one` its first row and no more. Where the answer
    /// is not done, [`Self::next`] goes on, and [`Self::stop`] lets it go.
    pub fn read(&self, request: LibraryRequest, is_one: bool) {
        let mut state = self.shared.lock();
        if state.closed {
            drop(state);
            return self.shared.refuse(request.id);
        }
        let id = request.id;
        state.stops.insert(id, Arc::default());
        self.serve(state, id, Read::First { request, is_one });
    }

    /// Reads the next batch.
    pub fn next(&self, id: u32) {
        let mut state = self.shared.lock();
        let Some((cursor, safe_integers)) = state.cursors.remove(&id) else {
            drop(state);
            return self.shared.refuse(id);
        };
        self.serve(state, id, Read::Next { cursor, safe_integers });
    }

    /// Runs a statement to its end after those that came before it; its rows come in one answer.
    pub fn write(&self, request: LibraryRequest) {
        let mut state = self.shared.lock();
        if state.closed {
            drop(state);
            return self.shared.refuse(request.id);
        }
        let stop = Arc::new(AtomicBool::new(false));
        state.stops.insert(request.id, Arc::clone(&stop));
        state.writes.push_back((request, stop));
        if std::mem::replace(&mut state.are_writes_served, true) {
            return;
        }
        drop(state);
        self.run(&pool::WRITERS, Shared::serve_writes);
    }

    /// Ends a request: what runs is interrupted, what waits is refused, a reader's connection is let go. What is done already
    /// stays done.
    pub fn stop(&self, id: u32) {
        let mut state = self.shared.lock();
        if let Some(stop) = state.stops.get(&id) {
            stop.store(true, Ordering::Relaxed);
        }
        let cursor = state.cursors.remove(&id).map(|(cursor, _)| cursor);
        let read = state.reads.remove(&id);
        let place = state.writes.iter().position(|(request, _)| request.id == id);
        let write = place.and_then(|place| state.writes.remove(place));
        let is_refused = read.is_some() || write.is_some();
        if is_refused || cursor.is_some() {
            state.stops.remove(&id);
        }
        let cursor = cursor.or_else(|| read.and_then(Read::into_cursor));
        state.keep(cursor.map(Held::Cursor));
        drop(state);
        if is_refused {
            self.shared.refuse(id);
        }
    }

    /// Ends every request and waits until nobody uses the file.
    pub fn close(&self) {
        let mut state = self.shared.lock();
        state.closed = true;
        for stop in state.stops.values() {
            stop.store(true, Ordering::Relaxed);
        }
        let writes = std::mem::take(&mut state.writes);
        let reads = std::mem::take(&mut state.reads);
        let refused: Vec<_> = writes.into_iter().map(|(request, _)| request.id).collect();
        let refused: Vec<_> = refused.into_iter().chain(reads.keys().copied()).collect();
        let cursors = std::mem::take(&mut state.cursors);
        while state.running > 0 {
            // A thread that waits at the exit gate never ends; the file is as after a crash then, which loses nothing.
            if exit::is_under_way() {
                break;
            }
            let waited = self.shared.changed.wait_timeout(state, EXIT_POLL);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.stops.clear();
        let connections = (std::mem::take(&mut state.idle), state.writer.take());
        drop(state);
        drop((cursors, reads, connections));
        for id in refused {
            self.shared.refuse(id);
        }
    }

    fn serve(&self, mut state: MutexGuard<'_, State>, id: u32, read: Read) {
        state.reads.insert(id, read);
        drop(state);
        self.run(&pool::READERS, move |shared| shared.serve_read(id));
    }

    /// Once the pool is closed there is nothing to do: a job that waits for a thread until then, maybe for ever, does not keep the key.
    fn run(&self, threads: &'static pool::Pool, job: impl FnOnce(&Shared) + Send + 'static) {
        let shared = Arc::downgrade(&self.shared);
        threads.run(move || {
            if let Some(shared) = shared.upgrade() {
                job(&shared);
            }
        });
    }
}

impl Drop for LibraryPool {
    fn drop(&mut self) {
        self.close();
    }
}

/// A connection after use.
enum Held {
    /// The statement has more rows.
    Cursor(Cursor),
    Connection(LibraryConnection),
}

/// What came of a statement, and the connection, unless that is of no use any more.
type Outcome = (Result<LibraryRows, LibraryError>, Option<Held>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, id: u32, safe_integers: bool, outcome: Result<LibraryRows, LibraryError>) {
        (self.sink)(LibraryAnswer {
            id,
            safe_integers,
            outcome: outcome.map_err(LibraryError::explained),
        });
    }

    /// What was asked for is not begun.
    fn refuse(&self, id: u32) {
        self.answer(id, false, Err(LibraryError::interrupted()));
    }

    fn caught(&self, work: impl FnOnce() -> Outcome) -> Outcome {
        catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| (Err(LibraryError::panicked(self.beside.path())), None))
    }

    fn serve_read(&self, id: u32) {
        let mut state = self.lock();
        // Whoever stops it, or closes, takes it away and answers.
        let Some(read) = state.reads.remove(&id) else { return };
        let stop = state.stops.get(&id).cloned().unwrap_or_default();
        state.running += 1;
        drop(state);
        let (safe_integers, outcome) = match read {
            Read::First { request, is_one } => (
                request.safe_integers,
                self.caught(|| self.read_first(&request, &stop, is_one)),
            ),
            Read::Next { cursor, safe_integers } => (safe_integers, self.caught(|| more(cursor, &stop, BATCH))),
        };
        self.finish(id, safe_integers, &stop, outcome);
    }

    fn read_first(&self, request: &LibraryRequest, stop: &Arc<AtomicBool>, is_one: bool) -> Outcome {
        let kept = self.lock().idle.pop();
        let most = if is_one { Most { rows: 1, ..BATCH } } else { BATCH };
        let (outcome, held) = self.first(kept, request, stop, most);
        if !is_one {
            return (outcome, held);
        }
        let outcome = outcome.map(|rows| LibraryRows { is_done: true, ..rows });
        (outcome, held.map(|held| Held::Connection(held.into_connection())))
    }

    /// Prepares a statement and reads its first rows.
    fn first(
        &self,
        kept: Option<LibraryConnection>,
        request: &LibraryRequest,
        stop: &Arc<AtomicBool>,
        most: Most,
    ) -> Outcome {
        if stop.load(Ordering::Relaxed) {
            return (Err(LibraryError::interrupted()), kept.map(Held::Connection));
        }
        let connection = match self.beside.connection(kept, stop) {
            Ok(connection) => connection,
            Err(error) => return (Err(stopped_or(stop, error)), None),
        };
        match Cursor::prepare(connection, &request.sql, &request.values) {
            Ok(cursor) => more(cursor, stop, most),
            Err((connection, error)) => {
                let held = error.leaves_connection().then_some(Held::Connection(connection));
                (Err(stopped_or(stop, error)), held)
            }
        }
    }

    fn finish(&self, id: u32, safe_integers: bool, stop: &AtomicBool, (outcome, held): Outcome) {
        let mut state = self.lock();
        state.running -= 1;
        match held {
            Some(Held::Cursor(cursor)) if !state.closed && !stop.load(Ordering::Relaxed) => {
                state.cursors.insert(id, (cursor, safe_integers));
            }
            held => {
                state.stops.remove(&id);
                state.keep(held);
            }
        }
        drop(state);
        self.changed.notify_all();
        self.answer(id, safe_integers, outcome);
    }

    fn serve_writes(&self) {
        loop {
            let mut state = self.lock();
            let Some((request, stop)) = state.writes.pop_front() else {
                state.are_writes_served = false;
                return;
            };
            state.running += 1;
            let writer = state.writer.take();
            drop(state);
            let (outcome, held) = self.caught(|| self.first(writer, &request, &stop, Most::ALL));
            let mut state = self.lock();
            state.running -= 1;
            state.stops.remove(&request.id);
            state.writer = held.map(Held::into_connection);
            drop(state);
            self.changed.notify_all();
            self.answer(request.id, request.safe_integers, outcome);
        }
    }
}

/// Reads the next rows.
fn more(mut cursor: Cursor, stop: &AtomicBool, most: Most) -> Outcome {
    match cursor.read(most) {
        Ok(rows) if rows.is_done => (Ok(rows), Some(Held::Connection(cursor.into_connection()))),
        Ok(rows) => (Ok(rows), Some(Held::Cursor(cursor))),
        Err(error) => {
            let connection = cursor.into_connection();
            let held = error.leaves_connection().then_some(Held::Connection(connection));
            (Err(stopped_or(stop, error)), held)
        }
    }
}

impl Held {
    fn into_connection(self) -> LibraryConnection {
        match self {
            Self::Cursor(cursor) => cursor.into_connection(),
            Self::Connection(connection) => connection,
        }
    }
}

impl Read {
    fn into_cursor(self) -> Option<Cursor> {
        match self {
            Self::First { .. } => None,
            Self::Next { cursor, .. } => Some(cursor),
        }
    }
}

impl State {
    /// What is not kept is closed under the lock: nobody may find that no thread uses the file before it is.
    fn keep(&mut self, held: Option<Held>) {
        if let Some(held) = held
            && !self.closed
            && self.idle.len() < IDLE_KEPT
        {
            self.idle.push(held.into_connection());
        }
    }
}

/// A wait for a lock that was stopped looks like one that has lasted too long.
fn stopped_or(stop: &AtomicBool, error: LibraryError) -> LibraryError {
    if stop.load(Ordering::Relaxed) && error.is_of_waiting() {
        return LibraryError::interrupted();
    }
    error
}
