//! The entries of every page, cached by meta block. Changed blocks stay until they have gone home; others may go.
//!
//! A block that is read for the first time after an open is judged: what a crash left of a commit that did not happen
//! becomes poison, and a page that proves that the newest records were taken away is an error.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::error::{Damage, SealedError};
use super::pages;
use super::volume::Volume;
use crate::disk::Disk;
use crate::format::entry::is_zero;
use crate::format::layout::group_of;
use crate::format::{BLOCK_BYTES, Entry, GROUP_PAGES, Kind, MetaBlock};

const SHARDS: usize = 16;

pub(super) struct MetaCache {
    shards: [RwLock<Shard>; SHARDS],
    /// Groups that were changed since they last went home. Taken after a shard's lock, never before.
    dirty: Mutex<BTreeSet<u32>>,
    groups: AtomicU32,
    blocks_per_shard: usize,
    accepted_epoch: u64,
    judges: bool,
}

#[derive(Default)]
struct Shard {
    blocks: HashMap<u32, Cached>,
    /// Groups that were judged since the open: entries newer than the accepted record are then of this session.
    judged: HashSet<u32>,
}

struct Cached {
    block: MetaBlock,
    recently_used: AtomicBool,
}

impl MetaCache {
    /// A cache for a file whose accepted record has `groups` groups and is of `accepted_epoch`.
    pub(super) fn new(groups: u32, accepted_epoch: u64, blocks: usize, judges: bool) -> Self {
        Self {
            shards: std::array::from_fn(|_| RwLock::default()),
            dirty: Mutex::default(),
            groups: AtomicU32::new(groups),
            blocks_per_shard: blocks.div_ceil(SHARDS).max(1),
            accepted_epoch,
            judges,
        }
    }

    /// Groups whose entries mean something; pages of later ones read as zeros.
    pub(super) fn groups(&self) -> u32 {
        self.groups.load(Ordering::Acquire)
    }

    /// Calls `look` with the meta block of `group`, which is below [`Self::groups`].
    pub(super) fn read<D: Disk, R>(
        &self,
        volume: &Volume<D>,
        group: u32,
        look: impl FnOnce(&MetaBlock) -> R,
    ) -> Result<R, SealedError> {
        self.read_or(volume, group, || (), look)
    }

    /// The entry of `page`, whose data block is read next: where the disk is asked for the meta block, it is asked for both.
    pub(super) fn entry_to_read<D: Disk>(&self, volume: &Volume<D>, page: u32) -> Result<Entry, SealedError> {
        let absent = || volume.disk.will_read(volume.layout.data_offset(page), BLOCK_BYTES);
        self.read_or(volume, group_of(page), absent, |block| block.get(page))
    }

    fn read_or<D: Disk, R>(
        &self,
        volume: &Volume<D>,
        group: u32,
        absent: impl FnOnce(),
        look: impl FnOnce(&MetaBlock) -> R,
    ) -> Result<R, SealedError> {
        if let Some(cached) = self.shared(group).blocks.get(&group) {
            cached.recently_used.store(true, Ordering::Relaxed);
            return Ok(look(&cached.block));
        }
        absent();
        // Loading under the exclusive lock: no change of the block can come between its read and its insertion.
        let mut shard = self.exclusive(group);
        let cached = self.load(&mut shard, volume, group)?;
        Ok(look(&cached.block))
    }

    /// Loads the meta block of `group`, and so judges it.
    pub(super) fn look_at<D: Disk>(&self, volume: &Volume<D>, group: u32) -> Result<(), SealedError> {
        self.read(volume, group, |_| ())
    }

    /// Judges what the disk holds for `group`, which is not below [`Self::groups`]: nothing, as a rule.
    pub(super) fn look_beyond<D: Disk>(&self, volume: &Volume<D>, group: u32) -> Result<(), SealedError> {
        match volume.read_meta(group) {
            Ok(mut block) if self.judges => self.judge(volume, group, &mut block).map(|_| ()),
            Ok(_) | Err(SealedError::Corrupt(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Changes the meta block of `group`, which is below [`Self::groups`].
    pub(super) fn change<D: Disk>(
        &self,
        volume: &Volume<D>,
        group: u32,
        change: impl FnOnce(&mut MetaBlock),
    ) -> Result<(), SealedError> {
        let mut shard = self.exclusive(group);
        let cached = self.load(&mut shard, volume, group)?;
        change(&mut cached.block);
        self.dirty().insert(group);
        Ok(())
    }

    /// Puts a whole block in the place of whatever `group` had.
    pub(super) fn put(&self, group: u32, block: MetaBlock) {
        let mut shard = self.exclusive(group);
        shard.judged.insert(group);
        shard.blocks.insert(group, Cached::new(block));
        self.dirty().insert(group);
    }

    /// Makes groups that were [`Self::put`] readable.
    pub(super) fn extend_to(&self, groups: u32) {
        self.groups.fetch_max(groups, Ordering::AcqRel);
    }

    /// Forgets the groups from `groups` on.
    pub(super) fn truncate(&self, groups: u32) {
        self.groups.fetch_min(groups, Ordering::AcqRel);
        for shard in &self.shards {
            let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
            shard.blocks.retain(|&group, _| group < groups);
        }
        self.dirty().retain(|&group| group < groups);
    }

    /// The groups that were changed since they last went home.
    pub(super) fn changed_groups(&self) -> Vec<u32> {
        self.dirty().iter().copied().collect()
    }

    /// Writes the blocks of changed groups home, without a sync; [`Self::mark_clean`] is for after it. Only the holder of
    /// the commit lock changes entries, so nothing else changes in them meanwhile.
    pub(super) fn write_home<D: Disk>(&self, volume: &Volume<D>, groups: &[u32]) -> Result<(), SealedError> {
        for &group in groups {
            if let Some(cached) = self.shared(group).blocks.get(&group) {
                volume
                    .disk
                    .write_at(volume.layout.meta_offset(group), cached.block.as_bytes())?;
            }
        }
        Ok(())
    }

    /// The blocks that [`Self::write_home`] wrote are durable.
    pub(super) fn mark_clean(&self, groups: &[u32]) {
        let mut dirty = self.dirty();
        for group in groups {
            dirty.remove(group);
        }
    }

    /// The pages of `group` whose entries the disk does not hold, though they went home. The caller holds the commit lock, so that
    /// none is on its way.
    pub(super) fn lost_at_home<D: Disk>(&self, volume: &Volume<D>, group: u32) -> Result<Vec<u32>, SealedError> {
        let shard = self.shared(group);
        let Some(cached) = shard.blocks.get(&group).filter(|_| !self.dirty().contains(&group)) else {
            return Ok(Vec::new());
        };
        let on_disk = match volume.read_meta(group) {
            Ok(block) => Some(block),
            Err(SealedError::Corrupt(_)) => None,
            Err(error) => return Err(error),
        };
        let is_lost = |page: &u32| {
            let stored = on_disk.as_ref().map(|block| block.get(*page));
            stored != Some(cached.block.get(*page))
        };
        Ok((group * GROUP_PAGES..=group * GROUP_PAGES + (GROUP_PAGES - 1))
            .filter(is_lost)
            .collect())
    }

    pub(super) fn is_clean(&self) -> bool {
        self.dirty().is_empty()
    }

    fn load<'a, D: Disk>(
        &self,
        shard: &'a mut Shard,
        volume: &Volume<D>,
        group: u32,
    ) -> Result<&'a mut Cached, SealedError> {
        if !shard.blocks.contains_key(&group) {
            let mut block = volume.read_meta(group)?;
            if !shard.judged.contains(&group) && self.judges && self.judge(volume, group, &mut block)? {
                self.dirty().insert(group);
            }
            shard.judged.insert(group);
            self.make_room(shard);
            shard.blocks.insert(group, Cached::new(block));
        }
        Ok(shard
            .blocks
            .get_mut(&group)
            .expect("inserted just now, or there before"))
    }

    /// Replaces by poison what is newer than the accepted record; whether there was any.
    ///
    /// A crash leaves entries of the one epoch after the accepted one, or, where single bytes of the disk are old and
    /// new, of any epoch, but then without a page that fits. A page that does authenticate under a later epoch was
    /// committed: its record was removed.
    fn judge<D: Disk>(&self, volume: &Volume<D>, group: u32, block: &mut MetaBlock) -> Result<bool, SealedError> {
        let accepted = self.accepted_epoch;
        let mut found_any = false;
        for page in group * GROUP_PAGES..=group * GROUP_PAGES + (GROUP_PAGES - 1) {
            let entry = block.get(page);
            let found = entry.seal.epoch();
            if found <= accepted {
                continue;
            }
            if found > accepted + 1 && authenticates(volume, page, &entry)? {
                return Err(Damage::LostRecords { page, found, accepted }.into());
            }
            block.set(page, Entry::POISON);
            found_any = true;
        }
        Ok(found_any)
    }

    /// Lets go of blocks that have not been used lately, if there are enough.
    fn make_room(&self, shard: &mut Shard) {
        let allowed = pages::meta_blocks_of_file().div_ceil(SHARDS).max(1);
        let most = self.blocks_per_shard.min(allowed);
        while shard.blocks.len() >= most && self.let_go(shard) {}
    }

    /// Lets go of one block; `false` if all have changed.
    fn let_go(&self, shard: &mut Shard) -> bool {
        let dirty = self.dirty();
        let victim = shard
            .blocks
            .iter()
            .find(|(group, cached)| !dirty.contains(group) && !cached.recently_used.swap(false, Ordering::Relaxed))
            .or_else(|| shard.blocks.iter().find(|(group, _)| !dirty.contains(group)))
            .map(|(&group, _)| group);
        drop(dirty);
        victim.is_some_and(|group| shard.blocks.remove(&group).is_some())
    }

    fn shared(&self, group: u32) -> RwLockReadGuard<'_, Shard> {
        self.shard(group).read().unwrap_or_else(PoisonError::into_inner)
    }

    fn exclusive(&self, group: u32) -> RwLockWriteGuard<'_, Shard> {
        self.shard(group).write().unwrap_or_else(PoisonError::into_inner)
    }

    fn shard(&self, group: u32) -> &RwLock<Shard> {
        self.shards
            .get(group as usize % SHARDS)
            .expect("a remainder is below its divisor")
    }

    fn dirty(&self) -> std::sync::MutexGuard<'_, BTreeSet<u32>> {
        self.dirty.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cached {
    const fn new(block: MetaBlock) -> Self {
        Self {
            block,
            recently_used: AtomicBool::new(true),
        }
    }
}

fn authenticates<D: Disk>(volume: &Volume<D>, page: u32, entry: &Entry) -> Result<bool, SealedError> {
    match entry.kind() {
        Some(Kind::Data) => volume.holds(page, &entry.seal),
        Some(Kind::Zero) => Ok(is_zero(volume.keys.pages(), page, &entry.seal)),
        Some(Kind::Poison) | None => Ok(false),
    }
}
