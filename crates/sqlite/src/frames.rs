//! Reads a write-ahead log as SQLite's recovery does, and authenticates each page that it would take.
//!
//! SQLite copies frames into the data file as they are, ciphertext and all: its checksum tells a torn frame from a whole
//! one, but anybody can compute it. What comes after the last frame that ends a transaction is what a crash leaves;
//! SQLite never reads it, and so it is not judged here.
//!
//! Source: "WAL-mode File Format", sections 2 and 3; `walIndexRecover` and `walDecodeFrame` of SQLite 3.53.4.

use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read};
use std::path::Path;

use nimbus_crypto::sqlcipher::FilePages;

const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;
const MAGIC: u32 = 0x377f_0682;
const VERSION: u32 = 3_007_000;
const PAGE_SIZES: std::ops::RangeInclusive<u32> = 512..=65536;
/// A log may be larger than memory.
const READ_AT_ONCE_BYTES: usize = 256 * 1024;

/// What a log is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// SQLite takes this many frames, and each holds a page of the file.
    Sound { frames: u32 },
    /// SQLite would take a frame that is not of this file, or was altered, or it cannot read this version of the format.
    Damaged,
}

/// Judges the log at `path`; none at all is an empty one. Without `pages`, which a plain file does not have, only by its
/// checksums.
pub(crate) fn examine(path: &Path, pages: Option<&FilePages>) -> io::Result<Verdict> {
    examine_each(path, pages, |_| {})
}

/// Likewise; `on_page` is told of each page of a transaction that SQLite takes.
pub(crate) fn examine_each(path: &Path, pages: Option<&FilePages>, on_page: impl FnMut(u32)) -> io::Result<Verdict> {
    let log = match File::open(path) {
        Ok(log) => log,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Verdict::Sound { frames: 0 }),
        Err(error) => return Err(error),
    };
    if !log.metadata()?.is_file() {
        return Ok(Verdict::Damaged);
    }
    examine_frames(BufReader::with_capacity(READ_AT_ONCE_BYTES, log), pages, on_page)
}

fn examine_frames(mut log: impl Read, pages: Option<&FilePages>, mut on_page: impl FnMut(u32)) -> io::Result<Verdict> {
    let mut header = [0; HEADER_BYTES];
    if !read_whole(&mut log, &mut header)? {
        return Ok(Verdict::Sound { frames: 0 });
    }
    let Some(header) = Header::parse(&header) else {
        return Ok(Verdict::Sound { frames: 0 });
    };
    if header.version != VERSION {
        return Ok(Verdict::Damaged);
    }
    let mut sum = header.sum;
    let mut frame = vec![0; FRAME_HEADER_BYTES + header.page_bytes];
    let (mut read, mut committed) = (0, 0);
    let mut all_authentic = true;
    let mut transaction = Vec::new();
    while read_whole(&mut log, &mut frame)? {
        let Some((number, database_pages)) = header.accept(&frame, &mut sum) else {
            break;
        };
        read += 1;
        transaction.push(number);
        let page = frame.get(FRAME_HEADER_BYTES..).unwrap_or_default();
        all_authentic &= pages.is_none_or(|pages| pages.is_authentic(number, page));
        if database_pages != 0 {
            if !all_authentic {
                return Ok(Verdict::Damaged);
            }
            committed = read;
            transaction.drain(..).for_each(&mut on_page);
        }
    }
    Ok(Verdict::Sound { frames: committed })
}

/// The header of a log whose checksum is right.
struct Header {
    words_are_big_endian: bool,
    version: u32,
    page_bytes: usize,
    salts: [u8; 8],
    sum: Sum,
}

impl Header {
    /// `None` for what SQLite takes for an empty log: a crash can leave the header torn.
    fn parse(bytes: &[u8; HEADER_BYTES]) -> Option<Self> {
        let words_are_big_endian = match word(bytes, 0) {
            MAGIC => false,
            magic if magic == MAGIC + 1 => true,
            _ => return None,
        };
        let page_bytes = word(bytes, 8);
        if !page_bytes.is_power_of_two() || !PAGE_SIZES.contains(&page_bytes) {
            return None;
        }
        let sum = Sum::default().add(bytes.get(..24)?, words_are_big_endian);
        (sum == Sum::stored(bytes.get(24..)?)).then_some(Self {
            words_are_big_endian,
            version: word(bytes, 4),
            page_bytes: usize::try_from(page_bytes).ok()?,
            salts: *bytes.get(16..)?.first_chunk()?,
            sum,
        })
    }

    /// The page number of a frame, and the size of the database if it ends a transaction, or else 0; `None` where SQLite
    /// stops. `sum` is that of everything before.
    fn accept(&self, frame: &[u8], sum: &mut Sum) -> Option<(u32, u32)> {
        let (header, page) = frame.split_first_chunk::<FRAME_HEADER_BYTES>()?;
        let number = word(header, 0);
        if header.get(8..16)? != self.salts || number == 0 {
            return None;
        }
        *sum = sum
            .add(header.get(..8)?, self.words_are_big_endian)
            .add(page, self.words_are_big_endian);
        (*sum == Sum::stored(header.get(16..)?)).then(|| (number, word(header, 4)))
    }
}

/// The running checksum of a log ("Checksum Algorithm").
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Sum(u32, u32);

impl Sum {
    fn stored(bytes: &[u8]) -> Self {
        Self(word(bytes, 0), word(bytes, 4))
    }

    /// Apart for each byte order, so that the compiler keeps the choice out of the loop.
    fn add(self, bytes: &[u8], words_are_big_endian: bool) -> Self {
        if words_are_big_endian {
            self.add_words(bytes, u32::from_be_bytes)
        } else {
            self.add_words(bytes, u32::from_le_bytes)
        }
    }

    #[inline]
    fn add_words(mut self, bytes: &[u8], parse: impl Fn([u8; 4]) -> u32) -> Self {
        let (pairs, _) = bytes.as_chunks::<8>();
        for &[a, b, c, d, e, f, g, h] in pairs {
            self.0 = self.0.wrapping_add(parse([a, b, c, d])).wrapping_add(self.1);
            self.1 = self.1.wrapping_add(parse([e, f, g, h])).wrapping_add(self.0);
        }
        self
    }
}

/// Fills `buffer`; false if the log ends before.
fn read_whole(log: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match log.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// The big-endian number at `at`, which the caller knows to be there.
pub(crate) fn word(bytes: &[u8], at: usize) -> u32 {
    let found = bytes.get(at..).and_then(<[u8]>::first_chunk);
    u32::from_be_bytes(*found.expect("the header is of fixed length"))
}
