//! Keeps the write-ahead log short.
//!
//! SQLite's own checkpoint copies what no reader needs the old version of, and the log begins anew only when a writer meets
//! no reader in it. Where queries always overlap that never happens, and the log grows for as long as they do (measured:
//! 17 MB/s). So a log that has become large is folded by a checkpoint that waits for the readers of now, while those that
//! come meanwhile need less and less of the log ("`sqlite3_wal_checkpoint_v2`", RESTART).

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// SQLite's default ("PRAGMA `wal_autocheckpoint`"): 4 MB.
const FOLD_EVERY_FRAMES: u32 = 1000;
/// 32 MiB: each time the log has grown by this much, readers are waited for.
const LARGE_FRAMES: u32 = 8192;
/// The wait grows with the log: writes wait too, and so cannot outrun long queries for good.
const PATIENCE_PER_LARGE: Duration = Duration::from_millis(250);
const MOST_PATIENCE: Duration = Duration::from_secs(5);

/// How to fold the log into the data file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fold {
    /// As far as the readers of now let it.
    Passive,
    /// In full, waiting for readers this long at most, so that the log begins anew.
    Restart(Duration),
}

/// How long a store's log is, and where it was when it was folded last.
#[derive(Default)]
pub(crate) struct Log {
    frames: Arc<AtomicU32>,
    folded_at: u32,
}

impl Log {
    /// Follows in `frames` the length of the log that `connection` writes, in place of SQLite's own checkpoint.
    pub(crate) fn follow(
        &mut self,
        connection: &mut rusqlite::Connection,
        frames: &Arc<AtomicU32>,
    ) -> rusqlite::Result<()> {
        self.frames = Arc::clone(frames);
        let frames = Arc::clone(frames);
        connection.wal_hook(Some(move |_: &mut _, length: i32| {
            frames.store(length.unsigned_abs(), Ordering::Relaxed);
            Ok(())
        }))
    }

    /// What is to be done now, if anything; the caller does it.
    pub(crate) fn next_fold(&mut self) -> Option<Fold> {
        let frames = self.frames.load(Ordering::Relaxed);
        if frames < self.folded_at {
            // It began anew.
            self.folded_at = 0;
        }
        if frames - self.folded_at < FOLD_EVERY_FRAMES {
            return None;
        }
        let times_large = frames / LARGE_FRAMES;
        let fold = if times_large > self.folded_at / LARGE_FRAMES {
            Fold::Restart((PATIENCE_PER_LARGE * times_large).min(MOST_PATIENCE))
        } else {
            Fold::Passive
        };
        self.folded_at = frames;
        Some(fold)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_folded_as_it_grows_and_readers_are_waited_for_when_it_is_large() {
        let mut log = Log::default();
        let mut at = |frames| {
            log.frames.store(frames, Ordering::Relaxed);
            log.next_fold()
        };
        assert_eq!(at(999), None);
        assert_eq!(at(1_000), Some(Fold::Passive));
        assert_eq!(at(1_001), None, "readers kept it from beginning anew");
        assert_eq!(at(8_192), Some(Fold::Restart(PATIENCE_PER_LARGE)));
        assert_eq!(at(9_000), None);
        assert_eq!(at(16_384), Some(Fold::Restart(2 * PATIENCE_PER_LARGE)));
        assert_eq!(at(10), None, "it began anew");
        assert_eq!(at(1_000), Some(Fold::Passive));
        assert_eq!(at(u32::MAX), Some(Fold::Restart(MOST_PATIENCE)));
    }
}
