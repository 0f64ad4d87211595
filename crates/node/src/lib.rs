//! The native addon: converts, calls, converts back. No decision is made here and no key byte crosses to JavaScript.
//!
//! Each export is listed in `index.d.ts`, which is generated from the comments here; `src/native.ts` is its only caller.

#![allow(unreachable_pub, reason = "the exports are called from JavaScript, not from Rust")]
#![allow(
    clippy::needless_pass_by_value,
    reason = "napi-rs converts JavaScript strings to owned ones"
)]
#![allow(clippy::cast_precision_loss, reason = "counts and sizes become JavaScript numbers")]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "numbers from JavaScript saturate, which is what a budget should do"
)]
#![allow(
    clippy::result_large_err,
    reason = "a failure is made once, on its way to JavaScript"
)]
#![cfg_attr(test, allow(dead_code, reason = "napi-rs registers no exports in a test build"))]

mod admin;
mod boundary;
mod disk;
mod encryption;
mod failure;
mod keys;
mod kms;
mod known_answers;
mod kv;
mod library;
mod process;
mod rekey;
mod store;
mod subject_key;
mod value;
mod work;
