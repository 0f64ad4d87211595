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

/// Commits `requests` together and says what became of each. A request that fails by itself is undone alone. If one spoils
/// the transaction for all (it meets a damaged page, or its failure cannot be undone alone), the requests are run again one
/// by one, so that only those that meet the fault fail; `reopen` gives a fresh connection for that.
pub(crate) fn commit(
    connection: &mut Option<Connection>,
    reopen: &dyn Fn() -> Result<Connection, StoreError>,
    requests: &[&[Step]],
) -> Vec<RequestOutcome> {
    match attempt(connection, reopen, requests) {
        Ok(outcomes) => outcomes,
        Err(Fault::OfARequest(_)) if requests.len() > 1 => {
            let alone = |request: &&[Step]| match attempt(connection, reopen, &[request]) {
                Ok(outcomes) => outcomes,
                Err(fault) => vec![Err(fault.into_error())],
            };
            requests.iter().flat_map(alone).collect()
        }
        Err(fault) => {
            let error = fault.into_error();
            requests.iter().map(|_| Err(error.clone())).collect()
        }
    }
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
    reopen: &dyn Fn() -> Result<Connection, StoreError>,
    requests: &[&[Step]],
) -> Result<Vec<RequestOutcome>, Fault> {
    let mut connection = match slot.take() {
        Some(connection) => connection,
        None => reopen().map_err(Fault::OfAll)?,
    };
    let outcomes = transact(&mut connection, requests);
    if outcomes.is_err() && connection.in_transaction() {
        // If even this fails the connection is dropped below, which rolls back too.
        let _ = connection.control("ROLLBACK");
    }
    if !connection.is_broken() && !connection.in_transaction() {
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
