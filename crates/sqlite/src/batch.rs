//! Group commit: many requests in one transaction, each standing or falling alone.

use std::ops::ControlFlow;
use std::path::Path;

use crate::connection::Connection;
use crate::error::StoreError;
use crate::value::{Row, Value};

/// One statement of a request.
#[derive(Debug, Clone)]
pub struct Step {
    /// One SQL statement.
    pub sql: String,
    /// One value for each of its parameters.
    pub parameters: Vec<Value>,
    /// The request fails, and is undone, if the statement returns fewer rows than this (or, if it returns none, changes
    /// fewer; what triggers change does not count).
    pub at_least: u64,
}

/// What one statement did.
#[derive(Debug, Clone, PartialEq)]
pub struct StepResult {
    /// Rows inserted, updated or deleted.
    pub changes: u64,
    /// Rows returned.
    pub rows: Vec<Row>,
}

pub(crate) type RequestOutcome = Result<Vec<StepResult>, StoreError>;

/// The store whose requests are committed.
pub(crate) trait Home {
    /// Another connection for the writer.
    fn open_writer(&self) -> Result<Connection, StoreError>;

    /// Fails if nothing may be added to the log that `writer` writes.
    fn require_sound_log(&self, writer: &Connection) -> Result<(), StoreError>;
}

/// What became of requests, and the transactions that it took.
#[derive(Default)]
pub(crate) struct Committed {
    pub(crate) outcomes: Vec<RequestOutcome>,
    pub(crate) transactions: u64,
    /// Requests in them.
    pub(crate) carried: u64,
}

/// Commits `requests` together and says what became of each. A request that fails by itself is undone alone. If one spoils
/// the transaction for all (it meets a damaged page, or its failure cannot be undone alone), the requests are run again one
/// by one, so that only those that meet the fault fail.
pub(crate) fn commit(writer: &mut Option<Connection>, home: &impl Home, requests: &[&[Step]]) -> Committed {
    let mut committed = Committed::default();
    match attempt(writer, home, requests) {
        Err(Fault::OfARequest(_)) if requests.len() > 1 => {
            for request in requests {
                let outcomes = attempt(writer, home, &[request]);
                committed.add(outcomes, 1);
            }
        }
        outcomes => committed.add(outcomes, requests.len()),
    }
    committed
}

impl Committed {
    fn add(&mut self, outcomes: Result<Vec<RequestOutcome>, Fault>, requests: usize) {
        match outcomes {
            Ok(outcomes) => {
                self.outcomes.extend(outcomes);
                self.transactions += 1;
                self.carried += requests as u64;
            }
            Err(fault) => {
                let error = fault.into_error();
                self.outcomes.extend((0..requests).map(|_| Err(error.clone())));
            }
        }
    }
}

/// The writer of `slot`, or its successor if there is none or it is broken; the broken one is closed only then. While a
/// store is open one connection must be: with the last one goes the index of the log, and SQLite would make it anew from
/// what the log holds, without the transactions behind a damaged frame.
pub(crate) fn sound_writer(slot: &mut Option<Connection>, home: &impl Home) -> Result<Connection, StoreError> {
    if slot.as_ref().is_none_or(Connection::is_broken) {
        *slot = Some(home.open_writer()?);
    }
    Ok(slot.take().expect("it was just put there"))
}

/// A failure of the whole transaction.
enum Fault {
    /// One of the requests brought it about, and nothing is on the disk: the others may do without that one.
    OfARequest(StoreError),
    /// There was no transaction, and there would be none for each request alone; or the commit itself failed: after an
    /// I/O error its frames may be on the disk, so it must not be tried again.
    OfAll(StoreError),
}

impl Fault {
    /// A refused COMMIT leaves the transaction as it was: a deferred foreign key of some request is violated.
    fn at_commit(error: StoreError) -> Self {
        if error.is_of_request() {
            Self::OfARequest(error)
        } else {
            Self::OfAll(error)
        }
    }

    fn into_error(self) -> StoreError {
        match self {
            Self::OfARequest(error) | Self::OfAll(error) => error,
        }
    }
}

fn attempt(
    slot: &mut Option<Connection>,
    home: &impl Home,
    requests: &[&[Step]],
) -> Result<Vec<RequestOutcome>, Fault> {
    let mut connection = sound_writer(slot, home).map_err(Fault::OfAll)?;
    if let Err(error) = home.require_sound_log(&connection) {
        *slot = Some(connection);
        return Err(Fault::OfAll(error));
    }
    let outcomes = transact(&mut connection, requests);
    if outcomes.is_err() && connection.in_transaction() {
        // If even this fails the connection is dropped below, which rolls back too.
        let _ = connection.control("ROLLBACK");
    }
    if !connection.in_transaction() {
        *slot = Some(connection);
    }
    outcomes
}

fn transact(connection: &mut Connection, requests: &[&[Step]]) -> Result<Vec<RequestOutcome>, Fault> {
    connection.follow_cache_budget().map_err(Fault::OfAll)?;
    connection.control("BEGIN IMMEDIATE").map_err(Fault::OfAll)?;
    let outcomes = requests
        .iter()
        .map(|request| run_request(connection, request).map_err(Fault::OfARequest))
        .collect::<Result<_, _>>()?;
    connection.control("COMMIT").map_err(Fault::at_commit)?;
    Ok(outcomes)
}

/// What became of a request, or the error after which the transaction cannot go on.
fn run_request(connection: &mut Connection, steps: &[Step]) -> Result<RequestOutcome, StoreError> {
    let changes_before = connection.total_changes();
    let (outcome, is_undone) = match steps {
        // SQLite undoes a statement that fails, and a savepoint would cost more than the statement. But what `OR FAIL` and
        // RAISE(FAIL) changed before they failed stays.
        [step] if step.at_least == 0 => {
            let outcome = run_step(connection, 0, step).map(|result| vec![result]);
            let is_undone = connection.total_changes() == changes_before;
            (outcome, is_undone)
        }
        steps => (run_in_savepoint(connection, steps)?, true),
    };
    match outcome {
        Err(error) if !(error.is_of_request() && is_undone && connection.in_transaction()) => Err(error),
        outcome => Ok(outcome),
    }
}

fn run_in_savepoint(connection: &mut Connection, steps: &[Step]) -> Result<RequestOutcome, StoreError> {
    connection.control("SAVEPOINT request")?;
    let results: RequestOutcome = steps
        .iter()
        .enumerate()
        .map(|(index, step)| run_step(connection, index, step))
        .collect();
    // SQLite ends the transaction by itself after some errors, and at OR ROLLBACK.
    if connection.in_transaction() {
        if results.is_err() {
            connection.control("ROLLBACK TO request")?;
        }
        connection.control("RELEASE request")?;
    }
    Ok(results)
}

fn run_step(connection: &mut Connection, index: usize, step: &Step) -> Result<StepResult, StoreError> {
    let mut rows = Vec::new();
    let changes = connection.run(index, &step.sql, &step.parameters, |row| {
        rows.push(row);
        ControlFlow::Continue(())
    })?;
    let affected = if rows.is_empty() { changes } else { rows.len() as u64 };
    if affected < step.at_least {
        return Err(StoreError::ExpectationFailed {
            step: index,
            affected,
            at_least: step.at_least,
        });
    }
    Ok(StepResult { changes, rows })
}

/// The answer to requests whose thread panicked.
pub(crate) fn panicked(path: &Path, requests: usize) -> Vec<RequestOutcome> {
    (0..requests)
        .map(|_| Err(StoreError::Panicked { path: path.to_owned() }))
        .collect()
}
