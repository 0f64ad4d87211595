//! Closing: a last record that whoever opens the file next needs alone, so that nothing is replayed and the ring not read.

use std::collections::BTreeMap;

use super::commit::Appended;
use super::error::SealedError;
use super::file::SealedFile;
use super::log::CommitLog;
use super::protocol::Protocol;
use super::ring::RESERVED_BLOCKS;
use crate::disk::Disk;
use crate::format::layout::group_of;
use crate::format::{BLOCK_BYTES_U64, Kind, PageSeal, Record};

/// The commits that redb closes a database with: what they wrote it reads first when it opens it.
pub(super) const CLOSING_COMMITS: u64 = 4;

impl<D: Disk, P: Protocol> SealedFile<D, P> {
    /// Leaves a record that says all that is not home, for whoever opens the file next. Everything is durable already: this is
    /// not missed if it fails. Nothing is written afterwards.
    pub fn close(&self) {
        let mut log = self.lock();
        let is_settled = log.has_nothing_pending(self.len()) && !log.unsynced;
        if self.check_usable().is_err() || !is_settled || self.says_all(&log) {
            return;
        }
        // The record of the last commit is as good, if this one does not come about.
        let _ = self.write_closing_record(&mut log);
        self.fail();
    }

    /// Whether opening needs nothing but the newest record.
    fn says_all(&self, log: &CommitLog) -> bool {
        log.ring.is_newest_alone() && log.listed.is_empty() && self.meta.is_clean()
    }

    /// Behind the newest record, which lists pages or needs others, and is needed itself until this one is durable.
    fn write_closing_record(&self, log: &mut CommitLog) -> Result<Appended, SealedError> {
        let away = self.meta.all_away();
        let mut carried = self.latest(log)?;
        let blocks = Record::blocks_for(away.len() + carried.len());
        let room = log
            .ring
            .room_at(self.next_position(log))
            .saturating_sub(RESERVED_BLOCKS);
        let fits = away.len() <= self.tuning.entries_at_close && blocks <= self.tuning.record_blocks.min(room.max(1));
        if fits && self.meta.is_clean() {
            carried.extend(away);
        } else if P::SYNCS_BEFORE_CLOSING {
            self.bring_all_home(log)?;
        } else {
            self.meta.write_home(&self.volume, &self.meta.groups_not_home())?;
        }
        self.leave_witness(log)?;
        self.meta.write_home(&self.volume, &self.meta.changed_groups())?;
        let mut record = log.record_of(&log.durable, None, log.epoch);
        record.carried = carried.into_iter().collect();
        self.append(log, record)
    }

    /// How the pages of the last commits are sealed, wherever that is noted, as far as a record of one block has room.
    fn latest(&self, log: &CommitLog) -> Result<BTreeMap<u32, PageSeal>, SealedError> {
        let mut latest = BTreeMap::new();
        for record in log
            .ring
            .newest_first()
            .take_while(|record| record.epoch + CLOSING_COMMITS > log.epoch)
        {
            // What was cut off since is in no group any more.
            let pages = log.durable.logical_bytes / BLOCK_BYTES_U64;
            let is_there = |page: &&u32| u64::from(**page) < pages && group_of(**page) < log.durable.groups;
            for &page in record.pages.iter().filter(is_there) {
                let entry = self.meta.entry(&self.volume, page)?;
                let is_late = entry.kind() == Some(Kind::Data) && entry.seal.epoch() + CLOSING_COMMITS > log.epoch;
                if is_late && latest.len() < Record::pages_in(1) {
                    latest.insert(page, entry.seal);
                }
            }
        }
        Ok(latest)
    }
}
