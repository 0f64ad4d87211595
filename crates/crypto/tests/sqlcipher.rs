//! The SQLCipher primitives against published vectors and against `ring`, which shares no code with them.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test says what it expects by panicking"
)]

use std::num::NonZeroU32;
use std::sync::Arc;

use nimbus_crypto::sqlcipher::{CipherLength, Elsewhere, HashAlgorithm, PageCrypto, PageMac, PagesAhead, pbkdf2};
use nimbus_crypto::{FileId, LockedBytes, SqlcipherKey, random};
use nimbus_test_support::Rng;
use ring::{hmac, pbkdf2 as oracle};

/// On the reader's own thread, on another one, and at once.
const ELSEWHERE: [Option<Elsewhere>; 3] = [None, Some(|work| drop(std::thread::spawn(work))), Some(|work| work())];
const ALGORITHMS: [HashAlgorithm; 3] = [HashAlgorithm::Sha1, HashAlgorithm::Sha256, HashAlgorithm::Sha512];

/// NIST SP 800-38A, F.2.5 and F.2.6: CBC-AES256.
#[test]
fn cbc_gives_the_nist_vectors() {
    let key = hex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4");
    let iv = hex("000102030405060708090a0b0c0d0e0f");
    let plaintext: [u8; 64] = hex("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51\
         30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710");
    let ciphertext: [u8; 64] = hex("f58c4c04d6e5f1ba779eabfb5f7bfbd69cfc4e967edb808d679f777bc6702c7d\
         39f23369a9d9bacfa530e26304231461b2eb05e2c39be9fcda6c19078c6a9d1b");
    let mut crypto = PageCrypto::new();
    let mut out = [0; 64];
    crypto.encrypt(&key, &iv, &plaintext, &mut out).expect("whole blocks");
    assert_eq!(out, ciphertext);
    crypto.decrypt(&key, &iv, &ciphertext, &mut out).expect("whole blocks");
    assert_eq!(out, plaintext);
}

#[test]
fn a_page_of_any_number_of_blocks_comes_back() {
    let mut crypto = PageCrypto::new();
    for blocks in (0..40).chain([251, 256, 4096]) {
        let (key, iv, page) = (random_array(), random_array(), random_bytes(16 * blocks));
        let (mut sealed, mut opened) = (vec![0; page.len()], vec![0; page.len()]);
        crypto.encrypt(&key, &iv, &page, &mut sealed).expect("whole blocks");
        crypto.decrypt(&key, &iv, &sealed, &mut opened).expect("whole blocks");
        assert_eq!(opened, page, "{blocks} blocks");
        assert!(blocks == 0 || sealed != page, "{blocks} blocks");
    }
}

#[test]
fn cbc_refuses_anything_but_equal_whole_blocks() {
    let mut crypto = PageCrypto::new();
    for (input_bytes, output_bytes) in [(15, 15), (16, 15), (16, 32), (32, 16), (4095, 4095), (0, 16)] {
        let (input, mut output) = (vec![0; input_bytes], vec![7; output_bytes]);
        let refusal = Err(CipherLength {
            input_bytes,
            output_bytes,
        });
        assert_eq!(crypto.encrypt(&[1; 32], &[2; 16], &input, &mut output), refusal);
        assert_eq!(crypto.decrypt(&[1; 32], &[2; 16], &input, &mut output), refusal);
        assert!(output.iter().all(|&byte| byte == 7), "nothing was written");
    }
}

/// RFC 4231 test cases 1 and 2; HMAC pads a short key with zeros, so the 32-byte form of a shorter key is the same key.
#[test]
fn hmac_gives_the_vectors_of_rfc_4231() {
    let mut crypto = PageCrypto::new();
    let (mut key1, mut key2) = ([0; 32], [0; 32]);
    key1[..20].fill(0x0b);
    key2[..4].copy_from_slice(b"Jefe");
    let cases = [(key1, &b"Hi There"[..]), (key2, b"what do ya want for nothing?")];
    let sha256: [[u8; 32]; 2] = [
        hex("b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
        hex("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
    ];
    let sha512: [[u8; 64]; 2] = [
        hex("87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cde\
             daa833b7d6b8a702038b274eaea3f4e4be9d914eeb61f1702e696c203a126854"),
        hex("164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554\
             9758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737"),
    ];
    for (index, (key, message)) in cases.iter().enumerate() {
        let (head, tail) = message.split_at(5);
        assert_eq!(
            crypto.hmac(HashAlgorithm::Sha256, key, head, tail).as_bytes(),
            sha256[index]
        );
        assert_eq!(
            crypto.hmac(HashAlgorithm::Sha512, key, head, tail).as_bytes(),
            sha512[index]
        );
    }
}

#[test]
fn hmac_agrees_with_ring_at_every_length_around_a_block_and_a_page() {
    let mut crypto = PageCrypto::new();
    for algorithm in ALGORITHMS {
        for length in (0..300).chain(4000..4100) {
            let (key, page, suffix): ([u8; 32], _, [u8; 4]) = (random_array(), random_bytes(length), random_array());
            let expected = hmac::sign(
                &hmac::Key::new(of_ring(algorithm), &key),
                &[&page[..], &suffix].concat(),
            );
            let mac = crypto.hmac(algorithm, &key, &page, &suffix);
            assert_eq!(mac.as_bytes(), expected.as_ref(), "{algorithm:?}, {length} bytes");
            assert_eq!(mac.as_bytes().len(), algorithm.output_bytes());
        }
    }
}

#[test]
fn a_page_mac_matches_its_own_bytes_only() {
    let mac = PageCrypto::new().hmac(HashAlgorithm::Sha512, &[1; 32], b"page", &[0; 4]);
    let stored = mac.as_bytes().to_vec();
    assert!(mac.matches(&stored));
    assert!(!mac.matches(&stored[..63]));
    assert!(!mac.matches(&[]));
    for bit in 0..512 {
        let mut altered = stored.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        assert!(!mac.matches(&altered), "bit {bit}");
    }
}

/// A rekey alternates between the old and the new key; more keys than slots, and algorithms for one key, must not mix.
#[test]
fn the_cache_never_answers_with_another_key_or_algorithm() {
    let mut crypto = PageCrypto::new();
    let keys: [[u8; 32]; 3] = std::array::from_fn(|_| random_array());
    let (iv, page) = ([0; 16], [0; 16]);
    for pick in random_bytes(2000) {
        let key = &keys[usize::from(pick) % 3];
        let algorithm = ALGORITHMS[usize::from(pick / 3) % 3];
        let expected = hmac::sign(&hmac::Key::new(of_ring(algorithm), key), &page);
        assert_eq!(crypto.hmac(algorithm, key, &page, &[]).as_bytes(), expected.as_ref());
        let (mut cached, mut fresh) = ([0; 16], [0; 16]);
        crypto.encrypt(key, &iv, &page, &mut cached).expect("whole blocks");
        PageCrypto::new()
            .encrypt(key, &iv, &page, &mut fresh)
            .expect("whole blocks");
        assert_eq!(cached, fresh);
        let mut back = [1; 16];
        crypto.decrypt(key, &iv, &cached, &mut back).expect("whole blocks");
        assert_eq!(back, page);
    }
}

/// What the memo may never change: the answer. Pages come in versions, under two keys and three algorithms, each again and again
/// through either of two connections, as they are or altered, or as another page.
#[test]
fn whatever_was_read_or_written_before_a_page_that_is_read_has_the_mac_that_ring_says() {
    let mut rng = Rng::new(20);
    let mut connections = [PageCrypto::new(), PageCrypto::new()];
    let keys: [[u8; 32]; 2] = std::array::from_fn(|_| random_array());
    for algorithm in ALGORITHMS {
        let versions: Vec<Vec<u8>> = (0..3).map(|_| random_bytes(4032)).collect();
        let mut known = 0;
        for _ in 0..6_000 {
            let mut pick = |below| usize::try_from(rng.below(below)).expect("small");
            let (key, page, number) = (
                &keys[pick(2)],
                &versions[pick(3)],
                [0, 1, 0, u8::try_from(pick(4)).expect("small")],
            );
            let connection = &mut connections[pick(2)];
            let of_ring = |page: &[u8], number: &[u8]| {
                hmac::sign(&hmac::Key::new(of_ring(algorithm), key), &[page, number].concat())
            };
            let mut sealed = [page.as_slice(), of_ring(page, &number).as_ref()].concat();
            match pick(8) {
                0 => connection.remember(algorithm, key, &sealed, &number),
                1 => sealed[pick(4032)] ^= 1 << pick(8),
                2 => sealed[4032 + pick(algorithm.output_bytes() as u64)] ^= 1 << pick(8),
                3 => sealed = [page.as_slice(), of_ring(page, &[0, 1, 0, 9]).as_ref()].concat(),
                _ => known += 1,
            }
            let (as_read, stored) = sealed.split_at(4032);
            let mac = connection.hmac_of_read(algorithm, key, &sealed, &number, || None);
            assert_eq!(mac.as_bytes(), of_ring(as_read, &number).as_ref());
            assert_eq!(mac.matches(stored), of_ring(as_read, &number).as_ref() == stored);
        }
        assert!(known > 2_000, "{known} pages were authentic");
    }
}

/// Seen by a page that could not have this MAC.
#[test]
fn a_page_that_was_written_needs_no_hmac_on_any_connection_until_a_byte_of_it_its_mac_or_its_number_is_another() {
    for algorithm in ALGORITHMS {
        let (key, page, number) = (random_array(), random_bytes(4032 - 16), [7, 0, 0, 0]);
        let sealed = [page, random_bytes(algorithm.output_bytes())].concat();
        let (page, made_up) = sealed.split_at(4032 - 16);
        let (mut writer, mut reader) = (PageCrypto::new(), PageCrypto::new());
        writer.remember(algorithm, &key, &sealed, &number);
        let is_known = |mac: PageMac| mac.matches(made_up);
        #[cfg(target_arch = "x86_64")]
        let has_memo = is_x86_feature_detected!("pclmulqdq");
        #[cfg(target_arch = "aarch64")]
        let has_memo = std::arch::is_aarch64_feature_detected!("pmull");
        assert_eq!(
            is_known(reader.hmac_of_read(algorithm, &key, &sealed, &number, || None)),
            has_memo
        );
        assert!(!is_known(reader.hmac(algorithm, &key, page, &number)));
        assert!(!is_known(reader.hmac_of_read(
            algorithm,
            &random_array(),
            &sealed,
            &number,
            || None
        )));
        for other in ALGORITHMS {
            if other != algorithm {
                assert!(!is_known(reader.hmac_of_read(other, &key, &sealed, &number, || None)));
            }
        }
        for bit in 0..8 * sealed.len() {
            let mut altered = sealed.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            let mac = reader.hmac_of_read(algorithm, &key, &altered, &number, || None);
            assert!(!mac.matches(&altered[page.len()..]), "bit {bit}");
        }
        for bit in 0..32 {
            let mut other = number;
            other[bit / 8] ^= 1 << (bit % 8);
            assert!(
                !is_known(reader.hmac_of_read(algorithm, &key, &sealed, &other, || None)),
                "bit {bit}"
            );
        }
        // Nothing of it stays when nobody has the key any more.
        drop((writer, reader));
        assert!(!is_known(PageCrypto::new().hmac_of_read(
            algorithm,
            &key,
            &sealed,
            &number,
            || None
        )));
    }
}

/// Of any number of pages ahead, any of which may be altered, moved or torn, those that have their MAC are known afterwards, where
/// there are lanes, and the others are what they are without.
#[test]
fn pages_that_are_read_ahead_have_the_mac_that_ring_says_when_they_are_read() {
    let mut rng = Rng::new(21);
    for round in 0..200 {
        let algorithm = [HashAlgorithm::Sha512, HashAlgorithm::Sha256][round % 2];
        let (key, first): ([u8; 32], u32) = (random_array(), [2, 250, 70_000][rng.index(3)]);
        let of_ring = |number: u32, page: &[u8]| {
            let key = hmac::Key::new(of_ring(algorithm), &key);
            hmac::sign(&key, &[page, &number.to_le_bytes()].concat())
        };
        let mut bytes = Vec::new();
        let (count, end) = (1 + rng.index(20), 4032 + algorithm.output_bytes());
        for number in (first..).take(count) {
            let mut page = random_bytes(4032);
            page.extend(of_ring(number + u32::from(rng.index(8) == 0), &page).as_ref());
            page.resize(4096, 0);
            if rng.index(4) == 0 {
                page[rng.index(end)] ^= 1;
            }
            bytes.extend(page);
        }
        let ahead = Arc::new(PagesAhead::new(first, 4096, bytes, ELSEWHERE[rng.index(3)]));
        let mut crypto = PageCrypto::new();
        for number in (first..).take(count) {
            let mut page = ahead.bytes()[4096 * (number - first) as usize..][..end].to_vec();
            // Rewritten since it was read ahead.
            if rng.index(10) == 0 {
                page[rng.index(end)] ^= 1;
            }
            let (covered, stored) = page.split_at(4032);
            let told_of = (rng.index(3) == 0).then(|| Arc::downgrade(&ahead));
            let mac = crypto.hmac_of_read(algorithm, &key, &page, &number.to_le_bytes(), || told_of);
            assert_eq!(mac.as_bytes(), of_ring(number, covered).as_ref());
            assert_eq!(mac.matches(stored), of_ring(number, covered).as_ref() == stored);
        }
    }
}

#[test]
fn the_pages_of_a_piece_that_are_not_authentic_are_those_that_are_not_one_by_one() {
    let mut rng = Rng::new(22);
    let (mut raw, salt) = (LockedBytes::zeroed(), [7; 16]);
    random::fill(raw.expose_secret_mut()).expect("randomness");
    // SQLCipher design, "Page level".
    let (mut mac_key, rounds) = ([0; 32], iterations(2));
    let mac_salt = salt.map(|byte| byte ^ 0x3a);
    pbkdf2(
        HashAlgorithm::Sha512,
        raw.expose_secret(),
        &mac_salt,
        rounds,
        &mut mac_key,
    );
    for algorithm in [HashAlgorithm::Sha256, HashAlgorithm::Sha512] {
        let pages = SqlcipherKey::given(&raw, FileId(salt)).file_pages(algorithm);
        let mac_key = hmac::Key::new(of_ring(algorithm), &mac_key);
        for (count, first) in (0..40).flat_map(|count| [(count, 1_u32), (count, 2), (count, 90_000)]) {
            let mut piece = random_bytes(count * 4096 + 100);
            for (number, page) in (first..).zip(piece.chunks_exact_mut(4096)) {
                if rng.index(3) == 0 {
                    continue;
                }
                let (covered, mac) = page.split_at_mut(4096 - algorithm.output_bytes());
                let covered = if number == 1 {
                    covered[..16].copy_from_slice(&salt);
                    &covered[16..]
                } else {
                    covered
                };
                mac.copy_from_slice(hmac::sign(&mac_key, &[covered, &number.to_le_bytes()].concat()).as_ref());
            }
            let one_by_one: Vec<u32> = (first..)
                .zip(piece.chunks_exact(4096))
                .filter(|(number, page)| !pages.is_authentic(*number, page))
                .map(|(number, _)| number)
                .collect();
            assert!(count < 30 || (1..count).contains(&one_by_one.len()), "some and not all");
            assert_eq!(
                pages.not_authentic(first, 4096, &piece),
                one_by_one,
                "{count} from {first}"
            );
        }
    }
}

/// RFC 6070 (SHA-1) and RFC 7914 section 11 (SHA-256).
#[test]
fn pbkdf2_gives_the_published_vectors() {
    let mut sha1 = [0; 20];
    pbkdf2(HashAlgorithm::Sha1, b"password", b"salt", iterations(4096), &mut sha1);
    assert_eq!(sha1, hex("4b007901b765489abead49d926f721d065a429c1"));
    let mut sha256 = [0; 64];
    pbkdf2(HashAlgorithm::Sha256, b"passwd", b"salt", iterations(1), &mut sha256);
    assert_eq!(
        sha256,
        hex("55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc\
             49ca9cccf179b645991664b39d77ef317c71b845b1e30bd509112041d3a19783")
    );
}

#[test]
fn pbkdf2_agrees_with_ring() {
    let of = |algorithm| match algorithm {
        HashAlgorithm::Sha1 => oracle::PBKDF2_HMAC_SHA1,
        HashAlgorithm::Sha256 => oracle::PBKDF2_HMAC_SHA256,
        HashAlgorithm::Sha512 => oracle::PBKDF2_HMAC_SHA512,
    };
    for algorithm in ALGORITHMS {
        for (rounds, password_bytes, out_bytes) in [(1, 0, 1), (2, 32, 32), (3, 129, 100), (1000, 64, 64)] {
            let (password, salt) = (random_bytes(password_bytes), random_bytes(16));
            let (mut out, mut expected) = (vec![0; out_bytes], vec![0; out_bytes]);
            pbkdf2(algorithm, &password, &salt, iterations(rounds), &mut out);
            oracle::derive(of(algorithm), iterations(rounds), &salt, &password, &mut expected);
            assert_eq!(out, expected, "{algorithm:?}, {rounds} iterations");
        }
    }
}

fn of_ring(algorithm: HashAlgorithm) -> hmac::Algorithm {
    match algorithm {
        HashAlgorithm::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        HashAlgorithm::Sha256 => hmac::HMAC_SHA256,
        HashAlgorithm::Sha512 => hmac::HMAC_SHA512,
    }
}

fn iterations(count: u32) -> NonZeroU32 {
    NonZeroU32::new(count).expect("not zero")
}

fn random_array<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    random::fill(&mut bytes).expect("randomness");
    bytes
}

fn random_bytes(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    random::fill(&mut bytes).expect("randomness");
    bytes
}

fn hex<const N: usize>(digits: &str) -> [u8; N] {
    assert_eq!(digits.len(), 2 * N);
    std::array::from_fn(|index| u8::from_str_radix(&digits[2 * index..][..2], 16).expect("hexadecimal"))
}
