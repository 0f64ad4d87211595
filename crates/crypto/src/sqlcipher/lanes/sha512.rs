//! SHA-512's compression function (FIPS 180-4 section 6.4), eight at once: a message in each 64-bit lane of AVX-512.

#![allow(
    unsafe_code,
    reason = "instructions that the processor was asked for, and loads and stores of whole arrays"
)]

#[allow(clippy::wildcard_imports, reason = "the names say where they are from")]
use std::arch::x86_64::*;

use super::States;

/// Messages that are hashed at once.
pub(super) const LANES: usize = 8;
pub(super) const BLOCK_BYTES: usize = 128;
pub(super) const DIGEST_BYTES: usize = 64;
const ROUNDS_A_BLOCK: usize = 16;

/// FIPS 180-4 section 4.2.3.
const CONSTANTS: [[u64; ROUNDS_A_BLOCK]; 5] = [
    [
        0x428a_2f98_d728_ae22,
        0x7137_4491_23ef_65cd,
        0xb5c0_fbcf_ec4d_3b2f,
        0xe9b5_dba5_8189_dbbc,
        0x3956_c25b_f348_b538,
        0x59f1_11f1_b605_d019,
        0x923f_82a4_af19_4f9b,
        0xab1c_5ed5_da6d_8118,
        0xd807_aa98_a303_0242,
        0x1283_5b01_4570_6fbe,
        0x2431_85be_4ee4_b28c,
        0x550c_7dc3_d5ff_b4e2,
        0x72be_5d74_f27b_896f,
        0x80de_b1fe_3b16_96b1,
        0x9bdc_06a7_25c7_1235,
        0xc19b_f174_cf69_2694,
    ],
    [
        0xe49b_69c1_9ef1_4ad2,
        0xefbe_4786_384f_25e3,
        0x0fc1_9dc6_8b8c_d5b5,
        0x240c_a1cc_77ac_9c65,
        0x2de9_2c6f_592b_0275,
        0x4a74_84aa_6ea6_e483,
        0x5cb0_a9dc_bd41_fbd4,
        0x76f9_88da_8311_53b5,
        0x983e_5152_ee66_dfab,
        0xa831_c66d_2db4_3210,
        0xb003_27c8_98fb_213f,
        0xbf59_7fc7_beef_0ee4,
        0xc6e0_0bf3_3da8_8fc2,
        0xd5a7_9147_930a_a725,
        0x06ca_6351_e003_826f,
        0x1429_2967_0a0e_6e70,
    ],
    [
        0x27b7_0a85_46d2_2ffc,
        0x2e1b_2138_5c26_c926,
        0x4d2c_6dfc_5ac4_2aed,
        0x5338_0d13_9d95_b3df,
        0x650a_7354_8baf_63de,
        0x766a_0abb_3c77_b2a8,
        0x81c2_c92e_47ed_aee6,
        0x9272_2c85_1482_353b,
        0xa2bf_e8a1_4cf1_0364,
        0xa81a_664b_bc42_3001,
        0xc24b_8b70_d0f8_9791,
        0xc76c_51a3_0654_be30,
        0xd192_e819_d6ef_5218,
        0xd699_0624_5565_a910,
        0xf40e_3585_5771_202a,
        0x106a_a070_32bb_d1b8,
    ],
    [
        0x19a4_c116_b8d2_d0c8,
        0x1e37_6c08_5141_ab53,
        0x2748_774c_df8e_eb99,
        0x34b0_bcb5_e19b_48a8,
        0x391c_0cb3_c5c9_5a63,
        0x4ed8_aa4a_e341_8acb,
        0x5b9c_ca4f_7763_e373,
        0x682e_6ff3_d6b2_b8a3,
        0x748f_82ee_5def_b2fc,
        0x78a5_636f_4317_2f60,
        0x84c8_7814_a1f0_ab72,
        0x8cc7_0208_1a64_39ec,
        0x90be_fffa_2363_1e28,
        0xa450_6ceb_de82_bde9,
        0xbef9_a3f7_b2c6_7915,
        0xc671_78f2_e372_532b,
    ],
    [
        0xca27_3ece_ea26_619c,
        0xd186_b8c7_21c0_c207,
        0xeada_7dd6_cde0_eb1e,
        0xf57d_4f7f_ee6e_d178,
        0x06f0_67aa_7217_6fba,
        0x0a63_7dc5_a2c8_98a6,
        0x113f_9804_bef9_0dae,
        0x1b71_0b35_131c_471b,
        0x28db_77f5_2304_7d84,
        0x32ca_ab7b_40c7_2493,
        0x3c9e_be0a_15c9_bebc,
        0x431d_67c4_9c10_0d4c,
        0x4cc5_d4be_cb3e_42b6,
        0x597f_299c_fc65_7e2a,
        0x5fcb_6fab_3ad6_faec,
        0x6c44_198c_4a47_5817,
    ],
];

/// A processor that has the instructions. Whoever holds one may call what needs them.
#[derive(Clone, Copy)]
pub(in crate::sqlcipher) struct Processor(());

impl Processor {
    /// `None` on a processor that lacks one of them.
    pub(super) fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw")).then_some(Self(()))
    }
}

/// Eight states: a register for each word, a lane for each message.
pub(super) struct Eight {
    words: [__m512i; 8],
    processor: Processor,
}

impl Eight {
    /// The same state for each message.
    pub(super) fn broadcast(processor: Processor, words: &[u64; 8]) -> Self {
        // SAFETY: a `Processor` exists only where the instructions do.
        let words = words.map(|word| unsafe { _mm512_set1_epi64(word.cast_signed()) });
        Self { words, processor }
    }
}

impl States<LANES, BLOCK_BYTES, DIGEST_BYTES> for Eight {
    fn compress(&mut self, blocks: [&[u8; BLOCK_BYTES]; LANES]) {
        let Processor(()) = self.processor;
        // SAFETY: a `Processor` exists only where the instructions do.
        unsafe { compress(&mut self.words, blocks) };
    }

    fn digests(&self) -> [[u8; DIGEST_BYTES]; LANES] {
        let Processor(()) = self.processor;
        // SAFETY: a `Processor` exists only where the instructions do.
        unsafe { digests(&self.words) }
    }
}

#[target_feature(enable = "avx512f,avx512bw")]
fn digests(words: &[__m512i; 8]) -> [[u8; DIGEST_BYTES]; LANES] {
    let mut digests = [[0; DIGEST_BYTES]; LANES];
    for (digest, message) in digests.iter_mut().zip(transpose(*words)) {
        // SAFETY: `digest` is 64 bytes that may be written; the instruction asks for no alignment.
        unsafe { _mm512_storeu_si512(digest.as_mut_ptr().cast(), swap_bytes(message)) };
    }
    digests
}

#[target_feature(enable = "avx512f,avx512bw")]
fn compress(state: &mut [__m512i; 8], blocks: [&[u8; BLOCK_BYTES]; LANES]) {
    let half = |index: usize| {
        let messages = blocks.map(|block| {
            let (halves, _) = block.as_chunks::<64>();
            load(halves.get(index).expect("a block has two halves"))
        });
        transpose(messages)
    };
    let mut schedule = [_mm512_setzero_si512(); ROUNDS_A_BLOCK];
    for (to, word) in schedule.iter_mut().zip([half(0), half(1)].as_flattened()) {
        *to = *word;
    }
    let mut words = *state;
    for (index, constants) in CONSTANTS.iter().enumerate() {
        if index > 0 {
            expand(&mut schedule);
        }
        for (word, constant) in schedule.iter().zip(constants) {
            words = round(
                words,
                _mm512_add_epi64(*word, _mm512_set1_epi64(constant.cast_signed())),
            );
        }
    }
    for (state, word) in state.iter_mut().zip(words) {
        *state = _mm512_add_epi64(*state, word);
    }
}

/// The next sixteen words of the message schedule.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn expand(schedule: &mut [__m512i; ROUNDS_A_BLOCK]) {
    macro_rules! words {
        ($($word:literal)*) => {$(
            let (before_15, before_7, before_2) = (schedule[($word + 1) % 16], schedule[($word + 9) % 16], schedule[($word + 14) % 16]);
            let sigma_0 = xor(_mm512_ror_epi64::<1>(before_15), _mm512_ror_epi64::<8>(before_15), _mm512_srli_epi64::<7>(before_15));
            let sigma_1 = xor(_mm512_ror_epi64::<19>(before_2), _mm512_ror_epi64::<61>(before_2), _mm512_srli_epi64::<6>(before_2));
            schedule[$word] = _mm512_add_epi64(_mm512_add_epi64(schedule[$word], sigma_0), _mm512_add_epi64(before_7, sigma_1));
        )*};
    }
    words!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
}

#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
#[allow(clippy::many_single_char_names, reason = "the names of FIPS 180-4")]
fn round([a, b, c, d, e, f, g, h]: [__m512i; 8], word_and_constant: __m512i) -> [__m512i; 8] {
    let sum_1 = xor(
        _mm512_ror_epi64::<14>(e),
        _mm512_ror_epi64::<18>(e),
        _mm512_ror_epi64::<41>(e),
    );
    let choice = _mm512_ternarylogic_epi64::<0xca>(e, f, g);
    let first = _mm512_add_epi64(_mm512_add_epi64(h, word_and_constant), _mm512_add_epi64(sum_1, choice));
    let sum_0 = xor(
        _mm512_ror_epi64::<28>(a),
        _mm512_ror_epi64::<34>(a),
        _mm512_ror_epi64::<39>(a),
    );
    let majority = _mm512_ternarylogic_epi64::<0xe8>(a, b, c);
    let second = _mm512_add_epi64(sum_0, majority);
    [
        _mm512_add_epi64(first, second),
        a,
        b,
        c,
        _mm512_add_epi64(d, first),
        e,
        f,
        g,
    ]
}

#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn xor(a: __m512i, b: __m512i, c: __m512i) -> __m512i {
    _mm512_ternarylogic_epi64::<0x96>(a, b, c)
}

/// Eight words of one message, in the processor's order of bytes.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn load(bytes: &[u8; 64]) -> __m512i {
    // SAFETY: `bytes` is 64 bytes that may be read; the instruction asks for no alignment.
    swap_bytes(unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) })
}

#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn swap_bytes(words: __m512i) -> __m512i {
    let order = _mm512_set4_epi32(0x0809_0a0b, 0x0c0d_0e0f, 0x0001_0203, 0x0405_0607);
    _mm512_shuffle_epi8(words, order)
}

/// Rows become columns.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn transpose([r0, r1, r2, r3, r4, r5, r6, r7]: [__m512i; 8]) -> [__m512i; 8] {
    // Pairs of words from two rows, the even words and then the odd ones; four of these make a column.
    let quarter = |a, b, c, d| {
        let (ab_even, ab_odd) = (_mm512_shuffle_i64x2::<0x88>(a, b), _mm512_shuffle_i64x2::<0xdd>(a, b));
        let (cd_even, cd_odd) = (_mm512_shuffle_i64x2::<0x88>(c, d), _mm512_shuffle_i64x2::<0xdd>(c, d));
        [
            _mm512_shuffle_i64x2::<0x88>(ab_even, cd_even),
            _mm512_shuffle_i64x2::<0x88>(ab_odd, cd_odd),
            _mm512_shuffle_i64x2::<0xdd>(ab_even, cd_even),
            _mm512_shuffle_i64x2::<0xdd>(ab_odd, cd_odd),
        ]
    };
    let [c0, c2, c4, c6] = quarter(
        _mm512_unpacklo_epi64(r0, r1),
        _mm512_unpacklo_epi64(r2, r3),
        _mm512_unpacklo_epi64(r4, r5),
        _mm512_unpacklo_epi64(r6, r7),
    );
    let [c1, c3, c5, c7] = quarter(
        _mm512_unpackhi_epi64(r0, r1),
        _mm512_unpackhi_epi64(r2, r3),
        _mm512_unpackhi_epi64(r4, r5),
        _mm512_unpackhi_epi64(r6, r7),
    );
    [c0, c1, c2, c3, c4, c5, c6, c7]
}
