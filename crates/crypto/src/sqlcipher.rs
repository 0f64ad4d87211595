//! The primitives that SQLCipher asks its crypto provider for (SQLCipher design, "Page level"): AES-256-CBC for a
//! page's content, HMAC for its integrity, PBKDF2 for its key. Safe functions over slices; pointers are the business of
//! whoever registers the provider.

mod ahead;
mod cipher;
mod file_pages;
#[cfg(target_arch = "x86_64")]
mod lanes;
mod mac;
mod memo;
mod page;
mod shared_mac;
mod slots;

pub use ahead::{Elsewhere, PagesAhead};
pub use cipher::CipherLength;
pub use file_pages::FilePages;
pub use mac::{HashAlgorithm, PageMac, pbkdf2};
pub use page::PageCrypto;

/// Bytes in a block of AES, and in an initialization vector of CBC.
pub const BLOCK_BYTES: usize = 16;
