//! A second reader of sealed files, written from docs/format.md alone: it shares no code with the first but HKDF and
//! AES-256-GCM-SIV, which have known-answer tests of their own. Reads files whose newest record is whole, closed or not.

use std::collections::BTreeMap;

use nimbus_crypto::aead;
use nimbus_crypto::derive::hkdf_sha256;

const BLOCK: usize = 4096;

/// The DEK of `nimbus_test_support::fixed_dek`, unwrapped by hand (docs/format.md, "Keys").
pub fn fixed_dek_bytes() -> [u8; 32] {
    let wrapped = include_bytes!("../../../test-support/src/fixed_dek.bin");
    let secret = key(
        &[7; 32],
        &[0x5a; 32],
        "nimbus/v1/master-key/wrapping-key",
        b"db:redb:tenant:golden:golden.redb",
    );
    let encryption = key(&secret, &[], "nimbus/v1/wrapping-key/encryption", b"");
    let opened = aead::open(
        &encryption,
        wrapped[32..44].try_into().unwrap(),
        b"golden",
        &wrapped[44..],
    );
    opened.expect("wrapped under that key").try_into().unwrap()
}

/// HKDF-SHA256 with the labels of docs/format.md.
pub fn key(secret: &[u8; 32], salt: &[u8], label: &str, context: &[u8]) -> [u8; 32] {
    let mut info = (label.len() as u64).to_be_bytes().to_vec();
    info.extend_from_slice(label.as_bytes());
    info.extend_from_slice(&(context.len() as u64).to_be_bytes());
    info.extend_from_slice(context);
    let mut out = [0; 32];
    hkdf_sha256(secret, salt, &info, &mut out).unwrap();
    out
}

/// One of the file's keys.
pub fn file_key(dek: &[u8; 32], superblock: &[u8], name: &str) -> [u8; 32] {
    let context = [&superblock[32..48], &superblock[8..32]].concat();
    key(dek, &[], &format!("nimbus/v1/dek/redb-{name}"), &context)
}

/// The bytes that redb sees.
pub fn read(file: &[u8], dek: &[u8; 32]) -> Vec<u8> {
    let superblock = &file[..BLOCK];
    assert_eq!(&superblock[..8], b"NMBSRDB2");
    assert_eq!(superblock[64..96], file_key(dek, superblock, "commitment"));
    let ring_blocks = u32_at(superblock, 24) as usize;
    let data_start = u32_at(superblock, 28) as usize;
    let records: BTreeMap<u64, Vec<u8>> = (0..ring_blocks)
        .filter_map(|position| record(file, dek, ring_blocks, position))
        .collect();
    let (&epoch, payload) = records.last_key_value().expect("a record");
    let away = entries_away(&records, epoch, u64_at(payload, 16));
    let logical = usize::try_from(u64_at(payload, 24)).unwrap();
    let groups = u32_at(payload, 40) as usize;
    let mut out = vec![0; logical];
    out[..512].copy_from_slice(&payload[128..640]);
    let page_key = file_key(dek, superblock, "page-key");
    for page in 1..(logical / BLOCK).min(groups * 128) {
        let meta = (data_start + page / 128 * 129) * BLOCK;
        let home = file[meta + page % 128 * 32..][..32].to_vec();
        let entry = away.get(&page).unwrap_or(&home);
        let mut aad = [0; 16];
        aad[..8].copy_from_slice(&(page as u64).to_le_bytes());
        aad[8] = entry[28];
        let data = match entry[28] {
            1 => file[meta + (1 + page % 128) * BLOCK..][..BLOCK].to_vec(),
            2 => Vec::new(),
            kind => panic!("page {page} is of kind {kind}"),
        };
        let sealed = [&data[..], &entry[12..28]].concat();
        let plain = aead::open(&page_key, entry[..12].try_into().unwrap(), &aad, &sealed);
        let plain = plain.unwrap_or_else(|_| panic!("page {page}"));
        out[page * BLOCK..][..plain.len()].copy_from_slice(&plain);
    }
    out
}

/// The entries that are not home, by page, as meta blocks would hold them.
fn entries_away(records: &BTreeMap<u64, Vec<u8>>, newest: u64, checkpoint: u64) -> BTreeMap<usize, Vec<u8>> {
    let mut away: BTreeMap<usize, Vec<u8>> = BTreeMap::new();
    for epoch in checkpoint + 1..=newest {
        let payload = &records[&epoch];
        if u32_at(payload, 48) & 1 != 0 {
            let fewest_pages = usize::try_from(u64_at(payload, 32)).unwrap() / BLOCK;
            away.retain(|&page, _| page < fewest_pages && page / 128 < u32_at(payload, 44) as usize);
        }
        let named = (u32_at(payload, 52) + u32_at(payload, 56)) as usize;
        for bytes in payload[640..].chunks(32).take(named) {
            let entry = [&bytes[4..], &[1, 0, 0, 0]].concat();
            away.insert(u32_at(bytes, 0) as usize, entry);
        }
    }
    away
}

/// The epoch and the opened payload of the record at a position of the ring, if there is one.
fn record(file: &[u8], dek: &[u8; 32], ring_blocks: usize, position: usize) -> Option<(u64, Vec<u8>)> {
    let block = |step: usize| file.get((2 + (position + step) % ring_blocks) * BLOCK..)?.get(..BLOCK);
    let first = block(0)?;
    if &first[..8] != b"NMBREC2\0" {
        return None;
    }
    let mut sealed = first[64..].to_vec();
    for step in 1..usize::from(u16::from_le_bytes([first[16], first[17]])) {
        sealed.extend_from_slice(block(step)?);
    }
    sealed.extend_from_slice(&first[32..48]);
    let aad = [&first[..20], &(position as u64).to_le_bytes()].concat();
    let record_key = file_key(dek, &file[..BLOCK], "record-key");
    let payload = aead::open(&record_key, first[20..32].try_into().unwrap(), &aad, &sealed).ok()?;
    Some((u64_at(first, 8), payload))
}

fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(bytes[offset..offset + 4].try_into().unwrap())
}

fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(bytes[offset..offset + 8].try_into().unwrap())
}
