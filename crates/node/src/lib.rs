//! The native addon: converts, calls, converts back. No decision is made here and no key byte crosses to JavaScript.
//!
//! Each export is listed in `index.d.ts`, which is generated from the comments here; `src/native.ts` is its only caller.

#![allow(unreachable_pub, reason = "the exports are called from JavaScript, not from Rust")]

mod disk;
mod failure;
mod keys;
mod known_answers;
mod process;
mod store;
mod value;
