//! The cipher of pages and records against the vectors of RFC 8452 and Project Wycheproof, and against the crate `aes-gcm-siv`
//! at every length: it is code of our own where the processor has instructions for four blocks.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test says what it expects by panicking"
)]

mod vectors;

use nimbus_crypto::aead::{NONCE_BYTES, NotAuthentic, TAG_BYTES, seal};
use nimbus_crypto::{KEY_BYTES, LockedBytes, SealCipher};
use nimbus_test_support::Rng;
use vectors::{array, bytes, fixture, wycheproof_tests};

fn cipher(key: &[u8; KEY_BYTES]) -> SealCipher {
    let mut locked = LockedBytes::zeroed();
    *locked.expose_secret_mut() = *key;
    SealCipher::new(&locked)
}

/// Both ways, in place and apart.
fn assert_seals(cipher: &SealCipher, nonce: &[u8; NONCE_BYTES], aad: &[u8], plaintext: &[u8], sealed: &[u8]) {
    let (ciphertext, tag) = sealed.split_last_chunk::<TAG_BYTES>().expect("a tag");
    let mut apart = vec![0xee; plaintext.len()];
    assert_eq!(cipher.seal(nonce, aad, plaintext, &mut apart), *tag);
    assert_eq!(apart, ciphertext);
    let mut buffer = plaintext.to_vec();
    assert_eq!(cipher.seal_in_place(nonce, aad, &mut buffer), *tag);
    assert_eq!(buffer, ciphertext);
    assert_eq!(cipher.open_in_place(nonce, aad, &mut buffer, tag), Ok(()));
    assert_eq!(buffer, plaintext);
}

#[test]
fn every_vector_of_rfc_8452_seals_to_its_result_and_opens_again() {
    let vectors = fixture("rfc8452/aes-256-gcm-siv.json");
    let vectors = vectors.as_array().expect("the fixture is a list");
    assert_eq!(vectors.len(), 24 + 2, "appendix C.2 and C.3");
    for vector in vectors {
        let (aad, plaintext) = (bytes(vector, "aad"), bytes(vector, "plaintext"));
        let cipher = cipher(&array(vector, "key"));
        assert_seals(
            &cipher,
            &array(vector, "nonce"),
            &aad,
            &plaintext,
            &bytes(vector, "result"),
        );
    }
}

#[test]
fn every_wycheproof_vector_opens_exactly_if_it_is_valid() {
    let tests = wycheproof_tests("wycheproof/aes_gcm_siv_test.json", |group| group["keySize"] == 256);
    let tests: Vec<_> = tests.iter().filter(|test| bytes(test, "aad").len() <= 64).collect();
    assert!(tests.len() > 90, "{} of 103", tests.len());
    for test in tests {
        let (nonce, aad) = (array(test, "iv"), bytes(test, "aad"));
        let (ciphertext, tag) = (bytes(test, "ct"), array(test, "tag"));
        let cipher = cipher(&array(test, "key"));
        if test["result"] == "valid" {
            assert_seals(
                &cipher,
                &nonce,
                &aad,
                &bytes(test, "msg"),
                &[&ciphertext[..], &tag].concat(),
            );
        } else {
            let mut buffer = ciphertext.clone();
            let opened = cipher.open_in_place(&nonce, &aad, &mut buffer, &tag);
            assert_eq!(opened, Err(NotAuthentic), "{test}");
            assert_eq!(buffer, ciphertext, "{test}");
        }
    }
}

#[test]
fn every_length_seals_as_the_reference_does() {
    let mut rng = Rng::new(1);
    let lengths = (0..=1200).chain([4032, 4096, 8128, 65_472, 65_536, 65_537]);
    for length in lengths {
        let key = rng.bytes(KEY_BYTES).try_into().expect("a key");
        let nonce = rng.bytes(NONCE_BYTES).try_into().expect("a nonce");
        let (aad, plaintext) = (rng.bytes(length % 65), rng.bytes(length));
        let sealed = seal(&key, &nonce, &aad, &plaintext).expect("short");
        assert_seals(&cipher(&key), &nonce, &aad, &plaintext, &sealed);
    }
}

#[test]
fn whatever_is_changed_is_not_authentic_and_the_buffer_holds_what_it_held() {
    let cipher = cipher(&[3; KEY_BYTES]);
    let (nonce, aad) = ([4; NONCE_BYTES], [5; 28]);
    for length in [0, 1, 15, 16, 63, 64, 100, 511, 512, 700, 4096] {
        let mut sealed = vec![6; length];
        let tag = cipher.seal_in_place(&nonce, &aad, &mut sealed);
        let refused = |nonce: &[u8; NONCE_BYTES], aad: &[u8], changed: &[u8], tag: &[u8; TAG_BYTES]| {
            let mut buffer = changed.to_vec();
            assert_eq!(cipher.open_in_place(nonce, aad, &mut buffer, tag), Err(NotAuthentic));
            assert_eq!(buffer, changed, "{length} bytes");
        };
        for bit in 0..8 * length {
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            refused(&nonce, &aad, &changed, &tag);
        }
        for bit in 0..8 * TAG_BYTES {
            let mut changed = tag;
            changed[bit / 8] ^= 1 << (bit % 8);
            refused(&nonce, &aad, &sealed, &changed);
        }
        for bit in 0..8 * NONCE_BYTES {
            let mut changed = nonce;
            changed[bit / 8] ^= 1 << (bit % 8);
            refused(&changed, &aad, &sealed, &tag);
        }
        for bit in 0..8 * aad.len() {
            let mut changed = aad;
            changed[bit / 8] ^= 1 << (bit % 8);
            refused(&nonce, &changed, &sealed, &tag);
        }
        refused(&nonce, &aad[..27], &sealed, &tag);
        refused(&nonce, &[&aad[..], &[0]].concat(), &sealed, &tag);
    }
}
