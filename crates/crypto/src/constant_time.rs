//! Comparison in constant time, eight bytes at a step: keys and MACs are compared for each page, where `subtle`'s step of one byte shows.

use subtle::{Choice, ConstantTimeEq};

/// Whether two byte strings are the same. The time tells of their lengths only.
pub(crate) fn equal(left: &[u8], right: &[u8]) -> bool {
    if left.len() != right.len() {
        return false;
    }
    let ((left, left_rest), (right, right_rest)) = (left.as_chunks(), right.as_chunks());
    let words = left.iter().zip(right).fold(Choice::from(1), |equal, (left, right)| {
        equal & u64::from_ne_bytes(*left).ct_eq(&u64::from_ne_bytes(*right))
    });
    (words & left_rest.ct_eq(right_rest)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_bytes_are_equal() {
        for length in 0..70 {
            let left: Vec<u8> = (0..length).collect();
            assert!(equal(&left, &left.clone()));
            assert!(!equal(&left, &[&left[..], &[0]].concat()));
            for bit in 0..8 * left.len() {
                let mut right = left.clone();
                right[bit / 8] ^= 1 << (bit % 8);
                assert!(!equal(&left, &right), "bit {bit} of {length} bytes");
            }
        }
    }
}
