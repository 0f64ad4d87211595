//! Giving up the oldest records in time, so that the ring has room and memory its bound: what they name and is still away is
//! carried by the record that is written now, as far as its last block has room, or goes home.

use std::collections::{BTreeMap, BTreeSet};

use super::away;
use super::file::SealedFile;
use super::log::CommitLog;
use super::pages;
use super::protocol::Protocol;
use super::ring::Needed;
use crate::disk::Disk;
use crate::format::layout::group_of;
use crate::format::{PageSeal, Record};

/// So many entries may be away from any file, however little memory there is.
const LEAST_AWAY: usize = 64;

/// Which records a light commit gives up, and what that takes.
pub(super) struct Retirement {
    /// What its record carries.
    pub(super) carried: BTreeMap<u32, PageSeal>,
    /// The groups that go home with it.
    pub(super) home: BTreeSet<u32>,
    /// The checkpoint epoch that its record may have.
    pub(super) checkpoint_epoch: u64,
    /// The one that the record after it may have, when what goes home is durable.
    pub(super) checkpoint_after: u64,
}

impl<D: Disk, P: Protocol> SealedFile<D, P> {
    /// Plans for a record of `blocks` blocks that lists `listed` pages.
    pub(super) fn plan_retirement(&self, log: &CommitLog, listed: usize, blocks: u32) -> Retirement {
        let mut plan = Retirement {
            carried: BTreeMap::new(),
            home: BTreeSet::new(),
            checkpoint_epoch: log.checkpoint_epoch,
            checkpoint_after: log.checkpoint_epoch,
        };
        if log.has_remade_zeros {
            return plan;
        }
        let most_needed = log.ring.most_needed(log.durable.groups, blocks);
        let most_away = self.most_away();
        let mut needed = log.ring.needed_blocks();
        let mut away = self.meta.away_count();
        let mut spare = Record::pages_in(blocks) - listed;
        for oldest in log.ring.before_newest() {
            let is_crowded = away > most_away;
            if needed + blocks <= most_needed && !is_crowded {
                break;
            }
            needed -= oldest.blocks;
            // What is carried is still away.
            let room = if is_crowded { 0 } else { spare };
            let (carried, gone_home) = self.give_up(oldest, room, &mut plan);
            spare -= carried;
            away -= gone_home;
            plan.checkpoint_after = oldest.epoch.max(plan.checkpoint_after);
            // Until the sync nothing has come home.
            if plan.home.is_empty() || !P::AWAITS_HOMECOMINGS {
                plan.checkpoint_epoch = plan.checkpoint_after;
            }
        }
        plan
    }

    /// Finds a place for every entry that `oldest` names and that is still as it says: up to `room` in the new record, the
    /// others at home, with all else that is away in their groups, most first. Tells how many it were of each.
    fn give_up(&self, oldest: &Needed, room: usize, plan: &mut Retirement) -> (usize, usize) {
        let mut by_group: BTreeMap<u32, Vec<(u32, PageSeal)>> = BTreeMap::new();
        for &page in &oldest.pages {
            let is_placed = plan.carried.contains_key(&page) || plan.home.contains(&group_of(page));
            let away = self.meta.away(page).filter(|_| !is_placed);
            // A seal of a later epoch is that of a later record, or of the one to come.
            if let Some(seal) = away.filter(|seal| seal.epoch() <= oldest.epoch) {
                by_group.entry(group_of(page)).or_default().push((page, seal));
            }
        }
        let mut left: usize = by_group.values().map(Vec::len).sum();
        let mut gone_home = 0;
        if left > room {
            let mut groups: Vec<(usize, u32)> = by_group
                .keys()
                .map(|&group| (self.meta.away_in(group), group))
                .collect();
            groups.sort_unstable_by(|one, other| other.cmp(one));
            for (count, group) in groups {
                if left <= room {
                    break;
                }
                left -= by_group.remove(&group).map_or(0, |entries| entries.len());
                gone_home += count;
                plan.home.insert(group);
            }
        }
        if P::CARRIES_ENTRIES {
            plan.carried.extend(by_group.into_values().flatten());
        }
        (left, gone_home)
    }

    /// Entries of this file that may be away after a commit.
    pub(super) fn most_away(&self) -> usize {
        let granted = usize::try_from(pages::away_bytes_of_file() / away::ENTRY_BYTES).unwrap_or(usize::MAX);
        granted
            .min(self.tuning.entries_away)
            .max(LEAST_AWAY.min(self.tuning.entries_away))
    }
}
