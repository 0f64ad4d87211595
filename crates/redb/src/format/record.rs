//! Commit records: what one commit changed, sealed as a whole, in 1 to 64 blocks of the ring.

use nimbus_crypto::SealCipher;
use nimbus_crypto::aead::{NONCE_BYTES, TAG_BYTES};
use nimbus_crypto::random::{RandomError, fill_buffered};

use super::bytes::{Reader, Writer};
use super::entry::PageSeal;
use super::layout::{BLOCK_BYTES, BLOCK_BYTES_U64, Layout, MAX_PAGES, groups_for};

/// Bytes of redb's own header (its page 0) that a record carries; redb uses 320 of them.
pub const HEADER_BYTES: usize = 512;
/// Blocks in the longest record.
pub const MAX_RECORD_BLOCKS: u32 = 64;
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
    /// The records up to this epoch are needed no more: each entry that they name is home, durably, or sealed anew since, or
    /// named by a later record up to this one. If it is this record's own epoch, everything is home.
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
    /// The pages written since the record before, by number. The record is believed only if they are all there.
    pub pages: Vec<(u32, PageSeal)>,
    /// Pages of earlier records, by number, none of them in `pages`: durable before this record was written.
    pub carried: Vec<(u32, PageSeal)>,
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
    /// Blocks that a record takes that names `page_count` pages, listed or carried.
    #[must_use]
    pub fn blocks_for(page_count: usize) -> u32 {
        let bytes = CLEAR_BYTES + FIXED_BYTES + page_count.saturating_mul(LISTED_PAGE_BYTES);
        u32::try_from(bytes.div_ceil(BLOCK_BYTES)).unwrap_or(u32::MAX)
    }

    /// Pages that a record of so many blocks, at least one, names at most.
    #[must_use]
    pub const fn pages_in(blocks: u32) -> usize {
        (blocks as usize * BLOCK_BYTES - CLEAR_BYTES - FIXED_BYTES) / LISTED_PAGE_BYTES
    }

    /// Every page that the record names, listed or carried.
    pub fn named(&self) -> impl Iterator<Item = (u32, PageSeal)> {
        self.pages.iter().chain(&self.carried).copied()
    }

    /// The record's blocks as they are stored from ring block `position` on, and the tag.
    ///
    /// # Errors
    /// [`RandomError`] if there is no randomness for the nonce.
    pub fn encode(&self, cipher: &SealCipher, position: u32) -> Result<(Vec<u8>, [u8; TAG_BYTES]), RandomError> {
        let blocks = Self::blocks_for(self.pages.len() + self.carried.len());
        debug_assert!(blocks <= MAX_RECORD_BLOCKS, "the writer lists no more pages than fit");
        let mut bytes = vec![0; blocks as usize * BLOCK_BYTES];
        let (clear, payload) = bytes.split_at_mut(CLEAR_BYTES);
        self.write_payload(payload);
        let mut nonce = [0; NONCE_BYTES];
        fill_buffered(&mut nonce)?;
        let block_count = u16::try_from(blocks).expect("at most 64");
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
        let place = |step: u32| blocks.get(((position + step) % layout.ring_blocks()) as usize);
        let first = place(0).ok_or(RecordError::NotARecord)?;
        let claim = Claim::of(first).ok_or(RecordError::NotARecord)?;
        let mut bytes = Vec::with_capacity(claim.blocks as usize * BLOCK_BYTES);
        for step in 0..claim.blocks {
            bytes.extend_from_slice(place(step).ok_or(RecordError::NotARecord)?);
        }
        Self::open(cipher, &claim, bytes, position)
    }

    /// Opens the record whose blocks, as many as `claim` says, were read from ring block `position` on.
    ///
    /// # Errors
    /// As [`Self::decode`].
    pub fn open(
        cipher: &SealCipher,
        claim: &Claim,
        mut bytes: Vec<u8>,
        position: u32,
    ) -> Result<SealedRecord, RecordError> {
        let Claim { epoch, blocks, .. } = *claim;
        let payload = bytes.get_mut(CLEAR_BYTES..).ok_or(RecordError::NotARecord)?;
        let block_count = u16::try_from(blocks).expect("read from two bytes");
        cipher
            .open_in_place(&claim.nonce, &aad(epoch, block_count, position), payload, &claim.tag)
            .map_err(|_not_authentic| RecordError::NotARecord)?;
        Ok(SealedRecord {
            record: Self::parse_payload(epoch, payload).ok_or(RecordError::Malformed)?,
            tag: claim.tag,
            position,
            blocks,
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
        for pages in [&self.pages, &self.carried] {
            let count = u32::try_from(pages.len()).expect("at most what fits 64 blocks");
            writer.put(&count.to_le_bytes());
        }
        writer.zeros(4 + 16 + 48);
        writer.put(&self.header);
        for (page, seal) in self.named() {
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
        let listed = usize::try_from(reader.u32()).ok()?;
        let carried = usize::try_from(reader.u32()).ok()?;
        let mut zeros = reader.zeros::<4>();
        zeros &= reader.zeros::<16>();
        zeros &= reader.zeros::<48>();
        let header = reader.array();
        let (listed, rest) = reader.rest().split_at_checked(listed.checked_mul(LISTED_PAGE_BYTES)?)?;
        let (carried, padding) = rest.split_at_checked(carried.checked_mul(LISTED_PAGE_BYTES)?)?;
        let pages = parse_pages(listed, logical_bytes)?;
        let carried = parse_pages(carried, logical_bytes)?;
        let is_listed = |page: &u32| pages.binary_search_by_key(page, |&(listed, _)| listed).is_ok();
        let sound = zeros
            && !carried.iter().any(|(page, _)| is_listed(page))
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
            carried,
        })
    }
}

/// What the clear bytes of a block say of the record that begins there, if one does: nothing of it is authentic yet.
#[derive(Debug, Clone, Copy)]
pub struct Claim {
    /// Its epoch.
    pub epoch: u64,
    /// How many blocks it has: 1 to [`MAX_RECORD_BLOCKS`].
    pub blocks: u32,
    nonce: [u8; NONCE_BYTES],
    tag: [u8; TAG_BYTES],
}

impl Claim {
    /// Reads the first block of a record.
    #[must_use]
    pub fn of(first: &[u8; BLOCK_BYTES]) -> Option<Self> {
        let mut reader = Reader::new(first);
        let magic: [u8; 8] = reader.array();
        let epoch = reader.u64();
        let blocks = u32::from(reader.u16());
        let mut zeros = reader.zeros::<2>();
        let nonce = reader.array();
        let tag = reader.array();
        zeros &= reader.zeros::<16>();
        let plausible = magic == MAGIC && zeros && (1..=MAX_RECORD_BLOCKS).contains(&blocks);
        plausible.then_some(Self {
            epoch,
            blocks,
            nonce,
            tag,
        })
    }

    /// Whether the block begins like a record of `epoch`, whatever follows: one that was torn does too.
    #[must_use]
    pub fn is_begun(first: &[u8; BLOCK_BYTES], epoch: u64) -> bool {
        let mut reader = Reader::new(first);
        reader.array() == MAGIC && reader.u64() == epoch
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
