//! What of a KMS's message is believed, and that no key stays behind in one.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test says what it expects by panicking"
)]

use nimbus_crypto::{Dek, KmsMessageError, Salt};
use nimbus_test_support::Rng;

const SALT: Salt = Salt([7; 32]);
/// Base64 of the bytes 0..32.
const TEXT: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const ZEROS: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

#[test]
fn a_dek_moves_out_of_an_answer_and_leaves_it_whole() {
    let mut message = format!(r#"{{"KeyId":"k","Plaintext" : "{TEXT}","CiphertextBlob":"YQ=="}}"#).into_bytes();
    let length = message.len();
    let dek = Dek::take_from_kms_answer(&mut message).expect("it holds a key");
    assert_eq!(message.len(), length);
    let parsed: serde_json::Value = serde_json::from_slice(&message).expect("it is still JSON");
    assert_eq!(
        parsed,
        serde_json::json!({"KeyId": "k", "Plaintext": "", "CiphertextBlob": "YQ=="})
    );
    assert_eq!(text_of(&dek), TEXT);
}

#[test]
fn a_dek_comes_through_a_request_unchanged() {
    for _ in 0..200 {
        let dek = Dek::generate().expect("randomness");
        let mut message = request(ZEROS);
        dek.put_into_kms_request(&mut message).expect("it has a placeholder");
        let again = Dek::take_from_kms_answer(&mut message).expect("it holds the key");
        assert_eq!(again.commitment(&SALT), dek.commitment(&SALT));
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

#[test]
fn a_request_without_a_fitting_placeholder_is_left_as_it_is() {
    let dek = Dek::generate().expect("randomness");
    for text in [r#"{"Plaintext":""}"#, r#"{"Plaintext":null}"#, r#"{"KeyId":"k"}"#, "{"] {
        let mut message = text.as_bytes().to_vec();
        assert!(dek.put_into_kms_request(&mut message).is_err());
        assert_eq!(message, text.as_bytes());
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
        match Dek::take_from_kms_answer(&mut message) {
            Ok(dek) => {
                taken += 1;
                // The scanner forgives what holds no key (numbers, escapes); where the bytes are JSON the two agree.
                if let Ok(value) = before {
                    assert_eq!(value["Plaintext"], text_of(&dek), "round {round}");
                    let after: serde_json::Value = serde_json::from_slice(&message).expect("still JSON");
                    assert_eq!(after["Plaintext"], "");
                }
                // A repetition can have put the text behind another name too, which is no answer of a KMS.
                let text = text_of(&dek);
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

fn request(text: &str) -> Vec<u8> {
    format!(r#"{{"EncryptionContext":{{"a":"b"}},"KeyId":"k","Plaintext":"{text}"}}"#).into_bytes()
}

/// The key in base64, as another request would carry it.
fn text_of(dek: &Dek) -> String {
    let mut message = request(ZEROS);
    dek.put_into_kms_request(&mut message).expect("it has a placeholder");
    let parsed: serde_json::Value = serde_json::from_slice(&message).expect("it is JSON");
    parsed["Plaintext"].as_str().expect("it is text").to_owned()
}

fn count(message: &[u8], text: &str) -> usize {
    message
        .windows(text.len())
        .filter(|window| *window == text.as_bytes())
        .count()
}

fn failure(message: &mut [u8]) -> KmsMessageError {
    match Dek::take_from_kms_answer(message) {
        Ok(_) => panic!("it was taken for a key"),
        Err(error) => error,
    }
}
