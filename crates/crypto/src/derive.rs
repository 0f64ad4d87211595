//! HKDF-SHA256 (RFC 5869) with typed, domain-separated info: every key of nimbus that comes from another key comes
//! through here.
//!
//! `info` is the label of the purpose and then its context, each part as a 64-bit big-endian length and the bytes:
//! no two (purpose, context) pairs encode to the same `info`.

use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroize;

use crate::KEY_BYTES;

/// More bytes were asked of HKDF than it can give: 255 times 32 (RFC 5869 section 2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("HKDF-SHA256 gives at most 8160 bytes, {requested_bytes} were asked for")]
pub struct OutputTooLong {
    /// Bytes that were asked for.
    pub requested_bytes: usize,
}

/// HKDF-SHA256 (RFC 5869 sections 2.2 and 2.3) on plain byte strings: for known-answer tests only. Keys are derived by
/// the methods of their types.
///
/// # Errors
/// [`OutputTooLong`] if `out` has more than 8160 bytes.
pub fn hkdf_sha256(ikm: &[u8], salt: &[u8], info: &[u8], out: &mut [u8]) -> Result<(), OutputTooLong> {
    let requested_bytes = out.len();
    extract(ikm, salt)
        .expand(info, out)
        .map_err(|_too_long| OutputTooLong { requested_bytes })
}

/// What a derived value is for. Each has its own label, so that none equals another however the inputs are chosen.
#[derive(Clone, Copy)]
pub(crate) enum Purpose {
    MasterKeyId,
    MasterWrappingKey,
    SubjectKeyId,
    SubjectWrappingKey,
    DataKeyWrappingKey,
    WrapEncryption,
    WrapCommitment,
    DekCommitment,
    ManifestMac,
    Sqlcipher,
    RedbPage,
    RedbRecord,
    RedbSuperblockMac,
    RedbCommitment,
}

impl Purpose {
    /// The labels are part of the file format: changing one makes existing files unreadable.
    const fn label(self) -> &'static [u8] {
        match self {
            Self::MasterKeyId => b"nimbus/v1/master-key/id",
            Self::MasterWrappingKey => b"nimbus/v1/master-key/wrapping-key",
            Self::SubjectKeyId => b"nimbus/v1/subject-key/id",
            Self::SubjectWrappingKey => b"nimbus/v1/subject-key/wrapping-key",
            Self::DataKeyWrappingKey => b"nimbus/v1/data-key/wrapping-key",
            Self::WrapEncryption => b"nimbus/v1/wrapping-key/encryption",
            Self::WrapCommitment => b"nimbus/v1/wrapping-key/commitment",
            Self::DekCommitment => b"nimbus/v1/dek/commitment",
            Self::ManifestMac => b"nimbus/v1/dek/manifest-mac",
            Self::Sqlcipher => b"nimbus/v1/dek/sqlcipher-key",
            Self::RedbPage => b"nimbus/v1/dek/redb-page-key",
            Self::RedbRecord => b"nimbus/v1/dek/redb-record-key",
            Self::RedbSuperblockMac => b"nimbus/v1/dek/redb-superblock-mac-key",
            Self::RedbCommitment => b"nimbus/v1/dek/redb-commitment",
        }
    }
}

/// Fills `out` with HKDF-SHA256 of `secret` for `purpose`. An empty `salt` is RFC 5869's "not provided".
pub(crate) fn derive<const N: usize>(
    secret: &[u8; KEY_BYTES],
    salt: &[u8],
    purpose: Purpose,
    context: &[u8],
    out: &mut [u8; N],
) {
    const { assert!(N <= 255 * 32, "RFC 5869 section 2.3: L <= 255 * HashLen") };
    let label = purpose.label();
    let info = [&length_prefix(label)[..], label, &length_prefix(context)[..], context];
    extract(secret, salt)
        .expand_multi_info(&info, out)
        .expect("N was checked at compile time");
}

fn extract(ikm: &[u8], salt: &[u8]) -> Hkdf<Sha256> {
    let (mut pseudorandom_key, hkdf) = Hkdf::extract(Some(salt), ikm);
    pseudorandom_key.zeroize();
    hkdf
}

const fn length_prefix(part: &[u8]) -> [u8; 8] {
    (part.len() as u64).to_be_bytes()
}
