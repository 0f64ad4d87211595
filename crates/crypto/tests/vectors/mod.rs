//! Reads the known-answer vectors that the Rust and the JavaScript tests share (`__test__/fixtures`).

use std::fs;
use std::path::Path;

use serde_json::Value;

/// A fixture by its path below `__test__/fixtures`.
pub(crate) fn fixture(path: &str) -> Value {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../__test__/fixtures")
        .join(path);
    serde_json::from_slice(&fs::read(file).expect("the fixture is readable")).expect("the fixture is JSON")
}

/// The tests of every group of a Wycheproof file that `is_wanted`.
pub(crate) fn wycheproof_tests(path: &str, is_wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
    let groups = fixture(path)["testGroups"]
        .as_array()
        .expect("a Wycheproof file has groups")
        .clone();
    let wanted = groups.into_iter().filter(is_wanted);
    wanted
        .flat_map(|group| group["tests"].as_array().expect("a group has tests").clone())
        .collect()
}

/// The member `name` of `vector`, decoded from hexadecimal.
pub(crate) fn bytes(vector: &Value, name: &str) -> Vec<u8> {
    let digits = vector[name].as_str().expect("the member is hexadecimal text");
    digits.as_bytes().chunks(2).map(byte).collect()
}

/// The member `name` of `vector`, decoded from hexadecimal, of a length that is known.
pub(crate) fn array<const N: usize>(vector: &Value, name: &str) -> [u8; N] {
    bytes(vector, name)
        .try_into()
        .expect("the member has the length of its type")
}

fn byte(pair: &[u8]) -> u8 {
    let digits = std::str::from_utf8(pair).expect("hexadecimal digits are ASCII");
    u8::from_str_radix(digits, 16).expect("the member is hexadecimal text")
}
