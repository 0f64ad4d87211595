//! The superblock: which file this is, under which key, in which layout. Written once, twice over, and never changed.

use nimbus_crypto::{Dek, FileId, RedbBinding, RedbKeys};

use super::bytes::{Reader, Writer};
use super::layout::{BLOCK_BYTES, GROUP_PAGES, Layout, RING_START};

const MAGIC: [u8; 8] = *b"NMBSRDB2";
const VERSION: u16 = 2;
const CIPHER_AES_256_GCM_SIV: u16 = 1;
const SIGNED_BYTES: usize = 96;

/// What a superblock says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Superblock {
    /// The file's random name, which the keys are bound to.
    pub file_id: FileId,
    /// The generation of the DEK in the manifest.
    pub dek_generation: u64,
    /// Where the blocks lie.
    pub layout: Layout,
}

/// Why a superblock was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SuperblockError {
    /// Not a sealed file, of a later version, or damaged.
    Malformed,
    /// A sealed file, but another one.
    OtherFile {
        /// The id that it bears.
        found: FileId,
    },
    /// This file under another DEK.
    WrongKey,
    /// This file under this DEK, changed by somebody without the key.
    Altered,
}

impl Superblock {
    /// Derives the file's keys from its DEK.
    #[must_use]
    pub fn keys(&self, dek: &Dek) -> RedbKeys {
        dek.redb_keys(&self.file_id, &self.binding())
    }

    /// The block as it is stored, the same in block 0 and block 1.
    #[must_use]
    pub fn encode(&self, keys: &RedbKeys) -> [u8; BLOCK_BYTES] {
        let mut block = [0; BLOCK_BYTES];
        let (signed, rest) = block.split_at_mut(SIGNED_BYTES);
        let mut writer = Writer::new(signed);
        writer.put(&MAGIC);
        writer.put(&self.binding().0);
        writer.put(&self.file_id.0);
        writer.put(&self.dek_generation.to_le_bytes());
        writer.zeros(8);
        writer.put(keys.commitment());
        Writer::new(rest).put(&keys.sign_superblock(signed));
        block
    }

    /// Reads what [`Self::encode`] wrote for the file `expected` under `dek`, and derives the keys.
    ///
    /// # Errors
    /// [`SuperblockError`]: nothing of a refused superblock is believed but the id it bears.
    pub fn decode(block: &[u8; BLOCK_BYTES], dek: &Dek, expected: FileId) -> Result<(Self, RedbKeys), SuperblockError> {
        let mut reader = Reader::new(block);
        let magic: [u8; 8] = reader.array();
        let binding: [u8; RedbBinding::BYTES] = reader.array();
        let file_id = FileId(reader.array());
        let dek_generation = reader.u64();
        let zeros = reader.zeros::<8>();
        let commitment = reader.array();
        let mac = reader.array();
        let rest_is_zero = reader.rest().iter().all(|&byte| byte == 0);
        let layout = parse_binding(&binding).filter(|_| magic == MAGIC && zeros && rest_is_zero);
        let layout = layout.ok_or(SuperblockError::Malformed)?;
        if file_id != expected {
            return Err(SuperblockError::OtherFile { found: file_id });
        }
        let superblock = Self {
            file_id,
            dek_generation,
            layout,
        };
        let keys = superblock.keys(dek);
        if !keys.matches(&commitment) {
            return Err(SuperblockError::WrongKey);
        }
        let signed = block.first_chunk::<SIGNED_BYTES>().expect("a block is longer");
        if !keys.verify_superblock(signed, &mac) {
            return Err(SuperblockError::Altered);
        }
        Ok((superblock, keys))
    }

    /// Bytes 8 to 32, which the keys are bound to.
    fn binding(&self) -> RedbBinding {
        let mut binding = [0; RedbBinding::BYTES];
        let mut writer = Writer::new(&mut binding);
        writer.put(&VERSION.to_le_bytes());
        writer.put(&CIPHER_AES_256_GCM_SIV.to_le_bytes());
        let block_bytes = u32::try_from(BLOCK_BYTES).expect("4096");
        for field in [
            block_bytes,
            GROUP_PAGES,
            RING_START,
            self.layout.ring_blocks(),
            self.layout.data_start(),
        ] {
            writer.put(&field.to_le_bytes());
        }
        RedbBinding(binding)
    }
}

/// The layout, if every other field is the one that this code knows.
fn parse_binding(binding: &[u8; RedbBinding::BYTES]) -> Option<Layout> {
    let mut reader = Reader::new(binding);
    let known = reader.u16() == VERSION
        && reader.u16() == CIPHER_AES_256_GCM_SIV
        && usize::try_from(reader.u32()) == Ok(BLOCK_BYTES)
        && reader.u32() == GROUP_PAGES
        && reader.u32() == RING_START;
    if !known {
        return None;
    }
    let layout = Layout::new(reader.u32())?;
    (reader.u32() == layout.data_start()).then_some(layout)
}
