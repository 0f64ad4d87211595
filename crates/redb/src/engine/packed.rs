//! Many keys and values as one run of bytes and their lengths: what crosses to another language costs two copies
//! whatever the number of pairs.

/// Stands for the length of what is not there; the longest value has 3 GiB.
pub const ABSENT: u32 = u32::MAX;

/// The strings that `bytes` is made of, if their lengths add up to it.
#[must_use]
pub fn split<'a>(bytes: &'a [u8], lengths: &[u32]) -> Option<Vec<&'a [u8]>> {
    let mut rest = bytes;
    let mut next = |&length: &u32| {
        let (string, behind) = rest.split_at_checked(length as usize)?;
        rest = behind;
        Some(string)
    };
    let strings = lengths.iter().map(&mut next).collect();
    if rest.is_empty() { strings } else { None }
}

/// Where each of [`Packed`]'s strings begins: at a multiple of so many bytes, so that 64-bit numbers can be read in their place.
pub const ALIGNMENT: usize = 8;

/// Byte strings, one behind the other, each at the next multiple of [`ALIGNMENT`].
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Packed {
    /// Their bytes.
    pub bytes: Vec<u8>,
    /// The length of each, or [`ABSENT`]. Of pairs: key, value, key, value.
    pub lengths: Vec<u32>,
    /// Whether a range has more pairs: go on beyond the last key.
    pub has_more: bool,
}

impl Packed {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        let start = self.bytes.len().next_multiple_of(ALIGNMENT);
        self.bytes.resize(start, 0);
        self.bytes.extend_from_slice(bytes);
        self.lengths
            .push(u32::try_from(bytes.len()).expect("redb refuses longer keys and values"));
    }

    pub(super) fn push_absent(&mut self) {
        self.lengths.push(ABSENT);
    }
}
