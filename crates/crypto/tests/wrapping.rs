//! What a wrapped DEK survives, and what is told when it does not open.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test says what it expects by panicking"
)]

use nimbus_crypto::{
    Dek, Header, HeaderLength, LockedBytes, MasterKey, Salt, UnwrapError, WrappedDek, WrappedDekLength, WrappingKey,
};

const HEADER: &[u8] = br#"{"format":"nimbus-enc","version":1,"subject":"db:sqlite:tenant:demo:demo.sqlite3"}"#;
/// Where the nonce, the ciphertext and the tag begin to be: behind the commitment.
const COMMITMENT_BYTES: usize = 32;

#[test]
fn a_wrapped_dek_opens_to_the_same_dek() {
    let (key, dek) = (wrapping_key(1), dek());
    let opened = unwrapped(&key, &wrap(&key, &dek));
    assert_eq!(opened.commitment(&SALT), dek.commitment(&SALT));
}

#[test]
fn a_wrapped_dek_opens_after_a_way_through_its_bytes() {
    let (key, dek) = (wrapping_key(1), dek());
    let stored = wrap(&key, &dek).as_bytes().to_vec();
    assert_eq!(stored.len(), 92);
    let opened = unwrapped(&key, &WrappedDek::try_from(&stored[..]).expect("92 bytes"));
    assert_eq!(opened.commitment(&SALT), dek.commitment(&SALT));
}

#[test]
fn the_same_dek_is_wrapped_to_other_bytes_each_time() {
    let (key, dek) = (wrapping_key(1), dek());
    assert_ne!(
        wrap(&key, &dek).as_bytes()[COMMITMENT_BYTES..],
        wrap(&key, &dek).as_bytes()[COMMITMENT_BYTES..]
    );
}

#[test]
fn another_wrapping_key_is_told_from_damage() {
    let wrapped = wrap(&wrapping_key(1), &dek());
    assert_eq!(failure(&wrapping_key(2), &wrapped, HEADER), UnwrapError::OtherKey);
}

#[test]
fn a_flipped_bit_in_the_commitment_reads_as_another_key() {
    let key = wrapping_key(1);
    let wrapped = wrap(&key, &dek());
    for bit in 0..8 * COMMITMENT_BYTES {
        assert_eq!(
            failure(&key, &flipped(&wrapped, bit), HEADER),
            UnwrapError::OtherKey,
            "bit {bit}"
        );
    }
}

#[test]
fn a_flipped_bit_in_nonce_ciphertext_or_tag_is_an_alteration() {
    let key = wrapping_key(1);
    let wrapped = wrap(&key, &dek());
    for bit in 8 * COMMITMENT_BYTES..8 * WrappedDek::BYTES {
        assert_eq!(
            failure(&key, &flipped(&wrapped, bit), HEADER),
            UnwrapError::Altered,
            "bit {bit}"
        );
    }
}

#[test]
fn a_flipped_bit_in_the_header_is_an_alteration() {
    let key = wrapping_key(1);
    let wrapped = wrap(&key, &dek());
    for bit in 0..8 * HEADER.len() {
        let mut header = HEADER.to_vec();
        header[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(failure(&key, &wrapped, &header), UnwrapError::Altered, "bit {bit}");
    }
}

#[test]
fn a_longer_or_shorter_header_is_an_alteration() {
    let key = wrapping_key(1);
    let wrapped = wrap(&key, &dek());
    assert_eq!(failure(&key, &wrapped, &[HEADER, &[0]].concat()), UnwrapError::Altered);
    assert_eq!(
        failure(&key, &wrapped, &HEADER[..HEADER.len() - 1]),
        UnwrapError::Altered
    );
}

#[test]
fn parts_of_two_wrapped_deks_do_not_make_a_third() {
    let key = wrapping_key(1);
    let (one, other) = (wrap(&key, &dek()), wrap(&key, &dek()));
    for cut in [44, 76] {
        let spliced = [&one.as_bytes()[..cut], &other.as_bytes()[cut..]].concat();
        let spliced = WrappedDek::try_from(&spliced[..]).expect("92 bytes");
        assert_eq!(failure(&key, &spliced, HEADER), UnwrapError::Altered, "cut at {cut}");
    }
}

#[test]
fn a_wrapped_dek_of_another_length_is_refused() {
    for actual_bytes in [0, 1, 60, 91, 93, 184] {
        let refused = WrappedDek::try_from(&vec![0; actual_bytes][..]);
        assert_eq!(refused.err(), Some(WrappedDekLength { actual_bytes }));
    }
}

#[test]
fn a_header_is_neither_empty_nor_longer_than_a_manifest() {
    assert_eq!(Header::new(b"").err(), Some(HeaderLength { actual_bytes: 0 }));
    assert!(Header::new(&vec![0; Header::MAX_BYTES]).is_ok());
    let actual_bytes = Header::MAX_BYTES + 1;
    assert_eq!(
        Header::new(&vec![0; actual_bytes]).err(),
        Some(HeaderLength { actual_bytes })
    );
}

const SALT: Salt = Salt([0x11; 32]);

fn wrapping_key(seed: u8) -> WrappingKey {
    let mut bytes = LockedBytes::zeroed();
    bytes.expose_secret_mut().fill(seed);
    MasterKey::new(bytes)
        .expect("not zero")
        .wrapping_key(&SALT, "db:sqlite:tenant:demo:demo.sqlite3")
}

fn dek() -> Dek {
    Dek::generate().expect("randomness")
}

fn wrap(key: &WrappingKey, dek: &Dek) -> WrappedDek {
    key.wrap(dek, Header::new(HEADER).expect("not empty"))
        .expect("randomness")
}

fn unwrapped(key: &WrappingKey, wrapped: &WrappedDek) -> Dek {
    match key.unwrap(wrapped, Header::new(HEADER).expect("not empty")) {
        Ok(dek) => dek,
        Err(error) => panic!("{error}"),
    }
}

fn failure(key: &WrappingKey, wrapped: &WrappedDek, header: &[u8]) -> UnwrapError {
    key.unwrap(wrapped, Header::new(header).expect("not empty"))
        .err()
        .expect("it must not open")
}

fn flipped(wrapped: &WrappedDek, bit: usize) -> WrappedDek {
    let mut bytes = *wrapped.as_bytes();
    bytes[bit / 8] ^= 1 << (bit % 8);
    bytes.into()
}
