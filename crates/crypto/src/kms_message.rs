//! The data key in the JSON answers of a KMS to `GenerateDataKey` and `Decrypt`: the base64 text of the top-level member
//! `Plaintext` (AWS KMS API reference), taken out in place, so that it passes through nobody else's memory.
//!
//! The scanner is strict where leniency could leave a key behind: the member may appear once, spelled without escapes, and
//! its text is canonical base64 (RFC 4648 section 4) of exactly 32 bytes. Depth, escapes and UTF-8 elsewhere are the business of
//! whoever parses the message afterwards.

use std::ops::Range;

use zeroize::Zeroize;

use crate::{KEY_BYTES, LockedBytes, WrappingKey};

/// Why no key was taken from a message. Nothing of the message is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KmsMessageError {
    /// Not one JSON object: cut off, or something else.
    #[error("the message is not one whole JSON object")]
    Malformed,
    /// More than one member `Plaintext`, or a member whose name is spelled with escapes.
    #[error("the message does not name its members plainly")]
    Ambiguous,
    /// There is no member `Plaintext`.
    #[error("the message has no member Plaintext")]
    Absent,
    /// `Plaintext` is not the base64 text of 32 bytes.
    #[error("the member Plaintext is not the base64 text of 32 bytes")]
    NotAKey,
}

impl WrappingKey {
    /// Moves the data key out of a KMS's answer: afterwards `Plaintext` is the empty string there, and the message, of the
    /// same length, can be parsed by anybody.
    ///
    /// # Errors
    /// [`KmsMessageError::Absent`] leaves the message as it is: it is the report of an error. After any other error the whole
    /// message is zeros, since there may be a key in it.
    pub fn take_from_kms_answer(message: &mut [u8]) -> Result<Self, KmsMessageError> {
        let taken = plaintext_of(message).and_then(|text| {
            let text = message.get_mut(text).ok_or(KmsMessageError::Malformed)?;
            let mut key = LockedBytes::zeroed();
            decode(unquoted(text)?, key.expose_secret_mut())?;
            text.zeroize();
            text.fill(b' ');
            text.get_mut(..2)
                .ok_or(KmsMessageError::NotAKey)?
                .copy_from_slice(b"\"\"");
            Ok(Self::from_data_key(&key))
        });
        if !matches!(taken, Ok(_) | Err(KmsMessageError::Absent)) {
            message.zeroize();
        }
        taken
    }
}

/// Characters of base64 for 32 bytes.
const TEXT_BYTES: usize = KEY_BYTES.div_ceil(3) * 4;

fn unquoted(text: &[u8]) -> Result<&[u8], KmsMessageError> {
    match text {
        [b'"', inner @ .., b'"'] => Ok(inner),
        _ => Err(KmsMessageError::NotAKey),
    }
}

/// Where the value of the top-level member `Plaintext` lies, its quotes included.
fn plaintext_of(message: &[u8]) -> Result<Range<usize>, KmsMessageError> {
    let mut scanner = Scanner { message, at: 0 };
    let mut found = None;
    scanner.space();
    scanner.expect(b'{')?;
    scanner.space();
    if scanner.peek() == Some(b'}') {
        scanner.at += 1;
    } else {
        loop {
            scanner.space();
            let name = scanner.string()?;
            let name = message.get(name).ok_or(KmsMessageError::Malformed)?;
            scanner.space();
            scanner.expect(b':')?;
            scanner.space();
            let value = scanner.value()?;
            // A name with an escape in it could be any name.
            if name.contains(&b'\\') || (name == b"\"Plaintext\"" && found.replace(value).is_some()) {
                return Err(KmsMessageError::Ambiguous);
            }
            scanner.space();
            match scanner.next()? {
                b',' => {}
                b'}' => break,
                _ => return Err(KmsMessageError::Malformed),
            }
        }
    }
    scanner.space();
    if scanner.at != message.len() {
        return Err(KmsMessageError::Malformed);
    }
    found.ok_or(KmsMessageError::Absent)
}

/// Goes through JSON (RFC 8259) from left to right, without recursion and without allocating.
struct Scanner<'a> {
    message: &'a [u8],
    at: usize,
}

impl Scanner<'_> {
    fn peek(&self) -> Option<u8> {
        self.message.get(self.at).copied()
    }

    fn next(&mut self) -> Result<u8, KmsMessageError> {
        let byte = self.peek().ok_or(KmsMessageError::Malformed)?;
        self.at += 1;
        Ok(byte)
    }

    fn expect(&mut self, wanted: u8) -> Result<(), KmsMessageError> {
        if self.next()? == wanted {
            Ok(())
        } else {
            Err(KmsMessageError::Malformed)
        }
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// A string with its quotes.
    fn string(&mut self) -> Result<Range<usize>, KmsMessageError> {
        let start = self.at;
        self.expect(b'"')?;
        loop {
            match self.next()? {
                b'"' => return Ok(start..self.at),
                b'\\' => {
                    self.next()?;
                }
                0..=0x1f => return Err(KmsMessageError::Malformed),
                _ => {}
            }
        }
    }

    /// A value of any kind. Of an array or object only strings and brackets are looked at.
    fn value(&mut self) -> Result<Range<usize>, KmsMessageError> {
        let start = self.at;
        let mut depth = 0_usize;
        loop {
            match self.peek().ok_or(KmsMessageError::Malformed)? {
                b'"' => {
                    self.string()?;
                }
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                }
                b'}' | b']' if depth > 0 => {
                    depth -= 1;
                    self.at += 1;
                }
                b',' | b'}' | b']' if depth == 0 => return Err(KmsMessageError::Malformed),
                _ if depth > 0 => self.at += 1,
                _ => self.word()?,
            }
            if depth == 0 {
                return Ok(start..self.at);
            }
        }
    }

    /// A number, `true`, `false` or `null`.
    fn word(&mut self) -> Result<(), KmsMessageError> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9' | b'a'..=b'z' | b'E' | b'+' | b'-' | b'.')) {
            self.at += 1;
        }
        if self.at == start {
            return Err(KmsMessageError::Malformed);
        }
        Ok(())
    }
}

/// Decodes without a table and without branching on the text, so that time and cache say nothing of the key. Accepts the one
/// spelling of 32 bytes only: 43 characters, `=`, unused bits zero.
fn decode(text: &[u8], key: &mut [u8; KEY_BYTES]) -> Result<(), KmsMessageError> {
    let Some((b'=', digits)) = text.split_last().filter(|_| text.len() == TEXT_BYTES) else {
        return Err(KmsMessageError::NotAKey);
    };
    let mut invalid = 0;
    let mut pending = 0_u32;
    let mut pending_bits = 0;
    let mut places = key.iter_mut();
    for &digit in digits {
        let value = value_of(digit);
        invalid |= value & !0x3f;
        pending = (pending << 6) | (value & 0x3f);
        pending_bits += 6;
        if pending_bits >= 8 {
            pending_bits -= 8;
            if let Some(place) = places.next() {
                *place = pending.wrapping_shr(pending_bits).to_le_bytes()[0];
            }
        }
    }
    invalid |= pending & 0b11;
    pending.zeroize();
    if invalid == 0 {
        Ok(())
    } else {
        key.zeroize();
        Err(KmsMessageError::NotAKey)
    }
}

/// All ones if `low <= value <= high`, else 0, for values below 2^31.
const fn within(value: u32, low: u32, high: u32) -> u32 {
    let below = value.wrapping_sub(low) >> 31;
    let above = high.wrapping_sub(value) >> 31;
    (below | above).wrapping_sub(1)
}

/// The six bits of a digit of base64 (RFC 4648, table 1), or all ones.
const fn value_of(digit: u8) -> u32 {
    let digit = digit as u32;
    let upper = within(digit, 'A' as u32, 'Z' as u32);
    let lower = within(digit, 'a' as u32, 'z' as u32);
    let decimal = within(digit, '0' as u32, '9' as u32);
    let plus = within(digit, '+' as u32, '+' as u32);
    let slash = within(digit, '/' as u32, '/' as u32);
    (upper & digit.wrapping_sub('A' as u32))
        | (lower & digit.wrapping_sub('a' as u32).wrapping_add(26))
        | (decimal & digit.wrapping_sub('0' as u32).wrapping_add(52))
        | (plus & 0x3e)
        | (slash & 0x3f)
        | !(upper | lower | decimal | plus | slash)
}
