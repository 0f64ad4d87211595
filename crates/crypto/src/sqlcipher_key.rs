//! The raw key of one SQLCipher file, in the form that `sqlite3_key` takes.

use crate::sqlcipher::{FilePages, HashAlgorithm};
use crate::{FileId, KEY_BYTES, LockedBytes};

/// The 32-byte key that SQLCipher uses for the pages of one file, with the salt that the file begins with. Made by
/// [`crate::Dek::sqlcipher_key`], or of a raw key.
pub struct SqlcipherKey {
    key: LockedBytes<KEY_BYTES>,
    salt: FileId,
}

impl SqlcipherKey {
    /// Bytes in the text that [`Self::expose_hex_with_salt`] gives out.
    pub const TEXT_BYTES: usize = "x''".len() + 2 * (KEY_BYTES + FileId::BYTES);

    /// Calls `use_text` with `x'<64 hex digits of the key><32 of the salt>'` (SQLCipher API, `PRAGMA key`: "raw key
    /// with explicit salt"), in locked memory that is wiped on return.
    ///
    /// Without the salt SQLCipher would believe the file's first 16 bytes; with it a file opens only as the one that
    /// its manifest names, even if those bytes were lost.
    pub fn expose_hex_with_salt<R>(&self, use_text: impl FnOnce(&[u8]) -> R) -> R {
        let mut text = LockedBytes::<{ Self::TEXT_BYTES }>::zeroed();
        let [x, open, digits @ .., close] = text.expose_secret_mut();
        (*x, *open, *close) = (b'x', b'\'', b'\'');
        let secret = self.key.expose_secret().iter().chain(&self.salt.0);
        for (pair, byte) in digits.chunks_exact_mut(2).zip(secret) {
            pair.copy_from_slice(&[hex_digit(byte >> 4), hex_digit(byte & 0xf)]);
        }
        use_text(text.expose_secret())
    }

    /// What authenticates the file's pages where SQLite does not; `algorithm` is that of their MAC.
    #[must_use]
    pub fn file_pages(&self, algorithm: HashAlgorithm) -> FilePages {
        FilePages::new(algorithm, self.key.expose_secret(), self.salt)
    }

    /// The salt: the first 16 bytes of the file.
    #[must_use]
    pub const fn salt(&self) -> FileId {
        self.salt
    }

    /// A raw key that somebody keeps, of a file that begins with `salt`.
    #[must_use]
    pub fn given(key: &LockedBytes<KEY_BYTES>, salt: FileId) -> Self {
        let mut copy = LockedBytes::zeroed();
        copy.expose_secret_mut().copy_from_slice(key.expose_secret());
        Self { key: copy, salt }
    }

    pub(crate) const fn from_secret(key: LockedBytes<KEY_BYTES>, salt: FileId) -> Self {
        Self { key, salt }
    }
}

/// The hexadecimal digit of `nibble` (0 to 15) without a branch or a table, whose timing would depend on the key.
#[must_use]
pub const fn hex_digit(nibble: u8) -> u8 {
    // 9 - nibble borrows into the high byte exactly for the letters, and only they take the step from ':' to 'a'.
    let is_letter = (9_u16.wrapping_sub(nibble as u16) >> 8) as u8;
    b'0' + nibble + (is_letter & (b'a' - b':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_nibble_becomes_its_digit() {
        let digits: Vec<u8> = (0..16).map(hex_digit).collect();
        assert_eq!(digits, b"0123456789abcdef");
    }
}
