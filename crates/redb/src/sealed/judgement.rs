//! Entries that are newer than the record that an opening accepted: what a crash left of a commit that did not happen, or proof
//! that the newest records were taken away.

use super::error::{Damage, SealedError};
use super::volume::Volume;
use crate::disk::Disk;
use crate::format::entry::is_zero;
use crate::format::{Entry, GROUP_PAGES, Kind, MetaBlock};

/// Replaces by poison what is newer than the record of epoch `accepted`, and tells whether there was any: the block then differs from
/// the disk's.
///
/// A crash leaves entries of the one epoch after the accepted one, or, where single bytes of the disk are old and
/// new, of any epoch, but then without a page that fits. A page that does authenticate under a later epoch was
/// committed: its record was removed.
pub(super) fn judge<D: Disk>(
    volume: &Volume<D>,
    group: u32,
    block: &mut MetaBlock,
    accepted: u64,
) -> Result<bool, SealedError> {
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

fn authenticates<D: Disk>(volume: &Volume<D>, page: u32, entry: &Entry) -> Result<bool, SealedError> {
    match entry.kind() {
        Some(Kind::Data) => volume.holds(page, &entry.seal),
        Some(Kind::Zero) => Ok(is_zero(volume.keys.pages(), page, &entry.seal)),
        Some(Kind::Poison) | None => Ok(false),
    }
}
