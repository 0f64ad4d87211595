//! HMAC-SHA512 of several pages at once, a page in each 64-bit lane of AVX-512: a page takes a third of what it takes alone.
//!
//! It computes what the crate `hmac` computes, which is used on every other processor, for a page alone, and in the tests.

mod compress;

use sha2::block_api::compress512;
use zeroize::Zeroize;

use self::compress::{BLOCK_BYTES, State};
pub(super) use self::compress::{LANES, Processor};
use crate::KEY_BYTES;

const MAC_BYTES: usize = 64;
/// FIPS 180-4 section 5.3.5.
const INITIAL: [u64; 8] = [
    0x6a09_e667_f3bc_c908,
    0xbb67_ae85_84ca_a73b,
    0x3c6e_f372_fe94_f82b,
    0xa54f_f53a_5f1d_36f1,
    0x510e_527f_ade6_82d1,
    0x9b05_688c_2b3e_6c1f,
    0x1f83_d9ab_fb41_bd6b,
    0x5be0_cd19_137e_2179,
];
/// A message ends with a byte of 0x80 and its length in 16 bytes (FIPS 180-4 section 5.1.2).
const PADDING_BYTES: usize = 17;

/// The states of SHA-512 after the inner and the outer pad (RFC 2104 section 4).
pub(super) struct LaneKey {
    inner: [u64; 8],
    outer: [u64; 8],
    processor: Processor,
}

impl LaneKey {
    pub(super) fn new(processor: Processor, key: &[u8; KEY_BYTES]) -> Self {
        Self {
            inner: padded(key, 0x36),
            outer: padded(key, 0x5c),
            processor,
        }
    }

    /// The HMAC of each page, followed by its number. The pages are of one length.
    pub(super) fn macs(&self, pages: [&[u8]; LANES], numbers: [[u8; 4]; LANES]) -> [[u8; MAC_BYTES]; LANES] {
        let [first, ..] = pages;
        assert!(
            pages.iter().all(|page| page.len() == first.len()),
            "pages of one file have one size"
        );
        let mut state = State::broadcast(self.processor, &self.inner);
        let whole = pages.map(|page| page.as_chunks::<BLOCK_BYTES>());
        let [(blocks, rest), ..] = whole;
        for index in 0..blocks.len() {
            state.compress(whole.map(|(blocks, _)| blocks.get(index).expect("as many blocks in each")));
        }
        // What is left of a page, its number and the padding: one block or two.
        let message_bytes = first.len() + 4;
        let ends = if rest.len() + 4 + PADDING_BYTES <= BLOCK_BYTES {
            1
        } else {
            2
        };
        let mut last = [[[0; BLOCK_BYTES]; 2]; LANES];
        for ((last, (_, rest)), number) in last.iter_mut().zip(whole).zip(numbers) {
            let content = rest.iter().chain(&number).chain(&[0x80]);
            for (to, from) in last.as_flattened_mut().iter_mut().zip(content) {
                *to = *from;
            }
            write_length(last.get_mut(ends - 1), message_bytes);
        }
        for end in 0..ends {
            state.compress(last.each_ref().map(|last| last.get(end).expect("two blocks")));
        }
        let mut outer = [[0; BLOCK_BYTES]; LANES];
        for (block, digest) in outer.iter_mut().zip(state.digests()) {
            let (message, padding) = block.split_at_mut(MAC_BYTES);
            message.copy_from_slice(&digest);
            if let Some(byte) = padding.first_mut() {
                *byte = 0x80;
            }
            write_length(Some(block), MAC_BYTES);
        }
        let mut state = State::broadcast(self.processor, &self.outer);
        state.compress(outer.each_ref());
        state.digests()
    }
}

impl Drop for LaneKey {
    fn drop(&mut self) {
        self.inner.zeroize();
        self.outer.zeroize();
    }
}

/// The length of a message that follows a pad, in bits, at the end of its last block.
fn write_length(block: Option<&mut [u8; BLOCK_BYTES]>, message_bytes: usize) {
    let bits = 8 * (BLOCK_BYTES + message_bytes) as u64;
    if let Some(length) = block.and_then(|block| block.last_chunk_mut()) {
        *length = bits.to_be_bytes();
    }
}

fn padded(key: &[u8; KEY_BYTES], pad: u8) -> [u64; 8] {
    let mut block = [pad; BLOCK_BYTES];
    for (byte, key) in block.iter_mut().zip(key) {
        *byte ^= key;
    }
    let mut state = INITIAL;
    compress512(&mut state, &[block]);
    block.zeroize();
    state
}

#[cfg(test)]
mod tests {
    use hmac::{Hmac, KeyInit, Mac};
    use sha2::Sha512;

    use super::*;
    use crate::random;

    #[test]
    fn every_lane_has_the_mac_that_its_page_has_alone_at_every_length_around_a_block_and_a_page() {
        let Some(processor) = Processor::detect() else { return };
        for length in (0..300).chain(3990..4100) {
            let (mut key, mut pages) = ([0; KEY_BYTES], vec![vec![0; length]; LANES]);
            random::fill(&mut key).expect("randomness");
            for page in &mut pages {
                random::fill(page).expect("randomness");
            }
            let numbers = std::array::from_fn(|lane| [u8::try_from(lane).expect("eight"), 0xff, 0, 0x80]);
            let pages: [&[u8]; LANES] = std::array::from_fn(|lane| pages[lane].as_slice());
            let macs = LaneKey::new(processor, &key).macs(pages, numbers);
            for lane in 0..LANES {
                let alone = Hmac::<Sha512>::new_from_slice(&key).expect("a key of any length");
                let alone = alone
                    .chain_update(pages[lane])
                    .chain_update(numbers[lane])
                    .finalize()
                    .into_bytes();
                assert_eq!(macs[lane], alone[..], "{length} bytes, lane {lane}");
            }
        }
    }
}
