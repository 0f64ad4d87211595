//! More connections to a file that a connection of the library has open, for statements of native threads.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use libsqlite3_sys as ffi;
use nimbus_threads::exit;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};

use crate::library::{LibraryAccess, LibraryConnection, LibraryKey, LibraryOptions};
use crate::library_authorizer::authorize;
use crate::library_error::LibraryError;
use crate::library_pool::{LibraryPool, LibrarySink};

/// In KiB ("PRAGMA `cache_size`"), of each.
const CACHE_KIBIBYTES: u32 = 8 * 1024;
/// Instructions of SQLite's machine between two looks whether to stop: some tens of microseconds.
const INSTRUCTIONS: i32 = 10_000;
/// Between two attempts to get a lock: short at first, since most are held for less.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);
const LONGEST_WAIT: Duration = Duration::from_millis(10);
/// Pragmas that ask about the file, or act on it alone. Others set something of the one connection that happens to run them.
const PRAGMAS: [&str; 22] = [
    "application_id",
    "compile_options",
    "data_version",
    "database_list",
    "foreign_key_check",
    "foreign_key_list",
    "freelist_count",
    "function_list",
    "incremental_vacuum",
    "index_info",
    "index_list",
    "index_xinfo",
    "integrity_check",
    "optimize",
    "page_count",
    "quick_check",
    "schema_version",
    "table_info",
    "table_list",
    "table_xinfo",
    "user_version",
    "wal_checkpoint",
];

/// How the others of a connection are opened.
pub(crate) struct Beside {
    path: PathBuf,
    access: LibraryAccess,
    exclusive: bool,
    timeout: Duration,
    key: Option<LibraryKey>,
    /// Pragmas, run once on each.
    settings: String,
}

impl LibraryConnection {
    /// Connections beside this one, to be closed before it. `settings` are pragmas for each of them. `None` if the database is
    /// not a file that lasts.
    #[must_use]
    pub fn pool(&self, settings: String, sink: LibrarySink) -> Option<LibraryPool> {
        let beside = Beside {
            path: self.path()?,
            access: if self.opened.readonly {
                LibraryAccess::ReadOnly
            } else {
                LibraryAccess::Existing
            },
            exclusive: self.opened.exclusive,
            timeout: self.opened.timeout,
            key: self.key.clone(),
            settings,
        };
        Some(LibraryPool::new(beside, sink))
    }

    /// Statements end when `stop` is set, or the process ends; so does waiting for a lock, which otherwise lasts for `timeout`.
    fn stop_with(&mut self, stop: &Arc<AtomicBool>, timeout: Duration) -> Result<(), LibraryError> {
        let is_stopped = {
            let stop = Arc::clone(stop);
            move || stop.load(Ordering::Relaxed) || exit::is_under_way()
        };
        let mut began = Instant::now();
        let wait = {
            let is_stopped = is_stopped.clone();
            move |count: i32| {
                if count == 0 {
                    began = Instant::now();
                }
                if is_stopped() || began.elapsed() >= timeout {
                    return false;
                }
                let attempts = u32::try_from(count).unwrap_or(u32::MAX).saturating_add(1);
                std::thread::sleep(SHORTEST_WAIT.saturating_mul(attempts).min(LONGEST_WAIT));
                true
            }
        };
        self.inner
            .progress_handler(INSTRUCTIONS, Some(is_stopped))
            .and_then(|()| self.inner.busy_handler(Some(wait)))
            .map_err(LibraryError::from_sqlite)
    }
}

impl Beside {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Has a connection obey `stop` until it obeys another: the one that is given, or a new one.
    pub(crate) fn connection(
        &self,
        kept: Option<LibraryConnection>,
        stop: &Arc<AtomicBool>,
    ) -> Result<LibraryConnection, LibraryError> {
        let mut connection = match kept {
            Some(connection) => connection,
            None => self.open(stop)?,
        };
        connection.stop_with(stop, self.timeout)?;
        Ok(connection)
    }

    fn open(&self, stop: &Arc<AtomicBool>) -> Result<LibraryConnection, LibraryError> {
        let mut connection = LibraryConnection::open_beside(&LibraryOptions {
            path: &self.path,
            access: self.access,
            exclusive: self.exclusive,
            timeout: self.timeout,
            key: self.key.clone(),
        })?;
        // The first statement may have to wait, or to bring the log in.
        connection.stop_with(stop, self.timeout)?;
        let settings = format!("PRAGMA cache_size = -{CACHE_KIBIBYTES}; {}", self.settings);
        connection
            .inner
            .execute_batch(&settings)
            .map_err(LibraryError::from_sqlite)?;
        let encrypted = self.key.is_some();
        let bound = matches!(self.key, Some(LibraryKey::Bound(_)));
        let decide = move |context: AuthContext<'_>| {
            if belongs_to_one_connection(&context.action)
                || encrypted && authorize(&context, bound) == Authorization::Deny
            {
                Authorization::Deny
            } else {
                Authorization::Allow
            }
        };
        connection
            .inner
            .authorizer(Some(decide))
            .map_err(LibraryError::from_sqlite)?;
        Ok(connection)
    }
}

/// What would be lost, or in the way, since the next statement may run on another connection.
fn belongs_to_one_connection(action: &AuthAction<'_>) -> bool {
    match action {
        AuthAction::Pragma { pragma_name, .. } => {
            !PRAGMAS.iter().any(|allowed| pragma_name.eq_ignore_ascii_case(allowed))
        }
        AuthAction::Transaction { .. }
        | AuthAction::Savepoint { .. }
        | AuthAction::Attach { .. }
        | AuthAction::Detach { .. }
        | AuthAction::CreateTempIndex { .. }
        | AuthAction::CreateTempTable { .. }
        | AuthAction::CreateTempTrigger { .. }
        | AuthAction::CreateTempView { .. } => true,
        AuthAction::Unknown { code, .. } => *code == ffi::SQLITE_ATTACH,
        _ => false,
    }
}

impl LibraryError {
    /// With what is to be done about it, where that is particular to these connections.
    pub(crate) fn explained(mut self) -> Self {
        if self.code & 0xff == ffi::SQLITE_AUTH {
            self.message.push_str(
                ": transactions, ATTACH, VACUUM, temporary tables and settings belong to one connection; use the synchronous methods",
            );
        } else if self.message.starts_with("no such function") || self.message.starts_with("no such module") {
            self.message
                .push_str(" (functions and tables of JavaScript are not there in asynchronous statements)");
        }
        self
    }
}
