//! AES-256-GCM-SIV against the vectors of RFC 8452 appendix C and of Project Wycheproof; HKDF-SHA256 against those of
//! Project Wycheproof, which include RFC 5869 appendix A.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test says what it expects by panicking"
)]

mod vectors;

use nimbus_crypto::aead::{NotAuthentic, open, seal};
use nimbus_crypto::derive::{OutputTooLong, hkdf_sha256};
use vectors::{array, bytes, fixture, wycheproof_tests};

#[test]
fn every_vector_of_rfc_8452_seals_to_its_result_and_opens_again() {
    let vectors = fixture("rfc8452/aes-256-gcm-siv.json");
    let vectors = vectors.as_array().expect("the fixture is a list");
    assert_eq!(vectors.len(), 24 + 2, "appendix C.2 and C.3");
    for vector in vectors {
        let (key, nonce) = (array(vector, "key"), array(vector, "nonce"));
        let (aad, plaintext, result) = (
            bytes(vector, "aad"),
            bytes(vector, "plaintext"),
            bytes(vector, "result"),
        );
        assert_eq!(seal(&key, &nonce, &aad, &plaintext).expect("short"), result, "{vector}");
        assert_eq!(
            open(&key, &nonce, &aad, &result).expect("authentic"),
            plaintext,
            "{vector}"
        );
    }
}

#[test]
fn every_wycheproof_gcm_siv_vector_opens_exactly_if_it_is_valid() {
    let tests = wycheproof_tests("wycheproof/aes_gcm_siv_test.json", |group| group["keySize"] == 256);
    assert_eq!(tests.len(), 103);
    for test in &tests {
        let (key, nonce) = (array(test, "key"), array(test, "iv"));
        let (aad, plaintext) = (bytes(test, "aad"), bytes(test, "msg"));
        let sealed = [bytes(test, "ct"), bytes(test, "tag")].concat();
        if test["result"] == "valid" {
            assert_eq!(seal(&key, &nonce, &aad, &plaintext).expect("short"), sealed, "{test}");
            assert_eq!(
                open(&key, &nonce, &aad, &sealed).expect("authentic"),
                plaintext,
                "{test}"
            );
        } else {
            assert_eq!(open(&key, &nonce, &aad, &sealed), Err(NotAuthentic), "{test}");
        }
    }
}

#[test]
fn bytes_shorter_than_a_tag_are_not_authentic() {
    for length in 0..16 {
        assert_eq!(
            open(&[1; 32], &[2; 12], b"", &vec![0; length]),
            Err(NotAuthentic),
            "{length} bytes"
        );
    }
}

#[test]
fn every_wycheproof_hkdf_vector_gives_its_output_or_is_refused() {
    let tests = wycheproof_tests("wycheproof/hkdf_sha256_test.json", |_| true);
    assert_eq!(tests.len(), 86);
    for test in &tests {
        let (ikm, salt, info) = (bytes(test, "ikm"), bytes(test, "salt"), bytes(test, "info"));
        let requested_bytes = test["size"]
            .as_u64()
            .and_then(|size| usize::try_from(size).ok())
            .expect("a size");
        let mut out = vec![0; requested_bytes];
        let derived = hkdf_sha256(&ikm, &salt, &info, &mut out);
        if test["result"] == "valid" {
            assert_eq!(derived, Ok(()), "{test}");
            assert_eq!(out, bytes(test, "okm"), "{test}");
        } else {
            assert_eq!(derived, Err(OutputTooLong { requested_bytes }), "{test}");
        }
    }
}
