//! Names that are not secret: which key, which file, which salt. Types of their own, so that none is passed for another.

use std::fmt;

/// Which key file made a wrapped DEK: derived from the key, reveals nothing about it, and is stored in the manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeyId(pub [u8; Self::BYTES]);

impl KeyId {
    /// Bytes in a key id.
    pub const BYTES: usize = 16;
}

/// Lower-case hexadecimal, 32 digits: the form in the manifest.
impl fmt::Display for KeyId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

/// Which file a DEK is used for: random, chosen anew with every DEK. For SQLCipher it is also the salt, the first 16
/// bytes of the database file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileId(pub [u8; Self::BYTES]);

impl FileId {
    /// Bytes in a file id.
    pub const BYTES: usize = 16;
}

/// The public, random salt of one manifest slot, which makes its wrapping key and commitment unlike those of any other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Salt(pub [u8; Self::BYTES]);

impl Salt {
    /// Bytes in a salt.
    pub const BYTES: usize = 32;
}
