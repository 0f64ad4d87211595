//! What SQL may not do to an open file: change its keys or format, or copy its pages to a file without a manifest.
//!
//! SQLite asks while it compiles a statement, before SQLCipher's own pragmas run, so each refusal happens before anything
//! changes. Measured on SQLCipher 4.19: `cipher_plaintext_header_size` or `cipher_hmac_pgno` on an open connection make
//! files that no key opens, `cipher_default_*` act on the whole process, ATTACH without KEY and VACUUM INTO write files
//! under the main key, `secure_delete=off` makes the integrity check flag a healthy file.

use rusqlite::hooks::{AuthAction, AuthContext, Authorization};

/// Pragmas that only the opening code may use.
const RESERVED_PRAGMAS: &[&str] = &[
    "auto_vacuum",
    "hexkey",
    "hexrekey",
    "key",
    "locking_mode",
    "journal_mode",
    "mmap_size",
    "page_size",
    "rekey",
    "secure_delete",
    "synchronous",
    "temp_store",
    "temp_store_directory",
    "textkey",
    "textrekey",
    "writable_schema",
];

/// The hook of every connection once it is open.
pub(crate) fn authorize(context: AuthContext<'_>) -> Authorization {
    let refused = match context.action {
        AuthAction::Attach { .. } | AuthAction::Detach { .. } => true,
        AuthAction::Pragma {
            pragma_name,
            pragma_value,
        } => {
            let name = pragma_name.to_ascii_lowercase();
            // Reading a setting is harmless, but for the codec's: SQLCipher applies some of them without a value.
            name.starts_with("cipher") || (pragma_value.is_some() && RESERVED_PRAGMAS.contains(&name.as_str()))
        }
        AuthAction::Function { function_name } => ["load_extension", "sqlcipher_export"]
            .iter()
            .any(|name| function_name.eq_ignore_ascii_case(name)),
        _ => false,
    };
    if refused {
        Authorization::Deny
    } else {
        Authorization::Allow
    }
}
