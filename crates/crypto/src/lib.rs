//! Keys as types, the AEAD that wraps them, and the primitives of the SQLCipher provider: everything of nimbus that
//! touches a key in the clear.
//!
//! The way a key takes, each arrow a one-way derivation (HKDF-SHA256, see [`mod@derive`]) or an AEAD:
//!
//! ```text
//! MasterKey  --(salt, descriptor)-->  WrappingKey  ==wraps==>  WrappedDek (92 bytes, in the manifest)
//! SubjectKey --(salt, descriptor)--^       |
//!                                       unwraps
//!                                          v
//!                                         Dek  --(salt)-->     commitment      (in the manifest)
//!                                          |  --(file id)-->  ManifestMacKey  (HMAC-SHA256 over the manifest)
//!                                          |  --(file id)-->  SqlcipherKey    (the raw key of the database)
//!                                          |  --(file id, superblock fields)-->  RedbKeys  (pages, records, superblock)
//! ```
//!
//! No type here is `Clone`, `Debug`, or convertible into bytes; what reveals a secret is called `expose_`. Keys lie in
//! locked memory that stays out of core dumps and swap ([`locked`]) and are wiped on drop. The crate does no I/O but for
//! the operating system's randomness, and has no clock.

#![deny(unsafe_code)]
#![deny(missing_docs)]

/// Compiles only if the library that owns each type wipes it on drop: a feature that gets lost must not go unnoticed.
macro_rules! assert_wipes_itself {
    ($($type:ty),+) => {
        const _: () = {
            const fn wipes_itself<T: zeroize::ZeroizeOnDrop>() {}
            $(wipes_itself::<$type>();)+
        };
    };
}

pub mod aead;
mod constant_time;
pub mod content_hash;
pub mod dek;
pub mod derive;
pub mod id;
mod keyed_hash;
pub mod kms_message;
pub mod locked;
pub mod manifest_mac;
pub mod master_key;
pub mod random;
pub mod redb_keys;
pub mod seal_cipher;
pub mod sqlcipher;
pub mod sqlcipher_key;
pub mod wrapping;

pub use content_hash::ContentHash;
pub use dek::Dek;
pub use id::{FileId, KeyId, Salt};
pub use kms_message::KmsMessageError;
pub use locked::{LockStatus, LockedBox, LockedBytes, lock_status};
pub use manifest_mac::ManifestMacKey;
pub use master_key::{AllZeroKey, MasterKey, SubjectKey};
pub use random::RandomError;
pub use redb_keys::{RedbBinding, RedbKeys};
pub use seal_cipher::SealCipher;
pub use sqlcipher_key::{SqlcipherKey, hex_digit};
pub use wrapping::{Header, HeaderLength, UnwrapError, WrappedDek, WrappedDekLength, WrappingKey};

/// Bytes in every symmetric key of this crate.
pub const KEY_BYTES: usize = 32;
