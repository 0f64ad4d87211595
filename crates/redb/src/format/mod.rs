//! Every structure of the sealed file, as bytes: pure encoding and strict decoding, no disk and no state
//! (docs/format.md, "Sealed redb").

mod bytes;
pub mod entry;
pub mod layout;
pub mod record;
pub mod superblock;

pub use entry::{Entry, Kind, MetaBlock, PageSeal, open_page, seal_page, zero_entry};
pub use layout::{BLOCK_BYTES, BLOCK_BYTES_U64, GROUP_PAGES, Layout, MAX_PAGES};
pub use record::{Claim, HEADER_BYTES, Record, RecordError, SealedRecord};
pub use superblock::{Superblock, SuperblockError};
