//! HMAC with kept midstates, and PBKDF2 over it, for the three hashes that SQLCipher knows.
//!
//! Through `sha2` and `sha1`, which wipe their states and on a page are no slower than `ring`.

use std::num::NonZeroU32;

use hmac::digest::Output;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Sha256, Sha512};
use zeroize::Zeroize;

#[cfg(target_arch = "x86_64")]
use super::lanes::LaneKey;
#[cfg(target_arch = "x86_64")]
use crate::LockedBox;
use crate::{KEY_BYTES, constant_time};

/// A hash that SQLCipher can be set to (`PRAGMA cipher_hmac_algorithm`, `PRAGMA cipher_kdf_algorithm`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HashAlgorithm {
    /// SHA-1, the default up to SQLCipher 3.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-512, the default since SQLCipher 4.
    Sha512,
}

impl HashAlgorithm {
    /// Bytes in a MAC by this hash.
    #[must_use]
    pub const fn output_bytes(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }
}

/// PBKDF2 (RFC 8018 section 5.2) with HMAC by `algorithm`, filling `out`.
pub fn pbkdf2(algorithm: HashAlgorithm, password: &[u8], salt: &[u8], iterations: NonZeroU32, out: &mut [u8]) {
    let rounds = iterations.get();
    match algorithm {
        HashAlgorithm::Sha1 => pbkdf2::pbkdf2_hmac::<Sha1>(password, salt, rounds, out),
        HashAlgorithm::Sha256 => pbkdf2::pbkdf2_hmac::<Sha256>(password, salt, rounds, out),
        HashAlgorithm::Sha512 => pbkdf2::pbkdf2_hmac::<Sha512>(password, salt, rounds, out),
    }
}

/// The MAC of a page: 20, 32 or 64 bytes.
#[derive(Clone, Copy)]
pub enum PageMac {
    /// By HMAC-SHA1.
    Sha1([u8; 20]),
    /// By HMAC-SHA256.
    Sha256([u8; 32]),
    /// By HMAC-SHA512.
    Sha512([u8; 64]),
}

impl PageMac {
    /// A MAC from its bytes, if there are as many as it has.
    pub(super) fn from_bytes(algorithm: HashAlgorithm, bytes: &[u8]) -> Option<Self> {
        match algorithm {
            HashAlgorithm::Sha1 => bytes.try_into().ok().map(Self::Sha1),
            HashAlgorithm::Sha256 => bytes.try_into().ok().map(Self::Sha256),
            HashAlgorithm::Sha512 => bytes.try_into().ok().map(Self::Sha512),
        }
    }

    /// The MAC's bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Sha1(bytes) => bytes,
            Self::Sha256(bytes) => bytes,
            Self::Sha512(bytes) => bytes,
        }
    }

    /// Whether `stored` is this MAC, compared in constant time.
    #[must_use]
    pub fn matches(&self, stored: &[u8]) -> bool {
        constant_time::equal(self.as_bytes(), stored)
    }
}

/// One key and the hash states after its inner and outer pads (RFC 2104 section 4), which saves two compressions a page.
pub(super) struct MacKey {
    key: [u8; KEY_BYTES],
    midstate: Midstate,
}

enum Midstate {
    Sha1(Hmac<Sha1>),
    Sha256(Hmac<Sha256>),
    Sha512(Hmac<Sha512>),
}

impl MacKey {
    pub(super) fn new(algorithm: HashAlgorithm, key: &[u8; KEY_BYTES]) -> Self {
        let midstate = match algorithm {
            HashAlgorithm::Sha1 => Midstate::Sha1(keyed(key)),
            HashAlgorithm::Sha256 => Midstate::Sha256(keyed(key)),
            HashAlgorithm::Sha512 => Midstate::Sha512(keyed(key)),
        };
        Self { key: *key, midstate }
    }

    /// Whether this is `key` for `algorithm`, the key compared in constant time.
    pub(super) fn is(&self, algorithm: HashAlgorithm, key: &[u8; KEY_BYTES]) -> bool {
        self.algorithm() == algorithm && constant_time::equal(&self.key, key)
    }

    pub(super) fn mac(&self, page: &[u8], suffix: &[u8]) -> PageMac {
        match &self.midstate {
            Midstate::Sha1(keyed) => PageMac::Sha1(sign(keyed, page, suffix).into()),
            Midstate::Sha256(keyed) => PageMac::Sha256(sign(keyed, page, suffix).into()),
            Midstate::Sha512(keyed) => PageMac::Sha512(sign(keyed, page, suffix).into()),
        }
    }

    /// The same for several pages at once, where that takes less time.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn lanes(&self) -> Option<LockedBox<LaneKey>> {
        LaneKey::new(self.algorithm(), &self.key).map(LockedBox::new)
    }

    pub(super) const fn algorithm(&self) -> HashAlgorithm {
        match self.midstate {
            Midstate::Sha1(_) => HashAlgorithm::Sha1,
            Midstate::Sha256(_) => HashAlgorithm::Sha256,
            Midstate::Sha512(_) => HashAlgorithm::Sha512,
        }
    }
}

// The states of an HMAC are states of its hash.
assert_wipes_itself!(Sha1, Sha256, Sha512);

impl Drop for MacKey {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

fn keyed<M: Mac + KeyInit>(key: &[u8; KEY_BYTES]) -> M {
    M::new_from_slice(key).expect("HMAC takes a key of any length")
}

fn sign<M: Mac + Clone>(keyed: &M, page: &[u8], suffix: &[u8]) -> Output<M> {
    keyed
        .clone()
        .chain_update(page)
        .chain_update(suffix)
        .finalize()
        .into_bytes()
}
