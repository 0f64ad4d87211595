//! Another raw key for a whole file, and the truth about what came of it.

use std::path::Path;
use std::sync::Arc;

use libsqlite3_sys as ffi;
use nimbus_threads::Watch;

use crate::error::StoreError;
use crate::library_error::LibraryError;
use crate::options::{Encryption, Mode, OpenOptions};
use crate::rekey::{fold_log, key_opens, rekey};
use crate::tamper;

const UNDER_OLD_KEY: &str = "; the file is under the key that it had";

fn under_old_key(error: &StoreError) -> LibraryError {
    let mut failure = LibraryError::from_store(error);
    failure.message.push_str(UNDER_OLD_KEY);
    failure
}

/// For a file that has bytes, but no first page that can be read. Nothing was done to it.
pub(crate) fn first_page_lost() -> LibraryError {
    LibraryError {
        code: ffi::SQLITE_CORRUPT,
        message: format!("the first page of this file cannot be read: restore the file from its backup{UNDER_OLD_KEY}"),
    }
}

/// From one key to another, and what the file is under when that failed.
pub(crate) fn rewrite(path: &Path, current: &Arc<Encryption>, next: &Encryption) -> Result<(), LibraryError> {
    let watch = Arc::new(Watch::new(|_| ()));
    let options = OpenOptions {
        path: path.to_owned(),
        mode: Mode::Open,
        exclusive: true,
        encryption: Some(Arc::clone(current)),
    };
    fold_log(&options).map_err(|error| under_old_key(&error))?;
    let mark = tamper::mark();
    let said = match rekey(path, current, next, &watch) {
        // SQLite has other names for it on its way out.
        Err(_) if mark.page_failed_since() => Err(StoreError::corrupt(path)),
        said => said,
    };
    let failure = match key_opens(path, next, current, true, &watch) {
        Ok(true) => return Ok(()),
        Ok(false) => match (key_opens(path, current, current, false, &watch), said) {
            (Ok(true), Err(error)) => return Err(under_old_key(&error)),
            (Ok(true), Ok(())) => {
                return Err(LibraryError {
                    code: ffi::SQLITE_IOERR,
                    message: format!("the new key could not be committed{UNDER_OLD_KEY}"),
                });
            }
            (Ok(false), said) => said.err(),
            (Err(error), _) => Some(error),
        },
        Err(error) => Some(error),
    };
    let mut failure = failure.map_or_else(LibraryError::corrupt, |error| LibraryError::from_store(&error));
    failure.message.push_str(
        "; the change of the key could not be confirmed: open the file with the new key, then with the \
         one before, and if neither opens all of it, restore it from its backup",
    );
    Err(failure)
}
