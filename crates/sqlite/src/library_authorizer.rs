//! What SQL may not do to an encrypted file of the library.

use libsqlite3_sys as ffi;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};

/// Denies changes of its key or format, spilling what it holds, and, where a manifest holds the
/// key, writing it into files that have none. Asked while a statement is compiled, before SQLCipher's pragmas act.
pub(crate) fn authorize(context: &AuthContext<'_>, has_manifest: bool) -> Authorization {
    let allowed = match context.action {
        AuthAction::Pragma {
            pragma_name,
            pragma_value,
        } => {
            let name = pragma_name.to_ascii_lowercase();
            let is_format = [
                "page_size",
                "auto_vacuum",
                "secure_delete",
                "temp_store",
                "temp_store_directory",
            ]
            .contains(&name.as_str());
            let is_of_cipher = name.starts_with("cipher") || name.ends_with("key") || name.starts_with("sqlcipher");
            !(is_of_cipher || is_format && pragma_value.is_some())
        }
        AuthAction::Function { function_name } => !function_name.eq_ignore_ascii_case("sqlcipher_export"),
        // VACUUM attaches a temporary file without a name.
        AuthAction::Attach { filename } => !has_manifest || filename.is_empty() || filename == ":memory:",
        // A file name that is an expression.
        AuthAction::Unknown { code, .. } if code == ffi::SQLITE_ATTACH => !has_manifest,
        _ => true,
    };
    if allowed {
        Authorization::Allow
    } else {
        Authorization::Deny
    }
}
