//! SHA-256 (FIPS 180-4) over content that need not stay secret, to compare two copies of it without keeping either.

use sha2::{Digest, Sha256};

/// A hash under way.
#[derive(Default)]
pub struct ContentHash(Sha256);

impl ContentHash {
    /// Adds `bytes`. Whoever adds several values says where each ends.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The hash of everything that was added.
    #[must_use]
    pub fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_one_of_the_standard() {
        // FIPS 180-2, appendix B.1: "abc", here in two parts.
        let mut hash = ContentHash::default();
        hash.update(b"a");
        hash.update(b"bc");
        let expected = [
            0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40, 0xde, 0x5d, 0xae, 0x22, 0x23, 0xb0, 0x03,
            0x61, 0xa3, 0x96, 0x17, 0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad,
        ];
        assert_eq!(hash.finish(), expected);
    }
}
