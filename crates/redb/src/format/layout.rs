//! Where each block of the sealed file lies.

/// Bytes in a block, in a page and in a redb page.
pub const BLOCK_BYTES: usize = 4096;
/// [`BLOCK_BYTES`] for offsets.
pub const BLOCK_BYTES_U64: u64 = BLOCK_BYTES as u64;
/// Pages in a group: as many as entries fit into one meta block.
pub const GROUP_PAGES: u32 = 128;
/// More pages a file cannot have (16 TiB): a record names a page in 32 bits.
pub const MAX_PAGES: u64 = 1 << 32;

/// Ring blocks that any file uses, and those that it uses for each of its groups besides.
const LEAST_RING_BLOCKS: u32 = 30;
const RING_BLOCKS_PER_GROUP: u32 = 4;

/// The first ring block; the superblock and its copy lie before it.
pub(super) const RING_START: u32 = 2;

/// The places of ring, meta and data blocks. All that varies from file to file is the length of the ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    ring_blocks: u32,
}

impl Layout {
    /// The ring of files that nimbus creates: 2 MiB, holes until they are used.
    pub const DEFAULT: Self = Self { ring_blocks: 512 };

    /// A layout with a ring of 24 to 512 blocks; `None` for any other number.
    #[must_use]
    pub const fn new(ring_blocks: u32) -> Option<Self> {
        match ring_blocks {
            24..=512 => Some(Self { ring_blocks }),
            _ => None,
        }
    }

    /// Blocks in the commit ring.
    #[must_use]
    pub const fn ring_blocks(self) -> u32 {
        self.ring_blocks
    }

    /// The block of the first group.
    pub(super) const fn data_start(self) -> u32 {
        RING_START + self.ring_blocks
    }

    /// The byte offset of the ring block at `position`, which counts modulo the ring.
    #[must_use]
    pub const fn ring_offset(self, position: u32) -> u64 {
        (RING_START + position % self.ring_blocks) as u64 * BLOCK_BYTES_U64
    }

    /// How far the ring of a file of so many groups is used before it begins anew: a small file needs no long one.
    #[must_use]
    pub fn usable_ring_blocks(self, groups: u32) -> u32 {
        groups
            .saturating_mul(RING_BLOCKS_PER_GROUP)
            .saturating_add(LEAST_RING_BLOCKS)
            .min(self.ring_blocks)
    }

    /// The byte offset of the meta block of `group`.
    #[must_use]
    pub const fn meta_offset(self, group: u32) -> u64 {
        (self.data_start() as u64 + group as u64 * (GROUP_PAGES as u64 + 1)) * BLOCK_BYTES_U64
    }

    /// The byte offset of the data block of `page`. Consecutive pages of one group are adjacent.
    #[must_use]
    pub const fn data_offset(self, page: u32) -> u64 {
        let slot = 1 + page % GROUP_PAGES;
        self.meta_offset(group_of(page)) + slot as u64 * BLOCK_BYTES_U64
    }

    /// Bytes that a file of `page_count` pages in `groups` initialized groups needs at most.
    #[must_use]
    pub fn end(self, page_count: u64, groups: u32) -> u64 {
        let last_meta = match groups.checked_sub(1) {
            Some(group) => self.meta_offset(group) + BLOCK_BYTES_U64,
            None => self.meta_offset(0),
        };
        let last_initialized = page_count.min(u64::from(groups) * u64::from(GROUP_PAGES));
        let last_data = match last_initialized.checked_sub(1).map(u32::try_from) {
            Some(Ok(page)) => self.data_offset(page) + BLOCK_BYTES_U64,
            _ => 0,
        };
        last_meta.max(last_data)
    }
}

/// The group that `page` belongs to.
pub const fn group_of(page: u32) -> u32 {
    page / GROUP_PAGES
}

/// Groups that `page_count` pages lie in, and at least the first, which every file has from the beginning.
pub fn groups_for(page_count: u64) -> u32 {
    let groups = page_count.div_ceil(u64::from(GROUP_PAGES)).max(1);
    u32::try_from(groups).expect("callers checked MAX_PAGES")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_blocks_of_a_file_share_a_place() {
        let layout = Layout::new(24).expect("allowed");
        let ring = (0..24).map(|position| layout.ring_offset(position));
        let meta = (0..5).map(|group| layout.meta_offset(group));
        let data = (0..5 * GROUP_PAGES).map(|page| layout.data_offset(page));
        let mut places: Vec<u64> = [0, 4096].into_iter().chain(ring).chain(meta).chain(data).collect();
        places.sort_unstable();
        let expected: Vec<u64> = (0..).step_by(BLOCK_BYTES).take(2 + 24 + 5 * 129).collect();
        assert_eq!(places, expected, "every block has a place and every place a block");
    }

    #[test]
    fn the_end_covers_every_block_in_use_and_no_more() {
        let layout = Layout::DEFAULT;
        assert_eq!(layout.end(0, 0), layout.meta_offset(0));
        assert_eq!(layout.end(1, 1), layout.data_offset(0) + BLOCK_BYTES_U64);
        assert_eq!(layout.end(128, 1), layout.meta_offset(1));
        assert_eq!(layout.end(129, 2), layout.data_offset(128) + BLOCK_BYTES_U64);
        assert_eq!(
            layout.end(1000, 2),
            layout.meta_offset(2),
            "groups never initialized take no space"
        );
    }

    #[test]
    fn a_ring_that_cannot_hold_two_records_and_their_reserve_is_refused() {
        assert_eq!(Layout::new(23), None);
        assert_eq!(Layout::new(513), None);
        assert!(Layout::new(24).is_some() && Layout::new(512).is_some());
    }
}
