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
    /// The request fails, and is undone, if the statement returns fewer rows than this (or, if it returns none by its
    /// nature, changes fewer).
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

/// Commits `requests` together and says what became of each. A request that fails by itself is undone alone. If a
/// damaged page (or another fault of the transaction) stops the batch before its commit, the requests are run again one
/// by one, so that only those that meet the fault fail; `reopen` gives a fresh connection for that.
pub(crate) fn commit(
    connection: &mut Option<Connection>,
    reopen: &dyn Fn() -> Result<Connection, StoreError>,
    requests: &[&[Step]],
) -> Vec<RequestOutcome> {
    match attempt(connection, reopen, requests) {
        Ok(outcomes) => outcomes,
        Err(Fault::BeforeCommit(_)) if requests.len() > 1 => {
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

/// A failure that concerns the whole transaction.
enum Fault {
    /// Nothing of the transaction is on the disk.
    BeforeCommit(StoreError),
    /// The commit itself failed: after an I/O error its frames may be on the disk, so it must not be tried again.
    AtCommit(StoreError),
}

impl Fault {
    fn into_error(self) -> StoreError {
        match self {
            Self::BeforeCommit(error) | Self::AtCommit(error) => error,
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
        None => reopen().map_err(Fault::BeforeCommit)?,
    };
    let outcomes = transact(&mut connection, requests);
    if outcomes.is_err() && connection.in_transaction() {
        // If even this fails the connection is dropped below, which rolls back too.
        let _ = connection.execute("ROLLBACK");
    }
    if !connection.is_broken() && !connection.in_transaction() {
        *slot = Some(connection);
    }
    outcomes
}

fn transact(connection: &mut Connection, requests: &[&[Step]]) -> Result<Vec<RequestOutcome>, Fault> {
    connection.follow_cache_budget().map_err(Fault::BeforeCommit)?;
    connection.execute("BEGIN IMMEDIATE").map_err(Fault::BeforeCommit)?;
    let mut outcomes = Vec::with_capacity(requests.len());
    for request in requests {
        let outcome = match *request {
            // One statement is undone by SQLite itself; a savepoint would cost more than the statement.
            [step] if step.at_least <= 1 => run_step(connection, 0, step).map(|result| vec![result]),
            steps => run_in_savepoint(connection, steps),
        };
        match outcome {
            Err(error) if !error.is_of_request() || !connection.in_transaction() => {
                return Err(Fault::BeforeCommit(error));
            }
            outcome => outcomes.push(outcome),
        }
    }
    connection.execute("COMMIT").map_err(Fault::AtCommit)?;
    Ok(outcomes)
}

fn run_in_savepoint(connection: &mut Connection, steps: &[Step]) -> RequestOutcome {
    connection.execute("SAVEPOINT request")?;
    let results: RequestOutcome = steps
        .iter()
        .enumerate()
        .map(|(index, step)| run_step(connection, index, step))
        .collect();
    if results.is_err() && connection.in_transaction() {
        connection.execute("ROLLBACK TO request")?;
    }
    if connection.in_transaction() {
        connection.execute("RELEASE request")?;
    }
    results
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
