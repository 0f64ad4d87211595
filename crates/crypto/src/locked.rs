//! Memory for secrets: locked into RAM, left out of core dumps, wiped when given back. The only `unsafe` of this crate
//! lies in `arena` and `boxed` below.
//!
//! Secrets share pages (a slot is 64 bytes or more, a page 4 KiB), because the lock limit counts pages: 10,000 keys cost
//! 160 of them. Where the limit is too small the memory works unlocked, and [`lock_status`] says so for the operator.

#[allow(unsafe_code, reason = "maps, locks and hands out raw memory")]
mod arena;
#[allow(unsafe_code, reason = "places values of any type into raw memory")]
mod boxed;
mod bytes;

pub use arena::{LockStatus, lock_status};
pub use boxed::LockedBox;
pub use bytes::LockedBytes;
