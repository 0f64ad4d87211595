//! Encrypted redb that survives power loss.
//!
//! [`format`](mod@format) is every structure on the disk as bytes; [`sealed`] is the file made of them, which reads and
//! writes pages and commits them whole or not at all; [`backend`] shows it to redb; [`engine`] is the key-value store over
//! both. docs/format.md, "Sealed redb", is the
//! document that all three follow.

#![deny(unsafe_code)]
#![deny(missing_docs)]

pub mod backend;
pub mod disk;
pub mod engine;
pub mod format;
mod rows;
pub mod sealed;

pub use backend::SealedBackend;
pub use disk::Disk;
pub use engine::{Database, EngineError};
pub use sealed::{Damage, Identity, SealedError, SealedFile, SealedStats, Tuning};
