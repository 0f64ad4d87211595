//! The entries of every page: those that are away from home, and meta blocks, cached as the disk has them. An entry that is
//! away wins over the one in the block. Changed blocks stay until they have gone home; others may go.
//!
//! A block that is read for the first time after an open is judged: what a crash left of a commit that did not happen
//! becomes poison, and a page that proves that the newest records were taken away is an error.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::away::{self, Away};
use super::error::SealedError;
use super::judgement::judge;
use super::pages::{self, KeptBlocks};
use super::volume::Volume;
use crate::disk::Disk;
use crate::format::layout::group_of;
use crate::format::{BLOCK_BYTES, BLOCK_BYTES_U64, Entry, GROUP_PAGES, MetaBlock, PageSeal, zero_entry};

const SHARDS: usize = 16;

pub(super) struct MetaCache {
    shards: [RwLock<Shard>; SHARDS],
    /// Groups whose blocks were changed since they last went home. Taken after a shard's lock, never before.
    dirty: Mutex<BTreeSet<u32>>,
    kept: KeptBlocks,
    /// Entries that are away, in all shards.
    away: AtomicUsize,
    groups: AtomicU32,
    blocks_per_shard: usize,
    accepted_epoch: u64,
    judges: bool,
}

#[derive(Default)]
struct Shard {
    away: Away,
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
            kept: KeptBlocks::default(),
            away: AtomicUsize::new(0),
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

    /// The entry of `page`, whose group is below [`Self::groups`].
    pub(super) fn entry<D: Disk>(&self, volume: &Volume<D>, page: u32) -> Result<Entry, SealedError> {
        self.entry_or(volume, page, || ())
    }

    /// The same of a page whose data block is read next: where the disk is asked for the meta block, it is asked for both.
    pub(super) fn entry_to_read<D: Disk>(&self, volume: &Volume<D>, page: u32) -> Result<Entry, SealedError> {
        self.entry_or(volume, page, || {
            volume.disk.will_read(volume.layout.data_offset(page), BLOCK_BYTES);
        })
    }

    fn entry_or<D: Disk>(&self, volume: &Volume<D>, page: u32, absent: impl FnOnce()) -> Result<Entry, SealedError> {
        let group = group_of(page);
        let shard = self.shared(group);
        if let Some(seal) = shard.away.get(page) {
            return Ok(Entry::data(seal));
        }
        if let Some(cached) = shard.blocks.get(&group) {
            cached.recently_used.store(true, Ordering::Relaxed);
            return Ok(cached.block.get(page));
        }
        drop(shard);
        absent();
        // Loading under the exclusive lock: no change of the block can come between its read and its insertion.
        let mut shard = self.exclusive(group);
        if group >= self.groups() {
            // Cut off since the caller asked: the page is gone, and so is its block, or will be. Kept here, it would stay, and
            // what judging changes of it would be written where the file has ended.
            return Ok(Entry::POISON);
        }
        let entry = self.load(&mut shard, volume, group)?.block.get(page);
        Ok(shard.away.get(page).map_or(entry, Entry::data))
    }

    /// Loads the meta block of `group`, and so judges it.
    pub(super) fn look_at<D: Disk>(&self, volume: &Volume<D>, group: u32) -> Result<(), SealedError> {
        self.load(&mut self.exclusive(group), volume, group).map(|_| ())
    }

    /// Judges what the disk holds for `group`, which is not below [`Self::groups`]: nothing, as a rule.
    pub(super) fn look_beyond<D: Disk>(&self, volume: &Volume<D>, group: u32) -> Result<(), SealedError> {
        match volume.read_meta(group) {
            Ok(mut block) if self.judges => judge(volume, group, &mut block, self.accepted_epoch).map(|_| ()),
            Ok(_) | Err(SealedError::Corrupt(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Notes how pages are sealed now, without their meta blocks: a record names them, or the one to come does.
    pub(super) fn set_away(&self, seals: &[(u32, PageSeal)]) {
        for in_group in seals.chunk_by(|(page, _), (next, _)| group_of(*page) == group_of(*next)) {
            let &[(first, _), ..] = in_group else { continue };
            self.with_away(&mut self.exclusive(group_of(first)), |away| {
                for &(page, seal) in in_group {
                    away.insert(page, seal);
                }
            });
        }
    }

    /// How `page` is sealed, if its entry is away.
    pub(super) fn away(&self, page: u32) -> Option<PageSeal> {
        self.shared(group_of(page)).away.get(page)
    }

    /// Entries of `group` that are away.
    pub(super) fn away_in(&self, group: u32) -> usize {
        self.shared(group).away.of_group(group).count()
    }

    /// Entries that are away.
    pub(super) fn away_count(&self) -> usize {
        self.away.load(Ordering::Relaxed)
    }

    /// Every entry that is away, by page.
    pub(super) fn all_away(&self) -> Vec<(u32, PageSeal)> {
        let mut all = Vec::with_capacity(self.away_count());
        for shard in &self.shards {
            all.extend(shard.read().unwrap_or_else(PoisonError::into_inner).away.iter());
        }
        all.sort_unstable_by_key(|&(page, _)| page);
        all
    }

    /// Drops what is away of pages from `page_count` and of groups from `groups` on: the file was made smaller.
    pub(super) fn cut_away(&self, page_count: u64, groups: u32) {
        for shard in &self.shards {
            let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
            self.with_away(&mut shard, |away| away.truncate(page_count, groups));
        }
    }

    fn with_away(&self, shard: &mut Shard, change: impl FnOnce(&mut Away)) {
        let before = shard.away.len();
        change(&mut shard.away);
        self.away.fetch_add(shard.away.len(), Ordering::Relaxed);
        self.away.fetch_sub(before, Ordering::Relaxed);
    }

    /// Changes the meta block of `group`, which is below [`Self::groups`]. What is away of it stays so, and wins.
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
        self.keep(&mut shard, group, block);
        self.dirty().insert(group);
    }

    /// Lets the pages of a group from `first` on read as zeros, as of `epoch`, but for what is away.
    pub(super) fn zero_tail<D: Disk>(&self, volume: &Volume<D>, first: u32, epoch: u64) -> Result<(), SealedError> {
        let pages = volume.keys.pages();
        let zeros: Result<Vec<_>, _> = (first..=first | (GROUP_PAGES - 1))
            .map(|page| zero_entry(pages, page, epoch).map(|entry| (page, entry)))
            .collect();
        let zeros = zeros?;
        self.change(volume, group_of(first), |block| {
            for &(page, entry) in &zeros {
                block.set(page, entry);
            }
        })
    }

    /// Makes `page` an error to read, until it is written.
    pub(super) fn poison<D: Disk>(&self, volume: &Volume<D>, page: u32) -> Result<(), SealedError> {
        self.with_away(&mut self.exclusive(group_of(page)), |away| away.remove(page));
        self.change(volume, group_of(page), |block| block.set(page, Entry::POISON))
    }

    /// Makes groups that were [`Self::put`] readable.
    pub(super) fn extend_to(&self, groups: u32) {
        self.groups.fetch_max(groups, Ordering::AcqRel);
    }

    /// Forgets the groups from `groups` on, and what is away of pages from `page_count` on.
    pub(super) fn truncate(&self, page_count: u64, groups: u32) {
        self.groups.fetch_min(groups, Ordering::AcqRel);
        self.cut_away(page_count, groups);
        for shard in &self.shards {
            let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
            let before = shard.blocks.len();
            shard.blocks.retain(|&group, _| group < groups);
            self.kept.remove(before - shard.blocks.len());
        }
        self.dirty().retain(|&group| group < groups);
    }

    /// The groups whose blocks were changed since they last went home: all that is not home but single entries.
    pub(super) fn changed_groups(&self) -> Vec<u32> {
        self.dirty().iter().copied().collect()
    }

    /// The groups that are not home, in part or wholly.
    pub(super) fn groups_not_home(&self) -> Vec<u32> {
        let mut groups = self.dirty().clone();
        for shard in &self.shards {
            groups.extend(shard.read().unwrap_or_else(PoisonError::into_inner).away.groups());
        }
        groups.into_iter().collect()
    }

    /// Writes the blocks of groups home, with the entries that are away, without a sync: until [`Self::are_home`], which is
    /// for after it, they stay away. Only the holder of the commit lock changes entries, so nothing else changes in them meanwhile.
    pub(super) fn write_home<D: Disk>(&self, volume: &Volume<D>, groups: &[u32]) -> Result<(), SealedError> {
        for &group in groups {
            if !self.shared(group).blocks.contains_key(&group) {
                volume.disk.will_read(volume.layout.meta_offset(group), BLOCK_BYTES);
            }
        }
        for &group in groups {
            let mut shard = self.exclusive(group);
            let mut block = self.load(&mut shard, volume, group)?.block.clone();
            shard
                .away
                .of_group(group)
                .for_each(|(page, seal)| block.set(page, Entry::data(seal)));
            drop(shard);
            volume
                .disk
                .write_at(volume.layout.meta_offset(group), block.as_bytes())?;
        }
        Ok(())
    }

    /// What [`Self::write_home`] wrote is durable.
    pub(super) fn are_home(&self, groups: &[u32]) {
        for &group in groups {
            let mut shard = self.exclusive(group);
            let Shard { away, blocks, .. } = &mut *shard;
            if let Some(cached) = blocks.get_mut(&group) {
                away.of_group(group)
                    .for_each(|(page, seal)| cached.block.set(page, Entry::data(seal)));
            }
            self.with_away(&mut shard, |away| away.remove_group(group));
            self.dirty().remove(&group);
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
            if shard.away.get(*page).is_some() {
                return false;
            }
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
            if !shard.judged.contains(&group) && self.judges && judge(volume, group, &mut block, self.accepted_epoch)? {
                self.dirty().insert(group);
            }
            shard.judged.insert(group);
            self.make_room(shard);
            self.keep(shard, group, block);
        }
        Ok(shard
            .blocks
            .get_mut(&group)
            .expect("inserted just now, or there before"))
    }

    fn keep(&self, shard: &mut Shard, group: u32, block: MetaBlock) {
        if shard.blocks.insert(group, Cached::new(block)).is_none() {
            self.kept.add(1);
        }
    }

    /// Lets go of blocks that have not been used lately, if there are enough.
    fn make_room(&self, shard: &mut Shard) {
        let away = self.away_count() as u64 * away::ENTRY_BYTES / BLOCK_BYTES_U64;
        let allowed = pages::meta_blocks_of_file().saturating_sub(usize::try_from(away).unwrap_or(usize::MAX));
        let allowed = allowed.div_ceil(SHARDS).max(1);
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
        let has_gone = victim.is_some_and(|group| shard.blocks.remove(&group).is_some());
        self.kept.remove(usize::from(has_gone));
        has_gone
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
