//! What SQL may not do to an open file: change its keys or format, copy its pages to a file without a manifest, end the
//! transaction that it shares with other requests, or change how its connection works for whoever comes next.
//!
//! SQLite asks while it compiles a statement, before SQLCipher's own pragmas run, so each refusal happens before anything
//! changes. Measured on SQLCipher 4.19: `cipher_plaintext_header_size` or `cipher_hmac_pgno` on an open connection make
//! files that no key opens, `cipher_default_*` act on the whole process, ATTACH without KEY and VACUUM INTO write files
//! under the main key, `secure_delete=off` makes the integrity check flag a healthy file.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::hooks::{AuthAction, AuthContext, Authorization};

/// Pragmas that take an argument and leave the connection as it was: they report, check, or write what a transaction
/// can undo. A setting that outlives its statement (`query_only`, `foreign_keys`) would change other requests.
const PRAGMAS_WITH_ARGUMENT: &[&str] = &[
    "application_id",
    "foreign_key_check",
    "foreign_key_list",
    "index_info",
    "index_list",
    "index_xinfo",
    "integrity_check",
    "optimize",
    "quick_check",
    "table_info",
    "table_list",
    "table_xinfo",
    "user_version",
    "wal_checkpoint",
];

/// The hook of every connection once it is open.
#[derive(Clone, Default)]
pub(crate) struct Authorizer {
    ours: Arc<AtomicBool>,
}

impl Authorizer {
    /// Compiles statements of our own, BEGIN and COMMIT among them. They must not be kept: a statement in the cache is run
    /// again for whoever sends the same text, without being asked about.
    pub(crate) fn for_ourselves<T>(&self, compile_and_run: impl FnOnce() -> T) -> T {
        self.ours.store(true, Ordering::Relaxed);
        let result = compile_and_run();
        self.ours.store(false, Ordering::Relaxed);
        result
    }

    pub(crate) fn authorize(&self, context: AuthContext<'_>) -> Authorization {
        if self.ours.load(Ordering::Relaxed) || is_allowed(context.action) {
            Authorization::Allow
        } else {
            Authorization::Deny
        }
    }
}

fn is_allowed(action: AuthAction<'_>) -> bool {
    match action {
        AuthAction::Attach { .. }
        | AuthAction::Detach { .. }
        | AuthAction::Transaction { .. }
        | AuthAction::Savepoint { .. } => false,
        AuthAction::Pragma {
            pragma_name,
            pragma_value,
        } => {
            let name = pragma_name.to_ascii_lowercase();
            // Reading a setting is harmless, but for the codec's: SQLCipher applies some of them without a value.
            let is_codecs = name.starts_with("cipher") || name.ends_with("key");
            !is_codecs && (pragma_value.is_none() || PRAGMAS_WITH_ARGUMENT.contains(&name.as_str()))
        }
        AuthAction::Function { function_name } => !["load_extension", "sqlcipher_export"]
            .iter()
            .any(|name| function_name.eq_ignore_ascii_case(name)),
        _ => true,
    }
}
