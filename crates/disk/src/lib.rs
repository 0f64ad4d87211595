//! The only crate that renames, links or unlinks: each change of a directory here is durable when the call returns.
//!
//! A file appears whole or not at all, with mode 0600, in a directory that is synced afterwards. Nothing here knows what
//! the bytes mean. [`will_read`] is a hint to the system and changes nothing.

mod copy;
mod directory;
mod error;
mod key_file;
mod lock;
mod read_ahead;
mod replace;
mod replace_many;
mod temporary;

pub use copy::copy;
pub use directory::{create_directory, link, remove, sync_directory_of};
pub use error::{DiskError, Operation};
pub use key_file::{KeyFileDefect, KeyFileError, KeyFileFacts, read_key_file};
pub use lock::FileLock;
pub use read_ahead::will_read;
pub use replace::{create_exclusive, publish, replace};
pub use replace_many::{Replacement, replace_many};
