//! A DEK that every run of a test has: of no value, and the one that golden files are sealed under.

use nimbus_crypto::{Dek, Header, LockedBytes, MasterKey, Salt, WrappedDek};

const MASTER_KEY: [u8; 32] = [7; 32];
const SALT: Salt = Salt([0x5a; 32]);
const DESCRIPTOR: &str = "db:redb:tenant:golden:golden.redb";
const HEADER: &[u8] = b"golden";
/// Made once by `WrappingKey::wrap`; what it holds nobody needs to know.
const WRAPPED: &[u8; 92] = include_bytes!("fixed_dek.bin");

/// The DEK.
///
/// # Panics
/// If the key hierarchy no longer gives the keys that it gave.
#[must_use]
pub fn fixed_dek() -> Dek {
    let mut master = LockedBytes::zeroed();
    *master.expose_secret_mut() = MASTER_KEY;
    let master = MasterKey::new(master).expect("not zero");
    let header = Header::new(HEADER).expect("not empty");
    master
        .wrapping_key(&SALT, DESCRIPTOR)
        .unwrap(&WrappedDek::from(*WRAPPED), header)
        .expect("wrapped under that key")
}
