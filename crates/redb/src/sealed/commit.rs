//! Commits: sending staged pages to the disk, entries home, and one record to the ring.
//!
//! A *light* commit writes pages and a record that lists them, then syncs once: the record is believed only if every page
//! that it lists authenticates. Their entries stay away from home until the record is given up (retirement.rs). A *heavy* one,
//! whose list would be too long, brings all entries home and syncs, and then writes a record that names no page. A *barrier*
//! repeats the last commit in a record that names no page, so that the pages of the record before it may be overwritten.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use nimbus_crypto::aead::TAG_BYTES;

use super::error::SealedError;
use super::file::SealedFile;
use super::log::{CommitLog, State};
use super::protocol::Protocol;
use super::ring::{Needed, RESERVED_BLOCKS, Ring};
use super::seal::seal_and_write;
use crate::disk::Disk;
use crate::format::entry::WITNESS_PAGE;
use crate::format::layout::{group_of, groups_for};
use crate::format::record::MAX_EPOCH;
use crate::format::{BLOCK_BYTES, BLOCK_BYTES_U64, MetaBlock, PageSeal, Record, zero_entry};

/// A record whose blocks were written.
pub(super) struct Appended {
    record: Record,
    tag: [u8; TAG_BYTES],
    position: u32,
    blocks: u32,
}

impl<D: Disk, P: Protocol> SealedFile<D, P> {
    /// Sends every staged page to the disk, without a sync (but for a barrier's).
    pub(super) fn flush(&self, log: &mut CommitLog) -> Result<(), SealedError> {
        while let Some(arena) = self.staging.begin_flush() {
            let pages = arena.pages();
            if P::RAISES_BARRIERS && (log.has_aside || pages.iter().any(|page| log.listed.contains(page))) {
                self.raise_barrier(log)?;
            }
            let epoch = log.epoch + 1;
            if let Some(&last) = pages.last() {
                self.initialize_groups(group_of(last) + 1, epoch)?;
            }
            log.unsynced = true;
            let seals = seal_and_write(&self.volume, &arena, &pages, epoch, self.tuning.threads)?;
            self.sealed_pages.fetch_add(seals.len() as u64, Ordering::Relaxed);
            self.meta.set_away(&seals);
            self.list(log, seals);
            drop(arena);
            self.staging.end_flush();
            if log.pending.is_none() && self.meta.away_count() > self.most_away() {
                // The commit will be heavy: what it would bring home at its end goes now, for memory's sake.
                self.bring_all_home(log)?;
            }
        }
        Ok(())
    }

    /// Makes everything that was written durable.
    pub(super) fn commit(&self, log: &mut CommitLog) -> Result<(), SealedError> {
        self.flush(log)?;
        let header = *self.header.read().unwrap_or_else(PoisonError::into_inner);
        let state = State {
            logical_bytes: self.len(),
            groups: self.meta.groups(),
            header,
        };
        if state.header == log.durable.header && log.has_nothing_pending(state.logical_bytes) {
            return if log.unsynced { self.sync_disk(log) } else { Ok(()) };
        }
        if let Some((offset, block)) = &log.damaged_superblock {
            self.volume.disk.write_at(*offset, block)?;
        }
        if P::LEAVES_WITNESSES {
            self.leave_witness(log)?;
        }
        match self.blocks_of_light(log) {
            Some(blocks) => self.commit_light(log, &state, blocks)?,
            None => self.commit_heavy(log, &state)?,
        }
        log.damaged_superblock = None;
        let cut = log.lowest.take().is_some();
        if cut && P::TRUNCATES_LAST {
            self.truncate_disk(&log.durable);
        }
        Ok(())
    }

    /// Makes the file smaller, in memory; the disk follows once a record says so.
    pub(super) fn shrink(&self, log: &mut CommitLog, bytes: u64) -> Result<(), SealedError> {
        let page_count = bytes / BLOCK_BYTES_U64;
        self.staging.truncate(page_count);
        if let Some(pending) = &mut log.pending {
            pending.retain(|&page, _| u64::from(page) < page_count);
        }
        let groups = self.meta.groups().min(groups_for(page_count));
        self.meta.truncate(page_count, groups);
        if let Some(first) = tail_of(page_count, groups) {
            let epoch = log.epoch + 1;
            self.meta.zero_tail(&self.volume, first, epoch)?;
        }
        let (lowest_bytes, lowest_groups) = log.lowest.unwrap_or((log.durable.logical_bytes, log.durable.groups));
        log.lowest = Some((lowest_bytes.min(bytes), lowest_groups.min(groups)));
        if !P::TRUNCATES_LAST {
            let groups = self.meta.groups();
            self.volume.disk.set_len(self.volume.layout.end(page_count, groups))?;
        }
        Ok(())
    }

    /// Writes the first group and the first record of a new file, whose superblock was written and not synced.
    pub(super) fn commit_first(&self, log: &mut CommitLog) -> Result<(), SealedError> {
        self.initialize_groups(log.durable.groups, log.epoch + 1)?;
        let state = log.durable.clone();
        self.commit_heavy(log, &state)
    }

    /// Blocks of the record that lists what is pending; `None` if it is too long, or the ring has no room for it.
    fn blocks_of_light(&self, log: &CommitLog) -> Option<u32> {
        let blocks = Record::blocks_for(log.pending.as_ref()?.len());
        let room = log.ring.room_at(self.next_position(log));
        let fits = blocks <= self.tuning.record_blocks && blocks + RESERVED_BLOCKS <= room;
        fits.then_some(blocks)
    }

    fn commit_light(&self, log: &mut CommitLog, state: &State, blocks: u32) -> Result<(), SealedError> {
        log.unsynced = true;
        let listed: Vec<(u32, PageSeal)> = log
            .pending
            .iter()
            .flatten()
            .map(|(&page, &seal)| (page, seal))
            .collect();
        self.extend_ring(log, state, blocks)?;
        let mut plan = self.plan_retirement(log, listed.len(), blocks);
        plan.home.extend(self.meta.changed_groups());
        let home: Vec<u32> = plan.home.into_iter().collect();
        self.meta.write_home(&self.volume, &home)?;
        let checkpoint_epoch = if P::CHECKPOINTS_FIRST {
            plan.checkpoint_epoch
        } else {
            log.epoch + 1
        };
        let mut record = log.record_of(state, log.lowest, checkpoint_epoch);
        record.pages = listed;
        record.carried = plan.carried.into_iter().collect();
        let appended = self.append(log, record)?;
        self.sync_disk(log)?;
        self.settle(log, appended);
        self.meta.are_home(&home);
        log.has_remade_zeros = false;
        log.checkpoint_epoch = plan.checkpoint_after;
        Ok(())
    }

    /// Notes the epoch to come in an entry that is sealed and that every opening judges. Records can be removed without a
    /// key, or with a bad spot of the disk: two commits that are gone from the ring are then missed, whatever they changed.
    pub(super) fn leave_witness(&self, log: &CommitLog) -> Result<(), SealedError> {
        let entry = zero_entry(self.volume.keys.pages(), WITNESS_PAGE, log.epoch + 1)?;
        let position = self.next_position(log);
        self.meta.change(&self.volume, group_of(WITNESS_PAGE), |meta| {
            meta.set_witness(entry, position);
        })
    }

    fn commit_heavy(&self, log: &mut CommitLog, state: &State) -> Result<(), SealedError> {
        self.extend_ring(log, state, 1)?;
        self.bring_all_home(log)?;
        let record = log.record_of(state, log.lowest, log.epoch + 1);
        let appended = self.append(log, record)?;
        self.sync_disk(log)?;
        self.settle(log, appended);
        log.checkpoint_epoch = log.epoch;
        Ok(())
    }

    /// Where the next record goes.
    pub(super) fn next_position(&self, log: &CommitLog) -> u32 {
        let groups = if P::PLACES_BY_THE_NEWEST {
            log.durable.groups
        } else {
            self.meta.groups()
        };
        log.ring.next_position(groups)
    }

    /// Writes zeros into the part of the ring that a growing file may use from now on: where a record is the first that is written
    /// to a hole, the sync has to note the new block in the journal of the file system as well, and takes half as long again.
    fn extend_ring(&self, log: &CommitLog, state: &State, blocks: u32) -> Result<(), SealedError> {
        let position = self.next_position(log);
        let (before, after) = (log.durable.groups, state.groups);
        let part = if P::SPARES_NEEDED_RECORDS {
            log.ring.part_to_come(before, after, position, blocks)
        } else {
            let nothing_needed = Ring::new(self.volume.layout, []);
            nothing_needed.part_to_come(before, after, position, blocks)
        };
        let Some((first, count)) = part else { return Ok(()) };
        let zeros = vec![0; count as usize * BLOCK_BYTES];
        Ok(self
            .volume
            .disk
            .write_at(self.volume.layout.ring_offset(first), &zeros)?)
    }

    /// Brings home whatever is not, durably. The records stay needed until one says that they are not.
    pub(super) fn bring_all_home(&self, log: &mut CommitLog) -> Result<(), SealedError> {
        log.unsynced = true;
        let home = self.meta.groups_not_home();
        self.meta.write_home(&self.volume, &home)?;
        self.sync_disk(log)?;
        self.meta.are_home(&home);
        log.has_remade_zeros = false;
        Ok(())
    }

    fn raise_barrier(&self, log: &mut CommitLog) -> Result<(), SealedError> {
        let record = log.record_of(&log.durable, None, log.checkpoint_epoch);
        let pending = log.pending.take();
        let appended = self.append(log, record)?;
        self.sync_disk(log)?;
        self.settle(log, appended);
        // The barrier repeats the last commit: what was written since still waits for its record.
        log.pending = pending;
        Ok(())
    }

    /// Writes a record into the ring. From here to the sync after it an error leaves unknown what the disk holds.
    pub(super) fn append(&self, log: &CommitLog, record: Record) -> Result<Appended, SealedError> {
        if record.epoch > MAX_EPOCH {
            return Err(SealedError::Failed);
        }
        let position = self.next_position(log);
        let (bytes, tag) = record.encode(self.volume.keys.records(), position)?;
        self.latching(|| self.volume.write_ring_blocks(position, &bytes))?;
        let blocks = Record::blocks_for(record.pages.len() + record.carried.len());
        Ok(Appended {
            record,
            tag,
            position,
            blocks,
        })
    }

    /// The record is durable: it is the newest now.
    fn settle(&self, log: &mut CommitLog, appended: Appended) {
        let Appended {
            record,
            tag,
            position,
            blocks,
        } = appended;
        log.epoch = record.epoch;
        self.durable_epoch.store(record.epoch, Ordering::Relaxed);
        log.tag = tag;
        let needed = Needed {
            epoch: record.epoch,
            position,
            blocks,
            pages: record.named().map(|(page, _)| page).collect(),
        };
        log.ring.push(needed, record.checkpoint_epoch);
        log.listed = record.pages.iter().map(|&(page, _)| page).collect();
        // It was written over the one that was set aside.
        log.has_aside = false;
        log.pending = Some(BTreeMap::new());
        log.durable = State {
            logical_bytes: record.logical_bytes,
            groups: record.groups,
            header: record.header,
        };
    }

    pub(super) fn sync_disk(&self, log: &mut CommitLog) -> Result<(), SealedError> {
        self.latching(|| self.volume.disk.sync())?;
        log.unsynced = false;
        Ok(())
    }

    /// After a failed sync the system may have dropped what it could not write, and a record may be there in part: no
    /// later success would mean anything.
    fn latching(&self, step: impl FnOnce() -> std::io::Result<()>) -> Result<(), SealedError> {
        step().map_err(|error| {
            self.fail();
            SealedError::Io(error)
        })
    }

    /// Gives space back. Not a part of the commit: what lies beyond the length is ignored, and the next cut takes it.
    fn truncate_disk(&self, durable: &State) {
        let end = self
            .volume
            .layout
            .end(durable.logical_bytes / BLOCK_BYTES_U64, durable.groups);
        if self.volume.disk.len().is_ok_and(|bytes| bytes > end) {
            let _ = self.volume.disk.set_len(end);
        }
    }

    pub(super) fn initialize_groups(&self, groups: u32, epoch: u64) -> Result<(), SealedError> {
        for group in self.meta.groups()..groups {
            self.meta
                .put(group, MetaBlock::zeros(self.volume.keys.pages(), group, epoch)?);
        }
        self.meta.extend_to(groups);
        Ok(())
    }

    fn list(&self, log: &mut CommitLog, seals: Vec<(u32, PageSeal)>) {
        if let Some(pending) = &mut log.pending {
            pending.extend(seals);
            if Record::blocks_for(pending.len()) > self.tuning.record_blocks {
                log.pending = None;
            }
        }
    }
}

/// The first page beyond `page_count`, if it is in one of `groups` groups.
pub(super) fn tail_of(page_count: u64, groups: u32) -> Option<u32> {
    u32::try_from(page_count).ok().filter(|&page| group_of(page) < groups)
}
