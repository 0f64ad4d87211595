//! A whole copy of a file under another name, in one step.
//!
//! | stopped after      | on the disk                                             |
//! |--------------------|---------------------------------------------------------|
//! | writing            | what was at `to`, and `<to>.tmp`, whole or in part       |
//! | syncing the file   | what was at `to`, and `<to>.tmp`                         |
//! | rename             | what was at `to`, or the copy, whole                     |
//! | syncing the folder | the copy                                                |

use std::fs::File;
use std::io::{self, Read, Write};
use std::ops::ControlFlow;
use std::path::Path;

use crate::error::{At, DiskError, Operation};
use crate::replace::publish;
use crate::temporary::{open_new, with_suffix};

const CHUNK_BYTES: usize = 1 << 20;

/// Copies `from` to `to`, mode 0600, durable on return; what is at `to` is replaced. `on_progress` gets the bytes done and
/// all of them after each piece, and may stop it: then `false`, and nothing has changed. Callers hold the locks of both.
///
/// # Errors
/// [`DiskError`] naming the file; what is at `to` is then what it was (or, if only the last directory sync failed, the copy).
pub fn copy(
    from: &Path,
    to: &Path,
    on_progress: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
) -> Result<bool, DiskError> {
    let temporary = with_suffix(to, ".tmp");
    match std::fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(DiskError::new(Operation::Remove, &temporary, error));
        }
        _ => {}
    }
    let written = write_copy(from, &temporary, on_progress);
    if !matches!(written, Ok(true)) {
        // What matters is why; a temporary that stays is overwritten by the next attempt.
        let _ = std::fs::remove_file(&temporary);
        return written;
    }
    publish(&temporary, to)?;
    Ok(true)
}

fn write_copy(
    from: &Path,
    temporary: &Path,
    on_progress: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
) -> Result<bool, DiskError> {
    let mut source = File::open(from).at(Operation::Open, from)?;
    let total = source.metadata().at(Operation::Open, from)?.len();
    let mut target = open_new(temporary).at(Operation::Open, temporary)?;
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut done = 0_u64;
    loop {
        let count = match source.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read.at(Operation::Read, from)?,
        };
        let Some(piece) = buffer.get(..count).filter(|piece| !piece.is_empty()) else {
            break;
        };
        target.write_all(piece).at(Operation::Write, temporary)?;
        done += count as u64;
        if on_progress(done, total.max(done)).is_break() {
            return Ok(false);
        }
    }
    target.sync_all().at(Operation::Sync, temporary)?;
    Ok(true)
}
