//! Reading a key file straight into memory that the caller chose (locked pages), and saying what is wrong with a bad one.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// Exactly this many raw bytes make a key.
const KEY_BYTES: usize = 32;
/// Enough of a file that is too long to tell hex (64 digits) or base64 (44) with a line end from something else.
const PROBE_BYTES: usize = 96;

/// What the file system says of a key file that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyFileFacts {
    /// Permission bits (`st_mode & 0o7777`).
    pub mode: u32,
}

/// Why a file is not a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyFileDefect {
    /// There is no such file.
    Missing,
    /// It exists, but cannot be read by this process.
    Unreadable,
    /// It is a directory.
    Directory,
    /// It is a device, a pipe or a socket.
    NotAFile,
    /// It has fewer than 32 bytes.
    Short,
    /// It has more than 32 bytes.
    Long,
    /// Its bytes are hexadecimal digits: text, not a raw key.
    LooksLikeHex,
    /// Its bytes are base64 characters: text, not a raw key.
    LooksLikeBase64,
}

/// A key file that was refused, with the size found (0 where none was read).
#[derive(Debug, thiserror::Error)]
#[error("key file {path} was refused: {defect:?} ({bytes} bytes)")]
pub struct KeyFileError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub defect: KeyFileDefect,
    /// Its size, where it has one.
    pub bytes: u64,
}

/// Reads exactly 32 raw bytes into `key`; nothing of them is copied elsewhere.
///
/// A file of 32 bytes that are all hexadecimal digits or all base64 characters is refused as text: for 32 random bytes
/// the chance of that is below 2^-63.
///
/// # Errors
/// [`KeyFileError`]; `key` is then all zero.
pub fn read_key_file(path: &Path, key: &mut [u8; KEY_BYTES]) -> Result<KeyFileFacts, KeyFileError> {
    let refused = |defect, bytes| KeyFileError {
        path: path.to_owned(),
        defect,
        bytes,
    };
    let result = read_into(path, key).map_err(|(defect, bytes)| refused(defect, bytes));
    if result.is_err() {
        zeroize::Zeroize::zeroize(key);
    }
    result
}

fn read_into(path: &Path, key: &mut [u8; KEY_BYTES]) -> Result<KeyFileFacts, (KeyFileDefect, u64)> {
    // O_NONBLOCK: opening a pipe that nobody writes to must not hang the start of a server.
    let mut file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => (KeyFileDefect::Missing, 0),
            _ => (KeyFileDefect::Unreadable, 0),
        })?;
    let metadata = file.metadata().map_err(|_| (KeyFileDefect::Unreadable, 0))?;
    if metadata.is_dir() {
        return Err((KeyFileDefect::Directory, 0));
    }
    if !metadata.is_file() {
        return Err((KeyFileDefect::NotAFile, 0));
    }
    let size = metadata.len();
    let read = read_up_to(&mut file, key).map_err(|_| (KeyFileDefect::Unreadable, size))?;
    let mut rest = Zeroizing::new([0_u8; PROBE_BYTES]);
    let more = read_up_to(&mut file, &mut rest[..]).map_err(|_| (KeyFileDefect::Unreadable, size))?;
    let found = key.iter().take(read).chain(rest.iter().take(more)).copied();
    if let Some(defect) = text_defect(&found) {
        return Err((defect, size));
    }
    match (read, more) {
        (KEY_BYTES, 0) => Ok(KeyFileFacts {
            mode: metadata.mode() & 0o7777,
        }),
        (KEY_BYTES, _) => Err((KeyFileDefect::Long, size)),
        _ => Err((KeyFileDefect::Short, size)),
    }
}

fn read_up_to(file: &mut impl Read, into: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = into.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read(rest) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Short texts are not named: a truncated raw key may consist of digits by chance.
fn text_defect(bytes: &(impl Iterator<Item = u8> + Clone)) -> Option<KeyFileDefect> {
    let trimmed = || bytes.clone().filter(|byte| !byte.is_ascii_whitespace());
    if trimmed().count() < KEY_BYTES {
        return None;
    }
    if trimmed().all(|byte| byte.is_ascii_hexdigit()) {
        return Some(KeyFileDefect::LooksLikeHex);
    }
    let base64 = |byte: u8| byte.is_ascii_alphanumeric() || b"+/-_=".contains(&byte);
    trimmed().all(base64).then_some(KeyFileDefect::LooksLikeBase64)
}
