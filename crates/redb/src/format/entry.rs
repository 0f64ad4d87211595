//! Entries, which say how each page is sealed, and the meta blocks that hold 128 of them.

use nimbus_crypto::SealCipher;
use nimbus_crypto::aead::{NONCE_BYTES, NotAuthentic, TAG_BYTES};
use nimbus_crypto::random::{RandomError, fill_buffered};

use super::layout::{BLOCK_BYTES, GROUP_PAGES};

/// Bytes in an entry. A power of two, so that no entry straddles a sector of any disk.
pub const ENTRY_BYTES: usize = 32;

const EPOCH_BYTES: usize = 6;
const KIND_OFFSET: usize = NONCE_BYTES + TAG_BYTES;
/// Of the witness, which is the first entry of the first block.
const HINT_OFFSET: usize = KIND_OFFSET + 1;
/// The page whose entry bears witness of the newest commit. It has no data block: page 0 lives in the record.
pub const WITNESS_PAGE: u32 = 0;
const _: () = assert!(ENTRY_BYTES * GROUP_PAGES as usize == BLOCK_BYTES);

/// What an entry says of its page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The data block holds the page, sealed.
    Data,
    /// The page was never written and reads as zeros; the data block is not looked at.
    Zero,
    /// The page was being written when a crash came. It is free: reading it is an error, writing it heals it.
    Poison,
}

/// Nonce and tag of one sealed page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageSeal {
    /// Bytes 0 to 6: the epoch of the record that this page was written for. Bytes 6 to 12: random.
    pub nonce: [u8; NONCE_BYTES],
    /// The tag of AES-256-GCM-SIV.
    pub tag: [u8; TAG_BYTES],
}

impl PageSeal {
    /// The epoch that the nonce carries.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        epoch_of(&self.nonce)
    }
}

/// One entry as it is stored. The kind stays a byte: one that means nothing is an error of its page alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Nonce and tag.
    pub seal: PageSeal,
    kind: u8,
}

impl Entry {
    /// The entry of a page that is an error to read.
    pub const POISON: Self = Self {
        seal: PageSeal {
            nonce: [0; NONCE_BYTES],
            tag: [0; TAG_BYTES],
        },
        kind: POISON,
    };

    /// The entry of a sealed page.
    #[must_use]
    pub const fn data(seal: PageSeal) -> Self {
        Self { seal, kind: DATA }
    }

    /// What the page is; `None` for a kind that no writer leaves in an initialized group.
    #[must_use]
    pub const fn kind(&self) -> Option<Kind> {
        match self.kind {
            DATA => Some(Kind::Data),
            ZERO => Some(Kind::Zero),
            POISON => Some(Kind::Poison),
            _ => None,
        }
    }

    /// Reserved bytes that are set mean a format that this code does not know.
    fn parse(bytes: &[u8; ENTRY_BYTES]) -> Self {
        let mut entry = Self::parse_with_hint(bytes);
        if !bytes.ends_with(&[0; 3]) {
            entry.kind = INVALID;
        }
        entry
    }

    /// The same of the witness, whose reserved bytes are a hint but for the last.
    fn parse_with_hint(bytes: &[u8; ENTRY_BYTES]) -> Self {
        let whole = "the parts are within the array";
        let (nonce, rest) = bytes.split_first_chunk().expect(whole);
        let (tag, rest) = rest.split_first_chunk().expect(whole);
        let [kind, _, _, reserved] = rest.first_chunk::<4>().expect(whole);
        Self {
            seal: PageSeal {
                nonce: *nonce,
                tag: *tag,
            },
            kind: if *reserved == 0 { *kind } else { INVALID },
        }
    }

    fn to_bytes(self) -> [u8; ENTRY_BYTES] {
        let mut bytes = [0; ENTRY_BYTES];
        let (nonce, rest) = bytes.split_at_mut(NONCE_BYTES);
        nonce.copy_from_slice(&self.seal.nonce);
        rest.split_at_mut(TAG_BYTES).0.copy_from_slice(&self.seal.tag);
        if let Some(kind) = bytes.get_mut(KIND_OFFSET) {
            *kind = self.kind;
        }
        bytes
    }
}

/// 128 entries, one for each page of a group.
#[derive(Clone)]
pub struct MetaBlock(Box<[u8; BLOCK_BYTES]>);

impl MetaBlock {
    /// The block as it was read.
    #[must_use]
    pub const fn from_bytes(bytes: Box<[u8; BLOCK_BYTES]>) -> Self {
        Self(bytes)
    }

    /// The block as it is stored.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; BLOCK_BYTES] {
        &self.0
    }

    /// A group of pages that were never written, as of `epoch`.
    ///
    /// # Errors
    /// [`RandomError`] if there is no randomness for the nonces.
    pub fn zeros(pages: &SealCipher, group: u32, epoch: u64) -> Result<Self, RandomError> {
        let mut block = Self(Box::new([0; BLOCK_BYTES]));
        for page in group * GROUP_PAGES..=group * GROUP_PAGES + (GROUP_PAGES - 1) {
            block.set(page, zero_entry(pages, page, epoch)?);
        }
        Ok(block)
    }

    /// The entry of `page`, whose group this is.
    #[must_use]
    pub fn get(&self, page: u32) -> Entry {
        let bytes = self.bytes(page);
        match page {
            WITNESS_PAGE => Entry::parse_with_hint(bytes),
            _ => Entry::parse(bytes),
        }
    }

    /// Replaces the entry of `page`, whose group this is.
    pub fn set(&mut self, page: u32, entry: Entry) {
        let (entries, _none) = self.0.as_chunks_mut();
        *entries.get_mut(slot(page)).expect("128 entries fill the block") = entry.to_bytes();
    }

    /// Where the witness, in the first block, says that its record begins.
    #[must_use]
    pub fn hint(&self) -> Option<u32> {
        let hint = self
            .bytes(WITNESS_PAGE)
            .get(HINT_OFFSET..)
            .and_then(<[u8]>::first_chunk)?;
        u32::from(u16::from_le_bytes(*hint)).checked_sub(1)
    }

    /// Leaves a witness, with the place in the ring of the record that it is written before.
    pub fn set_witness(&mut self, entry: Entry, position: u32) {
        self.set(WITNESS_PAGE, entry);
        let hint = u16::try_from(position + 1).expect("a ring has at most 512 blocks");
        if let Some(bytes) = self.0.get_mut(HINT_OFFSET..).and_then(<[u8]>::first_chunk_mut) {
            *bytes = hint.to_le_bytes();
        }
    }

    fn bytes(&self, page: u32) -> &[u8; ENTRY_BYTES] {
        let (entries, _none) = self.0.as_chunks();
        entries.get(slot(page)).expect("128 entries fill the block")
    }
}

/// Seals a page into `ciphertext` under a fresh nonce of `epoch`.
///
/// # Errors
/// [`RandomError`] if there is no randomness for the nonce.
pub fn seal_page(
    pages: &SealCipher,
    page: u32,
    epoch: u64,
    plaintext: &[u8],
    ciphertext: &mut [u8],
) -> Result<PageSeal, RandomError> {
    let nonce = fresh_nonce(epoch)?;
    let tag = pages.seal(&nonce, &aad(page, DATA), plaintext, ciphertext);
    Ok(PageSeal { nonce, tag })
}

/// Opens a data block in place.
///
/// # Errors
/// [`NotAuthentic`] if it is not the block that `seal` was made with, at this page.
pub fn open_page(pages: &SealCipher, page: u32, seal: &PageSeal, block: &mut [u8]) -> Result<(), NotAuthentic> {
    pages.open_in_place(&seal.nonce, &aad(page, DATA), block, &seal.tag)
}

/// The entry of a page that reads as zeros, as of `epoch`: the tag of the empty message.
///
/// # Errors
/// [`RandomError`] if there is no randomness for the nonce.
pub fn zero_entry(pages: &SealCipher, page: u32, epoch: u64) -> Result<Entry, RandomError> {
    let nonce = fresh_nonce(epoch)?;
    let tag = pages.seal_in_place(&nonce, &aad(page, ZERO), &mut []);
    Ok(Entry {
        seal: PageSeal { nonce, tag },
        kind: ZERO,
    })
}

/// Whether a zero entry is one that [`zero_entry`] made for this page.
pub fn is_zero(pages: &SealCipher, page: u32, seal: &PageSeal) -> bool {
    pages
        .open_in_place(&seal.nonce, &aad(page, ZERO), &mut [], &seal.tag)
        .is_ok()
}

const INVALID: u8 = 0;
const DATA: u8 = 1;
const ZERO: u8 = 2;
const POISON: u8 = 3;

const fn slot(page: u32) -> usize {
    (page % GROUP_PAGES) as usize
}

/// The page number as 8 bytes, the kind, 7 zero bytes: a page opens only where, and as what, it was sealed.
fn aad(page: u32, kind: u8) -> [u8; 16] {
    (u128::from(page) | u128::from(kind) << 64).to_le_bytes()
}

fn epoch_of(nonce: &[u8; NONCE_BYTES]) -> u64 {
    let mut bytes = [0; 8];
    for (to, from) in bytes.iter_mut().zip(nonce.iter().take(EPOCH_BYTES)) {
        *to = *from;
    }
    u64::from_le_bytes(bytes)
}

fn fresh_nonce(epoch: u64) -> Result<[u8; NONCE_BYTES], RandomError> {
    let mut nonce = [0; NONCE_BYTES];
    let (epoch_part, random_part) = nonce.split_at_mut(EPOCH_BYTES);
    for (to, from) in epoch_part.iter_mut().zip(epoch.to_le_bytes()) {
        *to = from;
    }
    fill_buffered(random_part)?;
    Ok(nonce)
}
