//! What the crash and tamper tests stand on: a disk in memory that records, dies and fails; the images that a power cut
//! could leave of it; reproducible randomness; a DEK that is the same every time.

mod cut;
mod disk;
mod fixed_dek;
mod rng;

pub use cut::{Cut, Sector, cuts};
pub use disk::{Event, SimDisk};
pub use fixed_dek::fixed_dek;
pub use rng::Rng;
