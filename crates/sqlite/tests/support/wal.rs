//! Write-ahead logs, taken apart and put together again ("WAL-mode File Format", sections 2 and 3).

use std::path::{Path, PathBuf};

use super::PAGE_BYTES;

pub const HEADER: usize = 32;
pub const FRAME_HEADER: usize = 24;
pub const FRAME: usize = FRAME_HEADER + PAGE_BYTES;

pub fn log_of(path: &Path) -> PathBuf {
    path.with_extension("sqlite3-wal")
}

pub fn frames_of(log: &[u8]) -> usize {
    (log.len() - HEADER) / FRAME
}

/// Where a frame begins; its page begins `FRAME_HEADER` later.
pub fn frame_at(frame: usize) -> usize {
    HEADER + frame * FRAME
}

pub fn page_number(log: &[u8], frame: usize) -> u32 {
    word(log, frame_at(frame))
}

/// The log without the frames of the first page; the last frame left ends a transaction.
pub fn without_first_page(log: &[u8]) -> Vec<u8> {
    let mut spared = log[..HEADER].to_vec();
    let mut database_pages = 0;
    for frame in 0..frames_of(log) {
        database_pages = database_pages.max(word(log, frame_at(frame) + 4));
        if page_number(log, frame) != 1 {
            spared.extend_from_slice(&log[frame_at(frame)..frame_at(frame + 1)]);
        }
    }
    let last = spared.len() - FRAME;
    spared[last + 4..last + 8].copy_from_slice(&database_pages.to_be_bytes());
    mend(&mut spared);
    spared
}

/// Makes every checksum of the log right again.
pub fn mend(log: &mut [u8]) {
    mend_pages_of(log, PAGE_BYTES);
}

pub fn mend_pages_of(log: &mut [u8], page_bytes: usize) {
    let big_endian = word(log, 0) & 1 == 1;
    let mut sum = checksum(&log[..24], (0, 0), big_endian);
    put(log, 24, sum);
    let salts = log[16..24].to_vec();
    let frame_bytes = FRAME_HEADER + page_bytes;
    for start in (HEADER..=log.len() - frame_bytes).step_by(frame_bytes) {
        log[start + 8..start + 16].copy_from_slice(&salts);
        sum = checksum(&log[start..start + 8], sum, big_endian);
        sum = checksum(&log[start + FRAME_HEADER..start + frame_bytes], sum, big_endian);
        put(log, start + 16, sum);
    }
}

fn put(log: &mut [u8], at: usize, sum: (u32, u32)) {
    log[at..at + 4].copy_from_slice(&sum.0.to_be_bytes());
    log[at + 4..at + 8].copy_from_slice(&sum.1.to_be_bytes());
}

fn checksum(bytes: &[u8], (mut s0, mut s1): (u32, u32), big_endian: bool) -> (u32, u32) {
    for pair in bytes.chunks_exact(8) {
        let read = |at: usize| {
            let raw = [pair[at], pair[at + 1], pair[at + 2], pair[at + 3]];
            if big_endian {
                u32::from_be_bytes(raw)
            } else {
                u32::from_le_bytes(raw)
            }
        };
        s0 = s0.wrapping_add(read(0)).wrapping_add(s1);
        s1 = s1.wrapping_add(read(4)).wrapping_add(s0);
    }
    (s0, s1)
}

pub fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
