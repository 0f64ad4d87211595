//! Commits: sending staged pages to the disk, entries home, and one record to the ring.
//!
//! A *light* commit writes pages, meta blocks and a record that lists the pages, then syncs once: the record is believed
//! only if every page that it lists authenticates. A *heavy* one, whose list would be too long, syncs pages and meta
//! blocks first and then a record that lists nothing. A *barrier* repeats the last commit in a record that lists nothing,
//! so that the pages of the record before it may be overwritten.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use nimbus_crypto::aead::TAG_BYTES;

use super::error::SealedError;
use super::file::SealedFile;
use super::protocol::Protocol;
use super::seal::seal_and_write;
use crate::disk::Disk;
use crate::format::layout::{group_of, groups_for};
use crate::format::record::MAX_EPOCH;
use crate::format::{BLOCK_BYTES_U64, Entry, GROUP_PAGES, HEADER_BYTES, MetaBlock, PageSeal, Record, zero_entry};

/// Ring blocks that a light commit leaves free: a barrier and a heavy commit must always fit, and do in 2.
const RESERVED_BLOCKS: u32 = 6;

/// Entries stay away from home while the records that list them take up no more of the ring than this: a small commit then
/// writes its pages, one record and the witness. Little enough that a long record fits beside them.
const BLOCKS_AWAY: u32 = 8;
/// The longest record whose entries may stay away.
const SMALL_RECORD_BLOCKS: u32 = 2;

/// The page whose entry bears witness of the newest commit. It has no data block: page 0 lives in the record.
const WITNESS_PAGE: u32 = 0;
const WITNESS_GROUP: u32 = 0;

/// What redb sees, apart from the pages.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct State {
    pub(super) logical_bytes: u64,
    pub(super) groups: u32,
    pub(super) header: [u8; HEADER_BYTES],
}

/// What the next record needs to know. Its lock is the commit lock.
pub(super) struct CommitLog {
    /// The state of the newest record.
    pub(super) durable: State,
    /// The epoch of the newest record.
    pub(super) epoch: u64,
    /// Its tag.
    pub(super) tag: [u8; TAG_BYTES],
    /// Where the next record goes.
    pub(super) next_position: u32,
    /// Every change of the records up to this epoch is home, durably.
    pub(super) checkpoint_epoch: u64,
    /// Records that recovery may still need, oldest first: their epochs and lengths in blocks.
    pub(super) needed: VecDeque<(u64, u32)>,
    /// The pages that the newest record lists.
    pub(super) listed: BTreeSet<u32>,
    /// Pages written since the newest record; `None` when they are too many for a list.
    pub(super) pending: Option<BTreeMap<u32, PageSeal>>,
    /// The smallest length, and number of groups, since the newest record, if the file was made smaller.
    pub(super) lowest: Option<(u64, u32)>,
    /// Whether anything was written since the last sync of the disk.
    pub(super) unsynced: bool,
    /// A copy of the superblock that was found damaged, and what it should hold.
    pub(super) damaged_superblock: Option<(u64, Box<[u8]>)>,
}

impl CommitLog {
    pub(super) const fn empty() -> Self {
        Self {
            durable: State {
                logical_bytes: 0,
                groups: 1,
                header: [0; HEADER_BYTES],
            },
            epoch: 0,
            tag: [0; TAG_BYTES],
            next_position: 0,
            checkpoint_epoch: 0,
            needed: VecDeque::new(),
            listed: BTreeSet::new(),
            pending: Some(BTreeMap::new()),
            lowest: None,
            unsynced: false,
            damaged_superblock: None,
        }
    }

    fn needed_blocks(&self) -> u32 {
        self.needed.iter().map(|&(_, blocks)| blocks).sum()
    }

    /// A record of `state`, which is the durable one or the one to come, without pages.
    fn record_of(&self, state: &State, lowest: Option<(u64, u32)>, checkpoint_epoch: u64) -> Record {
        let (lowest_bytes, lowest_groups) = lowest.unwrap_or((state.logical_bytes, self.durable.groups));
        Record {
            epoch: self.epoch + 1,
            previous_tag: self.tag,
            checkpoint_epoch,
            logical_bytes: state.logical_bytes,
            lowest_bytes: lowest_bytes.min(state.logical_bytes),
            groups: state.groups,
            lowest_groups: lowest_groups.min(state.groups),
            shrunk: lowest.is_some(),
            header: state.header,
            pages: Vec::new(),
        }
    }

    /// Whether the entries of a light commit may stay away from home: its record and those before it say what changed.
    fn may_stay_away(&self, state: &State) -> bool {
        let listed = self.pending.as_ref().map_or(0, BTreeMap::len);
        let blocks = Record::blocks_for(listed);
        let is_small = blocks <= SMALL_RECORD_BLOCKS && self.needed_blocks() + blocks <= BLOCKS_AWAY;
        is_small && self.lowest.is_none() && state.groups == self.durable.groups
    }
}

/// A record whose blocks were written.
struct Appended {
    record: Record,
    tag: [u8; TAG_BYTES],
    blocks: u32,
}

impl<D: Disk, P: Protocol> SealedFile<D, P> {
    /// Sends every staged page to the disk, without a sync (but for a barrier's).
    pub(super) fn flush(&self, log: &mut CommitLog) -> Result<(), SealedError> {
        while let Some(arena) = self.staging.begin_flush() {
            let pages = arena.pages();
            if P::RAISES_BARRIERS && pages.iter().any(|page| log.listed.contains(page)) {
                self.raise_barrier(log)?;
            }
            let epoch = log.epoch + 1;
            if let Some(&last) = pages.last() {
                self.initialize_groups(group_of(last) + 1, epoch)?;
            }
            log.unsynced = true;
            let seals = seal_and_write(&self.volume, &arena, &pages, epoch, self.tuning.threads)?;
            self.sealed_pages.fetch_add(seals.len() as u64, Ordering::Relaxed);
            self.set_entries(&seals)?;
            self.list(log, seals);
            drop(arena);
            self.staging.end_flush();
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
        let unchanged = state.header == log.durable.header
            && state.logical_bytes == log.durable.logical_bytes
            && log.lowest.is_none()
            && log.pending.as_ref().is_some_and(BTreeMap::is_empty);
        if unchanged {
            return if log.unsynced { self.sync_disk(log) } else { Ok(()) };
        }
        if let Some((offset, block)) = &log.damaged_superblock {
            self.volume.disk.write_at(*offset, block)?;
        }
        if P::LEAVES_WITNESSES {
            self.leave_witness(log.epoch + 1)?;
        }
        if self.fits_the_ring(log) {
            self.commit_light(log, &state)?;
        } else {
            self.commit_heavy(log, &state)?;
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
        self.meta.truncate(groups);
        if let Some(first) = tail_of(page_count, groups) {
            let epoch = log.epoch + 1;
            self.zero_tail(first, epoch)?;
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

    fn fits_the_ring(&self, log: &CommitLog) -> bool {
        log.pending.as_ref().is_some_and(|pending| {
            let blocks = Record::blocks_for(pending.len());
            let in_use = log.needed_blocks() + blocks + RESERVED_BLOCKS;
            blocks <= self.tuning.record_blocks && in_use <= self.volume.layout.ring_blocks()
        })
    }

    fn commit_light(&self, log: &mut CommitLog, state: &State) -> Result<(), SealedError> {
        log.unsynced = true;
        let changed = self.meta.changed_groups();
        let stays_away = changed.len() > 1 && log.may_stay_away(state);
        let home = if stays_away { vec![WITNESS_GROUP] } else { changed };
        self.meta.write_home(&self.volume, &home)?;
        let checkpoint_epoch = if P::CHECKPOINTS_FIRST {
            log.checkpoint_epoch
        } else {
            log.epoch + 1
        };
        let mut record = log.record_of(state, log.lowest, checkpoint_epoch);
        record.pages = log
            .pending
            .iter()
            .flatten()
            .map(|(&page, &seal)| (page, seal))
            .collect();
        let appended = self.append(log, record)?;
        self.sync_disk(log)?;
        self.settle(log, appended);
        self.meta.mark_clean(&home);
        if !stays_away {
            log.checkpoint_epoch = log.epoch;
        }
        Ok(())
    }

    /// Notes the epoch to come in an entry that is sealed and that every opening judges. Records can be removed without a
    /// key, or with a bad spot of the disk: two commits that are gone from the ring are then missed, whatever they changed.
    fn leave_witness(&self, epoch: u64) -> Result<(), SealedError> {
        let entry = zero_entry(self.volume.keys.pages(), WITNESS_PAGE, epoch)?;
        self.meta
            .change(&self.volume, WITNESS_GROUP, |meta| meta.set(WITNESS_PAGE, entry))
    }

    fn commit_heavy(&self, log: &mut CommitLog, state: &State) -> Result<(), SealedError> {
        log.unsynced = true;
        let home = self.meta.changed_groups();
        self.meta.write_home(&self.volume, &home)?;
        self.sync_disk(log)?;
        self.meta.mark_clean(&home);
        let record = log.record_of(state, log.lowest, log.epoch + 1);
        let appended = self.append(log, record)?;
        self.sync_disk(log)?;
        self.settle(log, appended);
        log.checkpoint_epoch = log.epoch;
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
    fn append(&self, log: &CommitLog, record: Record) -> Result<Appended, SealedError> {
        if record.epoch > MAX_EPOCH {
            return Err(SealedError::Failed);
        }
        let layout = self.volume.layout;
        let position = log.next_position;
        let (bytes, tag) = record.encode(self.volume.keys.records(), position)?;
        let until_wrap = u64::from(layout.ring_blocks() - position) * BLOCK_BYTES_U64;
        let until_wrap = usize::try_from(until_wrap).unwrap_or(usize::MAX).min(bytes.len());
        let (head, tail) = bytes.split_at(until_wrap);
        let disk = &self.volume.disk;
        self.latching(|| {
            disk.write_at(layout.ring_offset(position), head)?;
            if tail.is_empty() {
                Ok(())
            } else {
                disk.write_at(layout.ring_offset(0), tail)
            }
        })?;
        let blocks = Record::blocks_for(record.pages.len());
        Ok(Appended { record, tag, blocks })
    }

    /// The record is durable: it is the newest now.
    fn settle(&self, log: &mut CommitLog, appended: Appended) {
        let Appended { record, tag, blocks } = appended;
        log.next_position = (log.next_position + blocks) % self.volume.layout.ring_blocks();
        log.epoch = record.epoch;
        self.durable_epoch.store(record.epoch, Ordering::Relaxed);
        log.tag = tag;
        log.needed.push_back((record.epoch, blocks));
        log.needed
            .retain(|&(epoch, _)| epoch > record.checkpoint_epoch || epoch == record.epoch);
        log.listed = record.pages.iter().map(|&(page, _)| page).collect();
        log.pending = Some(BTreeMap::new());
        log.durable = State {
            logical_bytes: record.logical_bytes,
            groups: record.groups,
            header: record.header,
        };
    }

    fn sync_disk(&self, log: &mut CommitLog) -> Result<(), SealedError> {
        self.latching(|| self.volume.disk.sync())?;
        log.unsynced = false;
        Ok(())
    }

    /// After a failed sync the system may have dropped what it could not write, and a record may be there in part: no
    /// later success would mean anything.
    fn latching(&self, step: impl FnOnce() -> std::io::Result<()>) -> Result<(), SealedError> {
        step().map_err(|error| {
            self.failed.store(true, Ordering::Release);
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

    fn set_entries(&self, seals: &[(u32, PageSeal)]) -> Result<(), SealedError> {
        for in_group in seals.chunk_by(|(page, _), (next, _)| group_of(*page) == group_of(*next)) {
            let &[(first, _), ..] = in_group else { continue };
            self.meta.change(&self.volume, group_of(first), |meta| {
                for &(page, seal) in in_group {
                    meta.set(page, Entry::data(seal));
                }
            })?;
        }
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

    /// The pages of a group from `first` on read as zeros.
    fn zero_tail(&self, first: u32, epoch: u64) -> Result<(), SealedError> {
        let pages = self.volume.keys.pages();
        let zeros: Result<Vec<_>, _> = tail_pages(first)
            .map(|page| zero_entry(pages, page, epoch).map(|entry| (page, entry)))
            .collect();
        let zeros = zeros?;
        self.meta.change(&self.volume, group_of(first), |meta| {
            for &(page, entry) in &zeros {
                meta.set(page, entry);
            }
        })
    }
}

/// The first page beyond `page_count`, if it is in one of `groups` groups.
pub(super) fn tail_of(page_count: u64, groups: u32) -> Option<u32> {
    u32::try_from(page_count).ok().filter(|&page| group_of(page) < groups)
}

/// From `first` to the end of its group.
pub(super) fn tail_pages(first: u32) -> impl Iterator<Item = u32> {
    first..=first | (GROUP_PAGES - 1)
}
