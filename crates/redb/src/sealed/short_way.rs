//! Opening a file that was closed: the witness in the first meta block tells where its record is, and that is all there is to
//! read. Where anything is not as a close leaves it, the whole ring is read instead.

use super::error::{Damage, SealedError};
use super::protocol::Protocol;
use super::recovery::missing_part;
use super::volume::Volume;
use crate::disk::Disk;
use crate::format::entry::{WITNESS_PAGE, is_zero};
use crate::format::layout::group_of;
use crate::format::record::Claim;
use crate::format::{BLOCK_BYTES, Kind, MetaBlock, Record, RecordError, SealedRecord};

/// Blocks of the ring that are read together: a closing record of a small file, and the block behind it.
const AWAITED_BLOCKS: usize = 3;

/// The newest record, if the witness names it and no other is needed.
pub(super) fn find<D: Disk, P: Protocol>(volume: &Volume<D>) -> Result<Option<SealedRecord>, SealedError> {
    let first_group = match volume.read_meta(group_of(WITNESS_PAGE)) {
        Ok(block) => block,
        // The long way says what is wrong.
        Err(SealedError::Corrupt(_)) => return Ok(None),
        Err(error) => return Err(error),
    };
    let Some((epoch, position)) = witness(volume, &first_group) else {
        return Ok(None);
    };
    volume
        .disk
        .will_read(volume.layout.ring_offset(position), AWAITED_BLOCKS * BLOCK_BYTES);
    let Some(found) = read_record(volume, position, epoch)? else {
        return Ok(None);
    };
    let is_alone = found.record.pages.is_empty() && found.record.checkpoint_epoch + 1 >= epoch;
    if !is_alone {
        return Ok(None);
    }
    let is_newest = !P::LOOKS_BEYOND_THE_WITNESS || !is_followed(volume, &found)?;
    let is_whole = missing_part(volume, &found.record)?.is_none();
    Ok((is_newest && is_whole).then_some(found))
}

/// The epoch of the witness, and the place that it names, if it is authentic.
fn witness<D: Disk>(volume: &Volume<D>, first_group: &MetaBlock) -> Option<(u64, u32)> {
    let entry = first_group.get(WITNESS_PAGE);
    let position = first_group
        .hint()
        .filter(|&position| position < volume.layout.ring_blocks())?;
    let is_authentic = entry.kind() == Some(Kind::Zero) && is_zero(volume.keys.pages(), WITNESS_PAGE, &entry.seal);
    is_authentic.then(|| (entry.seal.epoch(), position))
}

fn read_record<D: Disk>(volume: &Volume<D>, position: u32, epoch: u64) -> Result<Option<SealedRecord>, SealedError> {
    let first = read_block(volume, position)?;
    let Some(claim) = Claim::of(&first).filter(|claim| claim.epoch == epoch) else {
        return Ok(None);
    };
    let mut bytes = first.to_vec();
    for step in 1..claim.blocks {
        bytes.extend_from_slice(&read_block(volume, position + step)?);
    }
    match Record::open(volume.keys.records(), &claim, bytes, position) {
        Ok(found) => Ok(Some(found)),
        Err(RecordError::NotARecord) => Ok(None),
        Err(RecordError::Malformed) => Err(Damage::MalformedRecord { position }.into()),
    }
}

/// Whether a record was begun after this one, whatever became of it.
fn is_followed<D: Disk>(volume: &Volume<D>, found: &SealedRecord) -> Result<bool, SealedError> {
    for position in [found.position + found.blocks, 0] {
        if Claim::is_begun(&read_block(volume, position)?, found.record.epoch + 1) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn read_block<D: Disk>(volume: &Volume<D>, position: u32) -> Result<[u8; BLOCK_BYTES], SealedError> {
    let mut block = [0; BLOCK_BYTES];
    volume.read(volume.layout.ring_offset(position), &mut block)?;
    Ok(block)
}
