//! Commit records: what one commit changed, sealed as a whole, in 1 to 16 blocks of the ring.

use nimbus_crypto::SealCipher;
use nimbus_crypto::aead::{NONCE_BYTES, TAG_BYTES};
use nimbus_crypto::random::{RandomError, fill_buffered};

use super::bytes::{Reader, Writer};
use super::entry::PageSeal;
use super::layout::{BLOCK_BYTES, BLOCK_BYTES_U64, Layout, MAX_PAGES, groups_for};

/// Bytes of redb's own header (its page 0) that a record carries; redb uses 320 of them.
pub const HEADER_BYTES: usize = 512;
/// Blocks in the longest record.
pub const MAX_RECORD_BLOCKS: u32 = 16;
/// Epochs stop where the 48 bits in a nonce do: after a commit every microsecond for nine years.
pub const MAX_EPOCH: u64 = (1 << 48) - 3;

const MAGIC: [u8; 8] = *b"NMBREC2\0";
const CLEAR_BYTES: usize = 64;
const FIXED_BYTES: usize = 640;
const LISTED_PAGE_BYTES: usize = 32;
const FLAG_SHRUNK: u32 = 1;

/// The state of the file after one commit, and how to get there from the one before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Counts commits, from 1.
    pub epoch: u64,
    /// The tag of the record before this one.
    pub previous_tag: [u8; TAG_BYTES],
    /// Every change of the records up to this epoch is in its meta block, durably. If it is this record's own epoch,
    /// there is nothing to replay.
    pub checkpoint_epoch: u64,
    /// Bytes that redb sees.
    pub logical_bytes: u64,
    /// The smallest that `logical_bytes` was since the record before.
    pub lowest_bytes: u64,
    /// Groups whose meta block means something; pages of later ones read as zeros.
    pub groups: u32,
    /// The smallest that `groups` was since the record before.
    pub lowest_groups: u32,
    /// Whether `logical_bytes` was ever made smaller since the record before.
    pub shrunk: bool,
    /// redb's page 0.
    pub header: [u8; HEADER_BYTES],
    /// The pages written since the record before, by number.
    pub pages: Vec<(u32, PageSeal)>,
}

/// A record found in the ring.
#[derive(Debug)]
pub struct SealedRecord {
    /// What it says.
    pub record: Record,
    /// Its tag, which the next record names.
    pub tag: [u8; TAG_BYTES],
    /// Its first block.
    pub position: u32,
    /// How many blocks it has.
    pub blocks: u32,
}

/// Why blocks of the ring are not a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordError {
    /// Never written, torn, overwritten in part, or not sealed for this place under this key.
    NotARecord,
    /// Sealed under this key, but of a later format, or by a writer that is broken.
    Malformed,
}

impl Record {
    /// Blocks that a record of `page_count` pages takes.
    #[must_use]
    pub fn blocks_for(page_count: usize) -> u32 {
        let bytes = CLEAR_BYTES + FIXED_BYTES + page_count.saturating_mul(LISTED_PAGE_BYTES);
        u32::try_from(bytes.div_ceil(BLOCK_BYTES)).unwrap_or(u32::MAX)
    }

    /// The record's blocks as they are stored from ring block `position` on, and the tag.
    ///
    /// # Errors
    /// [`RandomError`] if there is no randomness for the nonce.
    pub fn encode(&self, cipher: &SealCipher, position: u32) -> Result<(Vec<u8>, [u8; TAG_BYTES]), RandomError> {
        let blocks = Self::blocks_for(self.pages.len());
        debug_assert!(blocks <= MAX_RECORD_BLOCKS, "the writer lists no more pages than fit");
        let mut bytes = vec![0; blocks as usize * BLOCK_BYTES];
        let (clear, payload) = bytes.split_at_mut(CLEAR_BYTES);
        self.write_payload(payload);
        let mut nonce = [0; NONCE_BYTES];
        fill_buffered(&mut nonce)?;
        let block_count = u16::try_from(blocks).expect("at most 16");
        let aad = aad(self.epoch, block_count, position);
        let tag = cipher.seal_in_place(&nonce, &aad, payload);
        let mut writer = Writer::new(clear);
        writer.put(&MAGIC);
        writer.put(&self.epoch.to_le_bytes());
        writer.put(&block_count.to_le_bytes());
        writer.zeros(2);
        writer.put(&nonce);
        writer.put(&tag);
        Ok((bytes, tag))
    }

    /// Reads the record that begins at block `position` of `ring`, which is the whole ring.
    ///
    /// # Errors
    /// [`RecordError`]; a record that does not authenticate is [`RecordError::NotARecord`].
    pub fn decode(
        cipher: &SealCipher,
        layout: Layout,
        ring: &[u8],
        position: u32,
    ) -> Result<SealedRecord, RecordError> {
        let blocks = ring.as_chunks::<BLOCK_BYTES>().0;
        let first = blocks.get(position as usize).ok_or(RecordError::NotARecord)?;
        let mut reader = Reader::new(first);
        let magic: [u8; 8] = reader.array();
        let epoch = reader.u64();
        let block_count = reader.u16();
        let mut zeros = reader.zeros::<2>();
        let nonce: [u8; NONCE_BYTES] = reader.array();
        let tag: [u8; TAG_BYTES] = reader.array();
        zeros &= reader.zeros::<16>();
        let plausible = magic == MAGIC && zeros && (1..=MAX_RECORD_BLOCKS).contains(&u32::from(block_count));
        if !plausible {
            return Err(RecordError::NotARecord);
        }
        let mut payload = Vec::with_capacity(usize::from(block_count) * BLOCK_BYTES);
        payload.extend_from_slice(reader.rest());
        for step in 1..u32::from(block_count) {
            let index = (position + step) % layout.ring_blocks();
            payload.extend_from_slice(blocks.get(index as usize).ok_or(RecordError::NotARecord)?);
        }
        cipher
            .open_in_place(&nonce, &aad(epoch, block_count, position), &mut payload, &tag)
            .map_err(|_not_authentic| RecordError::NotARecord)?;
        Ok(SealedRecord {
            record: Self::parse_payload(epoch, &payload).ok_or(RecordError::Malformed)?,
            tag,
            position,
            blocks: u32::from(block_count),
        })
    }

    fn write_payload(&self, payload: &mut [u8]) {
        let mut writer = Writer::new(payload);
        writer.put(&self.previous_tag);
        writer.put(&self.checkpoint_epoch.to_le_bytes());
        writer.put(&self.logical_bytes.to_le_bytes());
        writer.put(&self.lowest_bytes.to_le_bytes());
        writer.put(&self.groups.to_le_bytes());
        writer.put(&self.lowest_groups.to_le_bytes());
        writer.put(&if self.shrunk { FLAG_SHRUNK } else { 0 }.to_le_bytes());
        let count = u32::try_from(self.pages.len()).expect("at most what fits 16 blocks");
        writer.put(&count.to_le_bytes());
        writer.zeros(8 + 16 + 48);
        writer.put(&self.header);
        for (page, seal) in &self.pages {
            writer.put(&page.to_le_bytes());
            writer.put(&seal.nonce);
            writer.put(&seal.tag);
        }
    }

    /// Strict: whatever the writer could not have written is refused, though it carries a good tag.
    fn parse_payload(epoch: u64, payload: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(payload);
        let previous_tag = reader.array();
        let checkpoint_epoch = reader.u64();
        let logical_bytes = reader.u64();
        let lowest_bytes = reader.u64();
        let groups = reader.u32();
        let lowest_groups = reader.u32();
        let flags = reader.u32();
        let count = usize::try_from(reader.u32()).ok()?;
        let mut zeros = reader.zeros::<8>();
        zeros &= reader.zeros::<16>();
        zeros &= reader.zeros::<48>();
        let header = reader.array();
        let (listed, padding) = reader.rest().split_at_checked(count.checked_mul(LISTED_PAGE_BYTES)?)?;
        let pages = parse_pages(listed, logical_bytes)?;
        let sound = zeros
            && padding.iter().all(|&byte| byte == 0)
            && flags & !FLAG_SHRUNK == 0
            && (1..=MAX_EPOCH).contains(&epoch)
            && checkpoint_epoch <= epoch
            && logical_bytes.is_multiple_of(BLOCK_BYTES_U64)
            && lowest_bytes.is_multiple_of(BLOCK_BYTES_U64)
            && logical_bytes / BLOCK_BYTES_U64 <= MAX_PAGES
            && lowest_bytes <= logical_bytes
            && groups <= groups_for(logical_bytes / BLOCK_BYTES_U64)
            && (1..=groups).contains(&lowest_groups);
        sound.then_some(Self {
            epoch,
            previous_tag,
            checkpoint_epoch,
            logical_bytes,
            lowest_bytes,
            groups,
            lowest_groups,
            shrunk: flags & FLAG_SHRUNK != 0,
            header,
            pages,
        })
    }
}

/// Ascending page numbers within the file, none of them page 0, which the record itself carries.
fn parse_pages(listed: &[u8], logical_bytes: u64) -> Option<Vec<(u32, PageSeal)>> {
    let mut pages = Vec::with_capacity(listed.len() / LISTED_PAGE_BYTES);
    let mut last = 0;
    for bytes in listed.as_chunks::<LISTED_PAGE_BYTES>().0 {
        let mut reader = Reader::new(bytes);
        let page = reader.u32();
        if page <= last || u64::from(page) >= logical_bytes / BLOCK_BYTES_U64 {
            return None;
        }
        last = page;
        let nonce = reader.array();
        let tag = reader.array();
        pages.push((page, PageSeal { nonce, tag }));
    }
    Some(pages)
}

/// Bytes 0 to 20 as they are stored, and the position in the ring, so that a record cannot be moved.
fn aad(epoch: u64, blocks: u16, position: u32) -> [u8; 28] {
    let mut aad = [0; 28];
    let mut writer = Writer::new(&mut aad);
    writer.put(&MAGIC);
    writer.put(&epoch.to_le_bytes());
    writer.put(&blocks.to_le_bytes());
    writer.zeros(2);
    writer.put(&u64::from(position).to_le_bytes());
    aad
}
