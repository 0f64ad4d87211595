//! How a connection gets its key, and the format of its pages with it.

#![expect(
    unsafe_code,
    reason = "rusqlite keys only through SQL text, where a key must never stand"
)]

use libsqlite3_sys as ffi;
use nimbus_crypto::LockedBytes;

use crate::defaults;
use crate::options::{Encryption, Profile};

/// Bytes of a key as SQLCipher takes it in text: `x'<64 hex digits>'`.
const RAW_TEXT_BYTES: usize = 67;
/// As SQLCipher tells it, in text: of an encrypted file it answers "PRAGMA `page_size`" too, in SQLite's place.
const PAGE_BYTES: &str = "4096";

/// Keys the connection: 64 hex digits of key and 32 of salt, so that key and file belong together and a file whose
/// first bytes were wiped still opens.
pub(crate) fn apply_key(connection: &rusqlite::Connection, encryption: &Encryption) -> rusqlite::Result<()> {
    let _settled = defaults::settled();
    encryption.key.expose_hex_with_salt(|text| key(connection, text))?;
    set_page_format(connection, encryption.profile)
}

/// Keys the connection with 64 hex digits; the salt is what the file begins with.
pub(crate) fn apply_raw_key(
    connection: &rusqlite::Connection,
    raw: &LockedBytes<32>,
    profile: Profile,
) -> rusqlite::Result<()> {
    let _settled = defaults::settled();
    raw_text(raw, |text| key(connection, text))?;
    // With the text kept, files that are attached get the key without this file's salt, and so their own.
    connection.execute_batch("PRAGMA cipher_store_pass = ON")?;
    set_page_format(connection, profile)
}

/// Sets every parameter of the pages, so that no process-wide default of SQLCipher matters. "PRAGMA `cipher_compatibility`" would set them at
/// once, but also their size anew, for which a buffer of a page is wiped and another cleared: a twentieth of opening a file. So that
/// is set only if it is another. HMAC-SHA512 comes first, for SQLite keeps the larger reserve of 80 bytes (see `Profile`).
fn set_page_format(connection: &rusqlite::Connection, profile: Profile) -> rusqlite::Result<()> {
    let page_bytes: String = connection.query_row("PRAGMA page_size", [], |row| row.get(0))?;
    if page_bytes != PAGE_BYTES {
        connection.execute_batch(&format!("PRAGMA cipher_page_size = {PAGE_BYTES}"))?;
    }
    connection.execute_batch(match profile {
        Profile::Sqlcipher4 => {
            "PRAGMA cipher_hmac_algorithm = HMAC_SHA512; PRAGMA cipher_kdf_algorithm = PBKDF2_HMAC_SHA512; \
             PRAGMA cipher_use_hmac = ON; PRAGMA cipher_plaintext_header_size = 0;"
        }
        Profile::Sqlcipher4Sha256 => {
            "PRAGMA cipher_hmac_algorithm = HMAC_SHA512; PRAGMA cipher_kdf_algorithm = PBKDF2_HMAC_SHA512; \
             PRAGMA cipher_use_hmac = ON; PRAGMA cipher_plaintext_header_size = 0; PRAGMA cipher_hmac_algorithm = HMAC_SHA256;"
        }
    })
}

pub(crate) fn key(connection: &rusqlite::Connection, text: &[u8]) -> rusqlite::Result<()> {
    let length = i32::try_from(text.len()).map_err(|_| rusqlite::Error::InvalidQuery)?;
    // SAFETY: the handle is open for as long as `connection` is borrowed, and no statement runs on it; sqlite3_key_v2
    // copies `length` bytes and keeps no pointer ("SQLCipher API", sqlite3_key_v2).
    let code = unsafe { ffi::sqlite3_key_v2(connection.handle(), c"main".as_ptr(), text.as_ptr().cast(), length) };
    if code == ffi::SQLITE_OK {
        Ok(())
    } else {
        Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None))
    }
}

fn raw_text<R>(raw: &LockedBytes<32>, use_text: impl FnOnce(&[u8]) -> R) -> R {
    let mut text = LockedBytes::<RAW_TEXT_BYTES>::zeroed();
    let [x, open, digits @ .., close] = text.expose_secret_mut();
    (*x, *open, *close) = (b'x', b'\'', b'\'');
    for (pair, byte) in digits.chunks_exact_mut(2).zip(raw.expose_secret()) {
        pair.copy_from_slice(&[
            nimbus_crypto::hex_digit(byte >> 4),
            nimbus_crypto::hex_digit(byte & 0xf),
        ]);
    }
    use_text(text.expose_secret())
}
