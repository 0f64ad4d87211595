//! Many writes in one transaction: one commit answers them all.

use std::collections::HashMap;
use std::sync::Arc;

use super::database::Database;
use super::error::EngineError;
use super::operations::Operations;
use super::options::Durability;
use super::transaction::Transaction;

/// One write of a group.
#[derive(Clone, Copy)]
pub(super) struct Write<'a> {
    pub(super) operations: &'a Operations,
    pub(super) durability: Durability,
}

/// What became of each write of a group, and how many commits that took.
pub(super) struct Committed {
    pub(super) outcomes: Vec<Result<(), Arc<EngineError>>>,
    pub(super) commits: u64,
}

/// Commits `writes` in their order, together. If one of them cannot be done each is committed alone, and that one fails;
/// any other failure is everybody's.
pub(super) fn commit(database: &Database, writes: &[Write<'_>]) -> Committed {
    match commit_together(database, writes) {
        Err(error) if error.is_of_request() && writes.len() > 1 => {
            let outcomes: Vec<_> = writes
                .iter()
                .map(|write| commit_together(database, &[*write]).map_err(Arc::new))
                .collect();
            let commits = outcomes.iter().filter(|outcome| outcome.is_ok()).count() as u64;
            Committed { outcomes, commits }
        }
        outcome => {
            let commits = u64::from(outcome.is_ok());
            let outcome = outcome.map_err(Arc::new);
            Committed {
                outcomes: vec![outcome; writes.len()],
                commits,
            }
        }
    }
}

fn commit_together(database: &Database, writes: &[Write<'_>]) -> Result<(), EngineError> {
    let immediate = writes.iter().any(|write| write.durability == Durability::Immediate);
    let transaction = database.begin(if immediate {
        Durability::Immediate
    } else {
        Durability::Eventual
    })?;
    apply(&transaction, writes)?;
    transaction.commit()
}

fn apply(transaction: &Transaction, writes: &[Write<'_>]) -> Result<(), EngineError> {
    let mut tables = HashMap::new();
    for write in writes {
        for name in write.operations.dropped_tables() {
            tables.remove(name.as_str());
            transaction.delete_table(name)?;
        }
        for operation in write.operations.iter() {
            if !tables.contains_key(operation.table) {
                tables.insert(operation.table, transaction.table(operation.table)?);
            }
            let Some(table) = tables.get_mut(operation.table) else {
                continue;
            };
            match operation.value {
                Some(value) => table.put(operation.key, value)?,
                None => table.delete(operation.key).map(|_was_there| ())?,
            }
        }
    }
    Ok(())
}
