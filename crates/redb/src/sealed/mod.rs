//! The sealed file: pages that are read and written like those of a plain file, each sealed on the disk, with commits
//! that happen whole or not at all whatever the power does. Knows nothing of redb but the size of its header.
//!
//! | a crash                                  | leaves                                                       |
//! |------------------------------------------|--------------------------------------------------------------|
//! | before the record is on the disk         | the newest record: its pages were not touched, the last commit |
//! | with the record torn                     | the same                                                     |
//! | with the record whole, a page missing    | the same: the record is not believed                         |
//! | with record and pages whole              | the new commit                                               |
//! | while entries go home in that sync       | either of the two: what changed is in the records as well    |
//! | between a shrinking record and the cut   | the new commit; what lies beyond the length is ignored       |
//! | with a closing record, or without        | the same state: it repeats the last commit                   |
//! | during recovery                          | what was there: recovery changes no byte                     |

mod away;
mod carry;
mod closing;
mod commit;
mod error;
mod examine;
mod file;
mod judgement;
mod log;
mod meta;
pub(crate) mod pages;
mod protocol;
mod read;
mod recovery;
mod retirement;
mod ring;
mod seal;
mod short_way;
mod staging;
mod volume;

pub use carry::Found;
pub use error::{Damage, SealedError};
pub use file::{Identity, SealedFile, SealedStats, Tuning};
pub use pages::{Reservation, cached_bytes, follow_budget};
pub use protocol::{Protocol, Sound};
pub use recovery::will_open;
