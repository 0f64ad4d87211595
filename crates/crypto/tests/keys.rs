//! Which keys come out equal, and which never do.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test says what it expects by panicking"
)]

use std::collections::HashSet;

use nimbus_crypto::{
    AllZeroKey, Dek, FileId, KeyId, LockedBytes, MasterKey, Salt, SubjectKey, UnwrapError, WrappingKey,
};
use nimbus_crypto::{Header, WrappedDek};

const DESCRIPTOR: &str = "db:sqlite:tenant:demo:demo.sqlite3";

#[test]
fn a_key_of_zero_bytes_is_refused() {
    assert_eq!(MasterKey::new(LockedBytes::zeroed()).err(), Some(AllZeroKey));
    assert_eq!(SubjectKey::new(LockedBytes::zeroed()).err(), Some(AllZeroKey));
}

#[test]
fn a_key_with_one_bit_set_is_accepted() {
    for bit in [0, 7, 128, 255] {
        let mut bytes = [0; 32];
        bytes[bit / 8] = 1 << (bit % 8);
        assert!(MasterKey::new(locked(bytes)).is_ok(), "bit {bit}");
    }
}

#[test]
fn a_key_id_is_the_same_for_the_same_key_and_differs_for_another_or_another_kind() {
    assert_eq!(master(1).key_id(), master(1).key_id());
    assert_ne!(master(1).key_id(), master(2).key_id());
    assert_ne!(master(1).key_id(), subject(1).key_id());
}

#[test]
fn a_key_id_is_shown_as_32_lower_case_hexadecimal_digits() {
    let id = KeyId(std::array::from_fn(|index| {
        0xf0 ^ u8::try_from(index).expect("16 bytes")
    }));
    assert_eq!(id.to_string(), "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff");
    assert_eq!(KeyId([0; 16]).to_string(), "0".repeat(32));
}

/// The formulas of the file format, computed by an independent HKDF: what this version writes, every later one reads.
#[test]
fn the_derivations_are_those_of_the_format() {
    let (master, dek) = (master(7), fixed_dek());
    let salt = Salt([0x5a; 32]);
    let file = FileId([0xf1; 16]);

    let id = hkdf(&[7; 32], &[], "nimbus/v1/master-key/id", b"");
    assert_eq!(master.key_id().0, id[..16]);

    let wrapping = hkdf(
        &[7; 32],
        &salt.0,
        "nimbus/v1/master-key/wrapping-key",
        DESCRIPTOR.as_bytes(),
    );
    let wrapped = wrap(&master.wrapping_key(&salt, DESCRIPTOR), &dek);
    assert_eq!(
        wrapped.as_bytes()[..32],
        hkdf(&wrapping, &[], "nimbus/v1/wrapping-key/commitment", b"")
    );
    let encryption = hkdf(&wrapping, &[], "nimbus/v1/wrapping-key/encryption", b"");
    let (nonce, sealed) = wrapped.as_bytes()[32..].split_first_chunk().expect("a nonce");
    let bytes = nimbus_crypto::aead::open(&encryption, nonce, b"header", sealed).expect("sealed with that key");
    assert_eq!(bytes, FIXED_DEK);

    assert_eq!(
        dek.commitment(&salt),
        hkdf(&FIXED_DEK, &salt.0, "nimbus/v1/dek/commitment", b"")
    );
    let mac_key = ring::hmac::Key::new(
        ring::hmac::HMAC_SHA256,
        &hkdf(&FIXED_DEK, &[], "nimbus/v1/dek/manifest-mac", &file.0),
    );
    assert_eq!(
        dek.manifest_mac_key(&file).sign(b"manifest"),
        ring::hmac::sign(&mac_key, b"manifest").as_ref()
    );
    let key = hkdf(&FIXED_DEK, &[], "nimbus/v1/dek/sqlcipher-key", &file.0);
    assert_eq!(sqlcipher_text(&dek, file), format!("x'{}{}'", hex(&key), hex(&file.0)));
}

#[test]
fn every_salt_descriptor_key_and_kind_of_key_gives_another_wrapping_key() {
    let salts = [Salt([0; 32]), Salt([1; 32])];
    let descriptors = ["", "a", "b", "ab", DESCRIPTOR];
    let mut commitments = HashSet::new();
    let dek = fixed_dek();
    for salt in &salts {
        for descriptor in descriptors {
            for seed in [1, 2] {
                commitments.insert(commitment(&wrap(&master(seed).wrapping_key(salt, descriptor), &dek)));
                commitments.insert(commitment(&wrap(&subject(seed).wrapping_key(salt, descriptor), &dek)));
            }
        }
    }
    assert_eq!(commitments.len(), salts.len() * descriptors.len() * 2 * 2);
}

#[test]
fn a_dek_wrapped_for_one_subject_is_another_keys_to_every_other() {
    let salt = Salt([3; 32]);
    let wrapped = wrap(&master(1).wrapping_key(&salt, DESCRIPTOR), &fixed_dek());
    let strangers = [
        master(2).wrapping_key(&salt, DESCRIPTOR),
        master(1).wrapping_key(&Salt([4; 32]), DESCRIPTOR),
        master(1).wrapping_key(&salt, "db:sqlite:tenant:demo2:demo2.sqlite3"),
        subject(1).wrapping_key(&salt, DESCRIPTOR),
    ];
    for stranger in strangers {
        assert_eq!(
            stranger.unwrap(&wrapped, header(b"header")).err(),
            Some(UnwrapError::OtherKey)
        );
    }
}

#[test]
fn what_comes_out_of_a_dek_differs_by_purpose_and_file() {
    let dek = fixed_dek();
    let files = [FileId([0; 16]), FileId([1; 16])];
    let mut seen = HashSet::new();
    for file in files {
        seen.insert(dek.manifest_mac_key(&file).sign(b"").to_vec());
        seen.insert(sqlcipher_text(&dek, file).into_bytes()[..66].to_vec());
    }
    for salt in [Salt([0; 32]), Salt([1; 32])] {
        seen.insert(dek.commitment(&salt).to_vec());
    }
    assert_eq!(seen.len(), 6);
}

#[test]
fn two_generated_deks_differ_and_each_agrees_with_itself() {
    let salt = Salt([0x77; 32]);
    let (one, other) = (
        Dek::generate().expect("randomness"),
        Dek::generate().expect("randomness"),
    );
    assert_eq!(one.commitment(&salt), one.commitment(&salt));
    assert_ne!(one.commitment(&salt), other.commitment(&salt));
}

#[test]
fn a_manifest_code_is_accepted_for_its_message_file_and_dek_only() {
    let (file, message) = (FileId([9; 16]), b"{\"format\":\"nimbus-enc\"}");
    let key = fixed_dek().manifest_mac_key(&file);
    let code = key.sign(message);
    assert!(key.verify(message, &code));
    assert!(!key.verify(&message[1..], &code));
    assert!(!fixed_dek().manifest_mac_key(&FileId([8; 16])).verify(message, &code));
    assert!(
        !Dek::generate()
            .expect("randomness")
            .manifest_mac_key(&file)
            .verify(message, &code)
    );
    for bit in 0..256 {
        let mut altered = code;
        altered[bit / 8] ^= 1 << (bit % 8);
        assert!(!key.verify(message, &altered), "bit {bit}");
    }
}

const FIXED_DEK: [u8; 32] = [0xd3; 32];

/// A DEK of known bytes, through the one door that lets bytes in: unwrapping what was sealed by hand.
fn fixed_dek() -> Dek {
    let salt = Salt([0xaa; 32]);
    let wrapping = hkdf(&[9; 32], &salt.0, "nimbus/v1/master-key/wrapping-key", b"");
    let encryption = hkdf(&wrapping, &[], "nimbus/v1/wrapping-key/encryption", b"");
    let commitment = hkdf(&wrapping, &[], "nimbus/v1/wrapping-key/commitment", b"");
    let sealed = nimbus_crypto::aead::seal(&encryption, &[0; 12], b"header", &FIXED_DEK).expect("short");
    let wrapped = [&commitment[..], &[0; 12], &sealed].concat();
    let wrapped = WrappedDek::try_from(&wrapped[..]).expect("92 bytes");
    match master(9).wrapping_key(&salt, "").unwrap(&wrapped, header(b"header")) {
        Ok(dek) => dek,
        Err(error) => panic!("{error}"),
    }
}

/// HKDF-SHA256 by `ring`, with the info that docs/format.md describes.
fn hkdf(ikm: &[u8], salt: &[u8], label: &str, context: &[u8]) -> [u8; 32] {
    let length = |part: &[u8]| u64::try_from(part.len()).expect("short").to_be_bytes();
    let info = [&length(label.as_bytes()), label.as_bytes(), &length(context), context].concat();
    let mut out = [0; 32];
    ring::hkdf::Salt::new(ring::hkdf::HKDF_SHA256, salt)
        .extract(ikm)
        .expand(&[&info], ring::hkdf::HKDF_SHA256)
        .and_then(|okm| okm.fill(&mut out))
        .expect("32 bytes are few");
    out
}

fn locked(bytes: [u8; 32]) -> LockedBytes<32> {
    let mut locked = LockedBytes::zeroed();
    *locked.expose_secret_mut() = bytes;
    locked
}

fn master(seed: u8) -> MasterKey {
    MasterKey::new(locked([seed; 32])).expect("not zero")
}

fn subject(seed: u8) -> SubjectKey {
    SubjectKey::new(locked([seed; 32])).expect("not zero")
}

fn header(bytes: &[u8]) -> Header<'_> {
    Header::new(bytes).expect("not empty")
}

fn wrap(key: &WrappingKey, dek: &Dek) -> WrappedDek {
    key.wrap(dek, header(b"header")).expect("randomness")
}

fn commitment(wrapped: &WrappedDek) -> [u8; 32] {
    *wrapped.as_bytes().first_chunk().expect("92 bytes")
}

fn sqlcipher_text(dek: &Dek, file: FileId) -> String {
    dek.sqlcipher_key(&file)
        .expose_hex_with_salt(|text| String::from_utf8(text.to_vec()).expect("ASCII"))
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}
