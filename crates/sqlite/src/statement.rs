//! One statement on one connection: compiled, bound, and stepped until whoever wants its rows has enough.

use std::ffi::CString;
use std::ops::ControlFlow;

use rusqlite::Statement;

use crate::tamper::Mark;
use crate::value::{Row, Value};

/// What a statement may do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

/// Hands each row to `on_row`, but none that was read after a page failed since `mark`: the caller looks, and says so.
/// Returns the rows changed.
pub(crate) fn run(
    connection: &rusqlite::Connection,
    mark: Mark,
    access: Access,
    sql: &str,
    parameters: &[Value],
    mut on_row: impl FnMut(Row) -> ControlFlow<()>,
) -> rusqlite::Result<u64> {
    if sql.contains('\0') {
        // SQLite reads up to a NUL and would drop the rest in silence.
        CString::new(sql)?;
    }
    let mut statement = connection.prepare_cached(sql)?;
    if access == Access::Read && !statement.readonly() {
        return Err(rusqlite::Error::InvalidQuery);
    }
    bind(&mut statement, parameters)?;
    let columns = statement.column_count();
    let changes_before = connection.total_changes();
    let mut rows = statement.raw_query();
    while let Some(row) = rows.next()? {
        let values = (0..columns)
            .map(|column| row.get_ref(column).map(Value::from))
            .collect::<Result<Row, _>>()?;
        // After the columns: reading one may load its overflow pages.
        if mark.page_failed_since() || on_row(values).is_break() {
            break;
        }
    }
    drop(rows);
    // CREATE and its like leave the count of the statement before them ("sqlite3_changes").
    let changed = connection.total_changes() != changes_before;
    Ok(if changed { connection.changes() } else { 0 })
}

fn bind(statement: &mut Statement<'_>, parameters: &[Value]) -> rusqlite::Result<()> {
    if statement.parameter_count() != parameters.len() {
        return Err(rusqlite::Error::InvalidParameterCount(
            parameters.len(),
            statement.parameter_count(),
        ));
    }
    parameters
        .iter()
        .zip(1..)
        .try_for_each(|(value, index)| statement.raw_bind_parameter(index, value))
}
