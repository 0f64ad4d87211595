//! Where SQLCipher keeps keys: 2 MiB of its own, and more where those are full, all of which it locks. It would still be written
//! into a core dump; so SQLCipher is compiled to call these in the place of `mlock` and `munlock` (.cargo/config.toml).
//!
//! Source: `sqlcipher_mlock`, `sqlcipher_munlock` and `sqlcipher_internal_malloc` of SQLCipher 4.19.0, whose addresses are at the
//! beginning of a page; mlock(2), madvise(2).

#![expect(unsafe_code, reason = "advises the kernel of memory that C code owns")]

use std::ffi::{c_int, c_void};

use crate::linkage::called_from_c;

called_from_c!("nimbus_sqlcipher_mlock", lock);
called_from_c!("nimbus_sqlcipher_munlock", unlock);

type Advise = unsafe extern "C" fn(*const c_void, usize) -> c_int;

unsafe extern "C" {
    fn nimbus_sqlcipher_mlock(start: *const c_void, bytes: usize) -> c_int;
    fn nimbus_sqlcipher_munlock(start: *const c_void, bytes: usize) -> c_int;
}

#[used]
static KEEP: [Advise; 2] = [nimbus_sqlcipher_mlock, nimbus_sqlcipher_munlock];

pub(crate) fn keep_linked() {
    std::hint::black_box(&raw const KEEP);
}

/// Neither failure is one of the other: what cannot be locked is kept out of dumps all the same.
///
/// # Safety
/// The pages from `start` on, which is the beginning of one, are the caller's for `bytes` bytes.
unsafe extern "C" fn lock(start: *const c_void, bytes: usize) -> c_int {
    // SAFETY: the pages are mapped, as the caller promises; neither call changes what is in them.
    unsafe {
        libc::madvise(start.cast_mut(), bytes, libc::MADV_DONTDUMP);
        libc::mlock(start, bytes)
    }
}

/// SQLCipher has wiped what it gives back. Other keys on the same pages are unlocked with it, as SQLCipher itself would; they stay
/// out of dumps.
///
/// # Safety
/// As of [`lock`].
unsafe extern "C" fn unlock(start: *const c_void, bytes: usize) -> c_int {
    // SAFETY: as above.
    unsafe { libc::munlock(start, bytes) }
}
