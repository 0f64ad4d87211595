//! Judges a rollback journal before SQLite plays it back.
//!
//! SQLite plays a journal back before it reads anything else: it cuts the data file to the size that the journal names,
//! writes the journal's pages over it as they are, and may remove a file of any name that the journal holds. An encrypted
//! file has a journal only where a crash interrupted the change of its key or of its journal mode, so one is rare, but
//! refusing it would lose a file that is merely interrupted. Each page must therefore be one of this file's, and the size
//! must be one that the file's own first page confirms; then playing it back is what its writer wanted.
//!
//! Source: "Database File Format", section 3; `pager_playback`, `readJournalHdr`, `readSuperJournal` of SQLite 3.53.4.

use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;

use nimbus_crypto::sqlcipher::FilePages;

use crate::frames::word;

const MAGIC: [u8; 8] = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];
const HEADER_BYTES: usize = 28;
const SMALLEST_SECTOR_BYTES: u64 = 512;
const PAGE_BYTES: usize = 4096;
/// As headers give it.
const PAGE_SIZE: u32 = 4096;
/// Page number, page, checksum.
const RECORD_BYTES: usize = PAGE_BYTES + 8;
/// The page with SQLite's lock bytes, at 1 GiB: in a journal its number ends the records.
pub(crate) const LOCK_PAGE: u32 = 0x4000_0000 / PAGE_SIZE + 1;
/// In place of a number of records: as many as there are.
const UNCOUNTED: u32 = u32::MAX;
const READ_AT_ONCE_BYTES: usize = 256 * 1024;

/// Whether the data file may turn out never to have been written to the end of its first transaction, whose journal empties it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Emptying {
    /// Its manifest says that it was made.
    Never,
    /// Nothing but the file itself says how far its maker came.
    IfNew,
}

/// Whether SQLite may be let at the journal at `path`. `first_page` reads the first page of the data file, as it lies there.
pub(crate) fn is_harmless(
    path: &Path,
    pages: &FilePages,
    emptying: Emptying,
    first_page: impl FnOnce() -> Option<Vec<u8>>,
) -> io::Result<bool> {
    let mut journal = match File::open(path) {
        Ok(journal) => journal,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error),
    };
    let metadata = journal.metadata()?;
    if !metadata.is_file() {
        return Ok(false);
    }
    let mut first_byte = [0];
    if journal.read(&mut first_byte)? == 0 || first_byte == [0] {
        // Empty, or finished by zeroing its header: SQLite lets it lie.
        return Ok(true);
    }
    if names_another_file(&mut journal, metadata.len())? {
        return Ok(false);
    }
    let mut reader = Reader {
        journal: BufReader::with_capacity(READ_AT_ONCE_BYTES, journal),
        length: metadata.len(),
        pages,
        own_pages: None,
    };
    match reader.read()? {
        Records::None => Ok(true),
        Records::Foreign => Ok(false),
        Records::Own { database_pages: 0 } if emptying == Emptying::IfNew => {
            Ok(first_page().is_none_or(|page| is_of_first_transaction(&page, pages)))
        }
        Records::Own { database_pages } => {
            let own_pages = reader
                .own_pages
                .or_else(|| database_pages_of(&pages.open_first(&first_page()?)?));
            Ok(own_pages.is_some_and(|own| own != 0 && own <= database_pages))
        }
    }
}

/// Whether nothing but a file's first transaction can have written this first page: it was not reached yet, or its change
/// counter says so. A log keeps the counter low however much it holds: where there is one, the file may have no second page.
fn is_of_first_transaction(page: &[u8], pages: &FilePages) -> bool {
    if page.iter().all(|&byte| byte == 0) {
        return true;
    }
    pages.open_first(page).is_some_and(|content| {
        let has_log = content.get(18..20) != Some(&[1, 1]);
        word(&content, 24) <= 1 && (!has_log || database_pages_of(&content).is_some_and(|count| count <= 1))
    })
}

/// Whether the journal ends like one that belongs to a transaction over several files, which nimbus never has: the length of
/// the name of another file, a checksum, and the magic again.
fn names_another_file(journal: &mut File, length: u64) -> io::Result<bool> {
    let mut end = [0; 16];
    let Some(before) = length.checked_sub(end.len() as u64) else {
        return Ok(false);
    };
    journal.seek(SeekFrom::Start(before))?;
    journal.read_exact(&mut end)?;
    Ok(end.ends_with(&MAGIC) && (1..=before).contains(&u64::from(word(&end, 0))))
}

/// The size of the database in pages, as its own first page says; 0 from writers that did not keep it ("In-header database
/// size").
pub(crate) fn database_pages_of(first_page: &[u8]) -> Option<u32> {
    (first_page.get(24..28)? == first_page.get(92..96)?).then(|| word(first_page, 28))
}

/// What SQLite would take from a journal.
enum Records {
    /// Nothing: it was never finished.
    None,
    /// Pages of this file, of which the database had so many.
    Own { database_pages: u32 },
    /// A page that is not one of this file's.
    Foreign,
}

struct Reader<'a> {
    journal: BufReader<File>,
    length: u64,
    pages: &'a FilePages,
    /// What the first page among the records says of the size.
    own_pages: Option<u32>,
}

impl Reader<'_> {
    fn read(&mut self) -> io::Result<Records> {
        let mut at = 0;
        let mut first = None;
        while let Some(header) = self.header_at(at)? {
            let (sector_bytes, database_pages) = match first {
                Some(first) => first,
                None if !header.has_valid_sizes() => break,
                None if header.page_bytes != 0 && header.page_bytes != PAGE_SIZE => {
                    return Ok(Records::Foreign);
                }
                None => *first.insert((u64::from(header.sector_bytes), header.database_pages)),
            };
            at += sector_bytes;
            let fitting = self.length.saturating_sub(at) / RECORD_BYTES as u64;
            let records = match header.records {
                UNCOUNTED => fitting,
                records => u64::from(records),
            };
            self.journal.seek(SeekFrom::Start(at))?;
            for _ in 0..records {
                match self.record(header.checksum_seed, database_pages)? {
                    Record::Own => at += RECORD_BYTES as u64,
                    Record::Foreign => return Ok(Records::Foreign),
                    Record::End => return Ok(Records::Own { database_pages }),
                }
            }
            at = at.next_multiple_of(sector_bytes);
        }
        Ok(first.map_or(Records::None, |(_, database_pages)| Records::Own { database_pages }))
    }

    /// `None` where SQLite stops.
    fn header_at(&mut self, at: u64) -> io::Result<Option<Header>> {
        if at + SMALLEST_SECTOR_BYTES > self.length {
            return Ok(None);
        }
        let mut bytes = [0; HEADER_BYTES];
        self.journal.seek(SeekFrom::Start(at))?;
        self.journal.read_exact(&mut bytes)?;
        Ok(bytes.starts_with(&MAGIC).then(|| Header {
            records: word(&bytes, 8),
            checksum_seed: word(&bytes, 12),
            database_pages: word(&bytes, 16),
            sector_bytes: word(&bytes, 20),
            page_bytes: word(&bytes, 24),
        }))
    }

    fn record(&mut self, checksum_seed: u32, database_pages: u32) -> io::Result<Record> {
        let mut record = [0; RECORD_BYTES];
        match self.journal.read_exact(&mut record) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(Record::End),
            other => other?,
        }
        let number = word(&record, 0);
        let Some((page, stored)) = record.get(4..).and_then(<[u8]>::split_first_chunk::<PAGE_BYTES>) else {
            return Ok(Record::End);
        };
        if number == 0 || number == LOCK_PAGE {
            return Ok(Record::End);
        }
        if number > database_pages {
            // SQLite passes over it.
            return Ok(Record::Own);
        }
        if checksum(checksum_seed, page) != word(stored, 0) {
            return Ok(Record::End);
        }
        if !self.pages.is_authentic(number, page) {
            return Ok(Record::Foreign);
        }
        if number == 1 {
            let own_pages = self.pages.open_first(page).as_deref().and_then(database_pages_of);
            // 0 is never believed: a first page that does not know the size proves nothing.
            self.own_pages = Some(own_pages.unwrap_or(0).max(self.own_pages.unwrap_or(0)));
        }
        Ok(Record::Own)
    }
}

enum Record {
    Own,
    Foreign,
    /// SQLite stops here.
    End,
}

struct Header {
    records: u32,
    checksum_seed: u32,
    database_pages: u32,
    sector_bytes: u32,
    page_bytes: u32,
}

impl Header {
    /// Else the header was never synced.
    fn has_valid_sizes(&self) -> bool {
        let page_fits =
            self.page_bytes == 0 || (self.page_bytes.is_power_of_two() && (512..=65536).contains(&self.page_bytes));
        page_fits && self.sector_bytes.is_power_of_two() && (32..=65536).contains(&self.sector_bytes)
    }
}

/// `pager_cksum`: every 200th byte from the end.
fn checksum(seed: u32, page: &[u8; PAGE_BYTES]) -> u32 {
    page.iter()
        .rev()
        .skip(199)
        .step_by(200)
        .fold(seed, |sum, &byte| sum.wrapping_add(u32::from(byte)))
}
