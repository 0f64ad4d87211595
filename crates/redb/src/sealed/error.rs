//! What can be wrong with a sealed file, or be asked of it wrongly. Without its path: the engine adds that.

use std::io;

use nimbus_crypto::{FileId, RandomError};

/// A failure of a sealed file.
#[derive(Debug, thiserror::Error)]
pub enum SealedError {
    /// The file was made under another DEK.
    #[error("the file is sealed under another key")]
    WrongKey,
    /// The file is a sealed one, but not the one that was expected.
    #[error("the file bears the id {:032x}", u128::from_be_bytes(found.0))]
    OtherFile {
        /// The id in its superblock.
        found: FileId,
    },
    /// The file was damaged or changed.
    #[error("{0}")]
    Corrupt(#[from] Damage),
    /// The system refused to read, write or sync.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The system gave no randomness for a nonce.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// An earlier commit failed half-way: what the disk holds is known only after the file is opened again.
    #[error("an earlier commit failed; the file must be opened again")]
    Failed,
    /// A read, write or length beyond what the file has or can have.
    #[error("{bytes} bytes at {offset} lie beyond the end of the file")]
    BeyondEnd {
        /// Where it begins.
        offset: u64,
        /// How long it is.
        bytes: u64,
    },
    /// A write or length that is not made of whole pages, nor a write of redb's header.
    #[error("{bytes} bytes at {offset} are neither whole pages nor the header")]
    Unaligned {
        /// Where it begins.
        offset: u64,
        /// How long it is.
        bytes: u64,
    },
}

/// Where a file was found damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// Neither copy of the superblock is whole.
    #[error("both copies of the superblock are damaged, or the file is not a sealed database")]
    Superblock,
    /// No record in the ring authenticates.
    #[error("the commit ring holds no record")]
    NoRecord,
    /// A record authenticates but says what no writer says, or is of a later format.
    #[error("the record at ring block {position} is not well formed")]
    MalformedRecord {
        /// Its first block.
        position: u32,
    },
    /// Two records of one epoch: old ring blocks were put back.
    #[error("the commit ring holds two records of epoch {epoch}")]
    DuplicateEpoch {
        /// The epoch.
        epoch: u64,
    },
    /// A record that is needed is missing, or is not the one that its successor names.
    #[error("the record of epoch {epoch} is missing from the commit ring")]
    BrokenChain {
        /// The epoch of the missing record.
        epoch: u64,
    },
    /// A meta block is missing.
    #[error("the meta block of group {group} is missing")]
    MetaBlock {
        /// The group.
        group: u32,
    },
    /// A page was sealed for a record that the ring does not hold: records were removed.
    #[error("page {page} is of epoch {found}, but the newest record is of epoch {accepted}: records were lost")]
    LostRecords {
        /// The page.
        page: u32,
        /// The epoch that it was sealed for.
        found: u64,
        /// The epoch of the newest record.
        accepted: u64,
    },
    /// A page does not authenticate.
    #[error("page {page} does not authenticate")]
    Page {
        /// The page.
        page: u32,
    },
    /// redb found its own structures broken.
    #[error("the database inside is not well formed")]
    Database,
}

impl From<SealedError> for io::Error {
    fn from(error: SealedError) -> Self {
        let kind = match error {
            SealedError::Io(error) => return error,
            SealedError::WrongKey | SealedError::OtherFile { .. } | SealedError::Corrupt(_) => {
                io::ErrorKind::InvalidData
            }
            SealedError::BeyondEnd { .. } => io::ErrorKind::UnexpectedEof,
            SealedError::Unaligned { .. } => io::ErrorKind::InvalidInput,
            SealedError::Random(_) | SealedError::Failed => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}
