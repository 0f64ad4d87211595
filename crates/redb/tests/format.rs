//! Every structure of the sealed file, byte by byte, against the document; and what decoding refuses.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test says what it expects by panicking"
)]

mod support;

use nimbus_crypto::{FileId, RedbKeys, aead};
use nimbus_redb::format::{
    BLOCK_BYTES, Entry, Kind, Layout, MetaBlock, PageSeal, Record, RecordError, Superblock, SuperblockError, open_page,
    seal_page, zero_entry,
};
use nimbus_test_support::{Rng, fixed_dek};
use support::FILE;
use support::independent::{file_key, fixed_dek_bytes};

fn superblock() -> (Superblock, RedbKeys) {
    let superblock = Superblock {
        file_id: FILE,
        dek_generation: 3,
        layout: Layout::DEFAULT,
    };
    (superblock, superblock.keys(&fixed_dek()))
}

fn ring_of_30() -> Layout {
    Layout::new(30).expect("allowed")
}

fn decode(block: &[u8; BLOCK_BYTES]) -> Result<Superblock, SuperblockError> {
    Superblock::decode(block, &fixed_dek(), FILE).map(|(superblock, _)| superblock)
}

fn record() -> Record {
    Record {
        epoch: 77,
        previous_tag: [0xab; 16],
        checkpoint_epoch: 76,
        logical_bytes: 300 * 4096,
        lowest_bytes: 200 * 4096,
        groups: 3,
        lowest_groups: 2,
        shrunk: true,
        header: std::array::from_fn(|index| index.to_le_bytes()[0]),
        pages: (1..=118_u32).map(|page| (page, seal(page.to_le_bytes()[0]))).collect(),
        carried: [130_u32, 140].map(|page| (page, seal(page.to_le_bytes()[0]))).to_vec(),
    }
}

fn seal(byte: u8) -> PageSeal {
    PageSeal {
        nonce: [byte; 12],
        tag: [!byte; 16],
    }
}

#[test]
fn a_superblock_is_laid_out_as_documented() {
    let (superblock, keys) = superblock();
    let block = superblock.encode(&keys);
    let mut expected = b"NMBSRDB2".to_vec();
    expected.extend(2_u16.to_le_bytes());
    expected.extend(1_u16.to_le_bytes());
    for field in [4096_u32, 128, 2, 512, 514] {
        expected.extend(field.to_le_bytes());
    }
    expected.extend(FILE.0);
    expected.extend(3_u64.to_le_bytes());
    expected.extend([0; 8]);
    expected.extend(file_key(&fixed_dek_bytes(), &block, "commitment"));
    let mac = file_key(&fixed_dek_bytes(), &block, "superblock-mac-key");
    let mac = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &mac);
    let code = ring::hmac::sign(&mac, &expected);
    expected.extend(code.as_ref());
    expected.resize(BLOCK_BYTES, 0);
    assert_eq!(block.to_vec(), expected);
    assert_eq!(decode(&block), Ok(superblock));
}

#[test]
fn no_bit_of_a_superblock_can_be_changed() {
    let (superblock, keys) = superblock();
    let block = superblock.encode(&keys);
    for bit in 0..BLOCK_BYTES * 8 {
        let mut altered = block;
        altered[bit / 8] ^= 1 << (bit % 8);
        let refused = decode(&altered).expect_err("altered");
        let expected = match bit / 8 {
            32..48 => matches!(refused, SuperblockError::OtherFile { .. }),
            64..96 => refused == SuperblockError::WrongKey,
            // Another ring length is another set of keys, where it is a length at all.
            24..32 => matches!(refused, SuperblockError::Malformed | SuperblockError::WrongKey),
            48..56 | 96..128 => refused == SuperblockError::Altered,
            _ => refused == SuperblockError::Malformed,
        };
        assert!(expected, "bit {bit}: {refused:?}");
    }
}

#[test]
fn a_superblock_of_another_file_or_key_is_named_as_such() {
    let (superblock, keys) = superblock();
    let block = superblock.encode(&keys);
    let other = Superblock::decode(&block, &fixed_dek(), FileId([1; 16]));
    assert_eq!(other.err(), Some(SuperblockError::OtherFile { found: FILE }));
    let dek = nimbus_crypto::Dek::generate().unwrap();
    let wrong = Superblock::decode(&block, &dek, FILE);
    assert_eq!(wrong.err(), Some(SuperblockError::WrongKey));
}

#[test]
fn a_record_is_laid_out_as_documented() {
    let (superblock, keys) = superblock();
    let record = record();
    let (bytes, tag) = record.encode(keys.records(), 29).unwrap();
    assert_eq!(bytes.len(), 2 * BLOCK_BYTES, "106 pages fit into the first block");
    assert_eq!(&bytes[..8], b"NMBREC2\0");
    assert_eq!(bytes[8..16], 77_u64.to_le_bytes());
    assert_eq!(bytes[16..20], [2, 0, 0, 0]);
    assert_eq!(bytes[32..48], tag);
    assert_eq!(bytes[48..64], [0; 16]);

    let mut expected = vec![0xab; 16];
    for field in [76_u64, 300 * 4096, 200 * 4096] {
        expected.extend(field.to_le_bytes());
    }
    for field in [3_u32, 2, 1, 118, 2] {
        expected.extend(field.to_le_bytes());
    }
    expected.resize(128, 0);
    expected.extend(record.header);
    for (page, seal) in record.pages.iter().chain(&record.carried) {
        expected.extend(page.to_le_bytes());
        expected.extend(seal.nonce);
        expected.extend(seal.tag);
    }
    expected.resize(2 * BLOCK_BYTES - 64, 0);
    let key = file_key(&fixed_dek_bytes(), &superblock.encode(&keys), "record-key");
    let aad = [&bytes[..20], &29_u64.to_le_bytes()].concat();
    let sealed = [&bytes[64..], &tag].concat();
    let payload = aead::open(&key, bytes[20..32].try_into().unwrap(), &aad, &sealed).expect("the documented cipher");
    assert!(payload == expected);
}

#[test]
fn a_record_is_read_where_it_was_written_and_nowhere_else() {
    let (_, keys) = superblock();
    let (bytes, tag) = record().encode(keys.records(), 29).unwrap();
    let mut ring = vec![0; 30 * BLOCK_BYTES];
    // It wraps around the end of the ring.
    ring[29 * BLOCK_BYTES..].copy_from_slice(&bytes[..BLOCK_BYTES]);
    ring[..BLOCK_BYTES].copy_from_slice(&bytes[BLOCK_BYTES..]);
    let found = Record::decode(keys.records(), ring_of_30(), &ring, 29).expect("whole");
    assert_eq!(found.record, record());
    assert_eq!((found.tag, found.position, found.blocks), (tag, 29, 2));
    for position in 0..29 {
        let elsewhere = Record::decode(keys.records(), ring_of_30(), &ring, position);
        assert_eq!(elsewhere.err(), Some(RecordError::NotARecord));
    }
    let mut moved = vec![0; 30 * BLOCK_BYTES];
    moved[5 * BLOCK_BYTES..7 * BLOCK_BYTES].copy_from_slice(&bytes);
    let moved = Record::decode(keys.records(), ring_of_30(), &moved, 5);
    assert_eq!(moved.err(), Some(RecordError::NotARecord));
}

#[test]
fn no_bit_of_a_record_can_be_changed() {
    let (_, keys) = superblock();
    let (bytes, _) = record().encode(keys.records(), 0).unwrap();
    let mut ring = vec![0; 30 * BLOCK_BYTES];
    ring[..bytes.len()].copy_from_slice(&bytes);
    for bit in (0..bytes.len() * 8).step_by(3) {
        ring[bit / 8] ^= 1 << (bit % 8);
        let altered = Record::decode(keys.records(), ring_of_30(), &ring, 0);
        assert_eq!(altered.err(), Some(RecordError::NotARecord), "bit {bit}");
        ring[bit / 8] ^= 1 << (bit % 8);
    }
}

/// Payloads that only somebody with the key can seal: refused by name, without a panic and without a large allocation.
#[test]
fn a_sealed_payload_that_no_writer_writes_is_malformed() {
    let (_, keys) = superblock();
    let (sound, _) = record().encode(keys.records(), 0).unwrap();
    let nonce: [u8; 12] = sound[20..32].try_into().unwrap();
    let aad = [&sound[..20], &0_u64.to_le_bytes()].concat();
    let mut payload = sound[64..].to_vec();
    keys.records()
        .open_in_place(&nonce, &aad, &mut payload, sound[32..48].try_into().unwrap())
        .expect("sealed above");
    let decode = |payload: &[u8]| {
        let mut ring = vec![0; 30 * BLOCK_BYTES];
        ring[..64].copy_from_slice(&sound[..64]);
        let place = &mut ring[64..64 + payload.len()];
        place.copy_from_slice(payload);
        let tag = keys.records().seal_in_place(&nonce, &aad, place);
        ring[32..48].copy_from_slice(&tag);
        Record::decode(keys.records(), ring_of_30(), &ring, 0)
    };
    assert!(decode(&payload).is_ok());
    let cases: [(&str, usize, &[u8]); 14] = [
        ("a checkpoint in the future", 16, &78_u64.to_le_bytes()),
        ("a length that is not whole pages", 24, &4097_u64.to_le_bytes()),
        ("a length beyond 16 TiB", 24, &(1_u64 << 45).to_le_bytes()),
        ("a lowest length above the length", 32, &(301_u64 * 4096).to_le_bytes()),
        ("more groups than the length has", 40, &4_u32.to_le_bytes()),
        ("more groups before than after", 44, &4_u32.to_le_bytes()),
        ("an unknown flag", 48, &3_u32.to_le_bytes()),
        ("more pages than there is room for", 52, &u32::MAX.to_le_bytes()),
        ("more carried pages than there is room for", 56, &u32::MAX.to_le_bytes()),
        ("a carried page that is listed", 640 + 118 * 32, &7_u32.to_le_bytes()),
        ("carried pages out of order", 640 + 118 * 32, &141_u32.to_le_bytes()),
        ("reserved bytes", 60, &[1]),
        ("page 0 in the list", 640, &0_u32.to_le_bytes()),
        ("pages out of order", 640, &9_u32.to_le_bytes()),
    ];
    for (name, offset, bytes) in cases {
        let mut altered = payload.clone();
        altered[offset..offset + bytes.len()].copy_from_slice(bytes);
        assert_eq!(decode(&altered).err(), Some(RecordError::Malformed), "{name}");
    }
    let mut rng = Rng::new(1);
    for _ in 0..20_000 {
        let mut altered = payload.clone();
        for _ in 0..=rng.below(4) {
            let offset = if rng.once_in(2) {
                rng.index(128)
            } else {
                rng.index(altered.len())
            };
            altered[offset] = rng.next().to_le_bytes()[0];
        }
        // Any answer but a panic: some of these are records that a writer could have written.
        let _ = decode(&altered);
    }
}

#[test]
fn a_page_is_sealed_as_documented() {
    let (superblock, keys) = superblock();
    let plaintext = [0x42; BLOCK_BYTES];
    let mut ciphertext = [0; BLOCK_BYTES];
    let seal = seal_page(keys.pages(), 1000, 0x0102_0304_0506, &plaintext, &mut ciphertext).unwrap();
    assert_eq!(seal.nonce[..6], [6, 5, 4, 3, 2, 1]);
    assert_eq!(seal.epoch(), 0x0102_0304_0506);
    let key = file_key(&fixed_dek_bytes(), &superblock.encode(&keys), "page-key");
    let aad = [&1000_u64.to_le_bytes()[..], &[1], &[0; 7]].concat();
    let sealed = [&ciphertext[..], &seal.tag].concat();
    assert_eq!(
        aead::open(&key, &seal.nonce, &aad, &sealed).expect("authentic"),
        plaintext
    );
    assert!(open_page(keys.pages(), 1000, &seal, &mut ciphertext.clone()).is_ok());
    assert!(open_page(keys.pages(), 1001, &seal, &mut ciphertext.clone()).is_err());

    let zero = zero_entry(keys.pages(), 1000, 5).unwrap();
    let aad = [&1000_u64.to_le_bytes()[..], &[2], &[0; 7]].concat();
    assert_eq!(aead::open(&key, &zero.seal.nonce, &aad, &zero.seal.tag), Ok(Vec::new()));
}

#[test]
fn entries_lie_in_their_meta_block_as_documented() {
    let (_, keys) = superblock();
    let mut meta = MetaBlock::zeros(keys.pages(), 2, 9).unwrap();
    meta.set(257, Entry::data(seal(0x11)));
    meta.set(258, Entry::POISON);
    let expected = [&[0x11; 12][..], &[0xee; 16], &[1, 0, 0, 0]].concat();
    assert_eq!(meta.as_bytes()[32..64], expected);
    assert_eq!(meta.as_bytes()[64..96], [&[0; 28][..], &[3, 0, 0, 0]].concat());
    assert_eq!(meta.get(257).kind(), Some(Kind::Data));
    assert_eq!(meta.get(258).kind(), Some(Kind::Poison));
    assert_eq!(meta.get(256).kind(), Some(Kind::Zero));
    let mut first = MetaBlock::zeros(keys.pages(), 0, 9).unwrap();
    assert_eq!(first.hint(), None);
    first.set_witness(zero_entry(keys.pages(), 0, 10).unwrap(), 300);
    assert_eq!(first.as_bytes()[28..32], [2, 45, 1, 0], "the place plus 1");
    assert_eq!((first.hint(), first.get(0).kind()), (Some(300), Some(Kind::Zero)));
    let mut bytes = Box::new(*first.as_bytes());
    bytes[31] = 1;
    assert_eq!(MetaBlock::from_bytes(bytes).get(0).kind(), None, "a reserved byte");
    let mut bytes = Box::new(*meta.as_bytes());
    bytes[63] = 1;
    bytes[31 * 32 + 28] = 7;
    let damaged = MetaBlock::from_bytes(bytes);
    assert_eq!(damaged.get(257).kind(), None, "a reserved byte");
    assert_eq!(damaged.get(256 + 31).kind(), None, "an unknown kind");
}
