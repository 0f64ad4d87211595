//! What of a KMS's message is believed, and that no key stays behind in one.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test says what it expects by panicking"
)]

use nimbus_crypto::{Dek, Header, KmsMessageError, LockedBytes, Salt, WrappingKey};
use nimbus_test_support::Rng;

const SALT: Salt = Salt([7; 32]);
/// Base64 of the bytes 0..32.
const TEXT: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const DIGITS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

#[test]
fn a_key_moves_out_of_an_answer_and_leaves_it_whole() {
    let mut message = format!(r#"{{"KeyId":"k","Plaintext" : "{TEXT}","CiphertextBlob":"YQ=="}}"#).into_bytes();
    let length = message.len();
    let key = WrappingKey::take_from_kms_answer(&mut message).expect("it holds a key");
    assert_eq!(message.len(), length);
    let parsed: serde_json::Value = serde_json::from_slice(&message).expect("it is still JSON");
    assert_eq!(
        parsed,
        serde_json::json!({"KeyId": "k", "Plaintext": "", "CiphertextBlob": "YQ=="})
    );
    assert!(is_key(&key, TEXT));
    assert!(!is_key(&key, &TEXT.replace("AAE", "AAI")));
}

#[test]
fn every_key_is_read_as_it_was_written() {
    let mut rng = Rng::new(7);
    for _ in 0..2_000 {
        let key: Vec<u8> = (0..32).map(|_| rng.below(256).to_le_bytes()[0]).collect();
        let text = text_of(&key);
        let mut message = format!(r#"{{"Plaintext":"{text}"}}"#).into_bytes();
        let taken = WrappingKey::take_from_kms_answer(&mut message).expect("it holds the key");
        assert!(is_key(&taken, &text));
    }
}

#[test]
fn an_answer_without_a_key_is_left_as_it_is() {
    for text in [
        "{}",
        " { } ",
        r#"{"__type":"NotFoundException","message":"Alias \"Plaintext\": \\ no"}"#,
        r#"{"a":{"Plaintext":"nested"},"b":[1,-2.5e+3,true,{"c":null}]}"#,
    ] {
        let mut message = text.as_bytes().to_vec();
        assert_eq!(failure(&mut message), KmsMessageError::Absent, "{text}");
        assert_eq!(message, text.as_bytes());
    }
}

#[test]
fn whatever_is_not_one_key_is_refused_and_wiped() {
    let with = |value: &str| format!(r#"{{"KeyId":"k","Plaintext":{value}}}"#);
    let cases = [
        (with("null"), KmsMessageError::NotAKey),
        (with(r#""""#), KmsMessageError::NotAKey),
        (with(&format!("[\"{TEXT}\"]")), KmsMessageError::NotAKey),
        (with(&format!("\"{}\"", &TEXT[4..])), KmsMessageError::NotAKey),
        (with(&format!("\"{TEXT}AAAA\"")), KmsMessageError::NotAKey),
        (
            with(&format!("\"{}\"", TEXT.replace('=', "A"))),
            KmsMessageError::NotAKey,
        ),
        // Bits behind the last byte: a second spelling of the same key.
        (
            with(&format!("\"{}\"", TEXT.replace("8=", "9="))),
            KmsMessageError::NotAKey,
        ),
        (
            with(&format!("\"{}\"", TEXT.replace('Q', "-"))),
            KmsMessageError::NotAKey,
        ),
        (
            with(&format!("\"{}\"", TEXT.replace('Q', "="))),
            KmsMessageError::NotAKey,
        ),
        (
            format!(r#"{{"Plaintext":"{TEXT}","Plaintext":"{TEXT}"}}"#),
            KmsMessageError::Ambiguous,
        ),
        (format!(r#"{{"Pl\u0061intext":"{TEXT}"}}"#), KmsMessageError::Ambiguous),
        (format!(r#"{{"Plaintext":"{TEXT}"}} {{}}"#), KmsMessageError::Malformed),
        (format!(r#"{{"Plaintext":"{TEXT}",}}"#), KmsMessageError::Malformed),
        (format!(r#"["Plaintext","{TEXT}"]"#), KmsMessageError::Malformed),
        (format!(r#"{{"Plaintext":"{TEXT}"#), KmsMessageError::Malformed),
        (
            format!("\u{feff}{}", with(&format!("\"{TEXT}\""))),
            KmsMessageError::Malformed,
        ),
        (String::new(), KmsMessageError::Malformed),
    ];
    for (text, expected) in cases {
        let mut message = text.clone().into_bytes();
        assert_eq!(failure(&mut message), expected, "{text}");
        assert!(message.iter().all(|&byte| byte == 0), "{text}");
    }
}

/// Cuts, flips, insertions and repetitions of whole messages: never a panic, never a key left behind, and whatever is
/// taken is the key that a JSON parser would have seen in the same bytes.
#[test]
fn no_mutation_of_an_answer_leaves_a_key_behind() {
    let mut rng = Rng::new(20);
    let seeds = [
        format!(r#"{{"CiphertextBlob":"AQID","KeyId":"arn:aws:kms:x:1:key/2","Plaintext":"{TEXT}"}}"#),
        format!(r#"{{ "Plaintext" : "{TEXT}" , "a" : [ {{ "b" : "\"}}" }} , 1e5 , null ] }}"#),
    ];
    let (mut taken, mut refused) = (0, 0);
    for round in 0..200_000 {
        let mut message = seeds[round % seeds.len()].clone().into_bytes();
        for _ in 0..rng.below(4) {
            mutate(&mut message, &mut rng);
        }
        let before: Result<serde_json::Value, _> = serde_json::from_slice(&message);
        let original = message.clone();
        match WrappingKey::take_from_kms_answer(&mut message) {
            Ok(key) => {
                taken += 1;
                let text = wiped_text(&original, &message);
                assert!(is_key(&key, &text), "round {round}");
                // The scanner forgives what holds no key (numbers, escapes); where the bytes are JSON the two agree.
                if let Ok(value) = before {
                    assert_eq!(value["Plaintext"], text, "round {round}");
                    let after: serde_json::Value = serde_json::from_slice(&message).expect("still JSON");
                    assert_eq!(after["Plaintext"], "");
                }
                // A repetition can have put the text behind another name too, which is no answer of a KMS.
                assert_eq!(count(&message, &text) + 1, count(&original, &text), "round {round}");
            }
            Err(KmsMessageError::Absent) => {
                if let Ok(value) = before {
                    assert!(value.get("Plaintext").is_none(), "round {round}");
                }
            }
            Err(_) => {
                refused += 1;
                assert!(message.iter().all(|&byte| byte == 0), "round {round}");
            }
        }
    }
    assert!(taken > 10_000 && refused > 10_000, "{taken} taken, {refused} refused");
}

fn mutate(message: &mut Vec<u8>, rng: &mut Rng) {
    if message.is_empty() {
        return;
    }
    let at = rng.index(message.len());
    match rng.below(5) {
        0 => message.truncate(at),
        1 => message[at] ^= 1 << rng.below(8),
        2 => message.insert(at, b"\"\\{}[]:, =A"[rng.index(11)]),
        3 => {
            message.remove(at);
        }
        _ => {
            let copy = message[at..].to_vec();
            message.extend(copy);
        }
    }
}

/// The text that stood where an answer now has 44 spaces more.
fn wiped_text(original: &[u8], wiped: &[u8]) -> String {
    let first = original.iter().zip(wiped).position(|(one, other)| one != other);
    let from = first.expect("something was wiped");
    String::from_utf8(original[from..from + TEXT.len()].to_vec()).expect("base64 is text")
}

/// Whether a DEK that this key wrapped opens under the key with this base64 text.
fn is_key(key: &WrappingKey, text: &str) -> bool {
    let dek = Dek::generate().expect("randomness");
    let header = Header::new(b"header").expect("it is short");
    let wrapped = key.wrap(&dek, header).expect("randomness");
    let mut bytes = LockedBytes::zeroed();
    bytes.expose_secret_mut().copy_from_slice(&bytes_of(text));
    WrappingKey::from_data_key(&bytes)
        .unwrap(&wrapped, header)
        .is_ok_and(|again| again.commitment(&SALT) == dek.commitment(&SALT))
}

fn bytes_of(text: &str) -> Vec<u8> {
    let digits = text.trim_end_matches('=').chars();
    let bits: Vec<u8> = digits
        .map(|digit| DIGITS.find(digit).expect("a digit").to_le_bytes()[0])
        .flat_map(|value| (0..6).rev().map(move |bit| (value >> bit) & 1))
        .collect();
    bits.chunks_exact(8)
        .map(|byte| byte.iter().fold(0, |value, bit| (value << 1) | bit))
        .collect()
}

fn text_of(bytes: &[u8]) -> String {
    let mut bits: Vec<u8> = bytes
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |bit| (byte >> bit) & 1))
        .collect();
    bits.resize(bits.len().next_multiple_of(6), 0);
    let digits = bits.chunks(6).map(|six| {
        let value = six.iter().fold(0, |value, bit| (value << 1) | usize::from(*bit));
        &DIGITS[value..=value]
    });
    digits.chain(["="]).collect()
}

fn count(message: &[u8], text: &str) -> usize {
    message
        .windows(text.len())
        .filter(|window| *window == text.as_bytes())
        .count()
}

fn failure(message: &mut [u8]) -> KmsMessageError {
    match WrappingKey::take_from_kms_answer(message) {
        Ok(_) => panic!("it was taken for a key"),
        Err(error) => error,
    }
}
