//! Memory that a call shares with JavaScript (`src/native/slab.ts`): numbers pass through it both ways.
//!
//! As an argument or a result a number costs three or four calls of Node-API, here a store and a load. Nothing in it lasts: JavaScript
//! writes it right before a call, which reads it before SQLite may call JavaScript, and is written right before the call returns.

use std::ffi::c_int;
use std::mem::MaybeUninit;
use std::{ptr, slice, str};

use libsqlite3_sys as ffi;
use napi::sys;

use super::arguments::Arguments;
use super::state::Statement;
use super::statement::{bind_all, refuse};
use super::value::{self, Arena};

/// Parameters of a call, or columns of a row; more of them go other ways.
pub(super) const MOST_VALUES: usize = 64;
/// Of all texts of a row, which JavaScript cuts out of one string: it stays in memory as long as one of them.
const MOST_TEXT: usize = 256;

/// As `slab.ts` has it.
#[repr(C)]
pub(super) struct Slab {
    /// What the last statement changed, or the pages of a backup.
    pub(super) changes: f64,
    /// The last row id, or the pages of a backup that are left.
    pub(super) row_id: f64,
    /// The last row id, exactly.
    pub(super) exact_row_id: i64,
    /// The handle of the statement that is called, or of the one that was prepared.
    pub(super) statement: i32,
    /// Values for its parameters. Negative: its complement, and what is no number is an argument of the call; `ALL_ARE_ARGUMENTS`. Of a
    /// statement that was prepared, its columns.
    count: i32,
    /// Each a float64, or an int32 in its first four bytes.
    values: [u64; MOST_VALUES],
    kinds: [i32; MOST_VALUES],
}

/// A count of more values than there is room for.
const ALL_ARE_ARGUMENTS: i32 = i32::MIN;

/// Of a parameter.
const NUMBER: i32 = 0;
const STRING: i32 = 1;

/// Of a column: what is at least zero is text, and where it ends in the string of all texts.
const INT32: i32 = -1;
const FLOAT64: i32 = -2;
const NULL: i32 = -3;

/// In the place of a value that has none: what lay on the stack is not to cross.
const NOTHING: u64 = 0;

/// What is to be known of a statement that was prepared.
///
/// # Safety
/// `slab` is JavaScript's memory, which it reads before it calls again.
pub(super) unsafe fn leave_prepared(slab: *mut Slab, handle: i32, columns: c_int, is_read_only: c_int) {
    // SAFETY: the caller's contract.
    unsafe {
        (*slab).statement = handle;
        (*slab).count = columns;
        (*slab).kinds[0] = is_read_only;
    }
}

/// Binds the values of a call, of which argument `first` stands for the first parameter. Whether bindings are to be cleared
/// before the arena goes: numbers stay, since every call binds every parameter.
///
/// # Safety
/// `slab` is what JavaScript has just written for this call, and `statement` is prepared and not running.
#[inline]
pub(super) unsafe fn bind(
    arguments: &mut Arguments,
    slab: *const Slab,
    statement: *mut Statement,
    first: usize,
    arena: &mut Arena<'_>,
) -> Result<bool, sys::napi_value> {
    // SAFETY: the caller's contract; no JavaScript runs here.
    unsafe {
        let mut count = (*slab).count;
        if count < 0 {
            arguments.take_all();
            if count == ALL_ARE_ARGUMENTS {
                return bind_all(arguments, statement, first, Some(arena)).map(|()| true);
            }
            count = !count;
        }
        let raw = (*statement).raw;
        let env = arguments.env;
        let mut must_clear = false;
        let values = (*slab).values.iter().zip(&(*slab).kinds).take(count as usize);
        for (((&bits, &kind), index), place) in values.zip(1..).zip(first..) {
            let code = if kind == NUMBER {
                ffi::sqlite3_bind_double(raw, index, f64::from_bits(bits))
            } else {
                must_clear = true;
                let value = arguments.at(place);
                if kind == STRING {
                    value::bind_string(env, raw, index, value, Some(arena))
                } else {
                    value::bind(env, raw, index, value, Some(arena))
                }
            };
            if code != ffi::SQLITE_OK {
                ffi::sqlite3_clear_bindings(raw);
                return Err(refuse(env, code));
            }
        }
        Ok(must_clear)
    }
}

/// A row on its way into the slab. It waits beside it until the statement is reset, which may call JavaScript.
pub(super) struct Row {
    values: [MaybeUninit<u64>; MOST_VALUES],
    kinds: [MaybeUninit<i32>; MOST_VALUES],
    /// All texts, one after the other.
    text: MaybeUninit<[u8; MOST_TEXT]>,
}

impl Row {
    #[inline]
    pub(super) const fn uninit() -> Self {
        Self {
            values: [const { MaybeUninit::uninit() }; MOST_VALUES],
            kinds: [const { MaybeUninit::uninit() }; MOST_VALUES],
            text: MaybeUninit::uninit(),
        }
    }

    /// The current row, and null or a string of its texts; `None` if it does not fit, or has values that only JavaScript's own types
    /// hold.
    ///
    /// # Safety
    /// `statement` is on a row with so many columns; `env` is current.
    #[inline]
    pub(super) unsafe fn read(
        &mut self,
        env: sys::napi_env,
        statement: *mut ffi::sqlite3_stmt,
        columns: usize,
    ) -> Option<sys::napi_value> {
        if columns > MOST_VALUES {
            return None;
        }
        let mut texts = Texts::default();
        for ((slot, kind), column) in self.values.iter_mut().zip(&mut self.kinds).take(columns).zip(0..) {
            // SAFETY: the caller's contract. SQLite runs without mutexes here (SQLITE_THREADSAFE=2), where values of columns may be
            // asked like others ("Obtaining SQL Values"); each is copied at once.
            unsafe {
                let value = ffi::sqlite3_column_value(statement, column);
                kind.write(match ffi::sqlite3_value_type(value) {
                    ffi::SQLITE_INTEGER => put_integer(slot, ffi::sqlite3_value_int64(value)),
                    ffi::SQLITE_FLOAT => {
                        slot.write(ffi::sqlite3_value_double(value).to_bits());
                        FLOAT64
                    }
                    ffi::SQLITE_TEXT => {
                        slot.write(NOTHING);
                        texts.push(&mut self.text, value)?
                    }
                    ffi::SQLITE_NULL => {
                        slot.write(NOTHING);
                        NULL
                    }
                    _ => return None,
                });
            }
        }
        self.string(env, &texts, columns)
    }

    /// Null if there is no text; the ends of texts become those in the string; `None` if one is not UTF-8.
    #[inline]
    fn string(&mut self, env: sys::napi_env, texts: &Texts, columns: usize) -> Option<sys::napi_value> {
        let mut string = ptr::null_mut();
        // SAFETY: `env` is current; so many bytes and kinds were written.
        unsafe {
            if !texts.is_any {
                sys::napi_get_null(env, &raw mut string);
                return Some(string);
            }
            let bytes = slice::from_raw_parts(self.text.as_ptr().cast::<u8>(), texts.bytes);
            if !texts.is_beyond_ascii {
                sys::napi_create_string_latin1(env, bytes.as_ptr().cast(), bytes.len() as isize, &raw mut string);
                return Some(string);
            }
            let kinds = slice::from_raw_parts_mut(self.kinds.as_mut_ptr().cast::<i32>(), columns);
            utf16(env, bytes, kinds)
        }
    }

    /// # Safety
    /// So many columns were read, and JavaScript reads `slab` before it calls again.
    #[inline]
    pub(super) unsafe fn store(&self, slab: *mut Slab, columns: usize) {
        // SAFETY: the caller's contract; there is room for all that were read.
        unsafe {
            ptr::copy_nonoverlapping(self.values.as_ptr(), (&raw mut (*slab).values).cast(), columns);
            ptr::copy_nonoverlapping(self.kinds.as_ptr(), (&raw mut (*slab).kinds).cast(), columns);
        }
    }
}

#[inline]
fn put_integer(slot: &mut MaybeUninit<u64>, integer: i64) -> i32 {
    if let Ok(small) = i32::try_from(integer) {
        let mut bytes = NOTHING.to_ne_bytes();
        bytes[..4].copy_from_slice(&small.to_ne_bytes());
        slot.write(u64::from_ne_bytes(bytes));
        INT32
    } else {
        slot.write((integer as f64).to_bits());
        FLOAT64
    }
}

/// What is known of the texts of a row.
#[derive(Default)]
struct Texts {
    bytes: usize,
    is_any: bool,
    /// Bytes are not characters.
    is_beyond_ascii: bool,
}

impl Texts {
    /// Where it ends among the bytes; `None` if there is no room.
    ///
    /// # Safety
    /// `value` is a text.
    #[inline]
    unsafe fn push(
        &mut self,
        space: &mut MaybeUninit<[u8; MOST_TEXT]>,
        value: *mut ffi::sqlite3_value,
    ) -> Option<c_int> {
        // SAFETY: the caller's contract; so many bytes are copied as there are, and as there is room for.
        unsafe {
            let data = ffi::sqlite3_value_text(value);
            let length = usize::try_from(ffi::sqlite3_value_bytes(value)).ok()?;
            if data.is_null() || length > MOST_TEXT - self.bytes {
                return None;
            }
            let bytes = slice::from_raw_parts(data, length);
            self.is_beyond_ascii |= !bytes.is_ascii();
            ptr::copy_nonoverlapping(data, space.as_mut_ptr().cast::<u8>().add(self.bytes), length);
            self.bytes += length;
            self.is_any = true;
            c_int::try_from(self.bytes).ok()
        }
    }
}

/// Texts as one string, since V8 reads UTF-8 fifty times slower; the ends among `kinds` become those in it. `None` unless all are UTF-8.
unsafe fn utf16(env: sys::napi_env, bytes: &[u8], kinds: &mut [i32]) -> Option<sys::napi_value> {
    let mut units = [0_u16; MOST_TEXT];
    let (mut begin, mut used) = (0, 0);
    for kind in kinds {
        let Ok(end) = usize::try_from(*kind) else { continue };
        let text = str::from_utf8(bytes.get(begin..end)?).ok()?;
        for (unit, place) in text.encode_utf16().zip(units.get_mut(used..)?) {
            *place = unit;
            used += 1;
        }
        *kind = c_int::try_from(used).ok()?;
        begin = end;
    }
    let mut string = ptr::null_mut();
    // SAFETY: the caller says that `env` is current; so many units are there.
    unsafe { sys::napi_create_string_utf16(env, units.as_ptr(), used as isize, &raw mut string) };
    Some(string)
}
