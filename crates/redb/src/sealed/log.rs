//! What the next record needs to know.

use std::collections::{BTreeMap, BTreeSet};

use nimbus_crypto::aead::TAG_BYTES;

use super::ring::Ring;
use crate::format::{HEADER_BYTES, Layout, PageSeal, Record};

/// What redb sees, apart from the pages.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct State {
    pub(super) logical_bytes: u64,
    pub(super) groups: u32,
    pub(super) header: [u8; HEADER_BYTES],
}

/// The commits so far. Its lock is the commit lock.
pub(super) struct CommitLog {
    /// The state of the newest record.
    pub(super) durable: State,
    /// The epoch of the newest record.
    pub(super) epoch: u64,
    /// Its tag.
    pub(super) tag: [u8; TAG_BYTES],
    /// The records that an opening would need.
    pub(super) ring: Ring,
    /// The checkpoint epoch that the next record may have, whatever it carries.
    pub(super) checkpoint_epoch: u64,
    /// The pages that the newest record lists.
    pub(super) listed: BTreeSet<u32>,
    /// Pages written since the newest record; `None` when they are too many for a list.
    pub(super) pending: Option<BTreeMap<u32, PageSeal>>,
    /// The smallest length, and number of groups, since the newest record, if the file was made smaller.
    pub(super) lowest: Option<(u64, u32)>,
    /// Whether opening made zeros anew that are not home yet: until they are, the records that they stem from stay needed.
    pub(super) has_remade_zeros: bool,
    /// Whether opening set a record aside that is still in the ring: for want of bytes, which a write could supply.
    pub(super) has_aside: bool,
    /// Whether anything was written since the last sync of the disk.
    pub(super) unsynced: bool,
    /// A copy of the superblock that was found damaged, and what it should hold.
    pub(super) damaged_superblock: Option<(u64, Box<[u8]>)>,
}

impl CommitLog {
    pub(super) fn empty(layout: Layout) -> Self {
        Self {
            durable: State {
                logical_bytes: 0,
                groups: 1,
                header: [0; HEADER_BYTES],
            },
            epoch: 0,
            tag: [0; TAG_BYTES],
            ring: Ring::new(layout, []),
            checkpoint_epoch: 0,
            listed: BTreeSet::new(),
            pending: Some(BTreeMap::new()),
            lowest: None,
            has_remade_zeros: false,
            has_aside: false,
            unsynced: false,
            damaged_superblock: None,
        }
    }

    /// Whether nothing was written, and the length not changed, since the newest record.
    pub(super) fn has_nothing_pending(&self, logical_bytes: u64) -> bool {
        logical_bytes == self.durable.logical_bytes
            && self.lowest.is_none()
            && self.pending.as_ref().is_some_and(BTreeMap::is_empty)
    }

    /// A record of `state`, which is the durable one or the one to come, without pages.
    pub(super) fn record_of(&self, state: &State, lowest: Option<(u64, u32)>, checkpoint_epoch: u64) -> Record {
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
            carried: Vec::new(),
        }
    }
}
