//! Opening: which record is the newest that can be believed, and what of it is not home yet. Changes no byte, so that it
//! may be cut short and begun again any number of times.

use std::collections::{BTreeMap, BTreeSet};

use nimbus_crypto::{Dek, FileId, RedbKeys};

use super::closing::CLOSING_COMMITS;
use super::commit::tail_of;
use super::error::{Damage, SealedError};
use super::log::{CommitLog, State};
use super::meta::MetaCache;
use super::protocol::Protocol;
use super::ring::{Needed, Ring};
use super::short_way;
use super::volume::Volume;
use crate::disk::Disk;
use crate::format::layout::group_of;
use crate::format::record::Claim;
use crate::format::{
    BLOCK_BYTES, BLOCK_BYTES_U64, Layout, MetaBlock, PageSeal, Record, RecordError, SealedRecord, Superblock,
    SuperblockError,
};

/// Pages that are read ahead at most.
const AWAITED_PAGES: usize = 64;

/// A superblock that was found, with the keys it is authentic under.
pub(super) struct FoundSuperblock {
    pub(super) superblock: Superblock,
    pub(super) keys: RedbKeys,
    /// The offset of the copy that is damaged, and what it should hold.
    pub(super) damaged_copy: Option<(u64, Box<[u8]>)>,
}

/// The file as of its last commit.
pub(super) struct Recovered {
    pub(super) log: CommitLog,
    pub(super) meta: MetaCache,
    pub(super) rolled_back: bool,
    /// What was accepted.
    pub(super) newest: SealedRecord,
}

/// Has the disk begin with what opening reads of a file with the usual ring, all at once: read piece by piece each piece
/// waits for the disk. Reads only, and only a hint: what comes of it is read again, and authenticated, by whoever opens the file.
pub fn will_open<D: Disk>(disk: &D) {
    // The superblock, twice, and the first block of the ring.
    disk.will_read(0, 3 * BLOCK_BYTES);
    disk.will_read(Layout::DEFAULT.meta_offset(0), BLOCK_BYTES);
}

/// Reads the superblock, from either copy.
pub(super) fn read_superblock<D: Disk>(disk: &D, dek: &Dek, expected: FileId) -> Result<FoundSuperblock, SealedError> {
    let [first, second] = &read_superblock_copies(disk)?;
    let (found, damaged_at) = match Superblock::decode(first, dek, expected) {
        // Both copies are written with the same bytes.
        Ok(found) => (found, (first != second).then_some(BLOCK_BYTES_U64)),
        Err(first) => match Superblock::decode(second, dek, expected) {
            Ok(found) => (found, Some(0)),
            Err(second) => return Err(refusal(first, second)),
        },
    };
    let (superblock, keys) = found;
    let damaged_copy = damaged_at.map(|offset| (offset, superblock.encode(&keys).to_vec().into_boxed_slice()));
    Ok(FoundSuperblock {
        superblock,
        keys,
        damaged_copy,
    })
}

/// What lies where the superblock should, twice.
pub(super) fn read_superblock_copies<D: Disk>(disk: &D) -> Result<[[u8; BLOCK_BYTES]; 2], SealedError> {
    let mut copies = [[0; BLOCK_BYTES]; 2];
    disk.read_at(0, copies.as_flattened_mut())?;
    Ok(copies)
}

/// Finds the last commit.
pub(super) fn recover<D: Disk, P: Protocol>(
    volume: &Volume<D>,
    cached_meta_blocks: usize,
) -> Result<Recovered, SealedError> {
    let closed = if P::TAKES_THE_SHORT_WAY {
        short_way::find::<D, P>(volume)?
    } else {
        None
    };
    let mut records = match closed {
        Some(newest) => BTreeMap::from([(newest.record.epoch, newest)]),
        None => read_ring(volume)?,
    };
    will_read_newest(volume, &records);
    let (accepted, rolled_back) = accept::<D, P>(volume, &records)?;
    let epoch = accepted.record.epoch;
    let needed = chain(&records, accepted)?;
    let meta = MetaCache::new(accepted.record.groups, epoch, cached_meta_blocks, P::JUDGES_EPOCHS);
    replay::<D, P>(volume, &meta, &needed)?;
    let has_remade_zeros = !meta.is_clean();
    // Records can be removed without a key. Groups that only a later record initialized, and the first, which is the
    // one that is written most, are asked for proof of that even if redb will not look at them.
    meta.look_at(volume, 0)?;
    meta.look_beyond(volume, accepted.record.groups)?;
    let record = &accepted.record;
    let log = CommitLog {
        durable: State {
            logical_bytes: record.logical_bytes,
            groups: record.groups,
            header: record.header,
        },
        epoch,
        tag: accepted.tag,
        ring: Ring::new(volume.layout, needed.into_iter().map(Needed::from)),
        checkpoint_epoch: record.checkpoint_epoch,
        listed: record.pages.iter().map(|&(page, _)| page).collect(),
        has_remade_zeros,
        has_aside: rolled_back,
        ..CommitLog::empty(volume.layout)
    };
    let newest = records.remove(&epoch).expect("it was accepted");
    Ok(Recovered {
        log,
        meta,
        rolled_back,
        newest,
    })
}

/// Writes what was accepted once more, as it is: the record, the pages that it lists, and what makes the file as long as it says.
/// Older records are durable, or the newest would not have been written.
///
/// After a failed sync Linux takes what it could not write for written. It goes on giving it, from memory, until it forgets
/// it, and the next sync, of whatever process, has nothing to do and succeeds. What was read may be such a thing; written again it
/// is not: a sync that succeeds then means what it says. The record and its pages are authenticated once more: they may have been forgotten
/// since they were accepted, and then what is left is to be accepted in their place.
pub(super) fn write_again<D: Disk>(volume: &Volume<D>, newest: &SealedRecord) -> Result<(), SealedError> {
    let record = &newest.record;
    let bytes = volume.read_ring_blocks(newest.position, newest.blocks)?;
    let first = bytes.first_chunk().and_then(Claim::of);
    let found =
        first.and_then(|claim| Record::open(volume.keys.records(), &claim, bytes.clone(), newest.position).ok());
    if found.is_none_or(|found| found.tag != newest.tag) {
        return Err(Damage::BrokenChain { epoch: record.epoch }.into());
    }
    volume.write_ring_blocks(newest.position, &bytes)?;
    let mut block = [0; BLOCK_BYTES];
    for &(page, seal) in &record.pages {
        let offset = volume.layout.data_offset(page);
        volume.read(offset, &mut block)?;
        // Opened in a copy: what is written is the ciphertext that was authenticated, whatever the disk gives later.
        volume.open(page, &seal, &mut block.clone())?;
        volume.disk.write_at(offset, &block)?;
    }
    if record.groups > record.lowest_groups {
        // The file may end within it: it is made anew whatever it holds (`remake_zeros`), and only its place counts (`missing_part`).
        let offset = volume.layout.meta_offset(record.groups - 1);
        volume.read(offset, &mut block)?;
        volume.disk.write_at(offset, &block)?;
    }
    Ok(())
}

/// Every record in the ring, by epoch.
pub(super) fn read_ring<D: Disk>(volume: &Volume<D>) -> Result<BTreeMap<u64, SealedRecord>, SealedError> {
    let layout = volume.layout;
    let mut ring = vec![0; layout.ring_blocks() as usize * BLOCK_BYTES];
    volume.read(layout.ring_offset(0), &mut ring)?;
    let mut records = BTreeMap::new();
    for position in 0..layout.ring_blocks() {
        match Record::decode(volume.keys.records(), layout, &ring, position) {
            Ok(found) => {
                let epoch = found.record.epoch;
                if records.insert(epoch, found).is_some() {
                    return Err(Damage::DuplicateEpoch { epoch }.into());
                }
            }
            Err(RecordError::NotARecord) => {}
            Err(RecordError::Malformed) => return Err(Damage::MalformedRecord { position }.into()),
        }
    }
    Ok(records)
}

/// Has the disk begin with what redb asks for first: what the commits wrote with which it closed, or which it checks after a
/// crash. One by one each page would wait for the disk.
fn will_read_newest<D: Disk>(volume: &Volume<D>, records: &BTreeMap<u64, SealedRecord>) {
    let Some((&newest, _)) = records.last_key_value() else {
        return;
    };
    let is_late = |&(_, seal): &(u32, PageSeal)| seal.epoch() + CLOSING_COMMITS >= newest;
    let pages: BTreeSet<u32> = records
        .range(newest.saturating_sub(CLOSING_COMMITS)..)
        .flat_map(|(_, found)| found.record.named().filter(is_late).map(|(page, _)| page))
        .take(AWAITED_PAGES)
        .collect();
    let pages: Vec<u32> = pages.into_iter().collect();
    for run in pages.chunk_by(|&page, &next| next == page + 1 && group_of(page) == group_of(next)) {
        let &[first, ..] = run else { continue };
        let bytes = run.len() * BLOCK_BYTES;
        volume.disk.will_read(volume.layout.data_offset(first), bytes);
    }
}

/// The newest record all of which is there, and whether a newer one was set aside.
fn accept<'a, D: Disk, P: Protocol>(
    volume: &Volume<D>,
    records: &'a BTreeMap<u64, SealedRecord>,
) -> Result<(&'a SealedRecord, bool), SealedError> {
    let (&epoch, newest) = records.last_key_value().ok_or(Damage::NoRecord)?;
    if !P::VERIFIES_NEWEST || missing_part(volume, &newest.record)?.is_none() {
        return Ok((newest, false));
    }
    // Only a crash within the last commit leaves it in part, and then the commit before it is untouched.
    let before = records
        .get(&(epoch - 1))
        .filter(|before| before.tag == newest.record.previous_tag)
        .ok_or(Damage::BrokenChain { epoch: epoch - 1 })?;
    if let Some(damage) = missing_part(volume, &before.record)? {
        return Err(damage.into());
    }
    Ok((before, true))
}

/// What the record promises and the disk does not hold: the place of its last group, or the first page of its list that
/// does not authenticate.
pub(super) fn missing_part<D: Disk>(volume: &Volume<D>, record: &Record) -> Result<Option<Damage>, SealedError> {
    // The meta block of a group goes home with the first record that counts it, so a durable record has none beyond the end
    // of the file; and replaying takes memory for each.
    let last_group = record.groups - 1;
    if volume.disk.len()? <= volume.layout.meta_offset(last_group) {
        return Ok(Some(Damage::MetaBlock { group: last_group }));
    }
    for (page, seal) in &record.pages {
        if !volume.holds(*page, seal)? {
            return Ok(Some(Damage::Page { page: *page }));
        }
    }
    Ok(None)
}

/// The records that are needed, oldest first, up to the accepted one.
fn chain<'a>(
    records: &'a BTreeMap<u64, SealedRecord>,
    accepted: &'a SealedRecord,
) -> Result<Vec<&'a SealedRecord>, SealedError> {
    let mut newest_first = vec![accepted];
    let mut next = accepted;
    while next.record.epoch - 1 > accepted.record.checkpoint_epoch {
        let epoch = next.record.epoch - 1;
        next = records
            .get(&epoch)
            .filter(|found| found.tag == next.record.previous_tag)
            .ok_or(Damage::BrokenChain { epoch })?;
        newest_first.push(next);
    }
    newest_first.reverse();
    Ok(newest_first)
}

/// Notes what the needed records say, which may not be home: the pages that they name, without reading meta blocks, and the
/// zeros that they began with. What a later record cut off is left out: its meta block may be gone from the disk.
fn replay<D: Disk, P: Protocol>(
    volume: &Volume<D>,
    meta: &MetaCache,
    needed: &[&SealedRecord],
) -> Result<(), SealedError> {
    for (index, found) in needed.iter().enumerate() {
        let record = &found.record;
        if record.checkpoint_epoch == record.epoch {
            // Everything was home before it was written, the groups and zeros that it begins with too. Only the first needed
            // record can be such a one.
            continue;
        }
        if record.shrunk && P::DROPS_WHAT_IS_CUT {
            meta.cut_away(record.lowest_bytes / BLOCK_BYTES_U64, record.lowest_groups);
        }
        meta.set_away(&record.carried);
        meta.set_away(&record.pages);
        // Groups that a later record cut off again may be gone from the disk; those that it then made are its own to make anew.
        let later = needed.iter().skip(index + 1);
        let later_groups = later.map(|found| found.record.lowest_groups).min().unwrap_or(u32::MAX);
        if P::REMAKES_ZEROS {
            remake_zeros(volume, meta, record, later_groups)?;
        }
    }
    Ok(())
}

/// Groups, and zeros where the file was made smaller, as the record found them: they go home in the sync that is for the
/// record, and may not have come there. Whatever was written in their place since is away.
fn remake_zeros<D: Disk>(
    volume: &Volume<D>,
    meta: &MetaCache,
    record: &Record,
    later_groups: u32,
) -> Result<(), SealedError> {
    for group in record.lowest_groups..record.groups.min(later_groups) {
        meta.put(group, MetaBlock::zeros(volume.keys.pages(), group, record.epoch)?);
    }
    let lowest = record.lowest_bytes / BLOCK_BYTES_U64;
    let tail = tail_of(lowest, record.lowest_groups.min(later_groups)).filter(|_| record.shrunk);
    tail.map_or(Ok(()), |first| meta.zero_tail(volume, first, record.epoch))
}

/// What to say of a file neither of whose superblocks is believed: what both agree on, else that it is damaged.
fn refusal(first: SuperblockError, second: SuperblockError) -> SealedError {
    match (first, second) {
        (SuperblockError::OtherFile { found }, SuperblockError::OtherFile { found: again }) if found == again => {
            SealedError::OtherFile { found }
        }
        (SuperblockError::WrongKey, SuperblockError::WrongKey) => SealedError::WrongKey,
        _ => Damage::Superblock.into(),
    }
}
