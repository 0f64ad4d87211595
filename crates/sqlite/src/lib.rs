//! SQLite files, plain or under SQLCipher: connections whose every step is checked, and a store with group commit.
//!
//! SQLCipher can return a row whose page failed its MAC as good data (a bad overflow page read as zeros). Here the crypto
//! provider counts such failures itself, and nothing leaves a [`Connection`] while the count has moved: see [`tamper`].
//!
//! | module       | what lives there                                                       |
//! |--------------|------------------------------------------------------------------------|
//! | `provider`   | the C interface through which SQLCipher asks for crypto (all the FFI)    |
//! | `secret_memory` | SQLCipher's memory for keys, kept out of core dumps                      |
//! | `tamper`     | the count of pages that did not authenticate                             |
//! | `connection` | running checked statements                                               |
//! | `opening`    | the file as it must be, and a store's settings                           |
//! | `keying`     | the key of a connection, and the format of its pages                     |
//! | `side_files` | the log and the journal beside an encrypted file, before SQLite uses them   |
//! | `frames`     | a write-ahead log, read and authenticated as SQLite's recovery would      |
//! | `journal`    | a rollback journal, likewise                                             |
//! | `condition`  | what a store's connections know together of damage to their file          |
//! | `authorizer` | what SQL may not do to an open file                                      |
//! | `store`      | one file: group commit, point reads, queries                             |
//! | `store::verification` | every page of an open file, authenticated as it lies on the disk   |
//! | `raw_file`   | the data file, read past SQLite's cache through SQLite's descriptor       |
//! | `queue`      | what a store's writer has to do                                          |
//! | `batch`      | many requests in one transaction, each standing or falling alone         |
//! | `rekey`      | another key for a whole file, and which key a file is under              |
//! | `meter`      | how far such work is                                                     |
//! | `write_out`  | beginning to write what such work will sync                              |
//! | `log`        | keeping the write-ahead log short                                        |
//! | `cache`      | what a connection has of the process's page-cache budget                |
//! | `copy`       | a whole database into a new file, plain or encrypted                     |
//! | `digest`     | what a database holds, to compare it with its copy                       |
//! | `watched`    | long statements: progress, and stopping them                             |
//! | `defaults`   | SQLCipher's process-wide defaults, and whose turn it is with them        |
//! | `library`    | a connection whose statements the addon steps itself                     |
//! | `library_authorizer` | what SQL may not do to an encrypted file there                     |
//! | `library_beside` | more connections to the same file, for native threads                |
//! | `library_cursor` | a statement that a native thread steps                              |
//! | `library_pool` | those connections at work: reads side by side, writes in order, iterations  |
//! | `library_error` | what goes wrong there, in SQLite's terms                             |
//! | `library_rekey` | another raw key for a file of the library                            |
//! | `open_files` | no file is open exclusively and otherwise at once in this process        |
//! | `main_file`  | what is known of a data file while it is open: its size, the pages that come next |
//! | `late_log`   | a write-ahead log that is made when it is first written                  |
//! | `exit`       | native threads stop before SQLCipher's own exit handler runs             |

mod authorizer;
mod batch;
mod cache;
mod completion;
mod condition;
mod connection;
mod copy;
mod defaults;
mod digest;
mod error;
mod exit;
mod frames;
mod journal;
mod keying;
mod late_log;
mod library;
mod library_authorizer;
mod library_beside;
mod library_cursor;
mod library_error;
mod library_pool;
mod library_rekey;
mod linkage;
mod log;
mod main_file;
mod meter;
mod open_files;
mod opening;
mod options;
mod provider;
mod queue;
mod raw_file;
mod read_ahead;
mod rekey;
mod secret_memory;
mod side_files;
mod statement;
mod store;
mod tamper;
mod value;
mod verify;
mod watched;
mod write_out;

pub use batch::{Step, StepResult};
pub use completion::{Completion, Outcome, RequestId, Sink};
pub use connection::Connection;
pub use copy::{CopyJob, copy_database};
pub use error::StoreError;
pub use library::{LibraryAccess, LibraryConnection, LibraryKey, LibraryOptions, PageMark};
pub use library_cursor::{LibraryRows, LibraryValue};
pub use library_error::LibraryError;
pub use library_pool::{LibraryAnswer, LibraryPool, LibraryRequest, LibrarySink};
pub use options::{Encryption, Mode, OpenOptions, Profile};
pub use rekey::{fold_log, key_opens, rekey};
pub use store::{Stats, Store, Verification};
pub use tamper::apart;
pub use value::{Row, Value};
pub use verify::{Verified, verify};
