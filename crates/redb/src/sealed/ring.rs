//! The commit ring as the writer sees it: which of its blocks hold records that an opening would still need, and where the
//! next record goes.

use std::collections::VecDeque;

use crate::format::{Layout, SealedRecord};

/// Ring blocks that a light commit leaves free: a barrier and a heavy commit must always fit, and do in 2.
pub(super) const RESERVED_BLOCKS: u32 = 6;

/// A record that an opening would need.
pub(super) struct Needed {
    pub(super) epoch: u64,
    pub(super) position: u32,
    pub(super) blocks: u32,
    /// The pages that it names, listed or carried.
    pub(super) pages: Vec<u32>,
}

impl From<&SealedRecord> for Needed {
    fn from(found: &SealedRecord) -> Self {
        Self {
            epoch: found.record.epoch,
            position: found.position,
            blocks: found.blocks,
            pages: found.record.named().map(|(page, _)| page).collect(),
        }
    }
}

/// The records that are needed, oldest first. The newest always is.
pub(super) struct Ring {
    layout: Layout,
    needed: VecDeque<Needed>,
}

impl Ring {
    pub(super) fn new(layout: Layout, needed: impl IntoIterator<Item = Needed>) -> Self {
        Self {
            layout,
            needed: needed.into_iter().collect(),
        }
    }

    /// Where the record after the newest goes, in a file of so many groups. It follows from what a crash leaves: the next
    /// opening must come to the same place, or the record that it sets aside would stay beside its successor of the same epoch.
    pub(super) fn next_position(&self, groups: u32) -> u32 {
        let Some(newest) = self.needed.back() else { return 0 };
        let end = (newest.position + newest.blocks) % self.layout.ring_blocks();
        let begins_anew = end >= self.layout.usable_ring_blocks(groups) && self.room_at(0) > RESERVED_BLOCKS;
        if begins_anew { 0 } else { end }
    }

    /// Blocks from `position` on that no needed record takes.
    pub(super) fn room_at(&self, position: u32) -> u32 {
        let length = self.layout.ring_blocks();
        let distance = |from: u32, to: u32| (to + length - from) % length;
        let until = |needed: &Needed| {
            let is_within = distance(needed.position, position) < needed.blocks;
            if is_within {
                0
            } else {
                distance(position, needed.position)
            }
        };
        self.needed.iter().map(until).min().unwrap_or(length)
    }

    /// Blocks that needed records take.
    pub(super) fn needed_blocks(&self) -> u32 {
        self.needed.iter().map(|needed| needed.blocks).sum()
    }

    /// The blocks that a file may use of its ring as soon as it has `after` groups, and not yet with `before`: the first, and how
    /// many. None if a needed record lies there, or the one that is about to be written, which takes `blocks` from `position` on.
    pub(super) fn part_to_come(&self, before: u32, after: u32, position: u32, blocks: u32) -> Option<(u32, u32)> {
        let from = self.layout.usable_ring_blocks(before);
        let to = self.layout.usable_ring_blocks(after);
        let is_apart = position + blocks <= from || position >= to && position + blocks <= self.layout.ring_blocks();
        (to > from && is_apart && self.room_at(from) >= to - from).then(|| (from, to - from))
    }

    /// What the needed records may take together, with one to come of `blocks` blocks, before the oldest are given up: so
    /// much is left that a record as long as that fits twice, as what goes home is given up with the record after.
    pub(super) fn most_needed(&self, groups: u32, blocks: u32) -> u32 {
        let usable = self.layout.usable_ring_blocks(groups);
        usable.saturating_sub((usable / 4).max(2 * blocks + RESERVED_BLOCKS))
    }

    /// The needed records but the newest, oldest first.
    pub(super) fn before_newest(&self) -> impl Iterator<Item = &Needed> {
        self.needed.iter().take(self.needed.len().saturating_sub(1))
    }

    /// The needed records, newest first.
    pub(super) fn newest_first(&self) -> impl Iterator<Item = &Needed> {
        self.needed.iter().rev()
    }

    /// Whether the newest record alone is needed.
    pub(super) fn is_newest_alone(&self) -> bool {
        self.needed.len() == 1
    }

    /// A record was made durable, and is the newest; those up to its checkpoint are not needed any more.
    pub(super) fn push(&mut self, newest: Needed, checkpoint_epoch: u64) {
        let epoch = newest.epoch;
        self.needed.push_back(newest);
        self.needed
            .retain(|needed| needed.epoch > checkpoint_epoch || needed.epoch == epoch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needed(epoch: u64, position: u32, blocks: u32) -> Needed {
        Needed {
            epoch,
            position,
            blocks,
            pages: Vec::new(),
        }
    }

    fn ring(blocks: u32, records: &[(u64, u32, u32)]) -> Ring {
        let needed = records
            .iter()
            .map(|&(epoch, position, blocks)| needed(epoch, position, blocks));
        Ring::new(Layout::new(blocks).expect("allowed"), needed)
    }

    #[test]
    fn room_ends_at_the_first_needed_record_ahead_even_around_the_end() {
        assert_eq!(ring(24, &[]).room_at(5), 24);
        let wraps = ring(24, &[(1, 10, 4), (2, 22, 4)]);
        let room: Vec<u32> = [0, 1, 2, 9, 10, 13, 14, 21, 22, 23].map(|at| wraps.room_at(at)).into();
        assert_eq!(room, [0, 0, 8, 1, 0, 0, 8, 1, 0, 0]);
    }

    #[test]
    fn a_small_file_begins_its_ring_anew_where_that_is_free_and_a_large_one_at_its_end() {
        // One group uses 34 blocks.
        assert_eq!(ring(512, &[(7, 30, 3)]).next_position(1), 33);
        assert_eq!(ring(512, &[(7, 30, 4)]).next_position(1), 0);
        assert_eq!(ring(512, &[(7, 30, 4)]).next_position(2), 34);
        assert_eq!(
            ring(512, &[(6, 6, 1), (7, 30, 4)]).next_position(1),
            34,
            "7 blocks are not free"
        );
        assert_eq!(ring(512, &[(6, 7, 1), (7, 30, 4)]).next_position(1), 0);
        assert_eq!(ring(512, &[(7, 500, 12)]).next_position(9999), 0);
        assert_eq!(ring(512, &[(7, 500, 15)]).next_position(9999), 3);
        assert_eq!(ring(24, &[(7, 20, 4)]).next_position(1), 0);
    }

    #[test]
    fn a_growing_file_gets_more_of_its_ring_but_nothing_that_a_record_has() {
        assert_eq!(ring(512, &[(7, 30, 4)]).part_to_come(1, 3, 0, 4), Some((34, 8)));
        assert_eq!(ring(512, &[(7, 30, 4)]).part_to_come(1, 1, 0, 4), None);
        assert_eq!(
            ring(512, &[(7, 30, 5)]).part_to_come(1, 3, 0, 4),
            None,
            "the newest record is there"
        );
        assert_eq!(
            ring(512, &[(7, 20, 4)]).part_to_come(1, 3, 24, 12),
            None,
            "the next one goes there"
        );
        assert_eq!(
            ring(512, &[(7, 490, 4)]).part_to_come(1, 3, 494, 63),
            None,
            "and around the end"
        );
        assert_eq!(ring(24, &[(7, 20, 4)]).part_to_come(1, 9, 0, 4), None);
    }

    #[test]
    fn records_up_to_the_checkpoint_are_given_up_but_never_the_newest() {
        let mut ring = ring(24, &[(1, 0, 2), (2, 2, 2), (3, 4, 2)]);
        ring.push(needed(4, 6, 1), 2);
        assert_eq!((ring.needed_blocks(), ring.before_newest().count()), (3, 1));
        ring.push(needed(5, 7, 1), 5);
        assert!(ring.is_newest_alone());
        assert_eq!(ring.room_at(0), 7);
    }
}
