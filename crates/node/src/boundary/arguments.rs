//! The arguments of one call.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use napi::sys;

use super::value;

/// Enough for most statements; more go to the heap.
const INLINE: usize = 12;

/// `S` is what the environment has open of one family of functions.
pub(crate) struct Arguments<S> {
    inline: [sys::napi_value; INLINE],
    heap: Vec<sys::napi_value>,
    count: usize,
    pub(crate) this: sys::napi_value,
    pub(crate) env: sys::napi_env,
    info: sys::napi_callback_info,
    state: *mut S,
}

/// Runs the body of a function; a panic in it is an exception there.
///
/// # Safety
/// `env` and `info` are those of a call of a function that was registered with a state `S`.
#[inline]
pub(crate) unsafe fn call<S>(
    env: sys::napi_env,
    info: sys::napi_callback_info,
    body: impl FnOnce(&Arguments<S>) -> sys::napi_value,
) -> sys::napi_value {
    let mut arguments = Arguments::none(env, info);
    // SAFETY: the caller's contract.
    unsafe { arguments.take_all() };
    caught(env, || body(&arguments))
}

/// The same for a function whose arguments are rarely wanted: the body takes them then. To ask for none takes 10 ns less.
///
/// # Safety
/// As `call`.
#[inline]
pub(crate) unsafe fn call_without<S>(
    env: sys::napi_env,
    info: sys::napi_callback_info,
    body: impl FnOnce(&mut Arguments<S>) -> sys::napi_value,
) -> sys::napi_value {
    let mut arguments = Arguments::none(env, info);
    let (this, mut state) = (&raw mut arguments.this, ptr::null_mut());
    // SAFETY: the caller's contract.
    unsafe { sys::napi_get_cb_info(env, info, ptr::null_mut(), ptr::null_mut(), this, &raw mut state) };
    arguments.state = state.cast();
    caught(env, || body(&mut arguments))
}

#[inline]
fn caught(env: sys::napi_env, body: impl FnOnce() -> sys::napi_value) -> sys::napi_value {
    if let Ok(value) = catch_unwind(AssertUnwindSafe(body)) {
        return value;
    }
    // SAFETY: `env` is current; the strings end with a NUL.
    unsafe { sys::napi_throw_error(env, ptr::null(), c"the call failed inside nimbus".as_ptr()) };
    ptr::null_mut()
}

impl<S> Arguments<S> {
    #[inline]
    const fn none(env: sys::napi_env, info: sys::napi_callback_info) -> Self {
        Self {
            inline: [ptr::null_mut(); INLINE],
            heap: Vec::new(),
            count: 0,
            this: ptr::null_mut(),
            env,
            info,
            state: ptr::null_mut(),
        }
    }

    /// # Safety
    /// The call has not ended.
    #[inline]
    pub(crate) unsafe fn take_all(&mut self) {
        let (env, info) = (self.env, self.info);
        self.count = INLINE;
        let mut data = ptr::null_mut();
        // SAFETY: the caller's contract; the arrays have room for the counts that are passed.
        unsafe {
            sys::napi_get_cb_info(
                env,
                info,
                &raw mut self.count,
                self.inline.as_mut_ptr(),
                &raw mut self.this,
                &raw mut data,
            );
            if self.count > INLINE {
                self.heap.resize(self.count, ptr::null_mut());
                let mut count = self.count;
                let (heap, none) = (self.heap.as_mut_ptr(), ptr::null_mut());
                sys::napi_get_cb_info(env, info, &raw mut count, heap, none, ptr::null_mut());
            }
        }
        self.state = data.cast();
    }

    #[inline]
    pub(crate) fn all(&self) -> &[sys::napi_value] {
        if self.heap.is_empty() {
            self.inline.get(..self.count).unwrap_or(&self.inline)
        } else {
            &self.heap
        }
    }

    /// Null where there is none: Node-API answers that with an error.
    #[inline]
    pub(crate) fn at(&self, index: usize) -> sys::napi_value {
        self.all().get(index).copied().unwrap_or(ptr::null_mut())
    }

    /// What the environment has open. Looked up anew after JavaScript ran.
    #[inline]
    #[expect(
        clippy::mut_from_ref,
        reason = "the state is not the arguments': each borrow of it ends with the expression that it was asked for in"
    )]
    pub(crate) fn state(&self) -> &mut S {
        // SAFETY: the state lives as long as the environment whose function was called, on this thread alone; no caller
        // keeps the borrow across a call into JavaScript.
        unsafe { &mut *self.state }
    }

    /// -1, which is no handle, if it is not an integer.
    #[inline]
    pub(crate) fn integer(&self, index: usize) -> i32 {
        let mut value = -1;
        // SAFETY: a value of this call, or null, which is refused.
        unsafe { sys::napi_get_value_int32(self.env, self.at(index), &raw mut value) };
        value
    }

    pub(crate) fn boolean(&self, index: usize) -> bool {
        let mut value = false;
        // SAFETY: a value of this call, or null, which is refused.
        unsafe { sys::napi_get_value_bool(self.env, self.at(index), &raw mut value) };
        value
    }

    pub(crate) fn string(&self, index: usize) -> Option<Vec<u8>> {
        // SAFETY: a value of this call.
        unsafe { value::string_bytes(self.env, self.at(index)) }
    }

    /// With a NUL at its end, and none inside: what follows one is cut off, as SQLite would.
    pub(crate) fn c_string(&self, index: usize) -> Option<std::ffi::CString> {
        let mut bytes = self.string(index)?;
        if let Some(end) = bytes.iter().position(|&byte| byte == 0) {
            bytes.truncate(end);
        }
        std::ffi::CString::new(bytes).ok()
    }

    /// `None` unless it is a function.
    pub(crate) fn function(&self, index: usize) -> Option<sys::napi_value> {
        let value = self.at(index);
        (value::type_of(self.env, value) == sys::ValueType::napi_function).then_some(value)
    }

    /// The bytes of a Buffer. They are the caller's to change as soon as JavaScript runs.
    pub(crate) fn bytes(&self, index: usize) -> Option<&[u8]> {
        // SAFETY: a value of this call; nothing of JavaScript runs while the slice lives (checked by each caller).
        unsafe { value::buffer(self.env, self.at(index)) }
    }
}
