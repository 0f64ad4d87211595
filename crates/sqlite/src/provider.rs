//! The crypto provider that SQLCipher is compiled to ask for (`SQLCIPHER_CRYPTO_CUSTOM=nimbus_sqlcipher_setup`).
//!
//! A table of C functions over [`PageCrypto`]; no OpenSSL is compiled or linked. Beside SQLCipher's own comparison, the
//! stored MAC of each page that is read is compared here and a failure is counted ([`crate::tamper`]), because SQLite
//! can drop the error that SQLCipher reports.
//!
//! Source of the interface: `struct sqlcipher_provider` in sqlcipher.h, SQLCipher 4.19.0; of its use:
//! `sqlcipher_page_cipher` and `sqlcipher_page_hmac`.

#![expect(unsafe_code, reason = "SQLCipher calls these functions with raw pointers")]

use std::ffi::{c_char, c_int, c_uchar, c_void};
use std::num::NonZeroU32;
use std::ptr;
use std::slice;

use libsqlite3_sys::{SQLITE_ERROR, SQLITE_OK};
use nimbus_crypto::sqlcipher::{BLOCK_BYTES, HashAlgorithm, PageCrypto, pbkdf2};
use nimbus_crypto::{KEY_BYTES, random};

use crate::linkage::called_from_c;
use crate::{meter, read_ahead, secret_memory, tamper};

const KEY_SIZE: c_int = 32;
const BLOCK_SIZE: c_int = 16;
const _: () = assert!(KEY_BYTES == 32 && BLOCK_BYTES == 16, "the sizes that SQLCipher is told");
const DECRYPT: c_int = 0;
const ENCRYPT: c_int = 1;

/// `struct sqlcipher_provider`, field for field.
#[repr(C)]
struct Provider {
    init: Option<extern "C" fn() -> c_int>,
    shutdown: Option<extern "C" fn()>,
    get_provider_name: extern "C" fn(*mut c_void) -> *const c_char,
    add_random: extern "C" fn(*mut c_void, *const c_void, c_int) -> c_int,
    random: unsafe extern "C" fn(*mut c_void, *mut c_void, c_int) -> c_int,
    hmac: unsafe extern "C" fn(
        *mut c_void,
        c_int,
        *const c_uchar,
        c_int,
        *const c_uchar,
        c_int,
        *const c_uchar,
        c_int,
        *mut c_uchar,
    ) -> c_int,
    kdf: unsafe extern "C" fn(
        *mut c_void,
        c_int,
        *const c_uchar,
        c_int,
        *const c_uchar,
        c_int,
        c_int,
        c_int,
        *mut c_uchar,
    ) -> c_int,
    cipher: unsafe extern "C" fn(
        *mut c_void,
        c_int,
        *const c_uchar,
        c_int,
        *const c_uchar,
        *const c_uchar,
        c_int,
        *mut c_uchar,
    ) -> c_int,
    get_cipher: extern "C" fn(*mut c_void) -> *const c_char,
    get_key_sz: extern "C" fn(*mut c_void) -> c_int,
    get_iv_sz: extern "C" fn(*mut c_void) -> c_int,
    get_block_sz: extern "C" fn(*mut c_void) -> c_int,
    get_hmac_sz: extern "C" fn(*mut c_void, c_int) -> c_int,
    ctx_init: unsafe extern "C" fn(*mut *mut c_void) -> c_int,
    ctx_free: unsafe extern "C" fn(*mut *mut c_void) -> c_int,
    fips_status: extern "C" fn(*mut c_void) -> c_int,
    get_provider_version: extern "C" fn(*mut c_void) -> *const c_char,
    next: *mut Provider,
}

called_from_c!("nimbus_sqlcipher_setup", setup);

unsafe extern "C" {
    fn nimbus_sqlcipher_setup(provider: *mut Provider) -> c_int;
}

/// SQLCipher's C code is the only caller, so the linker would drop the symbol from this crate's archive.
#[used]
static KEEP: unsafe extern "C" fn(*mut Provider) -> c_int = nimbus_sqlcipher_setup;

/// A reference from code that runs: together with [`KEEP`] it holds the symbol in every binary that opens a file.
pub(crate) fn keep_linked() {
    std::hint::black_box(&raw const KEEP);
    secret_memory::keep_linked();
}

/// Fills SQLCipher's table of crypto functions.
///
/// # Safety
/// `provider` points to memory for one [`Provider`], or is null.
unsafe extern "C" fn setup(provider: *mut Provider) -> c_int {
    if provider.is_null() {
        return SQLITE_ERROR;
    }
    let table = Provider {
        init: None,
        shutdown: None,
        get_provider_name: name,
        add_random,
        random: fill_random,
        hmac,
        kdf,
        cipher,
        get_cipher,
        get_key_sz,
        get_iv_sz,
        get_block_sz,
        get_hmac_sz,
        ctx_init,
        ctx_free,
        fips_status,
        get_provider_version,
        next: ptr::null_mut(),
    };
    // SAFETY: sqlcipher_extra_init passes a fresh allocation of this size and alignment; nothing in it needs a drop.
    unsafe { provider.write(table) };
    SQLITE_OK
}

extern "C" fn name(_: *mut c_void) -> *const c_char {
    c"nimbus".as_ptr()
}

extern "C" fn get_provider_version(_: *mut c_void) -> *const c_char {
    c"1".as_ptr()
}

extern "C" fn get_cipher(_: *mut c_void) -> *const c_char {
    c"aes-256-cbc".as_ptr()
}

extern "C" fn get_key_sz(_: *mut c_void) -> c_int {
    KEY_SIZE
}

extern "C" fn get_iv_sz(_: *mut c_void) -> c_int {
    BLOCK_SIZE
}

extern "C" fn get_block_sz(_: *mut c_void) -> c_int {
    BLOCK_SIZE
}

extern "C" fn get_hmac_sz(_: *mut c_void, algorithm: c_int) -> c_int {
    hash(algorithm)
        .and_then(|hash| c_int::try_from(hash.output_bytes()).ok())
        .unwrap_or(0)
}

extern "C" fn fips_status(_: *mut c_void) -> c_int {
    0
}

/// The operating system's generator takes no seed from a database.
extern "C" fn add_random(_: *mut c_void, _: *const c_void, _: c_int) -> c_int {
    SQLITE_OK
}

unsafe extern "C" fn ctx_init(context: *mut *mut c_void) -> c_int {
    if context.is_null() {
        return SQLITE_ERROR;
    }
    let state = Box::into_raw(Box::new(PageCrypto::new()));
    // SAFETY: SQLCipher passes the address of the codec's `provider_ctx` field, which it later gives to `ctx_free`.
    unsafe { context.write(state.cast()) };
    SQLITE_OK
}

unsafe extern "C" fn ctx_free(context: *mut *mut c_void) -> c_int {
    if context.is_null() {
        return SQLITE_ERROR;
    }
    // SAFETY: the field holds what `ctx_init` put there, or null once it was freed; nobody else uses it any more.
    unsafe {
        let state = context.replace(ptr::null_mut()).cast::<PageCrypto>();
        if !state.is_null() {
            drop(Box::from_raw(state));
        }
    }
    SQLITE_OK
}

unsafe extern "C" fn fill_random(_: *mut c_void, buffer: *mut c_void, length: c_int) -> c_int {
    // SAFETY: SQLCipher passes a buffer of `length` bytes that nobody else uses during the call.
    let Some(out) = (unsafe { bytes_mut(buffer.cast(), length) }) else {
        return SQLITE_ERROR;
    };
    code(random::fill_buffered(out).is_ok())
}

/// Computes the MAC of a page, and, when the page is being read, compares it with the stored one.
///
/// A page that is read lies in `input` with its stored MAC right behind, and `out` points into another buffer; a page
/// that is written has `out` right behind the input (`sqlcipher_page_cipher`). SQLCipher's integrity check has the first
/// shape as well.
unsafe extern "C" fn hmac(
    context: *mut c_void,
    algorithm: c_int,
    key: *const c_uchar,
    key_size: c_int,
    input: *const c_uchar,
    input_size: c_int,
    suffix: *const c_uchar,
    suffix_size: c_int,
    out: *mut c_uchar,
) -> c_int {
    // SAFETY: the pointers and sizes are those of sqlcipher_page_hmac: a key of `key_size` bytes, a page of `input_size`
    // bytes followed (inside the same page buffer) by the place of its MAC, a page number of `suffix_size` bytes, and
    // `out` with room for one MAC, which overlaps none of them. `context` is ours and used by one thread at a time.
    unsafe {
        let (Some(state), Some(hash)) = (page_crypto(context), hash(algorithm)) else {
            return SQLITE_ERROR;
        };
        let (Some(key), Some(page), Some(suffix)) = (
            page_key(key, key_size),
            bytes(input, input_size),
            bytes(suffix, suffix_size),
        ) else {
            return SQLITE_ERROR;
        };
        if meter::page().is_break() {
            return SQLITE_ERROR;
        }
        let is_written = ptr::eq(page.as_ptr().add(page.len()), out);
        if is_written {
            let mac = state.hmac(hash, key, page, suffix);
            out.copy_from_nonoverlapping(mac.as_bytes().as_ptr(), mac.as_bytes().len());
            let sealed = slice::from_raw_parts(input, page.len() + hash.output_bytes());
            state.remember(hash, key, sealed, suffix);
        } else {
            let sealed = slice::from_raw_parts(input, page.len() + hash.output_bytes());
            let mac = state.hmac_of_read(hash, key, sealed, suffix, read_ahead::take);
            let (_, stored) = sealed.split_at(page.len());
            if !mac.matches(stored) {
                tamper::record_failure();
            }
            out.copy_from_nonoverlapping(mac.as_bytes().as_ptr(), mac.as_bytes().len());
        }
    }
    SQLITE_OK
}

unsafe extern "C" fn kdf(
    _: *mut c_void,
    algorithm: c_int,
    password: *const c_uchar,
    password_size: c_int,
    salt: *const c_uchar,
    salt_size: c_int,
    rounds: c_int,
    key_size: c_int,
    key: *mut c_uchar,
) -> c_int {
    // SAFETY: sqlcipher_cipher_ctx_key_derive passes buffers of the sizes it names; `key` overlaps neither of the others.
    unsafe {
        let (Some(password), Some(salt), Some(key)) = (
            bytes(password, password_size),
            bytes(salt, salt_size),
            bytes_mut(key, key_size),
        ) else {
            return SQLITE_ERROR;
        };
        let rounds = u32::try_from(rounds).ok().and_then(NonZeroU32::new);
        let (Some(hash), Some(rounds)) = (hash(algorithm), rounds) else {
            return SQLITE_ERROR;
        };
        pbkdf2(hash, password, salt, rounds, key);
    }
    SQLITE_OK
}

unsafe extern "C" fn cipher(
    context: *mut c_void,
    mode: c_int,
    key: *const c_uchar,
    key_size: c_int,
    iv: *const c_uchar,
    input: *const c_uchar,
    input_size: c_int,
    out: *mut c_uchar,
) -> c_int {
    // SAFETY: sqlcipher_page_cipher reads from SQLite's page and writes into the codec's own buffer, two allocations; the
    // IV lies in that buffer behind the `input_size` bytes that are written, and is copied first.
    unsafe {
        let Some(state) = page_crypto(context) else {
            return SQLITE_ERROR;
        };
        let (Some(key), Some(iv), Some(page), Some(out)) = (
            page_key(key, key_size),
            bytes(iv, BLOCK_SIZE),
            bytes(input, input_size),
            bytes_mut(out, input_size),
        ) else {
            return SQLITE_ERROR;
        };
        let Some(&iv) = iv.first_chunk::<BLOCK_BYTES>() else {
            return SQLITE_ERROR;
        };
        match mode {
            DECRYPT => code(state.decrypt(key, &iv, page, out).is_ok()),
            ENCRYPT => code(state.encrypt(key, &iv, page, out).is_ok()),
            _ => SQLITE_ERROR,
        }
    }
}

/// `SQLCIPHER_HMAC_SHA1` and its siblings have the same numbers as the PBKDF2 algorithms.
const fn hash(algorithm: c_int) -> Option<HashAlgorithm> {
    match algorithm {
        0 => Some(HashAlgorithm::Sha1),
        1 => Some(HashAlgorithm::Sha256),
        2 => Some(HashAlgorithm::Sha512),
        _ => None,
    }
}

const fn code(ok: bool) -> c_int {
    if ok { SQLITE_OK } else { SQLITE_ERROR }
}

/// # Safety
/// `context` is null or came from `ctx_init`, and no other reference to it is in use.
unsafe fn page_crypto<'a>(context: *mut c_void) -> Option<&'a mut PageCrypto> {
    // SAFETY: the caller's contract; the Box keeps the alignment of its type.
    unsafe { context.cast::<PageCrypto>().as_mut() }
}

/// # Safety
/// `pointer` is null or points to `length` bytes that stay unchanged for `'a`.
unsafe fn bytes<'a>(pointer: *const c_uchar, length: c_int) -> Option<&'a [u8]> {
    let length = usize::try_from(length).ok()?;
    // SAFETY: the caller's contract.
    (!pointer.is_null()).then(|| unsafe { slice::from_raw_parts(pointer, length) })
}

/// # Safety
/// `pointer` is null or points to `length` bytes that nobody else uses for `'a`.
unsafe fn bytes_mut<'a>(pointer: *mut c_uchar, length: c_int) -> Option<&'a mut [u8]> {
    let length = usize::try_from(length).ok()?;
    // SAFETY: the caller's contract.
    (!pointer.is_null()).then(|| unsafe { slice::from_raw_parts_mut(pointer, length) })
}

/// # Safety
/// As [`bytes`].
unsafe fn page_key<'a>(pointer: *const c_uchar, length: c_int) -> Option<&'a [u8; KEY_BYTES]> {
    // SAFETY: the caller's contract.
    unsafe { bytes(pointer, length) }?.try_into().ok()
}
